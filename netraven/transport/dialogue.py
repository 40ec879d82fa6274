"""scrapli's channel, spoken by us: one line out, everything up to the next prompt in.

scrapli's drivers know the prompts, privilege levels and paging commands of each platform; they speak through this
channel. It differs from scrapli's own in cost and in care: the end of an output is where the last line is a prompt
(scrapli looks for a prompt anywhere in the last kilobyte), nothing is searched twice, a command is one packet.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from functools import lru_cache
from logging import LoggerAdapter, getLogger
from typing import Any, NamedTuple

from scrapli.channel.async_channel import AsyncChannel
from scrapli.channel.base_channel import BaseChannelArgs
from scrapli.driver.network.base_driver import PrivilegeLevel
from scrapli.exceptions import ScrapliConnectionError, ScrapliPrivilegeError
from scrapli.transport.base import AsyncTransport
from scrapli.transport.base.base_transport import BasePluginTransportArgs, BaseTransportArgs

from netraven.errors import OutputTooLong
from netraven.plain import plain_line
from netraven.transport.questions import SECRET, USERNAME, Pager, greeting_answer
from netraven.transport.screen import Page, echoed, last_line, line_above, printed, shown, without_echo
from netraven.transport.shell import Shell

_LONGEST_PROMPT = 256
_GREETING_WAIT = 5.0
"""Seconds for the first prompt to come by itself before a return is sent to call for it."""
_GREETED = 0.1
"""Seconds without output after which the first prompt is believed: a banner's lines come closer together."""
_QUIET = 0.5
"""Seconds without output after which a prompt is believed that does not stand below the echo of what was sent."""
_STILL = 2.0
"""The same where the output is what will be stored, also for a prompt that is not the one from before."""
_SURE = 0.2
"""The same for the very prompt from before, where the output is what will be stored: a banner may quote it."""
_MOST_DOUBTS = 3
"""So often is a return sent, within one answer, to see whether another prompt than expected is one."""
_STEP = 1 / 64
"""Of the time that a device may be silent: how finely it is measured."""
_NEW_PAGER = 1.0
"""Seconds without output after which a usual pager's text is believed where it was not met before."""
_OWN_PAGER = 0.5
"""The same where the platform says that there is one."""
_PAGER = 0.03
"""The same for the pager that the device has shown before."""
_NUMBER = re.compile(rb"\d+")
"""Pagers count lines, pages or percents."""
_MOST_PAGES = 100_000
"""Of one answer: a pager that comes again and again with nothing between is no output."""


class OpenTransport(AsyncTransport):
    """scrapli's transport, in name only: the connection was opened and logged in by a transport of ours."""

    def __init__(
        self, base_transport_args: BaseTransportArgs, plugin_transport_args: BasePluginTransportArgs
    ) -> None:
        super().__init__(base_transport_args)
        self.shell: Shell | None = None

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

    def open_shell(self) -> Shell:
        if self.shell is None:
            raise ScrapliConnectionError("the session is not open")
        return self.shell


@dataclass(slots=True)
class Heard:
    """What a device has said since the last line that was sent."""

    below: str = ""
    """What was sent; a prompt must stand below its echo, or below a line end and be followed by quiet."""
    expected: bytes = b""
    """The prompt that the device should show; another one must be followed by more of it."""
    question: re.Pattern[bytes] | None = None
    """What may stand in place of a prompt."""
    data: bytearray = field(default_factory=bytearray)
    pages: list[Page] = field(default_factory=list)
    doubts: int = 0
    """Returns that were sent to see whether a prompt is one; each is answered by one more prompt."""
    doubted: int = 0
    """How much had arrived when the last of them was sent, behind a prompt that began at ``doubtful``."""
    doubtful: int = 0
    start: int = 0
    """Where the prompt or question began that ended it."""
    asked: bool = False
    """Whether it ended in the question."""

    def text(self) -> bytes:
        """All before the prompt."""
        return bytes(self.data[: self.start])


class _Ending(NamedTuple):
    """What the last line may be."""

    kind: str
    line: bytes
    start: int
    doubt: float
    """Seconds of quiet after which it is believed."""
    key: bytes = b""


class Dialogue(AsyncChannel):
    """One line out, everything up to the next prompt in."""

    transport: OpenTransport
    logger = LoggerAdapter(getLogger("scrapli.channel"), {})
    prompt: bytes = b""
    """The prompt that was seen last; empty while something was written whose answer has not been read."""
    pager = Pager()
    most_output = 64 << 20
    """Bytes of one answer."""
    deadline: asyncio.Timeout | None = None
    """Put off by whatever arrives: see :attr:`patience`."""
    patience = 0.0
    """Seconds that the device may be silent."""
    last_shown: bytes = b""
    """The last line of what arrived, while no prompt had been seen yet."""
    _unanswered = 0
    """Lines that a driver wrote without reading what they were answered with."""
    _greeted = False
    _paged: bytes | None = None
    """The pager that was met, without its numbers."""
    _two_lines = False

    def __init__(self, transport: OpenTransport, base_channel_args: BaseChannelArgs) -> None:
        # not scrapli's: it makes a logger for each device, which costs more than a command
        self.transport = transport
        self._base_channel_args = base_channel_args
        self.channel_log = None
        self.channel_lock = None

    def write(self, channel_input: str, redacted: bool = False) -> None:
        self.prompt = b""
        self._unanswered += channel_input.count("\n") or 1
        self.transport.write(channel_input.encode())

    def knows(self, prompt: str) -> None:
        """The device stands at this prompt already."""
        self.prompt, self._greeted = prompt.encode("utf-8", "surrogateescape"), True
        self._two_lines = "\n" in prompt

    async def get_prompt(self) -> str:
        """The device's prompt as it stands; the first one ends the greeting."""
        if not self.prompt:
            several, self._unanswered = self._unanswered > 1, 0
            try:
                async with asyncio.timeout(_GREETING_WAIT):
                    await self._listen(Heard())
            except TimeoutError:
                self.send_return()
                await self._listen(Heard())
                several = True  # the greeting's own prompt may come as well, and answers no command
            if several:
                await self._settle()
        return self.prompt.decode("utf-8", "replace")

    async def send_input(
        self, channel_input: str, *, strip_prompt: bool = True, eager: bool = False, eager_input: bool = False
    ) -> tuple[bytes, bytes]:
        """scrapli's verb for :meth:`command`; the prompt is never part of what is returned."""
        output = await self.command(channel_input)
        return output, output

    async def send_inputs_interact(self, *args: Any, **kwargs: Any) -> tuple[bytes, bytes]:
        raw, processed = await super().send_inputs_interact(*args, **kwargs)
        self.prompt = shown(raw[last_line(raw) :])
        return raw, processed

    async def _read_until_prompt(self, buf: bytes = b"") -> bytes:
        heard = await self._listen(Heard())
        return buf + heard.text() + self.prompt

    async def command(self, line: str, *, careful: bool = False) -> bytes:
        """Send ``line``; returns its output without echo, prompt and terminal codes, lines ended by ``\\n``.

        ``careful``: another prompt than the one that stood before is believed only once the device is quiet.
        """
        heard = Heard(below=line, expected=self.prompt if careful else b"")
        self._say(line)
        await self._listen(heard)
        text = without_echo(printed(heard.text(), heard.pages), line, self.prompt)
        return _without_last(text, self.prompt, heard.doubts) if heard.doubts else text

    def _say(self, line: str) -> None:
        shell = self.transport.open_shell()
        shell.discard()
        self._unanswered = 0
        shell.write(f"{line}{self._base_channel_args.comms_return_char}".encode())

    async def _settle(self) -> None:
        shell = self.transport.open_shell()
        while not await shell.quiet(_QUIET):
            shell.discard()

    async def escalate(self, level: PrivilegeLevel, secret: str) -> None:
        """Ask for a privilege level; the secret is offered once, to that level's own question only.

        Raises ``ScrapliPrivilegeError`` where the device asks and there is no secret, asks again, or does not move.
        """
        own = f"(?:{level.escalate_prompt})|" if level.escalate_prompt else ""
        question = _compiled(f"{own}{SECRET.pattern.decode()}|{USERNAME.pattern.decode()}")
        heard = Heard(below=level.escalate, question=question)
        self._say(level.escalate)
        await self._listen(heard)
        if not heard.asked:
            if not _compiled(level.pattern).search(self.prompt):
                said = without_echo(printed(heard.text(), heard.pages), level.escalate, b"").strip()
                answer = f": {plain_line(said.decode('utf-8', 'replace'))}" if said else ""
                raise ScrapliPrivilegeError(f"the device did not grant the level {level.name!r}{answer}")
            return
        if USERNAME.search(shown(bytes(heard.data[heard.start :]))):
            raise ScrapliPrivilegeError("the device asks for a user name before it grants the level")
        if not secret:
            raise ScrapliPrivilegeError("the device asks for an enable secret and the credential has none")
        self.transport.write(f"{secret}{self._base_channel_args.comms_return_char}".encode())
        heard = await self._listen(Heard(question=question))
        if heard.asked or not _compiled(level.pattern).search(self.prompt):
            raise ScrapliPrivilegeError("the device refused the enable secret")

    async def _listen(self, heard: Heard) -> Heard:
        """Read until the last line is a prompt or the question, and is believed to be one."""
        shell = self.transport.open_shell()
        data = heard.data
        while True:
            data += await shell.read()
            if len(data) > self.most_output:
                raise OutputTooLong(f"more than {_size(self.most_output)} without an end: cut off")
            if self.deadline is not None:
                self._put_off(self.deadline)
            end = self._ending(heard)
            if end is None or shell.pending or (end.doubt and not await shell.quiet(end.doubt)):
                continue  # no end, or more comes behind what looks like one
            if end.kind == "page":
                heard.pages.append((end.start, len(data)))
                if len(heard.pages) > _MOST_PAGES:
                    raise OutputTooLong(f"more than {_MOST_PAGES} pages without an end: cut off")
                self._paged = _NUMBER.sub(b"", end.line)
                shell.write(end.key)
            elif end.kind == "greeting" or (end.kind == "doubtful" and heard.doubts < _MOST_DOUBTS):
                if end.kind == "doubtful":
                    heard.doubts, heard.doubted, heard.doubtful = heard.doubts + 1, len(data), end.start
                shell.write(end.key)
            else:
                heard.start, heard.asked = end.start, end.kind == "question"
                if not heard.asked:
                    heard.start = _drawn_from(data, end.start, end.line)
                    self.prompt, self._greeted, self.last_shown = end.line, True, b""
                    self._two_lines = b"\n" in end.line
                return heard

    def _put_off(self, deadline: asyncio.Timeout) -> None:
        """Move the deadline by what has passed; in steps, since a timer costs more than reading a line."""
        due = asyncio.get_running_loop().time() + self.patience * (1 + _STEP)
        if due - (deadline.when() or 0.0) > self.patience * 2 * _STEP:
            deadline.reschedule(due)

    def _ending(self, heard: Heard) -> _Ending | None:
        data = heard.data
        start = last_line(data)
        if not 0 < len(data) - start <= _LONGEST_PROMPT:
            return None
        line = shown(bytes(data[start:]))
        if not line:
            return None
        if not self._greeted:
            self.last_shown = line
        if heard.pages and start <= heard.pages[-1][0]:
            start = heard.pages[-1][1]  # what follows a pager that was not wiped off the line
            line = shown(bytes(data[start:]))
        prompt, begin = self._prompt_in(data, start, line, heard.expected)
        if prompt and (start or not heard.below):
            return self._believed(heard, prompt, begin)
        if heard.question is not None and heard.question.search(line):
            return _Ending("question", line, start, 0.0 if start else _QUIET)
        key = self.pager.key(line) if line else None
        if key is not None:
            again = self._paged is not None and self._paged == _NUMBER.sub(b"", line)
            wait = _PAGER if again else _OWN_PAGER if self.pager.is_own(line) else _NEW_PAGER
            return _Ending("page", line, start, wait, key)
        if not self._greeted:
            answer = greeting_answer(line, self._base_channel_args.comms_return_char.encode())
            if answer is not None:
                return _Ending("greeting", line, start, _QUIET, answer)
        return None

    def _prompt_in(self, data: bytearray, start: int, line: bytes, expected: bytes) -> tuple[bytes, int]:
        """The prompt that the text ends in, and where it begins; nothing where it ends in none."""
        pattern = _prompt_pattern(self._base_channel_args.comms_prompt_pattern)
        if self._two_lines or (not self._greeted and rb"\n" in pattern.pattern) or not line:
            before = line_above(data, start)
            both = shown(bytes(data[before:start])) + b"\n" + line
            if start - before <= _LONGEST_PROMPT and (both in (expected, self.prompt) or pattern.match(both)):
                return both, before
        if line in (self.prompt, expected) or pattern.search(line):
            return line, start
        return b"", 0

    def _believed(self, heard: Heard, line: bytes, start: int) -> _Ending:
        if not heard.below:
            return _Ending("prompt", line, start, 0.0 if self._greeted else _GREETED)
        sure = echoed(heard.data, heard.below)
        if not heard.expected:
            return _Ending("prompt", line, start, 0.0 if sure else _QUIET)
        if line == heard.expected:
            return _Ending("prompt", line, start, (_QUIET if heard.doubts else _SURE) if sure else _STILL)
        if heard.doubts and not heard.data[heard.doubted : start].strip():
            # what a return at a prompt is answered with
            return _Ending("prompt", line, heard.doubtful, _STILL)
        end = self._base_channel_args.comms_return_char.encode()
        return _Ending("doubtful", line, start, _STILL, end)


@lru_cache(maxsize=256)
def _prompt_pattern(pattern: str) -> re.Pattern[bytes]:
    """A platform's prompts, as the whole end of a line: some patterns of scrapli are open there."""
    return re.compile(rb"(?:%s)\s*\Z" % pattern.encode(), re.MULTILINE | re.IGNORECASE)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[bytes]:
    return re.compile(pattern.encode(), re.MULTILINE | re.IGNORECASE)


def _without_last(text: bytes, prompt: bytes, count: int) -> bytes:
    """``text`` without the prompts at its end that up to ``count`` returns were answered with."""
    for _ in range(count):
        body = text.rstrip(b"\n ")
        if not body.endswith(b"\n" + prompt):
            break
        text = body[: -len(prompt)]
    return text


def _drawn_from(data: bytearray, start: int, prompt: bytes) -> int:
    """Where a prompt begins that was drawn several times on one line."""
    if data[start - 1 : start] != b"\r":
        return start
    begin = data.rfind(b"\n", max(0, start - _LONGEST_PROMPT), start) + 1
    drawn = {shown(bytes(one)) for one in data[begin:start].split(b"\r")}
    return begin if begin and drawn <= {b"", prompt} else start


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count} bytes"


def over_open_connection(driver: type[Any]) -> type[Any]:
    """A scrapli driver class that speaks over a connection which is open already."""

    class OverOpenConnection(driver):  # type: ignore[misc]  # the base is chosen by platform
        def _transport_factory(self) -> tuple[type[OpenTransport], BasePluginTransportArgs]:
            return OpenTransport, BasePluginTransportArgs()

        async def _escalate(self, escalate_priv: PrivilegeLevel) -> None:
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
