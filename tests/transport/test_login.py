"""Every way in which a login can end: its class, and what was on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncssh
import pytest

from netraven.lab import AAA, Ill, Lab, LabDevice
from netraven.model import Device, Secret, Target
from netraven.transport.deadlines import Deadlines
from netraven.transport.ssh import SshTransport
from tests.transport.rig import PATIENT, NotedLogin, Visit, alone, collect, quiet, router, target, visit

AUTH = [("password",), ("keyboard-interactive",), ("password", "keyboard-interactive")]
SHORT = 0.25
"""Seconds of a deadline that is to pass."""


def deadlines(**short: float) -> Deadlines:
    return Deadlines(**{"connect": 20.0, "login": 20.0, "command": 20.0} | short)


def seen(lab: Lab) -> list[tuple[str, str | None]]:
    """What the device saw: secrets and its own verdicts."""
    return [(attempt.password, attempt.verdict) for attempt in lab.log.attempts()]


# ---- refused and accepted: exactly one secret on the wire


@pytest.mark.parametrize("auth", AUTH, ids="+".join)
async def test_the_right_secret_is_offered_once(auth: tuple[str, ...]) -> None:
    result, lab = await collect(router(auth=auth))
    assert result.text
    assert result.told == ["secret", "accepted"]
    assert seen(lab) == [("right", "accepted")]
    assert lab.log.attempts()[0].method == auth[0]


@pytest.mark.parametrize("auth", AUTH, ids="+".join)
@pytest.mark.parametrize(
    "ill",
    [
        Ill(),
        Ill("refuses"),
        Ill("disconnect_at_login"),
        Ill("disconnect_at_login", tries=3),
        Ill("kbdint_retry", tries=5),
    ],
    ids=lambda ill: f"{ill.kind}-{ill.tries}",
)
async def test_a_wrong_secret_is_offered_once_whatever_the_device_offers_next(
    ill: Ill, auth: tuple[str, ...]
) -> None:
    result, lab = await collect(router(ill=ill, auth=auth), NotedLogin("wrong"))
    assert result.reason == "auth_refused"
    assert result.detail.startswith("the device refused the secret")
    assert result.told == ["secret", "rejected auth_refused"]
    assert seen(lab) == [("wrong", "refused")]
    assert lab.log.counts()["connect"] == 1


async def test_the_devices_words_are_kept_where_it_says_why() -> None:
    result, _ = await collect(router(ill=Ill("disconnect_at_login")), NotedLogin("wrong"))
    assert result.detail == "the device refused the secret: Too many authentication failures for netops"


@pytest.mark.parametrize("auth", [("password",), ("password", "keyboard-interactive")], ids="+".join)
async def test_an_expired_password_is_no_way_in_and_is_not_offered_twice(auth: tuple[str, ...]) -> None:
    result, lab = await collect(router(ill=Ill("expired_password"), auth=auth))
    assert result.reason == "auth_refused"
    assert seen(lab) == [("right", "expired")]


@pytest.mark.parametrize("password", ["", " ", "p\u00e4ss w\u00f6rd \u96fb", "x" * 300, "\"quo'ted\\"])
async def test_a_password_arrives_as_it_is(password: str) -> None:
    result, lab = await collect(
        router(accepts={"netops": password}, ill=Ill("refuses")), NotedLogin(password)
    )
    assert result.reason == "auth_refused"
    assert lab.log.secrets_seen("r1") == [password]


# ---- no connection, no verdict


@pytest.mark.parametrize(
    ("ill", "detail"),
    [
        ("port_closed", "Connection refused"),
        ("close_on_connect", "Connection (reset by peer|lost)"),
    ],
)
async def test_no_connection(ill: Any, detail: str) -> None:
    result, lab = await collect(router(ill=Ill(ill)))
    assert result.reason == "unreachable"
    assert re.fullmatch(detail, result.detail)
    assert result.told == []
    assert lab.log.attempts() == []


@pytest.mark.parametrize("ill", ["hung_before_banner", "hung_in_kex"])
async def test_connected_but_no_key_exchange(ill: Any) -> None:
    result, _ = await collect(router(ill=Ill(ill)), deadlines=deadlines(connect=SHORT))
    assert (result.reason, result.told) == ("unreachable", [])
    assert result.detail == f"connected, but no SSH key exchange within {SHORT:g} s"


@pytest.mark.parametrize("auth", AUTH, ids="+".join)
async def test_no_answer_to_the_secret(auth: tuple[str, ...]) -> None:
    result, lab = await collect(router(ill=Ill("hung_login"), auth=auth), deadlines=deadlines(login=SHORT))
    assert result.reason == "auth_no_verdict"
    assert result.detail == f"no answer to the secret within {SHORT:g} s"
    assert result.told == ["secret", "rejected auth_no_verdict"]
    assert seen(lab) == [("right", "unanswered")]


@pytest.mark.parametrize("auth", AUTH, ids="+".join)
async def test_cut_after_the_secret_was_offered(auth: tuple[str, ...]) -> None:
    result, lab = await collect(router(ill=Ill("close_at_login"), auth=auth))
    assert result.reason == "auth_no_verdict"
    assert result.detail == "the connection ended before the secret was answered: Connection lost"
    assert seen(lab) == [("right", "unanswered")]


async def test_a_slow_device_is_not_a_silent_one() -> None:
    result, _ = await collect(router(ill=Ill("slow", seconds=0.1)))
    assert result.text


# ---- deadlines


async def test_waiting_for_a_permit_is_neither_the_connections_time_nor_the_devices() -> None:
    async def permit() -> None:
        await asyncio.sleep(0.4)

    result, _ = await collect(
        router(), NotedLogin(before_secret=permit), deadlines=deadlines(connect=0.3, login=0.3)
    )
    assert result.told == ["secret", "accepted"]
    assert result.text


async def test_the_login_deadline_counts_from_the_secret() -> None:
    async def permit() -> None:
        await asyncio.sleep(0.3)

    loop = asyncio.get_running_loop()
    begun = loop.time()
    result, _ = await collect(
        router(ill=Ill("hung_login")),
        NotedLogin(before_secret=permit),
        deadlines=deadlines(connect=0.25, login=0.25),
    )
    assert result.reason == "auth_no_verdict"
    assert 0.5 <= loop.time() - begun < 2


@pytest.mark.parametrize("auth", AUTH, ids="+".join)
async def test_a_device_that_leaves_before_the_permit_comes_never_gets_the_secret(
    auth: tuple[str, ...],
) -> None:
    lab = Lab([router(auth=auth)])

    async def permit() -> None:
        for connection in list(lab.connections):
            connection.abort()
        await asyncio.sleep(30)

    login = NotedLogin(before_secret=permit)
    async with lab, alone():
        result = await visit(SshTransport(PATIENT), target(lab), login)
        assert result.reason == "unreachable"
        assert result.told == []
        assert lab.log.attempts() == []


async def test_no_route() -> None:
    """An address that answers nothing at all; the deadline or the system's refusal ends it, nothing else."""
    silent = Target(Device("r1", "192.0.2.1", "cisco_iosxe"))
    result = await visit(SshTransport(deadlines(connect=SHORT)), silent)
    assert result.reason == "unreachable"
    assert result.told == []


async def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unresolved(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unresolved)
    result = await visit(SshTransport(PATIENT), Target(Device("r1", "nowhere.invalid", "cisco_iosxe")))
    assert result.reason == "unreachable"
    assert result.detail == "the name does not resolve: Name or service not known"


@pytest.mark.parametrize("host", ["a" * 70, "bad..name", "", "x" * 300, "\u2603.example", "white space"])
async def test_a_host_that_cannot_be_a_name_is_this_devices_trouble(host: str) -> None:
    result = await visit(SshTransport(deadlines(connect=5)), Target(Device("r1", host, "cisco_iosxe", 1)))
    assert result.reason == "unreachable"


async def test_ipv6() -> None:
    if not await _has_ipv6():
        pytest.skip("no IPv6 loopback")
    async with Lab([router()]) as lab, _relay(*lab.endpoint("r1")) as port:
        result = await visit(SshTransport(PATIENT), Target(Device("r1", "::1", "cisco_iosxe", port)))
        assert result.text
        await quiet(lab)


async def _has_ipv6() -> bool:
    with contextlib.suppress(OSError):
        server = await asyncio.start_server(lambda *_: None, "::1", 0)
        server.close()
        return True
    return False


@asynccontextmanager
async def _relay(host: str, port: int) -> AsyncIterator[int]:
    """Listens on ::1 and passes bytes on to an IPv4 address."""
    pumps: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, port)
        for pair in ((reader, far_writer), (far_reader, writer)):
            pumps.add(asyncio.create_task(pump(*pair)))

    server = await asyncio.start_server(serve, "::1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.wait(pumps, timeout=5)


# ---- what is not a usable SSH server


@asynccontextmanager
async def speaker(answer: bytes, *, hang_up: bool = True) -> AsyncIterator[tuple[Target, list[bytes]]]:
    """A TCP service that says the same to everybody, and keeps what it was told."""
    heard: list[bytes] = []
    open_now: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.append(writer)
        writer.write(answer)
        with contextlib.suppress(OSError):
            heard.append(await reader.read(65536))
            if hang_up:
                writer.close()
            while data := await reader.read(65536):
                heard.append(data)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield Target(Device("r1", host, "cisco_iosxe", port)), heard
    finally:
        server.close()
        for writer in open_now:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@pytest.mark.parametrize(
    ("answer", "reasons"),
    [
        (
            b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n<html>no</html>",
            {"unreachable", "negotiation"},
        ),
        (b"220 mail.example ESMTP\r\n", {"unreachable", "negotiation"}),
        (b"\x00\xff\xfe" * 20_000, {"unreachable", "negotiation"}),
        (b"x" * 100_000, {"unreachable", "negotiation"}),
        (b"SSH-1.5-OldBox\r\n", {"negotiation"}),
        (b"SSH-2.0-Broken\r\n" + b"\xff" * 200, {"negotiation", "unreachable"}),
        (b"\xff\xfd\x18\xff\xfd\x20Username: ", {"unreachable", "negotiation"}),
        (b"", {"unreachable"}),
    ],
    ids=["http", "smtp", "noise", "one long line", "ssh 1", "garbled", "telnet", "nothing"],
)
async def test_what_does_not_speak_ssh_gets_no_secret(answer: bytes, reasons: set[str]) -> None:
    async with speaker(answer) as (goal, heard), alone():
        result = await visit(SshTransport(deadlines(connect=3)), goal)
        assert result.reason in reasons
        assert result.told == []
        assert all(ord(c) >= 32 for c in result.detail)
        assert not any(b"right" in data for data in heard)


@asynccontextmanager
async def other_server(factory: Any = asyncssh.SSHServer, **options: Any) -> AsyncIterator[Target]:
    """An SSH server that is not the lab's."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.create_server(
        factory, "127.0.0.1", 0, **{"server_host_keys": [key], "gss_host": None} | options
    )
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield Target(Device("r1", host, "cisco_iosxe", port))
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    "old",
    [
        {"kex_algs": ["diffie-hellman-group1-sha1"]},
        {"encryption_algs": ["3des-cbc", "aes128-cbc"]},
        {"encryption_algs": ["aes128-ctr"], "mac_algs": ["hmac-md5", "hmac-sha1"]},
        {
            "server_host_keys": [asyncssh.generate_private_key("ssh-rsa", key_size=2048)],
            "signature_algs": ["ssh-rsa"],
        },
    ],
    ids=["kex", "cipher", "mac", "host key"],
)
async def test_only_old_algorithms_in_common(old: dict[str, Any]) -> None:
    async with other_server(**old) as goal, alone():
        result = await visit(SshTransport(PATIENT), goal)
        assert result.reason == "negotiation", result.detail
        assert result.login.told == [], "not even the host key is remembered"


async def test_a_server_that_offers_only_public_keys_is_sent_nothing() -> None:
    class OnlyKeys(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            return True

        def public_key_auth_supported(self) -> bool:
            return True

    async with other_server(OnlyKeys) as goal, alone():
        result = await visit(SshTransport(PATIENT), goal)
        assert result.reason == "negotiation"
        assert result.detail == "the device offers no authentication method that the credential can serve"
        assert result.told == []


# ---- private keys


class KeyServer(asyncssh.SSHServer):
    """Accepts one public key."""

    accepts: asyncssh.SSHKey
    asked = 0

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        type(self).asked += 1
        return key == self.accepts

    def password_auth_supported(self) -> bool:
        return True


def key_server() -> tuple[type[KeyServer], asyncssh.SSHKey]:
    key = asyncssh.generate_private_key("ssh-ed25519")
    return type("OneKey", (KeyServer,), {"accepts": key.convert_to_public(), "asked": 0}), key


def key_login(key: asyncssh.SSHKey) -> NotedLogin:
    return NotedLogin(None, private_key=key.export_private_key().decode())


async def test_a_private_key_opens_and_a_wrong_one_is_refused() -> None:
    factory, key = key_server()
    async with other_server(factory) as goal:
        right, wrong = key_login(key), key_login(asyncssh.generate_private_key("ssh-ed25519"))
        result = await visit(SshTransport(deadlines(command=SHORT)), goal, right)
        assert right.told[1:] == ["secret", "accepted"]
        assert result.reason in ("session_lost", "dialogue_timeout"), "the server offers no shell"
        result = await visit(SshTransport(PATIENT), goal, wrong)
        assert (result.reason, result.told) == ("auth_refused", ["secret", "rejected auth_refused"])


async def test_a_key_is_not_tried_against_a_server_that_takes_passwords_only() -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    result, lab = await collect(router(), key_login(key))
    assert (result.reason, result.told) == ("negotiation", [])
    assert lab.log.attempts() == []


# ---- an unknown platform


async def test_an_unknown_platform_is_found_before_anything_is_sent() -> None:
    async with Lab([router()]) as lab:
        goal = target(lab)
        goal = Target(Device("r1", goal.device.host, "cisco_isoxe", goal.device.port))
        result = await visit(SshTransport(PATIENT), goal)
        assert result.reason == "internal"
        assert "did you mean 'cisco_iosxe'" in result.detail
        assert (result.login.told, "connect" in lab.log.counts()) == ([], False)


# ---- after the login


@pytest.mark.parametrize(
    ("ill", "reason", "detail"),
    [
        ("close_after_login", "session_lost", "the session ended: "),
        (
            "hung_after_login",
            "dialogue_timeout",
            "was silent for 0.25 s when it was to log in to the shell and switch paging off",
        ),
        (
            "command_error",
            "command_rejected",
            "'show running-config' was answered with: % Invalid input detected",
        ),
        ("drop_mid_output", "session_lost", "the session ended: "),
        (
            "hang_mid_output",
            "dialogue_timeout",
            "was silent for 0.25 s when it was to run 'show running-config'",
        ),
    ],
)
@pytest.mark.parametrize("dialect", ["cisco_iosxe", "juniper_junos"])
async def test_what_goes_wrong_after_the_login(ill: Any, reason: str, detail: str, dialect: str) -> None:
    if dialect == "juniper_junos":
        detail = detail.replace("show running-config", "show configuration").replace(
            "% Invalid input detected", ""
        )
    limits = deadlines(command=SHORT) if reason == "dialogue_timeout" else PATIENT
    result, lab = await collect(router(ill=Ill(ill), dialect=dialect), deadlines=limits)
    assert (result.reason, result.told) == (reason, ["secret", "accepted"])
    assert detail in result.detail
    assert seen(lab) == [("right", "accepted")]


async def test_a_device_that_says_why_it_rejects_a_command() -> None:
    ill = Ill("command_error", text="Command authorization failed.\x1b[2J\n\n")
    result, _ = await collect(router(ill=ill))
    assert result.reason == "command_rejected"
    assert "Command authorization failed." in result.detail
    assert "\x1b" not in result.detail


async def test_an_empty_configuration_is_not_a_version() -> None:
    result, _ = await collect(router(config=""))
    assert result.reason == "output_incomplete"


async def test_control_sequences_in_banners_do_not_disturb_and_reach_no_message() -> None:
    result, _ = await collect(router(ill=Ill("evil_output")))
    assert "hostname r1" in result.text
    result, _ = await collect(router(ill=Ill("evil_output")), NotedLogin("wrong"))
    assert result.reason == "auth_refused"
    assert result.detail.isprintable()


# ---- being cancelled


@pytest.mark.parametrize("ill", ["none", "hung_login", "hung_after_login", "hang_mid_output", "hung_in_kex"])
async def test_cancelled_at_any_moment_nothing_is_left(ill: Any) -> None:
    device = router(ill=Ill(ill), think=0.004)
    async with Lab([device]) as lab:
        transport = SshTransport(PATIENT)
        for step in range(24):
            login = NotedLogin()
            async with alone():
                task = asyncio.create_task(visit(transport, target(lab), login))
                await asyncio.sleep(step * 0.0015)
                task.cancel()
                await asyncio.wait([task])
            ends = [event for event in login.told if event.startswith(("accepted", "rejected"))]
            assert len(ends) <= 1
            assert login.told.count("secret") <= 1
        await quiet(lab)
        counts = lab.log.counts()
        assert counts["connect"] == counts["disconnect"]
        assert counts.get("session", 0) == counts.get("session_closed", 0)


async def test_many_sessions_cancelled_together() -> None:
    devices: list[LabDevice] = [router(f"r{n}", ill=Ill("hang_mid_output")) for n in range(30)]
    async with Lab(devices) as lab:
        transport = SshTransport(PATIENT)
        async with alone():
            tasks = [asyncio.create_task(visit(transport, target(lab, d.name))) for d in devices]
            async with asyncio.timeout(10):
                while sum(len(lab.log.commands(d.name)) >= 2 for d in devices) < 30:  # noqa: ASYNC110 - in the lab
                    await asyncio.sleep(0.01)
            begun = asyncio.get_running_loop().time()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert asyncio.get_running_loop().time() - begun < 1.5
        await quiet(lab)


async def test_a_server_that_does_not_let_go_is_left_after_a_grace() -> None:
    async with speaker(b"SSH-2.0-Sticky\r\n", hang_up=False) as (goal, _), alone():
        begun = asyncio.get_running_loop().time()
        result: Visit = await visit(SshTransport(deadlines(connect=SHORT), close_grace=0.2), goal)
        assert result.reason == "unreachable"
        assert asyncio.get_running_loop().time() - begun < 2


# ---- several passwords of one user on one connection


@pytest.mark.parametrize("auth", AUTH, ids="+".join)
@pytest.mark.parametrize("ill", [Ill(), Ill("kbdint_retry", tries=5)], ids=lambda ill: ill.kind)
async def test_the_next_password_goes_over_the_same_connection(ill: Ill, auth: tuple[str, ...]) -> None:
    login = NotedLogin("old", more=["older", "right"])
    result, lab = await collect(router(ill=ill, auth=auth), login)
    assert result.text
    assert result.told == [
        "secret",
        "rejected auth_refused",
        "another",
        "rejected auth_refused",
        "another",
        "accepted",
    ]
    assert seen(lab) == [("old", "refused"), ("older", "refused"), ("right", "accepted")]
    assert lab.log.counts()["connect"] == 1
    assert login.cuts == []


async def test_no_more_than_three_whatever_the_device_allows() -> None:
    login = NotedLogin("1", more=["2", "3", "4"])
    result, lab = await collect(router(), login)
    assert result.reason == "auth_refused"
    assert [password for password, _ in seen(lab)] == ["1", "2", "3"]
    assert login.told.count("rejected auth_refused") == 3


@pytest.mark.parametrize("tries", [1, 2])
async def test_a_device_that_hangs_up_after_so_many_is_noted(tries: int) -> None:
    login = NotedLogin("old", more=["older", "right"])
    result, lab = await collect(router(ill=Ill("disconnect_at_login", tries=tries)), login)
    assert result.reason == "auth_refused"
    assert len(seen(lab)) == tries
    assert login.cuts == [tries]
    assert login.told.count("rejected auth_refused") == tries, "each refusal is told once"


async def test_a_further_password_that_gets_no_answer_is_no_verdict() -> None:
    aaa = AAA(5)

    class Falls(NotedLogin):
        async def another(self) -> Secret | None:
            aaa.mode = "silent"
            return await super().another()

    login = Falls("old", more=["right"])
    async with Lab([router()], aaa=aaa) as lab, alone():
        result = await visit(SshTransport(deadlines(login=SHORT)), target(lab), login)
        await quiet(lab)
    assert result.reason == "auth_no_verdict"
    assert result.told == ["secret", "rejected auth_refused", "another", "rejected auth_no_verdict"]
    assert login.cuts == [1], "it took one, and is offered no more than that from now on"
