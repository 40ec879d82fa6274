"""Wall clocks: which moment a time on the wall is, and when the clocks of a zone change.

A zone's offset tells it apart from UTC. Twice a year it changes: the wall clock skips an hour, or shows one again.
``zoneinfo`` answers for single moments only, so changes are looked for: by the day, then narrowed down to the second.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from netraven.errors import InputError
from netraven.plain import plain_line

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_NO_PLACES = ("posix/", "right/", "localtime", "posixrules", "Factory")
"""What systems keep beside the zones: copies, clocks with leap seconds, and this machine's own zone."""


def zone_named(name: str) -> ZoneInfo:
    """The IANA zone; raises ``InputError`` where there is none of this name."""
    try:
        if name.startswith(_NO_PLACES):
            raise ValueError(name)
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise InputError(f"there is no time zone {plain_line(name, 60)!r}{_closest_zone(name)}") from error


def _closest_zone(name: str) -> str:
    known = {zone.casefold(): zone for zone in _all_zones()}
    close = difflib.get_close_matches(name.casefold()[:100], known, n=1, cutoff=0.5)
    if close:
        return f", did you mean {known[close[0]]!r}?"
    return ": give an IANA name such as 'Europe/Berlin' or 'UTC'"


@cache
def _all_zones() -> tuple[str, ...]:
    return tuple(sorted(zone for zone in available_timezones() if not zone.startswith(_NO_PLACES)))


def wall(moment: datetime, zone: ZoneInfo) -> datetime:
    """What the wall clock shows at ``moment``, without a zone."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    found = moment.astimezone(zone).utcoffset()
    assert found is not None  # noqa: S101 - a ZoneInfo always has one
    return found


def moment_of(time: datetime, zone: ZoneInfo) -> datetime:
    """The moment at which the wall clock shows ``time``: the first one where it does twice.

    Where it never does, the moment at which the clock skipped it.
    """
    before = _offset_of(time, zone, fold=0)
    after = _offset_of(time, zone, fold=1)
    if before >= after:  # there is such a time; where before > after, it comes twice (PEP 495)
        return (time - before).replace(tzinfo=UTC)
    return _narrowed((time - after).replace(tzinfo=UTC), (time - before).replace(tzinfo=UTC), zone)


def moments_of(time: datetime, zone: ZoneInfo) -> Sequence[datetime]:
    """All moments at which the wall clock shows ``time``: two where it does twice; never none, as above."""
    first = moment_of(time, zone)
    again = (time - _offset_of(time, zone, fold=1)).replace(tzinfo=UTC)
    return (first, again) if again > first else (first,)


def _offset_of(time: datetime, zone: ZoneInfo, *, fold: int) -> timedelta:
    found = time.replace(tzinfo=zone, fold=fold).utcoffset()
    assert found is not None  # noqa: S101 - a ZoneInfo always has one
    return found


def change_after(start: datetime, end: datetime, zone: ZoneInfo) -> datetime | None:
    """The first moment after ``start``, up to ``end``, from which another offset holds than at ``start``."""
    known = offset(start, zone)
    last = start
    while last < end:
        here = min(last + _DAY, end)
        if offset(here, zone) != known:
            return _narrowed(last, here, zone)
        last = here
    return None


def _narrowed(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """The change between two moments that differ in their offset, to the second."""
    known = offset(low, zone)
    low = low.replace(microsecond=0)
    while high - low > _SECOND:
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if middle == low:
            middle += _SECOND
        if offset(middle, zone) == known:
            low = middle
        else:
            high = middle
    return (low + _SECOND).replace(microsecond=0)
