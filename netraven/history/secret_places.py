"""Where the secrets of a text stand, and the text with marks in their places.

A secret is what a rule of the platform or a rule for all platforms finds. Where a line holds a word that a secret
follows (``password``) and no rule found one there, what follows is taken for one: too much rather than too little.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import count, takewhile
from operator import itemgetter

from netraven.history.finder import Finder, folded
from netraven.history.marks import MARK
from netraven.history.places import Place, merged, without
from netraven.platforms.everywhere import Everywhere
from netraven.platforms.needs import Needs

_MARK_BEGINS = "<redacted:"
_REST_OF_WORD = re.compile(r"[\w-]*")
_BETWEEN = re.compile(r"[\"']?(?:\.{2,})?[ \t]*(?:=>|[=:>])?[ \t]*")
"""A word and its value: ``password foo``, ``password=foo``, ``"password": "foo"``, ``Key..... foo``, ``<key>foo``."""
_TOKEN = re.compile(r"[^\s\"']+")
_BLANKS = re.compile(r"[ \t]*")
_MOST_FILLERS = 8
_KIND = re.compile(r"\d{1,2}")
"""How a secret is encrypted, in digits, where more follows."""
_NEAR = 60
"""Characters between a word and a secret of which it is soon said whether they mean anything."""
_TELLING = 500
"""Characters of a value that mostly say whether it is one."""
_MOST_LOOKS = 3
"""Two are enough for what devices print."""
_MOST_SEARCHES = 20
"""Of single lines."""
_NOT_HIDDEN = re.compile(r"[^* \t\n]")
_QUOTES = {quote: re.compile(rf"{quote}(?<!\\{quote})") for quote in "\"'"}
_HOW = frozenset({"hash", "hash2", "custom"})
"""What SR OS says behind a secret within its quotes."""
_FOLLOWING = re.compile(r"[ \t]+([^\s\"';{}<>]+)")
_LONGEST_TAG = 100
_AROUND = " \t;,{}[]()\"'"
_KEY_BEGINS = re.compile(r"[\"' ]*-{4,5} ?begin ")
_WRAPPED = re.compile(r"\\?\n[ \t]*")


@dataclass(frozen=True, slots=True)
class _Value:
    start: int
    first_end: int
    """Where its first token ends."""
    end: int


@dataclass(frozen=True, slots=True)
class _Text:
    """A text that is being marked."""

    text: str
    marks: tuple[Place, ...] = ()
    cut: tuple[Place, ...] = ()
    """What is to go. It stays until all is marked: the rules are for the text as it was captured."""

    @property
    def holes(self) -> list[Place]:
        """Where no secret is any more."""
        return sorted((*self.marks, *self.cut))

    def without_cut(self) -> str:
        return "".join(self.text[start:end] for start, end in without((0, len(self.text)), self.cut))


class SecretPlaces:
    """``own``: the patterns of the platform."""

    def __init__(
        self,
        own: Sequence[re.Pattern[str]],
        everywhere: Everywhere,
        needs: Callable[[re.Pattern[str]], Needs],
    ) -> None:
        self._finder = Finder(own, (*everywhere.secrets, *everywhere.words), needs)
        self._harmless = Finder(everywhere.harmless, needs=needs)
        self._own = len(own)
        self._rules = len(own) + len(everywhere.secrets)
        self._fillers = everywhere.fillers
        self._values = everywhere.values
        fillers = "|".join(map(re.escape, sorted(everywhere.fillers)))
        self._leads_to = re.compile(rf"[\w-]*[\"']?[ \t:=]*(?:(?:\d{{1,2}}|{fillers}) )*[\"']?")

    def marked(self, text: str, mark: Callable[[str], str], cut: Sequence[Place] = ()) -> str:
        """The text with a mark for each secret, and without what is ``cut``. Marked again, it stays as it is."""
        small = folded(text)
        goes_over_lines = self._finder.goes_over_lines(small)
        done = _marked(_Text(text, cut=tuple(cut)), self._find(text, small, ()), mark)
        # what a mark has taken the place of may have kept a rule from seeing the rest of the line
        for look in count(1):
            if not done.marks or not (goes_over_lines or self._has_more(done)):
                break
            places = self._find(done.text, folded(done.text), done.holes)
            if not places:
                break
            if look > _MOST_LOOKS:  # each secret hides another one: of a text that means ill, all goes
                lines = (
                    _rest_of_lines(done.text, places) if look <= 2 * _MOST_LOOKS else [(0, len(done.text))]
                )
                places = _all_beside_marks(done.text, lines, _marks_in(done.text, done.holes))
            done = _marked(done, places, mark)
        return done.without_cut()

    def leaves_alone(self, text: str, lines: Iterable[str]) -> bool:
        """Whether it is plain that no secret is on these lines of a text, and that they stay where they are in it.

        A secret may go on below a line that ends in a backslash, so give the line above each as well.
        """
        if "\\\n" in text or self._finder.goes_over_lines(folded(text)):
            return False
        small = folded("\n".join(lines))
        return not any(word in small for word in self._finder.searched_for)

    def _has_more(self, done: _Text) -> bool:
        """Whether there may be more secrets on the lines of marks."""
        changed, inside, length = [], [], 0
        holes = done.holes
        for start, end in _lines(done.text, done.marks):
            changed.append(done.text[start:end])
            shift = length - start
            at = max(bisect_left(holes, (start, start)) - 1, 0)
            while at < len(holes) and holes[at][0] < end:
                a, b = holes[at]
                if start < b:
                    inside.append((max(a, start) + shift, min(b, end) + shift))
                at += 1
            length += end - start + 2
        # empty lines between them: none is the line below another
        lines = "\n\n".join(changed)
        return bool(self._find(lines, folded(lines), inside))

    def _find(self, text: str, small: str, marks: Sequence[Place]) -> list[Place]:
        """The places of secrets, sorted; ``small``: the text folded, ``marks``: places that are none, as marks are."""
        found: list[tuple[int, int, bool]] = []
        words: list[Place] = []
        for number, match in self._finder.find(text, small):
            if number >= self._rules:
                words.append(match.span())
                continue
            start, end = match.span("secret")
            if _NOT_HIDDEN.search(text, start, end):
                found.append((start, end, number < self._own))
        found.sort()  # what stands ahead is looked for in order
        ahead = _Ahead(small)
        known: list[Place] = []
        own: set[int] = set()
        for start, end, is_own in found:
            known.append(_in_quotes(ahead, start, self._with_kind(small, start, end)))
            if is_own:
                own.add(known[-1][0])
        holes = _marks_in(text, marks)
        known = merged(known)
        if words:
            barred = merged((*known, *holes)) if holes else known
            known = merged((*known, *self._values_behind(ahead, merged(words), barred, own)))
        if not holes:
            return known
        return _all_beside_marks(text, known, holes)

    def _with_kind(self, small: str, start: int, end: int) -> int:
        """Where the place of a secret ends; where a rule took its kind for it (``2c encrypted 0a1b``): behind it.

        A word may be the secret itself (``community write``), so it is marked as well.
        """
        found = small[start:end]
        while end - start < _NEAR and (
            _KIND.fullmatch(found) or (found in self._fillers and found != "cisco")
        ):
            following = _FOLLOWING.match(small, end)
            if following is None:
                break
            end, found = following.end(), following[1]
        return end

    def _values_behind(
        self, ahead: _Ahead, words: Sequence[Place], known: Sequence[Place], own: AbstractSet[int]
    ) -> Iterator[Place]:
        """What follows those words, where no known place is; ``own``: where what the platform's rules found begins."""
        small = ahead.text
        starts = [start for start, _ in known]
        harmless = _Lines(small, self._harmless)
        taken = 0
        for number, (word, word_end) in enumerate(words):
            if word < taken:
                continue  # within the value of another
            at = bisect_left(starts, word + 1)
            if at and known[at - 1][1] > word:
                continue  # in a secret
            nearest = starts[at] if at < len(starts) else len(small)
            if nearest - word_end < _NEAR and self._leads_to.fullmatch(small, word_end, nearest):
                continue  # the usual case
            value = self._value(ahead, words, number)
            if value is None:
                continue
            if nearest < value.end and (nearest in own or nearest <= value.start):
                continue
            end = min(value.end, nearest)
            if not self._is_secret(small, value, end) or harmless.found_at(word):
                continue
            taken = value.first_end
            yield _trimmed(small, value.start, end)

    def _value(self, ahead: _Ahead, words: Sequence[Place], number: int) -> _Value | None:
        """Of the word with this ``number``. None where the line ends."""
        small = ahead.text
        start, attached = self._value_start(ahead, words[number][1])
        if small[start : start + 2] == "\\\n":  # the line goes on below
            start = _end(_BLANKS, small, start + 2, len(small))
        if small[start : start + 1] in {"", "\n"}:
            return None
        if small[start] in "\"'":
            close = ahead.closing(start + 1, small[start], ahead.line_end(start))
            return _Value(start + 1, close, close)
        first_end = ahead.token_end(start)
        if attached:
            return _Value(start, first_end, first_end)
        following = number + 1
        if following < len(words) and words[following][0] < first_end:
            following = bisect_left(words, (first_end, 0), following)
        end = ahead.line_end(start)
        if following < len(words) and words[following][0] < end:
            # the next word may end a longer one: privpwd
            end = words[following][0]
            if small[end - 1] not in " \t":
                end = max(small.rfind(" ", first_end, end), small.rfind("\t", first_end, end)) + 1 or end
        end = min(end, ahead.closing_tag(start))
        return _Value(start, min(first_end, end), end)

    def _value_start(self, ahead: _Ahead, word_end: int) -> tuple[int, bool]:
        """Where a value begins, and whether it ends with its first token, as what follows a ``=`` does."""
        small = ahead.text
        token_end = ahead.word_end(word_end)
        start = _end(_BETWEEN, small, token_end, len(small))
        if start > token_end:
            behind = small[token_end]
            if behind == ">" and _is_no_leaf(small, token_end + 1):
                return ahead.line_end(start), False
            if small[start - 1] == "=" and behind in "=\"'":
                return start, True
        for _ in range(_MOST_FILLERS):
            end = ahead.token_end(start)
            if end - start > _NEAR or not self._says_how(small[start:end]):
                break
            behind_it = _end(_BETWEEN, small, end, len(small))
            if small[behind_it : behind_it + 1] in {"", "\n"}:
                break
            start = behind_it
        return start, False

    def _says_how(self, token: str) -> bool:
        """Whether it is no secret, but what stands before one."""
        return token in self._fillers or _KIND.fullmatch(token) is not None

    def _is_secret(self, small: str, value: _Value, end: int) -> bool:
        """Whether it is a value at all: no word that says whether there is one, no asterisks, no head of a key."""
        start, first_end = value.start, value.first_end
        if first_end <= end and first_end - start < _NEAR:
            first = small[start:first_end]
            if first.isalnum() and first not in self._values and not self._says_how(first):
                return True  # the usual case
        if _KEY_BEGINS.match(small, start, end):
            return False
        if end - start > _TELLING:
            *tokens, cut = self._said(small[start : start + _TELLING]) or [""]
            told = len(cut) > _NEAR or any(token not in self._values for token in tokens)
            if told and (tokens or [cut])[0].strip("*.\\"):
                return True
        return self._is_one(small[start:end])

    def _is_one(self, value: str) -> bool:
        tokens = self._said(value)
        if not tokens or not tokens[0].strip("*.\\"):
            return False
        return not all(token in self._values for token in tokens)

    def _said(self, value: str) -> list[str]:
        """What a value says, without how it is encrypted."""
        tokens = value.strip(_AROUND).split()
        kinds = takewhile(self._says_how, tokens[:-1])
        return tokens[sum(1 for _ in kinds) :]


class _Ahead:
    """Where something begins or ends in a text. It is asked often, and reads each part of the text once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._line = self._word = self._token = self._tag = (0, -1)
        self._quotes: dict[str, list[int]] = {}

    def line_end(self, place: int) -> int:
        start, end = self._line
        if not start <= place <= end:
            end = _line_end(self.text, place)
            self._line = (place, end)
        return end

    def word_end(self, place: int) -> int:
        """Where the rest of a word ends; ``place`` where there is none."""
        start, end = self._word
        if not start <= place < end:
            end = _end(_REST_OF_WORD, self.text, place, len(self.text))
            self._word = (place, end)
        return end

    def token_end(self, place: int) -> int:
        """The same of what has no blanks and no quotes."""
        start, end = self._token
        if not start <= place < end:
            end = _end(_TOKEN, self.text, place, len(self.text))
            self._token = (place, end)
        return end

    def closing_tag(self, place: int) -> int:
        """Where the next one begins; or the text ends."""
        start, end = self._tag
        if not start <= place <= end:
            end = self.text.find("</", place)
            end = len(self.text) if end < 0 else end
            self._tag = (place, end)
        return end

    def closing(self, start: int, quote: str, end: int) -> int:
        """Where the text in quotes ends that begins at ``start``; at ``end`` where nothing closes it before."""
        if start < end and self.text[start] == quote:
            return start
        if quote not in self._quotes:
            self._quotes[quote] = [match.start() for match in _QUOTES[quote].finditer(self.text)]
        quotes = self._quotes[quote]
        at = bisect_left(quotes, start)
        return min(quotes[at], end) if at < len(quotes) else end


class _Lines:
    """Whether a place is within a match of ``finder``: of a line, the one above it and the one below it.

    Places are asked for in their order. Where there are many, the rest of the text is searched at once.
    """

    def __init__(self, text: str, finder: Finder) -> None:
        self._text = text
        self._finder = finder
        self._begin, self._end = 0, -1
        self._found: list[Place] = []
        self._searches = 0

    def found_at(self, place: int) -> bool:
        if not self._begin <= place <= self._end:
            self._search(place)
        at = bisect_left(self._found, (place + 1,))
        return at > 0 and place < self._found[at - 1][1]

    def _search(self, place: int) -> None:
        self._begin, self._end = self._text.rfind("\n", 0, place) + 1, _line_end(self._text, place)
        start = self._text.rfind("\n", 0, max(self._begin - 1, 0)) + 1
        end = _line_end(self._text, min(self._end + 1, len(self._text)))
        self._searches += 1
        if self._searches > _MOST_SEARCHES:
            self._end = end = len(self._text)
        spans = (match.span() for _, match in self._finder.find(self._text[start:end]))
        self._found = [(a + start, b + start) for a, b in merged(spans)]


def _is_no_leaf(small: str, behind: int) -> bool:
    """Whether the tag that ends at ``behind`` is followed by another one, or closes an element: there is no value."""
    begins = small.rfind("<", max(behind - _LONGEST_TAG, 0), behind)
    return begins >= 0 and (small[begins + 1] == "/" or small[behind : behind + 1] == "<")


def as_one(secret: str) -> str:
    """A secret without the line ends and indents that it was written with: the same one has the same mark."""
    return _WRAPPED.sub("\n", secret).strip("\n") if "\n" in secret else secret


def _end(pattern: re.Pattern[str], text: str, start: int, end: int) -> int:
    match = pattern.match(text, start, end)
    return match.end() if match else start


def _in_quotes(ahead: _Ahead, start: int, end: int) -> Place:
    """All of the text in quotes of which a rule has found the first word; without the quotes."""
    text = ahead.text
    first, before = text[start], text[start - 1] if start else ""
    if first in "\"'":
        if end - start > 1 and text[end - 1] == first:
            return (start + 1, end - 1) if end - start > 2 else (start, end)
        return start + 1, max(end, ahead.closing(start + 1, first, ahead.line_end(end)))
    if before and before in "\"'" and text[end : end + 1] != before:
        close = ahead.closing(end, before, ahead.line_end(end))
        if text[close : close + 1] == before and not (
            close - end < _NEAR and text[end:close].strip() in _HOW
        ):
            return start, close
    return start, end


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _trimmed(text: str, start: int, end: int) -> Place:
    value = text[start:end]
    left = len(value) - len(value.lstrip(_AROUND))
    return start + left, start + len(value.rstrip(_AROUND))


def _marks_in(text: str, marks: Sequence[Place]) -> list[Place]:
    found = [match.span() for match in MARK.finditer(text)] if _MARK_BEGINS in text else []
    return merged((*found, *marks)) if marks else found


def _all_beside_marks(text: str, places: Sequence[Place], marks: Sequence[Place]) -> list[Place]:
    whole = set(marks)
    return [piece for place in places if place not in whole for piece in _beside_marks(text, place, marks)]


def _rest_of_lines(text: str, places: Sequence[Place]) -> list[Place]:
    """The places, each to the end of the line that it ends on."""
    ahead = _Ahead(text)
    return merged((start, ahead.line_end(end)) for start, end in places)


def _beside_marks(text: str, place: Place, marks: Sequence[Place]) -> Iterator[Place]:
    pieces = without(place, marks)
    if pieces == [place]:
        yield place
        return
    for start, end in (_trimmed(text, *piece) for piece in pieces):
        if any(map(str.isalnum, text[start:end])):
            yield start, end


def _lines(text: str, places: Sequence[Place]) -> list[Place]:
    """The lines on which ``places``, which are sorted, begin."""
    lines: list[Place] = []
    done = -1
    for start, _ in places:
        if start > done:
            begin, done = text.rfind("\n", 0, start) + 1, _line_end(text, start)
            lines.append((begin, done))
    return lines


def _marked(before: _Text, places: Sequence[Place], mark: Callable[[str], str]) -> _Text:
    """With a mark in each of ``places``; of a secret that is cut in part, what is left of it is marked."""
    text = before.text
    edits: list[tuple[int, int, str | None, bool]] = [(*place, None, True) for place in before.marks]
    edits += [(*place, None, False) for place in before.cut]
    for place in places:
        left = without(place, before.cut) if before.cut else [place]
        if left:
            secret = "".join(text[start:end] for start, end in left)
            edits.append((*left[0], mark(as_one(secret)), True))
            edits += [(start, end, "", True) for start, end in left[1:]]
    parts: list[str] = []
    marks: list[Place] = []
    cut: list[Place] = []
    at = length = 0
    for start, end, instead, is_mark in sorted(edits, key=itemgetter(0, 1)):
        written = text[start:end] if instead is None else instead
        length += start - at
        if written:
            (marks if is_mark else cut).append((length, length + len(written)))
        parts += (text[at:start], written)
        length += len(written)
        at = end
    return _Text("".join((*parts, text[at:])), tuple(marks), tuple(cut))
