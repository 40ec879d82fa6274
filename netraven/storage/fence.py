"""The fence around a run: only the process that holds it writes for it, and no batch of its twice.

Each batch sets its number in the row of its run, in its own transaction. Where the answer to a COMMIT was lost, the
same batch once more finds the number there, and is answered from what is on record; where the row is another process's
by now, or the run has ended, nothing is written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.errors import RunLost
from netraven.model import (
    AttemptStarted,
    Batch,
    DeviceFinished,
    Entry,
    HostKeySeen,
    Outcome,
    RunStatus,
)
from netraven.storage import host_keys
from netraven.storage.clock import shared_now
from netraven.storage.schema import credential_attempts, run_outcomes, runs
from netraven.storage.types import Id, UtcDateTime, padded

_RUNNING = RunStatus.RUNNING.value
_ENTER = (
    update(runs)
    .where(
        runs.c.id == bindparam("b_run", type_=Id),
        runs.c.owner == bindparam("b_owner"),
        runs.c.status == _RUNNING,
        runs.c.batch < bindparam("b_number", type_=Id),
    )
    .values(batch=bindparam("b_number", type_=Id), heartbeat_at=bindparam("b_now", type_=UtcDateTime()))
)
_HELD = select(runs.c.owner, runs.c.status, runs.c.batch).where(runs.c.id == bindparam("b_run", type_=Id))

_attempt = credential_attempts.c
_ATTEMPTS = (
    select(
        _attempt.id,
        _attempt.device_name,
        _attempt.credential_name,
        _attempt.secret_version,
        _attempt.started_at,
    )
    .where(
        _attempt.run_id == bindparam("b_run", type_=Id),
        _attempt.started_at.between(
            bindparam("b_first", type_=UtcDateTime()), bindparam("b_last", type_=UtcDateTime())
        ),
    )
    .order_by(_attempt.id)
)
_OUTCOMES = select(
    run_outcomes.c.run_id, run_outcomes.c.device_name, run_outcomes.c.snapshot, run_outcomes.c.changed
).where(
    run_outcomes.c.run_id == bindparam("b_run", type_=Id),
    run_outcomes.c.device_name.in_(bindparam("names", expanding=True)),
)


async def written_before(connection: AsyncConnection, batch: Batch, owner: str) -> bool:
    """Let a batch in, to be written by this transaction; True where an earlier one has written it.

    Raises ``RunLost`` where ``owner`` does not hold the run any more. An earlier transaction of the same batch that the
    server is still committing is waited for: it has locked the row.
    """
    told = {
        "b_run": batch.run_id,
        "b_owner": owner,
        "b_number": batch.number,
        "b_now": await shared_now(connection),
    }
    if (await connection.execute(_ENTER, told)).rowcount:
        return False
    row = (await connection.execute(_HELD, {"b_run": batch.run_id})).first()
    if row is None:
        raise RunLost(f"run {batch.run_id} is no longer on record: it was removed while it went on")
    if row.owner != owner or row.status != _RUNNING:
        raise RunLost(
            f"run {batch.run_id} is not this process's any more: another one took it for dead and has it now"
        )
    if row.batch != batch.number:
        raise RunLost(f"run {batch.run_id} is recorded by another part of this process, too")
    return True


async def answers(connection: AsyncConnection, entries: Sequence[Entry]) -> list[Any]:
    """What a batch that is on record is answered with: to each entry the same as when it was written."""
    keys = await _keys(connection, [e for e in entries if isinstance(e, HostKeySeen)])
    attempts = await _attempts(connection, [e for e in entries if isinstance(e, AttemptStarted)])
    outcomes = await _outcomes(connection, [e for e in entries if isinstance(e, DeviceFinished)])
    found: list[Any] = []
    for entry in entries:
        match entry:
            case HostKeySeen():
                found.append(keys.get(entry.device.id or 0, (entry.key,)))
            case AttemptStarted():
                waiting = attempts.get(_place(entry))  # none: another run was in session with the device
                found.append(waiting.popleft() if waiting else None)
            case DeviceFinished():
                found.append(outcomes.get((entry.run_id, entry.outcome.device.name), entry.outcome))
            case _:
                found.append(None)
    return found


async def _keys(connection: AsyncConnection, entries: Sequence[HostKeySeen]) -> dict[int, Any]:
    ids = {entry.device.id for entry in entries if entry.device.id is not None}
    return (await host_keys.of_devices(connection, ids))[0] if ids else {}


_Place = tuple[str, str, int, Any]


def _place(entry: AttemptStarted) -> _Place:
    return entry.device.name, entry.credential.name, entry.credential.secret_version, entry.at


async def _attempts(
    connection: AsyncConnection, entries: Sequence[AttemptStarted]
) -> dict[_Place, deque[int]]:
    """The ids of attempts. Of several that are alike in everything, the lower ones were given first."""
    found: dict[_Place, deque[int]] = {}
    for run_id in {entry.run_id for entry in entries}:
        times = [entry.at for entry in entries if entry.run_id == run_id]
        span = {"b_run": run_id, "b_first": min(times), "b_last": max(times)}
        for key, *place in await connection.execute(_ATTEMPTS, span):
            found.setdefault(tuple(place), deque()).append(key)
    return found


async def _outcomes(
    connection: AsyncConnection, entries: Sequence[DeviceFinished]
) -> dict[tuple[int, str], Outcome]:
    found: dict[tuple[int, str], Outcome] = {}
    given = {(entry.run_id, entry.outcome.device.name): entry.outcome for entry in entries}
    for run_id in {entry.run_id for entry in entries}:
        names = padded(name for run, name in given if run == run_id)
        for row in await connection.execute(_OUTCOMES, {"b_run": run_id, "names": names}):
            key = (row.run_id, row.device_name)
            found[key] = replace(given[key], snapshot=row.snapshot, changed=row.changed)
    return found
