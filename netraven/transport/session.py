"""What is done in a session: take the platform's privileges and paging as scrapli knows them, then collect."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

from scrapli.exceptions import ScrapliTimeout
from scrapli.factory import AsyncScrapli

from netraven.errors import CommandRejected, DialogueTimeout, OutputIncomplete
from netraven.model import Capture
from netraven.plain import plain_line
from netraven.platforms import Platform
from netraven.transport.channel import ShellChannel
from netraven.transport.dialogue import Dialogue, over_open_connection
from netraven.transport.failures import session_failure

_REJECTION_LINES = 3
"""A rejected command is answered with an error at once: it is looked for in this many lines of the output."""
_REJECTION_REACH = 2_000
"""And in this many characters."""


class ShellSession:
    """An authenticated shell on a device of one platform."""

    def __init__(self, shell: ShellChannel, platform: Platform, *, command_timeout: float) -> None:
        self._shell = shell
        self._platform = platform
        self._timeout = command_timeout

    platform_found: str | None = None

    def facts(self, captures: Sequence[Capture]) -> Mapping[str, str]:
        return {}

    async def capture(self, *, enable: str | None, kinds: Sequence[str] | None = None) -> Sequence[Capture]:
        """The running configuration. Raises ``DeviceFailure`` with ``logged_in`` set."""
        doing = "log in to the shell and switch paging off"
        try:
            async with asyncio.timeout(self._timeout):
                driver = _driver(self._shell, self._platform, enable)
                if driver.on_open is not None:
                    await driver.on_open(driver)
                await driver.channel.get_prompt()
            doing = f"run {self._platform.config!r}"
            async with asyncio.timeout(self._timeout):
                output = await driver.channel.command(self._platform.config, careful=True)
        except (TimeoutError, ScrapliTimeout) as error:
            raise DialogueTimeout(f"the device took longer than {self._timeout:g} s to {doing}") from error
        except Exception as error:
            raise session_failure(error) from error
        return (self._judged(output, getattr(driver, "failed_when_contains", [])),)

    def _judged(self, output: bytes, errors: Sequence[str]) -> Capture:
        text = output.decode("utf-8", "surrogateescape").strip("\n")
        first = [line for line in text[:_REJECTION_REACH].split("\n") if line.strip()][:_REJECTION_LINES]
        for line in first:
            if any(error in line for error in (*errors, *self._platform.errors)):
                raise CommandRejected(f"{self._platform.config!r} was answered with: {plain_line(line)}")
        if not text:
            raise OutputIncomplete(f"{self._platform.config!r} printed nothing")
        return Capture(text + "\n")


@lru_cache
def _driver_class(name: str) -> tuple[type[Any], dict[str, Any]]:
    driver, arguments = AsyncScrapli._get_driver(platform=name, variant=None)
    if "privilege_levels" not in arguments:
        # scrapli copies its own for every connection; they are only read here, so one set serves all
        sample = cast(Any, driver)(host="-", auth_username="", transport="asyncssh", auth_strict_key=False)
        if hasattr(sample, "privilege_levels"):
            arguments = {**arguments, "privilege_levels": sample.privilege_levels}
    return over_open_connection(driver), arguments


def _driver(shell: ShellChannel, platform: Platform, enable: str | None) -> Any:
    driver_class, arguments = _driver_class(platform.driver or platform.name)
    secondary = {"auth_secondary": enable} if enable and "privilege_levels" in arguments else {}
    driver = driver_class(
        host="device",
        auth_username="",
        transport="netraven",
        timeout_ops=0,
        timeout_transport=0,
        **arguments,
        **secondary,
    )
    driver.transport.shell = shell
    driver.channel = Dialogue(driver.transport, driver._base_channel_args)
    return driver
