"""So many at once, and who is next."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count
from types import TracebackType

ORDINARY = 100
"""The priority of whatever has none; lower goes first."""


class Places:
    """At most ``limit`` places are taken at once. Who waits is served by priority, the lowest first, then in turn.

    The limit may be changed while places are taken: where there are fewer than before, those that come free are given
    to nobody until it fits.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._order = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._serving = False
        self.taken = 0

    @property
    def limit(self) -> int:
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit
        self._serve()

    @property
    def free(self) -> bool:
        return self.taken < self._limit

    async def acquire(self, priority: int = ORDINARY) -> None:
        if self.free and not self._waiting:
            self.taken += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._order), turn))
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the place had just been given
                self.release()
            turn.cancel()
            raise

    def release(self) -> None:
        self.taken -= 1
        self._serve()

    def _serve(self) -> None:
        if self._waiting and self.free and not self._serving:
            self._serving = True
            asyncio.get_running_loop().call_soon(self._serve_one)

    def _serve_one(self) -> None:
        """One place at a time: whoever has got one may want the next before others do."""
        self._serving = False
        while self._waiting and self.free:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                self.taken += 1
                turn.set_result(None)
                break
        self._serve()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
