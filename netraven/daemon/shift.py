"""The runs that this daemon has: taken from the queue by priority, seen to until each has ended or was put back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from netraven.collect.fleet import Fleet
from netraven.daemon.metrics import Metrics
from netraven.daemon.outfit import Outfit
from netraven.errors import DatabaseError, NetRavenError, RecorderStopped, RunLost
from netraven.events import bind, events
from netraven.model import Outcome, Run, RunStatus
from netraven.ports import Sleep

POLL = 1.0
"""Seconds between two looks into the queue."""
RECOVER = 5.0
"""Seconds between two looks for runs whose process has died."""

log = events("netraven.daemon")


@dataclass(slots=True)
class Watch:
    """A run while it goes on (``running.Observer``)."""

    run: Run
    began: float = field(default_factory=time.monotonic)
    fleet: Fleet | None = None
    done: int = 0
    draining: bool = False

    def run_started(self, run: Run, fleet: Fleet) -> None:
        self.run, self.fleet = run, fleet
        counts = run.counts
        self.done = counts.collected + counts.failed + counts.skipped
        if self.draining:
            self.drain()

    def device_finished(self, outcome: Outcome) -> None:  # noqa: ARG002 - the observer's form
        self.done += 1

    def noticed(self, event: str, data: Mapping[str, object]) -> None:
        log.info(event, **data)

    def drain(self) -> None:
        """No further devices; those in session may end."""
        self.draining = True
        if self.fleet is not None:
            self.fleet.drain()

    @property
    def state(self) -> dict[str, Any]:
        fleet = self.fleet
        eta = getattr(fleet, "eta_at", None)
        return {
            "done": self.done,
            "devices": self.run.counts.devices,
            "in_session": fleet.in_session if fleet is not None else 0,
            "eta_at": eta.isoformat() if eta is not None else None,
        }


class Shift:
    """Takes queued runs and executes them, ``max_runs`` at once."""

    def __init__(
        self,
        outfit: Callable[[], Outfit],
        metrics: Metrics,
        *,
        ended: Callable[[Run], None] = lambda _: None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """``outfit`` gives the one in force; ``ended`` is told of runs that have come to an end."""
        self._outfit = outfit
        self._metrics = metrics
        self._ended = ended
        self._sleep = sleep
        self._tasks: dict[asyncio.Task[None], Watch] = {}
        self._to_put_back: list[Run] = []
        """Runs that ended while the database was away: it still has them as running, by this process."""
        self._recover_at = 0.0
        self._lost: str | None = None
        self._stopping = False

    @property
    def watches(self) -> list[Watch]:
        return list(self._tasks.values())

    async def run(self) -> None:
        """Until :meth:`stop`; runs that were taken go on after it."""
        while not self._stopping:
            try:
                await self._tick()
            except DatabaseError as error:
                if self._lost is None:
                    log.warning("queue_not_read", error=str(error))
                self._lost = str(error)
            else:
                if self._lost is not None:
                    log.warning("queue_read_again")
                self._lost = None
            await self._sleep(POLL)

    def stop(self) -> None:
        """Take no further runs; those that go on begin no further devices."""
        self._stopping = True
        for watch in self._tasks.values():
            watch.drain()

    async def drained(self, seconds: float, hurry: asyncio.Event) -> None:
        """Wait until all runs have ended or were put back, so long at the most; then, or on ``hurry``, cut them."""
        hurrying = asyncio.ensure_future(hurry.wait())
        try:
            async with asyncio.timeout(seconds):
                while self._tasks and not hurrying.done():
                    await asyncio.wait([*self._tasks, hurrying], return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            pass
        finally:
            hurrying.cancel()
            await self.cut()

    async def cut(self) -> None:
        """End all sessions now; what is left of each run goes back to the queue."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        with contextlib.suppress(DatabaseError):
            await self._put_back()

    async def _tick(self) -> None:
        await self._put_back()
        outfit = self._outfit()
        now = time.monotonic()
        if now >= self._recover_at:
            self._recover_at = now + RECOVER
            for run in await outfit.store.runs.recover():
                log.warning("run_recovered", run=run.id, job=run.job, status=run.status.value)
        room = outfit.settings.daemon.max_runs - len(self._tasks)
        if room <= 0:
            return
        for queued in await outfit.store.runs.queued(room):
            if (claimed := await outfit.store.runs.claim(queued)) is not None:
                self._take(claimed, outfit)

    def _take(self, run: Run, outfit: Outfit) -> None:
        told = outfit.settings.collect
        run = replace(
            run, concurrency=run.concurrency or told.concurrency, strategy=run.strategy or told.strategy
        )
        watch = Watch(run, draining=self._stopping)
        task = asyncio.create_task(self._see_to(watch, outfit), name=f"netraven-run-{run.id}")
        self._tasks[task] = watch
        task.add_done_callback(self._tasks.pop)

    async def _see_to(self, watch: Watch, outfit: Outfit) -> None:
        """One run. Only being cancelled gets out of here: whatever a run runs into is that run's trouble."""
        run = watch.run
        bind(run=run.id, job=run.job)
        log.info("run_taken", what=run.what.value, resumed=run.begun)
        try:
            ended = await self._execute(watch, outfit)
        except asyncio.CancelledError:  # perhaps before it began; one that was put back already stays so
            self._to_put_back.append(run)
            raise
        except RunLost as error:
            log.warning("run_lost", error=str(error))
            return
        except (DatabaseError, RecorderStopped) as error:
            log.warning("run_put_back", error=str(error))
            self._to_put_back.append(run)
            return
        except NetRavenError as error:
            log.error("run_failed", error=str(error))  # noqa: TRY400 - a person's slip has no traceback
            await self._fail(run, outfit, str(error))
            return
        except Exception as fault:
            log.exception("run_fault")
            await self._fail(run, outfit, f"a fault of NetRaven ({type(fault).__name__}): its log has it")
            return
        if ended.status is RunStatus.QUEUED:
            log.info("run_put_back")
            return
        log.info("run_ended", status=ended.status.value, error=ended.error)
        self._metrics.ended(ended)
        self._ended(ended)

    async def _execute(self, watch: Watch, outfit: Outfit) -> Run:
        run = watch.run
        if run.what.visits:
            outfit.running.check(run)
            await outfit.running.prepare(run.selector, run.what)
        return await outfit.running.execute(run, observer=watch, resumable=True, patient=True)

    async def _fail(self, run: Run, outfit: Outfit, why: str) -> None:
        """It cannot be made, now or later: it is not put back, or it would be taken again each second."""
        try:
            left = await outfit.store.runs.get(run.id)
            counts = await outfit.store.runs.counted(left)
            ended = await outfit.store.runs.finish(left, RunStatus.FAILED, counts, why)
        except DatabaseError:
            self._to_put_back.append(run)
            return
        self._metrics.ended(ended)
        self._ended(ended)

    async def _put_back(self) -> None:
        """Runs that the database still has as running by this process, once it is there again."""
        store = self._outfit().store
        while self._to_put_back:
            run = self._to_put_back[0]
            left = await store.runs.get(run.id)
            await store.runs.release(left, await store.runs.counted(left))
            self._to_put_back.pop(0)
