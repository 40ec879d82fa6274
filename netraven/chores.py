"""Runs that visit no device: the report of devices that were not collected for long, and the prune of a job."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from netraven.config import RetentionSettings
from netraven.errors import InputError, KeyringError, NetRavenError
from netraven.history.retention import Limits
from netraven.model import (
    Counts,
    Event,
    EventKind,
    Logged,
    Run,
    RunStatus,
    StaleDevice,
    What,
    utcnow,
)
from netraven.storage.packing import Packed
from netraven.storage.pruning import Progress, Pruned, nobody_listens

OLD = 86_400.0
"""Seconds without a collection after which a device is stale, where nothing else is said."""
MOST_TOLD = 1000
"""Devices that an event has in full; ``count`` says how many there are."""
MOST_LOGGED = 20
"""Devices that the run's log names."""
LONGEST = 3600.0
"""Seconds that the prune of a job takes at the most; the next one goes on."""
STALE, PRUNED = "stale_devices", "pruned"
"""What a chore has come to, as the run's log has it."""
_HEARTBEAT = 15.0


async def do(
    run: Run,
    store: Any,
    retention: RetentionSettings = RetentionSettings(),
    *,
    longest: float = LONGEST,
    resumable: bool = False,
) -> Run:
    """Do what a run is for that visits no device; the run as it ended.

    What it came to is in the run's log. Cancelled, what was done stays done, and the run is put back (``resumable``)
    or marked as interrupted. Raises ``InputError`` for a run that has devices to visit or a store without database.
    """
    if run.what.visits or not hasattr(store, "pruning"):
        raise InputError(
            f"run {run.id} ({run.what.value}) is not done here: it needs a database and no device"
        )
    run = await store.begin(run, dead_after=0)
    try:
        async with _alive(store, run):
            if run.what is What.STALE:
                return await _report(run, store)
            return await _prune(run, store, retention, longest)
    except asyncio.CancelledError:
        ending = (
            store.release(run, Counts()) if resumable else store.finish(run, RunStatus.INTERRUPTED, Counts())
        )
        with contextlib.suppress(NetRavenError):
            await asyncio.shield(ending)
        raise
    except Exception as failure:
        if not resumable:  # a daemon knows better: it waits for a database that is away
            with contextlib.suppress(NetRavenError):
                await store.finish(run, RunStatus.INTERRUPTED, Counts(), str(failure))
        raise


async def _report(run: Run, store: Any) -> Run:
    """Tell hooks, where there is something to tell: a report that says nothing every morning is not read for long."""
    seconds = float(run.options.get("older_than", OLD))
    now = utcnow()
    before = now - timedelta(seconds=seconds)
    number = await store.standing.count(run.selector, before)
    found: list[StaleDevice] = []
    if number:
        async for device in store.standing.stale(run.selector, before):
            found.append(device)
            if len(found) == MOST_TOLD:
                break
    about = {"older_than_s": seconds, "count": number}
    named = {"devices": [device.name for device in found[:MOST_LOGGED]]}
    await _log(store, run, "warning" if number else "info", STALE, about | named)
    told = about | {"devices": [shown(device) for device in found]}
    happened = [Event(EventKind.STALE, now, run.id, data=told)] if number else []
    ended: Run = await store.runs.finish(run, RunStatus.COMPLETE, Counts(), None, happened)
    return ended


def shown(device: StaleDevice) -> dict[str, Any]:
    """A device that was not collected for long, as JSON has it."""

    def stamp(at: datetime | None) -> str | None:
        return None if at is None else at.isoformat()

    return {
        "name": device.name,
        "platform": device.platform,
        "tags": sorted(device.tags),
        "collected_at": stamp(device.collected_at),
        "tried_at": stamp(device.tried_at),
        "reason": device.reason,
    }


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What a prune came to. ``packed`` is None where ``why_not`` says why nothing was made small."""

    pruned: Pruned
    packed: Packed | None
    why_not: str = ""


async def prune(
    store: Any, retention: RetentionSettings, now: datetime, progress: Progress = nobody_listens
) -> PruneReport:
    """Take away what retention lets go, and make old texts small. Whatever ends it, the next one goes on."""
    limits = Limits(retention.versions, retention.version_days)
    pruned = await store.pruning.run(limits, retention.log_days, now, progress)
    try:
        return PruneReport(pruned, await store.packing.run(progress))
    except KeyringError as error:
        return PruneReport(pruned, None, str(error))


async def _prune(run: Run, store: Any, retention: RetentionSettings, longest: float) -> Run:
    so_far: dict[str, int] = {}
    seconds, why = longest, None
    if run.finish_by is not None:
        seconds = max(0.0, min(longest, (run.finish_by - utcnow()).total_seconds()))
    try:
        async with asyncio.timeout(seconds):
            report = await prune(store, retention, utcnow(), so_far.__setitem__)
    except TimeoutError:
        why = f"it was cut short after {seconds:g} s; the next prune goes on"
        await _log(store, run, "warning", PRUNED, {"cut_short": True, "so_far": so_far})
    else:
        about: Mapping[str, Any] = {
            **asdict(report.pruned),
            "packed": None if report.packed is None else asdict(report.packed),
        }
        await _log(store, run, "info", PRUNED, about)
        why = report.why_not and f"texts are left as they are: {report.why_not}"
    status = RunStatus.PARTIAL if why else RunStatus.COMPLETE
    ended: Run = await store.finish(run, status, Counts(), why or None)
    return ended


async def _log(store: Any, run: Run, level: str, message: str, data: Mapping[str, Any]) -> None:
    await store.commit([Logged(run.id, utcnow(), level, message, data=data)])


@asynccontextmanager
async def _alive(store: Any, run: Run) -> AsyncIterator[None]:
    async def beat() -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT)
            with contextlib.suppress(NetRavenError):
                await store.heartbeat(run)

    beating = asyncio.create_task(beat(), name="netraven-heartbeat")
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.wait([beating])
