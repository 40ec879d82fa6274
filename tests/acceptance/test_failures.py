"""What each way of failing permits: which class, whose credential, whose success rate (DESIGN.md, the table)."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from netraven import CollectSettings, Device, RunStatus, Status
from netraven.lab import Ill, Lab, LabDevice
from tests.acceptance.installation import EVERYWHERE, Installation, credential

ACCEPTED_BY_BOTH = {"first": "a", "second": "b"}
FIRST, SECOND = credential("first", "a", priority=1), credential("second", "b", priority=2)
IMPATIENT = CollectSettings(
    retries=0,
    strategy="priority",
    connect_timeout=3.0,
    login_timeout=3.0,
    command_timeout=3.0,
    device_timeout=60.0,
)

# Neither the device's silence nor its cut tells anything of the credential. (class, what it was offered)
WITHOUT_VERDICT: dict[str, tuple[Ill, str, int]] = {
    "closed-port": (Ill("port_closed"), "unreachable", 0),
    "closes": (Ill("close_on_connect"), "unreachable", 0),
    "silent": (Ill("hung_before_banner"), "unreachable", 0),
    "silent-in-kex": (Ill("hung_in_kex"), "unreachable", 0),
    "hung-login": (Ill("hung_login"), "auth_no_verdict", 1),
    "cut-login": (Ill("close_at_login"), "auth_no_verdict", 1),
}
AFTER_THE_LOGIN: dict[str, tuple[dict[str, Any], str]] = {
    "cut": ({"ill": Ill("close_after_login")}, "session_lost"),
    "no-prompt": ({"ill": Ill("hung_after_login")}, "dialogue_timeout"),
    "error": ({"ill": Ill("command_error")}, "command_rejected"),
    "denied": ({"ill": Ill("command_error", text="% Authorization failed.\n")}, "command_rejected"),
    "cut-midway": ({"ill": Ill("drop_mid_output")}, "session_lost"),
    "silent-midway": ({"ill": Ill("hang_mid_output")}, "dialogue_timeout"),
    "no-enable": ({"enable_password": "of nobody"}, "privilege_refused"),
    "empty": ({"config": ""}, "output_incomplete"),
}


async def known_rate(lab: Lab, installation: Installation) -> None:
    """Bring the first credential's rate to 0.1, from where it could move both ways."""
    async with installation.open() as raven:
        await lab.update("well", accepts={"second": "b"})
        await raven.collect(names={"well"}, strategy="priority")
        await lab.update("well", accepts=ACCEPTED_BY_BOTH)
        await raven.collect(names={"well"}, strategy="priority")
    assert await installation.rates() == {"first": pytest.approx(0.1), "second": 1.0}
    lab.log.clear()


@pytest.mark.slow
@pytest.mark.parametrize("retries", [0, 1])
async def test_no_verdict_offers_no_other_credential_and_moves_no_rate(
    installation: Installation, retries: int
) -> None:
    sick = [
        LabDevice(name, accepts=ACCEPTED_BY_BOTH, ill=ill, tags=("sick",))
        for name, (ill, _, _) in WITHOUT_VERDICT.items()
    ]
    async with Lab([LabDevice("well", accepts=ACCEPTED_BY_BOTH), *sick]) as lab:
        await installation.stock(lab, [FIRST, SECOND])
        await known_rate(lab, installation)
        before = await installation.metrics()
        installation.configure(IMPATIENT)
        with installation.file.open("a") as file:  # so many that the lockout guard asks nobody in between
            file.write("[realms.default]\nthreshold = 100\n")
        async with installation.open(retries=retries) as raven:
            report = await raven.collect(tags={"sick"})
        offered = {d.name: [a.username for a in lab.log.attempts(d.name)] for d in sick}

    assert report.run.status is RunStatus.FAILED
    assert {o.device.name: o.reason for o in report.outcomes} == {
        name: reason for name, (_, reason, _) in WITHOUT_VERDICT.items()
    }
    # a retry offers the same again, never the other
    assert offered == {
        name: ["first"] * attempts * (1 + retries) for name, (_, _, attempts) in WITHOUT_VERDICT.items()
    }
    ledger = await installation.attempts(report.run.id)
    assert {(row["verdict"], row["error_type"]) for row in ledger} == {("no_verdict", "auth_no_verdict")}
    assert len(ledger) == sum(map(len, offered.values()))
    after = await installation.metrics()
    assert after["first"].success_rate == before["first"].success_rate
    assert after["first"].successes == before["first"].successes
    assert after["first"].attempts == before["first"].attempts + len(ledger)
    assert after["second"] == before["second"]


async def test_a_name_that_does_not_resolve_is_unreachable(installation: Installation) -> None:
    await installation.stock("name,host,port,platform,tags\n", [FIRST])
    async with installation.open() as raven:
        await raven.store.inventory.upsert_devices(
            [Device("r1", "no-such-host.invalid", "cisco_iosxe", tags=EVERYWHERE)]
        )
        (outcome,) = (await raven.collect()).outcomes
    assert (outcome.reason, outcome.attempts) == ("unreachable", 0)
    assert await installation.rates() == {"first": None}


async def test_a_server_that_speaks_something_else_is_sent_nothing(installation: Installation) -> None:
    """An HTTP server, say: its own class, and no secret leaves."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        await installation.stock(
            f"name,host,port,platform,tags\nr1,127.0.0.1,{port},cisco_iosxe,\n", [FIRST, SECOND]
        )

        async def answer() -> bytes:
            loop = asyncio.get_running_loop()
            server.setblocking(False)
            peer, _ = await loop.sock_accept(server)
            with peer:
                peer.setblocking(False)
                await loop.sock_sendall(peer, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                return await loop.sock_recv(peer, 10_000)

        async with installation.open() as raven, asyncio.TaskGroup() as group:
            got = group.create_task(answer())
            (outcome,) = (await raven.collect()).outcomes
    assert got.result().startswith(b"SSH-2.0-")
    assert (outcome.status, outcome.attempts) == (Status.FAILED, 0)
    assert outcome.reason in ("negotiation", "unreachable")


@pytest.mark.slow
async def test_a_device_that_fails_after_the_login_credits_the_credential(installation: Installation) -> None:
    sick = [
        LabDevice(name, accepts=ACCEPTED_BY_BOTH, tags=("sick",), **wrong)
        for name, (wrong, _) in AFTER_THE_LOGIN.items()
    ]
    async with Lab([LabDevice("well", accepts=ACCEPTED_BY_BOTH), *sick]) as lab:
        await installation.stock(lab, [FIRST, SECOND])
        await known_rate(lab, installation)
        installation.configure(IMPATIENT)
        async with installation.open() as raven:
            report = await raven.collect(tags={"sick"})
            connections = [e async for e in raven.store.logs.connections() if e["run"] == report.run.id]
        assert [(a.username, a.verdict) for a in lab.log.attempts()] == [("first", "accepted")] * len(sick)

    assert {o.device.name: o.reason for o in report.outcomes} == {
        name: reason for name, (_, reason) in AFTER_THE_LOGIN.items()
    }
    assert {o.snapshot for o in report.outcomes} == {None}  # half a configuration is none
    for entry in connections:
        assert (entry["successful"], entry["credential"], entry["retry_count"]) == (False, "first", 0)
    rates = await installation.rates()
    assert rates["first"] == pytest.approx(1 - 0.9 ** (len(sick) + 1))
    assert rates["second"] == 1.0


async def test_a_passing_trouble_is_cured_by_the_retry(installation: Installation) -> None:
    """Cut once in the middle of the output, well the second time: same credential, collected."""
    device = LabDevice("r1", accepts=ACCEPTED_BY_BOTH, ill=Ill("drop_mid_output", times=1))
    async with Lab([device]) as lab:
        await installation.stock(lab, [FIRST, SECOND])
        async with installation.open(retries=1) as raven:
            report = await raven.collect()
        assert [a.username for a in lab.log.attempts()] == ["first", "first"]
    (outcome,) = report.outcomes
    assert (outcome.status, outcome.attempts, outcome.retry_count) == (Status.COLLECTED, 2, 0)
    assert report.run.status is RunStatus.COMPLETE
