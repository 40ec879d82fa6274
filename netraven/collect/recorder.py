"""The one writer of a run: whoever waits for an entry is answered once it is durable.

Entries queue up while a transaction is under way and go into the next one together (group commit). A batch that
fails is halved until the entry that the database will not take stands alone and is refused alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any

from netraven.errors import DatabaseError, RecorderStopped, RowRefused
from netraven.events import events
from netraven.model import Batch, Entry, Run
from netraven.ports import Ledger

_log = events("netraven.collect")

MOST_PER_BATCH = 500
MOST_WAITING = 5_000
HELD = 60.0
"""Seconds for which a run counts as held after the database has last said so; others take it after 90 of silence."""
LINGER = 0.05
"""Seconds that an entry waits for others to share its transaction, at the most."""
LINGER_PER_ENTRY = 0.005
"""The wait grows by this for each entry of the last transaction: who comes alone is not kept waiting, and under load,
where a transaction's fixed cost is what a device costs, it is shared by many."""


class Recorder:
    """Group commit over a ledger. An async context manager; leaving it writes what still waits.

    ``run``: whose batches it writes, numbered from the last one on record; without it they have no numbers.
    ``max_waiting`` bounds the queue: past it, :meth:`record` waits before it enqueues.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        run: Run | None = None,
        max_batch: int = MOST_PER_BATCH,
        max_waiting: int = MOST_WAITING,
        linger: float = LINGER,
    ) -> None:
        self._ledger = ledger
        self._last = None if run is None else Batch(run.id, run.batch)
        self._linger = linger
        self._max_batch = max_batch
        self._waiting: deque[tuple[Entry, asyncio.Future[Any]]] = deque()
        self._room = asyncio.Semaphore(max_waiting)
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._closing = False
        self._stopped: RecorderStopped | None = None
        self._writer: asyncio.Task[None] | None = None
        self._behind_since: float | None = None
        self._held_at: float | None = None
        self.failed: asyncio.Future[None] | None = None
        """Done, with the ``RecorderStopped``, once nothing can be recorded any more."""

    async def __aenter__(self) -> Recorder:
        self.failed = asyncio.get_running_loop().create_future()
        if self._last is not None:
            self._held_at = asyncio.get_running_loop().time()
        self._writer = asyncio.create_task(self._write(), name="netraven-recorder")
        self._writer.add_done_callback(self._writer_ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._wake.set()
        if self._writer is not None:
            try:
                await asyncio.wait([self._writer])
            except asyncio.CancelledError:  # asked a second time: what still waits is given up
                self._writer.cancel()
                await asyncio.wait([self._writer])
                raise
        if self.failed is not None and self.failed.done() and not self.failed.cancelled():
            self.failed.exception()  # whoever ran has seen it as RecorderStopped
        elif self.failed is not None:
            self.failed.cancel()

    @property
    def waiting(self) -> int:
        """Entries that are not durable yet, those of the transaction under way left out."""
        return len(self._waiting)

    @property
    def lag(self) -> float:
        """Seconds for which entries have waited without any becoming durable; 0.0 where none waits."""
        if self._behind_since is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._behind_since

    def held(self, at: float) -> None:
        """The database has said that the run is this process's, when it was asked at this time of the loop."""
        if self._held_at is not None:
            self._held_at = max(self._held_at, at)

    @property
    def in_doubt(self) -> bool:
        """Whether another process may have the run by now: this one stood still, or the database was away."""
        return self._held_at is not None and asyncio.get_running_loop().time() - self._held_at > HELD

    async def record(
        self, entry: Entry, *, undo: Callable[[Any], Entry | None] | None = None, urgent: bool = False
    ) -> Any:
        """Write ``entry``; returns the ledger's answer once it is durable. ``urgent``: others wait for what follows.

        A caller that is cancelled meanwhile leaves its entry to be written, followed by ``undo(answer)`` where
        given (an entry with an ``undo`` that still waits for room is not written at all). Raises ``RowRefused``
        where the database will not take this entry, ``RecorderStopped`` where nothing can be written any more.
        """
        self.check()
        try:
            await self._room.acquire()
        except asyncio.CancelledError:
            if undo is None:
                self.post(entry)
            raise
        if self._stopped is not None or self._closing:
            self._room.release()  # whoever waits behind this caller is to see it too
        self.check()
        answer = self._enqueue(entry, holds_room=True)
        if urgent:
            self._hurry.set()
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            if undo is not None:
                answer.add_done_callback(partial(self._undo, undo))
            raise

    def post(self, entry: Entry) -> None:
        """Write ``entry`` without waiting for it: a last word of something that is being cancelled."""
        if self._stopped is None:
            _ = self._enqueue(entry, holds_room=False)

    def stop(self, error: RecorderStopped) -> None:
        """Nothing more is written, and whoever waits is told why."""
        self._stop(error, ())
        if self._writer is not None:
            self._writer.cancel()

    def check(self) -> None:
        """Raise ``RecorderStopped`` where nothing can be recorded any more."""
        if self._stopped is not None:
            raise self._stopped
        if self._closing:
            raise RecorderStopped("the run has ended, nothing more is recorded")

    def _enqueue(self, entry: Entry, *, holds_room: bool) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(self._answered if holds_room else _seen)
        self._waiting.append((entry, answer))
        if self._behind_since is None:
            self._behind_since = asyncio.get_running_loop().time()
        self._wake.set()
        return answer

    def _answered(self, answer: asyncio.Future[Any]) -> None:
        _seen(answer)
        self._room.release()

    def _undo(self, undo: Callable[[Any], Entry | None], answer: asyncio.Future[Any]) -> None:
        if not answer.cancelled() and answer.exception() is None:
            entry = undo(answer.result())
            if entry is not None:
                self.post(entry)

    async def _write(self) -> None:
        company = 1
        while True:
            if not self._waiting and not self._closing:
                self._wake.clear()
                await self._wake.wait()
                continue
            if not self._waiting:
                await asyncio.sleep(
                    0
                )  # callers that were cancelled undo their entries once these are answered
                if not self._waiting:
                    return
            if not self._closing and len(self._waiting) < self._max_batch:
                await self._gather_company(min(self._linger, LINGER_PER_ENTRY * company))
            self._hurry.clear()
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._max_batch))]
            company = len(batch)
            try:
                await self._commit(batch)
            except BaseException as error:
                self._stop(error, batch)
                raise
            self._behind_since = asyncio.get_running_loop().time() if self._waiting else None

    async def _gather_company(self, seconds: float) -> None:
        """Wait for entries to share the transaction, unless somebody is in a hurry."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    async def _commit(self, batch: Sequence[tuple[Entry, asyncio.Future[Any]]]) -> None:
        entries = [entry for entry, _ in batch]
        asked = asyncio.get_running_loop().time()
        try:
            if self._last is None:
                answers = await self._ledger.commit(entries)
            else:
                self._last = Batch(self._last.run_id, self._last.number + 1)
                answers = await self._ledger.commit(entries, of=self._last)
        except RowRefused as error:
            if len(batch) == 1:
                entry, answer = batch[0]
                _log.error("entry_refused", entry=type(entry).__name__, error=str(error))
                _settle(answer, error=error)
                return
            middle = len(batch) // 2
            await self._commit(batch[:middle])
            await self._commit(batch[middle:])
        else:
            self.held(asked)
            for (_, answer), value in zip(batch, answers, strict=True):
                _settle(answer, value=value)

    def _writer_ended(self, writer: asyncio.Task[None]) -> None:
        if writer.cancelled():
            self._stop(RuntimeError("the recorder was cancelled"), ())
        elif (error := writer.exception()) is not None:
            self._stop(error, ())

    def _stop(self, error: BaseException, batch: Sequence[tuple[Entry, asyncio.Future[Any]]]) -> None:
        """Answer everybody, now and later, with why nothing can be recorded."""
        if self._stopped is None and isinstance(error, RecorderStopped):
            self._stopped = error
        elif self._stopped is None:
            said = str(error) if isinstance(error, DatabaseError) else f"{type(error).__name__}: {error}"
            self._stopped = RecorderStopped(
                f"the run stops, because what happens can no longer be recorded: {said}"
            )
            self._stopped.__cause__ = error
        if self.failed is not None and not self.failed.done():
            self.failed.set_exception(self._stopped)
        if given_up := len(batch) + len(self._waiting):
            _log.error("entries_not_recorded", entries=given_up, error=str(self._stopped))
        for _, answer in (*batch, *self._waiting):
            _settle(answer, error=self._stopped)
        self._waiting.clear()
        self._room.release()  # whoever waits for room passes this on when it sees that all is over


def _seen(answer: asyncio.Future[Any]) -> None:
    """An answer whose caller has gone is no error of its own."""
    if not answer.cancelled():
        answer.exception()


def _settle(answer: asyncio.Future[Any], *, value: Any = None, error: Exception | None = None) -> None:
    if answer.done():
        return  # its caller has gone
    if error is None:
        answer.set_result(value)
    else:
        answer.set_exception(error)
