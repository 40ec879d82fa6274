"""From the bytes of a platform file to plain data that knows on which line each key stands.

What a parser cannot bear (a million brackets, aliases that unfold to gigabytes, keys of a thousand parts) is refused
before it is given to it: a platform file is small and flat.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from netraven.errors import InputError
from netraven.plain import plain_line
from netraven.platforms.toml_lines import key_lines

MOST_BYTES = 1 << 20
MOST_DEPTH = 16
SUFFIXES = (".toml", ".yaml", ".yml")

Place = tuple[str | int, ...]
"""Where a value stands: ``("levels", 0, "prompt")``."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """Something wrong with a file."""

    line: int
    wrong: str
    expected: str


class Faulty(Exception):
    """A file with faults, at least one."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        super().__init__("faulty")
        self.faults = tuple(faults)


class PlatformRefused(InputError):
    """A platform file with faults: each on a line of its own, in the order of the file."""

    def __init__(
        self, file: Path | str, faults: Iterable[Fault], because: PlatformRefused | None = None
    ) -> None:
        """``because``: the faults of another file, which is extended."""
        self.faults: tuple[tuple[str, Fault], ...] = tuple(
            (str(file), fault) for fault in sorted(set(faults))
        )
        if because is not None:
            self.faults += because.faults
        lines = (
            f"{where}:{fault.line}: {plain_line(fault.wrong)}; {plain_line(fault.expected)}"
            for where, fault in self.faults
        )
        super().__init__("\n".join(lines))


@dataclass(frozen=True, slots=True)
class Sheet:
    """A parsed file."""

    data: Mapping[str, Any]
    lines: Mapping[Place, int] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    """Values that are left out of ``data``: duplicates, and what is no value at all."""
    tainted: frozenset[str | int] = frozenset()
    """The keys of the file that they belong to."""

    def line(self, place: Place) -> int:
        """The line of a value, or of the nearest thing around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def read(data: bytes, suffix: str) -> Sheet:
    """Parse TOML or YAML. Raises ``Faulty``."""
    if len(data) > MOST_BYTES:
        raise Faulty([Fault(1, f"the file has {len(data):,} bytes", "a platform file has 1 MiB at the most")])
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Faulty(
            [Fault(line, f"byte 0x{data[error.start]:02x} is not UTF-8", "save the file in UTF-8")]
        ) from error
    return _toml(text) if suffix == ".toml" else _yaml(text)


# ---- TOML ----

_DEEP_KEY = re.compile(r"""(?m)(?:^|[\[{,])[ \t]*(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){32}""")
"""A key of so many parts takes the parser time in their square."""
_WHERE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def _toml(text: str) -> Sheet:
    if deep := _DEEP_KEY.search(text):
        line = text.count("\n", 0, deep.end()) + 1
        raise Faulty(
            [Fault(line, "a key of too many parts", "keys are single words, in tables of their own")]
        )
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        where = _WHERE.search(message)
        line = int(where[1]) if where and where[1] else text.count("\n") + 1
        what = _WHERE.sub("", message)
        raise Faulty([Fault(line, f"not valid TOML: {what}", "a TOML document is expected")]) from error
    except (
        ValueError,
        OverflowError,
    ) as error:  # a number of five thousand digits, a date without a calendar
        raise Faulty([Fault(1, f"not valid TOML: {error}", "a TOML document is expected")]) from error
    except RecursionError:
        raise Faulty([Fault(1, "brackets inside brackets without end", "the file must be flat")]) from None
    try:
        return Sheet(data, key_lines(text))
    except (ValueError, IndexError, RecursionError):  # the parser knows something that the finder does not
        return Sheet(data)


# ---- YAML ----


def _yaml(text: str) -> Sheet:
    try:
        _check_shape(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        line = mark.line + 1 if mark else 1
        raise Faulty([Fault(line, f"not valid YAML: {what}", "a YAML document is expected")]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character[0])
        what = f"the character U+{code:04X}"
        raise Faulty([Fault(line, f"{what} is not allowed in YAML", "write it as an escape")]) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Faulty([Fault(1, f"not valid YAML: {error}", "a YAML document is expected")]) from error
    if node is None:
        return Sheet({})
    if not isinstance(node, yaml.MappingNode):
        line = node.start_mark.line + 1
        raise Faulty([Fault(line, "the file is not a table", "write keys and values, as `title: My box`")])
    builder = _Builder()
    data = builder.build(node, ())
    return Sheet(data, builder.lines, tuple(builder.faults), frozenset(builder.tainted))


def _check_shape(text: str) -> None:
    """Refuse what would unfold or nest without bounds, before anything is built from it."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise Faulty(
                [Fault(line, f"the alias *{event.anchor}", "write the value out: aliases are not read")]
            )
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise Faulty([Fault(line, "brackets inside brackets without end", "the file must be flat")])
        documents += isinstance(event, yaml.DocumentStartEvent)
        if documents > 1:
            raise Faulty([Fault(line, "a second document", "one file describes one platform")])


_NO_VALUE = object()


class _Builder:
    """Plain data from YAML's nodes, with the line of each key; what YAML makes of a scalar is not improved upon."""

    def __init__(self) -> None:
        self.lines: dict[Place, int] = {}
        self.faults: list[Fault] = []
        self.tainted: set[str | int] = set()
        self._constructor = yaml.constructor.SafeConstructor()

    def build(self, node: yaml.Node, place: Place) -> Any:
        self.lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._table(node, place)
        if isinstance(node, yaml.SequenceNode):
            items = [self.build(item, (*place, number)) for number, item in enumerate(node.value)]
            return [item for item in items if item is not _NO_VALUE]
        return self._scalar(node, place)

    def _fault(self, place: Place, node: yaml.Node, wrong: str, expected: str) -> None:
        self.faults.append(Fault(node.start_mark.line + 1, wrong, expected))
        self.tainted.update(place[:1])

    def _table(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._scalar(key_node, place) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                said = getattr(key_node, "value", None)
                shown = f"the key {said!r}" if isinstance(said, str) else "a key"
                self._fault(place, key_node, f"{shown} is not text", "put it in quotes")
                continue
            if key in table:
                first = self.lines[*place, key]
                self._fault(place, key_node, f"{key} is already on line {first}", "each key comes once")
                continue
            self.lines[*place, key] = key_node.start_mark.line + 1
            value = self.build(value_node, (*place, key))
            if value is not _NO_VALUE:
                table[key] = value
        return table

    def _scalar(self, node: yaml.Node, place: Place) -> Any:
        try:
            return self._constructor.construct_object(node)
        except (yaml.YAMLError, ValueError, OverflowError, KeyError, AttributeError, TypeError, IndexError):
            # its own constructors let some malformed numbers and dates through as errors of any kind
            said = f"{str(node.value)[:40]!r} is no value of type {node.tag}"
            self._fault(place, node, said, "put text in quotes, and use no tags")
            return _NO_VALUE
