"""The fan-out: many devices at once under a limit, taken lazily; retries, and devices that have to wait, in between."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import count

from netraven.collect.aside import Aside
from netraven.collect.collector import Collector
from netraven.collect.floor import Floor, FloorLimits
from netraven.collect.later import Again, Deferred, Doubtful, Later, Parked
from netraven.collect.places import ORDINARY
from netraven.collect.recorder import Recorder
from netraven.collect.visit import Visit
from netraven.events import bind
from netraven.model import Load, Outcome, Target

MOST_PARKED = 10_000
"""Devices that wait outside at the guard's desks, at the most; past it no further devices are read. As many are put
aside because of their tags; past it those that are met are left for another look at the end."""

Unfinished = Callable[[], AsyncIterator[Target]]
"""Devices of the run that have no outcome yet."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a run goes about its devices.

    ``closes_at``: the loop's time at which everything ends, whoever is in session, and ``closes`` how that time is
    called. ``usual``: the seconds that a visit takes as a rule, None where nobody knows. ``resumable``: what has no end
    when the run is cancelled is visited again by whoever goes on with it, and is told nothing.
    """

    priority: int = ORDINARY
    closes_at: float | None = None
    closes: datetime | None = None
    usual: Callable[[Target], float | None] = lambda _target: None
    resumable: bool = False


class Fleet:
    """Visits every target once, at most ``concurrency`` at a time. Memory grows with sessions, not with devices.

    A device that waits, for its retry, for a permit or for room on the floor, holds no place; retries that are due and
    devices whose turn has come go before new ones.
    """

    def __init__(
        self,
        collector: Collector,
        *,
        concurrency: int,
        floor: Floor | None = None,
        terms: Terms = Terms(),
    ) -> None:
        if concurrency < 1:
            raise ValueError("concurrency must be at least 1")
        self._collector = collector
        self._guard = collector.guard
        self._floor = floor or Floor(FloorLimits(concurrency))
        self._terms = terms
        self.concurrency = concurrency
        self._places = asyncio.Semaphore(concurrency)
        self._most_parked = max(MOST_PARKED, 4 * concurrency)
        self._order = count()
        self._again: list[tuple[float, int, Visit]] = []
        self._parked: dict[tuple[str, str], deque[Visit]] = {}
        self._seen_news: dict[tuple[str, str], int] = {}
        self._outside = 0
        self._doubtful: list[Visit] = []
        self._deferred: list[Visit] = []
        self._aside = Aside(self._floor)
        self._hand: Visit | None = None
        """The one that is let in as soon as the process has a place for it."""
        self._left_for_later = 0
        """Devices that are read again, not remembered: they were deferred before anything was sent to them, or their
        tags were full and too many wait aside."""
        self._passed_over = False
        self._known: frozenset[str] = frozenset()
        self._fruitless = False
        self._patience = collector.patience
        self._busy = 0
        self._draining = False
        self._changed = asyncio.Event()
        self._guard.tell(changed=self._changed.set)
        self.done = Load()
        """The devices that have come to an end in this fleet, and what they usually take."""
        self.eta_at: datetime | None = None
        """When all will be done, as far as the run can tell."""

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
        return self._outside + len(self._doubtful) + len(self._deferred) + self._left_for_later

    @property
    def aside(self) -> int:
        """Devices that wait for room on the floor."""
        return len(self._aside)

    def drain(self) -> None:
        """Begin no further visits; those in session may end, as long as nobody cancels the run."""
        self._draining = True
        self._changed.set()

    async def run(
        self,
        targets: AsyncIterator[Target],
        on_outcome: Callable[[Outcome], None],
        unfinished: Unfinished | None = None,
    ) -> bool:
        """Visit all of ``targets``; tells each outcome as soon as it is durable. False: it was drained before the end.

        ``unfinished`` gives those again that are still to be visited at the end. Cancelling stops at once: sessions
        are closed, what was finished is kept, and what was in session or waited is told as interrupted.
        """
        again: AsyncIterator[Target] | None = targets
        try:
            with self._floor.listening(self._changed.set):
                async with asyncio.TaskGroup() as visits:
                    while again is not None and not self._draining:
                        await self._visit_all(again, visits, on_outcome, may_pass=unfinished is not None)
                        again = None if unfinished is None else await self._once_more(unfinished)
                return not self._draining
        finally:
            if not self._terms.resumable:
                for visit in self._all_waiting():
                    on_outcome(self._collector.interrupted(visit))
            self._again.clear()
            self._parked.clear()
            self._doubtful.clear()
            self._deferred.clear()
            self._aside.clear()

    async def _visit_all(
        self,
        targets: AsyncIterator[Target],
        visits: asyncio.TaskGroup,
        on_outcome: Callable[[Outcome], None],
        *,
        may_pass: bool,
    ) -> None:
        """Begin visits until nothing is left but what is kept back."""
        while True:
            await self._places.acquire()
            self._hand = await self._next(targets, may_pass=may_pass)
            visit = self._hand
            if visit is None:
                self._places.release()
                return
            if visit.inside and not await self._has_place(visit):
                self._places.release()
                return
            self._hand = None
            self._busy += 1
            task = visits.create_task(self._visit(visit, on_outcome))
            task.add_done_callback(partial(self._over, visit))

    async def _has_place(self, visit: Visit) -> bool:
        """Wait for a place among all visits of the process. False: no more visits are begun.

        Where the run closes meanwhile, the visit has no place, for it is only told so.
        """
        try:
            async with asyncio.timeout_at(self._terms.closes_at):
                await self._floor.places.acquire(self._terms.priority)
        except TimeoutError:
            self._leave(visit)
            return True
        except BaseException:
            self._leave(visit)
            raise
        if self._draining:
            self._floor.places.release()
            self._leave(visit)
        return not self._draining

    def _over(self, visit: Visit, _: asyncio.Task[None]) -> None:
        """Called however the task ended, even where it was cancelled before it began."""
        self._busy -= 1
        self._places.release()
        if visit.inside:
            self._leave(visit)
            self._floor.places.release()
        self._changed.set()

    def _leave(self, visit: Visit) -> None:
        visit.inside = False
        self._floor.leave(visit.device)

    def _all_waiting(self) -> Iterator[Visit]:
        if self._hand is not None:
            yield self._hand
        for _, _, visit in self._again:
            yield visit
        for outside in self._parked.values():
            yield from outside
        yield from self._doubtful
        yield from self._deferred
        yield from self._aside

    async def _visit(self, visit: Visit, on_outcome: Callable[[Outcome], None]) -> None:
        bind(device=visit.device.name)
        try:
            result = await self._in_time(visit)
            visit.called_by = None
            if not isinstance(result, Parked):
                self._guard.left(visit)
            if isinstance(result, Outcome):
                self.done = self.done.with_one(self._terms.usual(visit.target))
                on_outcome(result)
            else:
                self._put_aside(result)
        except asyncio.CancelledError:
            if visit.finished is not None or not self._terms.resumable:
                on_outcome(self._collector.interrupted(visit))
            raise

    async def _in_time(self, visit: Visit) -> Outcome | Later:
        """Visit the device, or what is left of that before the run closes."""
        terms = self._terms
        if terms.closes_at is None:
            return await self._collector.visit(visit)
        why = f"the run had to be finished by {terms.closes:%Y-%m-%d %H:%M} UTC"
        if self._closed:
            return await self._collector.closed(visit, why)
        usual = terms.usual(visit.target)
        left = terms.closes_at - asyncio.get_running_loop().time()
        if usual is not None and usual > left:
            return await self._collector.closed(visit, f"{why}, and this device takes {usual:.0f} s")
        try:
            async with asyncio.timeout(left):
                return await self._collector.visit(visit)
        except TimeoutError:
            return await self._collector.closed(visit, why)

    @property
    def _closed(self) -> bool:
        closes_at = self._terms.closes_at
        return closes_at is not None and asyncio.get_running_loop().time() >= closes_at

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
                if visit.attempts > visit.resumed:
                    self._deferred.append(visit)
                else:
                    self._left_for_later += 1

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
            if outside and (self._closed or news != self._seen_news.get(account)):
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
            if not visit.doubts or self._closed:
                return self._doubtful.pop(place)
        return None

    def _due(self) -> Visit | None:
        """A device whose time has come to be visited again."""
        if self._again and (self._closed or self._again[0][0] <= asyncio.get_running_loop().time()):
            return heapq.heappop(self._again)[2]
        return None

    def _enters(self, visit: Visit) -> bool:
        """Whether it is in session from now on; else it waits aside for what is in its way."""
        if self._closed:  # it is only told so
            return True
        obstacle = self._floor.enter(visit.device)
        if obstacle is None:
            visit.inside = True
            return True
        if visit.called_by is not None:  # it gives up its turn, for it may wait long
            visit.called_by = None
            self._guard.left(visit)
        self._aside.put(obstacle, visit)
        return False

    async def _next(self, targets: AsyncIterator[Target], *, may_pass: bool) -> Visit | None:
        """The next visit, waiting for what falls due; None once nothing is left but what is kept back."""
        while not self._draining:
            self._changed.clear()
            visit = self._due() or self._called() or self._settled()
            if visit is not None:
                if self._enters(visit):
                    return visit
                continue
            if (visit := self._aside.anybody() if self._closed else self._aside.enter()) is not None:
                return visit
            room = len(self._aside) < self._most_parked
            if self._outside < self._most_parked and (room or may_pass):
                target = await anext(targets, None)
                if target is not None:
                    if target.device.name in self._known:
                        continue
                    if not room and self._floor.obstacle(target.device) is not None:
                        self._passed_over = True
                        self._left_for_later += 1
                    elif self._enters(visit := self._collector.begin(target)):
                        return visit
                    continue
            if not self._busy and not self._again and not self._outside and not self._aside:
                if not self._doubtful:
                    return None
                self._guard.settle()
                continue
            await self._change()
        return None

    async def _change(self) -> None:
        """Wait until something has changed, or falls due."""
        due = [self._again[0][0]] if self._again else []
        if self._terms.closes_at is not None and not self._closed:
            due.append(self._terms.closes_at)
        try:
            async with asyncio.timeout_at(min(due, default=None)):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _once_more(self, unfinished: Unfinished) -> AsyncIterator[Target] | None:
        """Wait for what is kept back, as long as that can change; then visit those devices again, at last for good."""
        if (not self._deferred and not self._left_for_later) or self._draining:
            return None
        if not self._passed_over and not self._collector.entrance.final and not await self._opened_again():
            self._collector.entrance.final = True
        self._passed_over = False
        deferred, self._deferred = self._deferred, []
        now = asyncio.get_running_loop().time()
        for visit in deferred:
            heapq.heappush(self._again, (now, next(self._order), visit))
        self._known = frozenset(visit.device.name for visit in deferred)
        self._left_for_later = 0
        return unfinished()

    async def _opened_again(self) -> bool:
        """Whether something that was closed is open now, or comes to be within the run's patience."""
        closed = self._guard.closed_doors()
        if not closed:  # opened while the last devices were busy, and worth one more look
            fruitless, self._fruitless = self._fruitless, True
            return not fruitless
        self._fruitless = False
        loop = asyncio.get_running_loop()
        while closed <= self._guard.closed_doors() and not self._draining:
            began = loop.time()
            self._changed.clear()
            left = self._guard.wait_left()
            if left is None or left > self._patience or self._closed:
                return False
            until = began + left
            if self._terms.closes_at is not None:
                until = min(until, self._terms.closes_at)
            try:
                async with asyncio.timeout_at(until):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._patience -= loop.time() - began
        return True
