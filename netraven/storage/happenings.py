"""What hooks are to be told: put into the outbox by the very transaction that records what happened.

Without a hook that wants it, nothing is asked and nothing is written.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import bindparam, exists, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.model import (
    AUTO,
    DeviceFinished,
    Event,
    EventKind,
    Outcome,
    Run,
    RunStatus,
    Status,
    Subscription,
    utcnow,
)
from netraven.storage.schema import devices, hook_deliveries, run_outcomes, runs, snapshots
from netraven.storage.types import padded

_INSERT = insert(hook_deliveries)
_JUDGED = (Status.COLLECTED.value, Status.FAILED.value)
"""How a device went, as against not having been tried."""

_before = run_outcomes.alias("before")
_last_judged = (
    select(func.max(_before.c.id))
    .where(_before.c.device_id == devices.c.id, _before.c.status.in_(_JUDGED))
    .correlate(devices)
    .scalar_subquery()
)
_STANDING = (
    select(devices.c.id, devices.c.detected_platform, run_outcomes.c.status)
    .select_from(devices)
    .outerjoin(run_outcomes, run_outcomes.c.id == _last_judged)
    .where(devices.c.id.in_(bindparam("ids", expanding=True)))
)
_other = snapshots.alias("other")
_NEW = (
    select(
        snapshots.c.id,
        snapshots.c.device_id,
        snapshots.c.run_id,
        exists()
        .where(
            _other.c.device_id == snapshots.c.device_id, _other.c.run_id.is_distinct_from(snapshots.c.run_id)
        )
        .label("known"),
    )
    .where(
        snapshots.c.device_id.in_(bindparam("ids", expanding=True)),
        snapshots.c.run_id.in_(bindparam("runs", expanding=True)),
    )
    .order_by(snapshots.c.id)
)


async def standing(
    connection: AsyncConnection, subscriptions: Sequence[Subscription], entries: Sequence[DeviceFinished]
) -> Mapping[int, Any]:
    """How the devices went the time before; asked before the new outcomes are written."""
    ids = {entry.outcome.device.id for entry in entries} - {None}
    if not subscriptions or not ids:
        return {}
    rows = await connection.execute(_STANDING, {"ids": padded(sorted(key for key in ids if key is not None))})
    return {row.id: row for row in rows.all()}


async def of_devices(
    connection: AsyncConnection,
    subscriptions: Sequence[Subscription],
    finished: Sequence[tuple[int, Outcome]],
    before: Mapping[int, Any],
) -> None:
    """Of outcomes with the ids of their runs, once they and their versions are written."""
    if not subscriptions:
        return
    new = await _new_versions(connection, finished)
    happened: list[Event] = []
    for run_id, outcome in finished:
        row = before.get(outcome.device.id or 0)
        versions, known = new.get((run_id, outcome.device.id), ((), True))
        about = _about(run_id, outcome, "" if row is None else row.detected_platform or "")
        if kind := _kind_of(outcome.status, None if row is None else row.status):
            reason = {"reason": outcome.reason, "detail": outcome.detail}
            happened.append(replace(about, kind=kind, data={} if kind is EventKind.RECOVERED else reason))
        if versions:
            kind = EventKind.CHANGED if known else EventKind.FIRST_SEEN
            happened.append(replace(about, kind=kind, versions=versions))
    await _put(connection, subscriptions, happened)


async def of_run(connection: AsyncConnection, subscriptions: Sequence[Subscription], run: Run) -> None:
    """Of the end of a run, before it is written: a run that is no longer running has ended before."""
    if not subscriptions:
        return
    status = select(runs.c.status).where(runs.c.id == run.id).with_for_update()
    if (await connection.execute(status)).scalar_one_or_none() != RunStatus.RUNNING.value:
        return
    await _put(connection, subscriptions, [_end_of(run)])


async def of_missed_run(connection: AsyncConnection, subscriptions: Sequence[Subscription], run: Run) -> None:
    """Of a run that never was: its time went by."""
    if subscriptions:
        await _put(connection, subscriptions, [_end_of(run)])


def _end_of(run: Run) -> Event:
    data = {
        "status": run.status.value,
        "counts": asdict(run.counts),
        "started_at": run.started_at.isoformat(),
        "error": run.error,
    }
    return Event(EventKind.RUN_FINISHED, run.finished_at or utcnow(), run.id, data=data)


def _kind_of(status: Status, before: str | None) -> EventKind | None:
    """What an outcome is, after the one before that was not skipped (None: there is none)."""
    failed_before = before == Status.FAILED.value
    if status is Status.FAILED:
        return EventKind.FAILED_AGAIN if failed_before else EventKind.FAILED
    return EventKind.RECOVERED if status is Status.COLLECTED and failed_before else None


def _about(run_id: int, outcome: Outcome, detected: str) -> Event:
    device = outcome.device
    return Event(
        EventKind.CHANGED,
        outcome.started_at + timedelta(milliseconds=outcome.duration_ms),
        run_id,
        device.name,
        device.id,
        detected if device.platform == AUTO else device.platform,
        frozenset(device.tags),
    )


async def _new_versions(
    connection: AsyncConnection, finished: Sequence[tuple[int, Outcome]]
) -> Mapping[tuple[int, int | None], tuple[tuple[int, ...], bool]]:
    """By run and device: the ids of its new versions, and whether it had others before."""
    changed = [(run_id, o.device.id) for run_id, o in finished if o.changed and o.device.id is not None]
    if not changed:
        return {}
    devices_, runs_ = ({pair[place] for pair in changed} for place in (1, 0))
    found = await connection.execute(_NEW, {"ids": padded(sorted(devices_)), "runs": padded(sorted(runs_))})
    new: dict[tuple[int, int | None], tuple[tuple[int, ...], bool]] = {}
    for row in found:
        versions, _ = new.get((row.run_id, row.device_id), ((), False))
        new[row.run_id, row.device_id] = ((*versions, row.id), row.known)
    return new


async def _put(
    connection: AsyncConnection, subscriptions: Sequence[Subscription], happened: Iterable[Event]
) -> None:
    rows = [_row(s.hook, event) for event in happened for s in subscriptions if s.wants(event)]
    if rows:
        await connection.execute(_INSERT, rows)


def _row(hook: str, event: Event) -> dict[str, Any]:
    return {
        "uid": uuid.uuid4().hex,
        "hook": hook,
        "event": event.kind.value,
        "run_id": event.run,
        "device_id": event.device_id,
        "device_name": event.device or "",
        "platform": event.platform,
        "tags": sorted(event.tags),
        "versions": list(event.versions),
        "data": dict(event.data),
        "happened_at": event.at,
        "next_try_at": event.at,
    }
