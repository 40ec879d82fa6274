"""What is known of credentials when a device's are ranked: at the device itself, and at its siblings.

:class:`Knowledge` is a run's memory: it starts with what the store has learned and goes on learning while the run
goes on, so that the hundredth device profits from the first ninety-nine. It does no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from netraven.model import Credential, CredentialMetrics, Device, Pair, Tally, Target, Verdict, utcnow
from netraven.ports import Feature

EVERYWHERE: Feature = ("fleet", "")
_NOTHING = Tally()
_NEVER = CredentialMetrics()


def features(device: Device) -> list[Feature]:
    """What the device has in common with others, the whole fleet first."""
    return [EVERYWHERE, ("platform", device.platform), *(("tag", tag) for tag in sorted(device.tags))]


@dataclass(frozen=True, slots=True)
class Learned:
    """What a store knows of credentials: metrics by name, tallies by secret (name, version) and feature."""

    metrics: Mapping[str, CredentialMetrics] = field(default_factory=dict)
    tallies: Mapping[tuple[str, int], Mapping[Feature, Tally]] = field(default_factory=dict)


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
        """A device has accepted or refused a secret. Other verdicts teach nothing."""
        if verdict not in (Verdict.ACCEPTED, Verdict.REFUSED):
            return
        by_feature = self._tallies.setdefault(credential.key, {})
        for feature in features(device):
            old = by_feature.get(feature, _NOTHING)
            accepted = verdict is Verdict.ACCEPTED
            by_feature[feature] = Tally(old.accepted + accepted, old.refused + (not accepted))


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
