"""What last opened the device; for a device that is new, what opens its siblings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from netraven.credentials.estimates import Share, Siblings, described
from netraven.credentials.evidence import EVERYWHERE
from netraven.credentials.standing import REFUSED_BACKOFF, arranged, standing
from netraven.credentials.strategies.priority import by_priority
from netraven.model import Choice, Credential, Device
from netraven.ports import Evidence, Feature

PRIOR = 10.0
"""What is not known weighs as much as ten devices: one verdict moves no estimate by a tenth."""
UNDECIDED = 0.5


class LastGoodStrategy:
    """What opened the device last; then by what siblings say, in tenths, so that the operator's priorities decide
    between credentials that do about as well; what the device has refused goes last and waits.
    """

    name = "last-good"

    def __init__(self, refused_backoff: timedelta = REFUSED_BACKOFF) -> None:
        self._backoff = refused_backoff

    async def rank(
        self, device: Device, candidates: Sequence[Credential], evidence: Evidence
    ) -> Sequence[Choice]:
        found = standing(candidates, evidence, self._backoff)
        return arranged(
            found, lambda unknown: _by_siblings(device, unknown, Siblings(found.everyone, evidence))
        )


def _by_siblings(device: Device, unknown: Sequence[Credential], siblings: Siblings) -> Iterable[Choice]:
    """``unknown`` are the first of those that ``siblings`` speak of."""
    tags_and_platform = [*(("tag", tag) for tag in sorted(device.tags)), ("platform", device.platform)]
    fleet = siblings.shares(EVERYWHERE)
    others = [(feature, siblings.shares(feature)) for feature in tags_and_platform]
    judged = []
    for place, candidate in enumerate(unknown):
        estimate, reason = _estimate(fleet[place], [(feature, found[place]) for feature, found in others])
        judged.append((estimate, reason, candidate))
    judged.sort(key=lambda one: -round(one[0] * 10))  # stable: the usual order among equals
    for _, reason, candidate in judged:
        yield Choice(candidate, reason or by_priority(candidate))


def _estimate(fleet: Share, others: Iterable[tuple[Feature, Share]]) -> tuple[float, str]:
    """The chance by the one feature that departs furthest from the fleet as a whole, and what to say of it."""
    furthest, telling, share = 0.0, EVERYWHERE, fleet
    for feature, found in others:
        departure = (found.part - fleet.part) * found.devices / (found.devices + PRIOR)
        if abs(departure) > abs(furthest):
            furthest, telling, share = departure, feature, found
    estimate = fleet.shrunk(UNDECIDED, PRIOR) + furthest
    return estimate, f"{share}{described(telling)}" if round(share.devices) else ""
