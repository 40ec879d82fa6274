"""What is printed: tables for people, one JSON document for programs. Nothing here obeys what a device said."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netraven.plain import plain_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

ROWS = 50
"""Rows of a table unless told otherwise."""
_LONGEST_RULE = 120
"""Columns of the line under a header, where nobody looks."""
_FOLDS = frozenset({"message", "detail", "details", "reason", "tags", "shared tags"})
"""Columns of prose. What is in the others is a name or a number: it is shown whole, or not at all."""
_READABLE = 24
"""Columns that prose keeps while there is something else to leave out."""
_WIDE = 4_000
"""Columns where nobody looks: a line of a table stays a line."""


def console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    class Honest(Console):
        def on_broken_pipe(self) -> None:
            """Rich would exit with 1; what it means that the reader has gone is decided in one place (`entry`)."""
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDE
    return Honest(file=stream, width=width, markup=False, highlight=False, emoji=False)


def cell(value: object, style: str = "") -> Text:
    """A value on one line and harmless."""
    from rich.text import Text

    return Text("-" if value is None else plain_line(str(value)), style=style if value is not None else "dim")


class Table:
    """Rows under a header. Where the terminal is too narrow, prose folds and ``spare`` columns are left out, the first
    named first; names fold only where nothing else is left to give way.
    """

    def __init__(self, *columns: str, right: Sequence[str] = (), spare: Sequence[str] = ()) -> None:
        self._columns = columns
        self._right = right
        self._spare = spare
        self._rows: list[tuple[tuple[object, ...], str]] = []

    def add(self, *values: object, style: str = "") -> None:
        self._rows.append((values, style))

    def print(self, where: Console) -> None:
        if not where.is_terminal:
            with where.capture() as capture:
                where.print(self._without(()))
            lines = (line.rstrip() for line in capture.get().splitlines())
            sys.stdout.write(
                "".join((line[:_LONGEST_RULE] if _is_rule(line) else line) + "\n" for line in lines)
            )
            return
        left_out: list[str] = []
        for column in self._spare:
            if self._width(left_out, prose=_READABLE) <= where.width:
                break
            left_out.append(column)
        hopeless = self._width(left_out, prose=_READABLE // 3) > where.width
        where.print(self._without(left_out, fold_all=hopeless))
        if left_out:
            where.print(cell(f"left out, the terminal is narrow: {', '.join(left_out)}", "dim"))

    def _width(self, left_out: Sequence[str], *, prose: int) -> int:
        """Of a terminal on which nothing but prose folds, and that to no less than ``prose``."""
        from rich.cells import cell_len

        widths = []
        for place, column in enumerate(self._columns):
            if column not in left_out:
                widest = max((cell(values[place]).cell_len for values, _ in self._rows), default=0)
                whole = max(cell_len(column), widest)
                widths.append(min(whole, prose) if column in _FOLDS else whole)
        return sum(widths) + 3 * (len(widths) - 1)

    def _without(self, left_out: Sequence[str], *, fold_all: bool = False) -> RichTable:
        from rich import box
        from rich.table import Table as RichTable

        table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
        shown = [place for place, column in enumerate(self._columns) if column not in left_out]
        for place in shown:
            column = self._columns[place]
            table.add_column(
                column,
                justify="right" if column in self._right else "left",
                overflow="fold",
                no_wrap=not fold_all and column not in _FOLDS,
            )
        for values, style in self._rows:
            table.add_row(*(cell(values[place]) for place in shown), style=style)
        return table


def _is_rule(line: str) -> bool:
    return bool(line) and not line.strip("─-")


def say(text: str = "") -> None:
    """A line of results."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """A line beside the results."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        pass  # nobody listens any more; the work goes on


def warn(text: str) -> None:
    note(f"warning: {text}")


# ---- JSON ----

_LONE = re.compile("[\udc80-\udcff]")


def whole_text(text: str) -> str:
    """A text of a device as JSON can carry it: bytes that are not UTF-8 are written out (``\\x9b``)."""
    return _LONE.sub(lambda match: f"\\x{ord(match.group()) - 0xDC00:02x}", text)


def to_json(value: Any) -> str:
    return json.dumps(value, default=_plainer, ensure_ascii=True).replace("\x7f", "\\u007f")


def _plainer(value: object) -> object:
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, frozenset | set):
        return sorted(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a JSON document")


def print_json(value: Any) -> None:
    sys.stdout.write(to_json(value) + "\n")


async def print_json_list(rows: AsyncIterable[Mapping[str, Any]] | Iterable[Mapping[str, Any]]) -> None:
    """A list, written as it is read: a million rows need no more memory than one."""
    write = sys.stdout.write
    before = "["
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            write(before + to_json(row))
            before = ",\n "
    else:
        for row in rows:
            write(before + to_json(row))
            before = ",\n "
    write("[]\n" if before == "[" else "]\n")


# ---- times and numbers ----


def stamp(at: datetime) -> str:
    """``2026-11-22T20:07:39.853Z``."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def clock(at: datetime | None) -> str | None:
    """For a table whose header says UTC."""
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def ago(at: datetime, now: datetime) -> str:
    """``2 h ago``: in the largest unit that leaves a whole number."""
    seconds = max(0.0, (now - at).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{int(seconds)} s ago"


def took(ms: int | None) -> str | None:
    if ms is None:
        return None
    if ms < 1000:
        return f"{ms} ms"
    if ms < 100_000:
        return f"{ms / 1000:.1f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    return f"{minutes} m {seconds:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} m"


def size(number: int) -> str:
    """``1.4 MB``: bytes in the largest unit that leaves one or more."""
    amount, unit = float(number), "bytes"
    for larger in ("KB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{number} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"


def percent(rate: float | None) -> str | None:
    return None if rate is None else f"{rate * 100:.0f} %"


def counted(count: int, word: str, plural: str = "") -> str:
    return f"{count:,} {word if count == 1 else plural or word + 's'}"
