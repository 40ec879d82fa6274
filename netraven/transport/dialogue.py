"""The dialogue with a device's shell: scrapli's channel over a connection that is open already.

scrapli's drivers know the prompts, privilege levels and paging commands of each platform; they speak through this
channel. It differs from scrapli's own in cost and in care: the end of an output is where the last line is a prompt
(scrapli looks for a prompt anywhere in the last kilobyte), nothing is searched twice, a command is one packet.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from scrapli.channel.async_channel import AsyncChannel
from scrapli.driver.network.base_driver import PrivilegeLevel
from scrapli.exceptions import ScrapliConnectionError, ScrapliPrivilegeError
from scrapli.transport.base import AsyncTransport
from scrapli.transport.base.base_transport import BasePluginTransportArgs, BaseTransportArgs

from netraven.errors import OutputIncomplete
from netraven.transport.channel import ShellChannel

_LONGEST_PROMPT = 256
_LONGEST_LINE = 4_096
"""The last line is looked for in this many bytes: a longer one is no prompt, and nothing is searched twice."""
_LONGEST_OUTPUT = 64 << 20
"""Bytes of one answer."""
_TERMINAL_CODE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-Z\\^-~])")
"""Escape sequences of ECMA-48. Their one-byte forms (0x9b ...) are left alone: in UTF-8 they are parts of letters."""
_GREETING_WAIT = 5.0
"""Seconds for the first prompt to come by itself before a return is sent to call for it."""
_QUIET = 0.5
"""Seconds without output after which a prompt is believed that does not stand below the echo of what was sent."""
_STILL = 2.0
"""The same where the output is what will be stored, also for a prompt that is not the one from before."""
_SURE = 0.2
"""The same for the very prompt from before, where the output is what will be stored: a banner may quote it."""
_ECHO_REACH = 4_096
"""The echo is looked for in this many bytes."""
_ECHO_LINES = 6
"""And in this many lines: a prompt that was late may stand above it."""


class OpenTransport(AsyncTransport):
    """scrapli's transport, in name only: the connection was opened and logged in by ``transport.ssh``."""

    def __init__(
        self, base_transport_args: BaseTransportArgs, plugin_transport_args: BasePluginTransportArgs
    ) -> None:
        super().__init__(base_transport_args)
        self.shell: ShellChannel | None = None

    async def open(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do: who opened the connection closes it."""

    def isalive(self) -> bool:
        return self.shell is not None and not self.shell.ended

    async def read(self) -> bytes:
        return await self.open_shell().read()

    def write(self, channel_input: bytes) -> None:
        self.open_shell().write(channel_input)

    def open_shell(self) -> ShellChannel:
        if self.shell is None:
            raise ScrapliConnectionError("the session is not open")
        return self.shell


class Dialogue(AsyncChannel):
    """One line out, everything up to the next prompt in."""

    transport: OpenTransport
    prompt: bytes = b""
    """The prompt that was seen last; empty while something was written whose answer has not been read."""

    def write(self, channel_input: str, redacted: bool = False) -> None:
        self.prompt = b""
        self.transport.write(channel_input.encode())

    async def get_prompt(self) -> str:
        """The device's prompt as it stands; the first one ends the greeting."""
        if not self.prompt:
            try:
                async with asyncio.timeout(_GREETING_WAIT):
                    await self.until_prompt()
            except TimeoutError:
                self.send_return()
                await self.until_prompt()
                await self._settle()  # the greeting's own prompt may come as well, and answers no command
        return self.prompt.decode("utf-8", "replace")

    async def send_input(
        self, channel_input: str, *, strip_prompt: bool = True, eager: bool = False, eager_input: bool = False
    ) -> tuple[bytes, bytes]:
        """scrapli's verb for :meth:`command`; the prompt is never part of what is returned."""
        output = await self.command(channel_input)
        return output, output

    async def send_inputs_interact(self, *args: Any, **kwargs: Any) -> tuple[bytes, bytes]:
        raw, processed = await super().send_inputs_interact(*args, **kwargs)
        self.prompt = _plain(raw[_last_line(raw) :]).strip()
        return raw, processed

    async def _read_until_prompt(self, buf: bytes = b"") -> bytes:
        text = await self.until_prompt()
        return buf + text + self.prompt

    async def command(self, line: str, *, careful: bool = False) -> bytes:
        """Send ``line``; returns its output without echo, prompt and terminal codes, lines ended by ``\\n``.

        ``careful``: another prompt than the one that stood before is believed only once the device is quiet.
        """
        expected = self.prompt if careful else b""
        shell = self.transport.open_shell()
        shell.discard()
        shell.write(f"{line}{self._base_channel_args.comms_return_char}".encode())
        raw = await self.until_prompt(below=line, expected=expected)
        return _without_echo(raw, line, self.prompt)

    async def _settle(self) -> None:
        shell = self.transport.open_shell()
        while not await shell.quiet(_QUIET):
            shell.discard()

    async def escalate(self, level: PrivilegeLevel, secret: str) -> None:
        """Ask for a privilege level; the secret is offered once, to that level's own question only.

        Raises ``ScrapliPrivilegeError`` where the device asks and there is no secret, or asks again.
        """
        asked = re.compile(level.escalate_prompt.encode(), re.IGNORECASE | re.MULTILINE)
        shell = self.transport.open_shell()
        shell.discard()
        shell.write(f"{level.escalate}{self._base_channel_args.comms_return_char}".encode())
        if not await self._prompt_or(asked, shell, below=level.escalate):
            return
        if not secret:
            raise ScrapliPrivilegeError("the device asks for an enable secret and the credential has none")
        shell.write(f"{secret}{self._base_channel_args.comms_return_char}".encode())
        if await self._prompt_or(asked, shell) or not re.search(
            level.pattern.encode(), self.prompt, re.IGNORECASE | re.MULTILINE
        ):
            raise ScrapliPrivilegeError("the device refused the enable secret")

    async def _prompt_or(self, asked: re.Pattern[bytes], shell: ShellChannel, *, below: str = "") -> bool:
        """Read up to a prompt below the line that was sent (False) or up to the question ``asked`` (True)."""
        buffer = bytearray()
        while True:
            buffer += await shell.read()
            _bounded(buffer)
            start = _last_line(buffer)
            if not start or len(buffer) - start > _LONGEST_PROMPT or shell.pending:
                continue
            line = _plain(bytes(buffer[start:]))
            if not line.strip():
                continue
            if asked.search(line):
                return True
            if self._is_prompt(line.strip()) and (_echoed(buffer, below) or await shell.quiet(_QUIET)):
                self.prompt = line.strip()
                return False

    async def until_prompt(self, *, below: str = "", expected: bytes = b"") -> bytes:
        """Read until the last line is a prompt; returns what came before it.

        ``below``: what was sent; the prompt must stand below its echo, or below a line end and be followed by quiet.
        ``expected``: the prompt that the device should show; another one must be followed by more of it.
        """
        shell = self.transport.open_shell()
        buffer = bytearray()
        while True:
            buffer += await shell.read()
            _bounded(buffer)
            start = _last_line(buffer)
            if (below and not start) or not 0 < len(buffer) - start <= _LONGEST_PROMPT:
                continue
            line = _plain(bytes(buffer[start:])).strip()
            if not line or not (line in (self.prompt, expected) or self._is_prompt(line)):
                continue
            sure = _echoed(buffer, below) and (not expected or line == expected)
            doubt = (_SURE if expected else 0.0) if sure else _STILL if expected else _QUIET
            if shell.pending or (doubt and not await shell.quiet(doubt)):
                continue  # more comes behind what looks like a prompt
            self.prompt = line
            return bytes(buffer[:start])

    def _is_prompt(self, line: bytes) -> bool:
        pattern: re.Pattern[bytes] = self._get_prompt_pattern(self._base_channel_args.comms_prompt_pattern)
        return pattern.search(line) is not None


def _bounded(buffer: bytearray) -> None:
    if len(buffer) > _LONGEST_OUTPUT:
        raise OutputIncomplete(f"more than {_LONGEST_OUTPUT >> 20} MiB without a prompt: given up")


def _last_line(text: bytes | bytearray) -> int:
    """Where the last line starts; 0 where it is longer than any prompt."""
    reach = max(0, len(text) - _LONGEST_LINE)
    return max(text.rfind(b"\n", reach), text.rfind(b"\r", reach)) + 1


def _plain(text: bytes) -> bytes:
    return _TERMINAL_CODE.sub(b"", text) if b"\x1b" in text else text


def _squeezed(text: bytes) -> bytes:
    return b"".join(text.split())


def _echoed(text: bytes | bytearray, line: str) -> bool:
    """Whether ``text`` begins with the echo of ``line``, however the device spaces it."""
    return _squeezed(line.encode()) in _squeezed(_plain(bytes(text[:_ECHO_REACH])))


def _without_echo(raw: bytes, line: str, prompt: bytes) -> bytes:
    """Without the first line, where it holds the echo, or down to the first that is ``prompt`` and echo."""
    text = _plain(raw).replace(b"\r\r\n", b"\n").replace(b"\r\n", b"\n").replace(b"\r", b"")
    echo = _squeezed(line.encode())
    lines = text.split(b"\n", _ECHO_LINES)
    if echo in _squeezed(lines[0]):
        return text[len(lines[0]) + 1 :]
    for number, candidate in enumerate(lines[1:_ECHO_LINES], 1):
        if _squeezed(candidate) == _squeezed(prompt) + echo:
            return b"\n".join(lines[number + 1 :])
    return text


def over_open_connection(driver: type[Any]) -> type[Any]:
    """A scrapli driver class that speaks over a connection which is open already."""

    class OverOpenConnection(driver):  # type: ignore[misc]  # the base is chosen by platform
        def _transport_factory(self) -> tuple[type[OpenTransport], BasePluginTransportArgs]:
            return OpenTransport, BasePluginTransportArgs()

        async def _escalate(self, escalate_priv: PrivilegeLevel) -> None:
            if not escalate_priv.escalate_auth:
                await self.channel.command(escalate_priv.escalate)
                return
            await self.channel.escalate(escalate_priv, self.auth_secondary)

        def update_privilege_levels(self) -> None:
            self._build_priv_graph()
            self._generate_comms_prompt_pattern()
            self.channel.comms_prompt_pattern = self.comms_prompt_pattern

        def _determine_current_priv(self, current_prompt: str) -> list[str]:
            # scrapli caches this by driver object, which keeps the sessions of finished devices alive
            found = [
                level.name
                for level in self.privilege_levels.values()
                if re.search(level.pattern, current_prompt, re.IGNORECASE | re.MULTILINE)
                and not any(word in current_prompt for word in level.not_contains)
            ]
            if not found:
                raise ScrapliPrivilegeError("the prompt is none that the platform knows")
            return found

    return OverOpenConnection
