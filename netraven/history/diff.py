"""What became of a text: the lines that went and those that came, with what stands around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from netraven.history.alignment import Place, changed_places
from netraven.history.sections import Path, lines_of, sections
from netraven.model import Version

CONTEXT = 3
"""Lines shown before and after a change, as everywhere."""
_HEADING = 80
"""Characters of a section after ``@@``, as git has it."""


@dataclass(frozen=True, slots=True)
class Line:
    mark: str
    """``" "`` on both sides, ``"-"`` on the old one, ``"+"`` on the new one."""
    old_number: int | None
    """Lines are counted from 1."""
    new_number: int | None
    text: str
    """Without its end."""
    ended: bool = True
    """False: the text stops here, without a line end."""


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines that follow each other. Starts and counts are those of unified diffs: of no lines, the line before."""

    old_start: int
    old_count: int
    new_start: int
    new_count: int
    section: Path
    """What the first changed line stands under."""
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Diff:
    hunks: tuple[Hunk, ...] = ()
    added: int = 0
    """Lines."""
    removed: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """What one version made of another. ``old`` is None where ``new`` is the first one; all its lines are new then."""

    old: Version | None
    new: Version
    diff: Diff
    problem: str | None = None
    """Why the texts could not be compared; ``diff`` is empty then."""


def diff(old: str, new: str, *, context: int = CONTEXT) -> Diff:
    """The difference, the same for the same texts. A hundred thousand lines take less than a second at the worst."""
    if context < 0:
        raise ValueError(f"context is a number of lines, not {context}")
    if old == new:
        return Diff()
    before, after = _Text.of(old), _Text.of(new)
    numbers: dict[object, int] = {}
    olds, news = before.numbered(numbers), after.numbered(numbers)
    places = _settled(changed_places(olds, news), (olds, before.lines), (news, after.lines))
    return Diff(
        tuple(_hunk(group, before, after, context) for group in _grouped(places, context)),
        added=sum(place.new_end - place.new_start for place in places),
        removed=sum(place.old_end - place.old_start for place in places),
    )


def unified(diff: Diff, old_label: str, new_label: str) -> str:
    """As ``patch`` and ``git apply`` read it; empty where nothing differs. A label may carry a comment after a tab."""
    if not diff.hunks:
        return ""
    parts = [f"--- {old_label}\n+++ {new_label}\n"]
    for hunk in diff.hunks:
        parts.append(f"{heading(hunk)}\n")
        for line in hunk.lines:
            parts.append(f"{line.mark}{line.text}\n")
            if not line.ended:
                parts.append("\\ No newline at end of file\n")
    return "".join(parts)


def heading(hunk: Hunk) -> str:
    """``@@ -12,7 +12,8 @@ router bgp 64512 > address-family ipv4``."""
    section = " > ".join(hunk.section)
    if len(section) > _HEADING:
        section = section[: _HEADING - 3] + "..."
    span = f"-{_span(hunk.old_start, hunk.old_count)} +{_span(hunk.new_start, hunk.new_count)}"
    return f"@@ {span} @@ {section}".rstrip()


def _span(start: int, count: int) -> str:
    return str(start) if count == 1 else f"{start},{count}"


class _Text:
    """One side. Its sections are only looked for once they are asked for."""

    def __init__(self, text: str, lines: Sequence[str]) -> None:
        self.lines = lines
        self._text = text
        self._sections: Sequence[Path] | None = None

    @classmethod
    def of(cls, text: str) -> _Text:
        return cls(text, lines_of(text))

    def ended(self, place: int) -> bool:
        return place < len(self.lines) - 1 or self._text.endswith("\n")

    def numbered(self, numbers: dict[object, int]) -> list[int]:
        """Each line as a number of ``numbers``. A last line without an end is not the same as one that has it."""
        given = [numbers.setdefault(line, len(numbers)) for line in self.lines]
        if given and not self.ended(len(given) - 1):
            given[-1] = numbers.setdefault((self.lines[-1],), len(numbers))
        return given

    def section(self, place: int) -> Path:
        if self._sections is None:
            self._sections = sections(self._text)
        return self._sections[place]


# ---- where a change lies, when it could as well lie a few lines further ----


_Side = tuple[Sequence[int], Sequence[str]]
"""The lines of a text, as numbers and as they are."""


def _settled(places: Sequence[Place], old: _Side, new: _Side) -> list[Place]:
    """Lines that only came, or only went, moved to where they begin with what is indented least."""
    settled: list[Place] = []
    for number, place in enumerate(places):
        after = places[number + 1] if number + 1 < len(places) else None
        before = settled[-1] if settled else None
        if place.old_start == place.old_end:
            room = (before.new_end + 1 if before else 0, after.new_start - 1 if after else len(new[0]))
            by = _shift(new, (place.new_start, place.new_end), room)
        elif place.new_start == place.new_end:
            room = (before.old_end + 1 if before else 0, after.old_start - 1 if after else len(old[0]))
            by = _shift(old, (place.old_start, place.old_end), room)
        else:
            by = 0
        settled.append(_moved(place, by))
    return settled


def _shift(side: _Side, block: tuple[int, int], room: tuple[int, int]) -> int:
    """By how many lines ``block`` is to be moved (down: more than 0), within ``room``."""
    numbers, lines = side
    start, end = block
    up = down = 0
    while start - up > room[0] and numbers[start - up - 1] == numbers[end - up - 1]:
        up += 1
    while end + down < room[1] and numbers[start + down] == numbers[end + down]:
        down += 1
    if not up and not down:
        return 0
    return max(range(-up, down + 1), key=lambda by: (-_depth(lines[start + by]), by))


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip()) if line.strip() else 1 << 20


def _moved(place: Place, by: int) -> Place:
    return replace(
        place,
        old_start=place.old_start + by,
        old_end=place.old_end + by,
        new_start=place.new_start + by,
        new_end=place.new_end + by,
    )


# ---- hunks ----


def _grouped(places: Sequence[Place], context: int) -> Iterator[list[Place]]:
    """Places whose contexts touch are shown together."""
    group: list[Place] = []
    for place in places:
        if group and place.old_start - group[-1].old_end > 2 * context:
            yield group
            group = []
        group.append(place)
    if group:
        yield group


def _hunk(places: Sequence[Place], old: _Text, new: _Text, context: int) -> Hunk:
    first, last = places[0], places[-1]
    before = min(context, first.old_start)
    after = min(context, len(old.lines) - last.old_end)
    lines = []
    old_at, new_at = first.old_start - before, first.new_start - before
    old_start, new_start = old_at, new_at
    for place in places:
        lines += _same(old, old_at, new_at, place.old_start - old_at)
        lines += [
            Line("-", at + 1, None, old.lines[at], old.ended(at))
            for at in range(place.old_start, place.old_end)
        ]
        lines += [
            Line("+", None, at + 1, new.lines[at], new.ended(at))
            for at in range(place.new_start, place.new_end)
        ]
        old_at, new_at = place.old_end, place.new_end
    lines += _same(old, old_at, new_at, after)
    old_count, new_count = old_at + after - old_start, new_at + after - new_start
    return Hunk(
        old_start + 1 if old_count else old_start,
        old_count,
        new_start + 1 if new_count else new_start,
        new_count,
        _section(places, old, new),
        tuple(lines),
    )


def _same(old: _Text, old_at: int, new_at: int, count: int) -> list[Line]:
    return [
        Line(" ", old_at + by + 1, new_at + by + 1, old.lines[old_at + by], old.ended(old_at + by))
        for by in range(count)
    ]


def _section(places: Sequence[Place], old: _Text, new: _Text) -> Path:
    """Of the first line that came or went and says something."""
    for place in places:
        for text, start, end in (
            (new, place.new_start, place.new_end),
            (old, place.old_start, place.old_end),
        ):
            for at in range(start, end):
                if text.lines[at].strip("!# \t"):
                    return text.section(at)
    return ()
