"""The circuit breaker of a device: one that was dead in the last runs is only looked at, and not waited for.

It goes last, is given fewer seconds to answer, and is not tried again in the same run. Any contact closes the circuit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from netraven.model import Access, Target


@dataclass(frozen=True, slots=True)
class Breaker:
    """``dead_after``: runs in a row that could not reach a device. ``connect_timeout``: seconds it is given then."""

    dead_after: int = 3
    connect_timeout: float = 3.0

    def is_open(self, target: Target) -> bool:
        """Whether the device is taken for dead."""
        return target.dead_in_row >= self.dead_after

    def way_to(self, target: Target, usual: float) -> Access:
        """How the device is reached this time. ``usual``: the connect timeout where settings say none for it."""
        access = target.access
        if not self.is_open(target):
            return access
        return replace(access, connect_timeout=min(access.connect_timeout or usual, self.connect_timeout))

    def usual_seconds(self, target: Target) -> float | None:
        """How long a visit is going to take; None where nothing is known."""
        if self.is_open(target):
            return self.connect_timeout
        return None if target.duration_ms is None else target.duration_ms / 1000
