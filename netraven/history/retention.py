"""Which versions of one output of a device go, and which stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Limits:
    """What stays. 0: no limit; a version goes that is beyond either of them."""

    versions: int = 0
    """The newest so many."""
    days: float = 0.0
    """Those that were in force within so many days."""

    def __bool__(self) -> bool:
        return bool(self.versions or self.days)

    def cutoff(self, now: datetime) -> datetime | None:
        """What had its place taken by then goes."""
        return now - timedelta(days=self.days) if self.days else None


@dataclass(frozen=True, slots=True)
class Dated:
    """One version: its number, and since when it was in force; it was so until the next one was first seen."""

    number: int
    first_seen_at: datetime


def oldest_that_stays(versions: Sequence[Dated], limits: Limits, now: datetime) -> int:
    """The number of the oldest version that stays: those of a lower number go, and the latest never does.

    ``versions`` are all of one device and kind, the oldest first. Where a clock went back, so that an older version was
    in force later than a newer one, both stay.
    """
    first = 0
    if limits.versions:
        first = max(first, len(versions) - limits.versions)
    if (cutoff := limits.cutoff(now)) is not None:
        after = (place for place, next_one in enumerate(versions[1:]) if next_one.first_seen_at > cutoff)
        first = max(first, next(after, len(versions) - 1))
    return versions[first].number
