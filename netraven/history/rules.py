"""What a platform says of its outputs: which parts change by themselves, and which are secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from netraven.platforms import Platform


@dataclass(frozen=True, slots=True)
class Rules:
    """Compiled once for each platform."""

    volatile: tuple[re.Pattern[str], ...] = ()
    secrets: tuple[re.Pattern[str], ...] = ()

    @classmethod
    def of(cls, platform: Platform) -> Rules:
        return cls(platform.volatile, platform.secrets)

    def comparable(self, text: str) -> str:
        """The text without what changes by itself: two captures with the same one are the same version."""
        for pattern in self.volatile:
            text = pattern.sub("", text)
        return text

    def shown(self, text: str, mark: Callable[[str], str], *, quiet: bool = False) -> str:
        """The text with ``mark(secret)`` in the place of each secret. ``quiet``: without what changes by itself."""
        for start, end in sorted(self._secret_places(text), reverse=True):
            text = text[:start] + mark(text[start:end]) + text[end:]
        return self.comparable(text) if quiet else text

    def _secret_places(self, text: str) -> Iterable[tuple[int, int]]:
        return {match.span("secret") for pattern in self.secrets for match in pattern.finditer(text)}
