"""What is on record of one secret at one device: read for devices as a run meets them."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.model import Pair, Verdict
from netraven.storage.schema import credential_pairs
from netraven.storage.types import padded

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
