"""How a run gets on: when it will be done, and whether that is in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from netraven.collect.eta import seconds_left, unfinished_at
from netraven.collect.fleet import Fleet
from netraven.collect.floor import Floor
from netraven.model import Load, utcnow
from netraven.ports import Clock


class Pace:
    """Looked at now and then while a run goes on. ``late`` is told once, as soon as it can be seen: what the run's log
    is to say of it.
    """

    def __init__(
        self,
        load: Load,
        fleet: Fleet,
        floor: Floor,
        *,
        finish_by: datetime | None,
        late: Callable[[Mapping[str, object]], None],
        clock: Clock,
    ) -> None:
        self._load = load
        self._fleet = fleet
        self._floor = floor
        self._finish_by = finish_by
        self._late: Callable[[Mapping[str, object]], None] | None = late
        self._clock = clock
        self._began = clock()

    def look(self, now: datetime | None = None) -> datetime | None:
        """When the run will be done; None where nothing can be said yet."""
        now = now or utcnow()
        done = self._fleet.done
        seconds = seconds_left(
            self._load,
            done,
            places=max(1, min(self._fleet.concurrency, self._floor.places.limit)),
            elapsed=self._clock() - self._began,
            in_session=self._fleet.in_session,
            slowest_first=self._finish_by is not None,
        )
        self._fleet.eta_at = None if seconds is None else now + timedelta(seconds=seconds)
        if self._late is not None and self._finish_by is not None and seconds is not None:
            window = (self._finish_by - now).total_seconds()
            left = self._load.without(done).devices
            if left and seconds > window:
                self._late(
                    {
                        "finish_by": self._finish_by.timestamp(),
                        "late_s": round(seconds - window),
                        "devices_left": unfinished_at(left, seconds, window),
                    }
                )
                self._late = None
        return self._fleet.eta_at
