"""The one door through which stored configurations leave: with a mark in the place of each secret.

Whoever shows, compares, exports or sends a configuration asks here, and nothing else reads stored texts but what moves
them as they are (encrypted archives). Where it is not known what is secret in a text, it does not leave.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from netraven.errors import DatabaseError, InputError
from netraven.history.diff import CONTEXT, Change, Diff, diff
from netraven.history.marks import Marker
from netraven.history.pattern import Pattern
from netraven.history.rulebook import RuleBook
from netraven.history.search import Found, search
from netraven.model import Selector, StoredVersion, Version
from netraven.platforms import Catalogue
from netraven.ports import Versions

LARGE = 256 * 1024
"""Characters from which looking for secrets leaves the event loop."""


class NoSuchVersion(InputError):
    """There is no such version; the message says which there are."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A version as it may be seen."""

    version: Version
    text: str = field(repr=False)
    redacted: bool
    """Whether secrets in it are marks."""


class Configurations:
    """``marker``: gives what secrets are marked with; may raise ``KeyringError``."""

    def __init__(
        self, versions: Versions, catalogue: Catalogue, marker: Callable[[], Awaitable[Marker]]
    ) -> None:
        self._versions = versions
        self._catalogue = catalogue
        self._rules = RuleBook(catalogue)
        self._marker = marker

    async def text(self, stored: StoredVersion, *, raw: bool = False, quiet: bool = False) -> str:
        """The text of a version, secrets as marks; ``quiet``: without what changes by itself. ``raw``: as captured.

        Raises ``InputError`` where its platform is not known any more.
        """
        if raw and not quiet:
            return stored.text
        version = stored.version
        try:
            rules = self._rules.of(version.platform)
        except InputError as error:
            raise InputError(
                f"version {version.number} of {version.device} cannot be shown: what is secret in it is not known, for "
                f"{self._why(version.platform, error)}. With --raw it is shown as captured, secrets and all"
            ) from error
        mark = _as_it_is if raw else (await self._marker()).mark
        if len(stored.text) < LARGE:
            return rules.shown(stored.text, mark, quiet=quiet)
        return await asyncio.to_thread(rules.shown, stored.text, mark, quiet=quiet)

    def _why(self, platform: str, error: InputError) -> str:
        """In place of a list of all platforms that there are."""
        if not platform:
            return "it is not on record which platform printed it (a run that collects the device finds that out)"
        if platform not in self._catalogue:
            return f"there is no platform {platform!r} any more"
        return str(error)

    async def history(
        self, device: str, kind: str = "running", *, limit: int | None = None
    ) -> Sequence[Version]:
        """The versions of an output of a device, the newest first."""
        return await self._versions.history(device, kind, limit=limit)

    async def show(
        self,
        device: str,
        kind: str = "running",
        *,
        number: int | None = None,
        at: datetime | None = None,
        raw: bool = False,
    ) -> Shown:
        """One version: the current one, that with a ``number``, or that in force ``at`` a time.

        Raises ``NoSuchVersion``, and ``InputError`` as :meth:`text`.
        """
        stored = await self.find(device, kind, number=number, at=at)
        return Shown(stored.version, await self.text(stored, raw=raw), redacted=not raw)

    async def find(
        self, device: str, kind: str = "running", *, number: int | None = None, at: datetime | None = None
    ) -> StoredVersion:
        """As :meth:`show`, the version as it is stored. Raises ``NoSuchVersion``."""
        if number is not None:
            stored = await self._versions.numbered(device, kind, number)
        elif at is not None:
            stored = await self._versions.at(device, kind, at)
        else:
            stored = await self._versions.current(device, kind)
        if stored is None:
            raise NoSuchVersion(await self._what_there_is(device, kind, number, at))
        return stored

    async def pair(
        self, device: str, old: int | datetime | None, new: int | datetime | None, kind: str = "running"
    ) -> tuple[StoredVersion | None, StoredVersion]:
        """Two versions to compare: the last change where neither is named; ``new`` None: the current one.

        The older one is None where the current one is the first. Raises ``NoSuchVersion``.
        """
        after = await self._placed(device, kind, new)
        if old is None:
            return await self._versions.before(after.version), after
        return await self._placed(device, kind, old), after

    async def diff(
        self,
        device: str,
        old: int | datetime | None = None,
        new: int | datetime | None = None,
        *,
        kind: str = "running",
        raw: bool = False,
        context: int = CONTEXT,
    ) -> Change:
        """What changed between two versions (as :meth:`pair` finds them), but for what changes by itself.

        Raises ``NoSuchVersion``, and ``InputError`` as :meth:`text`.
        """
        return await self.change(*await self.pair(device, old, new, kind), raw=raw, context=context)

    async def change(
        self, old: StoredVersion | None, new: StoredVersion, *, raw: bool = False, context: int = CONTEXT
    ) -> Change:
        """The same of two versions that are at hand."""
        before = "" if old is None else await self._quiet(old, raw)
        after = await self._quiet(new, raw)
        if max(len(before), len(after)) < LARGE:
            found = diff(before, after, context=context)
        else:
            found = await asyncio.to_thread(diff, before, after, context=context)
        return Change(None if old is None else old.version, new.version, found)

    async def changed_in(
        self, run: int, *, raw: bool = False, context: int = CONTEXT
    ) -> AsyncIterator[Change]:
        """Everything that changed in a run, by device and kind. One that cannot be compared says so (``problem``)."""
        async for old, new in self._versions.changed_in(run):
            yield await self._change_or_problem(old, new, raw=raw, context=context)

    async def changes(self, versions: Iterable[Version]) -> AsyncIterator[Change]:
        """What each of these versions of one output changed; they follow each other, the oldest comes first.

        One that cannot be compared, or not be read, says so (``problem``).
        """
        before: StoredVersion | None = None
        for version in versions:
            try:
                before = before or await self._versions.before(version)
                stored = await self._versions.numbered(version.device, version.kind, version.number)
            except DatabaseError as error:
                yield Change(None, version, Diff(), str(error))
                before = None
                continue
            if stored is None:  # it has been pruned meanwhile
                continue
            yield await self._change_or_problem(before, stored, raw=False, context=0)
            before = stored

    async def search(
        self,
        pattern: Pattern,
        selector: Selector,
        *,
        kind: str = "running",
        at: datetime | None = None,
        every: bool = False,
        raw: bool = False,
        progress: Callable[[int], None] = lambda _: None,
    ) -> AsyncIterator[Found]:
        """Where ``pattern`` is found, in texts as they are shown: in the version in force ``at`` a time (None: now) of
        each device, or in ``every`` one. ``raw``: in the texts as captured. ``progress`` hears how many were read.
        """
        damaged: list[Found] = []

        def unreadable(version: Version, error: DatabaseError) -> None:
            damaged.append(Found(version, problem=str(error), readable=False))

        versions = (
            self._versions.every(selector, kind, unreadable=unreadable)
            if every
            else self._versions.all_at(selector, kind, at, unreadable=unreadable)
        )

        def leaves_alone(stored: StoredVersion, lines: Sequence[str]) -> bool:
            return self._rules.of(stored.version.platform).leaves_alone(stored.text, lines)

        counted = _counted(versions, progress)
        async for found in search(pattern, counted, None if raw else self.text, leaves_alone):
            while damaged:
                yield damaged.pop(0)
            yield found
        for last in damaged:
            yield last

    async def _change_or_problem(
        self, old: StoredVersion | None, new: StoredVersion, *, raw: bool, context: int
    ) -> Change:
        try:
            return await self.change(old, new, raw=raw, context=context)
        except InputError as error:
            return Change(None if old is None else old.version, new.version, Diff(), str(error))

    async def _quiet(self, stored: StoredVersion, raw: bool) -> str:
        """As it is compared. As captured, nothing is left out where it is not known what changes by itself."""
        try:
            return await self.text(stored, raw=raw, quiet=True)
        except InputError:
            if raw:
                return stored.text
            raise

    async def _placed(self, device: str, kind: str, wanted: int | datetime | None) -> StoredVersion:
        if isinstance(wanted, datetime):
            return await self.find(device, kind, at=wanted)
        return await self.find(device, kind, number=wanted)

    async def _what_there_is(self, device: str, kind: str, number: int | None, at: datetime | None) -> str:
        newest = await self._versions.history(device, kind)
        if not newest:
            kinds = await self._versions.kinds(device)
            if kinds:
                return (
                    f"no output of the kind {kind!r} of {device} has been collected, only {', '.join(kinds)}"
                )
            return f"no configuration of {device} has been collected yet"
        if number is not None:
            span = f"{newest[-1].number} to {newest[0].number}" if len(newest) > 1 else str(newest[0].number)
            return f"{device} has no version {number} of {kind!r}; there are {len(newest)}: {span}"
        first = newest[-1]
        return (
            f"nothing is known of {device} ({kind}) at {at:%Y-%m-%d %H:%M:%S} UTC: its oldest version on record, "
            f"{first.number}, was seen at {first.first_seen_at:%Y-%m-%d %H:%M:%S} UTC"
        )


async def _counted(
    versions: AsyncIterator[StoredVersion], progress: Callable[[int], None]
) -> AsyncIterator[StoredVersion]:
    number = 0
    async for version in versions:
        number += 1
        progress(number)
        yield version


def _as_it_is(secret: str) -> str:
    return secret
