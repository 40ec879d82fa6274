"""What each dialect keeps secret: texts in ``secrets/NAME.txt``.

A file is a piece of a configuration. What stands in «guillemets» is a secret that must never be shown, and differs
from every other unless it is the same one. A line without any must be shown as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "secrets"
_CANARY = re.compile("«([^»]+)»")


@dataclass(frozen=True)
class Case:
    marked: str
    """The file as it is."""

    @property
    def text(self) -> str:
        return _CANARY.sub(r"\1", self.marked)

    @property
    def canaries(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_CANARY.findall(self.marked)))

    def with_another(self, canary: str) -> str:
        """The text with a letter or digit of one secret changed."""
        at = next(n for n in reversed(range(len(canary))) if canary[n].isalnum())
        other = (
            "b" if canary[at] == "a" else "8" if canary[at] == "7" else "7" if canary[at].isdigit() else "a"
        )
        changed = canary[:at] + other + canary[at + 1 :]
        return _CANARY.sub(r"\1", self.marked.replace(f"«{canary}»", f"«{changed}»"))


def secret_case(name: str) -> Case:
    """The case of platform ``name``. Raises ``FileNotFoundError``."""
    return Case((FOLDER / f"{name}.txt").read_text(encoding="utf-8"))
