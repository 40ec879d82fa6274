"""Which scrapli driver speaks for a platform: scrapli's own, or one that is built of the platform's data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from scrapli.driver.generic import AsyncGenericDriver
from scrapli.driver.network import AsyncNetworkDriver
from scrapli.driver.network.base_driver import PrivilegeLevel
from scrapli.factory import AsyncScrapli

from netraven.platforms.model import Level, Platform
from netraven.transport.dialogue import Dialogue, over_open_connection
from netraven.transport.questions import Pager
from netraven.transport.shell import Shell

_OPENINGS: Mapping[str, tuple[str, ...]] = {
    # a collector changes no configuration: theirs does, and takes it back only when all goes well
    "fortinet_fortios": (),
    "dlink_os": (),
    "datacom_dmswitch": (),
    # theirs types a user name and a password into the shell, which is the business of whoever logs in
    "cisco_aireos": ("config paging disable",),
    "ruckus_unleashed": (),
    "scrapli_genericdriver": (),
}
"""Commands after the login in place of the driver's own opening. What still pages is answered page by page."""
_VARIANTS: Mapping[str, str] = {"cisco_asa": "read_only"}
"""The variant where the platform names none: the default one of the ASA enters configuration mode."""


def open_driver(
    shell: Shell, platform: Platform, *, enable: str | None = None, most_output: int | None = None
) -> Any:
    """A driver that speaks for ``platform`` over ``shell``; its channel is a :class:`Dialogue`."""
    driver_class, arguments = _driver_class(platform)
    if enable and "privilege_levels" in arguments:
        arguments = {**arguments, "auth_secondary": enable}
    driver = driver_class(host="device", auth_username="", transport="netraven", **arguments)
    driver.transport.shell = shell
    driver.channel = dialogue = Dialogue(driver.transport, driver._base_channel_args)
    if most_output is not None:
        dialogue.most_output = most_output
    dialogue.pager = _pager(platform.pager, platform.pager_key, driver._base_channel_args.comms_return_char)
    return driver


def prompts_of(platform: Platform) -> tuple[str, ...]:
    """Regular expressions of the prompts that the platform is known by."""
    _, arguments = _driver_class(platform)
    levels = arguments.get("privilege_levels")
    if levels:
        return tuple(level.pattern for level in levels.values())
    pattern = arguments.get("comms_prompt_pattern")
    return (pattern,) if pattern else ()


_NO_TIMEOUTS = {"timeout_ops": 0, "timeout_transport": 0}
"""The session has the deadlines."""


def _driver_class(platform: Platform) -> tuple[type[Any], dict[str, Any]]:
    if platform.driver is None and (platform.prompt is not None or platform.levels):
        return _of_data(platform.prompt, platform.levels, platform.level, platform.return_char)
    return _of_scrapli(
        platform.driver or platform.name, platform.variant, platform.level, platform.return_char
    )


@lru_cache(maxsize=256)
def _of_scrapli(
    name: str, variant: str | None, level: str | None, return_char: str
) -> tuple[type[Any], dict[str, Any]]:
    driver, arguments = AsyncScrapli._get_driver(platform=name, variant=variant or _VARIANTS.get(name))
    arguments = dict(arguments)
    if "privilege_levels" not in arguments:
        # scrapli copies its own for every connection; they are only read here, so one set serves all
        sample = cast(Any, driver)(host="-", auth_username="", transport="asyncssh", auth_strict_key=False)
        if hasattr(sample, "privilege_levels"):
            arguments["privilege_levels"] = sample.privilege_levels
    if "privilege_levels" in arguments and level is not None:
        arguments["default_desired_privilege_level"] = level
    if return_char != "\n":
        arguments["comms_return_char"] = return_char
    if name in _OPENINGS:
        arguments["on_open"] = _opening(_OPENINGS[name])
    return over_open_connection(driver), arguments | _NO_TIMEOUTS


@lru_cache(maxsize=256)
def _of_data(
    prompt: str | None, levels: tuple[Level, ...], level: str | None, return_char: str
) -> tuple[type[Any], dict[str, Any]]:
    if not levels:
        return over_open_connection(AsyncGenericDriver), {
            "comms_prompt_pattern": _whole(prompt or ""),
            "comms_return_char": return_char,
            **_NO_TIMEOUTS,
        }
    landing = next((one.name for one in levels if one.above is None), levels[0].name)
    return over_open_connection(AsyncNetworkDriver), {
        "privilege_levels": {one.name: _privilege_level(one) for one in levels},
        "default_desired_privilege_level": level or landing,
        "comms_return_char": return_char,
        "on_open": _opening(()),
        **_NO_TIMEOUTS,
    }


def _privilege_level(level: Level) -> PrivilegeLevel:
    return PrivilegeLevel(
        pattern=_whole(level.prompt),
        name=level.name,
        previous_priv=level.above or "",
        deescalate=level.leave or "",
        escalate=level.enter or "",
        escalate_auth=level.asks is not None,
        escalate_prompt=level.asks or "",
    )


def _whole(prompt: str) -> str:
    return rf"^(?:{prompt})\s*$"


@lru_cache
def _opening(commands: tuple[str, ...]) -> Any:
    async def on_open(driver: Any) -> None:
        if hasattr(driver, "privilege_levels"):
            await driver.acquire_priv(driver.default_desired_privilege_level)
        else:
            await driver.channel.get_prompt()
        for command in commands:
            await driver.channel.command(command)

    return on_open


@lru_cache(maxsize=256)
def _pager(pattern: re.Pattern[str] | None, key: str, line_end: str) -> Pager:
    own = re.compile(pattern.pattern.encode(), pattern.flags & ~re.UNICODE) if pattern is not None else None
    return Pager(own, key.encode(), line_end.encode())
