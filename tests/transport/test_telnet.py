"""Every way in which a telnet login can end: its class, and what was typed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from netraven.collect.access import telnet_port
from netraven.errors import DeviceFailure, NetRavenError
from netraven.model import Access, Device, Secret, Target
from netraven.transport.deadlines import Deadlines
from netraven.transport.telnet import TelnetTransport
from netraven.transport.telnet_options import DO, ECHO, IAC, NAWS, SB, SE, SGA, TTYPE, WILL, WONT
from tests.transport.rig import NotedLogin, Visit, visit
from tests.transport.shells import each_byte
from tests.transport.telnet_server import CLOSE, Scripted, scripted

NAME, PASSWORD = "\nUser Access Verification\n\nUsername: ", "Password: "
LINEMODE = 34
SHELL = [b"\r\n\r\nr1#", b"\r\nr1#", b"\r\nr1#", b"hostname r1\r\nend\r\nr1#"]
PATIENT = Deadlines(10.0, 10.0, 10.0)


async def log_in(device: Scripted, login: NotedLogin | None = None, deadlines: Deadlines = PATIENT) -> Visit:
    """In and out again, nothing is collected."""
    result = Visit(login or NotedLogin())
    try:
        async with TelnetTransport(deadlines).open(device.target, result.login):
            pass
    except DeviceFailure as failure:
        result.failure = failure
    async with asyncio.timeout(5):
        await device.closed.wait()
    return result


async def test_a_name_a_password_and_the_configuration() -> None:
    async with scripted(NAME, PASSWORD, *SHELL, echo=True) as device:
        result = await visit(TelnetTransport(PATIENT), device.target, NotedLogin())
    assert result.text == "hostname r1\nend\n"
    assert result.told == ["secret", "accepted"]
    assert device.lines[:2] == ["netops", "right"]
    assert "show running-config" in device.lines


async def test_byte_by_byte() -> None:
    async with scripted(NAME, PASSWORD, *SHELL, cut=each_byte, gap=0.001) as device:
        result = await log_in(device)
    assert (result.told, device.lines) == (["secret", "accepted"], ["netops", "right"])


async def test_options_are_answered_around_the_login() -> None:
    asked = bytes((IAC, WILL, ECHO, IAC, WILL, SGA, IAC, DO, TTYPE, IAC, DO, NAWS, IAC, DO, LINEMODE))
    async with scripted(
        asked + NAME.encode(), bytes((IAC, SB, TTYPE, 1, IAC, SE)) + b"Password: ", b"\r\nr1#"
    ) as device:
        result = await log_in(device)
    assert result.told == ["secret", "accepted"]
    assert device.lines == ["netops", "right"]
    for part in (b"\xff\xfd\x01", b"\xff\xfa\x18\x00vt100\xff\xf0", bytes((IAC, WONT, LINEMODE))):
        assert device.raw.count(part) == 1


async def test_a_password_alone() -> None:
    async with scripted("\nPassword: ", b"\r\nr1>") as device:
        result = await log_in(device)
    assert (result.told, device.lines) == (["secret", "accepted"], ["right"])


@pytest.mark.parametrize("steps", [("\nr1>",), (NAME, b"r1>")], ids=["at once", "for the name"])
async def test_a_device_that_asks_for_no_password_gets_none(steps: tuple[object, ...]) -> None:
    async with scripted(*steps) as device:
        result = await log_in(device)
    assert (result.failure, result.told) == (None, [])
    assert device.lines == ["netops"][: len(steps) - 1]


async def test_press_return() -> None:
    async with scripted("Press any key to continue", NAME, PASSWORD, b"r1#") as device:
        result = await log_in(device)
    assert (result.told, device.lines) == (["secret", "accepted"], ["", "netops", "right"])


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ("% Login invalid\n\nUsername: ", ": % Login invalid"),
        ("\nPassword: ", ""),
        ("Login incorrect\nr1 login: ", ": Login incorrect"),
        ("% Authentication failed\n", ": % Authentication failed"),
    ],
)
async def test_a_wrong_password_is_typed_once(answer: str, detail: str) -> None:
    async with scripted(NAME, PASSWORD, answer, "\nr1#", "\nr1#") as device:
        result = await log_in(device, NotedLogin("wrong", more=["another"]))
    assert result.reason == "auth_refused"
    assert result.detail == f"the device refused the secret{detail}"
    assert (result.told, device.lines) == (["secret", "rejected auth_refused"], ["netops", "wrong"])
    assert device.connections == 1


async def hung_up_after(*steps: object) -> tuple[Visit, list[str]]:
    async with scripted(*steps) as device:
        spoken = asyncio.create_task(log_in(device))
        while not device.lines[1:]:  # noqa: ASYNC110 - it happens in the device
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        device.say.put_nowait(CLOSE)
        return await spoken, device.lines


async def test_a_message_of_the_day_that_speaks_of_denied_access() -> None:
    async with scripted(NAME, PASSWORD, "\nAccess denied to strangers\nOne moment ...") as device:
        visiting = asyncio.create_task(log_in(device))
        while not device.lines[1:]:  # noqa: ASYNC110 - it happens in the device
            await asyncio.sleep(0.01)
        await asyncio.sleep(1.0)
        device.say.put_nowait("\nr1#")
        result = await visiting
    assert result.told == ["secret", "accepted"]


async def test_refused_and_hung_up() -> None:
    result, lines = await hung_up_after(NAME, PASSWORD, "% Bad passwords\n")
    assert (result.reason, lines) == ("auth_refused", ["netops", "right"])
    assert result.detail == "the device refused the secret: % Bad passwords"


async def test_hung_up_without_a_word() -> None:
    result, lines = await hung_up_after(NAME, PASSWORD, b"")
    assert (result.reason, lines) == ("auth_no_verdict", ["netops", "right"])
    assert result.told == ["secret", "rejected auth_no_verdict"]


async def test_silence_is_no_verdict() -> None:
    async with scripted(NAME, PASSWORD, b"") as device:
        result = await log_in(device, deadlines=Deadlines(5.0, 0.6, 5.0))
    assert result.detail == "no answer to the secret within 0.6 s"
    assert result.told == ["secret", "rejected auth_no_verdict"]


async def test_an_expired_password() -> None:
    async with scripted(NAME, PASSWORD, "Password expired.\nNew password: ") as device:
        result = await log_in(device)
    assert (result.reason, device.lines) == ("auth_refused", ["netops", "right"])
    assert "has expired" in result.detail


@pytest.mark.parametrize(
    "question",
    ["Challenge 4711: ", "New password: ", "Enter your password: and wait\n", "Enable secret: "],
)
async def test_another_question_gets_no_password(question: str) -> None:
    async with scripted(NAME, question) as device:
        result = await log_in(device, deadlines=Deadlines(1.5, 1.5, 1.5))
    assert result.told == []
    assert device.lines == ["netops"]
    assert result.reason in ("negotiation", "unreachable")


async def test_a_banner_that_speaks_of_passwords() -> None:
    banner = "Your login: is logged\nYour password: never share it.\nlogin:\npassword:\n"
    async with scripted(banner, CLOSE) as device:
        result = await log_in(device, deadlines=Deadlines(1.0, 1.0, 1.0))
    assert (result.reason, result.told, device.lines) == ("unreachable", [], [])


async def test_who_asks_for_the_name_again_wants_no_password() -> None:
    async with scripted(NAME, "% Unknown\nUsername: ") as device:
        result = await log_in(device)
    assert (result.reason, result.told, device.lines) == ("negotiation", [], ["netops"])
    assert result.failure is not None
    assert result.failure.tries_next_credential


async def test_nothing_is_typed_for_a_key() -> None:
    async with scripted(NAME) as device:
        result = await visit(TelnetTransport(PATIENT), device.target, NotedLogin(None, private_key="k"))
        assert (result.reason, device.connections) == ("negotiation", 0)


@pytest.mark.parametrize("password", ["a\nb", "a\rb", "\x03", "del\x7f"])
async def test_a_password_that_no_key_can_type_is_not_sent(password: str) -> None:
    async with scripted(NAME, PASSWORD, b"r1#", b"r1#") as device:
        result = await log_in(device, NotedLogin(password))
    assert (result.reason, device.lines) == ("auth_no_verdict", ["netops"])


@pytest.mark.parametrize(
    "password", ["", " ", "p\u00e4ss w\u00f6rd \u96fb", "x" * 300, "\"quo'ted\\", "log#in:>"]
)
async def test_a_password_arrives_as_it_is(password: str) -> None:
    async with scripted(NAME, PASSWORD, b"\r\nr1#", echo=True) as device:
        result = await log_in(device, NotedLogin(password))
    assert (result.told, device.lines) == (["secret", "accepted"], ["netops", password])


# ---- while a permit is waited for


def waits(device: Scripted, then: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def wait() -> None:
        then()
        await asyncio.sleep(3)

    return wait


@pytest.mark.parametrize(
    "meanwhile",
    ["\n% Username:  timeout expired!\nUsername: ", "\nNew password: ", ".", CLOSE],
    ids=["gave up", "another question", "anything", "hung up"],
)
async def test_a_device_that_goes_on_meanwhile_gets_no_password(meanwhile: object) -> None:
    async with scripted(NAME, PASSWORD, b"r1#") as device:
        login = NotedLogin(before_secret=waits(device, lambda: device.say.put_nowait(meanwhile)))
        async with asyncio.timeout(2.5):
            result = await log_in(device, login)
    assert (result.reason, result.told, device.lines) == ("unreachable", [], ["netops"])


async def test_the_clock_stands_while_a_permit_is_waited_for() -> None:
    async def long() -> None:
        await asyncio.sleep(1.5)

    async with scripted(NAME, PASSWORD, b"\r\nr1#") as device:
        result = await log_in(device, NotedLogin(before_secret=long), Deadlines(1.2, 1.2, 1.2))
    assert result.told == ["secret", "accepted"]


async def test_telnet_commands_meanwhile_change_nothing() -> None:
    async def meanwhile() -> None:
        device.say.put_nowait(bytes((IAC, WILL, ECHO)))
        await asyncio.sleep(0.2)

    async with scripted(NAME, PASSWORD, b"\r\nr1#") as device:
        result = await log_in(device, NotedLogin(before_secret=meanwhile))
    assert result.told == ["secret", "accepted"]


async def test_what_the_login_raises_comes_through_and_nothing_is_typed() -> None:
    class Refuses(NotedLogin):
        async def secret(self) -> Secret:
            raise NetRavenError("not now")

    async with scripted(NAME, PASSWORD, b"r1#") as device:
        with pytest.raises(NetRavenError, match="not now"):
            await log_in(device, Refuses())
        assert device.lines == ["netops"]


async def test_a_permit_that_comes_at_the_very_moment_the_device_hangs_up() -> None:
    class Stubborn(NotedLogin):
        async def secret(self) -> Secret:
            device.say.put_nowait(CLOSE)
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3)
            return await super().secret()

    async with scripted(NAME, PASSWORD, b"r1#") as device:
        result = await log_in(device, Stubborn())
    assert result.told == ["secret", "rejected auth_no_verdict"]
    assert device.lines == ["netops"]


# ---- no login at all


async def test_nobody_listens() -> None:
    async with scripted() as device:
        pass
    result = await visit(TelnetTransport(PATIENT), device.target)
    assert (result.reason, result.detail, result.told) == ("unreachable", "Connection refused", [])


async def test_closed_with_a_reason() -> None:
    async with scripted("\nPassword required, but none set\n", CLOSE) as device:
        spoken = asyncio.create_task(log_in(device))
        await asyncio.sleep(0.2)
        device.say.put_nowait(CLOSE)
        result = await spoken
    assert result.reason == "unreachable"
    assert result.detail.endswith("before it asked for a secret: Password required, but none set")


async def test_a_tunnel_is_not_to_be_had() -> None:
    with pytest.raises(DeviceFailure, match="leads nowhere further"):
        async with TelnetTransport(PATIENT).tunnel(
            Target(Device("j", "192.0.2.1", "jump_host")), NotedLogin()
        ):
            pytest.fail("there is no tunnel")


@pytest.mark.parametrize(
    ("access", "port", "expected"),
    [
        (Access("telnet"), 22, 23),
        (Access("telnet"), 2323, 2323),
        (Access("telnet", telnet_port=99), 2323, 99),
        (Access("ssh-or-telnet"), 2222, 23),
        (Access("ssh-or-telnet", telnet_port=99), 22, 99),
    ],
)
def test_the_port(access: Access, port: int, expected: int) -> None:
    assert telnet_port(access, Device("r1", "192.0.2.1", "cisco_iosxe", port)) == expected
