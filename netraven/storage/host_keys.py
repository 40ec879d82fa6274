"""Host keys on record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.model import HostKey, HostKeyRefused, HostKeySeen, utcnow
from netraven.storage.schema import devices, host_keys
from netraven.storage.types import padded

TRUSTED, REFUSED, REVOKED = "trusted", "refused", "revoked"
"""What a key on record is: let pass; shown once and waiting for a person; never to be let pass."""

_LOCK = (
    select(devices.c.id)
    .where(devices.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(devices.c.id)
    .with_for_update(key_share=True)
)
_KEYS = (
    select(host_keys.c.device_id, host_keys.c.algorithm, host_keys.c.key, host_keys.c.state)
    .where(host_keys.c.device_id.in_(bindparam("ids", expanding=True)), host_keys.c.state != REFUSED)
    .order_by(host_keys.c.id)
)
_ANY = select(host_keys.c.device_id, host_keys.c.key, host_keys.c.state).where(
    host_keys.c.device_id.in_(bindparam("ids", expanding=True))
)
_REFUSED = _ANY.where(host_keys.c.state == REFUSED)
_DROP_REFUSED = delete(host_keys).where(
    host_keys.c.device_id.in_(bindparam("ids", expanding=True)), host_keys.c.state == REFUSED
)
_TRUST = (
    update(host_keys)
    .where(host_keys.c.device_id == bindparam("b_device"), host_keys.c.key == bindparam("b_key"))
    .values(state=TRUSTED)
)
_INSERT = insert(host_keys)


async def remember(connection: AsyncConnection, entries: Sequence[HostKeySeen]) -> list[tuple[HostKey, ...]]:
    """Put the first key of each device on record, and answer with the keys that stand there now.

    A device that has keys keeps exactly those: a second process that met another key sees in the answer that it came
    too late. The devices' rows are locked first (SQLite's writer has the lock already), so that this cannot race.
    """
    ids = {entry.device.id for entry in entries if entry.device.id is not None}
    await connection.execute(_LOCK, {"ids": padded(ids)})
    known, _ = await of_devices(connection, ids)
    waiting = {(row.device_id, row.key) for row in await connection.execute(_REFUSED, {"ids": padded(ids)})}
    rows: list[dict[str, Any]] = []
    answers: list[tuple[HostKey, ...]] = []
    for entry in entries:
        device_id = entry.device.id
        if device_id is None:
            answers.append((entry.key,))
            continue
        if device_id not in known:
            known[device_id] = (entry.key,)
            if (device_id, entry.key.key) in waiting:
                await connection.execute(_TRUST, {"b_device": device_id, "b_key": entry.key.key})
                answers.append(known[device_id])
                continue
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


async def refuse(connection: AsyncConnection, entries: Sequence[HostKeyRefused]) -> None:
    """Let keys that were not let pass wait on record. Of one device the last one waits, and nothing else changes."""
    latest = {entry.device.id: entry for entry in entries if entry.device.id is not None}
    known = {
        (row.device_id, row.key)
        for row in await connection.execute(_ANY, {"ids": padded(latest)})
        if row.state != REFUSED
    }
    rows = [
        {
            "device_id": device_id,
            "algorithm": entry.key.algorithm,
            "key": entry.key.key,
            "fingerprint": entry.key.fingerprint,
            "first_seen_at": entry.at,
            "state": REFUSED,
        }
        for device_id, entry in sorted(latest.items())
        if (device_id, entry.key.key) not in known
    ]
    await connection.execute(_DROP_REFUSED, {"ids": padded(latest)})
    if rows:
        await connection.execute(_INSERT, rows)


async def of_devices(
    connection: AsyncConnection, ids: Iterable[int]
) -> tuple[dict[int, tuple[HostKey, ...]], dict[int, tuple[HostKey, ...]]]:
    """The trusted and the revoked keys on record by device id; a device without any is not in it."""
    trusted: dict[int, tuple[HostKey, ...]] = {}
    revoked: dict[int, tuple[HostKey, ...]] = {}
    for device_id, algorithm, key, state in await connection.execute(_KEYS, {"ids": padded(ids)}):
        keys = trusted if state == TRUSTED else revoked
        keys[device_id] = (*keys.get(device_id, ()), HostKey(algorithm, key))
    return trusted, revoked
