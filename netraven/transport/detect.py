"""``platform = auto``: look at what the device shows, and ask it a few harmless commands where that is not enough."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from scrapli.channel.base_channel import BaseChannelArgs
from scrapli.transport.base.base_transport import BasePluginTransportArgs, BaseTransportArgs

from netraven.errors import PlatformUnknown
from netraven.plain import plain_line
from netraven.platforms.detection import Ask, Seen, decide
from netraven.platforms.model import Platform
from netraven.transport.dialogue import Dialogue, OpenTransport
from netraven.transport.questions import SECRET, USERNAME, Pager, greeting_answer
from netraven.transport.screen import last_line, line_above, printed, shown
from netraven.transport.shell import Shell

_QUIET = 1.0
"""Seconds without output after which the last line is taken for the first prompt."""
_SILENT = 5.0
"""Seconds without output after which a return is sent to call for a prompt."""
_MOST_GREETING = 256 << 10
"""Bytes of a greeting."""
_LONGEST_PROMPT = 256
_PROMPT = re.compile(rb"^\S.{0,120}[#>$%\]]$|^[#>$%]$")
"""What prompts look like."""
_CONFIGURING = re.compile(
    r"\((?:conf|candidate|ex\b|ex:|pr\b|gl\b)|^\[edit|^\[[~*]", re.MULTILINE | re.IGNORECASE
)
"""Prompts of configuration modes: nothing is typed there."""
_NOTHING = r"(?!)"
"""The pattern of no prompt: the very one that was seen is waited for."""
_DOUBLE_PROMPT = re.compile(rb"^(?:\{[\w:]+\}|--\{.*\}--\[.*\]--|[!*]?(?:\(\w+\))?\[.*\])$")
"""The first line of prompts that have two: Junos, SR Linux, SR OS."""


async def detect(shell: Shell, candidates: Sequence[Platform], *, hints: str = "") -> tuple[Platform, str]:
    """The platform, and the prompt at which the device stands. Raises ``PlatformUnknown`` where none fits.

    ``hints``: the SSH version string and the banner. Never types anything in a configuration mode, never a secret.
    """
    greeting, prompt = await _first_prompt(shell)
    seen = Seen(f"{hints}\n{greeting}", prompt)
    dialogue = _dialogue(shell, prompt)
    while True:
        decision = decide(candidates, seen)
        if isinstance(decision, Platform):
            return decision, prompt
        if not isinstance(decision, Ask):
            among = f" It may be any of {', '.join(decision.among)}." if decision.among else ""
            raise PlatformUnknown(
                f"no platform fits. {_told(seen)}.{among} Set the device's platform by hand"
            )
        if _CONFIGURING.search(prompt):
            raise PlatformUnknown(
                f"the login landed in a configuration mode ({plain_line(prompt)}): nothing was typed"
            )
        answer = await dialogue.command(decision.command)
        text = answer.decode("utf-8", "surrogateescape")
        seen = Seen(seen.greeting, prompt, {**seen.answers, decision.command: text})


def _told(seen: Seen) -> str:
    asked = ", ".join(repr(command) for command in seen.answers)
    return f"Its prompt is {plain_line(seen.prompt)!r}" + (f", asked were {asked}" if asked else "")


async def _first_prompt(shell: Shell) -> tuple[str, str]:
    data = bytearray()
    called = False
    while len(data) < _MOST_GREETING:
        try:
            async with asyncio.timeout(None if called else _SILENT):
                data += await shell.read()
        except TimeoutError:
            called = True
            shell.write(b"\n")
            continue
        start = last_line(data)
        line = shown(bytes(data[start:]))
        if not line or len(line) > _LONGEST_PROMPT or not await shell.quiet(_QUIET):
            continue
        key = greeting_answer(line, b"\n") or Pager().key(line)
        if key is not None:
            shell.write(key)
        elif SECRET.search(line) or USERNAME.search(line):
            raise PlatformUnknown(
                f"the device asks again who logs in ({plain_line(line.decode('utf-8', 'replace'))})"
            )
        elif _PROMPT.search(line):
            return _parted(data, start, line)
    raise PlatformUnknown("the device's greeting does not end")


def _parted(data: bytearray, start: int, line: bytes) -> tuple[str, str]:
    before = line_above(data, start)
    above = shown(bytes(data[before:start]))
    if _DOUBLE_PROMPT.search(above):
        start, line = before, above + b"\n" + line
    greeting = printed(bytes(data[:start])).decode("utf-8", "surrogateescape")
    return greeting, line.decode("utf-8", "surrogateescape")


def _dialogue(shell: Shell, prompt: str) -> Dialogue:
    transport = OpenTransport(_transport_args(), BasePluginTransportArgs())
    transport.shell = shell
    channel = Dialogue(transport, BaseChannelArgs(comms_prompt_pattern=_NOTHING))
    channel.knows(prompt)
    return channel


def _transport_args() -> BaseTransportArgs:
    return BaseTransportArgs(transport_options={}, host="device", port=22)
