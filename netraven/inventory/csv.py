"""Devices from CSV: `name,host,port,platform,tags`, tags separated by `;`, an empty port is 22."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from netraven.errors import InputError
from netraven.inventory.names import wrong_with_host, wrong_with_name, wrong_with_tag
from netraven.model import Device
from netraven.platforms import Catalogue, shipped

COLUMNS = ("name", "host", "port", "platform", "tags")
REQUIRED = ("name", "host", "platform", "tags")
MOST_SHOWN = 20
"""Errors that a message names one by one."""
_EXAMPLE = "the first line has to be: name,host,port,platform,tags"


def decode(data: bytes) -> str:
    """The text of a CSV file, which is UTF-8 with or without a byte order mark; else ``InputError``."""
    if not data.strip():
        raise InputError(f"the file is empty; {_EXAMPLE}")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError("the file is UTF-16; save it as CSV in UTF-8")
    if b"\0" in data:
        raise InputError("this is not a text file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"line {line}: not UTF-8 (byte 0x{data[error.start]:02x}); save it in UTF-8"
        ) from error


def parse_devices(text: str, catalogue: Catalogue | None = None) -> list[Device]:
    """Every device of the file, or one ``InputError`` that names all bad lines (the first twenty of them).

    ``catalogue``: the platforms that they may have; those that ship, unless told.
    """
    rows = _rows(text)
    first = next(rows, None)
    if first is None:
        raise InputError(f"the file is empty; {_EXAMPLE}")
    columns = _header(first[1])
    reader = _Reader(columns, catalogue or shipped())
    for line, fields in rows:
        reader.read(line, fields)
    if reader.problems:
        shown = reader.problems[:MOST_SHOWN]
        if more := len(reader.problems) - len(shown):
            shown.append(f"and {more} more")
        raise InputError("\n  ".join(shown) if len(shown) == 1 else "\n  " + "\n  ".join(shown))
    if not reader.devices:
        raise InputError("the file has a header and no devices")
    return reader.devices


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, each with the line on which it starts."""
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        start = lines.line_num + 1
        try:
            row = next(lines, None)
        except csv.Error as error:
            raise InputError(f"line {start}: not valid CSV: {error}") from error
        if row is None:
            return
        if any(cell.strip() for cell in row):
            yield start, row


def _header(cells: Sequence[str]) -> list[str]:
    columns = [cell.strip().lower() for cell in cells]
    if len(columns) == 1 and (";" in columns[0] or "\t" in columns[0]):
        raise InputError(f"line 1: columns have to be separated by commas; {_EXAMPLE}")
    problems = []
    for name in dict.fromkeys(columns):
        if name not in COLUMNS:
            close = difflib.get_close_matches(name, COLUMNS, n=1)
            problems.append(f"unknown column {name!r}" + (f", did you mean {close[0]!r}?" if close else ""))
        elif columns.count(name) > 1:
            problems.append(f"column {name!r} comes {columns.count(name)} times")
    problems += [f"column {name!r} is missing" for name in REQUIRED if name not in columns]
    if problems:
        raise InputError(f"line 1: {'; '.join(problems)} ({_EXAMPLE})")
    return columns


@dataclass(slots=True)
class _Reader:
    """Gathers devices and what is wrong with the lines that are none."""

    columns: list[str]
    catalogue: Catalogue
    devices: list[Device] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _first_seen: dict[str, int] = field(default_factory=dict)

    def read(self, line: int, fields: Sequence[str]) -> None:
        if len(fields) != len(self.columns):
            self.problems.append(f"line {line}: has {len(fields)} fields, the header has {len(self.columns)}")
            return
        cells = dict(zip(self.columns, (cell.strip() for cell in fields), strict=True))
        before = len(self.problems)
        self._check(line, "name", cells["name"], wrong_with_name)
        self._check(line, "host", cells["host"], wrong_with_host)
        port = self._port(line, cells.get("port", ""))
        self._platform(line, cells["platform"])
        tags = [tag for tag in (part.strip() for part in cells["tags"].split(";")) if tag]
        for tag in tags:
            self._check(line, f"tag {tag!r}", tag, wrong_with_tag)
        known = self._first_seen.setdefault(cells["name"], line)
        if cells["name"] and known != line:
            self.problems.append(f"line {line}: name {cells['name']!r} stands on line {known} already")
        if len(self.problems) == before:
            self.devices.append(
                Device(cells["name"], cells["host"], cells["platform"], port, frozenset(tags))
            )

    def _check(self, line: int, what: str, text: str, wrong_with: Callable[[str], str | None]) -> None:
        if wrong := wrong_with(text):
            self.problems.append(f"line {line}: {what} {wrong}")

    def _port(self, line: int, text: str) -> int:
        if not text:
            return 22
        if text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535:
            return int(text)
        self.problems.append(f"line {line}: port {text!r} must be a number from 1 to 65535, or empty for 22")
        return 0

    def _platform(self, line: int, text: str) -> None:
        if text not in self.catalogue:
            self.problems.append(f"line {line}: {self.catalogue.unknown(text)}")
