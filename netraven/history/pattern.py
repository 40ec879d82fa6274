"""What is looked for in configurations: words, or a regular expression that cannot take for ever.

Expressions are RE2's: its matcher takes time in proportion to the text, whatever was written. Lines are matched one by
one. A byte of a device that is no UTF-8 counts as ``?`` in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from netraven.errors import InputError
from netraven.plain import plain_line

LONGEST = 1_000
"""Characters."""
MEMORY = 8 << 20
"""Bytes that a compiled expression and its matcher may take."""
LARGEST = 10_000
"""Steps of a compiled expression. At the worst each of them is taken for each byte of a text."""
_IN_MARKS = frozenset("redacted:0123456789abcdef")
"""What can stand between the ``<`` and ``>`` of a mark (``marks.Marker``)."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """Raises ``InputError`` for what cannot be looked for; it says what to write instead."""

    text: str
    regex: bool = field(default=False, kw_only=True)
    ignore_case: bool = field(default=False, kw_only=True)
    _matcher: _Matcher = field(init=False, repr=False, compare=False)
    _needed: _Matcher | None = field(init=False, repr=False, compare=False)
    """Words that stand in whatever matches, and cannot be part of a mark."""

    def __post_init__(self) -> None:
        text, ignore_case = self.text, self.ignore_case
        if not text:
            raise InputError("an empty pattern is found everywhere: say what to look for")
        if len(text) > LONGEST:
            raise InputError(f"a pattern has at most {LONGEST:,} characters, this one has {len(text):,}")
        if "\n" in text:
            raise InputError("a pattern is looked for in each line by itself, so it cannot have a line break")
        words = _words(text, ignore_case=ignore_case) if self.regex else [text]
        needed = max((word for word in words if not _may_be_in_a_mark(word)), key=len, default=None)
        make = _expression if self.regex else _literal
        object.__setattr__(self, "_matcher", make(text, ignore_case=ignore_case))
        object.__setattr__(
            self, "_needed", None if needed is None else _literal(needed, ignore_case=ignore_case)
        )

    def find(self, text: str) -> list[int]:
        """The numbers, counted from 1, of the lines in which it is found."""
        return self._matcher.find(text)

    def found_in(self, lines: Iterable[str]) -> bool:
        """Whether any of these lines has it."""
        return bool(self.find("\n".join(lines)))

    def near(self, text: str) -> list[int] | None:
        """The numbers of the lines on which it might be found once marks stand in the place of secrets; None: any."""
        return None if self._needed is None else self._needed.find(text)

    def possible_in(self, text: str) -> bool:
        """Whether it might be found in ``text`` once marks stand in the place of secrets; no is a quick answer."""
        return self._needed is None or self._needed.has(text)


class _Matcher(Protocol):
    def find(self, text: str) -> list[int]: ...

    def has(self, text: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Words:
    """As they are."""

    words: str

    def find(self, text: str) -> list[int]:
        found = []
        number, counted = 1, 0
        at = text.find(self.words)
        while at >= 0:
            number += text.count("\n", counted, at)
            counted = at
            found.append(number)
            end = text.find("\n", at)
            at = text.find(self.words, end) if end >= 0 else -1
        return found

    def has(self, text: str) -> bool:
        return self.words in text


@dataclass(frozen=True, slots=True)
class _AllLines:
    """A whole text at once: the matcher knows where lines begin and end, and never takes in the end of one."""

    compiled: Any

    def find(self, text: str) -> list[int]:
        data = _bytes(text)
        found = []
        number, counted, length = 1, 0, len(data) - data.endswith(b"\n")
        at = 0 if data else -1
        while at >= 0 and (match := self.compiled.search(data, at, length)):
            start = match.start()
            number += data.count(b"\n", counted, start)
            counted = start
            found.append(number)
            at = data.find(b"\n", start, length) + 1 or -1
        return found

    def has(self, text: str) -> bool:
        return self.compiled.search(_bytes(text)) is not None


@dataclass(frozen=True, slots=True)
class _EachLine:
    r"""One line after the other: for what would mean something else in a text (``\A``, ``(?-m)``)."""

    compiled: Any

    def find(self, text: str) -> list[int]:
        lines = _bytes(text).split(b"\n")
        if not lines[-1]:
            lines.pop()
        return [number for number, line in enumerate(lines, 1) if self.compiled.search(line)]

    def has(self, text: str) -> bool:
        return bool(self.find(text))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _literal(words: str, *, ignore_case: bool) -> _Matcher:
    if not ignore_case:
        return _Words(words)
    return _AllLines(_compiled(words, ignore_case=True, literal=True))


_OF_THE_TEXT = re.compile(r"\\[AzCQ]|\(\?[a-zA-Z]*-[a-zA-Z]*m")


def _expression(source: str, *, ignore_case: bool) -> _Matcher:
    alone = _compiled(
        source, ignore_case=ignore_case
    )  # for its faults: `a)(b` would be well formed in a group
    if _OF_THE_TEXT.search(source.replace("\\\\", "")):
        return _EachLine(alone)
    return _AllLines(_compiled(f"(?m:{source})", ignore_case=ignore_case))


def _compiled(source: str, *, ignore_case: bool, literal: bool = False) -> Any:
    import re2  # noqa: PLC0415 - costs a few milliseconds that only those pay who search

    options = re2.Options()
    options.case_sensitive = not ignore_case
    options.literal = literal
    options.log_errors = False
    options.max_mem = MEMORY
    options.never_capture = True
    options.never_nl = True
    try:
        compiled = re2.compile(_bytes(source), options)
    except re2.error as error:
        said = error.args[0] if error.args else b""
        raise InputError(_refusal(source, said.decode("utf-8", "replace"))) from None
    if compiled.programsize > LARGEST:
        raise InputError(_refusal(source, "too large"))
    return compiled


_LACKING = (
    (
        re.compile(r"invalid perl operator: \(\?<?[=!]"),
        "cannot look ahead or behind: look for what the line has, and leave out other lines with `grep -v`",
    ),
    (
        re.compile(r"invalid escape sequence: \\[1-9]|\(\?P$"),
        "cannot refer back to a group: write out what is to come twice",
    ),
    (re.compile(r"invalid escape sequence: \\Z"), "has no \\Z: write $"),
    (
        re.compile(r"bad repetition operator|invalid perl operator: \(\?>"),
        "has no possessive or atomic repeats, and needs none: write `a+` in place of `a++`",
    ),
    (
        re.compile(r"too large|invalid repetition size"),
        "is too large once it is written out: repeat less (1,000 times at the most, repeats within repeats multiplied)",
    ),
)


def _refusal(source: str, said: str) -> str:
    shown = repr(plain_line(source, 120))
    for fault, words in _LACKING:
        if fault.search(said):
            return f"the regular expression {shown} {words}"
    hint = "" if re.search(r"\w", source) else "; without --regex it is looked for as it is"
    return f"{shown} is no regular expression: {plain_line(said)}{hint}"


# ---- words that every match has ----

_PIECE = re.compile(
    r"""
    (?P<escape> \\ (?: x\{[^}]*\} | x.. | [pP]\{[^}]*\} | [pP]. | [0-7]{1,3} | [a-zA-Z0-9] ))
    | \\ (?P<quoted> . )
    | (?P<set> \[ \^? \]? (?: \[:[^\]]*:\] | \\. | [^\]\\] )* \] )
    | (?P<special> [.^$()|*+?] | \{ \d+ (?:,\d*)? \} )
    | (?P<plain> . )
    """,
    re.VERBOSE | re.DOTALL,
)


def _words(source: str, *, ignore_case: bool) -> list[str]:
    """Words that are in every line that ``source`` (an expression that RE2 takes) matches; more may be."""
    if "\\Q" in source or (not ignore_case and re.search(r"\(\?[a-zA-Z-]*i", source)):
        return []
    words, word, depth = [], "", 0
    for piece in _PIECE.finditer(source):
        letter = piece["quoted"] or piece["plain"]
        if letter is not None:
            word += letter if depth == 0 else ""
            continue
        special = piece["special"] or ""
        if special == "|" and depth == 0:
            return []
        if special in {"*", "?"} or special.startswith("{"):
            word = word[:-1]  # the letter before need not be there
        depth += (special == "(") - (special == ")")
        words.append(word)
        word = ""
    return [found for found in (*words, word) if found]


def _may_be_in_a_mark(words: str) -> bool:
    """Whether a mark, or a part of it, could have part in ``words`` being found."""
    return "<" in words or ">" in words or set(words.lower()) <= _IN_MARKS
