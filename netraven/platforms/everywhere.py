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
        *(tuple(re.compile(p, re.MULTILINE) for p in data[key]) for key in ("secrets", "words", "harmless")),
        fillers=frozenset(data["fillers"]),
        values=frozenset(data["values"]),
    )
