"""Versions from elsewhere, put between those that are there: which are new, in which order, under which numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Seen:
    """One version as it was seen. ``id`` is None for one that comes from elsewhere."""

    first_seen_at: datetime
    last_seen_at: datetime
    sha256: bytes
    comparable: bytes | None = None
    """The text without what changes by itself; None: not known, only the very same text equals it."""
    number: int | None = None
    id: int | None = None
    place: int | None = None
    """The place among those that came in."""


@dataclass(frozen=True, slots=True)
class Merged:
    """A version and the number that it is to have."""

    seen: Seen
    number: int


def merge(there: Sequence[Seen], incoming: Iterable[Seen], *, exact: bool = False) -> list[Merged]:
    """All versions in the order of time; of those ``there`` none is lost, nor changes its place among them.

    One that comes in and equals its neighbour is none: it only lengthens the time that its neighbour was in force. Of
    several that come in and were first seen in the same moment, only the last was in force at any time. Each keeps its
    number, unless one before it has that or a higher one. ``exact``: what comes in was a history already, whose
    versions are told apart as they were there.
    """
    known = {(one.first_seen_at, one.sha256) for one in there}
    arriving = [replace(one, id=None, place=place) for place, one in enumerate(incoming)]
    latest = {one.first_seen_at: one.place for one in arriving}
    arriving = [
        one
        for one in arriving
        if (one.first_seen_at, one.sha256) not in known and latest[one.first_seen_at] == one.place
    ]
    arriving.sort(key=lambda one: one.first_seen_at)
    order: list[Seen] = []
    for one in there:
        while arriving and arriving[0].first_seen_at < one.first_seen_at:
            _append(order, arriving.pop(0), exact)
        _append(order, one, exact)
    for one in arriving:
        _append(order, one, exact)
    merged: list[Merged] = []
    for one in order:
        least = merged[-1].number + 1 if merged else 1
        merged.append(Merged(one, max(least, one.number or 0)))
    return merged


def _append(order: list[Seen], one: Seen, exact: bool) -> None:
    last = order[-1] if order else None
    if last is None or not _equal(last, one, exact):
        order.append(one)
    elif one.id is None:
        order[-1] = replace(last, last_seen_at=max(last.last_seen_at, one.last_seen_at))
    else:  # what came in is the beginning of what is there
        order[-1] = replace(
            one, first_seen_at=last.first_seen_at, last_seen_at=max(last.last_seen_at, one.last_seen_at)
        )


def _equal(one: Seen, other: Seen, exact: bool) -> bool:
    if one.id is not None and other.id is not None:
        return False  # both are there, for a reason
    if one.sha256 == other.sha256:
        return True
    both_arrive = one.id is None and other.id is None
    return one.comparable is not None and one.comparable == other.comparable and not (exact and both_arrive)
