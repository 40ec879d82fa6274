"""Due times found the slow way: the wall clock of a zone is read minute by minute.

Of cron it knows what cron(8) says: a line that names its minutes and hours is due once for each time that it names,
right after a change that skips it, and only the first time where a change brings it again; one with ``*`` there is due
as time passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def minutes(start: datetime, end: datetime) -> Iterator[datetime]:
    """Every full minute after ``start``, up to ``end``."""
    moment = start.replace(second=0, microsecond=0)
    while (moment := moment + MINUTE) <= end:
        yield moment


class Line:
    """Five fields of numbers, ``*``, lists, ranges and steps."""

    def __init__(self, text: str) -> None:
        self.fields = [_values(field, *limits) for field, limits in zip(text.split(), _RANGES, strict=True)]
        words = text.split()
        self.fixed = words[0][0] != "*" and words[1][0] != "*"
        self.both_days = words[2][0] == "*" or words[4][0] == "*"

    def fits(self, shown: datetime) -> bool:
        minute, hour, day, month, weekday = self.fields
        sunday = shown.isoweekday() % 7
        in_month, in_week = shown.day in day, sunday in weekday or (sunday == 0 and 7 in weekday)
        return (
            shown.minute in minute
            and shown.hour in hour
            and shown.month in month
            and ((in_month and in_week) if self.both_days else (in_month or in_week))
        )


def _values(field: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if span == "*":
            numbers = range(low, high + 1)
        elif last:
            numbers = range(int(first), int(last) + 1)
        else:
            numbers = range(int(first), (high if step else int(first)) + 1)
        found.update(numbers[:: int(step or 1)])
    return found


def due_times(text: str, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """When the line is due after ``start``, up to ``end``."""
    line = Line(text)
    found: list[datetime] = []
    # What the clock has shown at the latest; begun before, so that an hour that is shown again is known for one.
    latest = datetime.min  # noqa: DTZ901 - a time on the wall
    for moment in minutes(start - timedelta(hours=25), end):
        shown = moment.astimezone(zone).replace(tzinfo=None, fold=0)
        if line.fixed:
            # All that the wall has come past since the minute before: one minute, none, or what was skipped.
            gone = latest + MINUTE if latest.year > 1 else shown
            is_due = False
            while gone <= shown:
                is_due = is_due or line.fits(gone)
                gone += MINUTE
            latest = max(latest, shown)
        else:
            is_due = line.fits(shown)
        if is_due and moment > start:
            found.append(moment)
    return found


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]  # year, month, day ...
