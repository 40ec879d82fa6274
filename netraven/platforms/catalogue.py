"""The platforms that NetRaven knows, from their data files."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from netraven.errors import InputError
from netraven.platforms.model import Detection, Fact, Level, Output, Platform


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
    return _platform(name, tomllib.loads((_folder() / f"{name}.toml").read_text(encoding="utf-8")))


def _platform(name: str, data: Mapping[str, Any]) -> Platform:
    plain = {key: data[key] for key in _PLAIN if key in data}
    timeouts, telnet = data.get("timeouts", {}), data.get("telnet", {})
    return Platform(
        name=name,
        outputs={kind: _output(kind, said) for kind, said in data.get("outputs", {}).items()},
        on_open=tuple(data.get("on_open", ())),
        errors=tuple(data.get("errors", ())),
        pager=re.compile(data["pager"]) if "pager" in data else None,
        volatile=_patterns(data.get("volatile", ())),
        secrets=_patterns(data.get("secrets", ())),
        facts=tuple(
            Fact(fact, said["kind"], re.compile(said["pattern"], re.MULTILINE))
            for fact, said in data.get("facts", {}).items()
        ),
        levels=tuple(Level(**level) for level in data.get("levels", ())),
        detection=tuple(_detection(said) for said in data.get("detect", ())),
        command_timeout=timeouts.get("command"),
        login_timeout=timeouts.get("login"),
        telnet_login=telnet.get("login"),
        telnet_password=telnet.get("password"),
        telnet_refused=telnet.get("refused"),
        **plain,
    )


_PLAIN = ("title", "driver", "variant", "prompt", "level", "pager_key", "logout", "return_char", "tested")


def _output(kind: str, said: str | Mapping[str, str]) -> Output:
    return Output(kind, said) if isinstance(said, str) else Output(kind, said["command"], said.get("level"))


def _patterns(texts: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(text, re.MULTILINE) for text in texts)


def _detection(said: Mapping[str, Any]) -> Detection:
    patterns = {
        key: re.compile(said[key], re.MULTILINE) for key in ("banner", "prompt", "answer") if key in said
    }
    return Detection(command=said.get("command"), rank=said.get("rank", 100), **patterns)


def _folder() -> Path:
    """The data files; an installed package is a folder, never a zip archive."""
    return Path(__file__).parent / "data"
