"""Jobs run as they fall due inside another program; `netraven.daemon` is the same with systemd, metrics and a port."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from netraven.errors import DatabaseError, NetRavenError
from netraven.events import bind, events
from netraven.model import Run
from netraven.schedule.scheduler import Scheduler
from netraven.storage.store import SqlStore

POLL = 1.0
"""Seconds between two looks into the queue."""
RECOVER = 5.0
"""Seconds between two looks for runs whose process has died."""

_log = events("netraven.app")


async def stand_by(store: SqlStore, execute: Callable[[Run], Awaitable[Run]], *, max_runs: int) -> None:
    """Claim what falls due, and ``execute`` queued runs, ``max_runs`` at once, until it is cancelled.

    ``execute`` puts a run back that is cancelled. A run that fails costs itself only; a lost database is waited for.
    """
    loop = asyncio.get_running_loop()
    going: set[asyncio.Task[None]] = set()

    async def see_to(run: Run) -> None:
        bind(run=run.id, job=run.job)
        try:
            await execute(run)
        except NetRavenError as error:
            _log.error("run_failed", error=str(error))

    recover_at = 0.0
    async with asyncio.TaskGroup() as group:
        group.create_task(Scheduler(store.jobs).run(), name="netraven-scheduler")
        while True:
            try:
                if loop.time() >= recover_at:
                    recover_at = loop.time() + RECOVER
                    await store.runs.recover()
                for queued in await store.runs.queued(max(0, max_runs - len(going))):
                    if (run := await store.runs.claim(queued)) is not None:
                        task = group.create_task(see_to(run), name=f"netraven-run-{run.id}")
                        going.add(task)
                        task.add_done_callback(going.discard)
            except DatabaseError as error:
                _log.warning("queue_not_read", error=str(error))
            await asyncio.sleep(POLL)
