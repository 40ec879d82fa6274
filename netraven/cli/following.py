"""A run of another process, watched from here: what the database says of it, with the display of our own runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from netraven.cli.progress import Display, Quiet, watcher
from netraven.cli.screen import clock, counted, note
from netraven.model import Run, RunStatus
from netraven.ports import Sleep

if TYPE_CHECKING:
    from netraven.storage.store import SqlStore

POLL = 0.5
"""Seconds between two looks."""
LIVES = 20
"""Looks after which it is asked again whether a daemon lives."""

_OPEN = (RunStatus.QUEUED, RunStatus.RUNNING)


class Following:
    """Follows ``run`` to its end."""

    def __init__(self, store: SqlStore, run: Run, *, sleep: Sleep = asyncio.sleep) -> None:
        self.store = store
        self.run = run
        self._sleep = sleep
        self._told: str | None = None

    async def until_ended(self) -> bool:
        """True once the run has ended; False where no daemon lives any more that would go on with it."""
        with watcher() as watching:
            looks = 0
            while True:
                self.run = await self._look(watching)
                if self.run.status not in _OPEN:
                    return True
                looks += 1
                if looks % LIVES == 0 and not await self.store.daemons.living():
                    return False
                await self._sleep(POLL)

    async def _look(self, watching: Quiet | Display) -> Run:
        run = await self.store.runs.get(self.run.id)
        if run.begun:
            counted_now = await self.store.runs.counted(run) if run.status in _OPEN else run.counts
            if watching.run is None:
                watching.follows(run)
            watching.goes_on(run, counted_now)
        state = "waits" if run.status is RunStatus.QUEUED else None
        if run.eta_at is not None:
            late = run.finish_by is not None and run.eta_at > run.finish_by
            state = f"late by {clock(run.finish_by)} UTC" if late else state
        if state != self._told and state is not None:
            note(self._sentence(run, state))
        self._told = state
        return run

    def _sentence(self, run: Run, state: str) -> str:
        if state == "waits":
            left = run.counts.devices - run.counts.collected - run.counts.failed - run.counts.skipped
            of = f" with {counted(left, 'device')} left" if run.begun else ""
            return f"run {run.id} waits for a daemon{of}"
        return f"run {run.id} will be late: it is to be finished by {clock(run.finish_by)} UTC"
