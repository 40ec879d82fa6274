"""Host keys on record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.model import HostKey, HostKeySeen, utcnow
from netraven.storage.schema import devices, host_keys
from netraven.storage.types import padded

_LOCK = (
    select(devices.c.id)
    .where(devices.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(devices.c.id)
    .with_for_update(key_share=True)
)
_KEYS = (
    select(host_keys.c.device_id, host_keys.c.algorithm, host_keys.c.key)
    .where(host_keys.c.device_id.in_(bindparam("ids", expanding=True)))
    .order_by(host_keys.c.id)
)
_INSERT = insert(host_keys)


async def remember(connection: AsyncConnection, entries: Sequence[HostKeySeen]) -> list[tuple[HostKey, ...]]:
    """Put the first key of each device on record, and answer with the keys that stand there now.

    A device that has keys keeps exactly those: a second process that met another key sees in the answer that it came
    too late. The devices' rows are locked first (SQLite's writer has the lock already), so that this cannot race.
    """
    ids = {entry.device.id for entry in entries if entry.device.id is not None}
    await connection.execute(_LOCK, {"ids": padded(ids)})
    known = await of_devices(connection, ids)
    rows: list[dict[str, Any]] = []
    answers: list[tuple[HostKey, ...]] = []
    for entry in entries:
        device_id = entry.device.id
        if device_id is None:
            answers.append((entry.key,))
            continue
        if device_id not in known:
            known[device_id] = (entry.key,)
            rows.append(
                {
                    "device_id": device_id,
                    "algorithm": entry.key.algorithm,
                    "key": entry.key.key,
                    "fingerprint": entry.key.fingerprint,
                    "first_seen_at": utcnow(),
                }
            )
        answers.append(known[device_id])
    if rows:
        await connection.execute(_INSERT, rows)
    return answers


async def of_devices(connection: AsyncConnection, ids: Iterable[int]) -> dict[int, tuple[HostKey, ...]]:
    """The keys on record by device id; a device without any is not in it."""
    keys: dict[int, tuple[HostKey, ...]] = {}
    for device_id, algorithm, key in await connection.execute(_KEYS, {"ids": padded(ids)}):
        keys[device_id] = (*keys.get(device_id, ()), HostKey(algorithm, key))
    return keys


async def forget(connection: AsyncConnection, device_id: int | None) -> int:
    """Take a device's keys off the record; how many there were."""
    return (await connection.execute(delete(host_keys).where(host_keys.c.device_id == device_id))).rowcount
