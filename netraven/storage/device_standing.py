"""How devices went lately, kept with each of their outcomes: freshness, circuit breaker, and how long they take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Integer, bindparam, case, cast, func
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.collect.standing import NEW, OLD, dead_in_row, duration_ms, tried
from netraven.model import DeviceFinished, Outcome, Status
from netraven.storage.outcomes import finished_at
from netraven.storage.schema import device_standing


def _upsert(statement: sqlite.Insert | postgresql.Insert) -> Any:
    old = device_standing.c
    given = {
        name: bindparam(f"b_{name}", type_=old[name].type)
        for name in ("device_id", "collected_at", "tried_at", "reason", "dead_in_row", "duration_ms")
    }
    new = statement.values(given)
    took = new.excluded.duration_ms
    mixed = cast(func.round(old.duration_ms * OLD + took * NEW), Integer)
    return new.on_conflict_do_update(
        index_elements=[old.device_id],
        set_={
            "collected_at": func.coalesce(new.excluded.collected_at, old.collected_at),
            "tried_at": func.coalesce(new.excluded.tried_at, old.tried_at),
            "reason": case((new.excluded.tried_at.is_(None), old.reason), else_=new.excluded.reason),
            "dead_in_row": old.dead_in_row * bindparam("b_keeps", type_=Integer) + new.excluded.dead_in_row,
            "duration_ms": case(
                (took.is_(None), old.duration_ms), (old.duration_ms.is_(None), took), else_=mixed
            ),
        },
    )


_SQLITE = _upsert(sqlite.insert(device_standing))
_POSTGRESQL = _upsert(postgresql.insert(device_standing))


async def note(connection: AsyncConnection, entries: Sequence[DeviceFinished]) -> None:
    """Put on record how the devices of these entries went."""
    rows = [_row(entry) for entry in entries if entry.outcome.device.id is not None and _says(entry)]
    if rows:
        statement = _SQLITE if connection.dialect.name == "sqlite" else _POSTGRESQL
        await connection.execute(statement, sorted(rows, key=lambda row: row["b_device_id"]))


def _says(entry: DeviceFinished) -> bool:
    return tried(entry) or dead_in_row(1, entry.outcome) != 1


def _row(entry: DeviceFinished) -> dict[str, Any]:
    outcome: Outcome = entry.outcome
    at = finished_at(outcome)
    one_more = dead_in_row(0, outcome)
    return {
        "b_device_id": outcome.device.id,
        "b_collected_at": at if tried(entry) and outcome.status is Status.COLLECTED else None,
        "b_tried_at": at if tried(entry) else None,
        "b_reason": outcome.reason,
        "b_dead_in_row": one_more,
        "b_keeps": dead_in_row(1, outcome) - one_more,
        "b_duration_ms": duration_ms(entry),
    }
