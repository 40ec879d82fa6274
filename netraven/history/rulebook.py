"""The rules of each platform, compiled once."""

from __future__ import annotations

import contextlib
import hashlib

from netraven.errors import InputError
from netraven.history.rules import Rules
from netraven.platforms import Catalogue


class RuleBook:
    """Reads platforms from ``catalogue`` when they are first asked for."""

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        self._catalogue = catalogue or Catalogue()
        self._rules: dict[str, Rules] = {}

    def of(self, platform: str) -> Rules:
        """Raises ``InputError`` where the platform is not known: what is secret in its texts is not, either."""
        found = self._rules.get(platform)
        if found is None:
            found = self._rules[platform] = Rules.of(self._catalogue.load(platform))
        return found

    def digest(self, platform: str, text: str) -> bytes:
        """SHA-256 of what makes a version: the text without what changes by itself.

        Of a platform that is not known nothing is taken away: at worst there is a version too many.
        """
        with contextlib.suppress(InputError):
            text = self.of(platform).comparable(text)
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
