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
from netraven.model import Credential
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


def shares(
    candidates: Sequence[Credential], evidence: Evidence, feature: Feature, elsewhere: float = 1.0
) -> list[Share]:
    """The share of each of ``candidates`` among the devices with ``feature``.

    ``elsewhere``: what a device counts that another candidate opened before this one was offered, 1.0 like a refusal.
    """
    tallies = [evidence.tally(candidate, feature) for candidate in candidates]
    opened = sum(tally.accepted for tally in tallies)
    return [
        Share(tally.accepted, tally.total + elsewhere * max(0.0, opened - tally.total)) for tally in tallies
    ]


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
