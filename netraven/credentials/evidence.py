"""What is known of credentials when a device's are ranked: at the device itself, and at its siblings.

:class:`Knowledge` is a run's memory: it starts with what the store has learned and goes on learning while the run
goes on, so that the hundredth device profits from the first ninety-nine. It does no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from netraven.model import Credential, CredentialMetrics, Device, Pair, Tally, Target, Verdict, utcnow
from netraven.ports import Feature

EVERYWHERE: Feature = ("fleet", "")
_NOTHING = Tally()
_NEVER = CredentialMetrics()


def features(device: Device) -> list[Feature]:
    """What the device has in common with others, the whole fleet first."""
    tags = sorted(device.tags)
    return [
        EVERYWHERE,
        ("platform", device.platform),
        *(("tag", tag) for tag in tags),
        *(on_platform(tag, device.platform) for tag in tags),
    ]


def on_platform(tag: str, platform: str) -> Feature:
    """A tag and a platform together. A platform's name has no space in it."""
    return ("tag on platform", f"{tag} {platform}")


def judged(before: Pair | None, credential: Credential, verdict: Verdict, at: datetime) -> Pair:
    """What is on record of a secret at a device after it has accepted or refused it."""
    accepted = verdict is Verdict.ACCEPTED
    last_success, failures = (before.last_success, before.failures_in_row) if before else (None, 0)
    return Pair(
        credential.id or 0,
        credential.secret_version,
        last_verdict=verdict,
        last_verdict_at=at,
        last_success=at if accepted else last_success,
        failures_in_row=0 if accepted else failures + 1,
    )


@dataclass(frozen=True, slots=True)
class Learned:
    """What a store knows of credentials: metrics by name, tallies by secret (name, version) and feature."""

    metrics: Mapping[str, CredentialMetrics] = field(default_factory=dict)
    tallies: Mapping[tuple[str, int], Mapping[Feature, Tally]] = field(default_factory=dict)


HALF_LIFE = timedelta(days=30)
"""After so long a verdict counts half."""
FADES_EVERY = timedelta(days=7)
"""A verdict's weight changes once in so long, so that a store can add up whole classes of them."""
FORGOTTEN = 26
"""Weeks after which a verdict counts nothing: by then it would count less than 2 %."""
WEIGHTS = tuple(0.5 ** (week * FADES_EVERY / HALF_LIFE) for week in range(FORGOTTEN))
"""What a verdict counts by its age in whole weeks."""


def weight(at: datetime, now: datetime) -> float:
    """What a verdict of then counts now."""
    week = max(0, (now - at) // FADES_EVERY)
    return WEIGHTS[week] if week < FORGOTTEN else 0.0


Tallies = dict[tuple[str, int], dict[Feature, Tally]]


def faded(on_record: Iterable[tuple[Device, str, Pair]], now: datetime) -> Tallies:
    """Tallies of pairs on record: (device, name of the credential, pair). Each device counts once for each secret."""
    tallies: Tallies = {}
    for device, name, pair in on_record:
        counts = weight(pair.last_verdict_at, now)
        if counts:
            add(
                tallies.setdefault((name, pair.secret_version), {}),
                features(device),
                pair.last_verdict,
                counts,
            )
    return tallies


def add(tallies: dict[Feature, Tally], to: Iterable[Feature], verdict: Verdict, counts: float = 1.0) -> None:
    """Add one device's verdict to the tallies of all features that it has."""
    accepted, refused = (counts, 0.0) if verdict is Verdict.ACCEPTED else (0.0, counts)
    for feature in to:
        old = tallies.get(feature, _NOTHING)
        tallies[feature] = Tally(old.accepted + accepted, old.refused + refused)


class Knowledge:
    """A run's memory of verdicts. One event loop."""

    def __init__(self, learned: Learned | None = None, *, now: Callable[[], datetime] = utcnow) -> None:
        learned = learned or Learned()
        self._metrics = dict(learned.metrics)
        self._tallies = {secret: dict(by_feature) for secret, by_feature in learned.tallies.items()}
        self._now = now

    def of(self, target: Target) -> DeviceEvidence:
        """What is known for ranking the credentials of this device."""
        return DeviceEvidence(self, target, self._now())

    def metrics(self, credential: Credential) -> CredentialMetrics:
        return self._metrics.get(credential.name, _NEVER)

    def tally(self, credential: Credential, feature: Feature) -> Tally:
        return self._tallies.get(credential.key, {}).get(feature, _NOTHING)

    def opens_something(self, credential: Credential) -> bool:
        """Whether this very secret version was ever accepted anywhere."""
        return self.tally(credential, EVERYWHERE).accepted > 0

    def learn(self, device: Device, credential: Credential, verdict: Verdict) -> None:
        """A device has accepted or refused a secret. Other verdicts teach nothing.

        What the store had of the same pair is not taken back: a device that is judged again counts twice until the
        next run begins.
        """
        if verdict not in (Verdict.ACCEPTED, Verdict.REFUSED):
            return
        add(self._tallies.setdefault(credential.key, {}), features(device), verdict)


class DeviceEvidence:
    """``ports.Evidence`` for one device."""

    __slots__ = ("_history", "_knowledge", "now")

    def __init__(self, knowledge: Knowledge, target: Target, now: datetime) -> None:
        self.now = now
        self._knowledge = knowledge
        self._history = {(pair.credential_id, pair.secret_version): pair for pair in target.history}

    def pair(self, credential: Credential) -> Pair | None:
        if credential.id is None:
            return None
        return self._history.get((credential.id, credential.secret_version))

    def metrics(self, credential: Credential) -> CredentialMetrics:
        return self._knowledge.metrics(credential)

    def tally(self, credential: Credential, feature: Feature) -> Tally:
        return self._knowledge.tally(credential, feature)
