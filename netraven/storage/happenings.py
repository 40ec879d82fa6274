"""What hooks are to be told: put into the outbox by the very transaction that records what happened.

Without a hook that wants it, nothing is asked and nothing is written.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import bindparam, exists, insert, select
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
    What,
    utcnow,
)
from netraven.storage.schema import devices, hook_deliveries, run_outcomes, runs, snapshots
from netraven.storage.types import padded

_INSERT = insert(hook_deliveries)
_JUDGED = (Status.COLLECTED.value, Status.CHECKED.value, Status.FAILED.value)
"""How a device went, as against not having been tried."""

_before, _its_run = run_outcomes.alias("before"), runs.alias("its_run")
_last_judged = (
    select(_before.c.id)
    .join(_its_run, _its_run.c.id == _before.c.run_id)
    .where(
        _before.c.device_id == devices.c.id,
        _before.c.status.in_(_JUDGED),
        _its_run.c.what == bindparam("what"),
    )
    .order_by(_before.c.id.desc())
    .limit(1)
    .correlate(devices)
    .scalar_subquery()
)
"""In runs of the same kind: who cannot log in to a device may well reach it."""
_STANDING = (
    select(devices.c.id, devices.c.detected_platform, run_outcomes.c.status)
    .select_from(devices)
    .outerjoin(run_outcomes, run_outcomes.c.id == _last_judged)
    .where(devices.c.id.in_(bindparam("ids", expanding=True)))
)
_WHATS = select(runs.c.id, runs.c.what).where(runs.c.id.in_(bindparam("ids", expanding=True)))
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


@dataclass(frozen=True, slots=True)
class Before:
    """How devices went the time before."""

    whats: Mapping[int, What]
    """What each run does, by its id."""
    devices: Mapping[tuple[What, int], Any]
    """By what is done and the device's id."""

    def of(self, run_id: int, device_id: int | None) -> Any:
        return self.devices.get((self.what(run_id), device_id or 0))

    def what(self, run_id: int) -> What:
        return self.whats.get(run_id, What.CONFIGURATION)


NOTHING = Before({}, {})


async def standing(
    connection: AsyncConnection, subscriptions: Sequence[Subscription], entries: Sequence[DeviceFinished]
) -> Before:
    """How the devices went the time before, in a run of that kind; asked before the new outcomes are written."""
    if not subscriptions:
        return NOTHING
    ids: dict[int, set[int]] = {}
    for entry in entries:
        if entry.outcome.device.id is not None:
            ids.setdefault(entry.run_id, set()).add(entry.outcome.device.id)
    if not ids:
        return NOTHING
    found = await connection.execute(_WHATS, {"ids": padded(sorted(ids))})
    whats = {row.id: What(row.what) for row in found}
    devices_: dict[tuple[What, int], Any] = {}
    for run_id, its in ids.items():
        what = whats.get(run_id, What.CONFIGURATION)
        rows = await connection.execute(_STANDING, {"ids": padded(sorted(its)), "what": what.value})
        devices_ |= {(what, row.id): row for row in rows.all()}
    return Before(whats, devices_)


async def of_devices(
    connection: AsyncConnection,
    subscriptions: Sequence[Subscription],
    finished: Sequence[tuple[int, Outcome]],
    before: Before,
) -> None:
    """Of outcomes with the ids of their runs, once they and their versions are written."""
    if not subscriptions:
        return
    new = await _new_versions(connection, finished)
    happened: list[Event] = []
    for run_id, outcome in finished:
        row = before.of(run_id, outcome.device.id)
        versions, known = new.get((run_id, outcome.device.id), ((), True))
        about = _about(run_id, outcome, "" if row is None else row.detected_platform or "")
        if kind := _kind_of(outcome.status, None if row is None else row.status):
            data: dict[str, Any] = {"what": before.what(run_id).value}
            if kind is not EventKind.RECOVERED:
                data |= {"reason": outcome.reason, "detail": outcome.detail}
            happened.append(replace(about, kind=kind, data=data))
        if versions:
            kind = EventKind.CHANGED if known else EventKind.FIRST_SEEN
            happened.append(replace(about, kind=kind, versions=versions))
    await _put(connection, subscriptions, happened)


async def of_run(
    connection: AsyncConnection,
    subscriptions: Sequence[Subscription],
    run: Run,
    happened: Sequence[Event] = (),
) -> None:
    """Of the end of a run, before it is written, and before that of what ``happened`` with it.

    A run that is no longer running has ended before: then nothing.
    """
    if not subscriptions:
        return
    status = select(runs.c.status).where(runs.c.id == run.id).with_for_update()
    if (await connection.execute(status)).scalar_one_or_none() != RunStatus.RUNNING.value:
        return
    await _put(connection, subscriptions, [*happened, _end_of(run)])


async def of_missed_run(connection: AsyncConnection, subscriptions: Sequence[Subscription], run: Run) -> None:
    """Of a run that never was: its time went by."""
    if subscriptions:
        await _put(connection, subscriptions, [_end_of(run)])


def _end_of(run: Run) -> Event:
    data = {
        "what": run.what.value,
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
    return EventKind.RECOVERED if status in (Status.COLLECTED, Status.CHECKED) and failed_before else None


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
