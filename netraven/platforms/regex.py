"""Whether a regular expression of a file is safe to search device output with.

Python's matcher tries every way to split a text among repeats inside repeats: ``(\\w+)+$`` on thirty letters and a
blank takes minutes, and the collector stands still. This reads a pattern into a small tree and refuses such nests, as
well as expressions that match nothing at all and would therefore match everywhere. It errs on the side of refusing; a
nest whose rounds are kept apart by a character that occurs in no repeat (``(\\w+ )+``) passes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

MOST_CHARACTERS = 1_000
MOST_GROUPS = 50
"""Groups inside groups."""
_MANY = 2
"""Rounds from which what is repeated has to be kept apart: nine rounds of one to nine letters are millions of ways."""
_ALPHABET = "".join(map(chr, range(256))) + "\u2014\u4e00"
"""Latin-1, and two characters that stand for all others."""
_OTHERS = frozenset(_ALPHABET[256:])
_ENDLESS = 1 << 30


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of a pattern. ``kinds``: the characters that it can match anywhere in it."""

    kinds: frozenset[str] = frozenset()
    least: int = 0
    """Characters that it matches at the least ..."""
    most: int = 0
    """... and at the most; ``_ENDLESS`` without bounds."""
    repeats: bool = False
    """Whether it holds something that may match more or less of the same text, as ``a+`` and ``a?``."""
    pieces: tuple[_Part, ...] = ()
    """Of a sequence."""
    firsts: frozenset[str] = frozenset()
    """Characters that it can begin with."""
    twice: str = ""
    """A character that two branches of a choice in it can match, each of them alone."""
    alike: str = ""
    """A character that two branches of it begin with, where it is a choice."""


@lru_cache(maxsize=2048)
def wrong_with_pattern(pattern: str, *, may_be_empty: bool = True) -> str | None:
    """Why ``pattern`` is not to be used, in words; None for a good one."""
    if len(pattern) > MOST_CHARACTERS:
        return f"has {len(pattern):,} characters, {MOST_CHARACTERS:,} are the most"
    try:
        with warnings.catch_warnings(action="error"):  # what Python will read otherwise one day
            re.compile(pattern, re.MULTILINE)
    except (re.error, OverflowError, RecursionError, ValueError, Warning) as error:
        return f"is no regular expression: {error}"
    try:
        part = _Reader(pattern).read()
    except _Unsafe as unsafe:
        return str(unsafe)
    if part.least == 0 and not may_be_empty:
        return "matches the empty string, and so matches everywhere"
    return None


class _Unsafe(Exception):
    """The message completes "the pattern ..."."""


_ESCAPES = re.compile(
    r"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|N\{[^}]*\}|[0-7]{3}|0[0-7]?|.)", re.DOTALL
)
_BACK = re.compile(r"\\[1-9][0-9]?(?![0-7])")
_COUNT = re.compile(r"\{(\d*)(,?)(\d*)\}")
_FLAGS = re.compile(r"\(\?([aiLmsux]*)(?:-[imsx]+)?([:)])")
_NO_WIDTH = frozenset({"\\b", "\\B", "\\A", "\\Z"})


class _Reader:
    """Reads a pattern that ``re`` has compiled, so it is well formed."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._depth = 0

    def read(self) -> _Part:
        return self._branches()

    def _branches(self) -> _Part:
        self._depth += 1
        if self._depth > MOST_GROUPS:
            raise _Unsafe("has groups inside groups without end")
        branches = [self._sequence()]
        while self._take("|"):
            branches.append(self._sequence())
        self._depth -= 1
        return branches[0] if len(branches) == 1 else _either(branches)

    def _sequence(self) -> _Part:
        pieces = []
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            piece = self._repeated(self._atom())
            if piece is not None:
                pieces.append(piece)
        return _joined(pieces)

    def _repeated(self, part: _Part | None) -> _Part | None:
        while (counts := self._counts()) is not None:
            if part is None:
                continue
            least, most, keeps = counts
            part = _repeat(part, least, most, keeps=keeps)
        return part

    def _counts(self) -> tuple[int, int, bool] | None:
        """Least and most rounds, and whether what was taken is kept (``a*+``)."""
        if self._take("*"):
            rounds = (0, _ENDLESS)
        elif self._take("+"):
            rounds = (1, _ENDLESS)
        elif self._take("?"):
            rounds = (0, 1)
        elif (count := _COUNT.match(self._pattern, self._at)) and (count[1] or count[3]):
            self._at = count.end()
            least = int(count[1] or 0)
            most = least if not count[2] else int(count[3]) if count[3] else _ENDLESS
            rounds = (least, most)
        else:
            return None
        keeps = self._take("+")
        if not keeps:
            self._take("?")
        return (*rounds, keeps)

    def _atom(self) -> _Part | None:
        """One piece; None for what matches no text, as ``^``."""
        char = self._pattern[self._at]
        if char == "(":
            return self._group()
        if char == "[":
            return self._leaf(self._class_end())
        if char == "\\":
            return self._escape()
        if char in "^$":
            self._at += 1
            return None
        return self._leaf(self._at + 1)

    def _escape(self) -> _Part | None:
        if back := _BACK.match(self._pattern, self._at):
            self._at = back.end()
            return _ANYTHING
        found = _ESCAPES.match(self._pattern, self._at)
        if found is None:
            raise _Unsafe("ends in the middle of an escape")
        if found[0] in _NO_WIDTH:
            self._at = found.end()
            return None
        return self._leaf(found.end())

    def _leaf(self, end: int) -> _Part:
        text, self._at = self._pattern[self._at : end], end
        return _Part(_kinds(text), 1, 1, firsts=_kinds(text))

    def _class_end(self) -> int:
        at = self._at + 1
        if self._pattern.startswith("^", at):
            at += 1
        if self._pattern.startswith("]", at):
            at += 1
        while self._pattern[at] != "]":
            at += 2 if self._pattern[at] == "\\" else 1
        return at + 1

    def _group(self) -> _Part | None:
        rest = self._pattern[self._at :]
        if not rest.startswith("(?"):
            self._at += 1
            return self._closed()
        if rest.startswith("(?#"):
            self._at = self._pattern.index(")", self._at) + 1
            return None
        if rest.startswith("(?P="):
            self._at = self._pattern.index(")", self._at) + 1
            return _ANYTHING
        if rest.startswith("(?P<"):
            self._at = self._pattern.index(">", self._at) + 1
            return self._closed()
        if rest.startswith("(?("):
            self._at = self._pattern.index(")", self._at) + 1
            part = self._closed()
            return replace(part, least=0)
        for look in ("(?=", "(?!", "(?<=", "(?<!"):
            if rest.startswith(look):
                self._at += len(look)
                self._closed()  # what is inside must be safe as well
                return None
        if rest.startswith("(?>"):
            self._at += 3
            part = self._closed()
            return _Part(part.kinds, part.least, part.most, firsts=part.firsts)
        flags = _FLAGS.match(rest)
        if flags is None:
            raise _Unsafe("has a group of a kind that is not known here")
        if "x" in flags[1]:
            raise _Unsafe("asks for verbose mode; write it without (?x)")
        self._at += flags.end()
        return None if flags[2] == ")" else self._closed()

    def _closed(self) -> _Part:
        part = self._branches()
        self._at += 1
        return part

    def _take(self, char: str) -> bool:
        if self._pattern.startswith(char, self._at):
            self._at += 1
            return True
        return False


@lru_cache(maxsize=1024)
def _kinds(leaf: str) -> frozenset[str]:
    """The characters of one leaf, large and small alike: a pattern may be used either way."""
    leaf = "\\" + leaf if leaf in {"{", "}", "]"} else leaf
    found = frozenset(re.findall(leaf, _ALPHABET, re.IGNORECASE | re.DOTALL))
    return found | _OTHERS if _FOREIGN.search(leaf) else found


_FOREIGN = re.compile(r"[^\x00-\xff]|\\[uUN]")
_ANYTHING = _Part(frozenset(_ALPHABET), 0, _ENDLESS, firsts=frozenset(_ALPHABET))
"""What a reference to an earlier group may match."""


def _joined(pieces: list[_Part]) -> _Part:
    if len(pieces) == 1:
        return pieces[0]
    firsts: frozenset[str] = frozenset()
    for piece in pieces:
        firsts |= piece.firsts
        if piece.least:
            break
    return _Part(
        frozenset().union(*(piece.kinds for piece in pieces)),
        min(_ENDLESS, sum(piece.least for piece in pieces)),
        min(_ENDLESS, sum(piece.most for piece in pieces)),
        any(piece.repeats for piece in pieces),
        tuple(pieces),
        firsts=firsts,
        twice=next((piece.twice for piece in pieces if piece.twice), ""),
    )


def _either(branches: list[_Part]) -> _Part:
    alone: set[str] = set()
    begun: set[str] = set()
    twice = next((branch.twice for branch in branches if branch.twice), "")
    alike = ""
    for branch in branches:
        if branch.least <= 1 <= branch.most:
            twice = twice or min(alone & branch.kinds, default="")
            alone |= branch.kinds
        alike = alike or min(begun & branch.firsts, default="")
        begun |= branch.firsts
    return _Part(
        frozenset().union(*(branch.kinds for branch in branches)),
        min(branch.least for branch in branches),
        max(branch.most for branch in branches),
        any(branch.repeats for branch in branches),
        firsts=frozenset(begun),
        twice=twice,
        alike=alike,
    )


def _repeat(part: _Part, least: int, most: int, *, keeps: bool) -> _Part:
    if most >= _MANY and not keeps:
        if char := part.twice or part.alike:
            raise _Unsafe(
                f"repeats a choice of which two branches match or begin with the same ({char!r}): that takes time "
                "without bounds; let no two branches begin alike"
            )
        if part.repeats and not _kept_apart(part):
            raise _Unsafe(
                "repeats a repeat, as (a+)+ does: that takes time without bounds; write it with one repeat, or with a "
                "character between the rounds that is in no repeat"
            )
    return _Part(
        part.kinds,
        min(_ENDLESS, part.least * least),
        min(_ENDLESS, part.most * most),
        not keeps and (part.repeats or (least != most and part.most > 0)),
        firsts=part.firsts,
        twice="" if keeps else part.twice,
    )


def _kept_apart(part: _Part) -> bool:
    """Whether a round of this sequence has a piece that ends or begins it without doubt."""
    return any(
        piece.least > 0
        and not (piece.kinds & others.kinds)
        and (piece.least == piece.most or (others.least > 0 and not piece.pieces))
        for piece, others in _each(part.pieces)
    )


def _each(pieces: tuple[_Part, ...]) -> Iterator[tuple[_Part, _Part]]:
    for number, piece in enumerate(pieces):
        yield piece, _joined([*pieces[:number], *pieces[number + 1 :]])
