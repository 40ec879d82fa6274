"""Putting older versions into a history that is there: of an archive, or of another program's repository."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.errors import DatabaseError, InputError
from netraven.history.merging import Key, Merged, Seen, merge
from netraven.history.rulebook import RuleBook
from netraven.storage import blobs
from netraven.storage.history_keys import HistoryKeys
from netraven.storage.schema import devices, snapshots
from netraven.storage.types import Id
from netraven.storage.versions import PRINTED_BY

PORTION = 200
"""Versions that come in with one transaction."""

_ROW = snapshots.c.id == bindparam("b_id", type_=Id)
_TIME = snapshots.c.first_seen_at.type
_MOVED = update(snapshots).where(_ROW).values(version=bindparam("b_version"))
_TIMES = (
    update(snapshots)
    .where(_ROW)
    .values(first_seen_at=bindparam("b_first", type_=_TIME), last_seen_at=bindparam("b_last", type_=_TIME))
)


class TextsGone(DatabaseError):
    """Texts that nothing pointed to yet were pruned before the versions that have them came in."""


@dataclass(frozen=True, slots=True)
class Added:
    """What came of versions: how many are new here, and how many were known, or equal to the one beside them."""

    added: int = 0
    known: int = 0

    def __add__(self, other: Added) -> Added:
        return Added(self.added + other.added, self.known + other.known)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A version to come in. ``number``: what it had elsewhere, and has here unless it is taken."""

    first_seen_at: datetime
    last_seen_at: datetime
    sha256: bytes
    comparable: bytes | None = None
    """None: only one of the very same bytes is the same."""
    platform: str = ""
    number: int | None = None
    placed_at: datetime | None = None
    follows: Key | None = None
    """These two as in :class:`Seen`."""


class VersionImporter:
    """All it does is done inside of the caller's transaction, and doing it twice adds nothing."""

    def __init__(self, keys: HistoryKeys, rules: RuleBook) -> None:
        self._keys = keys
        self._rules = rules

    async def add(
        self,
        connection: AsyncConnection,
        device_id: int,
        kind: str,
        platform: str,
        texts: Iterable[tuple[datetime, datetime, str]],
    ) -> Added:
        """Merge texts, each with when it was seen first and last, into the versions of an output of a device.

        In the order of time; where older ones come in, those after them get higher numbers. One that differs from the
        one beside it only in what changes by itself adds nothing but the time that it was in force.
        """
        done = Added()
        ordered = sorted(texts, key=lambda one: one[0])
        for start in range(0, len(ordered), PORTION):
            incoming, contents = [], {}
            for first, last, text in ordered[start : start + PORTION]:
                data = text.encode("utf-8", "surrogateescape")
                sha256 = await blobs.digest(data)
                contents[sha256] = data
                comparable = self._rules.digest(platform, text)
                incoming.append(Incoming(first, last, sha256, comparable, platform))
            done += await self.merge(connection, device_id, kind, incoming, contents)
        return done

    async def merge(
        self,
        connection: AsyncConnection,
        device_id: int,
        kind: str,
        incoming: Sequence[Incoming],
        contents: dict[bytes, bytes] | None = None,
        *,
        exact: bool = False,
        dry_run: bool = False,
    ) -> Added:
        """The same for versions whose texts are in the database already, or in ``contents``; ``exact`` as ``merge``.

        Raises :class:`TextsGone` where a text is neither here nor there, ``InputError`` where the device is not.
        """
        if not dry_run:
            await _lock(connection, device_id)
        there = await self._there(connection, device_id, kind)
        for place in _beside(there, incoming):
            there[place] = await self._compared(connection, there[place])
        merged = merge(there, [_seen(one) for one in incoming], exact=exact)
        fresh = [one for one in merged if one.seen.id is None]
        done = Added(len(fresh), len(incoming) - len(fresh))
        if not dry_run:
            await self._times(connection, there, merged)
            if fresh:
                await self._texts(connection, {one.seen.sha256 for one in fresh}, contents or {})
                await self._numbers(connection, there, merged)
                await self._insert(connection, (device_id, kind), fresh, incoming)
        return done

    async def _there(self, connection: AsyncConnection, device_id: int, kind: str) -> list[Seen]:
        columns = ("id", "version", "sha256", "comparable", "first_seen_at", "last_seen_at")
        statement = (
            select(*(snapshots.c[name] for name in columns))
            .where(snapshots.c.device_id == device_id, snapshots.c.kind == kind)
            .order_by(snapshots.c.version)
        )
        return [
            Seen(
                row.first_seen_at,
                row.last_seen_at,
                bytes(row.sha256),
                None if row.comparable is None else bytes(row.comparable),
                row.version,
                row.id,
            )
            for row in await connection.execute(statement)
        ]

    async def _compared(self, connection: AsyncConnection, one: Seen) -> Seen:
        """With the digest that versions of a time before there were any lack."""
        if one.comparable is not None:
            return one
        platform = (
            select(PRINTED_BY)
            .join_from(snapshots, devices, devices.c.id == snapshots.c.device_id)
            .where(snapshots.c.id == one.id)
        )
        row = (await connection.execute(blobs.selected([one.sha256]))).one()
        try:
            data = await blobs.Opener(connection, self._keys).text(row, "a version")
        except DatabaseError:
            return one  # what cannot be read equals nothing
        spoken = (await connection.execute(platform)).scalar_one()
        return replace(one, comparable=self._rules.digest(spoken, data.decode("utf-8", "surrogateescape")))

    async def _times(
        self, connection: AsyncConnection, there: Sequence[Seen], merged: Sequence[Merged]
    ) -> None:
        before = {one.id: (one.first_seen_at, one.last_seen_at) for one in there}
        moved = [
            {"b_id": one.seen.id, "b_first": one.seen.first_seen_at, "b_last": one.seen.last_seen_at}
            for one in merged
            if one.seen.id is not None
            and before[one.seen.id] != (one.seen.first_seen_at, one.seen.last_seen_at)
        ]
        if moved:
            await connection.execute(_TIMES, moved)

    async def _texts(
        self, connection: AsyncConnection, wanted: set[bytes], contents: dict[bytes, bytes]
    ) -> None:
        given = [(digest, contents[digest]) for digest in wanted if digest in contents]
        if given:
            await blobs.add(connection, self._keys, given)
        missing = wanted - contents.keys()
        if missing and missing - await blobs.hold(connection, sorted(missing)):
            raise TextsGone(
                "texts that were imported just now are gone from the database: a prune ran at the same time. "
                "Import again; what came in already stays"
            )

    async def _numbers(
        self, connection: AsyncConnection, there: Sequence[Seen], merged: Sequence[Merged]
    ) -> None:
        """Give those that are there their new numbers: by way of negative ones, for no two may have the same."""
        before = {one.id: one.number for one in there}
        moved = [
            (one.seen.id, one.number)
            for one in merged
            if one.seen.id is not None and before[one.seen.id] != one.number
        ]
        for sign in (-1, 1):
            if moved:
                rows = [{"b_id": key, "b_version": sign * number} for key, number in moved]
                await connection.execute(_MOVED, rows)

    async def _insert(
        self,
        connection: AsyncConnection,
        output: tuple[int, str],
        fresh: Sequence[Merged],
        incoming: Sequence[Incoming],
    ) -> None:
        rows: list[dict[str, Any]] = []
        sizes = await blobs.sizes(connection, {one.seen.sha256 for one in fresh})
        for one in fresh:
            assert one.seen.place is not None  # noqa: S101 - it has no id, so it came in
            given = incoming[one.seen.place]
            rows.append(
                {
                    "device_id": output[0],
                    "kind": output[1],
                    "version": one.number,
                    "sha256": one.seen.sha256,
                    "size": sizes[one.seen.sha256],
                    "comparable": given.comparable,
                    "platform": given.platform,
                    "run_id": None,
                    "first_seen_at": one.seen.first_seen_at,
                    "last_seen_at": one.seen.last_seen_at,
                }
            )
        await connection.execute(insert(snapshots), rows)


def _beside(there: Sequence[Seen], incoming: Sequence[Incoming]) -> list[int]:
    """The places of those that something comparable comes to lie beside."""
    known = {one.key for one in there}
    moments = list(itertools.accumulate((one.first_seen_at for one in there), max))
    found: set[int] = set()
    for one in incoming:
        if one.comparable is not None and (one.first_seen_at, one.sha256) not in known:
            after = bisect.bisect_right(moments, one.placed_at or one.first_seen_at)
            found |= {after - 1, after}
    return sorted(place for place in found if 0 <= place < len(there))


def _seen(one: Incoming) -> Seen:
    return Seen(
        one.first_seen_at,
        one.last_seen_at,
        one.sha256,
        one.comparable,
        one.number,
        placed_at=one.placed_at,
        follows=one.follows,
    )


async def _lock(connection: AsyncConnection, device_id: int) -> None:
    """Nobody else puts versions of the device on record until the transaction ends."""
    statement = select(devices.c.id).where(devices.c.id == device_id).with_for_update()
    if (await connection.execute(statement)).first() is None:
        raise InputError("a device was removed while its versions were imported")
