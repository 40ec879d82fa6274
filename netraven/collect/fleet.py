"""The fan-out: many devices at once under a limit, taken lazily; retries, and devices that have to wait, in between."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count

from netraven.collect.collector import Collector
from netraven.collect.later import Again, Deferred, Doubtful, Later, Parked
from netraven.collect.recorder import Recorder
from netraven.collect.visit import Visit
from netraven.events import bind
from netraven.model import Outcome, Target

MOST_PARKED = 10_000
"""Devices that wait outside at the guard's desks, at the most; past it no further devices are read."""

Unfinished = Callable[[], AsyncIterator[Target]]
"""Devices of the run that have no outcome yet."""


class Fleet:
    """Visits every target once, at most ``concurrency`` at a time. Memory grows with sessions, not with devices.

    A device that waits, for its retry or for a permit, holds no place; retries that are due and devices whose turn at
    a desk has come go before new ones.
    """

    def __init__(self, collector: Collector, *, concurrency: int) -> None:
        if concurrency < 1:
            raise ValueError("concurrency must be at least 1")
        self._collector = collector
        self._guard = collector.guard
        self._places = asyncio.Semaphore(concurrency)
        self._most_parked = max(MOST_PARKED, 4 * concurrency)
        self._order = count()
        self._again: list[tuple[float, int, Visit]] = []
        self._parked: dict[tuple[str, str], deque[Visit]] = {}
        self._seen_news: dict[tuple[str, str], int] = {}
        self._outside = 0
        self._doubtful: list[Visit] = []
        self._deferred: list[Visit] = []
        self._postponed = 0
        """Devices that were deferred before anything was sent to them: they are read again, not remembered."""
        self._known: frozenset[str] = frozenset()
        self._fruitless = False
        self._patience = collector.patience
        self._busy = 0
        self._changed = asyncio.Event()
        self._guard.tell(changed=self._changed.set)

    @property
    def recorder(self) -> Recorder:
        """The run's one writer."""
        return self._collector.recorder

    @property
    def in_session(self) -> int:
        """Devices that are being visited at this moment."""
        return self._busy

    @property
    def waiting(self) -> int:
        """Devices that what the guard keeps back has to open."""
        return self._outside + len(self._doubtful) + len(self._deferred) + self._postponed

    async def run(
        self,
        targets: AsyncIterator[Target],
        on_outcome: Callable[[Outcome], None],
        unfinished: Unfinished | None = None,
    ) -> None:
        """Visit all of ``targets``; tells each outcome as soon as it is durable.

        ``unfinished`` gives those again that are still to be visited at the end. Cancelling stops at once: sessions
        are closed, what was finished is kept, and what was in session or waited is told as interrupted.
        """
        try:
            async with asyncio.TaskGroup() as visits:
                while True:
                    await self._places.acquire()
                    visit = await self._next(targets)
                    if visit is None:
                        self._places.release()
                        if unfinished is None or (again := await self._once_more(unfinished)) is None:
                            return
                        targets = again
                        continue
                    self._busy += 1
                    visits.create_task(self._visit(visit, on_outcome))
        finally:
            for visit in self._all_waiting():
                on_outcome(self._collector.interrupted(visit))
            self._again.clear()
            self._parked.clear()
            self._doubtful.clear()
            self._deferred.clear()

    def _all_waiting(self) -> Iterator[Visit]:
        for _, _, visit in self._again:
            yield visit
        for outside in self._parked.values():
            yield from outside
        yield from self._doubtful
        yield from self._deferred

    async def _visit(self, visit: Visit, on_outcome: Callable[[Outcome], None]) -> None:
        bind(device=visit.device.name)
        try:
            result = await self._collector.visit(visit)
            visit.called_by = None
            if not isinstance(result, Parked):
                self._guard.left(visit)
            if isinstance(result, Outcome):
                on_outcome(result)
            else:
                self._put_aside(result)
        except asyncio.CancelledError:
            on_outcome(self._collector.interrupted(visit))
            raise
        finally:
            self._busy -= 1
            self._places.release()
            self._changed.set()

    def _put_aside(self, later: Later) -> None:
        match later:
            case Again(visit, wait):
                due = asyncio.get_running_loop().time() + wait
                heapq.heappush(self._again, (due, next(self._order), visit))
            case Parked(visit, account):
                self._park(visit, account)
            case Doubtful(visit):
                self._doubtful.append(visit)
            case Deferred(visit):
                if visit.attempts:
                    self._deferred.append(visit)
                else:
                    self._postponed += 1

    def _park(self, visit: Visit, account: tuple[str, str]) -> None:
        """First come, first served: who was here before and was called in vain stands at the front again."""
        outside = self._parked.setdefault(account, deque())
        if visit.parked_at == account:
            outside.appendleft(visit)
        else:
            self._guard.left(visit)
            visit.parked_at = account
            outside.append(visit)
        self._guard.parked(account, 1)
        self._outside += 1

    def _called(self) -> Visit | None:
        """The next device outside whose turn may have come."""
        for account, outside in self._parked.items():
            news = self._guard.news(account)
            if outside and news != self._seen_news.get(account):
                visit = outside.popleft()
                self._seen_news[account] = news
                visit.called_by = account
                self._guard.parked(account, -1)
                self._outside -= 1
                return visit
        return None

    def _settled(self) -> Visit | None:
        """A device whose doubtful refusal has turned out to be one, or not to be."""
        for place, visit in enumerate(self._doubtful):
            if not visit.doubts:
                return self._doubtful.pop(place)
        return None

    async def _next(self, targets: AsyncIterator[Target]) -> Visit | None:
        """The next visit, waiting for what falls due; None once nothing is left but what is kept back."""
        while True:
            self._changed.clear()
            wait = self._again[0][0] - asyncio.get_running_loop().time() if self._again else None
            if wait is not None and wait <= 0:
                return heapq.heappop(self._again)[2]
            if (visit := self._called() or self._settled()) is not None:
                return visit
            if self._outside < self._most_parked:
                target = await anext(targets, None)
                if target is not None:
                    if target.device.name in self._known:
                        continue
                    return self._collector.begin(target)
            if not self._busy and not self._again and not self._outside:
                if not self._doubtful:
                    return None
                self._guard.settle()
                continue
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _once_more(self, unfinished: Unfinished) -> AsyncIterator[Target] | None:
        """Wait for what is kept back, as long as that can change; then visit those devices again, at last for good."""
        if not self._deferred and not self._postponed:
            return None
        if not self._collector.entrance.final and not await self._opened_again():
            self._collector.entrance.final = True
        deferred, self._deferred = self._deferred, []
        now = asyncio.get_running_loop().time()
        for visit in deferred:
            heapq.heappush(self._again, (now, next(self._order), visit))
        self._known = frozenset(visit.device.name for visit in deferred)
        self._postponed = 0
        return unfinished()

    async def _opened_again(self) -> bool:
        """Whether something that was closed is open now, or comes to be within the run's patience."""
        closed = self._guard.closed_doors()
        if not closed:  # opened while the last devices were busy, and worth one more look
            fruitless, self._fruitless = self._fruitless, True
            return not fruitless
        self._fruitless = False
        loop = asyncio.get_running_loop()
        while closed <= self._guard.closed_doors():
            began = loop.time()
            self._changed.clear()
            left = self._guard.wait_left()
            if left is None or left > self._patience:
                return False
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._patience -= loop.time() - began
        return True
