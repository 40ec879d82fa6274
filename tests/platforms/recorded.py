"""A recorded dialogue with a device of one platform: the file's format, and a device that plays it.

A file ``dialogues/NAME.txt`` is read line by line:

====================  ==============================================================================================
``# text``            a remark
``: key value``       what the file states, see :class:`Recorded`
``< text``            the device prints this line; ``< text\\`` prints it without a line end (a prompt, a question),
                      ``< text\\\\`` is a line that ends in a backslash
``> text``            we type this line, and the device echoes it
``>* text``           we type this line, and the device shows nothing (a password)
====================  ==============================================================================================

What stands before the first ``>`` is the greeting. ``: rejected`` says that the next exchange is of a command which
the device rejects. Every exchange but that one must happen, in the order of the file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from netraven.platforms import Platform
from netraven.transport.channel import ShellChannel
from tests.transport.shells import Cut, whole

FOLDER = Path(__file__).parent / "dialogues"
_LINE_END = "\r\n"
_GAP = 0.001
"""Seconds between two pieces."""


class DialogueFault(Exception):
    """The file is not in the format."""


@dataclass
class Exchange:
    """A line that we type, and everything that the device prints upon it but the echo."""

    typed: str
    echoed: bool = True
    answer: str = ""
    prompt_lines: int = 1

    @property
    def output(self) -> str:
        """The answer as it should be captured: without the prompt below it, without empty lines around it."""
        return self.answer.rsplit(_LINE_END, self.prompt_lines)[0].replace(_LINE_END, "\n").strip("\n") + "\n"


@dataclass
class Recorded:
    """A dialogue file."""

    greeting: str = ""
    exchanges: list[Exchange] = field(default_factory=list)
    rejected: Exchange | None = None
    facts: dict[str, str] = field(default_factory=dict)
    """``: fact NAME VALUE``"""
    secrets: set[str] = field(default_factory=set)
    """``: secret TEXT``: the platform's patterns find these and nothing else. ``\\n`` stands for a line end."""
    enable: str | None = None
    """``: enable TEXT``: the enable secret that the credential has."""
    prompt_lines: int = 1
    """``: prompt_lines N``: of how many lines the prompt is."""
    pager: str | None = None
    """``: pager TEXT\\\\``: what the device shows where it waits for a key (the backslash only shows where it ends)."""
    banner: str = ""
    """``: banner TEXT``: the version string of the device's SSH server."""

    def opening(self, platform: Platform) -> list[Exchange]:
        """What is typed before the first of the outputs."""
        commands = {output.command for output in platform.outputs.values()}
        first = next(n for n, exchange in enumerate(self.exchanges) if exchange.typed in commands)
        return self.exchanges[:first]

    def answer_to(self, command: str) -> Exchange | None:
        """What the device printed upon ``command``."""
        return next((exchange for exchange in self.exchanges if exchange.typed == command), None)

    @property
    def first_prompt(self) -> str:
        return self.greeting.rpartition("\n")[2].strip()


def recorded(name: str) -> Recorded:
    """The dialogue of platform ``name``. Raises ``DialogueFault`` and ``FileNotFoundError``."""
    found, current, rejects = Recorded(), None, False
    for number, line in enumerate((FOLDER / f"{name}.txt").read_text(encoding="utf-8").split("\n"), 1):
        sign, _, text = line.partition(" ")
        if sign == "<":
            unfinished = text.endswith("\\") and not text.endswith("\\\\")
            said = (
                text[:-1]
                if unfinished
                else text.removesuffix("\\\\") + "\\" * text.endswith("\\\\") + _LINE_END
            )
            if current is None:
                found.greeting += said
            else:
                current.answer += said
        elif sign in (">", ">*"):
            current = Exchange(text, echoed=sign == ">", prompt_lines=found.prompt_lines)
            if rejects:
                found.rejected, rejects = current, False
            else:
                found.exchanges.append(current)
        elif sign == ":":
            rejects = _stated(found, text, f"{name}.txt:{number}") or rejects
        elif line and sign != "#":
            raise DialogueFault(
                f"{name}.txt:{number}: a line begins with one of # : < > >*, not with {sign!r}"
            )
    return found


def _stated(found: Recorded, text: str, where: str) -> bool:
    """Take what a line ``: key value`` states; whether it announces the rejected command."""
    key, _, value = text.partition(" ")
    if key == "fact":
        name, _, value = value.partition(" ")
        found.facts[name] = value
    elif key == "secret":
        found.secrets.add(value.replace("\\n", "\n"))
    elif key == "prompt_lines":
        found.prompt_lines = int(value)
    elif key in ("enable", "banner", "pager"):
        setattr(found, key, value.removesuffix("\\"))
    elif key != "rejected":
        raise DialogueFault(
            f"{where}: {key!r} is none of fact, secret, enable, pager, prompt_lines, banner, rejected"
        )
    return key == "rejected"


class UnexpectedLine(AssertionError):
    """The collector typed what the recorded dialogue does not have at this place."""


@dataclass(frozen=True)
class Pages:
    """How the device asks for a key in the middle of an output."""

    pager: str
    key: str


def _first_page(said: str) -> tuple[str, str]:
    """Half of the lines, and the others."""
    lines = said.splitlines(keepends=True)
    half = len(lines) // 2
    return ("".join(lines[:half]), "".join(lines[half:])) if half > 2 else (said, "")


class RecordedShell:
    """Stands where asyncssh's channel stands and answers as recorded: ``opening`` in its order, then any ``answers``.

    Any other line is an error, but for ``logout`` behind all of them, which ends the session.
    """

    def __init__(
        self,
        greeting: str,
        opening: list[Exchange],
        answers: Callable[[str], Exchange | None],
        logout: str | None = None,
        pages: Pages | None = None,
        cut: Cut = whole,
    ) -> None:
        self.channel = ShellChannel()
        self.typed: list[str] = []
        self.turned = 0
        self._cut, self._due = cut, 0.0
        self._pages, self._unseen = pages, ""
        self.unexpected: UnexpectedLine | None = None
        self._opening, self._answers, self._logout = iter(opening), answers, logout
        self._line = b""
        self.channel.connection_made(self)  # type: ignore[arg-type]  # as much of a channel as is used
        self._say(greeting)

    def write(self, data: bytes) -> None:
        if self._unseen:
            self._turn(data)
            return
        self._line += data
        while b"\n" in self._line:
            line, _, self._line = self._line.partition(b"\n")
            self._answer(line.rstrip(b"\r").decode())

    def _answer(self, line: str) -> None:
        due = next(self._opening, None)
        if due is None and line == self._logout:
            self.channel.connection_lost(None)
            return
        self.typed.append(line)
        exchange = due or self._answers(line)
        if exchange is None or exchange.typed != line:
            expected = f"{due.typed!r} was due" if due else "no such command is recorded"
            self.unexpected = UnexpectedLine(
                f"the collector typed {line!r}, but {expected}; before: {self.typed[:-1]}"
            )
            self.channel.connection_lost(None)
            return
        said = (line + _LINE_END if exchange.echoed else _LINE_END) + exchange.answer
        if due is None and self._pages is not None:
            said, self._unseen = _first_page(said)
            said += self._pages.pager if self._unseen else ""
        self._say(said)

    def _turn(self, key: bytes) -> None:
        """The key that the device waits for wipes the pager away and brings all the rest."""
        if self._pages is None or key.decode() != self._pages.key:
            self.unexpected = UnexpectedLine(f"the collector sent {key!r} to the pager")
            self.channel.connection_lost(None)
            return
        self.turned += 1
        wiped = "\r" + " " * len(self._pages.pager) + "\r"
        rest, self._unseen = self._unseen, ""
        self._say(wiped + rest)

    def pause_reading(self) -> None:
        """Nothing more comes by itself."""

    def resume_reading(self) -> None:
        """Nothing was held back."""

    def _say(self, text: str) -> None:
        loop = asyncio.get_running_loop()
        self._due = max(self._due, loop.time())
        for piece in self._cut(text.encode("utf-8", "surrogateescape")):
            self._due += _GAP
            loop.call_at(self._due, self.channel.data_received, piece, None)
