"""A device's shell without a network: what it prints arrives in the pieces that a test chooses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

from netraven.lab.dialects import DIALECTS
from netraven.lab.shell import Shell, on_wire
from netraven.model import Capture
from netraven.platforms import Platform, load_platform
from netraven.transport.channel import ShellChannel
from netraven.transport.session import ShellSession

Cut = Callable[[bytes], Iterable[bytes]]
"""How bytes are cut into pieces."""


_NEVER_TWO_AT_ONCE = 1e-6


def whole(data: bytes) -> Iterable[bytes]:
    return [data]


def each_byte(data: bytes) -> Iterable[bytes]:
    return [data[n : n + 1] for n in range(len(data))]


def at(*places: int) -> Cut:
    """Cut at these places, counted from the start of each answer."""

    def cut(data: bytes) -> Iterable[bytes]:
        edges = sorted({0, len(data), *(p for p in places if p < len(data))})
        return [data[a:b] for a, b in pairwise(edges)]

    return cut


class DirectShell:
    """Stands where asyncssh's channel stands: the lab's own shell answers, ``gap`` seconds between pieces.

    ``answer`` stands in for the lab's, where a device is to print something else.
    """

    def __init__(
        self,
        dialect: str,
        config: str,
        *,
        cut: Cut = whole,
        gap: float = 0.01,
        name: str = "r1",
        answer: Callable[[str], bytes] | None = None,
    ) -> None:
        self.channel = ShellChannel()
        self.typed: list[str] = []
        self._cut, self._gap = cut, gap
        self._shell = Shell(DIALECTS[dialect], name, "netops", config=lambda: (on_wire(config), True))
        self._answer = answer or (lambda line: self._shell.answer(line).text)
        self._due = 0.0
        self._line = b""
        self.paused = 0
        self.channel.connection_made(self)  # type: ignore[arg-type]  # as much of a channel as is used
        self._say(self._shell.greeting())

    def write(self, data: bytes) -> None:
        self._line += data
        while b"\n" in self._line:
            line, _, self._line = self._line.partition(b"\n")
            self.typed.append(line.decode())
            self._say(line + b"\r\n" + self._answer(line.decode()))

    def pause_reading(self) -> None:
        self.paused += 1

    def resume_reading(self) -> None:
        """Nothing was held back."""

    def _say(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._due = max(self._due, loop.time())
        for number, piece in enumerate(self._cut(data)):
            self._due += self._gap if number else _NEVER_TWO_AT_ONCE
            loop.call_at(self._due, self.channel.data_received, piece, None)


async def captured(dialect: str, config: str, *, enable: str | None = None, **how: Any) -> str:
    """What a session over a :class:`DirectShell` collects."""
    shell = DirectShell(dialect, config, **how)
    session = ShellSession(shell.channel, load_platform(dialect), command_timeout=1e6)
    captures: Sequence[Capture] = await session.capture(enable=enable)
    (capture,) = captures
    return capture.text


class ScriptedShell:
    """Any device: ``answer`` says what it prints for a line, ``keys`` (where it is not None) for single keys.

    The echo is part of what is printed where ``echo`` is set. ``keys`` returns None where no key is waited for.
    """

    def __init__(
        self,
        greeting: bytes,
        answer: Callable[[str], bytes],
        *,
        keys: Callable[[bytes], bytes | None] = lambda _: None,
        cut: Cut = whole,
        gap: float = 0.01,
        echo: bool = True,
    ) -> None:
        self.channel = ShellChannel()
        self.typed: list[str] = []
        self.pressed: list[bytes] = []
        self._answer, self._keys, self._cut, self._gap, self._echo = answer, keys, cut, gap, echo
        self._due = 0.0
        self._line = b""
        self.channel.connection_made(self)  # type: ignore[arg-type]  # as much of a channel as is used
        self.say(greeting)

    def write(self, data: bytes) -> None:
        answered = self._keys(data)
        if answered is not None:
            self.pressed.append(data)
            self.say(answered)
            return
        self._line += data
        while b"\n" in self._line:
            line, _, self._line = self._line.partition(b"\n")
            self.typed.append(line.rstrip(b"\r").decode())
            said = self._answer(self.typed[-1])
            self.say((line.rstrip(b"\r") + b"\r\n" if self._echo else b"") + said)

    def pause_reading(self) -> None:
        """Nothing is held back."""

    def resume_reading(self) -> None:
        """Nothing was held back."""

    def say(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._due = max(self._due, loop.time())
        for number, piece in enumerate(self._cut(data)):
            self._due += self._gap if number else _NEVER_TWO_AT_ONCE
            loop.call_at(self._due, self.channel.data_received, piece, None)


class Pages:
    """A device that pages: what it prints for ``command`` comes in pages, each after a key."""

    def __init__(self, pages: Sequence[bytes], *, pager: bytes, wipe: bytes, prompt: bytes = b"r1#") -> None:
        self._pages, self._pager, self._wipe, self._prompt = list(pages), pager, wipe, prompt
        self._left: list[bytes] = []

    def begin(self) -> bytes:
        self._left = list(self._pages)
        return self._next()

    def key(self, _: bytes) -> bytes | None:
        return self._wipe + self._next() if self._left else None

    def _next(self) -> bytes:
        page = self._left.pop(0)
        return page + (self._pager if self._left else self._prompt)


async def captured_from(shell: ScriptedShell, platform: Platform, **how: Any) -> str:
    session = ShellSession(shell.channel, platform, command_timeout=how.pop("command_timeout", 100.0), **how)
    (capture,) = await session.capture(enable=None)
    return capture.text
