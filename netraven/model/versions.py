"""Configurations over time, and what is told of them to others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one output of a device. A capture that differs in volatile lines only makes none."""

    id: int
    """In the order in which versions were put on record, over all devices."""
    device: str
    kind: str
    number: int
    """Counts from 1 for each device and kind, in the order of time; what retention takes leaves a gap."""
    sha256: str
    """Of the text as it was captured first, in hex."""
    size: int
    """Bytes of that text."""
    platform: str
    """The dialect that printed it; empty where it is not known any more."""
    first_seen_at: datetime
    last_seen_at: datetime
    """When it was confirmed last."""
    run: int | None
    """The run that saw it first; None for what was imported."""


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version with its text as captured: secrets and all. Only ``history.Configurations`` makes it fit to be seen."""

    version: Version
    text: str = field(repr=False)


class EventKind(StrEnum):
    """What hooks can be told of."""

    FIRST_SEEN = "first-seen"
    """A device was collected for the first time."""
    CHANGED = "changed"
    """An output of a device has a new version."""
    FAILED = "failed"
    """A device could not be collected, and could be the time before."""
    FAILED_AGAIN = "failed-again"
    """A device could not be collected, as the time before."""
    RECOVERED = "recovered"
    """A device was collected that could not be the time before."""
    RUN_FINISHED = "run-finished"
    STALE = "stale-devices"
    """Devices were not collected for long: a job of the kind ``stale-report`` tells it."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run. ``device`` is None for what is about the run itself.

    ``data`` is JSON: of a device that failed ``reason`` and ``detail``, of a run its ``status`` and ``counts``.
    ``versions`` are the ids of the versions that are new.
    """

    kind: EventKind
    at: datetime
    run: int
    device: str | None = None
    device_id: int | None = None
    platform: str = ""
    tags: frozenset[str] = frozenset()
    versions: tuple[int, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to one hook. ``uid`` is the same at every try, so that a receiver can tell it came twice."""

    id: int
    uid: str
    hook: str
    event: Event
    tries: int = 0
    created_at: datetime | None = None
    last_error: str | None = None
