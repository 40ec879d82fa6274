"""Due times of a cron line in a zone.

``cronsim`` knows the fields and walks the wall clock. How a wall clock becomes moments is said here, and as cron does
it (cron(8), Debian):

- A line that names its minutes and hours is due once for each time that it names: once where the clock shows it twice,
  right after the change where the clock skips it.
- A line with ``*`` in its minutes or hours is due as time passes, whenever the wall clock shows what it says.

cronsim has rules of its own for zones; they lose due times where clocks change by half an hour (Lord Howe Island).
"""

from __future__ import annotations

import difflib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from netraven.errors import InputError
from netraven.plain import plain_line
from netraven.schedule.zones import change_after, moment_of, offset, wall

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_LONGEST = 200
_SECOND = timedelta(seconds=1)


class Cron:
    """A cron line with five fields, or one of :data:`ALIASES`, in a zone."""

    def __init__(self, line: str, zone: ZoneInfo) -> None:
        """Raise ``InputError`` where there is no such line."""
        self._line = _fields(line)
        self._zone = zone
        minutes, hours = self._line.split()[:2]
        self._fixed = not minutes.startswith("*") and not hours.startswith("*")

    def next(self, after: datetime) -> datetime | None:
        """The first due time after ``after``; None where there is none for 50 years."""
        return self._next_fixed(after) if self._fixed else self._next_passing(after)

    def _next_fixed(self, after: datetime) -> datetime | None:
        for time in CronSim(self._line, wall(after, self._zone)):
            # In the second of two equal hours the wall names times whose moment, the first one, has been.
            if (found := moment_of(time, self._zone)) > after:
                return found
        return None

    def _next_passing(self, after: datetime) -> datetime | None:
        start, reference = after, wall(after, self._zone)
        while True:
            time = next(CronSim(self._line, reference), None)
            if time is None:
                return None
            found = (time - offset(start, self._zone)).replace(tzinfo=UTC)
            change = change_after(start, found, self._zone)
            if change is None:
                return found
            start, reference = change, wall(change, self._zone) - _SECOND  # the change itself may be due


def _fields(line: str) -> str:
    text = " ".join(line.split())
    if text.startswith("@"):
        if text.lower() in ALIASES:
            return ALIASES[text.lower()]
        close = difflib.get_close_matches(text.lower()[:50], ALIASES, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(ALIASES)}"
        raise InputError(f"there is no {plain_line(text, 60)!r}: {hint}")
    shown = repr(plain_line(text, 60))
    if len(text.split()) != 5 or len(text) > _LONGEST:
        raise InputError(
            f"{shown} is no cron line: it has five fields, minute hour day-of-month month day-of-week, "
            "such as '30 2 * * *'"
        )
    try:
        CronSim(text, datetime(2000, 1, 1))  # noqa: DTZ001 - a time on the wall
    except (CronSimError, ValueError, AssertionError) as error:
        raise InputError(f"{shown} is no cron line: {_why(str(error), text)}") from error
    return text


_NAMES = ("minute", "hour", "day-of-month", "month", "day-of-week")
_RANGES = ("0-59", "0-23", "1-31", "1-12", "0-7 (0 and 7: Sunday) or SUN-SAT")


def _why(error: str, line: str) -> str:
    for name, values, field in zip(_NAMES, _RANGES, line.split(), strict=True):
        if error == f"Bad {name}":
            if name == "day-of-month" and field.isdecimal() and 1 <= int(field) <= 31:
                return f"its months have no day {field}"
            return f"{name} {plain_line(field, 60)!r} cannot be; it takes {values}, * and lists"
    return "its fields cannot be read"
