"""Fakes for the tests of programs that embed NetRaven. They pass the same contract tests as the real adapters.

``MemoryStore`` keeps everything in memory; ``FakeTransport`` answers for devices that exist in a dict only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from netraven.errors import AuthNoVerdict, AuthRefused, DeviceFailure, HostKeyChanged
from netraven.model import Capture, HostKey, Secret, Target, Verdict
from netraven.ports import Login, Session
from netraven.storage.memory import MemoryStore

__all__ = ["FakeAttempt", "FakeDevice", "FakeTransport", "MemoryStore"]


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


class FakeTransport:
    """A ``ports.Transport`` over a dict of devices by name. ``attempts`` is what reached them, in order."""

    def __init__(self, devices: Mapping[str, FakeDevice]) -> None:
        self.devices = dict(devices)
        self.attempts: list[FakeAttempt] = []

    @asynccontextmanager
    async def open(self, target: Target, login: Login) -> AsyncIterator[Session]:
        device = self.devices[target.device.name]
        if device.fails is not None and not (
            device.fails.logged_in or isinstance(device.fails, AuthNoVerdict)
        ):
            raise device.fails
        on_record = target.host_keys or await login.new_host_key(device.host_key)
        if device.host_key not in on_record:
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
        yield _FakeSession(device)

    @staticmethod
    def _verdict(device: FakeDevice, username: str, secret: Secret) -> DeviceFailure | None:
        if isinstance(device.fails, AuthNoVerdict):
            return device.fails
        if username in device.accepts and device.accepts[username] == secret.password:
            return None
        return AuthRefused("the device refused the secret")


class _FakeSession:
    def __init__(self, device: FakeDevice) -> None:
        self._device = device

    async def capture(self, *, enable: str | None, kinds: Sequence[str] = ("running",)) -> Sequence[Capture]:
        if self._device.fails is not None:
            raise self._device.fails
        return (Capture(self._device.config),)
