"""Host patterns as OpenSSH's known_hosts writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache


def host_matches(patterns: str, host: str, port: int, *, any_port: bool = False) -> bool:
    """Whether comma-separated ``patterns`` speak of the host: ``*`` and ``?`` stand for anything, ``!`` excludes.

    A port other than 22 is part of the name: ``[host]:port`` (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
    ``any_port``: the bare name speaks of every port of the host, as OpenSSH takes it where no line names the port.
    """
    names = [host.lower() if port == 22 else f"[{host.lower()}]:{port}"]
    if any_port and port != 22:
        names.append(host.lower())
    wanted, excluded = _patterns(patterns)
    if excluded is not None and any(excluded.fullmatch(name) for name in names):
        return False
    return wanted is not None and any(wanted.fullmatch(name) for name in names)


def is_plain(patterns: str) -> bool:
    """Whether they are names only, each standing for itself."""
    return not any(letter in patterns for letter in "*?!")


@lru_cache(maxsize=1024)
def _patterns(patterns: str) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
    """What is spoken of, and what is excluded."""
    words = [word.strip().lower() for word in patterns.split(",")]
    return (
        _any_of([word for word in words if word and not word.startswith("!")]),
        _any_of([word[1:] for word in words if word.startswith("!")]),
    )


def _any_of(words: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(_glob, words)), re.DOTALL) if words else None


def _glob(pattern: str) -> str:
    """Each star but the last one takes as little as it can and never gives back: no pattern takes long."""
    first, *others = (
        "".join("." if letter == "?" else re.escape(letter) for letter in part)
        for part in re.split(r"\*+", pattern)
    )
    if not others:
        return first
    return first + "".join(f"(?>.*?{part})" for part in others[:-1]) + f".*{others[-1]}"
