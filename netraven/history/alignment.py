"""Which lines of two texts are the same ones: patience first, then the shortest way, within bounds.

Lines that occur once on either side hold both texts together: the longest run of them that is in order on both
divides the texts, and each part is divided in the same way. Where no such line is left, the shortest script is
looked for (Myers' greedy algorithm). Configurations repeat themselves, so that can be long; then pairs of lines, and
more at a time, are tried in place of single ones. What is still left is said to be different as a whole.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

DEEPEST = 12
"""Times that a part is divided. Each time costs as much as all lines."""
LONGEST = 250
"""Lines added and removed that the shortest way is looked for in one part."""
STEPS = 1_000_000
"""Lines looked at while doing so, in all parts together: less than half a second."""
TOGETHER = (1, 2, 4, 8)
"""Lines that are looked for as one, where fewer do not serve."""


@dataclass(frozen=True, slots=True)
class Place:
    """What changed: ``old[old_start:old_end]`` became ``new[new_start:new_end]``; one of them may be empty."""

    old_start: int
    old_end: int
    new_start: int
    new_end: int


def changed_places(old: Sequence[int], new: Sequence[int]) -> list[Place]:
    """Where two texts differ, in their order; lines are given as numbers, the same for the same line.

    Between two places there is at least one line that both have.
    """
    places = []
    old_done = new_done = 0
    for old_at, new_at, length in [*sorted(_Aligning(old, new).runs()), (len(old), len(new), 0)]:
        if old_at > old_done or new_at > new_done:
            places.append(Place(old_done, old_at, new_done, new_at))
        old_done, new_done = old_at + length, new_at + length
    return places


_Run = tuple[int, int, int]
"""Where on the old side, where on the new side, how many lines."""


@dataclass(frozen=True, slots=True)
class _Part:
    old_start: int
    old_end: int
    new_start: int
    new_end: int
    divided: int = 0


class _Aligning:
    def __init__(self, old: Sequence[int], new: Sequence[int]) -> None:
        self._old = old
        self._new = new
        self._steps = STEPS

    def runs(self) -> Iterator[_Run]:
        """Runs of lines that are the same, in no order."""
        parts = [_Part(0, len(self._old), 0, len(self._new))]
        while parts:
            part, before, after = self._trimmed(parts.pop())
            if before[2]:
                yield before
            if after[2]:
                yield after
            if part.old_start == part.old_end or part.new_start == part.new_end:
                continue
            if (shortest := self._between(part, parts)) is not None:
                yield from shortest

    def _trimmed(self, part: _Part) -> tuple[_Part, _Run, _Run]:
        """Without the lines that both sides begin and end with."""
        old, new = self._old, self._new
        old_start, old_end, new_start, new_end = part.old_start, part.old_end, part.new_start, part.new_end
        while old_start < old_end and new_start < new_end and old[old_start] == new[new_start]:
            old_start += 1
            new_start += 1
        while old_start < old_end and new_start < new_end and old[old_end - 1] == new[new_end - 1]:
            old_end -= 1
            new_end -= 1
        before = (part.old_start, part.new_start, old_start - part.old_start)
        after = (old_end, new_end, part.old_end - old_end)
        return _Part(old_start, old_end, new_start, new_end, part.divided), before, after

    def _between(self, part: _Part, parts: list[_Part]) -> list[_Run] | None:
        """Divide a part, and put what comes of it on ``parts``; or say which of its lines are the same."""
        old = self._old[part.old_start : part.old_end]
        new = self._new[part.new_start : part.new_end]
        for together in TOGETHER if part.divided < DEEPEST else ():
            anchors = _anchors(old, new, together)
            if anchors:
                parts.extend(_parts(part, anchors))
                return None
            if together == 1 and (shortest := self._shortest(old, new)) is not None:
                return [(part.old_start + a, part.new_start + b, 1) for a, b in shortest]
        return None

    def _shortest(self, old: Sequence[int], new: Sequence[int]) -> list[tuple[int, int]] | None:
        """The pairs of lines that a shortest script leaves alone; None where that takes too long to find out."""
        in_old, in_new = set(old), set(new)
        olds = [place for place, line in enumerate(old) if line in in_new]
        news = [place for place, line in enumerate(new) if line in in_old]
        if not olds or not news:
            return []
        found, steps = _common([old[place] for place in olds], [new[place] for place in news], self._steps)
        self._steps -= steps
        return None if found is None else [(olds[a], news[b]) for a, b in found]


def _anchors(old: Sequence[int], new: Sequence[int], together: int) -> list[tuple[int, int]]:
    """Lines (or so many ``together``) that are unique on both sides and in order on both: where they are."""
    olds: Sequence[object] = old if together == 1 else _grouped(old, together)
    news: Sequence[object] = new if together == 1 else _grouped(new, together)
    in_new = Counter(news)
    once = [line for line, times in Counter(olds).items() if times == 1 and in_new.get(line) == 1]
    if not once:
        return []
    old_places, new_places = dict(zip(olds, count())), dict(zip(news, count()))
    return _increasing([(old_places[line], new_places[line]) for line in once])


def _grouped(lines: Sequence[int], together: int) -> list[object]:
    return list(zip(*(lines[start:] for start in range(together)), strict=False))


def _increasing(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest selection of ``pairs`` (sorted by their first) whose seconds increase too."""
    tails: list[int] = []
    last: list[int] = []  # the pair that each tail belongs to
    before = []
    for number, (_, place) in enumerate(pairs):
        pile = bisect_left(tails, place)
        before.append(last[pile - 1] if pile else -1)
        if pile == len(tails):
            tails.append(place)
            last.append(number)
        else:
            tails[pile] = place
            last[pile] = number
    chosen = []
    number = last[-1]
    while number >= 0:
        chosen.append(pairs[number])
        number = before[number]
    return chosen[::-1]


def _parts(part: _Part, anchors: Sequence[tuple[int, int]]) -> Iterator[_Part]:
    """What lies between the anchors; each part begins with one, so that it is trimmed away there."""
    old_at, new_at = part.old_start, part.new_start
    for a, b in anchors:
        old_next, new_next = part.old_start + a, part.new_start + b
        if old_next > old_at and new_next > new_at:
            yield _Part(old_at, old_next, new_at, new_next, part.divided + 1)
        old_at, new_at = old_next, new_next
    yield _Part(old_at, part.old_end, new_at, part.new_end, part.divided + 1)


def _common(
    old: Sequence[int], new: Sequence[int], most_steps: int
) -> tuple[list[tuple[int, int]] | None, int]:
    """The pairs that a shortest script leaves alone, and the steps that it took; no pairs where it was too far."""
    olds, news = len(old), len(new)
    furthest = {1: 0}
    trace: list[dict[int, int]] = []
    steps = 0
    for edits in range(min(LONGEST, olds + news) + 1):
        trace.append(furthest.copy())
        for diagonal in range(-edits, edits + 1, 2):
            down = diagonal == -edits or (
                diagonal != edits and furthest[diagonal - 1] < furthest[diagonal + 1]
            )
            a = furthest[diagonal + 1] if down else furthest[diagonal - 1] + 1
            b = begun = a - diagonal
            while a < olds and b < news and old[a] == new[b]:
                a += 1
                b += 1
            furthest[diagonal] = a
            steps += b - begun + 1
            if a >= olds and b >= news:
                return _walked(trace, olds, news), steps
        if steps > most_steps:
            break
    return None, steps


def _walked(trace: Sequence[dict[int, int]], a: int, b: int) -> list[tuple[int, int]]:
    """From the end back to the beginning."""
    pairs = []
    for edits in range(len(trace) - 1, -1, -1):
        furthest = trace[edits]
        diagonal = a - b
        down = diagonal == -edits or (diagonal != edits and furthest[diagonal - 1] < furthest[diagonal + 1])
        before = diagonal + 1 if down else diagonal - 1
        old_before = furthest[before]
        new_before = old_before - before
        while a > old_before and b > new_before:
            a -= 1
            b -= 1
            pairs.append((a, b))
        a, b = old_before, new_before
    return pairs[::-1]
