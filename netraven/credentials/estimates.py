"""How likely a credential opens a device, from what other devices answered.

A visit ends with the credential that opens the device. So a credential that is offered second is judged only by
devices that refused the first one, and its share of acceptances says more of the order than of the credential. What
is counted here instead is devices: of all devices with a feature that opened to some candidate, how many opened to
this one. A device that another credential opened counts against it, whether or not it was offered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netraven.credentials.evidence import EVERYWHERE
from netraven.credentials.standing import predecessors
from netraven.model import Credential, Tally
from netraven.ports import Evidence, Feature


@dataclass(frozen=True, slots=True)
class Share:
    """Of so many ``devices``, as many as ``opened`` accepted the credential (both faded by age)."""

    opened: float
    devices: float

    @property
    def part(self) -> float:
        """0.0 where there are no devices."""
        return self.opened / self.devices if self.devices else 0.0

    def shrunk(self, towards: float, strength: float) -> float:
        """The mean of a Beta posterior whose prior has the mean ``towards`` and weighs as much as that many devices."""
        return (self.opened + strength * towards) / (self.devices + strength)

    def __str__(self) -> str:
        count = round(self.devices)
        return f"{self.part * 100:.0f} % on {count} device{'s' if count != 1 else ''}"


class Siblings:
    """What other devices say of the candidates of one device."""

    def __init__(self, candidates: Sequence[Credential], evidence: Evidence) -> None:
        self._evidence = evidence
        self._candidates = [(candidate, *_heir(candidate, candidates, evidence)) for candidate in candidates]

    def shares(self, feature: Feature) -> list[Share]:
        """The share of each candidate among the devices with ``feature``."""
        tallies = [
            self._tally(candidate, feature, before, counts) for candidate, before, counts in self._candidates
        ]
        opened = sum(tally.accepted for tally in tallies)
        return [Share(tally.accepted, max(opened, tally.total)) for tally in tallies]

    def _tally(self, candidate: Credential, feature: Feature, before: Credential, counts: float) -> Tally:
        own = self._evidence.tally(candidate, feature)
        if not counts:
            return own
        old = self._evidence.tally(before, feature)
        return Tally(own.accepted + counts * old.accepted, own.refused + counts * old.refused)


def _heir(
    candidate: Credential, candidates: Sequence[Credential], evidence: Evidence
) -> tuple[Credential, float]:
    """The secret that a changed one has replaced, and how far the old figures stand for the new secret: 0.0 to 1.0.

    A rotation means that the new secret opens what the old one did. Each device that has judged the new one speaks for
    itself instead, and each refusal that no acceptance makes up for halves what is left: then the new secret is
    wrong. Nothing is inherited while the old one is still a candidate: it speaks for itself.
    """
    own = evidence.tally(candidate, EVERYWHERE)
    if any(c.name == candidate.name and c.secret_version < candidate.secret_version for c in candidates):
        return candidate, 0.0
    for before in predecessors(candidate):
        old = evidence.tally(before, EVERYWHERE)
        if old.total:
            unheard = max(0.0, 1 - own.total / old.total)
            return before, unheard * 0.5 ** max(0.0, own.refused - own.accepted)
    return candidate, 0.0


def described(feature: Feature) -> str:
    """The devices with ``feature``, as they go on after "97 % on 412 devices"."""
    kind, value = feature
    if feature == EVERYWHERE:
        return ""
    if kind == "tag":
        return f" tagged {value}"
    if kind == "platform":
        return f" of platform {value}"
    tag, _, platform = value.rpartition(" ")
    return f" tagged {tag} of platform {platform}"
