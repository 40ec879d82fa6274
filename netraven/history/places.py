"""Places in a text: merging them, and cutting one out of another. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

Place = tuple[int, int]
"""Where something begins and where it ends."""


def merged(places: Iterable[Place]) -> list[Place]:
    """Sorted, those that overlap or touch as one; empty ones are left out."""
    result: list[Place] = []
    for start, end in sorted(place for place in places if place[0] < place[1]):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def without(place: Place, holes: Sequence[Place]) -> list[Place]:
    """What is left of ``place`` beside ``holes``, which are sorted and do not overlap."""
    start, end = place
    left = []
    for number in range(max(bisect_left(holes, (start, start)) - 1, 0), len(holes)):
        hole_start, hole_end = holes[number]
        if hole_end <= start:
            continue
        if hole_start >= end:
            break
        if start < hole_start:
            left.append((start, hole_start))
        start = hole_end
    if start < end:
        left.append((start, end))
    return left
