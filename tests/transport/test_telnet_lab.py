"""Telnet devices of the lab, collected: each dialect and each ill, with what the device saw of secrets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import asyncssh
import pytest

from netraven import CollectSettings, Credential, Device, NetRaven, Status
from netraven.collect.access import AccessRules
from netraven.lab import AAA, DIALECTS, Ill, Lab, LabDevice
from netraven.model import Access, HostKey, Target
from netraven.ports import Login, Session, Tunnel
from netraven.storage.memory import MemoryStore
from netraven.transport.deadlines import Deadlines
from netraven.transport.reach import Reach
from netraven.transport.ssh import SshTransport
from netraven.transport.telnet import TelnetTransport
from tests.transport.rig import PATIENT, NotedLogin, Visit, alone, quiet, router, visit

TAGS = frozenset({"edge"})
PATIENT_REACH = Reach(SshTransport(PATIENT), TelnetTransport(PATIENT))


def telnet_router(name: str = "r1", **fields: Any) -> LabDevice:
    return router(name, **{"telnet": True} | fields)


def target(lab: Lab, name: str = "r1", access: Access = Access("telnet"), *keys: HostKey) -> Target:
    host, port = lab.endpoint(name)
    dialect = next(d.dialect for d in lab.devices if d.name == name)
    return Target(Device(name, host, dialect, port), keys, access=access)


async def collect(
    device: LabDevice,
    login: NotedLogin | None = None,
    *,
    enable: str | None = None,
    login_seconds: float = 20.0,
) -> tuple[Visit, Lab]:
    lab = Lab([device])
    deadlines = Deadlines(20.0, login_seconds, 5.0)
    async with lab, alone():
        result = await visit(TelnetTransport(deadlines), target(lab), login, enable=enable)
        await quiet(lab)
    return result, lab


def seen(lab: Lab) -> list[tuple[str, str | None]]:
    return [(attempt.password, attempt.verdict) for attempt in lab.log.attempts()]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_each_dialect_is_collected(dialect: str) -> None:
    result, lab = await collect(telnet_router(dialect=dialect))
    assert lab.configuration("r1").strip() in result.text
    assert result.told == ["secret", "accepted"]
    assert result.login.clear_text
    assert seen(lab) == [("right", "accepted")]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("ill", [Ill(), Ill("disconnect_at_login", tries=1)], ids=lambda ill: ill.kind)
async def test_each_dialect_refuses_a_wrong_password_that_is_offered_once(dialect: str, ill: Ill) -> None:
    result, lab = await collect(telnet_router(dialect=dialect, ill=ill), NotedLogin("wrong"))
    assert result.reason == "auth_refused"
    assert result.told == ["secret", "rejected auth_refused"]
    assert seen(lab) == [("wrong", "refused")]
    assert lab.log.counts()["connect"] == 1


async def test_with_an_enable_secret() -> None:
    result, lab = await collect(telnet_router(enable_password="open"), enable="open")
    assert lab.configuration("r1").strip() in result.text


async def test_a_user_name_of_any_script() -> None:
    login = NotedLogin(username="n\u00e4me \u96fb")
    result, lab = await collect(telnet_router(accepts={"n\u00e4me \u96fb": "right"}), login)
    assert result.text
    assert [attempt.username for attempt in lab.log.attempts()] == ["n\u00e4me \u96fb"]


@pytest.mark.parametrize(
    ("ill", "reason", "verdict"),
    [
        (Ill("hung_login"), "auth_no_verdict", "unanswered"),
        (Ill("close_at_login"), "auth_no_verdict", "unanswered"),
        (Ill("expired_password"), "auth_refused", "expired"),
        (Ill("refuses"), "auth_refused", "refused"),
        (Ill("slow", seconds=0.4), None, "accepted"),
        (Ill("evil_output"), None, "accepted"),
        (Ill("close_after_login"), "session_lost", "accepted"),
        (Ill("command_error"), "command_rejected", "accepted"),
        (Ill("drop_mid_output"), "session_lost", "accepted"),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
async def test_ills(ill: Ill, reason: str | None, verdict: str) -> None:
    result, lab = await collect(telnet_router(ill=ill), login_seconds=1.5)
    assert (result.reason, seen(lab)) == (reason, [("right", verdict)])


@pytest.mark.parametrize("ill", ["port_closed", "close_on_connect", "hung_before_banner"])
async def test_ills_before_a_secret(ill: Any) -> None:
    async with Lab([telnet_router(ill=Ill(ill))]) as lab:
        result = await visit(TelnetTransport(Deadlines(0.8, 5.0, 5.0)), target(lab))
    assert (result.reason, result.told, seen(lab)) == ("unreachable", [], [])


# ---- which transport


async def reach(lab: Lab, access: Access, *keys: HostKey, login: NotedLogin | None = None) -> Visit:
    return await visit(PATIENT_REACH, target(lab, "r1", access, *keys), login)


def either(lab: Lab) -> Access:
    return Access("ssh-or-telnet", telnet_port=lab.endpoint("t1")[1])


async def test_ssh_first_and_telnet_where_nobody_listens() -> None:
    async with Lab([router(), telnet_router("t1", accepts={"netops": "right"})]) as lab:
        result = await reach(lab, either(lab))
        assert (result.reason, result.login.clear_text) == (None, False)
        await lab.set_ill("r1", Ill("port_closed"))
        result = await reach(lab, either(lab))
        assert (result.reason, result.login.clear_text) == (None, True)
        assert [a.device for a in lab.log.attempts()] == ["r1", "t1"]
        assert (await reach(lab, Access("ssh"))).reason == "unreachable"


async def test_telnet_never_follows_a_secret_a_key_or_a_hang() -> None:
    async with Lab([router(), telnet_router("t1")]) as lab:
        assert (await reach(lab, either(lab), login=NotedLogin("wrong"))).reason == "auth_refused"
        other = HostKey("ssh-ed25519", b"of somebody else")
        assert (await reach(lab, either(lab), other)).reason == "host_key_changed"
        await lab.set_ill("r1", Ill("close_on_connect"))
        assert (await reach(lab, either(lab))).reason == "unreachable"
        assert [a.device for a in lab.log.attempts()] == ["r1"]


async def test_a_device_that_has_shown_a_host_key_is_not_sent_a_password_in_clear() -> None:
    async with Lab([router(ill=Ill("port_closed")), telnet_router("t1")]) as lab:
        result = await reach(lab, either(lab), HostKey("ssh-ed25519", b"from before"))
        assert result.reason == "unreachable"
        assert "not tried over telnet" in result.detail
        assert lab.log.counts() == {}


async def test_both_ways_are_said_where_neither_leads_in() -> None:
    async with Lab([router(ill=Ill("port_closed")), telnet_router("t1", ill=Ill("port_closed"))]) as lab:
        result = await reach(lab, either(lab))
        assert result.detail == "SSH: Connection refused; telnet: Connection refused"


# ---- a whole run


async def test_a_run_offers_each_credential_once_and_the_ledger_says_the_same() -> None:
    credentials = [
        Credential("first", "netops", "wrong", TAGS, priority=1),
        Credential("second", "netops", "right", TAGS, priority=2),
    ]
    async with Lab([telnet_router()], aaa=AAA(5)) as lab:
        host, port = lab.endpoint("r1")
        device = Device("r1", host, "cisco_iosxe", port, TAGS)
        access = AccessRules(tags={"edge": {"transport": "telnet"}})
        settings = CollectSettings(strategy="priority")
        async with NetRaven.in_memory([device], credentials, settings=settings, access=access) as raven:
            report = await raven.collect()
            store = cast(MemoryStore, raven.store)
            ledger = [(s.credential.name, c and c.verdict.value) for s, c in store.attempts.values()]
            warned = [line.data for line in store.lines if line.message == "telnet_clear_text"]
        assert report.run.counts.collected == 1
        assert report.outcomes[0].status is Status.COLLECTED
        assert seen(lab) == [("wrong", "refused"), ("right", "accepted")]
        assert ledger == [("first", "refused"), ("second", "accepted")]
        assert warned == [{"count": 1, "devices": ["r1"]}]


# ---- through a jump host


class _JumpHost(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return password == "jump"

    def connection_requested(self, *where: object) -> bool:
        return True


@asynccontextmanager
async def jump_host() -> AsyncIterator[tuple[Target, list[asyncssh.SSHServerConnection]]]:
    connections: list[asyncssh.SSHServerConnection] = []

    class Kept(_JumpHost):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            connections.append(conn)

    key = asyncssh.generate_private_key("ssh-ed25519")
    async with await asyncssh.create_server(Kept, "127.0.0.1", 0, server_host_keys=[key]) as server:
        yield Target(Device("j1", "127.0.0.1", "jump_host", server.get_port())), connections


async def test_through_a_jump_host() -> None:
    async with (
        Lab([telnet_router()]) as lab,
        jump_host() as (jump, _),
        SshTransport(PATIENT).tunnel(jump, NotedLogin("jump")) as tunnel,
    ):
        behind = _Via(TelnetTransport(PATIENT), tunnel)
        assert (await visit(behind, target(lab), NotedLogin("wrong"))).reason == "auth_refused"
        result = await visit(behind, target(lab))
        assert lab.configuration("r1").strip() in result.text
        assert seen(lab) == [("wrong", "refused"), ("right", "accepted")]


async def test_a_jump_host_that_dies_in_the_session_makes_the_device_unreachable() -> None:
    async with (
        Lab([telnet_router(think=30.0)]) as lab,
        jump_host() as (jump, connections),
        SshTransport(PATIENT).tunnel(jump, NotedLogin("jump")) as tunnel,
    ):
        visiting = asyncio.create_task(visit(_Via(TelnetTransport(PATIENT), tunnel), target(lab)))
        while not lab.log.counts().get("command"):  # noqa: ASYNC110 - it happens in the device
            await asyncio.sleep(0.02)
        connections[0].abort()
        assert (await visiting).reason == "unreachable"


async def test_a_jump_host_that_reaches_nothing() -> None:
    async with (
        Lab([telnet_router(ill=Ill("port_closed"))]) as lab,
        jump_host() as (jump, _),
        SshTransport(PATIENT).tunnel(jump, NotedLogin("jump")) as tunnel,
    ):
        result = await visit(_Via(TelnetTransport(PATIENT), tunnel), target(lab))
    assert (result.reason, result.told) == ("unreachable", [])
    assert result.detail.startswith("jump host j1 does not reach it")


class _Via:
    """A transport whose every way leads through one tunnel."""

    def __init__(self, transport: TelnetTransport, tunnel: Tunnel) -> None:
        self._transport, self._tunnel = transport, tunnel
        self.tunnel = transport.tunnel
        self.knock = transport.knock

    def open(
        self, target: Target, login: Login, via: Tunnel | None = None
    ) -> AbstractAsyncContextManager[Session]:
        return self._transport.open(target, login, self._tunnel)


async def test_a_platform_is_found_out_over_telnet_too() -> None:
    async with Lab([telnet_router()]) as lab:
        goal = target(lab)
        goal = replace(goal, device=replace(goal.device, platform="auto"))
        result = await visit(TelnetTransport(PATIENT), goal)
        assert lab.configuration("r1").strip() in result.text
