"""Versions from elsewhere, put between those that are there: which are new, in which order, under which numbers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

Key = tuple[datetime, bytes]
"""When a version was first seen, and its digest: the same version, wherever it is."""


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
    """The place among those that came in, of one that did, or is there and is one of them."""
    placed_at: datetime | None = None
    """Where a clock went back, the latest moment of those before it in its own history: it comes after them."""
    follows: Key | None = None
    """The one before it in its own history, which it differs from."""

    @property
    def key(self) -> Key:
        return self.first_seen_at, self.sha256


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
    versions are told apart as they were there and keep their order, whatever the clock did.
    """
    arriving = [replace(one, id=None, place=place) for place, one in enumerate(incoming)]
    there = _confirmed(there, arriving)
    order: list[Seen] = []
    for one in _in_order(there, arriving, exact):
        _append(order, one, exact)
    merged: list[Merged] = []
    for one in order:
        least = merged[-1].number + 1 if merged else 1
        merged.append(Merged(one, max(least, one.number or 0)))
    return merged


def _confirmed(there: Iterable[Seen], arriving: Iterable[Seen]) -> list[Seen]:
    """With what those that come in say of the very same versions."""
    known = {one.key: one for one in there}
    for one in arriving:
        if (same := known.get(one.key)) is not None:
            last = max(same.last_seen_at, one.last_seen_at)
            known[one.key] = replace(same, last_seen_at=last, place=one.place)
    return [
        replace(one, last_seen_at=known[one.key].last_seen_at, place=known[one.key].place) for one in there
    ]


def _in_order(there: Sequence[Seen], arriving: Sequence[Seen], exact: bool) -> Iterator[Seen]:
    """All but what is known already, each where it belongs."""
    known = {one.key for one in there}
    waiting: deque[Seen]
    if exact:
        there, waiting = _placed(there), deque(_placed(arriving))
    else:
        latest = {one.first_seen_at: one.place for one in arriving}
        fresh = [one for one in arriving if one.key not in known and latest[one.first_seen_at] == one.place]
        waiting = deque(sorted(fresh, key=lambda one: one.first_seen_at))
    marks = {one.key for one in waiting if one.key in known}
    for one in there:
        if one.key in marks:  # what comes before it where it comes from does so here
            while (before := waiting.popleft()).key != one.key:
                marks.discard(before.key)
                if before.key not in known:
                    yield before
            marks.discard(one.key)
        else:
            while waiting and waiting[0].key not in known and _moment(waiting[0]) < _moment(one):
                yield waiting.popleft()
        yield one
    yield from (one for one in waiting if one.key not in known)


def _moment(one: Seen) -> datetime:
    return one.placed_at or one.first_seen_at


def _placed(history: Iterable[Seen]) -> list[Seen]:
    """Each no earlier than the one before it."""
    placed: list[Seen] = []
    for one in history:
        moment = max(_moment(one), _moment(placed[-1])) if placed else _moment(one)
        placed.append(replace(one, placed_at=moment))
    return placed


def _append(order: list[Seen], one: Seen, exact: bool) -> None:
    last = order[-1] if order else None
    if last is None or not _equal(last, one, exact):
        order.append(one)
    elif one.id is None:
        order[-1] = replace(last, last_seen_at=max(last.last_seen_at, one.last_seen_at))
    else:  # what came in is the beginning of what is there
        order[-1] = replace(
            one,
            first_seen_at=min(_moment(last), one.first_seen_at),
            last_seen_at=max(last.last_seen_at, one.last_seen_at),
            place=last.place if one.place is None else one.place,
        )


def _equal(one: Seen, other: Seen, exact: bool) -> bool:
    if one.id is not None and other.id is not None:
        return False  # both are there, for a reason
    if exact and (other.follows == one.key or not (one.place is None or other.place is None)):
        return False  # where they come from both were there
    return one.sha256 == other.sha256 or (one.comparable is not None and one.comparable == other.comparable)
