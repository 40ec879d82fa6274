"""Runs as facts: of which devices, what is done with them, and how it goes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

from netraven.model.facts import Device, as_set


@dataclass(frozen=True, slots=True)
class Selector:
    """Which devices: those that fit each of these that is not empty; without any, every device.

    ``tags``: carry one of them. ``names``: are named there. ``patterns``: have a name that fits one (``*`` and ``?``,
    the whole name, capitals count). ``platforms``: are of one. ``without_...``: none of those that do.
    """

    tags: AbstractSet[str] = frozenset()
    names: AbstractSet[str] = frozenset()
    patterns: AbstractSet[str] = frozenset()
    platforms: AbstractSet[str] = frozenset()
    without_tags: AbstractSet[str] = frozenset()
    without_patterns: AbstractSet[str] = frozenset()
    without_platforms: AbstractSet[str] = frozenset()
    retry_of: int | None = None
    """Only devices of this run that were not collected in it."""

    def __post_init__(self) -> None:
        for name in SELECTING:
            object.__setattr__(self, name, as_set(getattr(self, name)))

    def selects(self, device: Device) -> bool:
        """Whether it fits a device, ``retry_of`` aside: that only a store can say."""
        return (
            (not self.tags or not self.tags.isdisjoint(device.tags))
            and (not self.names or device.name in self.names)
            and (not self.patterns or _fits(device.name, self.patterns))
            and (not self.platforms or device.platform in self.platforms)
            and self.without_tags.isdisjoint(device.tags)
            and not _fits(device.name, self.without_patterns)
            and device.platform not in self.without_platforms
        )


SELECTING = (
    "tags",
    "names",
    "patterns",
    "platforms",
    "without_tags",
    "without_patterns",
    "without_platforms",
)
"""The sets of a selector."""


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(_glob(pattern).fullmatch(name) for pattern in patterns)


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> re.Pattern[str]:
    """Only ``*`` and ``?`` are special: names of devices may hold brackets."""
    words = {"*": ".*", "?": "."}
    return re.compile("".join(words.get(sign, re.escape(sign)) for sign in pattern), re.DOTALL)


class What(StrEnum):
    """What a run does with its devices."""

    CONFIGURATION = "configuration"
    """Collects their outputs."""
    REACHABILITY = "reachability"
    """Connects, and waits for SSH's first line; no login."""
    CREDENTIALS = "credentials"
    """Logs in and out."""
    STALE = "stale-report"
    """Tells hooks which devices were not collected for long."""
    PRUNE = "prune"
    """Takes away what retention lets go."""

    @property
    def visits(self) -> bool:
        """Whether devices are connected to."""
        return self in (What.CONFIGURATION, What.REACHABILITY, What.CREDENTIALS)

    @property
    def logs_in(self) -> bool:
        """Whether secrets are offered to them."""
        return self in (What.CONFIGURATION, What.CREDENTIALS)


class RunStatus(StrEnum):
    """``COMPLETE``: all collected; ``PARTIAL``: some; ``FAILED``: none."""

    QUEUED = "queued"
    """On record, with what is left to do, and waits for a daemon."""
    RUNNING = "running"
    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    NO_DEVICES = "no_devices"
    NO_CREDENTIALS = "no_credentials"
    MISSED = "missed"
    """Its time went by without a run."""


@dataclass(frozen=True, slots=True)
class Counts:
    """A run in numbers. ``devices`` is what was selected at its start, ``collected`` what went well, of checks too."""

    devices: int = 0
    collected: int = 0
    failed: int = 0
    skipped: int = 0
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One execution. ``owner`` tells which process holds it while it runs (host, pid, start)."""

    id: int
    started_at: datetime
    status: RunStatus
    selector: Selector = Selector()
    strategy: str = "priority"
    concurrency: int = 0
    finished_at: datetime | None = None
    counts: Counts = Counts()
    error: str | None = None
    what: What = What.CONFIGURATION
    outputs: tuple[str, ...] = ()
    priority: int = 100
    job_id: int | None = None
    job: str | None = None
    """The name of the job that it is a run of."""
    due_at: datetime | None = None
    finish_by: datetime | None = None
    retry_of: int | None = None
    eta_at: datetime | None = None
    """When it will be finished, as far as that can be told while it goes on."""
    missed: int = 0
    """Due times before ``due_at`` that went by without a run of their own."""
    begun: bool = True
    """Whether its targets are on record: a run that was not begun has no devices yet."""
    options: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 0
    """The last batch of entries that its recorder has put on record."""
