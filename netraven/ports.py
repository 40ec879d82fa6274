"""Every seam of NetRaven on one screen. Adapters stand behind these; ``app`` alone knows them by name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from netraven.errors import DeviceFailure
from netraven.model import (
    Capture,
    Choice,
    Counts,
    Credential,
    Device,
    Entry,
    HostKey,
    Run,
    RunStatus,
    Secret,
    Selector,
    Target,
)


class Strategy(Protocol):
    """Says in which order to offer credentials to a device, and why."""

    name: str

    async def rank(self, device: Device, candidates: Sequence[Credential]) -> Sequence[Choice]:
        """Order ``candidates`` (all match the device); leaving one out means that it is not offered."""


class Secrets(Protocol):
    """Gives the secret of a credential when it is needed, and not before."""

    async def reveal(self, credential: Credential) -> Secret:
        """Raise ``SecretUnreadable`` where it cannot be had; that is this credential's trouble only."""


class Inventory(Protocol):
    """Where devices and credentials come from."""

    async def count(self, selector: Selector) -> int: ...

    def targets(self, selector: Selector) -> AsyncIterator[Target]:
        """Devices in the order of their names, read lazily: memory does not grow with the fleet."""

    async def credentials(self) -> Sequence[Credential]: ...


class Ledger(Protocol):
    """Keeps what happened. The recorder is its only caller during a run."""

    async def commit(self, entries: Sequence[Entry]) -> Sequence[Any]:
        """Make all entries durable in one transaction, or none (raise); answer each as its class says."""


class Runs(Protocol):
    """The runs themselves."""

    async def start(self, selector: Selector, *, strategy: str, concurrency: int, devices: int) -> Run: ...

    async def finish(self, run: Run, status: RunStatus, counts: Counts, error: str | None = None) -> Run: ...


class Session(Protocol):
    """An open, authenticated session with a device."""

    async def capture(self, *, enable: str | None) -> Sequence[Capture]:
        """Collect what the platform says; raises a ``DeviceFailure`` with ``logged_in`` set."""


class Login(Protocol):
    """One credential's way into one device, told by the transport as it happens on the wire.

    The calls come in this order: ``new_host_key`` where the device shows a key that is not on record yet and the
    policy accepts it; ``secret`` once, at the moment the device asks for it; then exactly one of ``accepted`` and
    ``rejected``. Where the connection ends before the secret was handed over, neither is called.
    """

    username: str
    wants_key: bool
    """Whether the secret is a private key (public key authentication) rather than a password."""

    async def new_host_key(self, key: HostKey) -> Sequence[HostKey]:
        """Remember the key before the secret is sent; returns what is on record now, which may be another's."""

    async def secret(self) -> Secret:
        """Hand over the secret. May wait for a permit; returns once the attempt is on record."""

    async def accepted(self) -> None:
        """The device accepted the secret."""

    async def rejected(self, failure: DeviceFailure) -> None:
        """The device refused the secret (``AuthRefused``) or gave no verdict (``AuthNoVerdict``)."""


class Transport(Protocol):
    """Opens sessions."""

    def open(self, target: Target, login: Login) -> AbstractAsyncContextManager[Session]:
        """Connect and log in with exactly one attempt on the wire; raises ``DeviceFailure`` subclasses only."""


Clock = Callable[[], float]
"""Seconds on a monotonic scale (``time.monotonic``)."""

Sleep = Callable[[float], Awaitable[None]]
"""Waits that many seconds (``asyncio.sleep``)."""
