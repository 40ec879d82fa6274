"""Where the matches of many patterns stand in a text: those of each pattern's ``finditer``, in a fraction of the time.

A text is searched for a few short words that the patterns cannot do without. Only the lines that hold one are looked
at, and only with the patterns that need it. A pattern that goes over lines is searched for in all the text if it holds
such a word, and one that promises nothing always.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from netraven.history.places import Place
from netraven.platforms.needs import Needs, needs_of

_SHORTEST, _LONGEST = 3, 9
"""Letters of the words that are looked for: a longer one is found sooner, a shorter one serves more patterns."""
_MANY = 8
"""Words that are searched for at once ..."""
_LONG = 2_000
"""... in texts of more characters ..."""
_LEAST_HITS, _BETWEEN_HITS = 20, 100
"""... as long as, behind the first few, there are as many characters to a line that holds one."""
_RARE = frozenset("$@")
"""Characters that few lines hold. One alone is found ten times as fast as a word."""

_COMMONPLACE = frozenset(
    word[start:end]
    for word in (
        "address ",
        "description ",
        "host ",
        "interface ",
        "neighbor ",
        "server ",
        "set / system ",
        "vlan ",
    )
    for start in range(len(word))
    for end in range(start + 1, len(word) + 1)
)
"""Words that every other line of some dialect holds, and their parts."""

Found = tuple[int, "re.Match[str]"]
"""The number of the pattern, and its match."""
_Method = Callable[[str, int, int], "re.Match[str] | None"]


@dataclass(frozen=True, slots=True)
class _Tries:
    """What to try on a line: numbers of patterns with their ``match`` (they begin where the line does) or ``search``.

    ``small_...``: those for the folded text.
    """

    begin: tuple[tuple[int, _Method], ...]
    anywhere: tuple[tuple[int, _Method], ...]
    small_begin: tuple[tuple[int, _Method], ...]
    small_anywhere: tuple[tuple[int, _Method], ...]

    def on_line(self, text: str, small: str, line: Place, found: list[Found]) -> None:
        """Adds the matches on one line."""
        start, end = line
        for number, method in self.begin:
            if match := method(text, start, end):
                found.append((number, match))
        for number, method in self.small_begin:
            if match := method(small, start, end):
                found.append((number, match))
        for number, method in self.anywhere:
            if match := method(text, start, end):
                found.append((number, match))
                if method(text, match.end(), end):
                    found += _behind(number, match, end)
        for number, method in self.small_anywhere:
            if match := method(small, start, end):
                found.append((number, match))
                if method(small, match.end(), end):
                    found += _behind(number, match, end)


def _behind(number: int, match: re.Match[str], end: int) -> list[Found]:
    """The matches of the same pattern behind this one."""
    return [(number, more) for more in match.re.finditer(match.string, match.end(), end)]


def _any_of(words: Sequence[str]) -> Any:
    import re2  # noqa: PLC0415 - costs a few milliseconds, and short texts do without

    options = re2.Options()
    options.never_capture = True
    return re2.compile("|".join(map(re2.escape, words)).encode(), options)


def folded(text: str) -> str:
    """The text in small letters, each character in its place."""
    small = text.lower()
    return small if len(small) == len(text) else text.translate(_SMALL)


_SMALL = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class Finder:
    """``small``: patterns for the folded text; they are numbered after the others."""

    def __init__(
        self,
        patterns: Iterable[re.Pattern[str]],
        small: Iterable[re.Pattern[str]] = (),
        needs: Callable[[re.Pattern[str]], Needs] = needs_of,
    ) -> None:
        patterns, small = tuple(patterns), tuple(small)
        self.folds = bool(small)
        """Whether :meth:`find` wants the folded text."""
        self._any: Any = None
        """Finds the first of the words."""
        self._blocks: dict[tuple[str, ...], list[tuple[int, re.Pattern[str], bool]]] = {}
        wanted: dict[int, tuple[tuple[str, ...], ...]] = {}
        every = (*patterns, *small)
        told = [needs(pattern) for pattern in every]
        for number, pattern in enumerate(every):
            options = _rarest(self._words(o) for o in told[number].options if self._usable(o))
            if told[number].one_line and options:
                wanted[number] = options
            else:
                words = max(options, key=_rarity, default=())
                self._blocks.setdefault(words, []).append((number, pattern, number >= len(patterns)))

        def methods(numbers: set[int], *, small: bool, begin: bool) -> tuple[tuple[int, _Method], ...]:
            chosen = (
                n for n in sorted(numbers) if (n >= len(patterns)) == small and told[n].anchored == begin
            )
            return tuple((n, every[n].match if begin else every[n].search) for n in chosen)

        self._lines = [
            (
                word,
                _Tries(*(methods(numbers, small=s, begin=b) for s in (False, True) for b in (True, False))),
            )
            for word, numbers in _cover(wanted).items()
        ]

    def find(self, text: str, small: str = "") -> list[Found]:
        """Every match, in no order; ``small``: the folded text. A match may be told twice."""
        searched = small if self.folds else text
        found: list[Found] = []
        done = 0
        for words, blocks in self._blocks.items():
            if not words or any(word in searched for word in words):
                for number, pattern, folds in blocks:
                    found += [(number, match) for match in pattern.finditer(small if folds else text)]
        if len(self._lines) > _MANY and len(searched) > _LONG and searched.isascii():
            done = self._find_at_once(text, small, found)
        for word, tries in self._lines:
            at = searched.find(word, done)
            while at >= 0:
                start = searched.rfind("\n", 0, at) + 1
                end = searched.find("\n", at)
                if end < 0:
                    end = len(searched)
                tries.on_line(text, small, (start, end), found)
                at = searched.find(word, end)
        return found

    def _find_at_once(self, text: str, small: str, found: list[Found]) -> int:
        """Searches for all words at once: with so many of them, twice as quick as one by one.

        But not where line after line holds one; so it says how far it has come.
        """
        searched = small if self.folds else text
        data = searched.encode("ascii")
        if self._any is None:
            self._any = _any_of(self.searched_for)
        search = self._any.search
        end = hits = 0
        while match := search(data, end):
            at = match.start()
            hits += 1
            if hits > _LEAST_HITS and hits * _BETWEEN_HITS > at:
                return end
            start = data.rfind(b"\n", 0, at) + 1
            end = data.find(b"\n", at)
            if end < 0:
                end = len(data)
            line = searched[start:end]
            for word, tries in self._lines:
                if word in line:
                    tries.on_line(text, small, (start, end), found)
        return len(data)

    @property
    def searched_for(self) -> tuple[str, ...]:
        """The words that a text is searched for."""
        return tuple(word for word, _ in self._lines)

    def goes_over_lines(self, searched: str) -> bool:
        """Whether a pattern that is not confined to a line might match; ``searched``: folded, where it wants that."""
        return any(not words or any(word in searched for word in words) for words in self._blocks)

    def _usable(self, option: Sequence[str]) -> bool:
        # other letters than ASCII's have small ones that depend on what stands beside them
        return bool(option) and all(
            "\n" not in word and (word.isascii() or not self.folds) for word in option
        )

    def _words(self, option: Sequence[str]) -> tuple[str, ...]:
        return tuple(word.lower() if self.folds else word for word in option)


def _cover(wanted: dict[int, tuple[tuple[str, ...], ...]]) -> dict[str, set[int]]:
    """A few words such that each pattern has an option all of whose words hold one of them; and whom each serves."""
    holders: dict[str, set[tuple[int, int, int]]] = defaultdict(set)
    for number, options in wanted.items():
        for which, option in enumerate(options):
            for place, word in enumerate(option):
                for part in _parts(word):
                    holders[part].add((number, which, place))
    open_places = {
        (number, which): set(range(len(option)))
        for number, options in wanted.items()
        for which, option in enumerate(options)
    }
    served: dict[str, set[int]] = {}
    left = set(wanted)
    while left:
        word = max(holders, key=lambda part: (_gain(holders[part], left, open_places), len(part), part))
        served[word] = set()
        for number, which, place in holders.pop(word):
            open_places[number, which].discard(place)
        left -= {number for (number, which), places in open_places.items() if not places}
    for number, options in wanted.items():
        chosen = next(option for which, option in enumerate(options) if not open_places[number, which])
        for text in chosen:
            word = next(word for word in served if word in text)
            served[word].add(number)
    return {word: numbers for word, numbers in served.items() if numbers}


def _gain(
    holders: set[tuple[int, int, int]], left: set[int], open_places: dict[tuple[int, int], set[int]]
) -> float:
    """How many patterns a word brings how far."""
    best: dict[int, float] = {}
    for number, which, place in holders:
        places = open_places[number, which]
        if number in left and place in places:
            best[number] = max(best.get(number, 0.0), 1 / len(places))
    return sum(best.values())


def _parts(word: str) -> set[str]:
    """The words that may be looked for in its place; there is at least one."""
    parts = set(word) & _RARE
    for length in range(_SHORTEST, min(len(word), _LONGEST) + 1):
        for start in range(len(word) - length + 1):
            part = word[start : start + length]
            if _letters(part) >= _SHORTEST and part not in _COMMONPLACE:
                parts.add(part)
    return parts or {word}


def _letters(word: str) -> int:
    return sum(map(str.isalpha, word))


def _rarest(options: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """The options of words that few lines hold: of four letters, or else the best that there are."""
    options = tuple(options)
    most = min(max((_rarity(option) for option in options), default=0), _SHORTEST)
    return tuple(option for option in options if _rarity(option) >= most)


def _rarity(option: Sequence[str]) -> float:
    """Letters of the shortest word; of four words and more each, half: every one of them has to be searched for."""
    if all(_RARE & set(word) for word in option):
        return _SHORTEST
    least = min(_letters(word) * (word.strip() not in _COMMONPLACE) for word in option)
    return least if len(option) < 4 else least / 2
