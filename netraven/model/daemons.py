"""Daemons as they are on record, and what the database knows in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class DaemonSeen:
    """A living `netraven serve`. ``state``: what it says of itself, a JSON object."""

    id: int
    owner: str
    host: str
    started_at: datetime
    heartbeat_at: datetime
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunDue:
    """A run of a job under way: when it is expected to end, and when it has to."""

    job: str
    eta_at: datetime | None
    finish_by: datetime | None


@dataclass(frozen=True, slots=True)
class Figures:
    """The database at one moment."""

    devices: Mapping[str, int] = field(default_factory=dict)
    """Devices by how long ago they were last collected: ``1h``, ``24h``, ``7d``, ``older``, ``never``."""
    runs: Mapping[str, int] = field(default_factory=dict)
    """Runs that have not ended, by status."""
    due: tuple[RunDue, ...] = ()
    jobs: int = 0
    """Jobs that are enabled."""
    overdue: int = 0
    """Of these, those whose time was more than a minute ago and that nobody has taken up."""
    next_run_at: datetime | None = None
    """When the next job is due."""
