"""Fakes for the tests of programs that embed NetRaven. They pass the same contract tests as the real adapters.

``MemoryStore`` keeps everything in memory; ``FakeTransport`` answers for devices that exist in a dict only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from netraven.errors import AuthNoVerdict, AuthRefused, DeviceFailure, HostKeyChanged
from netraven.model import Capture, HostKey, Secret, Target, Verdict
from netraven.ports import Login, Session, Tunnel
from netraven.storage.memory import MemoryStore

__all__ = ["FakeAttempt", "FakeDevice", "FakeTransport", "FakeTunnel", "MemoryStore"]


@dataclass(frozen=True, slots=True)
class FakeDevice:
    """What a device accepts and prints. ``fails``: raised once it is reached, at the stage that its class says.

    A failure with ``logged_in`` set comes after the login, ``AuthNoVerdict`` in place of a verdict, any other one
    before a secret is asked for.
    """

    accepts: Mapping[str, str]
    """Username to password."""
    config: str = "hostname fake\n"
    fails: DeviceFailure | None = None
    host_key: HostKey = field(default=HostKey("ssh-ed25519", b"fake"))


@dataclass(frozen=True, slots=True)
class FakeAttempt:
    """A secret as it reached a device."""

    device: str
    username: str
    secret: Secret = field(repr=False)
    verdict: Verdict


FAKE_GREETING = "SSH-2.0-fake"
"""What each device says of itself."""


def _early(failure: DeviceFailure) -> bool:
    """Whether it comes before a secret is asked for."""
    return not (failure.logged_in or isinstance(failure, AuthNoVerdict))


class FakeTransport:
    """A ``ports.Transport`` over a dict of devices by name. ``attempts`` is what reached them, in order."""

    def __init__(self, devices: Mapping[str, FakeDevice]) -> None:
        self.devices = dict(devices)
        self.attempts: list[FakeAttempt] = []

    @asynccontextmanager
    async def open(self, target: Target, login: Login, via: Tunnel | None = None) -> AsyncIterator[Session]:
        device = self.devices[target.device.name]
        async with self._logged_in(device, target, login):
            yield _FakeSession(device)

    @asynccontextmanager
    async def tunnel(self, target: Target, login: Login, via: Tunnel | None = None) -> AsyncIterator[Tunnel]:
        async with self._logged_in(self.devices[target.device.name], target, login):
            tunnel = FakeTunnel()
            try:
                yield tunnel
            finally:
                tunnel.die()

    async def knock(self, target: Target, via: Tunnel | None = None) -> str:
        device = self.devices[target.device.name]
        if device.fails is not None and _early(device.fails):
            raise device.fails
        return FAKE_GREETING

    @asynccontextmanager
    async def _logged_in(self, device: FakeDevice, target: Target, login: Login) -> AsyncIterator[None]:
        if device.fails is not None and _early(device.fails):
            raise device.fails
        on_record = target.host_keys or await login.new_host_key(device.host_key)
        if device.host_key not in on_record:
            login.refused_host_key(device.host_key)
            raise HostKeyChanged(f"the device shows {device.host_key.fingerprint}; nothing was sent")
        secret = await login.secret()
        while (failure := self._verdict(device, login.username, secret)) is not None:
            verdict = Verdict.REFUSED if isinstance(failure, AuthRefused) else Verdict.NO_VERDICT
            self.attempts.append(FakeAttempt(target.device.name, login.username, secret, verdict))
            await login.rejected(failure)
            following = await login.another() if verdict is Verdict.REFUSED else None
            if following is None:
                raise failure
            secret = following
        self.attempts.append(FakeAttempt(target.device.name, login.username, secret, Verdict.ACCEPTED))
        await login.accepted()
        yield

    @staticmethod
    def _verdict(device: FakeDevice, username: str, secret: Secret) -> DeviceFailure | None:
        if isinstance(device.fails, AuthNoVerdict):
            return device.fails
        if username in device.accepts and device.accepts[username] == secret.password:
            return None
        return AuthRefused("the device refused the secret")


class FakeTunnel:
    """A ``ports.Tunnel`` that lives until it is told to die."""

    def __init__(self) -> None:
        self._dead = asyncio.Event()

    @property
    def alive(self) -> bool:
        return not self._dead.is_set()

    async def ended(self) -> None:
        await self._dead.wait()

    def die(self) -> None:
        self._dead.set()


class _FakeSession:
    platform_found: str | None = None

    def __init__(self, device: FakeDevice) -> None:
        self._device = device

    def facts(self, captures: Sequence[Capture]) -> Mapping[str, str]:
        return {}

    async def prove(self, *, enable: str | None) -> None:
        if self._device.fails is not None:
            raise self._device.fails

    async def capture(self, *, enable: str | None, kinds: Sequence[str] | None = None) -> Sequence[Capture]:
        if self._device.fails is not None:
            raise self._device.fails
        return (Capture(self._device.config),)
