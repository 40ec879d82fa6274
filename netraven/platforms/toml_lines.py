"""On which line each key of a TOML document stands. ``tomllib`` has checked the document and does not say."""

from __future__ import annotations

import re

Place = tuple[str | int, ...]

_GAP = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_INLINE_GAP = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\[\s\S]|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
)
_PLAIN = re.compile(r"[^,\]}#\n]*")


def key_lines(text: str) -> dict[Place, int]:
    """The line of every key, table and item of a valid document."""
    scan = _Scan(text)
    scan.document()
    return scan.lines


class _Scan:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0
        """Up to where lines have been counted."""
        self._items: dict[Place, int] = {}
        """How many tables an array of tables has by now."""
        self.lines: dict[Place, int] = {}

    def document(self) -> None:
        table: Place = ()
        while self._skip() < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Place:
        of_array = self._text.startswith("[[", self._at)
        line = self._here()
        self._at += 2 if of_array else 1
        place = self._resolved(self._key())
        self._at += 2 if of_array else 1
        if of_array:
            number = self._items.get(place, 0)
            self._items[place] = number + 1
            self.lines.setdefault(place, line)
            place = (*place, number)
        self.lines.setdefault(place, line)
        return place

    def _resolved(self, key: Place) -> Place:
        """A header speaks of the last table of each array on its way."""
        place: Place = ()
        for number, word in enumerate(key):
            place = (*place, word)
            if number < len(key) - 1 and place in self._items:
                place = (*place, self._items[place] - 1)
        return place

    def _pair(self, table: Place) -> None:
        line = self._here()
        place = table
        for word in self._key():
            place = (*place, word)
            self.lines.setdefault(place, line)
        self._at += 1  # the equals sign
        self._match(_INLINE_GAP)
        self._value(place)

    def _key(self) -> Place:
        words: list[str | int] = []
        while True:
            self._match(_INLINE_GAP)
            quoted = self._text[self._at] in "\"'"
            word = self._match(_STRING if quoted else _BARE)
            words.append(word[1:-1] if quoted else word)
            self._match(_INLINE_GAP)
            if not self._text.startswith(".", self._at):
                return tuple(words)
            self._at += 1

    def _value(self, place: Place) -> None:
        opening = self._text[self._at]
        if opening in "\"'":
            self._match(_STRING)
        elif opening == "[":
            self._array(place)
        elif opening == "{":
            self._inline_table(place)
        else:
            self._match(_PLAIN)

    def _array(self, place: Place) -> None:
        self._at += 1
        number = 0
        while self._text[self._skip()] != "]":
            self.lines[*place, number] = self._here()
            self._value((*place, number))
            number += 1
            if self._text[self._skip()] == ",":
                self._at += 1
        self._at += 1

    def _inline_table(self, place: Place) -> None:
        self._at += 1
        while self._text[self._skip()] != "}":
            self._pair(place)
            if self._text[self._skip()] == ",":
                self._at += 1
        self._at += 1

    def _skip(self) -> int:
        """Past blanks, line ends and comments; where that leads."""
        self._match(_GAP)
        return self._at

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None or (not found.group() and pattern in {_BARE, _STRING}):
            raise ValueError(f"not TOML at {self._at}")  # the parser has let through what this does not know
        self._at = found.end()
        return found.group()
