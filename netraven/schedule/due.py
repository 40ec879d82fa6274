"""When a job is due next. Everything is found by going forward from a moment, in bounded work."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from netraven.model import Job, Schedule
from netraven.schedule.cron import Cron
from netraven.schedule.window import Window
from netraven.schedule.zones import zone_named

HORIZON = timedelta(days=5 * 366)
"""How far due times are looked for at which a window is open; a schedule that has none by then has none."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Due:
    """``run_at`` is ``due_at`` with the job's jitter: when the run is to start."""

    due_at: datetime
    run_at: datetime


def next_due(job: Job, after: datetime) -> Due | None:
    """The first due time after ``after``; None: by hand only, or never again.

    Whether the job is enabled does not matter here. Raises ``InputError`` where the schedule is none.
    """
    return Calendar(job).next(after)


def jitter_of(job: Job) -> timedelta:
    """So long after its due time the job runs: always the same for a name, in whole seconds below ``jitter``."""
    seconds = int(job.schedule.jitter)
    if seconds < 1:
        return timedelta()
    digest = hashlib.sha256(job.name.encode("utf-8", "surrogateescape")).digest()
    return timedelta(seconds=int.from_bytes(digest[:8], "big") % seconds)


def window_of(schedule: Schedule) -> Window:
    return Window(
        zone_named(schedule.zone),
        start=None if schedule.start_after is None else time.fromisoformat(schedule.start_after),
        finish=None if schedule.finish_by is None else time.fromisoformat(schedule.finish_by),
    )


class Calendar:
    """The due times of one job: those of its schedule at which, with its jitter, its window is open."""

    def __init__(self, job: Job) -> None:
        self.window = window_of(job.schedule)
        self.jitter = jitter_of(job)
        self._next = _times(job.schedule)

    def next(self, after: datetime) -> Due | None:
        """The first one after ``after``; None where the window was closed at every one for :data:`HORIZON`."""
        start = after
        while (found := self._next(start)) is not None:
            run_at = found + self.jitter
            if self.window.open_at(run_at):
                return Due(found, run_at)
            if found - after > HORIZON:
                return None
            opens = self.window.opens_after(run_at) - self.jitter
            start = max(found, opens - _MICROSECOND)  # what is due at the opening itself is in the window
        return None

    def finish_by(self, due_at: datetime) -> datetime | None:
        """When a run for this due time has to be at an end."""
        return self.window.finish_after(due_at + self.jitter)


def _times(schedule: Schedule) -> Callable[[datetime], datetime | None]:
    """The next time after a moment, windows aside."""
    if schedule.cron is not None:
        return Cron(schedule.cron, zone_named(schedule.zone)).next
    if schedule.every is not None:
        every = timedelta(seconds=schedule.every)
        return lambda after: _EPOCH + every * ((after - _EPOCH) // every + 1)
    at = schedule.at
    return lambda after: at if at is not None and at > after else None
