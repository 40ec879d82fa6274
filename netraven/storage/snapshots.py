"""Putting what devices said on record: a new version where something changed, else that the last one still holds.

A capture whose bytes, or whose text without what changes by itself, equal the current version's only moves
``last_seen_at``. Anything else is a new version; its text goes into ``blobs`` once, however many versions have it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, case, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.errors import DatabaseError, RowRefused
from netraven.history.rulebook import RuleBook
from netraven.model import AUTO, DeviceFinished
from netraven.storage import blobs
from netraven.storage.history_keys import HistoryKeys
from netraven.storage.schema import devices, snapshots
from netraven.storage.types import Id, padded

_newest = snapshots.alias("newest")
_current_version = (
    select(func.max(_newest.c.version))
    .where(_newest.c.device_id == devices.c.id, _newest.c.kind == bindparam("kind"))
    .correlate(devices)
    .scalar_subquery()
)
_CURRENT = (
    select(
        snapshots.c.id,
        snapshots.c.device_id,
        snapshots.c.version,
        snapshots.c.sha256,
        snapshots.c.comparable,
    )
    .select_from(devices)
    .join(
        snapshots,
        (snapshots.c.device_id == devices.c.id)
        & (snapshots.c.kind == bindparam("kind"))
        & (snapshots.c.version == _current_version),
    )
    .where(devices.c.id.in_(bindparam("ids", expanding=True)))
)
_HELD = (
    select(devices.c.id)
    .where(devices.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(devices.c.id)
    .with_for_update(read=True, key_share=True)
)
_ROW = snapshots.c.id == bindparam("b_id", type_=Id)
_AT = bindparam("b_at", type_=snapshots.c.last_seen_at.type)
_TOUCH = (  # a clock that went back takes nothing from what was seen
    update(snapshots)
    .where(_ROW)
    .values(last_seen_at=case((snapshots.c.last_seen_at < _AT, _AT), else_=snapshots.c.last_seen_at))
)
_COMPARED = update(snapshots).where(_ROW).values(comparable=bindparam("b_comparable"))
_INSERT = insert(snapshots).returning(snapshots.c.id, sort_by_parameter_order=True)


@dataclass(frozen=True, slots=True)
class Taken:
    """One capture, hashed."""

    device_id: int
    kind: str
    platform: str
    sha256: bytes
    data: bytes
    run_id: int | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a capture. ``id`` is that of the version that it made, or that it confirms."""

    id: int
    sha256: bytes
    """Of that version's text, which may differ from the capture in what changes by itself."""
    new: bool
    first: bool = False
    """Whether nothing of this kind was known of the device before."""


@dataclass(slots=True)
class _Newest:
    """The current version of one output of a device, stored or about to be."""

    version: int
    sha256: bytes
    comparable: bytes | None
    id: int | None = None
    """None while it is not stored yet."""
    row: dict[str, Any] | None = None
    """What will be stored."""
    seen_at: datetime | None = None
    """Until when it was confirmed by this batch."""
    compared_anew: bool = False


async def take(entry: DeviceFinished, at: datetime) -> list[Taken]:
    """Hash a device's captures: done before the transaction begins, so that nobody waits for it."""
    device = entry.outcome.device
    if entry.captures and device.id is None:
        raise RowRefused(f"device {device.name} is not in the inventory: its capture cannot be stored")
    spoken = "" if device.platform == AUTO else device.platform
    taken = []
    for capture in entry.captures:
        data = capture.data
        sha256 = await blobs.digest(data)
        platform = capture.platform or spoken
        taken.append(Taken(device.id or 0, capture.kind, platform, sha256, data, entry.run_id, at))
    return taken


class VersionWriter:
    """Makes versions of captures."""

    def __init__(self, keys: HistoryKeys, rules: RuleBook) -> None:
        self._keys = keys
        self._rules = rules

    async def store(self, connection: AsyncConnection, batch: Sequence[Taken]) -> list[Kept]:
        """Put captures on record; what became of each, in their order. Inside of the caller's transaction."""
        await _hold(connection, {taken.device_id for taken in batch})
        newest = await _current(connection, batch)
        texts: dict[bytes, bytes] = {}
        made: list[tuple[_Newest, bool, bool]] = []
        for taken in batch:
            key = (taken.device_id, taken.kind)
            current = newest.get(key)
            comparable = None
            if current is None or current.sha256 != taken.sha256:
                comparable = await self._comparable(taken.platform, taken.data)
                if current is None or not await self._same(connection, current, taken, comparable):
                    row = _row(taken, 1 if current is None else current.version + 1, comparable)
                    newest[key] = _Newest(row["version"], taken.sha256, comparable, row=row)
                    texts[taken.sha256] = taken.data
                    made.append((newest[key], True, current is None))
                    continue
            assert current is not None  # noqa: S101 - what is not known yet made a version above
            current.seen_at = max(current.seen_at or taken.at, taken.at)
            made.append((current, False, False))
        await self._write(connection, [one for one, _, _ in made], texts)
        return [Kept(one.id or 0, one.sha256, new, first) for one, new, first in made]

    async def _comparable(self, platform: str, data: bytes) -> bytes:
        text = data.decode("utf-8", "surrogateescape")
        if len(data) < blobs.LARGE:
            return self._rules.digest(platform, text)
        return await asyncio.to_thread(self._rules.digest, platform, text)

    async def _same(
        self, connection: AsyncConnection, current: _Newest, taken: Taken, comparable: bytes
    ) -> bool:
        """Whether only what changes by itself is different.

        Rules change with the program and with the user's platform files. So before a version is made, the stored text
        is looked at by today's rules: a new rule makes no versions.
        """
        if current.comparable == comparable:
            return True
        if current.id is None:
            return False
        found = await connection.execute(blobs.selected([current.sha256]))
        row = found.one_or_none()
        if row is None:
            return False  # its text is gone
        try:
            data = await blobs.Opener(connection, self._keys).text(row, "the current version")
        except DatabaseError:
            return False  # it cannot be read: what is here now is kept as a new one
        today = await self._comparable(taken.platform, data)
        current.compared_anew = current.compared_anew or today != current.comparable
        current.comparable = today
        return today == comparable

    async def _write(
        self, connection: AsyncConnection, made: Iterable[_Newest], texts: dict[bytes, bytes]
    ) -> None:
        each = {id(one): one for one in made}.values()
        confirmed = sorted((one.id, one) for one in each if one.id is not None and one.seen_at is not None)
        if confirmed:
            await connection.execute(_TOUCH, [{"b_id": key, "b_at": one.seen_at} for key, one in confirmed])
        if anew := [(key, one) for key, one in confirmed if one.compared_anew]:
            await connection.execute(
                _COMPARED, [{"b_id": key, "b_comparable": one.comparable} for key, one in anew]
            )
        if texts:
            await blobs.add(connection, self._keys, texts.items())
        fresh = [one for one in each if one.row is not None]
        if fresh:
            rows = []
            for one in fresh:
                row = one.row or {}
                rows.append(
                    row | {"last_seen_at": max(row["last_seen_at"], one.seen_at or row["last_seen_at"])}
                )
            ids = (await connection.execute(_INSERT, rows)).scalars().all()
            for one, key in zip(fresh, ids, strict=True):
                one.id = key


async def _hold(connection: AsyncConnection, ids: Iterable[int]) -> None:
    """Until the transaction ends nobody gives versions of these devices other numbers, as an import does.

    On PostgreSQL, that is: SQLite has one writer at a time. The outcome that follows locks them all the same.
    """
    ordered = sorted(ids)
    if ordered and connection.dialect.name != "sqlite":
        await connection.execute(_HELD, {"ids": padded(ordered)})


async def _current(connection: AsyncConnection, batch: Iterable[Taken]) -> dict[tuple[int, str], _Newest]:
    kinds: dict[str, set[int]] = {}
    for taken in batch:
        kinds.setdefault(taken.kind, set()).add(taken.device_id)
    found: dict[tuple[int, str], _Newest] = {}
    for kind, ids in kinds.items():
        for row in await connection.execute(_CURRENT, {"ids": padded(ids), "kind": kind}):
            found[row.device_id, kind] = _Newest(row.version, row.sha256, row.comparable, row.id)
    return found


def _row(taken: Taken, version: int, comparable: bytes) -> dict[str, Any]:
    return {
        "device_id": taken.device_id,
        "kind": taken.kind,
        "version": version,
        "sha256": taken.sha256,
        "size": len(taken.data),
        "comparable": comparable,
        "platform": taken.platform,
        "run_id": taken.run_id,
        "first_seen_at": taken.at,
        "last_seen_at": taken.at,
    }
