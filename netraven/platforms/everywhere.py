"""What is secret in the output of any device: ``secrets.toml`` beside this file, for every platform there is."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Everywhere:
    """All of it is for a text in small letters. See the file for what each is."""

    secrets: tuple[re.Pattern[str], ...]
    words: tuple[re.Pattern[str], ...]
    harmless: tuple[re.Pattern[str], ...]
    fillers: frozenset[str]
    values: frozenset[str]


@cache
def secret_everywhere() -> Everywhere:
    """Read once."""
    data = tomllib.loads(Path(__file__).with_name("secrets.toml").read_text(encoding="utf-8"))
    return Everywhere(
        secrets=_compiled(data["secrets"]),
        words=_compiled(data["words"]),
        harmless=_compiled([_to_the_next_word(pattern) for pattern in data["harmless"]]),
        fillers=frozenset(data["fillers"]),
        values=frozenset(data["values"]),
    )


_REST = r"[^\n]*"
_WORD = r" (?:password|passwd|passphrase|secret|psk|(?:[a-z]+-)*(?:auth|authentication|private|shared)-key) "
_TO_THE_NEXT_WORD = rf"(?:(?!{_WORD})[^\n])*"
"""The rest of a line in which all settings of something stand (``set`` formats, XML): not into the next one."""


def _to_the_next_word(pattern: str) -> str:
    return pattern.removesuffix(_REST) + _TO_THE_NEXT_WORD if pattern.endswith(_REST) else pattern


def _compiled(patterns: list[str]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.MULTILINE) for pattern in patterns)
