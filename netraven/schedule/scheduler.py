"""The loop that finds jobs due. Several may run on one database: each due time is claimed by one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from netraven.errors import DatabaseError, InputError, RowRefused
from netraven.events import events
from netraven.model import Run, RunStatus, utcnow
from netraven.ports import Jobs, Sleep

LONGEST_SLEEP = 1.0
"""Seconds after which it looks again whatever is due: jobs are edited, and wall clocks jump."""
BATCH = 100
"""Due jobs that are read at once."""

_log = events("netraven.schedule")


class Scheduler:
    """Turns due times into queued runs, and tells of each."""

    def __init__(
        self,
        jobs: Jobs,
        *,
        now: Callable[[], datetime] = utcnow,
        sleep: Sleep = asyncio.sleep,
        on_fired: Callable[[Run], None] = lambda _: None,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_fired``: told of every run that was queued or missed. ``progress``: called at each look, at least every
        few seconds while the database answers or refuses; a watchdog hangs on it.
        """
        self._jobs = jobs
        self._now = now
        self._sleep = sleep
        self._on_fired = on_fired
        self._progress = progress
        self._stopping = asyncio.Event()
        self._unwell = False
        self._unusable: set[int] = set()

    async def run(self) -> None:
        """Until :meth:`stop`. A database that is lost is waited for. May be cancelled at any time."""
        while not self._stopping.is_set():
            await self._rest(await self.tick())

    def stop(self) -> None:
        """Nothing more is claimed, and :meth:`run` returns."""
        self._stopping.set()

    async def tick(self) -> float:
        """Claim what is due now; the seconds after which there may be more."""
        self._progress()
        try:
            now = self._now()
            await self._claim(now)
            next_at = await self._jobs.next_at()
        except DatabaseError as error:
            if not self._unwell:
                self._unwell = True
                _log.error("scheduler_paused", error=str(error))
            return LONGEST_SLEEP
        if self._unwell:
            self._unwell = False
            _log.info("scheduler_resumed")
        if next_at is None or next_at <= now:  # what is due still is not for us to claim
            return LONGEST_SLEEP
        return min((next_at - self._now()).total_seconds(), LONGEST_SLEEP)

    async def _claim(self, now: datetime) -> None:
        while not self._stopping.is_set():
            due = await self._jobs.due(now, BATCH)
            claimed = 0
            for standing in due:
                if self._stopping.is_set():
                    return
                try:
                    run = await self._jobs.claim(standing, now)
                except (InputError, RowRefused) as error:  # the trouble of this job only
                    if standing.id not in self._unusable:
                        self._unusable.add(standing.id)
                        _log.error("job_unusable", job=standing.job.name, error=str(error))
                    continue
                self._progress()
                if run is not None:
                    claimed += 1
                    self._tell(run)
            if len(due) < BATCH or not claimed:
                return

    def _tell(self, run: Run) -> None:
        if run.status is RunStatus.MISSED:
            _log.warning("job_missed", job=run.job, run=run.id, due_at=_text(run.due_at), missed=run.missed)
        else:
            _log.info("job_due", job=run.job, run=run.id, due_at=_text(run.due_at), missed=run.missed)
        self._on_fired(run)

    async def _rest(self, seconds: float) -> None:
        """Until it is time to look again, or to stop."""
        if self._stopping.is_set():
            return
        waiting = [
            asyncio.ensure_future(self._sleep(max(seconds, 0.0))),
            asyncio.ensure_future(self._stopping.wait()),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
            await asyncio.wait(waiting)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
