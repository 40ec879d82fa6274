"""What last opened the device; for a device that is new, what opens its siblings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from netraven.credentials.estimates import Share, described, shares
from netraven.credentials.evidence import EVERYWHERE, features
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
        return arranged(
            standing(candidates, evidence, self._backoff),
            lambda unknown: _by_siblings(device, unknown, candidates, evidence),
        )


def _by_siblings(
    device: Device, unknown: Sequence[Credential], candidates: Sequence[Credential], evidence: Evidence
) -> Iterable[Choice]:
    """``candidates``: all of the device's, for a share is a share of what they opened together."""
    rest = [candidate for candidate in candidates if candidate not in unknown]
    among = [*unknown, *sorted(rest, key=lambda candidate: candidate.key)]
    wanted = [feature for feature in features(device) if feature[0] in _FEATURES]
    by_feature = {feature: shares(among, evidence, feature) for feature in wanted}
    judged = [
        (*_most_telling({feature: found[place] for feature, found in by_feature.items()}), candidate)
        for place, candidate in enumerate(unknown)
    ]
    judged.sort(key=lambda one: -round(one[0] * 10))  # stable: the usual order among equals
    for _, reason, candidate in judged:
        yield Choice(candidate, reason or by_priority(candidate))


_FEATURES = ("fleet", "platform", "tag")


def _most_telling(found: dict[Feature, Share]) -> tuple[float, str]:
    """The estimate by the feature that departs furthest from the fleet as a whole, and what to say of it."""
    fleet = found[EVERYWHERE].shrunk(UNDECIDED, PRIOR)
    best, telling = fleet, EVERYWHERE
    for feature, share in found.items():
        estimate = share.shrunk(fleet, PRIOR) if feature != EVERYWHERE else fleet
        if abs(estimate - fleet) > abs(best - fleet):
            best, telling = estimate, feature
    share = found[telling]
    return best, f"{share}{described(telling)}" if round(share.devices) else ""
