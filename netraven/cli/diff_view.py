"""Differences on a terminal and for programs that read them: one below the other, or side by side."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from netraven.cli.screen import console
from netraven.plain import plain

if TYPE_CHECKING:
    from netraven.history.diff import Diff, Hunk, Line

Label = tuple[str, str]
"""A file's name, and what is to be known of it."""

WIDE = 160
"""Columns side by side where nobody says how many there are."""
NARROWEST = 12
"""Columns of a text, however narrow the terminal is."""
_CODES = {"-": "31", "+": "32", "@": "36", "bold": "1", "dim": "2"}


@dataclass(frozen=True, slots=True)
class View:
    """How differences are printed."""

    width: int
    side_by_side: bool = False
    colour: bool = False

    @classmethod
    def of_terminal(cls, *, side_by_side: bool = False) -> View:
        """Colours only where a terminal shows them (and ``NO_COLOR`` is not set)."""
        terminal = console()
        colour = terminal.is_terminal and not terminal.no_color and terminal.color_system is not None
        return cls(shutil.get_terminal_size((WIDE, 0)).columns, side_by_side, colour)

    def print(self, diff: Diff, old: Label, new: Label) -> None:
        lines = self._beside(diff, old, new) if self.side_by_side else self._below(diff, old, new)
        sys.stdout.write("".join(f"{line}\n" for line in lines))

    def painted(self, text: str, *names: str) -> str:
        codes = [_CODES[name] for name in names if name in _CODES]
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if self.colour and codes and text else text

    # ---- one below the other ----

    def _below(self, diff: Diff, old: Label, new: Label) -> Iterator[str]:
        from netraven.history.diff import unified

        text = plain(unified(diff, f"a/{old[0]}\t{old[1]}", f"b/{new[0]}\t{new[1]}"))
        for number, line in enumerate(text.split("\n")[:-1]):
            yield self.painted(line, "bold" if number < 2 else line[:1])

    # ---- side by side ----

    def _beside(self, diff: Diff, old: Label, new: Label) -> Iterator[str]:
        numbers = len(str(max((_highest(hunk) for hunk in diff.hunks), default=0)))
        texts = max(NARROWEST, (self.width - 3) // 2 - numbers - 3)
        columns = _Columns(self, numbers, texts)
        for before, after in zip(old, new, strict=True):
            yield from columns.row(_Cell("", " ", before, ("bold",)), _Cell("", " ", after, ("bold",)))
        for hunk in diff.hunks:
            section = plain(" > ".join(hunk.section))
            yield self.painted(f"@@ {section}".rstrip()[: self.width], "@")
            for left, right in _paired(hunk.lines):
                yield from columns.row(_cell(left, old=True), _cell(right, old=False))


@dataclass(frozen=True, slots=True)
class _Cell:
    number: str
    mark: str
    text: str
    style: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Columns:
    view: View
    numbers: int
    texts: int

    def row(self, left: _Cell, right: _Cell) -> Iterator[str]:
        """One line of each side; on the terminal as many as the longer one takes."""
        sides = zip_longest(self._wrapped(left), self._wrapped(right))
        for place, (one, other) in enumerate(sides):
            first = self._side(left, one, first=place == 0, fill=True)
            yield f"{first} | {self._side(right, other, first=place == 0, fill=False)}".rstrip()

    def _side(self, cell: _Cell, text: str | None, *, first: bool, fill: bool) -> str:
        from rich.cells import cell_len

        words = text or ""
        number = cell.number if first else ""
        space = " " * (self.texts - cell_len(words)) if fill else ""
        mark = cell.mark if text is not None else " "
        gutter = self.view.painted(f"{number:>{self.numbers}}", "dim")
        return f"{gutter} {self.view.painted(f'{mark} {words}', *cell.style)}{space}"

    def _wrapped(self, cell: _Cell) -> list[str]:
        from rich.cells import chop_cells

        return chop_cells(cell.text, self.texts) or [""]


def _cell(line: Line | None, *, old: bool) -> _Cell:
    if line is None:
        return _Cell("", " ", "")
    number = line.old_number if old else line.new_number
    text = plain(f"{line.text}\n")[:-1].expandtabs()
    if not line.ended:
        text += " (no line end)"
    return _Cell(str(number), line.mark, text, (line.mark,))


def _paired(lines: Sequence[Line]) -> Iterator[tuple[Line | None, Line | None]]:
    """What went beside what came in its place."""
    gone: list[Line] = []
    came: list[Line] = []
    for line in lines:
        if line.mark == "-" and not came:
            gone.append(line)
        elif line.mark == "+":
            came.append(line)
        else:
            yield from zip_longest(gone, came)
            gone, came = ([line], []) if line.mark == "-" else ([], [])
            if line.mark == " ":
                yield line, line
    yield from zip_longest(gone, came)


def _highest(hunk: Hunk) -> int:
    return max(hunk.old_start + hunk.old_count, hunk.new_start + hunk.new_count)
