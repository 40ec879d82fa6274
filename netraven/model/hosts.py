"""Host patterns as OpenSSH's known_hosts writes them."""

from __future__ import annotations

import re
from functools import lru_cache


def host_matches(patterns: str, host: str, port: int, *, any_port: bool = False) -> bool:
    """Whether comma-separated ``patterns`` speak of the host: ``*`` and ``?`` stand for anything, ``!`` excludes.

    A port other than 22 is part of the name: ``[host]:port`` (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
    ``any_port``: the bare name speaks of every port of the host, as OpenSSH takes it where no line names the port.
    """
    names = {host.lower() if port == 22 else f"[{host.lower()}]:{port}"}
    if any_port:
        names.add(host.lower())
    words = [word.strip().lower() for word in patterns.split(",") if word.strip()]
    if any(_glob(word[1:]).fullmatch(name) for word in words if word.startswith("!") for name in names):
        return False
    return any(_glob(word).fullmatch(name) for word in words if not word.startswith("!") for name in names)


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> re.Pattern[str]:
    collapsed = re.sub(r"\*+", "*", pattern)  # several in a row would be tried in every combination
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(letter, re.escape(letter)) for letter in collapsed), re.DOTALL)
