"""What becomes of a job's due times: one is run, others went by, the next one comes.

Due times that went by while nobody looked coalesce into the latest of them. That one is run where it is not too late
(``grace``), and else it is missed. Wall clocks jump: nothing is run twice when one goes back, and what was noted while
it was wrong by more than a day is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from netraven.model import Job, JobStanding
from netraven.schedule.due import Calendar, Due

CLOCK_WAS_WRONG = timedelta(days=1)
"""What lies further in the future than this was written by a clock that was wrong."""
MOST_COUNTED = 1_000
"""Due times that went by are counted up to here."""

_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Fire:
    """A run is to start. ``missed``: due times before it that went by without one."""

    due_at: datetime
    finish_by: datetime | None
    missed: int
    next: Due | None


@dataclass(frozen=True, slots=True)
class Missed:
    """It is too late for the latest due time; ``missed`` more went by before it."""

    due_at: datetime
    missed: int
    next: Due | None


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing is due before ``next``. ``forget``: the last due time on record was noted by a wrong clock."""

    next: Due | None
    forget: bool = False


def decide(standing: JobStanding, now: datetime) -> Fire | Missed | Nothing:
    """What to do about a job now."""
    job = standing.job
    if not job.enabled:
        return Nothing(None)
    calendar = Calendar(job)
    last = standing.last_due_at
    forget = last is not None and last - now > CLOCK_WAS_WRONG
    if forget or last is None:
        last = now
    first = standing.due_at
    if forget or first is None or first + calendar.jitter > now:
        return Nothing(_kept(standing, calendar, max(now, last)), forget)
    latest, missed, following = _latest(calendar, first, now)
    finish_by = calendar.finish_by(latest)
    late = now - (latest + calendar.jitter) > timedelta(seconds=job.schedule.grace)
    if late or (finish_by is not None and finish_by <= now):
        return Missed(latest, missed, following)
    return Fire(latest, finish_by, missed, following)


def first_due(job: Job, now: datetime, last_due_at: datetime | None = None) -> Due | None:
    """When a job is due whose schedule is new, or that was switched on; never at a time that was run already.

    A due time that only its jitter puts off still is to come.
    """
    if not job.enabled:
        return None
    calendar = Calendar(job)
    after = now - calendar.jitter
    if last_due_at is None or last_due_at - now > CLOCK_WAS_WRONG:
        return calendar.next(after)
    return calendar.next(max(after, last_due_at))


def _kept(standing: JobStanding, calendar: Calendar, after: datetime) -> Due | None:
    """The due time on record, unless an earlier one is to come: that one was reckoned by a clock that was ahead."""
    found = calendar.next(after)
    due_at = standing.due_at
    if due_at is None or due_at - after > CLOCK_WAS_WRONG:
        return found
    return Due(due_at, due_at + calendar.jitter)


def _latest(calendar: Calendar, first: datetime, now: datetime) -> tuple[datetime, int, Due | None]:
    """The latest due time that is to be run by ``now``, how many there are from ``first`` to it, and the next one."""
    latest, gone = first, 0
    while True:
        following = calendar.next(latest)
        if following is None or following.run_at > now:
            return latest, gone, following
        if gone == MOST_COUNTED:
            latest = _narrowed(calendar, following.due_at, now)
            return latest, gone, calendar.next(latest)
        latest, gone = following.due_at, gone + 1


def _narrowed(calendar: Calendar, low: datetime, now: datetime) -> datetime:
    """The latest due time, in some thirty looks: halves in which none is are left out. Due times are 1 s apart."""
    high = now
    while high - low >= _SECOND:
        middle = low + (high - low) / 2
        found = calendar.next(middle)
        if found is not None and found.run_at <= now:
            low = found.due_at
        else:
            high = middle
    return low
