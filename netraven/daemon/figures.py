"""What the database knows, read in the background: no scrape and no question on the port waits for the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from netraven.credentials.holds import Standing
from netraven.daemon.metrics import Metrics, put
from netraven.errors import DatabaseError
from netraven.model import Figures, HookStanding
from netraven.ports import Clock, Sleep

EVERY = 15.0
"""Seconds between two looks."""
SOON = 2.0
"""The same while the database cannot be read."""
SHARE = 20
"""A look that takes long is followed by so many times as long without one."""
SILENCE = 60.0
"""Seconds after which an answer that does not come counts as a lost database."""


@dataclass(frozen=True, slots=True)
class Known:
    """One look."""

    figures: Figures
    standing: Standing
    accounts: Sequence[tuple[str, str]] = ()
    hooks: Sequence[HookStanding] = ()
    paused: Mapping[str, object] = field(default_factory=dict)
    """Realms that are paused, by name."""


class Refresher:
    """Reads again and again, and puts what it reads into the metrics."""

    def __init__(
        self,
        look: Callable[[], Awaitable[Known]],
        metrics: Metrics,
        *,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._look = look
        self._metrics = metrics
        self._clock = clock
        self._sleep = sleep
        self.problem: str | None = "the database was not asked yet"
        """Why the database cannot be read; None while it can."""
        self.known: Known | None = None

    async def run(self) -> None:
        while True:
            began = self._clock()
            await self.refresh()
            took = self._clock() - began
            await self._sleep(SOON if self.problem else max(EVERY, SHARE * took))

    async def refresh(self) -> None:
        """Once, now."""
        try:
            async with asyncio.timeout(SILENCE):
                known = await self._look()
        except (DatabaseError, TimeoutError) as error:
            self.problem = str(error) or "the database did not answer in time"
            self._metrics.database_up.set(0)
            return
        self.problem, self.known = None, known
        show(self._metrics, known)


def show(metrics: Metrics, known: Known) -> None:
    """Set every value that comes from the database."""
    figures, standing = known.figures, known.standing
    metrics.database_up.set(1)
    metrics.refreshed.set(standing.at.timestamp())
    put(metrics.devices, {(age,): number for age, number in figures.devices.items()})
    put(metrics.runs, {(state,): number for state, number in figures.runs.items()})
    put(metrics.job_eta, {(one.job,): one.eta_at.timestamp() for one in figures.due if one.eta_at})
    put(
        metrics.job_finish_by, {(one.job,): one.finish_by.timestamp() for one in figures.due if one.finish_by}
    )
    metrics.jobs.set(figures.jobs)
    metrics.jobs_overdue.set(figures.overdue)
    metrics.next_run.set(figures.next_run_at.timestamp() if figures.next_run_at else 0)
    put(metrics.hooks_waiting, {(hook.hook,): hook.waiting for hook in known.hooks})
    put(metrics.realm_paused, {(realm,): 1 for realm in known.paused})
    left: dict[tuple[str, ...], float] = {}
    for account in known.accounts:
        rules = standing.rules(account[0])
        if not rules.local:
            left[account] = max(0, rules.budget - standing.refusals(account))
    put(metrics.account_left, left)
