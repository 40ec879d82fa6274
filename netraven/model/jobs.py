"""Jobs and orders: what is to be run, of which devices, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from netraven.model.runs import Run, Selector, What


class Origin(StrEnum):
    """Who defined a job."""

    COMMAND = "command"
    """`netraven job add`."""
    SETTINGS = "settings"
    """The settings file or its folder of jobs: nothing else changes it."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a job is due: by ``cron``, ``every`` or ``at``, at most one of them; none: by hand only."""

    cron: str | None = None
    """Five fields, or a word such as ``@daily``."""
    zone: str = "UTC"
    """The IANA name of the time zone that ``cron``, ``start_after`` and ``finish_by`` are told in."""
    every: float | None = None
    """Seconds."""
    at: datetime | None = None
    jitter: float = 0.0
    """Seconds by which the job is put off at the most, each time by the same."""
    grace: float = 3600.0
    """Seconds after which a due time that went by without a run is missed."""
    start_after: str | None = None
    """``HH:MM``: due times before it are none."""
    finish_by: str | None = None
    """``HH:MM``: due times from it on are none, and a run ends by then."""

    @property
    def by_hand(self) -> bool:
        return self.cron is None and self.every is None and self.at is None


@dataclass(frozen=True, slots=True)
class Job:
    """A definition with a schedule."""

    name: str
    what: What = What.CONFIGURATION
    selector: Selector = Selector()
    schedule: Schedule = Schedule()
    outputs: tuple[str, ...] = ()
    """Kinds of output to collect; empty: what settings and platforms say."""
    strategy: str | None = None
    """None: the one that settings name."""
    concurrency: int | None = None
    """Devices in session at once, of this job; None: as many as settings allow all runs together."""
    priority: int = 100
    """Lower goes first."""
    enabled: bool = True
    older_than: float = 86_400.0
    """Seconds; of a ``stale-report``: devices that were not collected for so long."""


@dataclass(frozen=True, slots=True)
class JobStanding:
    """A job as it is on record."""

    id: int
    job: Job
    origin: Origin
    created_at: datetime
    updated_at: datetime
    due_at: datetime | None = None
    """The next due time as the schedule says it; None: nothing is due."""
    next_run_at: datetime | None = None
    """The same with the job's jitter."""
    last_due_at: datetime | None = None
    """The last due time that was run or missed."""
    last_run: Run | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What one run is to do."""

    what: What = What.CONFIGURATION
    selector: Selector = Selector()
    strategy: str = "priority"
    concurrency: int = 0
    outputs: tuple[str, ...] = ()
    priority: int = 100
    job_id: int | None = None
    job: str | None = None
    """The job's name."""
    due_at: datetime | None = None
    finish_by: datetime | None = None
    retry_of: int | None = None
    """The run whose devices that were not collected are tried again."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What only some kinds of run need: ``older_than`` in seconds."""


@dataclass(frozen=True, slots=True)
class DeviceStanding:
    """How a device went lately."""

    device: str
    collected_at: datetime | None = None
    """When its configuration was last collected."""
    tried_at: datetime | None = None
    reason: str | None = None
    """Why it could not be collected the last time; None where it could."""
    dead_in_row: int = 0
    """How many runs in a row could not reach it."""
    duration_ms: int | None = None
    """What a visit takes that goes well, on a moving average."""


@dataclass(frozen=True, slots=True)
class Load:
    """Devices, and what their visits usually take together; of ``known`` of them that is known."""

    devices: int = 0
    known: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    """What the slowest of them takes."""

    def with_one(self, seconds: float | None) -> Load:
        known = seconds is not None
        taken = seconds or 0.0
        return Load(self.devices + 1, self.known + known, self.seconds + taken, max(self.longest, taken))

    def without(self, done: Load) -> Load:
        return Load(
            max(0, self.devices - done.devices),
            max(0, self.known - done.known),
            max(0.0, self.seconds - done.seconds),
            self.longest,
        )

    def work(self, average: float) -> float:
        """Seconds of visits, one that nothing is known of as long as the average."""
        return self.seconds + (self.devices - self.known) * average


@dataclass(frozen=True, slots=True)
class StaleDevice:
    """A device that was not collected for long; ``collected_at`` None: never."""

    name: str
    platform: str
    """What it was found to be, where it says ``auto``."""
    tags: frozenset[str]
    collected_at: datetime | None
    tried_at: datetime | None
    """When a run last tried to; None: none ever did."""
    reason: str | None
    """Why that did not come to a collection."""
