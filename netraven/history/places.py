"""Places in a text: merging them, and cutting one out of another. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

Place = tuple[int, int]
"""Where something begins and where it ends."""


def merged(places: Iterable[Place]) -> list[Place]:
    """Sorted, those that overlap or touch as one; empty ones are left out."""
    result: list[Place] = []
    first, last = -1, -1
    for place in sorted(places):
        start, end = place
        if start >= end:
            continue
        if start > last:
            result.append(place)
            first, last = place
        elif end > last:
            last = end
            result[-1] = (first, last)
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
