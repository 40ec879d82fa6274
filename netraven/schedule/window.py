"""The part of a day in which a job may start, and the moment by which its runs have to end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from netraven.schedule.zones import change_after, moments_of, wall

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Window:
    """``start`` and ``finish`` are wall-clock times in ``zone``; with both, the window may span midnight.

    Without ``finish`` it is open until midnight. Without ``start`` it is always open: ``finish`` is then only the
    time by which runs end.
    """

    zone: ZoneInfo
    start: time | None = None
    finish: time | None = None

    def open_at(self, moment: datetime) -> bool:
        if self.start is None:
            return True
        shown = wall(moment, self.zone).time()
        if self.finish is None:
            return shown >= self.start
        if self.start < self.finish:
            return self.start <= shown < self.finish
        return shown >= self.start or shown < self.finish

    def opens_after(self, moment: datetime) -> datetime:
        """The first moment after ``moment``, at which it is closed, that it is open."""
        assert self.start is not None  # noqa: S101 - without a start it is never closed
        opens = _next(self.start, moment, self.zone)
        change = change_after(moment, opens, self.zone)  # clocks put back may show a time within it again
        return change if change is not None and self.open_at(change) else opens

    def finish_after(self, moment: datetime) -> datetime | None:
        """The first moment after ``moment`` at which runs have to be at an end; None: they need not."""
        return None if self.finish is None else _next(self.finish, moment, self.zone)


def _next(shown: time, after: datetime, zone: ZoneInfo) -> datetime:
    """The first moment after ``after`` at which the wall clock shows it, or skips it."""
    day = wall(after, zone).replace(hour=shown.hour, minute=shown.minute, second=0, microsecond=0)
    while True:
        if found := [moment for moment in moments_of(day, zone) if moment > after]:
            return found[0]
        day += _DAY
