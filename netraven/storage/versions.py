"""Reading configurations back, of any time, one device or all of them (``ports.Versions``)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, case, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from netraven.errors import DatabaseError
from netraven.model import AUTO, Selector, StoredVersion, Version
from netraven.ports import Unreadable
from netraven.storage import blobs
from netraven.storage.engine import Database
from netraven.storage.history_keys import HistoryKeys
from netraven.storage.schema import blobs as blob_table
from netraven.storage.schema import devices, snapshots
from netraven.storage.selecting import selecting
from netraven.storage.types import padded

PAGE = 200
"""Versions that are read at once: a few megabytes."""

PRINTED_BY = case(
    (snapshots.c.platform != "", snapshots.c.platform),
    (devices.c.platform != AUTO, devices.c.platform),
    else_=func.coalesce(devices.c.detected_platform, ""),
).label("platform")
"""The platform that a version is of. Where it was not known on that day, what is known of the device by now."""

_SNAPSHOT = (
    snapshots.c.id,
    devices.c.name,
    snapshots.c.kind,
    snapshots.c.version,
    snapshots.c.sha256,
    PRINTED_BY,
    snapshots.c.first_seen_at,
    snapshots.c.last_seen_at,
    snapshots.c.run_id,
    snapshots.c.size,
)
_TEXT = (*_SNAPSHOT, *blobs.ENCODED)


class SqlVersions:
    """No transaction is open between pages of what is read lazily."""

    def __init__(self, database: Database, keys: HistoryKeys) -> None:
        self._database = database
        self._keys = keys

    async def history(self, device: str, kind: str, *, limit: int | None = None) -> Sequence[Version]:
        statement = _of(device, kind, _SNAPSHOT).order_by(snapshots.c.version.desc()).limit(limit)
        async with self._database.reading() as connection:
            return [version_of(row) for row in await connection.execute(statement)]

    async def current(self, device: str, kind: str) -> StoredVersion | None:
        return await self._newest(_of(device, kind, _TEXT))

    async def numbered(self, device: str, kind: str, number: int) -> StoredVersion | None:
        return await self._newest(_of(device, kind, _TEXT).where(snapshots.c.version == number))

    async def before(self, version: Version) -> StoredVersion | None:
        earlier = _of(version.device, version.kind, _TEXT).where(snapshots.c.version < version.number)
        return await self._newest(earlier)

    async def at(self, device: str, kind: str, moment: datetime) -> StoredVersion | None:
        return await self._newest(_of(device, kind, _TEXT).where(snapshots.c.first_seen_at <= moment))

    async def by_ids(self, ids: Sequence[int]) -> Sequence[StoredVersion]:
        """Versions by their ids, in that order; those that are gone are left out."""
        async with self._database.reading() as connection:
            found = await self._texts(connection, ids)
        return [found[key] for key in ids if key in found]

    async def changed_in(self, run: int) -> AsyncIterator[tuple[StoredVersion | None, StoredVersion]]:
        earlier = snapshots.alias("earlier")
        before = (
            select(func.max(earlier.c.version))
            .where(
                earlier.c.device_id == snapshots.c.device_id,
                earlier.c.kind == snapshots.c.kind,
                earlier.c.version < snapshots.c.version,
            )
            .correlate(snapshots)
            .scalar_subquery()
        )
        previous = snapshots.alias("previous")
        statement = (
            select(snapshots.c.id, previous.c.id.label("previous"))
            .join(devices, devices.c.id == snapshots.c.device_id)
            .outerjoin(
                previous,
                (previous.c.device_id == snapshots.c.device_id)
                & (previous.c.kind == snapshots.c.kind)
                & (previous.c.version == before),
            )
            .where(snapshots.c.run_id == run)
            .order_by(devices.c.name, snapshots.c.kind, snapshots.c.version)
        )
        async with self._database.reading() as connection:
            pairs = (await connection.execute(statement)).all()
        for start in range(0, len(pairs), PAGE // 2):
            page = pairs[start : start + PAGE // 2]
            ids = [key for pair in page for key in (pair.id, pair.previous) if key is not None]
            async with self._database.reading() as connection:
                found = await self._texts(connection, ids)
            for pair in page:
                if pair.id in found:
                    yield found.get(pair.previous), found[pair.id]

    async def all_at(
        self,
        selector: Selector,
        kind: str | None,
        moment: datetime | None = None,
        *,
        unreadable: Unreadable | None = None,
    ) -> AsyncIterator[StoredVersion]:
        for conditions in selecting(selector):
            last = ""
            while True:
                async with self._database.reading() as connection:
                    page = await _page_of_devices(connection, conditions, last)
                    keys = await _in_force(connection, [row.id for row in page], kind, moment)
                    found = await texts_by_id(connection, self._keys, keys, unreadable)
                for stored in sorted(found.values(), key=lambda s: (s.version.device, s.version.kind)):
                    yield stored
                if len(page) < PAGE:
                    break
                last = page[-1].name

    async def every(
        self, selector: Selector, kind: str | None = None, *, unreadable: Unreadable | None = None
    ) -> AsyncIterator[StoredVersion]:
        for conditions in selecting(selector):
            last = ""
            while True:
                async with self._database.reading() as connection:
                    page = await _page_of_devices(connection, conditions, last)
                for device in page:
                    async for stored in self._all_of(device.id, kind, unreadable):
                        yield stored
                if len(page) < PAGE:
                    break
                last = page[-1].name

    async def _all_of(
        self, device_id: int, kind: str | None, unreadable: Unreadable | None
    ) -> AsyncIterator[StoredVersion]:
        """Every version of one device, a page at a time: the index has them in their order."""
        place = tuple_(snapshots.c.kind, snapshots.c.version)
        statement = _joined(_TEXT).where(snapshots.c.device_id == device_id).order_by(*place).limit(PAGE)
        if kind is not None:
            statement = statement.where(snapshots.c.kind == kind)
        last: tuple[str, int] | None = None
        while True:
            async with self._database.reading() as connection:
                further = statement if last is None else statement.where(place > last)
                rows = (await connection.execute(further)).all()
                opener = blobs.Opener(connection, self._keys)
                page = [await _opened_or_told(opener, row, unreadable) for row in rows]
            for stored in page:
                if stored is not None:
                    yield stored
            if len(rows) < PAGE:
                return
            last = (rows[-1].kind, rows[-1].version)

    async def kinds(self, device: str) -> Sequence[str]:
        statement = (
            select(snapshots.c.kind)
            .join(devices, devices.c.id == snapshots.c.device_id)
            .where(devices.c.name == device)
            .distinct()
            .order_by(snapshots.c.kind)
        )
        async with self._database.reading() as connection:
            return (await connection.execute(statement)).scalars().all()

    async def _newest(self, statement: Select[Any]) -> StoredVersion | None:
        async with self._database.reading() as connection:
            row = (await connection.execute(statement.order_by(snapshots.c.version.desc()).limit(1))).first()
            return None if row is None else await opened(blobs.Opener(connection, self._keys), row)

    async def _texts(self, connection: AsyncConnection, ids: Sequence[int]) -> dict[int, StoredVersion]:
        return await texts_by_id(connection, self._keys, ids)


async def texts_by_id(
    connection: AsyncConnection,
    keys: HistoryKeys,
    ids: Sequence[int],
    unreadable: Unreadable | None = None,
) -> dict[int, StoredVersion]:
    """Those of the versions that are there."""
    if not ids:
        return {}
    rows = await connection.execute(_joined(_TEXT).where(snapshots.c.id.in_(padded(ids))))
    opener = blobs.Opener(connection, keys)
    found = [(row.id, await _opened_or_told(opener, row, unreadable)) for row in rows.all()]
    return {key: stored for key, stored in found if stored is not None}


async def _opened_or_told(
    opener: blobs.Opener, row: Any, unreadable: Unreadable | None
) -> StoredVersion | None:
    """None where the text cannot be read and somebody was told so."""
    try:
        return await opened(opener, row)
    except DatabaseError as error:
        if unreadable is None:
            raise
        unreadable(version_of(row), error)
        return None


async def opened(opener: blobs.Opener, row: Any) -> StoredVersion:
    data = await opener.text(row, f"version {row.version} ({row.kind}) of {row.name}")
    return StoredVersion(version_of(row), data.decode("utf-8", "surrogateescape"))


def _joined(columns: Sequence[ColumnElement[Any]]) -> Select[Any]:
    statement = select(*columns).select_from(devices).join(snapshots, snapshots.c.device_id == devices.c.id)
    if columns is not _TEXT:
        return statement
    return statement.join(blobs.WITH_BASE, blob_table.c.sha256 == snapshots.c.sha256)


def _of(device: str, kind: str, columns: Sequence[ColumnElement[Any]]) -> Select[Any]:
    return _joined(columns).where(devices.c.name == device, snapshots.c.kind == kind)


async def _page_of_devices(
    connection: AsyncConnection, conditions: Sequence[ColumnElement[bool]], last: str
) -> Sequence[Any]:
    statement = (
        select(devices.c.id, devices.c.name)
        .where(*conditions, devices.c.name > last)
        .order_by(devices.c.name)
        .limit(PAGE)
    )
    return (await connection.execute(statement)).all()


async def _in_force(
    connection: AsyncConnection, ids: Sequence[int], kind: str | None, moment: datetime | None
) -> Sequence[int]:
    """The ids of the versions of these devices that were in force at a moment; one look into the index for each."""
    if not ids:
        return []
    mine = snapshots.c.device_id.in_(padded(ids))
    kinds: Sequence[str] = [kind] if kind is not None else []
    if kind is None:
        kinds = (await connection.execute(select(snapshots.c.kind).where(mine).distinct())).scalars().all()
    found: list[int] = []
    for one in kinds:
        newest = select(snapshots.c.id).where(snapshots.c.device_id == devices.c.id, snapshots.c.kind == one)
        if moment is not None:
            newest = newest.where(snapshots.c.first_seen_at <= moment)
        newest = newest.order_by(snapshots.c.version.desc()).limit(1).correlate(devices)
        statement = select(newest.scalar_subquery()).where(devices.c.id.in_(padded(ids)))
        found += [key for key in (await connection.execute(statement)).scalars() if key is not None]
    return found


def version_of(row: Any) -> Version:
    return Version(
        id=row.id,
        device=row.name,
        kind=row.kind,
        number=row.version,
        sha256=row.sha256.hex(),
        size=row.size,
        platform=row.platform,
        first_seen_at=row.first_seen_at,
        last_seen_at=row.last_seen_at,
        run=row.run_id,
    )
