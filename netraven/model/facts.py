"""The facts that NetRaven speaks of. Frozen, free of I/O, and free of secrets in their repr.

Times are timezone-aware UTC. Durations are whole milliseconds where a name ends in ``_ms``, else seconds.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

from netraven.model.access import Access


def utcnow() -> datetime:
    """Now, as every stored time is: timezone-aware UTC."""
    return datetime.now(UTC)


JUMP_HOST = "jump_host"
"""The platform of devices that only let through: nothing is collected from them."""
AUTO = "auto"
"""The platform of devices whose dialect is to be found out."""


@dataclass(frozen=True, slots=True)
class Device:
    """One thing to log in to. ``name`` identifies it; ``id`` is the store's own and None until stored."""

    name: str
    host: str
    platform: str
    port: int = 22
    tags: AbstractSet[str] = frozenset()
    id: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", as_set(self.tags))


@dataclass(frozen=True, slots=True)
class Secret:
    """What opens a device. Never shown, logged, compared in clear or written anywhere but sealed.

    A private key and a password together are one secret: the key goes first, the password follows where the device
    wants it too or does not take the key.
    """

    password: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    enable: str | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)
    """What opens ``private_key``, where it is sealed."""
    certificate: str | None = field(default=None, repr=False)
    """An OpenSSH user certificate that belongs to ``private_key`` (the line of a ``-cert.pub`` file)."""
    agent: str | None = field(default=None, repr=False)
    """The ssh agent holds the key and signs: a key's ``SHA256:`` fingerprint or comment, empty for any of its keys."""

    @property
    def has_key(self) -> bool:
        """Whether public key authentication can be tried with it."""
        return self.private_key is not None or self.agent is not None

    def with_kept(self, kept: Secret) -> Secret:
        """What a source gave, with what is kept here: the enable secret, and what belongs to the source's key."""
        if not self.has_key:
            return replace(self, enable=kept.enable)
        return replace(
            self,
            enable=kept.enable,
            password=self.password if self.password is not None else kept.password,
            passphrase=self.passphrase if self.passphrase is not None else kept.passphrase,
            certificate=self.certificate if self.certificate is not None else kept.certificate,
        )

    @property
    def opens_something(self) -> bool:
        """Whether a device can be logged in to with it; enable secrets and passphrases alone open nothing."""
        return self.password is not None or self.has_key


@dataclass(frozen=True, slots=True)
class Credential:
    """A username with a secret, and where it may be offered.

    A credential matches a device when they share at least one tag. ``priority``: lower goes first. ``realm`` names
    who judges the password, and (realm, username) is the account that can be locked. ``secret_version`` counts up
    with every changed secret; while a previous secret is kept as a fallback, it comes as a credential of its own with
    the same name and a lower version. ``when``: ``aaa-down`` keeps a credential back until its device's AAA gives no
    verdict (break-glass). ``source`` says where the secret is read (``env:NAME``, ``file:PATH`` ...), None for the
    store itself. The secret fields are set by embedders who keep credentials in memory; a credential that comes from
    a store carries none, and its secret is revealed on request (``ports.Secrets``).
    """

    name: str
    username: str
    password: str | None = field(default=None, repr=False, compare=False)
    tags: AbstractSet[str] = frozenset()
    priority: int = 100
    realm: str = "default"
    private_key: str | None = field(default=None, repr=False, compare=False)
    enable_password: str | None = field(default=None, repr=False, compare=False)
    secret_version: int = 1
    id: int | None = field(default=None, compare=False)
    when: Literal["always", "aaa-down"] = "always"
    source: str | None = None
    passphrase: str | None = field(default=None, repr=False, compare=False)
    certificate: str | None = field(default=None, repr=False, compare=False)
    agent: str | None = field(default=None, repr=False, compare=False)
    """As in :class:`Secret`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", as_set(self.tags))
        if self.when not in ("always", "aaa-down"):
            raise ValueError(f"credential {self.name!r}: when is 'always' or 'aaa-down', not {self.when!r}")

    @property
    def key(self) -> tuple[str, int]:
        """This very secret: the name and the version."""
        return (self.name, self.secret_version)

    @property
    def account(self) -> tuple[str, str]:
        """The thing that an AAA server locks."""
        return (self.realm, self.username)

    def matches(self, device: Device) -> bool:
        return not self.tags.isdisjoint(device.tags)


def as_set(tags: Iterable[str]) -> frozenset[str]:
    if isinstance(tags, str):
        raise TypeError(f'tags are a set of strings, not one string: write {{"{tags}"}}')
    return frozenset(tags)


@dataclass(frozen=True, slots=True)
class CredentialMetrics:
    """What has been learned of a credential; see ``credentials.success_rate`` for how the rate moves."""

    success_rate: float | None = None
    attempts: int = 0
    successes: int = 0
    last_used: datetime | None = None
    last_success: datetime | None = None
    held_until: datetime | None = None
    hold_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """What is on record of one secret version at one device. ``last_verdict`` is ``ACCEPTED`` or ``REFUSED``.

    ``failures_in_row`` counts refusals since the last acceptance; ``last_success`` is None where there was none.
    """

    credential_id: int
    secret_version: int
    last_verdict: Verdict
    last_verdict_at: datetime
    last_success: datetime | None = None
    failures_in_row: int = 0

    @property
    def proven(self) -> bool:
        """Whether this secret opened the device the last time that it was judged there."""
        return self.last_verdict is Verdict.ACCEPTED


@dataclass(frozen=True, slots=True)
class Unaccepted:
    """An attempt of the last day at a device that was refused or not answered; ``at`` is when it was offered."""

    realm: str
    username: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Earlier:
    """An attempt that is on record: the credential as far as the attempt tells of it, and what came of it."""

    credential: Credential
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Tally:
    """Devices that accepted and that refused a secret version, faded by age: a device counts half after a while."""

    accepted: float = 0.0
    refused: float = 0.0

    @property
    def total(self) -> float:
        return self.accepted + self.refused


@dataclass(frozen=True, slots=True)
class HostKey:
    """An SSH host key: ``algorithm`` as on the wire (``ssh-ed25519``), ``key`` the public key blob of RFC 4253."""

    algorithm: str
    key: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """As OpenSSH prints it: ``SHA256:`` and the unpadded base64 of the blob's digest."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.key).digest()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class SshOffer:
    """What an SSH server says of itself before any key is exchanged (RFC 4253, KEXINIT). Names as on the wire."""

    version: str
    """Its version string, ``SSH-2.0-...``."""
    kex: tuple[str, ...] = ()
    host_keys: tuple[str, ...] = ()
    ciphers: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trust:
    """What is on record of host keys beside those that a device may show."""

    authorities: tuple[HostKey, ...] = ()
    """Keys that may sign this device's host certificates."""
    revoked: tuple[HostKey, ...] = ()
    """Keys that nobody may show."""


@dataclass(frozen=True, slots=True)
class Target:
    """A device as a run meets it, with what the store already knows of it."""

    device: Device
    host_keys: tuple[HostKey, ...] = ()
    history: tuple[Pair, ...] = ()
    """What is on record of secrets at this device."""
    unaccepted: tuple[Unaccepted, ...] = ()
    """Attempts of the last day that it did not accept, whatever became of their credentials."""
    tries_per_connection: int | None = None
    """How many secrets the device took on one connection before it cut it; None where it never did."""
    offer: SshOffer | None = None
    """What its SSH server offered when it was last looked at."""
    detected: str | None = None
    """The platform that ``platform = auto`` has found."""
    trust: Trust = Trust()
    access: Access = Access()
    """How it is reached, as settings say; filled in by the run."""
    dead_in_row: int = 0
    """How many runs in a row could not reach it."""
    duration_ms: int | None = None
    """What a visit usually takes that goes well."""
    earlier: tuple[Earlier, ...] = ()
    """What was offered to it in this very run before another process took the run over, in order."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A credential's place in a strategy's order, and the one-line reason for it.

    ``not_before``: it is not offered before then (this device has refused this very secret not long ago).
    """

    credential: Credential
    reason: str
    not_before: datetime | None = None


class Verdict(StrEnum):
    """What came of an attempt. ``PENDING`` stands on record from before the secret is sent until it is answered."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    NO_VERDICT = "no_verdict"


class Status(StrEnum):
    """What a device came to in a run."""

    COLLECTED = "collected"
    FAILED = "failed"
    SKIPPED = "skipped"
    CHECKED = "checked"
    """It is well, as far as this run was to find out: nothing was to be collected."""


class SkipReason(StrEnum):
    NO_CREDENTIALS = "no_credentials"
    """No credential shares a tag with the device, or none that does can be read."""
    INTERRUPTED = "interrupted"
    """The run was stopped while the device was in session."""
    HELD = "credentials_held"
    """Nothing was sent: what could open the device is held so that no account gets locked."""
    REALM_PAUSED = "realm_paused"
    """Nothing was sent: the AAA service of the device's credentials looks unwell."""
    REFUSED_BEFORE = "refused_before"
    """Nothing was sent: the device has refused every credential that matches, not long ago."""
    WINDOW = "window_closed"
    """The time by which the run had to be finished came before its turn, or cut it short."""


@dataclass(frozen=True, slots=True)
class Capture:
    """One output of a device, exactly as it came but for the echo, the prompt and line ends."""

    text: str = field(repr=False)
    kind: str = "running"
    platform: str = ""
    """The dialect that printed it; empty: the platform of the device."""

    @property
    def data(self) -> bytes:
        return self.text.encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one device came to in one run. One connection log row is made of it.

    ``reason`` is a failure class (``errors``) or a :class:`SkipReason`, None when collected. ``attempts`` counts
    secrets offered on the wire; ``retry_count`` the further credentials offered after the first. ``credential`` is
    the one that opened the device, or the last one offered. ``snapshot`` and ``changed`` are filled in by the store.
    """

    device: Device
    status: Status
    started_at: datetime
    duration_ms: int
    reason: str | None = None
    detail: str | None = None
    credential: Credential | None = None
    attempts: int = 0
    retry_count: int = 0
    snapshot: str | None = None
    changed: bool | None = None
