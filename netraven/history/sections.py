"""Which part of a configuration a line belongs to: the headings that it stands under.

Read off the layout, not off the grammar, so that it holds for dialects that nobody here knows. Indentation says it for
most of them; braces, ``config`` ... ``end`` and RouterOS's paths say it more surely where they are used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Path = tuple[str, ...]
"""``("router bgp 64512", "address-family ipv4")``; empty for a line at the top."""

DEEPEST = 32
"""Headings of one line; what is deeper belongs to the last of them."""
_FEW = 8
"""Lines of which each may look upwards through all the text."""


def lines_of(text: str) -> list[str]:
    """The lines without their ends. Only a newline ends one: devices print form feeds and U+2028 too."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return lines


def sections(text: str) -> list[Path]:
    """For each line of ``text`` the headings that it stands under, the outermost first. Takes linear time."""
    return _Layout.of(text).paths()


def sections_of(text: str, numbers: Sequence[int]) -> list[Path]:
    """The same for a few lines, whose ``numbers`` count from 1: quicker where they are few."""
    layout = _Layout.of(text)
    if layout.tells_upwards(numbers):
        return [_above(layout.outside, number - 1) for number in numbers]
    found = layout.paths()
    return [found[number - 1] for number in numbers]


_Reader = Callable[[Sequence[str]], list[Path]]


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a text is laid out."""

    read: _Reader
    lines: list[str]
    spans: list[tuple[int, int]]
    """First and last line, counted from 0, of each statement that spans lines."""
    outside: list[str]
    """The lines, but of a statement that spans lines only the first."""

    @classmethod
    def of(cls, text: str) -> _Layout:
        lines = lines_of(text)
        read: _Reader = _by_indentation
        if "config " in text and _in_words(lines):
            read = _by_words
        elif "{" in text and _in_braces(text):
            read = _by_braces
        elif "\n/" in text and _PATH.search(text):
            read = _by_paths
        spans = _spans(text, strings=read is _by_words)
        outside = list(lines)
        for first, last in spans:
            outside[first + 1 : last + 1] = [""] * (last - first)
        return cls(read, lines, spans, outside)

    def paths(self) -> list[Path]:
        found = self.read(self.outside)
        for first, last in self.spans:
            heading = self.lines[first].strip()
            found[first + 1 : last + 1] = [_deeper(found[first], heading)] * (last - first)
        return found

    def tells_upwards(self, numbers: Sequence[int]) -> bool:
        """Whether each of these lines, looking upwards, sees what it stands under, and they are few enough to."""
        return (
            self.read is _by_indentation
            and len(numbers) <= _FEW
            and not any(first < number <= last + 1 for number in numbers for first, last in self.spans)
        )


def _deeper(path: Path, heading: str) -> Path:
    return (*path, heading) if len(path) < DEEPEST else path


# ---- indentation: IOS, NX-OS, IOS XR, EOS, VRP and most others ----


def _by_indentation(lines: Sequence[str]) -> list[Path]:
    found = []
    path: Path = ()
    above: list[tuple[int, Path]] = []
    last, depth = "!", 0
    for line in lines:
        words = line.lstrip()
        if not words:
            found.append(path)
            continue
        here = _depth(line, words)
        if here > depth:
            if last[0] not in "!#":  # a comment is no heading
                above.append((depth, path))
                path = _deeper(path, last.rstrip())
        elif here < depth:
            while above and above[-1][0] >= here:
                path = above.pop()[1]
        found.append(path)
        last, depth = words, here
    return found


def _above(lines: Sequence[str], place: int) -> Path:
    """The same for one line, looking upwards from it."""
    found: list[str] = []
    depth: int | None = None
    for at in range(place, -1, -1):
        words = lines[at].lstrip()
        if not words:
            continue
        here = _depth(lines[at], words)
        if depth is None:
            if at < place:  # a blank line belongs where the line before it does
                return _above(lines, at)
        elif here >= depth:
            continue
        elif words[0] not in "!#":
            found.append(words.rstrip())
        depth = here
        if not depth:
            break
    return tuple(found[::-1][:DEEPEST])


def _depth(line: str, words: str) -> int:
    """Columns before ``words``, the line without them."""
    here = len(line) - len(words)
    return len(line[:here].expandtabs()) if here and "\t" in line else here


# ---- braces: Junos, VyOS, BIG-IP, SR OS's MD-CLI ----


_OPENS = re.compile(r"\{[ \t\r]*\n")
_CLOSES = re.compile(r"\n[ \t]*\}")


def _in_braces(text: str) -> bool:
    """Whether as many lines end with ``{`` as begin with ``}``."""
    text = f"\n{text}\n"
    return 0 < len(_OPENS.findall(text)) == len(_CLOSES.findall(text))


def _by_braces(lines: Sequence[str]) -> list[Path]:
    found = []
    path: Path = ()
    above: list[Path] = []
    for line in lines:
        words = line.strip()
        if words.startswith("}") and above:
            path = above.pop()
        found.append(path)
        if words.endswith("{"):
            above.append(path)
            path = _deeper(path, words[:-1].lstrip("} ").rstrip())
    return found


# ---- words: FortiOS ----


def _in_words(lines: Sequence[str]) -> bool:
    opening = sum(line.lstrip().startswith("config ") for line in lines)
    return 0 < opening == sum(line.strip() == "end" for line in lines)


def _by_words(lines: Sequence[str]) -> list[Path]:
    found = []
    path: Path = ()
    above: list[tuple[str, Path]] = []
    for line in lines:
        words = line.strip()
        first = words.partition(" ")[0]
        if first == "next" and above and above[-1][0] == "edit":
            path = above.pop()[1]
        elif words == "end":
            closed = ""
            while above and closed != "config":
                closed, path = above.pop()
        found.append(path)
        if first in {"config", "edit"}:
            above.append((first, path))
            path = _deeper(path, words)
    return found


# ---- paths: RouterOS ----

_PATH = re.compile(r"^/[a-z].*\n(?:add|set|#) ?", re.MULTILINE)


def _by_paths(lines: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    path: Path = ()
    for line in lines:
        if line.startswith("/"):
            found.append(())
            path = (line.rstrip(),)
        else:
            found.append(path)
    return found


# ---- what spans lines, and whose lines mean nothing by themselves: banners, certificates, strings ----

LONGEST_BANNER = 500
"""Lines. What looks like a banner's first character and is not met again for longer was none."""
_HINTS = ("-----BEGIN ", "^C", "\x03", "banner ", "header ")
_STRING_HINTS = ("-----BEGIN ", ' "')
_BANNER = re.compile(
    r"[ \t]*(?:set )?(?:banner|header) [\w-]+ *(?:information )?(?P<mark>[!-/:-@\[-`{-~]|(?P<eof>\r?\n))"
)
_STRING = re.compile(r'[ \t]*set [\w-]+ "[^"\\\n]*(?:\\.[^"\\\n]*)*(?=\n)')
_QUOTE = re.compile(r'(?<!\\)"')


class _Ends:
    """Finds ends. What was found is kept: a text full of beginnings without an end is still read once for each kind."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._known: dict[str, int] = {}

    def after(self, place: int, end: str) -> int:
        """Where ``end`` begins first, from ``place`` on; -1 where it does not."""
        known = self._known.get(end, 0)
        if end not in self._known or 0 <= known < place:
            if end == '"':
                match = _QUOTE.search(self._text, place)
                known = match.start() if match else -1
            else:
                known = self._text.find(end, place)
            self._known[end] = known
        return known


def _spans(text: str, *, strings: bool) -> list[tuple[int, int]]:
    ends = _Ends(text)
    found = []
    place = counted = number = 0
    for at, hint in _hints(text, _STRING_HINTS if strings else _HINTS):
        if at < place:
            continue
        begin, end = _end(text, at, hint)
        if begin < 0 or (closed := ends.after(begin, end)) < 0:
            continue
        length = text.count("\n", at, closed + (end == _EOF))
        if length > LONGEST_BANNER and end not in {_PEM, '"'}:
            continue
        place = closed + 1
        if length:
            number += text.count("\n", counted, at)
            counted = at
            found.append((number, number + length))
    return found


_PEM, _EOF = "-----END ", "\nEOF"


def _hints(text: str, words: Sequence[str]) -> list[tuple[int, str]]:
    """Where one of these words stands, in order."""
    found = []
    for word in words:
        at = text.find(word)
        while at >= 0:
            found.append((at, word))
            at = text.find(word, at + len(word))
    return sorted(found)


def _end(text: str, at: int, hint: str) -> tuple[int, str]:
    """From where on what is to be looked for; (-1, "") where nothing begins here."""
    after = at + len(hint)
    if hint == "-----BEGIN ":
        return after, _PEM
    if hint in {"^C", "\x03"}:
        return after, hint
    line = text.rfind("\n", 0, at) + 1
    if hint == ' "':
        string = _STRING.match(text, line)
        return (string.end(), '"') if string and at < string.end() else (-1, "")
    banner = _BANNER.match(text, line)
    if banner is None:
        return -1, ""
    if banner["eof"]:
        return banner.end() - 1, _EOF
    return banner.end(), "^C" if text.startswith("^C", banner.end() - 1) else banner["mark"]
