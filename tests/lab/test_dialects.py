"""Each dialect is driven by scrapli's own driver, over its own asyncssh transport."""

from __future__ import annotations

import re
from typing import Any

import pytest
from scrapli import AsyncScrapli
from scrapli.driver.core.arista_eos.base_driver import PRIVS as EOS
from scrapli.driver.core.cisco_iosxe.base_driver import PRIVS as IOSXE
from scrapli.driver.core.cisco_iosxr.base_driver import PRIVS as IOSXR
from scrapli.driver.core.cisco_nxos.base_driver import PRIVS as NXOS
from scrapli.driver.core.juniper_junos.base_driver import PRIVS as JUNOS

from netraven.lab import DIALECTS, Lab, LabDevice, configuration

LEVELS = {
    "cisco_iosxe": IOSXE, "cisco_nxos": NXOS, "cisco_iosxr": IOSXR, "arista_eos": EOS, "juniper_junos": JUNOS,
}  # fmt: skip
COMMAND = dict.fromkeys(DIALECTS, "show running-config") | {"juniper_junos": "show configuration"}
WITH_ENABLE = [name for name, dialect in DIALECTS.items() if dialect.has_enable]
every_dialect = pytest.mark.parametrize("dialect", DIALECTS)


def driver(lab: Lab, dialect: str, **more: Any) -> AsyncScrapli:
    host, port = lab.endpoint("r1")
    return AsyncScrapli(
        host=host, port=port, platform=dialect, transport="asyncssh", auth_username="netops",
        auth_password="right", auth_strict_key=False, timeout_ops=5, **more,
    )  # fmt: skip


def device(dialect: str, **more: Any) -> LabDevice:
    return LabDevice("r1", accepts={"netops": "right"}, dialect=dialect, **more)


@every_dialect
async def test_scrapli_collects_the_whole_configuration(dialect: Any) -> None:
    async with Lab([device(dialect)]) as lab:
        async with driver(lab, dialect) as session:
            response = await session.send_command(COMMAND[dialect])
            version = await session.send_command("show version")
            unknown = await session.send_command("frobnicate")
        assert not response.failed
        assert not version.failed
        assert unknown.failed
        assert lab.configuration("r1").strip() in response.result.replace("\r", "")
        assert COMMAND[dialect] in lab.log.commands("r1")
    assert lab.sessions_open == 0


@every_dialect
async def test_scrapli_enters_and_leaves_the_configuration_mode(dialect: Any) -> None:
    async with Lab([device(dialect)]) as lab, driver(lab, dialect) as session:
        await session.acquire_priv("configuration")
        await session.acquire_priv(session.default_desired_privilege_level)
        assert (await session.send_command("show version")).failed is False


@pytest.mark.parametrize("dialect", WITH_ENABLE)
async def test_scrapli_enables_with_a_password(dialect: Any) -> None:
    async with Lab([device(dialect, enable_password="higher")]) as lab:
        async with driver(lab, dialect, auth_secondary="higher") as session:
            response = await session.send_command(COMMAND[dialect])
        assert lab.configuration("r1").strip() in response.result.replace("\r", "")
        told = [event.detail for event in lab.log.events if event.kind == "enable"]
        assert told == ["accepted"]
        assert "higher" not in lab.log.commands("r1")


@pytest.mark.parametrize("dialect", WITH_ENABLE)
async def test_without_enable_there_is_no_configuration(dialect: Any, terminal: Any) -> None:
    device_ = device(dialect, enable_password="higher")
    async with Lab([device_]) as lab, terminal(lab, "r1") as shell:
        await shell.until(b"r1>")
        assert b"% Invalid" in await shell.command("show running-config", b"r1>")
        shell.type("enable\n")
        for _ in range(3):
            await shell.until(b"Password: ")
            shell.type("wrong\n")
        assert b"%" in await shell.until(b"r1>")
        shell.type("enable\n")
        await shell.until(b"Password: ")
        shell.type("higher\n")
        assert b"higher" not in await shell.until(b"r1#")


@pytest.mark.parametrize("dialect", sorted(set(DIALECTS) - set(WITH_ENABLE)))
def test_a_dialect_without_enable_takes_no_enable_password(dialect: Any) -> None:
    with pytest.raises(ValueError, match="has no enable"):
        Lab([device(dialect, enable_password="higher")])


@every_dialect
def test_no_generated_line_looks_like_a_prompt(dialect: Any) -> None:
    patterns = [re.compile(level.pattern, re.MULTILINE | re.IGNORECASE) for level in LEVELS[dialect].values()]
    for number in range(40):
        text = configuration(dialect, f"r{number}")
        for line in text.splitlines():
            assert not any(pattern.search(line) for pattern in patterns), line


@every_dialect
@pytest.mark.parametrize("size", [4_096, 8_192, 200_000])
def test_generated_configurations_have_the_size_and_stay_the_same(dialect: Any, size: Any) -> None:
    text = configuration(dialect, "ams1-core-1", seed=3, size=size)
    assert size <= len(text) < size + 700 or size == 4_096
    assert text == configuration(dialect, "ams1-core-1", seed=3, size=size)
    assert "ams1-core-1" in text
    assert "@" not in text
    others = {configuration(dialect, f"r{number}", seed=3, size=size) for number in range(20)}
    assert len(others) == 20


@every_dialect
async def test_output_is_paged_until_paging_is_switched_off(dialect: Any, terminal: Any) -> None:
    async with Lab([device(dialect)]) as lab, terminal(lab, "r1") as shell:
        more = DIALECTS[dialect].more.encode()
        prompt = b"netops@r1> " if dialect == "juniper_junos" else b"r1#"
        await shell.until(prompt)
        shell.type(COMMAND[dialect] + "\n")
        await shell.until(more)
        shell.type(" ")
        await shell.until(more)
        shell.type("q")
        await shell.until(prompt)
        off = "set cli screen-length 0" if dialect == "juniper_junos" else "terminal length 0"
        await shell.command(off, prompt)
        assert more not in await shell.command(COMMAND[dialect], prompt)


async def test_paging_through_to_the_end_gives_every_line(terminal: Any) -> None:
    lines = [f"line {number}" for number in range(1, 70)]
    long = device("cisco_iosxe", config="\n".join(lines) + "\n")
    async with Lab([long]) as lab, terminal(lab, "r1") as shell:
        await shell.until(b"r1#")
        shell.type("show running-config\n  ")
        text = (await shell.until(b"r1#")).decode()
        assert re.findall(r"line \d+", text) == lines


async def test_a_given_configuration_is_printed_as_it_is(terminal: Any) -> None:
    text = "hostname r1\n!\nend\n"
    async with Lab([device("cisco_iosxe", config=text)]) as lab, terminal(lab, "r1") as shell:
        await shell.until(b"r1#")
        assert await shell.command("sh run", b"r1#") == text.replace("\n", "\r\n").encode()


async def test_line_ends_of_all_kinds_and_type_ahead(terminal: Any) -> None:
    async with Lab([device("cisco_iosxe", think=0.02, config="end\n")]) as lab, terminal(lab, "r1") as shell:
        await shell.until(b"r1#")
        shell.type("show running-config\r\nterminal length 0\rterminal width 512\nexit\n")
        text = await shell.rest()
        assert text.count(b"r1#") == 3
        assert lab.log.commands("r1") == [
            "show running-config", "terminal length 0", "terminal width 512", "exit",
        ]  # fmt: skip


async def test_a_command_without_a_terminal(dial: Any) -> None:
    async with Lab([device("arista_eos")]) as lab, await dial(lab, "r1", "netops", "right") as connection:
        result = await connection.run("show running-config", check=True)
        assert lab.configuration("r1").strip() in result.stdout.replace("\r", "")
        assert "r1#" not in result.stdout
