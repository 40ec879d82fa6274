"""The platforms that NetRaven knows, from their data files."""

from __future__ import annotations

import difflib
import tomllib
from functools import lru_cache
from pathlib import Path

from netraven.errors import InputError
from netraven.platforms.model import RUNNING, Output, Platform


@lru_cache(maxsize=1)
def known_platforms() -> tuple[str, ...]:
    """Every platform name, sorted."""
    return tuple(sorted(file.stem for file in _folder().glob("*.toml")))


@lru_cache
def load_platform(name: str) -> Platform:
    """Raise ``InputError`` that names the closest platform for an unknown ``name``."""
    if name not in known_platforms():
        close = difflib.get_close_matches(name, known_platforms(), n=1, cutoff=0.5)
        hint = f", did you mean {close[0]!r}?" if close else f". Known are: {', '.join(known_platforms())}"
        raise InputError(f"unknown platform {name!r}{hint}")
    data = tomllib.loads((_folder() / f"{name}.toml").read_text(encoding="utf-8"))
    return Platform(
        name=name,
        driver=data.get("driver", name),
        outputs={RUNNING: Output(RUNNING, data["config"])} if "config" in data else {},
        errors=tuple(data.get("errors", ())),
    )


def _folder() -> Path:
    """The data files; an installed package is a folder, never a zip archive."""
    return Path(__file__).parent / "data"
