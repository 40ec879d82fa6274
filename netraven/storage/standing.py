"""Which devices were not collected for long, whatever the reason: also those that no run was ever told to visit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.model import AUTO, JUMP_HOST, Selector, StaleDevice
from netraven.storage.engine import Database
from netraven.storage.schema import device_standing, device_tags, devices
from netraven.storage.schema import tags as tag_table
from netraven.storage.selecting import PAGE, selecting
from netraven.storage.types import padded

_s = device_standing.c


class SqlStanding:
    """How devices stand, as far as runs have left it on record."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, selector: Selector, before: datetime) -> int:
        """How many of the selected devices were not collected since ``before``. Jump hosts never are, nor counted."""
        number = 0
        async with self._database.reading() as connection:
            for conditions in selecting(selector):
                stale = _stale(conditions, func.count()).where(_NEVER | (_s.collected_at < before))
                number += (await connection.execute(stale)).scalar_one()
        return number

    async def stale(self, selector: Selector, before: datetime) -> AsyncIterator[StaleDevice]:
        """Those devices: first the ones that never were collected, by name, then the others, the oldest first.

        Read lazily. Where the selector names more than a statement takes, that is so for each part of the names.
        """
        for conditions in selecting(selector):
            never = _stale(conditions, *_COLUMNS).where(_NEVER)
            async for device in self._pages(never, [devices.c.name]):
                yield device
            old = _stale(conditions, *_COLUMNS).where(_s.collected_at < before)
            async for device in self._pages(old, [_s.collected_at, devices.c.name]):
                yield device

    async def _pages(
        self, statement: Select[Any], order: Sequence[ColumnElement[Any]]
    ) -> AsyncIterator[StaleDevice]:
        page = statement.order_by(*order).limit(PAGE)
        after: tuple[Any, ...] | None = None
        while True:
            wanted = page if after is None else page.where(tuple_(*order) > after)
            async with self._database.reading() as connection:
                rows = (await connection.execute(wanted)).all()
                tags = await _tags(connection, rows)
            for row in rows:
                yield _device(row, tags.get(row.id, frozenset()))
            if len(rows) < PAGE:
                return
            after = tuple(getattr(rows[-1], column.key or "") for column in order)


_NEVER = _s.collected_at.is_(None)
_COLUMNS = (
    devices.c.id,
    devices.c.name,
    devices.c.platform,
    devices.c.detected_platform,
    _s.collected_at,
    _s.tried_at,
    _s.reason,
)


def _stale(conditions: Sequence[ColumnElement[bool]], *columns: Any) -> Select[Any]:
    return (
        select(*columns)
        .select_from(devices)
        .outerjoin(device_standing, _s.device_id == devices.c.id)
        .where(*conditions, devices.c.platform != JUMP_HOST)
    )


async def _tags(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> dict[int, frozenset[str]]:
    if not rows:
        return {}
    carried = (
        select(device_tags.c.device_id, tag_table.c.name)
        .join(tag_table, tag_table.c.id == device_tags.c.tag_id)
        .where(device_tags.c.device_id.in_(padded(sorted(row.id for row in rows))))
    )
    found: dict[int, set[str]] = {}
    for device_id, name in await connection.execute(carried):
        found.setdefault(device_id, set()).add(name)
    return {device_id: frozenset(names) for device_id, names in found.items()}


def _device(row: Row[Any], tags: frozenset[str]) -> StaleDevice:
    platform = (row.detected_platform or AUTO) if row.platform == AUTO else row.platform
    return StaleDevice(row.name, platform, tags, row.collected_at, row.tried_at, row.reason)
