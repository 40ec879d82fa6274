"""Brings hooks what waits for them in the outbox.

Hooks side by side, and of one hook several devices side by side; of one device one thing after the other. A hook that
cannot be told anything pauses as a whole: a receiver that is down costs one try each pause, not one for each event.
What is tried after a pause is what has been tried least, so that one message that nobody takes holds up its own device
and no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from netraven.events import events
from netraven.history.pattern import Pattern
from netraven.model import Delivery, EventKind, Pause, utcnow
from netraven.notify.backoff import wait
from netraven.notify.changes import Changes
from netraven.notify.message import Answer, Message, Way
from netraven.ports import Outbox, Sleep

POLL = 1.0
"""Seconds between two looks into the outbox."""
HURRY = 0.2
"""The same once nothing more will come."""
MOST_PARTS = 5_000
"""Events that one digest speaks of."""
MOST_DIFFERENCES = 500
"""Changes whose differences are looked at for one digest; more would not fit into a mail."""
_MARGIN = 60.0
"""Seconds by which a lease is longer than a try: for reading what changed."""
_LONG = timedelta(seconds=5)
"""A try that is cut off after so long has failed: a receiver that never answers has to pause like one that is down."""
_LOOKS_FOR_OLD = timedelta(minutes=10)

_log = events("netraven.notify")


@dataclass(frozen=True, slots=True)
class Hook:
    """Who is told, and how. ``digest``: one message for each run, at its end, with all that happened in it."""

    name: str
    way: Way
    digest: bool = False
    diff: bool = True
    pattern: Pattern | None = None
    keep: timedelta = timedelta(days=7)


class Courier:
    """One of these delivers at a time in a process; several processes may."""

    def __init__(
        self,
        hooks: Sequence[Hook],
        outbox: Outbox,
        changes: Changes,
        *,
        now: Callable[[], datetime] = utcnow,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._hooks = hooks
        self._outbox = outbox
        self._changes = changes
        self._now = now
        self._sleep = sleep
        self._until: datetime | None = None
        self._finishing = asyncio.Event()

    async def run(self) -> None:
        """Deliver what comes, until :meth:`finish`, and then what can be delivered soon. May be cancelled at any time.

        Raises ``DatabaseError`` where the outbox can no longer be read or written.
        """
        await self._side_by_side(self._enough)

    def finish(self, seconds: float) -> None:
        """Nothing more will come: :meth:`run` ends once nothing is left that may be tried within ``seconds``."""
        self._until = self._now() + timedelta(seconds=seconds)
        self._finishing.set()

    async def deliver(self) -> None:
        """Deliver what is due now, each once; a hook that fails is left alone."""
        await self._side_by_side(_always)

    async def _enough(self, queue: _Queue) -> bool:
        return self._until is not None and not await queue.worth_waiting(self._until)

    async def _side_by_side(self, enough: Callable[[_Queue], Awaitable[bool]]) -> None:
        pauses = await self._outbox.pauses()
        queues = [
            _Queue(hook, self._outbox, self._changes, self._now, pauses.get(hook.name))
            for hook in self._hooks
        ]
        try:
            async with asyncio.TaskGroup() as group:
                for queue in queues:
                    group.create_task(self._serve(queue, enough), name=f"netraven-hook-{queue.hook.name}")
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _serve(self, queue: _Queue, enough: Callable[[_Queue], Awaitable[bool]]) -> None:
        try:
            while True:
                await queue.take()
                if queue.active:
                    await queue.progress()
                elif await enough(queue):
                    return
                else:
                    await self._rest()
        finally:
            await queue.drop()

    async def _rest(self) -> None:
        """Until it is time to look again. Whoever is in a hurry wakes us."""
        if self._finishing.is_set():
            await self._sleep(HURRY)
            return
        waiting = [asyncio.ensure_future(work) for work in (self._sleep(POLL), self._finishing.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()


async def _always(_: _Queue) -> bool:
    return True


class _Queue:
    """One hook while it is served."""

    def __init__(
        self,
        hook: Hook,
        outbox: Outbox,
        changes: Changes,
        now: Callable[[], datetime],
        pause: Pause | None,
    ) -> None:
        self.hook = hook
        self.active: dict[asyncio.Task[None], tuple[Delivery, datetime]] = {}
        """With the moment at which each was begun."""
        self._outbox = outbox
        self._changes = changes
        self._now = now
        self._pause = pause
        self._proven = False
        """Whether it has taken something: until then one thing is tried at a time."""
        self._looked_for_old: datetime | None = None

    async def take(self) -> None:
        """Begin to tell what is due, as far as there is room."""
        now = self._now()
        await self._expire(now)
        if self._pause is not None and now < self._pause.until:
            return
        way = self.hook.way
        room = (way.together if self._proven else 1) - len(self.active)
        if room <= 0:
            return
        due = await self._outbox.due(
            self.hook.name, now, room, lease=way.longest + _MARGIN, digest=self.hook.digest
        )
        for delivery in due:
            self.active[asyncio.create_task(self._try(delivery))] = (delivery, now)

    async def progress(self) -> None:
        """Wait until something was told, or a moment."""
        done, _ = await asyncio.wait(self.active, timeout=POLL, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            del self.active[task]
            task.result()

    async def drop(self) -> None:
        """End what is under way; it is due as before, or has failed where it has taken long already."""
        tasks = list(self.active)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        left = [self.active[t] for t in tasks if t.cancelled() or t.exception() is not None]
        self.active.clear()
        now = self._now()
        for delivery, since in left:
            if now - since >= _LONG:
                seconds = (now - since).total_seconds()
                await self._postpone(delivery, Answer(f"no answer for {seconds:.0f} s, then it was left"))
        await self._outbox.hand_back([delivery for delivery, since in left if now - since < _LONG])

    async def worth_waiting(self, until: datetime) -> bool:
        """Whether something may be tried by then."""
        if self._pause is not None and self._pause.until > until:
            return False
        following = await self._outbox.next_at(self.hook.name, digest=self.hook.digest)
        return following is not None and following <= until

    async def _expire(self, now: datetime) -> None:
        if self._looked_for_old is not None and now < self._looked_for_old + _LOOKS_FOR_OLD:
            return
        self._looked_for_old = now
        days = f"{self.hook.keep / timedelta(days=1):g}"
        error = f"could not be delivered within {days} days"
        gone = await self._outbox.expire(self.hook.name, now - self.hook.keep, error)
        if gone:
            _log.warning("hook_gave_up", hook=self.hook.name, deliveries=gone, error=error)

    async def _try(self, delivery: Delivery) -> None:
        try:
            message = await self._message(delivery)
            answer = None if message is None else await self.hook.way.tell(message)
        except Exception as fault:  # noqa: BLE001 - ours: it may cost this message, not the others
            _log.exception("hook_fault", hook=self.hook.name, what=delivery.event.kind.value)
            answer = Answer(f"a fault of NetRaven ({type(fault).__name__}): its log has it")
        if answer is None:  # nothing in it that is asked for
            await self._outbox.delivered(delivery, digest=self.hook.digest)
            return
        settled = asyncio.ensure_future(self._settle(delivery, answer))
        try:
            await asyncio.shield(settled)
        except asyncio.CancelledError:
            await settled  # it has been told: that goes on record whoever is in a hurry
            raise

    async def _message(self, delivery: Delivery) -> Message | None:
        """None where the hook's pattern is not found."""
        event, hook = delivery.event, self.hook
        whole = Message(delivery.uid, hook.name, event.at, event)
        if hook.digest:
            gathered = await self._outbox.gathered(delivery, MOST_PARTS + 1)
            parts = [await self._part(one, n) for n, one in enumerate(gathered[:MOST_PARTS])]
            found = tuple(part for part in parts if part is not None)
            return replace(whole, parts=found, more=len(gathered) > MOST_PARTS)
        return await self._with_changes(whole)

    async def _part(self, delivery: Delivery, place: int) -> Message | None:
        part = Message(delivery.uid, self.hook.name, delivery.event.at, delivery.event)
        if place >= MOST_DIFFERENCES and self.hook.pattern is None:
            return part
        return await self._with_changes(part)

    async def _with_changes(self, message: Message) -> Message | None:
        event, hook = message.event, self.hook
        if event is None or event.kind not in (EventKind.CHANGED, EventKind.FIRST_SEEN):
            return message
        changes = await self._changes.of(event, pattern=hook.pattern, differences=hook.diff)
        return None if hook.pattern is not None and not changes else replace(message, changes=changes)

    async def _settle(self, delivery: Delivery, answer: Answer) -> None:
        name = self.hook.name
        if not answer.delivered and not answer.permanent:
            await self._postpone(delivery, answer)
            return
        if answer.delivered:
            _log.info("hook_told", hook=name, what=delivery.event.kind.value, device=delivery.event.device)
            await self._outbox.delivered(delivery, digest=self.hook.digest)
        else:
            _log.warning("hook_gave_up", hook=name, device=delivery.event.device, error=answer.said)
            await self._outbox.give_up(delivery, answer.said, digest=self.hook.digest)
        self._proven = True
        if self._pause is not None:
            self._pause = None
            await self._outbox.pause(name, None)

    async def _postpone(self, delivery: Delivery, answer: Answer) -> None:
        now, name = self._now(), self.hook.name
        failures, paused_until = 1, now
        if self._pause is not None:  # several that were under way at once are one failure
            paused_until = max(now, self._pause.until)
            failures = self._pause.failures + (now >= self._pause.until)
        seconds = wait(failures, delivery.uid, answer.retry_after)
        paused_until = max(paused_until, now + timedelta(seconds=seconds))
        own = now + timedelta(seconds=wait(delivery.tries + 1, delivery.uid))
        _log.info("hook_failed", hook=name, device=delivery.event.device, error=answer.said)
        self._proven = False
        self._pause = Pause(paused_until, failures, answer.said)
        await self._outbox.postpone(delivery, max(paused_until, own), answer.said)
        await self._outbox.pause(name, self._pause)
