"""Devices that there is no room for on the floor: put aside, so that others go first, until there is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from netraven.collect.floor import Floor, Obstacle
from netraven.collect.visit import Visit


class Aside:
    """Waiting visits by what is in their way; first come, first served at each obstacle."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._behind: dict[Obstacle, deque[Visit]] = {}
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def __iter__(self) -> Iterator[Visit]:
        for waiting in self._behind.values():
            yield from waiting

    def put(self, obstacle: Obstacle, visit: Visit) -> None:
        self._behind.setdefault(obstacle, deque()).append(visit)
        self._number += 1

    def enter(self) -> Visit | None:
        """The first that there is room for, entered."""
        for obstacle in [one for one in self._behind if self._floor.is_open(one)]:
            while obstacle in self._behind and self._floor.is_open(obstacle):
                visit = self._take(obstacle)
                another = self._floor.enter(visit.device)
                if another is None:
                    visit.inside = True
                    return visit
                self.put(another, visit)
        return None

    def anybody(self) -> Visit | None:
        """Any of them, not entered."""
        return next((self._take(obstacle) for obstacle in self._behind), None)

    def clear(self) -> None:
        self._behind.clear()
        self._number = 0

    def _take(self, obstacle: Obstacle) -> Visit:
        waiting = self._behind[obstacle]
        visit = waiting.popleft()
        if not waiting:
            del self._behind[obstacle]
        self._number -= 1
        return visit
