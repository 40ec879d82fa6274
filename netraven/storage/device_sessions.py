"""Which run is in session with which device: whoever runs, a device is in one session at a time.

A claim is made in the transaction that puts an attempt on record, and ends once the session has been closed, or with
the run. Where a process dies, its claims end with it as far as that can be seen from here, and
else at their time: a run that was taken from a host that is silent may still be in session there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import Any

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.model import JUMP_HOST, AttemptStarted, DeviceLeft
from netraven.storage.clock import shared_now
from netraven.storage.owner import lives
from netraven.storage.schema import device_sessions, devices, runs
from netraven.storage.types import Id, UtcDateTime, padded

SLACK = timedelta(minutes=1)
"""A claim outlasts the longest session by so much."""

_HELD = device_sessions.alias("held")
_NOW, _RUN = bindparam("b_now", type_=UtcDateTime()), bindparam("b_run", type_=Id)
_IDS: Any = bindparam("b_ids", expanding=True)
_WANTED = (
    select(devices.c.id, runs.c.id, runs.c.owner, bindparam("b_until", type_=UtcDateTime()))
    .select_from(devices.join(runs, runs.c.id == _RUN))
    .where(devices.c.id.in_(_IDS))
    .where(
        ~select(_HELD.c.device_id)  # a row of another run is not even locked
        .where(
            _HELD.c.device_id == devices.c.id,
            (_HELD.c.run_id != _RUN) | (_HELD.c.owner != runs.c.owner),
            _HELD.c.until > _NOW,
        )
        .exists()
    )
    .order_by(devices.c.id)
)


def _claim(statement: sqlite.Insert | postgresql.Insert) -> Any:
    new, old = statement.excluded, device_sessions.c
    wanted = statement.from_select(["device_id", "run_id", "owner", "until"], _WANTED)
    return wanted.on_conflict_do_update(
        index_elements=[old.device_id],
        set_={"run_id": new.run_id, "owner": new.owner, "until": new.until},
        where=((old.run_id == new.run_id) & (old.owner == new.owner)) | (old.until <= _NOW),
    ).returning(old.device_id)


_CLAIM_SQLITE = _claim(sqlite.insert(device_sessions))
_CLAIM_POSTGRESQL = _claim(postgresql.insert(device_sessions))
_MINE = (device_sessions.c.run_id == _RUN) & (
    device_sessions.c.owner == select(runs.c.owner).where(runs.c.id == _RUN).scalar_subquery()
)
_OTHERS = (
    select(device_sessions.c.device_id, device_sessions.c.owner)
    .where(device_sessions.c.device_id.in_(_IDS), ~_MINE)
    .order_by(device_sessions.c.device_id)
)
_RELEASE = delete(device_sessions).where(_MINE, device_sessions.c.device_id.in_(_IDS))
_TAKE_AWAY = delete(device_sessions).where(
    device_sessions.c.device_id == bindparam("b_id", type_=Id),
    device_sessions.c.owner == bindparam("b_owner"),
)


async def claim(
    connection: AsyncConnection, entries: Sequence[AttemptStarted]
) -> AbstractSet[tuple[int, int | None]]:
    """Note that the runs of these attempts are in session with their devices; (run, device) where another run is.

    Jump hosts carry many runs, and are nobody's.
    """
    refused: set[tuple[int, int | None]] = set()
    for run_id in sorted({entry.run_id for entry in entries}):
        wanted = [e for e in entries if e.run_id == run_id and e.device.platform != JUMP_HOST]
        ids = {e.device.id for e in wanted if e.device.id is not None}
        if ids:
            longest = timedelta(seconds=max(e.seconds for e in wanted))
            held = await _claim_for(connection, run_id, ids, longest + SLACK)
            refused |= {(run_id, device_id) for device_id in held}
    return refused


async def _claim_for(
    connection: AsyncConnection, run_id: int, ids: AbstractSet[int], lasts: timedelta
) -> AbstractSet[int]:
    now = await shared_now(connection)
    statement = _CLAIM_SQLITE if connection.dialect.name == "sqlite" else _CLAIM_POSTGRESQL
    values = {"b_run": run_id, "b_now": now, "b_until": now + lasts}
    claimed = await connection.execute(statement, values | {"b_ids": padded(sorted(ids))})
    missing = ids - set(claimed.scalars())
    if not missing:
        return missing
    others = (await connection.execute(_OTHERS, {"b_ids": padded(sorted(missing)), "b_run": run_id})).all()
    dead = [row for row in others if lives(row.owner) is False]
    if dead:
        gone = [{"b_id": row.device_id, "b_owner": row.owner} for row in dead]
        await connection.execute(_TAKE_AWAY, gone)
        freed = {row.device_id for row in dead}
        again = await connection.execute(statement, values | {"b_ids": padded(sorted(freed))})
        mine = set(again.scalars())
        others = [row for row in others if row.device_id not in mine]
    return {row.device_id for row in others}


async def release(connection: AsyncConnection, entries: Iterable[DeviceLeft]) -> None:
    """The runs of these entries are not in session with their devices any more."""
    of_run: dict[int, set[int]] = {}
    for entry in entries:
        if entry.device.id is not None:
            of_run.setdefault(entry.run_id, set()).add(entry.device.id)
    for run_id, ids in sorted(of_run.items()):
        await connection.execute(_RELEASE, {"b_run": run_id, "b_ids": padded(sorted(ids))})


async def end(connection: AsyncConnection, run_id: int, owner: str) -> None:
    """The run is in session with nothing any more, as far as this owner goes; claims whose time is over end too."""
    mine = (device_sessions.c.run_id == run_id) & (device_sessions.c.owner == owner)
    over = device_sessions.c.until <= await shared_now(connection)
    await connection.execute(delete(device_sessions).where(mine | over))
