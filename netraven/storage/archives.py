"""A history as an archive has it: read as of one moment, and put in again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.errors import DatabaseError
from netraven.model import Device, Selector, StoredVersion
from netraven.storage import blobs, tags
from netraven.storage.history_keys import HistoryKeys
from netraven.storage.importing import Added, Incoming, VersionImporter
from netraven.storage.inventory import SqlInventory
from netraven.storage.schema import device_tags, devices, snapshots
from netraven.storage.selecting import selecting
from netraven.storage.turns import Turns
from netraven.storage.types import padded
from netraven.storage.versions import PRINTED_BY, texts_by_id

PAGE = 200


class SqlArchives:
    def __init__(
        self, turns: Turns, keys: HistoryKeys, inventory: SqlInventory, importing: VersionImporter
    ) -> None:
        self._turns = turns
        self._database = turns.database
        self._keys = keys
        self._inventory = inventory
        self._importing = importing

    @asynccontextmanager
    async def reading(self, selector: Selector) -> AsyncIterator[Past]:
        """The history of the devices that are selected, as it is at this moment."""
        async with self._database.snapshot() as connection:
            yield Past(connection, self._keys, selector)

    async def known(self, names: Sequence[str]) -> dict[str, int]:
        """The ids of those of the devices that are in the inventory."""
        statement = select(devices.c.name, devices.c.id).where(devices.c.name.in_(padded(names)))
        async with self._database.reading() as connection:
            return {row.name: row.id for row in await connection.execute(statement)}

    async def create(self, wanted: Sequence[Device]) -> dict[str, int]:
        """Make devices that are not there; the ids of all. Those that are there stay as they are."""
        there = await self.known([device.name for device in wanted])
        await self._inventory.upsert_devices([device for device in wanted if device.name not in there])
        return await self.known([device.name for device in wanted])

    async def store_texts(self, texts: Sequence[tuple[bytes, bytes]]) -> None:
        """Texts to which versions will point in a moment."""
        async with self._turns.turn() as connection:
            await blobs.add(connection, self._keys, texts)

    async def merge(
        self,
        device_id: int | None,
        kind: str,
        incoming: Sequence[Incoming],
        contents: dict[bytes, bytes] | None = None,
        *,
        dry_run: bool,
    ) -> Added:
        """Put versions into an output of a device; ``device_id`` None: of one that is not there yet (dry run only)."""
        opened = self._database.reading() if dry_run else self._turns.turn()
        async with opened as connection:
            return await self._importing.merge(
                connection, device_id or 0, kind, incoming, contents, exact=True, dry_run=dry_run
            )


class Past:
    """What is on record of devices, in one transaction."""

    def __init__(self, connection: AsyncConnection, keys: HistoryKeys, selector: Selector) -> None:
        self._connection = connection
        self._keys = keys
        self._devices: list[ColumnElement[bool]] = []
        self._versions: list[ColumnElement[bool]] = []
        conditions = [and_(*some) for some in selecting(selector) if some]
        if conditions:
            self._devices = [or_(*conditions)]
            chosen = select(devices.c.id).where(*self._devices).correlate(None)
            self._versions = [snapshots.c.device_id.in_(chosen)]

    async def devices(self) -> AsyncIterator[Device]:
        """By name, with their ids."""
        last = ""
        while True:
            statement = select(devices).where(*self._devices, devices.c.name > last).order_by(devices.c.name)
            rows = (await self._connection.execute(statement.limit(PAGE))).all()
            names = (
                await tags.of_owners(self._connection, device_tags, [row.id for row in rows]) if rows else {}
            )
            for row in rows:
                carried = names.get(row.id, frozenset())
                yield Device(row.name, row.host, row.platform, row.port, carried, row.id)
            if len(rows) < PAGE:
                return
            last = rows[-1].name

    async def texts(self) -> AsyncIterator[tuple[StoredVersion, int]]:
        """Every text by its digest, once for each platform that printed it: one of its versions, and their number."""
        last = b""
        while True:
            digests = (
                select(snapshots.c.sha256)
                .where(snapshots.c.sha256 > last, *self._versions)
                .distinct()
                .order_by(snapshots.c.sha256)
                .limit(PAGE)
            )
            page = [bytes(found) for found in (await self._connection.execute(digests)).scalars()]
            if page:
                counted = (
                    select(func.min(snapshots.c.id).label("id"), func.count().label("uses"))
                    .join(devices, devices.c.id == snapshots.c.device_id)
                    .where(snapshots.c.sha256.in_(padded(page)), *self._versions)
                    .group_by(snapshots.c.sha256, PRINTED_BY.element)
                )
                uses = {row.id: row.uses for row in await self._connection.execute(counted)}
                found = await texts_by_id(self._connection, self._keys, list(uses))
                if len(found) < len(uses):
                    raise DatabaseError(
                        "versions in the database lack their text: it is damaged. Restore it from a backup"
                    )
                ordered = sorted(found.values(), key=lambda one: (one.version.sha256, one.version.platform))
                for stored in ordered:
                    yield stored, uses[stored.version.id]
            if len(page) < PAGE:
                return
            last = page[-1]

    async def versions(self, device: Device) -> Sequence[Any]:
        """The rows of ``snapshots`` of a device, by kind and number."""
        columns = (column for column in snapshots.c if column is not snapshots.c.platform)
        statement = (
            select(*columns, PRINTED_BY)
            .join(devices, devices.c.id == snapshots.c.device_id)
            .where(snapshots.c.device_id == device.id)
        )
        rows = (await self._connection.execute(statement)).all()
        return sorted(rows, key=lambda row: (row.kind, row.version))

    async def read(self, ids: Sequence[int]) -> dict[int, StoredVersion]:
        return await texts_by_id(self._connection, self._keys, ids)
