"""Where a secret is kept, written as one line: ``env:NAME``, ``file:PATH``, ``command:ARGV...``, ``vault:PATH#FIELD``,
``agent:KEY``.

This module only understands the line. What reads the secret is ``netraven.sources``.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from netraven.errors import InputError
from netraven.plain import plain_line

FORMS = "env:NAME, file:PATH, command:PROGRAM ARGUMENTS..., vault:PATH#FIELD, agent:KEY"
LONGEST = 4096
"""Characters of a source; no path and no command that a person writes is longer."""


@dataclass(frozen=True, slots=True)
class EnvironmentVariable:
    name: str


@dataclass(frozen=True, slots=True)
class SecretFile:
    path: str


@dataclass(frozen=True, slots=True)
class Command:
    """A program and its arguments; no shell stands between."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VaultField:
    """One field of a secret in a KV v2 engine; ``path`` without the engine's mount."""

    path: str
    field: str = "password"


@dataclass(frozen=True, slots=True)
class AgentKey:
    """A key that the ssh agent holds: its ``SHA256:`` fingerprint or its comment; empty for any."""

    name: str = ""


Place = EnvironmentVariable | SecretFile | Command | VaultField | AgentKey


def parse_source(source: str) -> Place:
    """Raise ``InputError``, which says what is wrong with it, for a line that is no source."""
    kind, colon, rest = source.partition(":")
    if not colon or kind not in _PARSERS:
        close = difflib.get_close_matches(kind, _PARSERS, n=1) if colon else ()
        hint = f", did you mean {close[0]}:?" if close else ""
        raise InputError(f"{plain_line(source, 60)!r} is no source of a secret{hint}. There are: {FORMS}")
    if len(source) > LONGEST or not source.isprintable():
        raise InputError(
            f"a source is one line of at most {LONGEST} characters, without any that cannot be seen"
        )
    return _PARSERS[kind](rest)


def _variable(text: str) -> EnvironmentVariable:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        raise InputError(f"env:NAME takes the name of an environment variable, not {plain_line(text, 60)!r}")
    return EnvironmentVariable(text)


def _file(text: str) -> SecretFile:
    if not text.strip() or text.endswith("/"):
        raise InputError("file:PATH takes the path of a file")
    return SecretFile(text)


def _command(text: str) -> Command:
    try:
        argv = shlex.split(text)
    except ValueError as error:
        raise InputError(f"command: cannot be split into words: {str(error).lower()}") from None
    if not argv or not argv[0]:
        raise InputError("command:PROGRAM ARGUMENTS... takes a program to run")
    return Command(tuple(argv))


def _vault(text: str) -> VaultField:
    path, mark, field = text.partition("#")
    path = path.strip("/")
    if not path or any(part in ("", ".", "..") for part in path.split("/")) or "?" in path:
        raise InputError(
            "vault:PATH#FIELD takes the path of a secret, without the engine's mount: vault:network/tacacs#password"
        )
    if mark and (not field or "#" in field):
        raise InputError("vault:PATH#FIELD takes the name of one field after the #")
    return VaultField(path, field) if mark else VaultField(path)


_PARSERS: dict[str, Callable[[str], Place]] = {
    "env": _variable,
    "file": _file,
    "command": _command,
    "vault": _vault,
    "agent": lambda text: AgentKey(text.strip()),
}
