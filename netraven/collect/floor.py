"""What the runs of one process share: places in session, and who is in session where.

Runs come and go; the floor stays. It is asked before a device is visited and told when the visit is over, and keeps
nothing of devices that are not in session.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field

from netraven.collect.places import Places
from netraven.model import Device

Obstacle = tuple[str, str]
"""Why a device has to wait: ``("tag", NAME)``, as many as may be are in session; ``("device", NAME)``, it is itself."""


@dataclass(frozen=True, slots=True)
class FloorLimits:
    """For all runs of the process together."""

    concurrency: int = 200
    """Devices in session at once."""
    tags: Mapping[str, int] = field(default_factory=dict)
    """Devices of a tag in session at once, of those tags that have a limit."""
    jump_logins: int = 20
    """Devices that log in through one jump host at once."""
    jump_sessions: int = 200
    """Devices in session through one jump host at once."""


class Floor:
    """Shared by runs that go on at the same time in one event loop."""

    def __init__(self, limits: FloorLimits = FloorLimits()) -> None:
        self._limits = limits
        self._asked: Counter[int] = Counter()
        """Runs that were asked for by hand with a concurrency of their own, by that number."""
        self.places = Places(limits.concurrency)
        self.flights: Counter[str] = Counter()
        """Secrets without a verdict, by realm."""
        self._in_session: dict[str, AbstractSet[str]] = {}
        self._of_tag: Counter[str] = Counter()
        """Of all tags, for a limit may come while runs go on."""
        self._realms: dict[str, Places] = {}
        self._jump_hosts: dict[str, tuple[Places, Places]] = {}
        self._listeners: list[Callable[[], None]] = []
        self._left = asyncio.Event()

    @property
    def limits(self) -> FloorLimits:
        return self._limits

    @property
    def in_session(self) -> AbstractSet[str]:
        """The names of the devices that are being visited, jump hosts aside."""
        return self._in_session.keys()

    def change(self, limits: FloorLimits) -> None:
        """Other limits from now on, also for runs that go on. Who is in session stays there."""
        self._limits = limits
        self._resize()
        for logins, sessions in self._jump_hosts.values():
            logins.limit, sessions.limit = limits.jump_logins, limits.jump_sessions
        self._tell()

    @contextmanager
    def at_least(self, concurrency: int) -> Iterator[None]:
        """A person asked for so many at once: for as long as their run lasts, the process allows it."""
        self._asked[concurrency] += 1
        self._resize()
        try:
            yield
        finally:
            self._asked[concurrency] -= 1
            self._asked += Counter()  # without those that nobody asks for any more
            self._resize()

    def _resize(self) -> None:
        self.places.limit = max([self._limits.concurrency, *self._asked])

    # ---- devices

    def enter(self, device: Device) -> Obstacle | None:
        """The device is in session from now on, until it leaves; or why it cannot be now."""
        obstacle = self.obstacle(device)
        if obstacle is None:
            self._enter(device)
        return obstacle

    def _enter(self, device: Device) -> None:
        self._in_session[device.name] = device.tags
        self._of_tag.update(device.tags)

    def obstacle(self, device: Device) -> Obstacle | None:
        """What would be in its way."""
        if device.name in self._in_session:
            return ("device", device.name)
        for tag in device.tags & self._limits.tags.keys():
            if not self.is_open(("tag", tag)):
                return ("tag", tag)
        return None

    def leave(self, device: Device) -> None:
        for tag in self._in_session.pop(device.name):
            self._of_tag[tag] -= 1
            if not self._of_tag[tag]:
                del self._of_tag[tag]
        self._left.set()
        self._tell()

    def is_open(self, obstacle: Obstacle) -> bool:
        """Whether what a device waited for is there."""
        kind, name = obstacle
        if kind == "device":
            return name not in self._in_session
        most = self._limits.tags.get(name)
        return most is None or self._of_tag[name] < most

    async def enter_in_time(self, device: Device, seconds: float) -> bool:
        """Wait until the device is in no session, so long at the most, and enter it, whatever its tags' limits say."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while device.name in self._in_session:
            self._left.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._left.wait()
            except TimeoutError:
                return False
        self._enter(device)
        return True

    @contextmanager
    def listening(self, changed: Callable[[], None]) -> Iterator[None]:
        """``changed`` is called when something that a device had to wait for may be there."""
        self._listeners.append(changed)
        try:
            yield
        finally:
            self._listeners.remove(changed)

    def _tell(self) -> None:
        for changed in self._listeners:
            changed()

    # ---- realms and jump hosts

    def local_places(self, realm: str, most: int) -> Places:
        """How many secrets of a realm without a common budget may be on their way."""
        places = self._realms.get(realm)
        if places is None:
            places = self._realms[realm] = Places(most)
        elif places.limit != most:
            places.limit = most
        return places

    def jump_places(self, host: str) -> tuple[Places, Places]:
        """Of a jump host: for those that log in through it, and for those in session."""
        if host not in self._jump_hosts:
            limits = self._limits
            self._jump_hosts[host] = Places(limits.jump_logins), Places(limits.jump_sessions)
        return self._jump_hosts[host]
