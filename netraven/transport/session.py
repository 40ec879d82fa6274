"""What is done in a session: take the platform's privileges and paging as scrapli knows them, then collect."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import Any

from scrapli.exceptions import ScrapliTimeout

from netraven.errors import CommandRejected, DeviceFailure, DialogueTimeout, OutputIncomplete
from netraven.history.rules import without_secrets
from netraven.model import Capture
from netraven.plain import plain_line
from netraven.platforms.facts import facts_in
from netraven.platforms.model import Output, Platform
from netraven.transport.detect import detect
from netraven.transport.dialogue import Dialogue
from netraven.transport.drivers import open_driver
from netraven.transport.failures import session_failure
from netraven.transport.shell import Shell

_REJECTION_LINES = 3
"""A rejected command is answered with an error at once: it is looked for in this many lines of the output."""
_REJECTION_REACH = 2_000
"""And in this many characters."""


class ShellSession:
    """An authenticated shell on a device of one platform; ``platform`` None: one of ``candidates``, to be found out.

    ``command_timeout``: seconds that the device may be silent; what arrives puts the deadline off. ``hints``: what the
    server said of itself before the shell was open (SSH version string, banner). ``most_output``: bytes of one answer.
    """

    def __init__(
        self,
        shell: Shell,
        platform: Platform | None,
        *,
        command_timeout: float,
        candidates: Sequence[Platform] = (),
        hints: str = "",
        most_output: int | None = None,
    ) -> None:
        self._shell = shell
        self._timeout = command_timeout
        self._candidates = candidates
        self._hints = hints
        self._most_output = most_output
        self._elsewhere = False
        self.found = platform
        """The platform, once it is known."""

    @property
    def platform_found(self) -> str | None:
        """The platform's name, where it had to be found out and has been."""
        return self.found.name if self._candidates and self.found is not None else None

    def facts(self, captures: Sequence[Capture]) -> Mapping[str, str]:
        """What the outputs tell of the device."""
        return facts_in(self.found, captures) if self.found is not None else {}

    async def capture(self, *, enable: str | None, kinds: Sequence[str] | None = None) -> Sequence[Capture]:
        """One capture for each of ``kinds`` that the platform has, in their order; None: those that it says itself.

        Raises ``DeviceFailure`` with ``logged_in`` set; its ``captured`` holds what was captured before.
        """
        done: list[Capture] = []
        try:
            platform, prompt = await self._known()
            outputs = _outputs(platform, kinds)
            driver = await self._opened(platform, prompt, enable)
            for output in outputs:
                done += (await self._output(driver, platform, output),)  # kept, should a later one fail
            self._log_out(platform)
        except DeviceFailure as failure:
            failure.captured = tuple(done)
            raise
        return tuple(done)

    async def prove(self, *, enable: str | None) -> None:
        """Come to the prompt, and to the privileges that collecting needs; raises as :meth:`capture`."""
        platform, prompt = await self._known()
        await self._opened(platform, prompt, enable)
        self._log_out(platform)

    def _log_out(self, platform: Platform) -> None:
        if platform.logout is not None:
            with contextlib.suppress(OSError):  # it has hung up by itself
                self._shell.write(f"{platform.logout}{platform.return_char}".encode())

    async def _known(self) -> tuple[Platform, str]:
        """The platform, and the prompt at which the device stands where one has been seen."""
        if self.found is not None:
            return self.found, ""
        async with _Waiting("be recognised", self._timeout):
            self.found, prompt = await detect(self._shell, self._candidates, hints=self._hints)
        return self.found, prompt

    async def _opened(self, platform: Platform, prompt: str, enable: str | None) -> Any:
        doing = "log in to the shell and switch paging off"
        async with (waiting := _Waiting(doing, self._patience(platform))) as deadline:
            driver = open_driver(self._shell, platform, enable=enable, most_output=self._most_output)
            dialogue: Dialogue = driver.channel
            waiting.dialogue = dialogue
            dialogue.deadline, dialogue.patience = deadline, self._patience(platform)
            if prompt:
                dialogue.knows(prompt)
            if driver.on_open is not None:
                await driver.on_open(driver)
            await dialogue.get_prompt()
            for command in platform.on_open:
                await dialogue.command(command)
        return driver

    async def _output(self, driver: Any, platform: Platform, output: Output) -> Capture:
        dialogue: Dialogue = driver.channel
        async with _Waiting(f"run {output.command!r}", self._patience(platform)) as deadline:
            dialogue.deadline = deadline
            if output.level is not None or self._elsewhere:
                await self._go_to(driver, output.level)
            raw = await dialogue.command(output.command, careful=True)
        text = _judged(raw, output, (*getattr(driver, "failed_when_contains", ()), *platform.errors))
        return Capture(text, output.kind, platform.name)

    async def _go_to(self, driver: Any, level: str | None) -> None:
        """To a privilege level, or back to the one that commands need (None); a platform may have none."""
        if hasattr(driver, "privilege_levels"):
            await driver.acquire_priv(level or driver.default_desired_privilege_level)
            self._elsewhere = level is not None

    def _patience(self, platform: Platform) -> float:
        return max(self._timeout, platform.command_timeout or 0.0)


class _Waiting:
    """A deadline, and whatever goes wrong meanwhile as a failure of the device."""

    def __init__(self, doing: str, seconds: float) -> None:
        self._doing = doing
        self._seconds = seconds
        self._deadline = asyncio.timeout(seconds)
        self.dialogue: Dialogue | None = None

    async def __aenter__(self) -> asyncio.Timeout:
        return await self._deadline.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._deadline.__aexit__(kind, error, trace)
        except TimeoutError as passed:
            error = passed
        if isinstance(error, TimeoutError | ScrapliTimeout):
            said = f"the device was silent for {self._seconds:g} s when it was to {self._doing}"
            if self.dialogue is not None and self.dialogue.last_shown:
                said += f"; it shows {_quoted(self.dialogue.last_shown.decode('utf-8', 'replace'))!r}"
            raise DialogueTimeout(said) from error
        if isinstance(error, Exception):
            raise session_failure(error) from error


def _outputs(platform: Platform, kinds: Sequence[str] | None) -> Sequence[Output]:
    """What is to be collected. Raises ``OutputIncomplete`` where that is nothing: it would pass for collected."""
    wanted = platform.collect if kinds is None else kinds
    outputs = [platform.outputs[kind] for kind in wanted if kind in platform.outputs]
    if not outputs:
        asked = plain_line(", ".join(wanted)) or "no output"
        raise OutputIncomplete(
            f"asked for {asked}, and the platform {platform.name} has only {', '.join(platform.outputs)}"
        )
    return outputs


def _quoted(line: str) -> str:
    """As it may stand in a message, which is stored in clear: it may be a line of a configuration."""
    return plain_line(without_secrets(line))


def _judged(raw: bytes, output: Output, errors: Sequence[str]) -> str:
    """What a command printed. Raises ``CommandRejected`` or ``OutputIncomplete``."""
    text = raw.decode("utf-8", "surrogateescape").strip("\n")
    written = (line for line in text[:_REJECTION_REACH].split("\n") if line.strip())
    for line in islice(written, _REJECTION_LINES):
        if any(error in line for error in errors):
            raise CommandRejected(f"{output.command!r} was answered with: {_quoted(line)}")
    if not text:
        raise OutputIncomplete(f"{output.command!r} printed nothing")
    return text + "\n"
