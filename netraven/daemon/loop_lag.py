"""How late the event loop is: a task that wants to wake at a certain moment sees by how much it missed it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from netraven.ports import Sleep

EVERY = 0.5
"""Seconds between two looks."""
KEPT = 600
"""Looks that the 99th percentile is taken from: five minutes."""


class LoopLag:
    """Seconds by which the loop was late, as measured by :meth:`run`."""

    def __init__(
        self, observe: Callable[[float], None] = lambda _: None, *, sleep: Sleep = asyncio.sleep
    ) -> None:
        """``observe`` is told of each look."""
        self._observe = observe
        self._sleep = sleep
        self._seen: deque[float] = deque(maxlen=KEPT)

    @property
    def p99(self) -> float:
        """Of the last five minutes: all but one look of a hundred were no later than that."""
        if not self._seen:
            return 0.0
        ordered = sorted(self._seen)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]

    def saw(self, seconds: float) -> None:
        late = max(0.0, seconds)
        self._seen.append(late)
        self._observe(late)

    async def run(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            await self._sleep(EVERY)
            self.saw(clock() - began - EVERY)
