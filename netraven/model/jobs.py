"""Jobs: what is to be done regularly, when, and with which devices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from netraven.model.facts import Selector


class What(StrEnum):
    """What a run does."""

    CONFIGURATION = "configuration"
    REACHABILITY = "reachability"
    CREDENTIALS = "credentials"
    STALE = "stale-report"
    PRUNE = "prune"


@dataclass(frozen=True, slots=True)
class Schedule:
    """When. At most one of ``cron``, ``every`` and ``at``; none of them: by hand only.

    ``zone`` is an IANA name; the times of the window (``HH:MM``) are wall-clock times in it. ``every``, ``jitter`` and
    ``grace`` are in seconds.
    """

    cron: str | None = None
    zone: str = "UTC"
    every: float | None = None
    at: datetime | None = None
    jitter: float = 0.0
    grace: float = 3600.0
    start_after: str | None = None
    finish_by: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A definition with a schedule. ``priority``: lower goes first. ``older_than``: seconds, for a stale report."""

    name: str
    what: What = What.CONFIGURATION
    selector: Selector = Selector()  # noqa: RUF009 - frozen
    schedule: Schedule = Schedule()
    outputs: tuple[str, ...] = ()
    strategy: str | None = None
    concurrency: int | None = None
    priority: int = 100
    enabled: bool = True
    older_than: float = 86400.0


@dataclass(frozen=True, slots=True)
class JobStanding:
    """A job as it is on record. ``next_run_at`` is ``due_at`` with the job's jitter; None: nothing is due."""

    id: int
    job: Job
    origin: str
    due_at: datetime | None
    next_run_at: datetime | None
    last_due_at: datetime | None
    created_at: datetime
    updated_at: datetime
