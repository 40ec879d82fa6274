"""What a run puts on record, in the order in which it happens (``ports.Ledger``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from netraven.model.facts import Capture, Credential, Device, HostKey, Outcome, SshOffer, Verdict
from netraven.model.runs import What


@dataclass(frozen=True, slots=True)
class HostKeySeen:
    """A host key met for the first time. The store answers with the device's keys as they stand on record."""

    device: Device
    key: HostKey


@dataclass(frozen=True, slots=True)
class HostKeyRefused:
    """A host key that was not let pass. It waits on record for a person to accept it (``hostkey accept``)."""

    device: Device
    key: HostKey
    at: datetime


@dataclass(frozen=True, slots=True)
class OfferSeen:
    """What the device's SSH server offers, where that differs from what is on record."""

    device: Device
    offer: SshOffer
    at: datetime


@dataclass(frozen=True, slots=True)
class PlatformFound:
    """The dialect of a device whose platform is ``auto``; None: it is not what it was taken for, look again."""

    device: Device
    platform: str | None


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """A secret is about to be offered. The store answers with the attempt's id (int), or with None: another run is in
    session with the device, and nothing is on record.
    """

    run_id: int
    device: Device
    credential: Credential
    at: datetime
    reason: str
    """Why the strategy offered this credential now."""
    seconds: float = 300.0
    """How long the session may take that it opens: for so long the device is this run's."""


@dataclass(frozen=True, slots=True)
class AttemptWithdrawn:
    """The connection went away before the secret was handed over: there was no attempt after all."""

    attempt_id: int
    credential: Credential


@dataclass(frozen=True, slots=True)
class AttemptConcluded:
    """The verdict on an attempt."""

    attempt_id: int
    device: Device
    credential: Credential
    verdict: Verdict
    at: datetime
    duration_ms: int
    error_type: str | None = None
    teaches: bool = True
    """Whether rates and pairs learn from a refusal now. False while it may be the AAA service that is in trouble:
    a :class:`RefusalConfirmed` follows once the service has proven well, and nothing if it has not."""


@dataclass(frozen=True, slots=True)
class RefusalConfirmed:
    """A refusal whose lesson was kept back was the secret's own: rates and pairs learn it now."""

    device: Device
    credential: Credential
    at: datetime


@dataclass(frozen=True, slots=True)
class ConnectionCut:
    """The device cut the connection after so many refused secrets: it is offered no more than that in one."""

    device: Device
    tries: int


@dataclass(frozen=True, slots=True)
class DeviceFinished:
    """A device's outcome with what was captured. The store answers with the outcome, snapshot and changed filled in."""

    run_id: int
    outcome: Outcome
    captures: tuple[Capture, ...] = ()
    """Also of a device that failed, where some of its outputs were complete."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What the outputs tell of the device: ``version``, ``serial``, ``model``."""
    what: What = What.CONFIGURATION
    """What the run does with its devices."""
    took_ms: int | None = None
    """What the visit took without what was waited for outside; None: it was none."""


@dataclass(frozen=True, slots=True)
class DeviceLeft:
    """The run is in no session with the device any more."""

    run_id: int
    device: Device


@dataclass(frozen=True, slots=True)
class Logged:
    """A line of the run's readable log."""

    run_id: int
    at: datetime
    level: str
    message: str
    device: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


Entry = (
    HostKeySeen
    | HostKeyRefused
    | OfferSeen
    | PlatformFound
    | AttemptStarted
    | AttemptWithdrawn
    | AttemptConcluded
    | RefusalConfirmed
    | ConnectionCut
    | DeviceFinished
    | DeviceLeft
    | Logged
)
"""Anything that the recorder writes."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Which transaction of a run's recorder entries make up. Of one run each number is higher than the one before."""

    run_id: int
    number: int
