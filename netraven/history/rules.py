"""What a platform says of its outputs: which parts change by themselves, whose order says nothing, which are secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

from netraven.history.finder import Finder
from netraven.history.places import Place, merged, without
from netraven.history.secret_places import SecretPlaces
from netraven.platforms import Platform
from netraven.platforms.everywhere import secret_everywhere
from netraven.platforms.needs import Needs, needs_of


@dataclass(frozen=True, slots=True)
class Rules:
    """Made once for each platform. What is secret on every platform is secret here, whatever the platform says."""

    _volatile: Finder
    _unordered: Finder
    _secrets: Callable[[], SecretPlaces]
    """Made when something is first shown: a run compares only, and these are by far the most rules."""

    @classmethod
    def of(cls, platform: Platform, needs: Callable[[re.Pattern[str]], Needs] = needs_of) -> Rules:
        """``needs``: what is known of a pattern; it changes the time that things take, and nothing else."""
        return cls(
            Finder(platform.volatile, needs=needs),
            Finder(platform.unordered, needs=needs),
            cache(lambda: SecretPlaces(platform.secrets, secret_everywhere(), needs)),
        )

    def comparable(self, text: str) -> str:
        """The text without what changes by itself: two captures with the same one are the same version."""
        left = without((0, len(text)), self._volatile_places(text))
        return self._sorted("".join(text[start:end] for start, end in left))

    def shown(self, text: str, mark: Callable[[str], str], *, quiet: bool = False) -> str:
        """The text with ``mark(secret)`` in the place of each secret. ``quiet``: without what changes by itself.

        To show what was shown changes nothing: a mark is no secret.
        """
        volatile = self._volatile_places(text) if quiet else []
        shown = self._secrets().marked(text, mark, volatile)
        return self._sorted(shown) if quiet else shown

    def leaves_alone(self, text: str, lines: Iterable[str]) -> bool:
        """Whether it is plain that ``shown`` changes nothing on these lines of a text, nor their numbers; each comes
        with the line above it.
        """
        return self._secrets().leaves_alone(text, lines)

    def _volatile_places(self, text: str) -> list[Place]:
        found = merged(match.span() for _, match in self._volatile.find(text))
        return merged(_whole_line(text, start, end) for start, end in found)

    def _sorted(self, text: str) -> str:
        """The text with neighbours that match the same expression in the order of their characters."""
        kinds: dict[int, int] = {}
        start, end = 0, -1
        for number, match in self._unordered.find(text):
            if not start <= match.start() <= end:
                start, end = text.rfind("\n", 0, match.start()) + 1, text.find("\n", match.start())
                end = len(text) if end < 0 else end
            kinds[start] = min(number, kinds.get(start, number))
        if len(kinds) < 2:
            return text
        return _sorted_runs(text, kinds)


HIDDEN = "********"
"""In place of a secret where no mark is wanted: there is nothing to compare it with."""


@cache
def _for_all() -> Rules:
    return Rules.of(Platform("any"))


def without_secrets(said: str) -> str:
    """What a device said in passing, as it may stand in a message: the rules for all platforms know what is secret."""
    return _for_all().shown(said, lambda _: HIDDEN)


def _whole_line(text: str, start: int, end: int) -> Place:
    """With the line end, where nothing else stands on the line: no empty line is left."""
    if start and text[start - 1] != "\n":
        return start, end
    if end < len(text) and text[end] == "\n":
        return start, end if text[end - 1] == "\n" else end + 1
    return start, end


def _sorted_runs(text: str, kinds: dict[int, int]) -> str:
    """``kinds``: the number of the expression for each start of a line that matches one."""
    parts: list[str] = []
    run: list[str] = []
    at, kind, done = -1, -1, 0

    def end_run() -> None:
        if len(run) > 1:
            parts.append("\n".join(sorted(run)))
        else:
            parts.extend(run)

    for start in sorted(kinds):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        if start != at or kinds[start] != kind:
            end_run()
            parts.append(text[done:start])
            run = []
        run.append(text[start:end])
        at, kind, done = end + 1, kinds[start], end
    end_run()
    return "".join((*parts, text[done:]))
