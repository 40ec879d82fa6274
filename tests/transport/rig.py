"""Logins against the lab, with everything that the transport told noted down."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncssh
from asyncssh.auth import ClientAuth

from netraven.errors import DeviceFailure
from netraven.lab import Lab, LabDevice
from netraven.model import Capture, Device, HostKey, Secret, SshOffer, Target
from netraven.ports import Transport
from netraven.transport.deadlines import Deadlines
from netraven.transport.ssh import SshTransport

PATIENT = Deadlines(connect=20.0, login=20.0, command=20.0)
"""Nothing on loopback takes that long."""

QUICK = 5.0
"""Seconds within which anything on loopback has happened."""


class NotedLogin:
    """A ``ports.Login`` that notes each call. ``told``: what happened, in order. ``more``: its further passwords."""

    def __init__(
        self,
        password: str | None = "right",
        *,
        username: str = "netops",
        private_key: str | None = None,
        secret: Secret | None = None,
        before_secret: Callable[[], Awaitable[None]] | None = None,
        more: Sequence[str] = (),
    ) -> None:
        self.username = username
        secret = secret or Secret(password, private_key)
        self.wants_key = secret.has_key
        self.wants_password = secret.password is not None
        self.refused_keys: list[HostKey] = []
        self.offers: list[SshOffer] = []
        self.told: list[str] = []
        self.failure: DeviceFailure | None = None
        self._secret = secret
        self._before_secret = before_secret
        self._more = list(more)
        self.clear_text = False
        self.cuts: list[int] = []
        """After how many refused secrets the device hung up."""

    async def new_host_key(self, key: HostKey) -> Sequence[HostKey]:
        self.told.append(f"new_host_key {key.fingerprint}")
        return (key,)

    def refused_host_key(self, key: HostKey) -> None:
        self.refused_keys.append(key)

    def offer_seen(self, offer: SshOffer) -> None:
        self.offers.append(offer)

    def in_clear_text(self) -> None:
        self.clear_text = True

    async def secret(self) -> Secret:
        if self._before_secret is not None:
            await self._before_secret()
        self.told.append("secret")
        return self._secret

    async def unsent(self) -> None:
        self.told.append("unsent")

    async def accepted(self) -> None:
        self.told.append("accepted")

    async def rejected(self, failure: DeviceFailure) -> None:
        self.told.append(f"rejected {failure.reason}")
        self.failure = failure

    async def another(self) -> Secret | None:
        if not self._more:
            return None
        self.told.append("another")
        return Secret(self._more.pop(0))

    async def cut(self, tries: int) -> None:
        self.cuts.append(tries)


@dataclass
class Visit:
    """What came of one login: the captures or the failure."""

    login: NotedLogin
    captures: Sequence[Capture] = ()
    failure: DeviceFailure | None = field(default=None)

    @property
    def text(self) -> str:
        assert self.failure is None, f"{self.failure.reason}: {self.failure.detail}"
        (capture,) = self.captures
        return capture.text

    @property
    def reason(self) -> str | None:
        return None if self.failure is None else self.failure.reason

    @property
    def detail(self) -> str:
        assert self.failure is not None, "it was collected"
        return self.failure.detail

    @property
    def told(self) -> list[str]:
        """Without the host key."""
        return [event for event in self.login.told if not event.startswith("new_host_key")]


def router(name: str = "r1", **fields: object) -> LabDevice:
    return LabDevice(name, **{"accepts": {"netops": "right"}, "config_size": 3000} | fields)  # type: ignore[arg-type]  # table-driven


def key_of(lab: Lab, name: str = "r1") -> HostKey:
    """The host key that the device shows from now on."""
    algorithm, text = lab.host_key(name).split()
    return HostKey(algorithm, base64.b64decode(text))


def target(lab: Lab, name: str = "r1", *host_keys: HostKey, **known: Any) -> Target:
    """``known``: further fields."""
    host, port = lab.endpoint(name)
    platform = next(d.dialect for d in lab.devices if d.name == name)
    return Target(Device(name, host, platform, port), host_keys, **known)


async def visit(
    transport: Transport, goal: Target, login: NotedLogin | None = None, *, enable: str | None = None
) -> Visit:
    """Open, capture, close; a ``DeviceFailure`` is a result, anything else is raised."""
    result = Visit(login or NotedLogin())
    try:
        async with transport.open(goal, result.login) as session:
            result.captures = await session.capture(enable=enable)
    except DeviceFailure as failure:
        result.failure = failure
    return result


async def collect(
    device: LabDevice,
    login: NotedLogin | None = None,
    *,
    enable: str | None = None,
    deadlines: Deadlines = PATIENT,
) -> tuple[Visit, Lab]:
    """One device in a lab of its own, visited once; the lab is stopped when this returns, its log stays."""
    lab = Lab([device])
    async with lab, alone():
        result = await visit(SshTransport(deadlines), target(lab, device.name), login, enable=enable)
        await quiet(lab)
    return result, lab


async def quiet(lab: Lab) -> None:
    """Until no connection is left in the lab."""
    async with asyncio.timeout(QUICK):
        while lab.connections or lab.mutes or lab.sessions_open:  # noqa: ASYNC110 - it happens in the devices
            await asyncio.sleep(0.002)


@asynccontextmanager
async def alone() -> AsyncIterator[None]:
    """Nothing of the transport outlives what is done here: no task is left, at once."""
    before = asyncio.all_tasks()
    yield
    left = [task for task in asyncio.all_tasks() - before if _is_the_clients(task)]
    assert left == []


def _is_the_clients(task: asyncio.Task[object]) -> bool:
    """The lab's own tasks run in the same loop; what asyncssh does for the client is told by whose method it is."""
    frame = getattr(task.get_coro(), "cr_frame", None)
    owner = frame.f_locals.get("self") if frame is not None else None
    return isinstance(owner, asyncssh.SSHClientConnection | ClientAuth | asyncssh.SSHClient)
