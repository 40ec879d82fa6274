"""Versions of configurations: what a device said, kept once per content.

A capture that equals the device's current version only moves ``last_seen_at``. Anything else is a new version; its
bytes go into ``blobs`` under their SHA-256, compressed, and once however many devices and versions have them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import zstandard
from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import Select

from netraven.errors import DatabaseError, RowRefused
from netraven.model import Capture, DeviceFinished
from netraven.storage.engine import Database
from netraven.storage.schema import blobs, devices, snapshots
from netraven.storage.types import Id, padded

LARGE = 256 * 1024
"""Bytes from which hashing and compressing leave the event loop: a millisecond's work and more."""

_LEVEL = 3
_CODEC = "zstd"

_version = snapshots.alias("version")
_current_id = (
    select(func.max(_version.c.id))
    .where(_version.c.device_id == devices.c.id, _version.c.kind == bindparam("kind"))
    .correlate(devices)
    .scalar_subquery()
)
_CURRENT = (
    select(snapshots.c.id, snapshots.c.device_id, snapshots.c.sha256)
    .select_from(devices)
    .join(snapshots, snapshots.c.id == _current_id)
    .where(devices.c.id.in_(bindparam("ids", expanding=True)))
)
_TOUCH = (
    update(snapshots)
    .where(snapshots.c.id == bindparam("b_id", type_=Id))
    .values(last_seen_at=bindparam("b_at", type_=snapshots.c.last_seen_at.type))
)
_INSERT = insert(snapshots)
_BLOB_SQLITE = sqlite.insert(blobs).on_conflict_do_nothing(index_elements=[blobs.c.sha256])
_BLOB_POSTGRESQL = postgresql.insert(blobs).on_conflict_do_nothing(index_elements=[blobs.c.sha256])


@dataclass(frozen=True, slots=True)
class Taken:
    """One capture, hashed."""

    device_id: int
    kind: str
    sha256: bytes
    data: bytes
    run_id: int
    at: datetime


@dataclass(frozen=True, slots=True)
class StoredCapture:
    """One version of a device's configuration, as it was captured."""

    device: str
    kind: str
    sha256: str
    text: str
    first_seen_at: datetime
    last_seen_at: datetime
    run: int | None
    """The run that saw it first; None once that run is gone."""


async def take(entry: DeviceFinished, at: datetime) -> list[Taken]:
    """Hash a device's captures: done before the transaction begins, so that nobody waits for it."""
    if entry.captures and entry.outcome.device.id is None:
        raise RowRefused(
            f"device {entry.outcome.device.name} is not in the inventory: its capture cannot be stored"
        )
    taken = []
    for capture in entry.captures:
        data, sha256 = await _digest(capture)
        taken.append(Taken(entry.outcome.device.id or 0, capture.kind, sha256, data, entry.run_id, at))
    return taken


async def _digest(capture: Capture) -> tuple[bytes, bytes]:
    data = capture.data
    if len(data) < LARGE:
        return data, hashlib.sha256(data).digest()
    return data, (await asyncio.to_thread(hashlib.sha256, data)).digest()


class _Changes:
    """What a batch of captures changes, gathered before it is written."""

    def __init__(self, current: dict[tuple[int, str], tuple[int, bytes]]) -> None:
        self.current = current
        self.seen: dict[int, datetime] = {}
        self.versions: list[dict[str, Any]] = []
        self.blobs: dict[bytes, bytes] = {}
        self._newest: dict[tuple[int, str], dict[str, Any]] = {}

    def add(self, taken: Taken) -> bool:
        """Take one capture in; whether it is a new version."""
        key = (taken.device_id, taken.kind)
        newest = self._newest.get(key)
        if newest is not None and newest["sha256"] == taken.sha256:
            newest["last_seen_at"] = max(newest["last_seen_at"], taken.at)
            return False
        stored = self.current.get(key)
        if newest is None and stored is not None and stored[1] == taken.sha256:
            self.seen[stored[0]] = max(self.seen.get(stored[0], taken.at), taken.at)
            return False
        row = {
            "device_id": taken.device_id,
            "kind": taken.kind,
            "sha256": taken.sha256,
            "run_id": taken.run_id,
            "first_seen_at": taken.at,
            "last_seen_at": taken.at,
        }
        self._newest[key] = row
        self.versions.append(row)
        self.blobs[taken.sha256] = taken.data
        return True


async def store(connection: AsyncConnection, batch: Iterable[Taken]) -> list[bool]:
    """Put captures on record; for each, in order, whether it is a new version of its (device, kind)."""
    batch = list(batch)
    kinds: dict[str, set[int]] = {}
    for taken in batch:
        kinds.setdefault(taken.kind, set()).add(taken.device_id)
    current: dict[tuple[int, str], tuple[int, bytes]] = {}
    for kind, ids in kinds.items():
        for key, device_id, sha256 in await connection.execute(_CURRENT, {"ids": padded(ids), "kind": kind}):
            current[device_id, kind] = (key, sha256)
    changes = _Changes(current)
    answers = [changes.add(taken) for taken in batch]
    if changes.seen:
        await connection.execute(
            _TOUCH, [{"b_id": key, "b_at": at} for key, at in sorted(changes.seen.items())]
        )
    if changes.versions:
        compressor = zstandard.ZstdCompressor(level=_LEVEL)
        rows = [await _pack(compressor, sha256, data) for sha256, data in sorted(changes.blobs.items())]
        await connection.execute(
            _BLOB_SQLITE if connection.dialect.name == "sqlite" else _BLOB_POSTGRESQL, rows
        )
        await connection.execute(_INSERT, changes.versions)
    return answers


async def _pack(compressor: zstandard.ZstdCompressor, sha256: bytes, data: bytes) -> dict[str, Any]:
    packed = (
        compressor.compress(data) if len(data) < LARGE else await asyncio.to_thread(compressor.compress, data)
    )
    return {"sha256": sha256, "codec": _CODEC, "size": len(data), "data": packed}


class SqlSnapshots:
    """Reads stored configurations back."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def latest(self, device: str, kind: str = "running") -> StoredCapture | None:
        """The current version of a device's configuration; None where nothing was ever captured."""
        statement = (
            _stored()
            .where(devices.c.name == device, snapshots.c.kind == kind)
            .order_by(snapshots.c.id.desc())
            .limit(1)
        )
        async with self._database.reading() as connection:
            row = (await connection.execute(statement)).first()
        return None if row is None else await _unpacked(row)

    async def by_sha(self, device: str, sha256: str) -> StoredCapture | None:
        """The newest version of a device's configurations whose SHA-256 starts with ``sha256`` (hex)."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(_versions().where(devices.c.name == device))).all()
            key = next((row.id for row in rows if row.sha256.hex().startswith(sha256.lower())), None)
            if key is None:
                return None
            row = (await connection.execute(_stored().where(snapshots.c.id == key))).one()
        return await _unpacked(row)

    async def kinds(self, device: str) -> Sequence[str]:
        """What has been captured of a device (``running`` ...), sorted."""
        statement = (
            select(snapshots.c.kind)
            .join(devices, devices.c.id == snapshots.c.device_id)
            .where(devices.c.name == device)
            .distinct()
            .order_by(snapshots.c.kind)
        )
        async with self._database.reading() as connection:
            return (await connection.execute(statement)).scalars().all()


def _versions() -> Select[Any]:
    return (
        select(snapshots.c.id, snapshots.c.sha256)
        .join(devices, devices.c.id == snapshots.c.device_id)
        .order_by(snapshots.c.id.desc())
    )


def _stored() -> Select[Any]:
    return (
        select(
            devices.c.name,
            snapshots.c.kind,
            snapshots.c.sha256,
            snapshots.c.first_seen_at,
            snapshots.c.last_seen_at,
            snapshots.c.run_id,
            blobs.c.codec,
            blobs.c.size,
            blobs.c.data,
        )
        .select_from(devices)
        .join(snapshots, snapshots.c.device_id == devices.c.id)
        .join(blobs, blobs.c.sha256 == snapshots.c.sha256)
    )


async def _unpacked(row: Any) -> StoredCapture:
    sha256 = row.sha256.hex()
    if row.codec != _CODEC:
        raise DatabaseError(
            f"version {sha256[:12]} of {row.name} is stored as {row.codec}: upgrade the program"
        )
    unpack = zstandard.ZstdDecompressor().decompress
    try:
        data = unpack(row.data) if row.size < LARGE else await asyncio.to_thread(unpack, row.data)
    except zstandard.ZstdError as error:
        raise DatabaseError(f"version {sha256[:12]} of {row.name} is damaged in the database") from error
    if hashlib.sha256(data).digest() != row.sha256:
        raise DatabaseError(f"version {sha256[:12]} of {row.name} is damaged in the database")
    text = data.decode("utf-8", "surrogateescape")
    return StoredCapture(row.name, row.kind, sha256, text, row.first_seen_at, row.last_seen_at, row.run_id)
