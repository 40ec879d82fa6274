"""Moments that survive a wrong clock.

How long ago something was matters to the lockout guard: an AAA service forgets refusals after a while, and a guard
that believes too early in that forgetting locks an account. A clock that is set forward must not make it believe so.
A moment therefore carries two clocks: the time of day, which every machine has, and the time since boot, which nobody
sets. Within one boot the smaller of the two distances counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moment:
    """``wall``: seconds since 1970. ``tick``: seconds since ``boot``, which names one boot of one machine."""

    wall: float
    tick: float = 0.0
    boot: str = ""

    def since(self, earlier: Moment) -> float:
        """Seconds from ``earlier`` to this moment, as few as either clock says; never negative."""
        passed = self.wall - earlier.wall
        if self.boot and self.boot == earlier.boot:
            passed = min(passed, self.tick - earlier.tick)
        return max(0.0, passed)

    def to_json(self) -> list[float | str]:
        return [self.wall, self.tick, self.boot]

    @classmethod
    def from_json(cls, value: list[float | str]) -> Moment:
        wall, tick, boot = value
        return cls(float(wall), float(tick), str(boot))


MomentClock = Callable[[], Moment]
