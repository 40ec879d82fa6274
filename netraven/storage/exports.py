"""Versions in the order in which they go into a git repository (``ports.Exports``).

Runs in the order in which they ended, imported versions at the moment they were first seen, each commit's worth in
portions that fit into memory. No transaction is open between two portions.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.errors import DatabaseError
from netraven.model import (
    AUTO,
    Exportable,
    Exported,
    Filed,
    Place,
    Portion,
    StoredVersion,
    Waiting,
)
from netraven.storage import blobs, tags
from netraven.storage.engine import Database
from netraven.storage.history_keys import HistoryKeys
from netraven.storage.schema import blobs as blob_table
from netraven.storage.schema import device_tags, devices, runs, snapshots
from netraven.storage.types import padded
from netraven.storage.versions import PRINTED_BY, version_of

PAGE = 50
"""Texts that are in memory at once."""
DEVICES = 500
IMPORTED = 5_000
"""Imported versions whose moments are looked up at once."""

_KEYS = (snapshots.c.id, snapshots.c.device_id, snapshots.c.kind, snapshots.c.version)
_STORED = (
    snapshots.c.id,
    snapshots.c.device_id,
    devices.c.name,
    devices.c.platform.label("spoken"),
    devices.c.detected_platform,
    snapshots.c.kind,
    snapshots.c.version,
    PRINTED_BY,
    snapshots.c.first_seen_at,
    snapshots.c.last_seen_at,
    snapshots.c.run_id,
    snapshots.c.sha256,
    blob_table.c.size,
    blob_table.c.sealed,
)


@dataclass(frozen=True, slots=True)
class _Group:
    """What goes into one commit: the rows of its versions (``_KEYS``), without texts."""

    run: int | None
    at: datetime
    rows: Sequence[Any]


class _Reached:
    """How far each output of a device has got, so that nothing older follows. Grows with the fleet."""

    def __init__(self, before: Exported) -> None:
        self._before = before
        self._numbers: dict[tuple[int, str], int] = {}

    async def newer_only(
        self, connection: AsyncConnection, rows: Sequence[Any], kinds: Sequence[str]
    ) -> list[Any]:
        await self._look_up({row.device_id for row in rows}, connection, kinds)
        kept = []
        for row in rows:
            key = (row.device_id, row.kind)
            if row.version > self._numbers.get(key, 0):
                self._numbers[key] = row.version
                kept.append(row)
        return kept

    async def _look_up(self, ids: set[int], connection: AsyncConnection, kinds: Sequence[str]) -> None:
        if self._before == Exported():
            return
        unknown = sorted(key for key in ids if (key, kinds[0]) not in self._numbers)
        for start in range(0, len(unknown), DEVICES):
            page = unknown[start : start + DEVICES]
            self._numbers.update({(key, kind): 0 for key in page for kind in kinds})
            newest = (
                select(
                    snapshots.c.device_id, snapshots.c.kind, func.max(snapshots.c.version).label("version")
                )
                .where(
                    snapshots.c.device_id.in_(padded(page)), snapshots.c.kind.in_(kinds), _in(self._before)
                )
                .group_by(snapshots.c.device_id, snapshots.c.kind)
            )
            for row in await connection.execute(newest):
                self._numbers[row.device_id, row.kind] = row.version


class SqlExports:
    """See ``ports.Exports``."""

    def __init__(self, database: Database, keys: HistoryKeys) -> None:
        self._database = database
        self._keys = keys

    async def waiting(self, exported: Exported, kinds: Sequence[str]) -> AsyncIterator[Portion]:
        async with self._database.reading() as connection:
            await _same_past(connection, exported)
            finished, unfinished = await _runs(connection, exported)
        reached = _Reached(exported)
        done, passed = exported, 0
        told = exported.skipped
        left_out_at: datetime | None = None
        barriers = _barriers([run for _, run in finished], unfinished)
        async for group in self._groups(finished, exported, kinds):
            if group.run is None:
                done = replace(done, imported=max(done.imported, *(row.id for row in group.rows)))
            else:
                done, passed = done.with_runs([group.run], barriers[passed + 1]), passed + 1
            async with self._database.reading() as connection:
                rows = await reached.newer_only(connection, group.rows, kinds)
            if group.run is None:
                done = replace(done, skipped=done.skipped + len(group.rows) - len(rows))
                left_out_at = group.at
            for start in range(0, len(rows), PAGE):
                page = [row.id for row in rows[start : start + PAGE]]
                last = start + PAGE >= len(rows)
                async with self._database.reading() as connection:
                    found = await self._exportables(connection, page)
                told = done.skipped
                yield Portion(group.run, group.at, tuple(found), done, last)
        if done.skipped > told and left_out_at is not None:
            yield Portion(None, left_out_at, (), done)

    async def _groups(
        self, finished: Sequence[tuple[datetime, int]], exported: Exported, kinds: Sequence[str]
    ) -> AsyncIterator[_Group]:
        imported = self._imported(exported, kinds)
        next_imported = await anext(imported, None)
        for at, run in finished:
            while next_imported is not None and next_imported.at <= at:
                yield next_imported
                next_imported = await anext(imported, None)
            statement = (
                select(*_KEYS)
                .where(snapshots.c.run_id == run, snapshots.c.kind.in_(kinds))
                .order_by(snapshots.c.id)
            )
            async with self._database.reading() as connection:
                rows = (await connection.execute(statement)).all()
            yield _Group(run, at, rows)
        while next_imported is not None:
            yield next_imported
            next_imported = await anext(imported, None)

    async def _imported(self, exported: Exported, kinds: Sequence[str]) -> AsyncIterator[_Group]:
        """By the moment they were first seen; of one moment all together."""
        where = [*_imported_after(exported), snapshots.c.kind.in_(kinds)]
        last: datetime | None = None
        while True:
            moments = select(snapshots.c.first_seen_at).where(*where).order_by(snapshots.c.first_seen_at)
            if last is not None:
                moments = moments.where(snapshots.c.first_seen_at > last)
            async with self._database.reading() as connection:
                found = (await connection.execute(moments.limit(IMPORTED))).scalars().all()
                if not found:
                    return
                upto = found[-1]
                page = select(*_KEYS, snapshots.c.first_seen_at).where(
                    *where, snapshots.c.first_seen_at <= upto
                )
                if last is not None:
                    page = page.where(snapshots.c.first_seen_at > last)
                page = page.order_by(snapshots.c.first_seen_at, snapshots.c.version, snapshots.c.id)
                rows = (await connection.execute(page)).all()
            for group in _by_moment(rows):
                yield group
            last = upto

    async def counted(self, exported: Exported, kinds: Sequence[str]) -> Waiting:
        of_runs = (
            select(func.count(), func.count(snapshots.c.run_id.distinct()))
            .join(runs, runs.c.id == snapshots.c.run_id)
            .where(*_not_yet(exported), snapshots.c.kind.in_(kinds))
        )
        imported = (
            select(func.count())
            .select_from(snapshots)
            .where(*_imported_after(exported), snapshots.c.kind.in_(kinds))
        )
        async with self._database.reading() as connection:
            versions, number = (await connection.execute(of_runs)).one()
            further = (await connection.execute(imported)).scalar_one()
        return Waiting(number, versions + further)

    async def devices(self, kinds: Sequence[str]) -> AsyncIterator[Filed]:
        last = ""
        columns = (devices.c.id, devices.c.name, devices.c.platform, devices.c.detected_platform)
        while True:
            statement = select(*columns).where(devices.c.name > last).order_by(devices.c.name).limit(DEVICES)
            async with self._database.reading() as connection:
                page = (await connection.execute(statement)).all()
                ids = [row.id for row in page]
                names = await tags.of_owners(connection, device_tags, ids) if ids else {}
                there: dict[int, list[str]] = {}
                for kind in kinds if ids else ():
                    some = select(snapshots.c.id).where(
                        snapshots.c.device_id == devices.c.id, snapshots.c.kind == kind
                    )
                    of_kind = select(devices.c.id).where(devices.c.id.in_(padded(ids)), some.exists())
                    for key in (await connection.execute(of_kind)).scalars():
                        there.setdefault(key, []).append(kind)
            for row in page:
                if row.id in there:
                    yield Filed(_place(row.name, names.get(row.id, ()), row.platform, row.detected_platform),
                                tuple(there[row.id]))  # fmt: skip
            if len(page) < DEVICES:
                return
            last = page[-1].name

    async def last(self, device: str, kind: str, exported: Exported) -> Exportable | None:
        newest = (
            select(snapshots.c.id)
            .join(devices, devices.c.id == snapshots.c.device_id)
            .where(devices.c.name == device, snapshots.c.kind == kind, _in(exported))
            .order_by(snapshots.c.version.desc())
            .limit(1)
        )
        async with self._database.reading() as connection:
            key = (await connection.execute(newest)).scalar_one_or_none()
            found = [] if key is None else await self._exportables(connection, [key])
        return found[0] if found else None

    async def _exportables(self, connection: AsyncConnection, ids: Sequence[int]) -> list[Exportable]:
        """Versions with their texts, in the order of ``ids``. A damaged text is the trouble of its version alone."""
        rows = {row.id: row for row in await connection.execute(_stored(ids))}
        names = await tags.of_owners(connection, device_tags, {row.device_id for row in rows.values()})
        if any(row.sealed for row in rows.values()):
            await self._keys.opening(
                connection
            )  # without a key nothing can be read: that is no version's trouble
        statement = blobs.selected([row.sha256 for row in rows.values()])
        texts = {bytes(row.sha256): row for row in await connection.execute(statement)}
        opener = blobs.Opener(connection, self._keys)
        found = []
        for row in (rows[key] for key in ids if key in rows):
            version = version_of(row)
            place = _place(row.name, names.get(row.device_id, ()), row.spoken, row.detected_platform)
            try:
                whose = f"version {row.version} ({row.kind}) of {row.name}"
                data = await opener.text(texts[bytes(row.sha256)], whose)
            except DatabaseError as error:
                found.append(Exportable(version, place, None, str(error)))
            else:
                text = data.decode("utf-8", "surrogateescape")
                found.append(Exportable(version, place, StoredVersion(version, text)))
        return found


def _stored(ids: Sequence[int]) -> Select[Any]:
    return (
        select(*_STORED)
        .select_from(snapshots)
        .join(devices, devices.c.id == snapshots.c.device_id)
        .join(blobs.WITH_BASE, blob_table.c.sha256 == snapshots.c.sha256)
        .where(snapshots.c.id.in_(padded(ids)))
    )


def _place(name: str, its_tags: Sequence[str] | Any, platform: str, detected: str | None) -> Place:
    spoken = (detected or "") if platform == AUTO else platform
    return Place(name, min(its_tags, default=""), spoken)


def _not_yet(exported: Exported) -> list[ColumnElement[bool]]:
    """Of finished runs that a repository does not hold. Joined with ``runs``."""
    conditions = [runs.c.finished_at.is_not(None), runs.c.id > exported.through]
    if exported.runs:
        conditions.append(runs.c.id.not_in(padded(sorted(exported.runs))))
    return conditions


def _imported_after(exported: Exported) -> list[ColumnElement[bool]]:
    return [snapshots.c.run_id.is_(None), snapshots.c.id > exported.imported]


def _in(exported: Exported) -> ColumnElement[bool]:
    """Of what a repository holds."""
    conditions = [
        snapshots.c.run_id <= exported.through,
        snapshots.c.run_id.is_(None) & (snapshots.c.id <= exported.imported),
    ]
    if exported.runs:
        conditions.append(snapshots.c.run_id.in_(padded(sorted(exported.runs))))
    return or_(*conditions)


async def _same_past(connection: AsyncConnection, exported: Exported) -> None:
    """Raise ``DatabaseError`` where a repository holds runs that the database does not have yet: the next ones would
    get their numbers, and be taken for exported.
    """
    newest = (await connection.execute(select(func.max(runs.c.id)))).scalar_one() or 0
    held = max([exported.through, *exported.runs])
    if held > newest:
        raise DatabaseError(
            f"the git repository holds run {held}, and the last one on record is {newest}: it was made from another "
            "database, or this one is an older copy. `netraven git export --rebuild` makes it from what is on record"
        )


async def _runs(
    connection: AsyncConnection, exported: Exported
) -> tuple[list[tuple[datetime, int]], list[int]]:
    """Those not held yet: the finished ones in the order in which they ended, and those that go on."""
    statement = select(runs.c.id, runs.c.finished_at).where(runs.c.id > exported.through)
    finished, unfinished = [], []
    for row in await connection.execute(statement):
        if row.finished_at is None:
            unfinished.append(row.id)
        elif row.id not in exported.runs:
            finished.append((row.finished_at, row.id))
    return sorted(finished), unfinished


def _barriers(order: Sequence[int], unfinished: Sequence[int]) -> list[list[int]]:
    """For each number of runs that were passed, the least one that was not: nothing from it on is all there."""
    barriers = [list(unfinished)]
    for run in reversed(order):
        barriers.append([min([run, *barriers[-1]])])
    return barriers[::-1]


def _by_moment(rows: Sequence[Any]) -> Iterator[_Group]:
    start = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or rows[end].first_seen_at != rows[start].first_seen_at:
            yield _Group(None, rows[start].first_seen_at, rows[start:end])
            start = end
