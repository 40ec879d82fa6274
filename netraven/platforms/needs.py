"""What a text must hold for a regular expression to match in it, so that most of a text need not be searched.

Read from the tree that ``re`` itself compiles. What is not understood is taken to promise nothing: such a pattern is
searched for everywhere, which is slow and never wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from re import _constants as op  # type: ignore[attr-defined]  # no stubs; Python 3.11 to 3.13 have it
from re import _parser  # type: ignore[attr-defined]  # the same
from typing import Any

_MOST_ALTERNATIVES = 12
_NEWLINE = ord("\n")


@dataclass(frozen=True, slots=True)
class Needs:
    """What is known of one pattern."""

    options: tuple[tuple[str, ...], ...] = ()
    """Of each option, a text with a match in it holds at least one of the words, within the match."""
    one_line: bool = False
    """Whether a match lies within one line, and nothing beyond the line's end has a say in it."""
    anchored: bool = False
    """Whether a match begins where a line does."""


@lru_cache(maxsize=4096)
def needs_of(pattern: re.Pattern[str]) -> Needs:
    """``pattern`` without flags but MULTILINE, IGNORECASE and DOTALL; of others nothing is known."""
    known = re.MULTILINE | re.IGNORECASE | re.DOTALL | re.UNICODE
    if pattern.flags & ~known or not pattern.flags & re.MULTILINE:
        return Needs()
    try:
        tree = list(_parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE))
    except (re.error, RecursionError, OverflowError):
        return Needs()
    if not tree or _changes_flags(tree):
        return Needs()
    exact = not pattern.flags & re.IGNORECASE
    options = tuple(option for option in dict.fromkeys(_options(tree)) if option) if exact else ()
    first = tree[0]
    anchored = first[0] is op.AT and first[1] is op.AT_BEGINNING
    return Needs(options, not _sees_line_end(tree, dotall=bool(pattern.flags & re.DOTALL)), anchored)


# ---- words ----


def _options(tree: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, ...]]:
    """The runs of characters that are in every match, and of choices one word for each branch."""
    run = ""
    for code, value in tree:
        if code is op.LITERAL:
            run += chr(value)
        elif code is op.AT or code in _ASSERTIONS:
            continue  # matches no text: what stands before it and behind it is adjacent
        elif code is op.SUBPATTERN and (whole := _literal(value[3])) is not None:
            run += whole
        else:
            head, inner, tail = _inside(code, value)
            yield from ((run + head,) if run + head else (),)
            yield from inner
            run = tail
    yield (run,) if run else ()


def _inside(code: Any, value: Any) -> tuple[str, list[tuple[str, ...]], str]:
    """What a piece that is no plain text begins with, what its options are, and what it ends with."""
    if code is op.SUBPATTERN:
        return "", [option for option in _options(value[3]) if option], ""
    if code is op.ATOMIC_GROUP:
        return "", [option for option in _options(value) if option], ""
    if code is op.BRANCH:
        best = [_best(_options(branch)) for branch in value[1]]
        words = tuple(word for option in best for word in option)
        return "", [words] if all(best) and len(words) <= _MOST_ALTERNATIVES else [], ""
    if code in _REPEATS and value[0] > 0:
        whole = _literal(value[2])
        if whole is not None:  # ` +key` holds ` key`
            return whole, [], whole
        return "", [option for option in _options(value[2]) if option], ""
    return "", [], ""


def _literal(tree: Iterable[tuple[Any, Any]]) -> str | None:
    """The one text that a piece matches, if it is one."""
    text = ""
    for code, value in tree:
        if code is not op.LITERAL:
            return None
        text += chr(value)
    return text


def _best(options: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return max((o for o in options if o), key=lambda option: min(map(len, option)), default=())


_REPEATS = (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT)
_ASSERTIONS = (op.ASSERT, op.ASSERT_NOT)


def _changes_flags(tree: Iterable[tuple[Any, Any]]) -> bool:
    """Whether ``(?i:...)`` or the like is in it."""
    for code, value in tree:
        if code is op.SUBPATTERN and (value[1] or value[2]):
            return True
        if any(_changes_flags(part) for part in _parts(code, value)):
            return True
    return False


def _parts(code: Any, value: Any) -> list[Any]:
    """The trees in a piece."""
    if code is op.SUBPATTERN:
        return [value[3]]
    if code is op.ATOMIC_GROUP:
        return [value]
    if code is op.BRANCH:
        return list(value[1])
    if code in _REPEATS:
        return [value[2]]
    if code in _ASSERTIONS:
        return [value[1]]
    if code is op.GROUPREF_EXISTS:
        return [part for part in value[1:] if part]
    return []


# ---- lines ----


def _sees_line_end(tree: Iterable[tuple[Any, Any]], *, dotall: bool) -> bool:
    """Whether it may match a line end, or could tell the end of a line from the end of the text."""
    return any(_piece_sees(code, value, dotall=dotall) for code, value in tree)


def _piece_sees(code: Any, value: Any, *, dotall: bool) -> bool:
    if code in {op.LITERAL, op.NOT_LITERAL}:
        return bool(value == _NEWLINE) == (code is op.LITERAL)
    if code is op.ANY:
        return dotall
    if code is op.AT:
        return value not in {op.AT_BEGINNING, op.AT_END, op.AT_BOUNDARY, op.AT_NON_BOUNDARY}
    if code is op.IN:
        return _class_has_line_end(value)
    if code in _ASSERTIONS and value[0] < 0:
        return False  # a look behind sees the text as it is
    if code is op.GROUPREF:
        return False  # the same as the group
    if code not in _WITH_PARTS:
        return True
    return any(_sees_line_end(part, dotall=dotall) for part in _parts(code, value))


_WITH_PARTS = (*_REPEATS, *_ASSERTIONS, op.SUBPATTERN, op.ATOMIC_GROUP, op.BRANCH, op.GROUPREF_EXISTS)


def _class_has_line_end(items: Iterable[tuple[Any, Any]]) -> bool:
    items = list(items)
    negated = items[0][0] is op.NEGATE
    return any(_item_has_line_end(code, value) for code, value in items[negated:]) != negated


def _item_has_line_end(code: Any, value: Any) -> bool:
    if code is op.LITERAL:
        return bool(value == _NEWLINE)
    if code is op.RANGE:
        return bool(value[0] <= _NEWLINE <= value[1])
    has = {op.CATEGORY_SPACE: True, op.CATEGORY_NOT_DIGIT: True, op.CATEGORY_NOT_WORD: True}
    return bool(code is op.CATEGORY and has.get(value, False))
