"""The fan-out: many devices at once under a limit, devices taken lazily, retries in between."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable
from itertools import count

from netraven.collect.collector import Again, Collector
from netraven.collect.visit import Visit
from netraven.model import Outcome, Target


class Fleet:
    """Visits every target once, at most ``concurrency`` at a time. Memory grows with sessions, not with devices.

    A device that waits for its retry holds no place; retries that are due go before new devices.
    """

    def __init__(self, collector: Collector, *, concurrency: int) -> None:
        if concurrency < 1:
            raise ValueError("concurrency must be at least 1")
        self._collector = collector
        self._places = asyncio.Semaphore(concurrency)
        self._again: list[tuple[float, int, Visit]] = []
        self._order = count()
        self._busy = 0
        self._changed = asyncio.Event()

    @property
    def in_session(self) -> int:
        """Devices that are being visited at this moment."""
        return self._busy

    async def run(self, targets: AsyncIterator[Target], on_outcome: Callable[[Outcome], None]) -> None:
        """Visit all of ``targets``; tells each outcome as soon as it is durable.

        Cancelling stops at once: sessions are closed, what was finished is kept, and what was in session or waited
        for its retry is told as interrupted.
        """
        try:
            async with asyncio.TaskGroup() as visits:
                while True:
                    await self._places.acquire()
                    visit = await self._next(targets)
                    if visit is None:
                        return
                    self._busy += 1
                    visits.create_task(self._visit(visit, on_outcome))
        finally:
            for _, _, visit in self._again:
                on_outcome(self._collector.interrupted(visit))
            self._again.clear()

    async def _visit(self, visit: Visit, on_outcome: Callable[[Outcome], None]) -> None:
        try:
            result = await self._collector.visit(visit)
            if isinstance(result, Again):
                due = asyncio.get_running_loop().time() + result.wait
                heapq.heappush(self._again, (due, next(self._order), result.visit))
            else:
                on_outcome(result)
        except asyncio.CancelledError:
            on_outcome(self._collector.interrupted(visit))
            raise
        finally:
            self._busy -= 1
            self._places.release()
            self._changed.set()

    async def _next(self, targets: AsyncIterator[Target]) -> Visit | None:
        """The next visit, waiting for retries to fall due; None once nothing is left and nothing can come."""
        while True:
            self._changed.clear()
            wait = self._again[0][0] - asyncio.get_running_loop().time() if self._again else None
            if wait is not None and wait <= 0:
                return heapq.heappop(self._again)[2]
            target = await anext(targets, None)
            if target is not None:
                return Visit(target, self._collector.clock)
            if not self._again and not self._busy:
                return None
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                pass
