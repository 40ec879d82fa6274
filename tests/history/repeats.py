"""Texts that are one piece of what a pattern matches, over and over: they take longest to search."""

from __future__ import annotations

import gc
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from re import _constants as op  # type: ignore[attr-defined]  # no stubs; Python 3.11 to 3.13 have it
from re import _parser  # type: ignore[attr-defined]  # the same
from typing import Any

_REPEATS = (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT)
_LONGEST = 80


def pieces(pattern: re.Pattern[str]) -> Iterator[str]:
    """Beginnings and ends of texts that it matches, or nearly: the same ones each time."""
    chance = random.Random(pattern.pattern)
    tree = _parser.parse(pattern.pattern, pattern.flags)
    for _ in range(3):
        sample = _sample(tree, chance)[:_LONGEST]
        for _ in range(8):
            at = chance.randrange(len(sample) + 1)
            yield from filter(None, (sample[:at], sample[at:]))
        yield sample


def _sample(tree: Iterable[tuple[Any, Any]], chance: random.Random) -> str:
    return "".join(_piece(code, value, chance) for code, value in tree)


def _piece(code: Any, value: Any, chance: random.Random) -> str:
    if code is op.LITERAL:
        return chr(value)
    if code in {op.NOT_LITERAL, op.ANY, op.IN}:
        fitting = [char for char in 'a5 ;"b' if _fits(code, value, char)]
        return chance.choice(fitting) if fitting else "~"
    if code is op.SUBPATTERN:
        return _sample(value[3], chance)
    if code is op.ATOMIC_GROUP:
        return _sample(value, chance)
    if code is op.BRANCH:
        return _sample(chance.choice(value[1]), chance)
    if code in _REPEATS:
        rounds = min(value[1], max(value[0], chance.randrange(3)))
        return "".join(_sample(value[2], chance) for _ in range(rounds))
    return ""


def _fits(code: Any, value: Any, char: str) -> bool:
    if code is op.IN:
        items = [item for item in value if item[0] is not op.NEGATE]
        return any(_fits(kind, inner, char) for kind, inner in items) == (len(items) == len(value))
    if code is op.RANGE:
        return bool(value[0] <= ord(char) <= value[1])
    if code is op.CATEGORY:
        kind = str(value).lower()
        is_kind = {"digit": str.isdigit, "space": str.isspace, "word": str.isalnum}[kind.rpartition("_")[2]]
        return is_kind(char) != ("_not_" in kind)
    return code is op.ANY or (ord(char) == value) == (code is op.LITERAL)


def outgrows(takes: Callable[[str], object], piece: str, length: int) -> bool:
    """Whether four times the text takes so much longer that its time cannot be in proportion. Of process time."""
    text = piece * (length // len(piece))
    if 16 * _seconds(takes, text) < _NOTICED:
        return False
    short, long = (min(_seconds(takes, text * times) for _ in range(3)) for times in (1, 4))
    return long > max(_NOTICED, _MOST * short)


_NOTICED = 0.02
"""Seconds."""
_MOST = 8
"""Four were it in proportion, sixteen with the square."""


def _seconds(takes: Callable[[str], object], text: str) -> float:
    gc.disable()  # what other tests have left to collect has no part in it
    try:
        begun = time.process_time()
        takes(text)
        return time.process_time() - begun
    finally:
        gc.enable()
