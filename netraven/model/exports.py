"""What is put into a git repository, in which order, and what of it is there already."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime

from netraven.model.versions import StoredVersion, Version


@dataclass(frozen=True, slots=True)
class Exported:
    """What a repository holds: every run up to ``through``, of the later ones ``runs``, and of imported versions all
    that were on record when the one with the id ``imported`` was the last.

    Exact, whatever clocks say: a run that ends late, or whose process has died, is neither missed nor taken twice.
    ``skipped``: imported versions that are older than what was in the repository already.
    """

    through: int = 0
    runs: AbstractSet[int] = frozenset()
    imported: int = 0
    skipped: int = 0

    def holds(self, run: int) -> bool:
        return run <= self.through or run in self.runs

    def with_runs(self, done: Iterable[int], missing: Iterable[int] = ()) -> Exported:
        """With these runs too. ``missing``: the runs that it does not hold, or at least the one that began first."""
        runs = self.runs | set(done)
        barrier = min((run for run in missing if run > self.through), default=None)
        below = [run for run in runs if barrier is None or run < barrier]
        through = max([self.through, *below])
        return replace(self, through=through, runs=frozenset(run for run in runs if run > through))

    def __str__(self) -> str:
        runs = ",".join([f"0-{self.through}", *map(str, sorted(self.runs))])
        return f"runs={runs} imported={self.imported} skipped={self.skipped}"

    @classmethod
    def read(cls, text: str) -> Exported | None:
        """What :meth:`__str__` wrote; None for anything else."""
        match = _EXPORTED.fullmatch(text)
        if match is None:
            return None
        runs = frozenset(int(run) for run in match["runs"].split(",") if run)
        return cls(int(match["through"]), runs, int(match["imported"]), int(match["skipped"]))


_EXPORTED = re.compile(
    r"runs=0-(?P<through>\d+)(?P<runs>(?:,\d+)*) imported=(?P<imported>\d+) skipped=(?P<skipped>\d+)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Place:
    """What decides where the files of a device are."""

    device: str
    tag: str = ""
    """The first of its tags, in their order; empty: it has none."""
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Exportable:
    """A version that goes into the repository. ``stored`` is None where it cannot be read: ``problem`` says why."""

    version: Version
    place: Place
    stored: StoredVersion | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Portion:
    """A part of what a run brought, or of what was imported as of one moment; portions of one follow each other.

    ``run`` is None for what was imported. ``at`` is when the run ended. With the ``last`` portion the repository holds
    ``exported``. One without versions says that some were passed over.
    """

    run: int | None
    at: datetime
    versions: tuple[Exportable, ...]
    exported: Exported
    last: bool = True


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is not in a repository yet, in numbers."""

    runs: int = 0
    """Finished runs that have new versions."""
    versions: int = 0


@dataclass(frozen=True, slots=True)
class Filed:
    """A device that there are versions of, and of which kinds."""

    place: Place
    kinds: tuple[str, ...]
