"""A jump host is logged in to once at a time, and its troubles are those of its devices only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from netraven.collect.access import AccessRules
from netraven.collect.jump_hosts import Hold, JumpHosts, JumpLimits
from netraven.collect.retry import RetryPolicy
from netraven.errors import Unreachable
from netraven.model import Device, Target
from netraven.ports import Tunnel

RULES = AccessRules(tags={"branch": {"jump": ("bastion",)}})
BASTION = Target(Device("bastion", "192.0.2.1", "jump_host"))


class Open:
    """A tunnel that a test can break."""

    name = "bastion"

    def __init__(self) -> None:
        self.broken = asyncio.Event()

    @property
    def alive(self) -> bool:
        return not self.broken.is_set()

    async def ended(self) -> None:
        await self.broken.wait()


class Door:
    """Lets in, after ``first`` has had its say; counts logins and what is open."""

    def __init__(self, first: Callable[[], Awaitable[None]] | None = None) -> None:
        self.first = first
        self.logins = 0
        self.opened: list[Open] = []
        self.open = 0

    async def __call__(self, target: Target, via: Tunnel | None, hold: Hold) -> None:
        self.logins += 1
        await asyncio.sleep(0)
        if self.first is not None and self.logins == 1:
            await self.first()
        tunnel = Open()
        self.opened.append(tunnel)
        self.open += 1
        try:
            await hold(tunnel)
            await asyncio.sleep(0.01)  # a connection that has ended takes a moment to be closed
        finally:
            self.open -= 1


@asynccontextmanager
async def jump_hosts(door: Door) -> AsyncIterator[JumpHosts]:
    limits = JumpLimits(retry_after=0.0, retry=RetryPolicy(0))
    async with JumpHosts({"bastion": BASTION}, RULES, limits) as hosts:
        hosts.let_through = door
        yield hosts


async def through(hosts: JumpHosts, count: int = 20) -> set[str]:
    """What came of many devices that go through it at the same time."""

    async def one(number: int) -> str:
        device = Device(f"r{number}", "192.0.2.2", "cisco_iosxe", tags=frozenset({"branch"}))
        try:
            async with hosts.way_to(Target(device, access=RULES.of(device))):
                await asyncio.sleep(0)
                return "through"
        except Unreachable as failure:
            return failure.detail

    return set(await asyncio.gather(*map(one, range(count))))


async def _no_route() -> None:
    raise Unreachable("no route")


async def _fault() -> None:
    raise ValueError("nobody has thought of this")


async def test_devices_that_ask_together_after_a_failure_share_one_login() -> None:
    door = Door(_no_route)
    async with jump_hosts(door) as hosts:
        assert await through(hosts) == {"jump host bastion: unreachable: no route"}
        assert await through(hosts) == {"through"}
        assert door.logins == 2
    assert door.open == 0


async def test_devices_that_ask_together_after_it_died_share_one_login() -> None:
    door = Door()
    async with jump_hosts(door) as hosts:
        assert await through(hosts) == {"through"}
        door.opened[0].broken.set()
        assert await through(hosts) == {"through"}
        assert door.logins == 2
    assert door.open == 0


@pytest.mark.filterwarnings("error")
async def test_a_fault_on_the_way_in_is_the_devices_failure_and_does_not_interrupt_them() -> None:
    door = Door(_fault)
    async with jump_hosts(door) as hosts:
        assert await through(hosts) == {"jump host bastion: internal: a fault of NetRaven: ValueError"}
