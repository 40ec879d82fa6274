"""Every illness that strikes before a login or after it; those of the login itself are in test_logins."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncssh
import pytest

from netraven.lab import Ill, Lab, LabDevice


def sick(kind: str, **more: object) -> LabDevice:
    ill = Ill(kind, **more)  # type: ignore[arg-type]  # table-driven
    return LabDevice(
        "r1", accepts={"netops": "right"}, ill=ill, config="hostname r1\n" + "line\n" * 10 + "end\n"
    )


async def first_bytes(lab: Lab, seconds: float = 0.2) -> bytes | None:
    """What a raw TCP client reads first; None when nothing comes."""
    reader, writer = await asyncio.open_connection(*lab.endpoint("r1"))
    try:
        return await asyncio.wait_for(reader.read(100), seconds)
    except TimeoutError:
        return None
    finally:
        writer.close()
        await writer.wait_closed()


async def test_nothing_listens() -> None:
    async with Lab([sick("port_closed")]) as lab:
        with pytest.raises(ConnectionRefusedError):
            await first_bytes(lab)
        await lab.set_ill("r1", Ill())
        assert (await first_bytes(lab) or b"").startswith(b"SSH-2.0-")
        await lab.set_ill("r1", Ill("port_closed"))
        with pytest.raises(ConnectionRefusedError):
            await first_bytes(lab)


async def test_closes_on_connect() -> None:
    async with Lab([sick("close_on_connect")]) as lab:
        assert await first_bytes(lab) == b""


async def test_says_nothing_or_only_its_version() -> None:
    async with Lab([sick("hung_before_banner")]) as lab:
        assert await first_bytes(lab) is None
        await lab.set_ill("r1", Ill("hung_in_kex"))
        assert (await first_bytes(lab) or b"").startswith(b"SSH-2.0-")
        assert await first_bytes(lab, 0.2) is not None


async def test_closes_after_the_login(dial: Any) -> None:
    async with Lab([sick("close_after_login")]) as lab:
        with pytest.raises((asyncssh.Error, OSError)):  # noqa: PT012 - the cut may come at either step
            async with await dial(lab, "r1", "netops", "right") as connection:
                await connection.create_process(term_type="vt100")
                await asyncio.sleep(1)
        assert [attempt.verdict for attempt in lab.log.attempts()] == ["accepted"]


async def test_no_prompt_after_the_login(terminal: Any) -> None:
    async with Lab([sick("hung_after_login")]) as lab, terminal(lab, "r1") as shell:
        shell.type("show running-config\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(shell.process.stdout.read(1), 0.2)
        assert lab.log.counts()["session"] == 1


async def test_the_configuration_breaks_off(terminal: Any) -> None:
    async with Lab([sick("drop_mid_output")]) as lab, terminal(lab, "r1") as shell:
        await shell.until(b"r1#")
        shell.type("show running-config\n")
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await shell.until(b"end\r\n")
        assert b"hostname r1\r\n" in caught.value.partial
        await asyncio.wait_for(shell.connection.wait_closed(), 5)


async def test_the_configuration_stops_in_silence(terminal: Any) -> None:
    async with Lab([sick("hang_mid_output")]) as lab, terminal(lab, "r1") as shell:
        await shell.until(b"r1#")
        shell.type("show running-config\n")
        assert b"hostname r1" in await shell.until(b"line\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(shell.process.stdout.readuntil(b"end\r\n"), 0.2)
        assert lab.sessions_open == 1


async def test_the_command_is_answered_by_an_error(terminal: Any) -> None:
    async with Lab([sick("command_error", text="Command authorization failed.\n\n")]) as lab:
        async with terminal(lab, "r1") as shell:
            await shell.until(b"r1#")
            assert (
                await shell.command("show running-config", b"r1#") == b"Command authorization failed.\r\n\r\n"
            )
        await lab.set_ill("r1", Ill("command_error"))
        async with terminal(lab, "r1") as shell:
            await shell.until(b"r1#")
            assert b"% Invalid input detected at" in await shell.command("show running-config", b"r1#")


async def test_slow_devices_wait_before_every_answer(terminal: Any) -> None:
    loop = asyncio.get_running_loop()
    async with Lab([sick("slow", seconds=0.1)]) as lab:
        start = loop.time()
        async with terminal(lab, "r1") as shell:
            assert loop.time() - start >= 0.1
            await shell.until(b"r1#")
            start = loop.time()
            shell.type("terminal length 0\nshow version\n")
            await shell.until(b"show version\r\n")
            assert 0.1 <= loop.time() - start < 0.2
            await shell.until(b"r1#")
            assert loop.time() - start >= 0.2


async def test_control_sequences_in_every_text(dial: Any) -> None:
    async with Lab([sick("evil_output")]) as lab, await dial(lab, "r1", "netops", "right") as connection:
        assert "\x1b]0;" in connection.get_owner().banners[0]
        process = await connection.create_process(term_type="vt100", encoding=None)
        assert b"\x1b]0;" in await process.stdout.readuntil(b"r1#")
        process.stdin.write(b"show running-config\n")
        text = await process.stdout.readuntil(b"r1#")
        assert b"\x1b]0;" in text
        assert b"\xc2\x9b" in text
        assert b" \x9b" in text
        assert b"hostname r1" in text


async def test_an_illness_that_passes(dial: Any) -> None:
    async with Lab([sick("close_at_login", times=1)]) as lab:
        with pytest.raises((asyncssh.Error, OSError)):
            await dial(lab, "r1", "netops", "right")
        async with await dial(lab, "r1", "netops", "right"):
            pass
        assert [attempt.verdict for attempt in lab.log.attempts()] == ["unanswered", "accepted"]


def test_an_unknown_illness_is_refused() -> None:
    with pytest.raises(ValueError, match="known: none, port_closed"):
        Ill("tired")  # type: ignore[arg-type]  # wrong on purpose
