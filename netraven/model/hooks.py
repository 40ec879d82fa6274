"""Hooks as facts: which of them wants which event, and how they stand."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

from netraven.model.versions import Event, EventKind


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a hook wants to be told of. Empty ``tags`` and ``platforms`` are no condition."""

    hook: str
    events: AbstractSet[EventKind]
    tags: AbstractSet[str] = frozenset()
    platforms: AbstractSet[str] = frozenset()

    def wants(self, event: Event) -> bool:
        """An event about a run is about no device, so tags and platforms do not hold it back."""
        if event.kind not in self.events:
            return False
        if event.device is None:
            return True
        tagged = not self.tags or not self.tags.isdisjoint(event.tags)
        return tagged and (not self.platforms or event.platform in self.platforms)


@dataclass(frozen=True, slots=True)
class Pause:
    """A hook that could not be told anything: until then nothing is tried. ``error`` holds no secret."""

    until: datetime
    failures: int
    """Tries in a row that failed."""
    error: str


@dataclass(frozen=True, slots=True)
class HookStanding:
    """A hook in numbers."""

    hook: str
    waiting: int = 0
    given_up: int = 0
    oldest: datetime | None = None
    """When what waits longest happened."""
    last_error: str | None = None
    pause: Pause | None = None
