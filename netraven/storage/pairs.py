"""What is on record of one secret at one device: read for devices as a run meets them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.model import Pair, Unaccepted, Verdict
from netraven.storage.schema import credential_attempts, credential_pairs
from netraven.storage.types import UtcDateTime, padded

_COLUMNS = (
    "credential_id",
    "secret_version",
    "last_verdict",
    "last_verdict_at",
    "last_success",
    "failures_in_row",
)
_PAIRS = (
    select(credential_pairs.c.device_id, *(credential_pairs.c[name] for name in _COLUMNS))
    .where(credential_pairs.c.device_id.in_(bindparam("ids", expanding=True)))
    .where(credential_pairs.c.last_verdict.in_([Verdict.ACCEPTED.value, Verdict.REFUSED.value]))
    .order_by(credential_pairs.c.device_id, credential_pairs.c.credential_id)
)

_ATTEMPT = credential_attempts.c
_UNACCEPTED = select(
    _ATTEMPT.device_id, _ATTEMPT.realm, _ATTEMPT.credential_username, _ATTEMPT.started_at
).where(
    _ATTEMPT.device_id.in_(bindparam("ids", expanding=True)),
    _ATTEMPT.started_at >= bindparam("since", type_=UtcDateTime()),
    _ATTEMPT.verdict != Verdict.ACCEPTED.value,
)


async def unaccepted(
    connection: AsyncConnection, ids: Iterable[int], since: datetime
) -> dict[int, tuple[Unaccepted, ...]]:
    """Attempts from ``since`` on that were not accepted, by device id; a device without any is not in it."""
    found: dict[int, list[Unaccepted]] = {}
    for row in await connection.execute(_UNACCEPTED, {"ids": padded(ids), "since": since}):
        found.setdefault(row.device_id, []).append(
            Unaccepted(row.realm, row.credential_username, row.started_at)
        )
    return {device_id: tuple(rows) for device_id, rows in found.items()}


async def of_devices(connection: AsyncConnection, ids: Iterable[int]) -> dict[int, tuple[Pair, ...]]:
    """The judged pairs by device id; a device without any is not in it."""
    found: dict[int, list[Pair]] = {}
    for row in await connection.execute(_PAIRS, {"ids": padded(ids)}):
        pair = Pair(
            row.credential_id,
            row.secret_version,
            Verdict(row.last_verdict),
            row.last_verdict_at,
            row.last_success,
            row.failures_in_row,
        )
        found.setdefault(row.device_id, []).append(pair)
    return {device_id: tuple(pairs) for device_id, pairs in found.items()}
