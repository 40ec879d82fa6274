"""Devices behind jump hosts, over real SSH all the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import cast

import pytest

from netraven import Credential, Device, NetRaven
from netraven.app import RunReport
from netraven.collect.access import AccessRules
from netraven.collect.floor import FloorLimits
from netraven.config import CollectSettings
from netraven.lab import Ill, Lab, LabDevice
from netraven.testing import MemoryStore
from tests.transport.jump_server import jump_server

BASTION = Credential("bastion", "jumper", "jump-pw", frozenset({"bastions"}), realm="bastions")
ROUTERS = Credential("routers", "netops", "right", frozenset({"routers"}))


def fleet(lab: Lab) -> list[Device]:
    found = []
    for device in lab.devices:
        host, port = lab.endpoint(device.name)
        found.append(Device(device.name, host, device.dialect, port, frozenset({"routers"})))
    return found


def behind(*names: str, **words: object) -> AccessRules:
    return AccessRules(tags={"routers": {"jump": names, **words}})


@asynccontextmanager
async def raven(
    lab: Lab, jumps: Sequence[Device], rules: AccessRules, *credentials: Credential, **settings: object
) -> AsyncIterator[NetRaven]:
    told = CollectSettings(**({"retries": 0} | settings))  # type: ignore[arg-type]  # table-driven
    async with NetRaven.in_memory(
        [*fleet(lab), *jumps], credentials or (BASTION, ROUTERS), settings=told, access=rules
    ) as opened:
        yield opened


def reasons(report: RunReport) -> dict[str, str | None]:
    return {outcome.device.name: outcome.reason for outcome in report.outcomes}


def memory(opened: NetRaven) -> MemoryStore:
    return cast("MemoryStore", opened.store)


async def until(so: Callable[[], bool]) -> None:
    while not so():  # noqa: ASYNC110 - what is waited for happens in a server
        await asyncio.sleep(0.02)


def routers(count: int, **fields: object) -> list[LabDevice]:
    return [LabDevice(f"r{n}", accepts={"netops": "right"}, config_size=2000, **fields) for n in range(count)]  # type: ignore[arg-type]  # table-driven


async def test_one_connection_carries_every_device_and_the_jump_host_is_not_collected() -> None:
    async with (
        jump_server({"jumper": "jump-pw"}) as jump,
        Lab(routers(12)) as lab,
        raven(lab, [jump.device("bastion", "bastions")], behind("bastion")) as opened,
    ):
        report = await opened.collect()
        assert set(reasons(report).values()) == {None}
        assert len(report.outcomes) == 12
        assert jump.logins == ["jumper"]
        assert len(jump.through) == 12
        store = memory(opened)
        assert [started.device.name for started, _ in store.attempts.values()].count("bastion") == 1
        assert len(store.host_keys["bastion"]) == 1


async def test_a_chain_of_two_each_with_its_own_credential() -> None:
    inner_credential = Credential("inner", "inside", "inner-pw", frozenset({"inner"}), realm="inner")
    async with (
        jump_server({"jumper": "jump-pw"}) as outer,
        jump_server({"inside": "inner-pw"}) as inner,
        Lab(routers(3)) as lab,
    ):
        jumps = [outer.device("outer", "bastions"), inner.device("inner", "inner")]
        rules = AccessRules(tags={"routers": {"jump": ("inner",)}}, devices={"inner": {"jump": ("outer",)}})
        async with raven(lab, jumps, rules, BASTION, ROUTERS, inner_credential) as opened:
            assert set(reasons(await opened.collect()).values()) == {None}
        assert outer.through == [("127.0.0.1", inner.port)]
        assert len(inner.through) == 3
        assert (outer.logins, inner.logins) == (["jumper"], ["inside"])


async def test_a_jump_host_that_refuses_its_credentials_fails_its_devices_only_and_is_asked_once() -> None:
    async with jump_server({"jumper": "changed"}) as jump, Lab(routers(5)) as lab:
        rules = AccessRules(devices={f"r{n}": {"jump": ("bastion",)} for n in range(4)})
        async with raven(lab, [jump.device("bastion", "bastions")], rules) as opened:
            report = await opened.collect()
        assert reasons(report) == dict.fromkeys(["r0", "r1", "r2", "r3"], "unreachable") | {"r4": None}
        failed = next(o for o in report.outcomes if o.device.name == "r0")
        assert failed.detail is not None
        assert "jump host bastion: auth_refused" in failed.detail
        assert jump.refused == 1
        assert failed.attempts == 0


@pytest.mark.parametrize("concurrency", [1, 50])
async def test_a_jump_host_that_refuses_what_opens_other_devices_holds_up_nobody_for_long(
    concurrency: int,
) -> None:
    """One realm for all: its refusal is doubtful at first, and what could tell may wait for a place behind it."""
    rules = AccessRules(devices={f"r{n}": {"jump": ("bastion",)} for n in range(3)})
    both = Credential("both", "netops", "right", frozenset({"routers", "bastions"}))
    async with (
        jump_server({"netops": "changed"}) as jump,
        Lab(routers(5)) as lab,
        raven(lab, [jump.device("bastion", "bastions")], rules, both, concurrency=concurrency) as opened,
    ):
        assert set(reasons(await opened.collect(names=["r3", "r4"])).values()) == {None}
        async with asyncio.timeout(30):
            report = await opened.collect()
    assert reasons(report) == dict.fromkeys(["r0", "r1", "r2"], "unreachable") | {"r3": None, "r4": None}
    assert jump.refused == 1


async def test_a_jump_host_whose_credential_is_held_is_not_waited_for() -> None:
    rules = AccessRules(devices={"r0": {"jump": ("bastion",)}})
    both = Credential("both", "netops", "not it", frozenset({"routers", "bastions"}))
    async with (
        jump_server({"netops": "right"}) as jump,
        Lab(routers(6)) as lab,
        raven(lab, [jump.device("bastion", "bastions")], rules, both) as opened,
    ):
        await opened.collect(names=[f"r{n}" for n in range(1, 6)])
        async with asyncio.timeout(45):
            (outcome,) = (await opened.collect(names=["r0"])).outcomes
    assert outcome.reason == "unreachable"
    assert "jump host bastion: credentials_held" in (outcome.detail or "")
    assert jump.refused == 0


async def test_a_jump_host_that_dies_fails_only_its_devices_and_is_opened_again() -> None:
    slow = routers(4, ill=Ill("slow", seconds=0.4))
    async with jump_server({"jumper": "jump-pw"}) as jump, Lab(slow) as lab:
        rules = AccessRules(devices={name: {"jump": ("bastion",)} for name in ("r0", "r1")})
        async with raven(lab, [jump.device("bastion", "bastions")], rules, retries=1) as opened:
            run = asyncio.create_task(opened.collect())
            await until(lambda: len(jump.through) == 2)
            jump.die()
            report = await run
    assert reasons(report)["r2"] is None
    assert reasons(report)["r3"] is None
    assert len(jump.logins) == 2, "it was logged in to once more, for the devices that were tried again"


async def test_a_jump_host_that_stays_dead_makes_its_devices_unreachable() -> None:
    async with AsyncExitStack() as things:
        lab = await things.enter_async_context(Lab(routers(3, ill=Ill("hang_mid_output"))))
        async with jump_server({"jumper": "jump-pw"}) as jump:
            opened = await things.enter_async_context(
                raven(lab, [jump.device("bastion", "bastions")], behind("bastion"))
            )
            run = asyncio.create_task(opened.collect())
            await until(lambda: lab.sessions_open == 3)
        report = await run
    assert set(reasons(report).values()) == {"unreachable"}


async def test_a_device_that_the_jump_host_does_not_reach_says_so() -> None:
    async with Lab(routers(1)) as lab:
        _, port = lab.endpoint("r0")
        async with (
            jump_server({"jumper": "jump-pw"}, frozenset({port})) as jump,
            raven(lab, [jump.device("bastion", "bastions")], behind("bastion")) as opened,
        ):
            (outcome,) = (await opened.collect()).outcomes
    assert (outcome.reason, outcome.attempts) == ("unreachable", 0)
    assert outcome.detail == "jump host bastion does not reach it: not allowed"


async def test_what_a_jump_host_reaches_too_late_is_let_go_of() -> None:
    """Its device has been given up by then: nothing stays open to it while others are collected."""
    devices = [*routers(1), LabDevice("busy", accepts={"netops": "right"}, think=1.0)]
    async with (
        jump_server({"jumper": "jump-pw"}) as jump,
        Lab(devices) as lab,
        raven(lab, [jump.device("bastion", "bastions")], behind("bastion"), connect_timeout=0.6) as opened,
    ):
        _, port = lab.endpoint("r0")
        jump.slow[port] = 0.9
        run = asyncio.create_task(opened.collect())
        await until(lambda: any(e.kind == "connect" and e.device == "r0" for e in lab.log.events))
        await until(lambda: any(e.kind == "disconnect" and e.device == "r0" for e in lab.log.events))
        assert not run.done(), "it is let go of at once, and not with the jump host"
        assert reasons(await run) == {"r0": "unreachable", "busy": None}


async def test_a_jump_host_whose_key_has_changed_gets_no_secret() -> None:
    async with (
        jump_server({"jumper": "jump-pw"}) as first,
        jump_server({"jumper": "jump-pw"}) as other,
        Lab(routers(1)) as lab,
        raven(lab, [first.device("bastion", "bastions")], behind("bastion")) as opened,
    ):
        await opened.collect()
        devices = memory(opened).devices
        devices["bastion"] = replace(devices["bastion"], port=other.port)
        (outcome,) = (await opened.collect()).outcomes
    assert outcome.reason == "unreachable"
    assert "jump host bastion: host_key_changed" in (outcome.detail or "")
    assert (other.logins, other.refused) == ([], 0)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (behind("nobody"), "jump host 'nobody' is not in the inventory"),
        (AccessRules(tags={"routers": {"jump": ("r0",)}}), "is reached through itself"),
        (
            AccessRules(
                tags={"routers": {"jump": ("a",)}},
                devices={"a": {"jump": ("b",)}, "b": {"jump": ("a",)}},
            ),
            "is reached through itself: r0 <- a <- b <- a",
        ),
    ],
)
async def test_a_way_that_cannot_be_is_said(rules: AccessRules, said: str) -> None:
    async with jump_server({}) as jump, Lab(routers(1)) as lab:
        jumps = [jump.device("a", "bastions"), jump.device("b", "bastions")]
        async with raven(lab, jumps, rules) as opened:
            (outcome,) = (await opened.collect()).outcomes
    assert outcome.reason == "unreachable"
    assert said in (outcome.detail or "")


async def test_no_more_devices_than_told_log_in_or_are_in_session_through_one_jump_host() -> None:
    async with jump_server({"jumper": "jump-pw"}) as jump, Lab(routers(12)) as lab:
        async with raven(lab, [jump.device("bastion", "bastions")], behind("bastion")) as opened:
            opened._floor.change(FloorLimits(jump_logins=1, jump_sessions=2))
            most = 0

            async def watch() -> None:
                nonlocal most
                while True:
                    most = max(most, lab.sessions_open)
                    await asyncio.sleep(0.005)

            watching = asyncio.create_task(watch())
            report = await opened.collect()
            watching.cancel()
        assert set(reasons(report).values()) == {None}
        assert 1 <= most <= 2


async def test_an_interrupted_run_leaves_nothing_open_at_the_jump_host_or_behind_it() -> None:
    async with (
        jump_server({"jumper": "jump-pw"}) as jump,
        Lab(routers(20, think=5.0)) as lab,
        raven(lab, [jump.device("bastion", "bastions")], behind("bastion")) as opened,
    ):
        run = asyncio.create_task(opened.collect())
        await until(lambda: lab.sessions_open >= 3)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        await until(lambda: lab.sessions_open == 0 and not jump.open_now)
        store = memory(opened)
        assert {outcome.reason for outcome in store.outcomes} == {"interrupted"}
        assert all(concluded is not None for _, concluded in store.attempts.values()), "no attempt stays open"
