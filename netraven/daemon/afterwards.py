"""What goes on beside the runs: hooks are told all the time, and the git repository follows after each run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from netraven.daemon.outfit import Outfit
from netraven.errors import DatabaseError
from netraven.events import events
from netraven.git.after_run import export_after_run
from netraven.model import Logged, Run, utcnow
from netraven.ports import Sleep

AGAIN = 5.0
"""Seconds after which hooks are told again where the outbox could not be read."""

log = events("netraven.daemon")


class Telling:
    """One courier at a time, made anew when settings are read again."""

    def __init__(self, outfit: Callable[[], Outfit], *, sleep: Sleep = asyncio.sleep) -> None:
        self._outfit = outfit
        self._sleep = sleep
        self._changed = asyncio.Event()

    def renew(self) -> None:
        """Settings have changed: what is being told is told to its end, and the new hooks follow."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled. A lost database is told once, and tried again."""
        lost = False
        while True:
            self._changed.clear()
            courier = self._outfit().courier()
            if courier is None:
                await self._changed.wait()
                continue
            telling = asyncio.create_task(courier.run(), name="netraven-courier")
            changed = asyncio.create_task(self._changed.wait())
            try:
                await asyncio.wait([telling, changed], return_when=asyncio.FIRST_COMPLETED)
                if not telling.done():
                    lost = False
            finally:
                for task in (telling, changed):
                    task.cancel()
                await asyncio.wait([telling, changed])
            if telling.cancelled():
                continue
            fault = telling.exception()
            if fault is not None and not isinstance(fault, DatabaseError):
                raise fault
            if not lost:
                log.warning("hooks_not_told", error=str(fault))
            lost = True
            await self._sleep(AGAIN)

    async def last_word(self, seconds: float) -> None:
        """Tell what can be told soon, so long at the most. After :meth:`run` was cancelled."""
        courier = self._outfit().courier()
        if courier is None:
            return
        courier.finish(seconds)
        with contextlib.suppress(TimeoutError, DatabaseError):
            async with asyncio.timeout(seconds):
                await courier.run()


class Exporting:
    """Brings the git repository up to date after runs; several runs that end meanwhile share one export."""

    def __init__(self, outfit: Callable[[], Outfit]) -> None:
        self._outfit = outfit
        self._ended: list[Run] = []
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def ended(self, run: Run) -> None:
        self._ended.append(run)
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled; what was not exported is exported after the next run."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            runs, self._ended = self._ended, []
            outfit = self._outfit()
            try:
                if outfit.exporter is None:
                    continue
                lines = await export_after_run(outfit.exporter)
                entries = [
                    Logged(runs[-1].id, utcnow(), level, event, data=data) for level, event, data in lines
                ]
                for entry in entries:
                    log.log(_LEVELS[entry.level], entry.message, run=entry.run_id, **entry.data)
                if entries:
                    with contextlib.suppress(DatabaseError):
                        await outfit.store.commit(entries)
            finally:
                if not self._ended:
                    self._idle.set()

    async def finished(self) -> None:
        """Wait until nothing is left to export."""
        await self._idle.wait()


_LEVELS = {"info": 20, "warning": 30, "error": 40}
