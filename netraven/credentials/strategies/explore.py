"""By how likely each credential opens the device, given everything that it has in common with others.

The chance is estimated as naive Bayes does: the fleet's shares, times what the platform makes of them, times what
each tag makes of them on this platform. Every step is a Beta posterior that starts from the step before it, and
counts only as far as its figures differ from that step's by more than chance (:func:`_matters`), so that tags which
mean nothing add no noise.

There is no bonus for uncertainty: a device is visited until something opens it, so what it accepts is learned
whichever credential goes first, and the cheapest order to learn in is the one that is most likely right. What is
uncertain stays near the step before it instead. docs/adr/0009 has the figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import timedelta
from math import lgamma

from netraven.credentials.estimates import Share, Siblings, described
from netraven.credentials.evidence import EVERYWHERE, on_platform
from netraven.credentials.standing import REFUSED_BACKOFF, arranged, standing
from netraven.credentials.strategies.priority import by_priority
from netraven.model import Choice, Credential, Device
from netraven.ports import Evidence, Feature

PRIOR = 2.0
"""How many devices an estimate weighs that comes from the step before; by simulation, as the other figures here
(``python -m benchmarks --only strategies``). From 1 to 5 they make little difference."""
MATTERS = 0.25
"""How likely a feature decides about credentials, before anything is known of it."""
SPREAD = 3.0
"""How far the shares of a feature that matters lie from those of the step before: a Dirichlet prior's weight."""
GRAIN = 0.1
"""Chances that differ by less than about a tenth of themselves are equal, and the operator's priorities decide."""


class ExploreStrategy:
    """What opened the device last; then by the chance that its tags and its platform give each credential; what the
    device has refused goes last and waits.
    """

    name = "explore"

    def __init__(self, refused_backoff: timedelta = REFUSED_BACKOFF) -> None:
        self._backoff = refused_backoff

    async def rank(
        self, device: Device, candidates: Sequence[Credential], evidence: Evidence
    ) -> Sequence[Choice]:
        found = standing(candidates, evidence, self._backoff)
        return arranged(
            found, lambda unknown: _by_chance(device, unknown, _Odds(Siblings(found.everyone, evidence)))
        )


def _by_chance(device: Device, unknown: Sequence[Credential], odds: _Odds) -> Iterable[Choice]:
    """``unknown`` are the first of those that ``odds`` are about."""
    odds.of(device)
    chances = odds.chances()
    order = sorted(range(len(unknown)), key=lambda place: -round(odds.logs[place] / GRAIN))  # stable
    for place in order:
        known = odds.telling[place]
        reason = f"{chances[place] * 100:.0f} % likely: {known}" if known else by_priority(unknown[place])
        yield Choice(unknown[place], reason)


class _Odds:
    """The logarithms of the chances of several credentials at one device, up to a common summand."""

    def __init__(self, siblings: Siblings) -> None:
        self._shares = siblings.shares
        found = self._shares(EVERYWHERE)
        even = 1 / (len(found) + 1)  # one more for "none of these"
        self._fleet = [share.shrunk(even, PRIOR) for share in found]
        self.logs = [math.log(chance) for chance in self._fleet]
        self.telling = [str(share) if round(share.devices) else "" for share in found]
        """What moved each chance most, in words; empty where nothing is known."""
        self._moved = [0.0] * len(found)

    def of(self, device: Device) -> None:
        """Take in what the device has in common with others."""
        platform = self._step(("platform", device.platform), self._fleet)
        self._move(("platform", device.platform), platform, self._fleet)
        for tag in sorted(device.tags):
            tagged = self._step(("tag", tag), self._fleet)
            guess = _whole([t * p / f for t, p, f in zip(tagged, platform, self._fleet, strict=True)])
            both = self._step(on_platform(tag, device.platform), guess)
            telling = ("tag", tag) if both is guess else on_platform(tag, device.platform)
            self._move(telling, both, platform)

    def chances(self) -> list[float]:
        """So many of the devices open to anything at all, and these are the parts in it."""
        opens = min(1.0, sum(self._fleet))
        top = max(self.logs)
        return [opens * part for part in _whole([math.exp(log - top) for log in self.logs])]

    def _step(self, feature: Feature, before: list[float]) -> list[float]:
        """The posteriors with ``feature`` taken in; ``before`` itself where nothing is known of it."""
        found = self._shares(feature)
        matters = _matters(found, _whole(before))
        if not matters:
            return before
        return [
            matters * share.shrunk(chance, PRIOR) + (1 - matters) * chance
            for share, chance in zip(found, before, strict=True)
        ]

    def _move(self, feature: Feature, after: list[float], before: list[float]) -> None:
        found: list[Share] | None = None
        for place, (new, old) in enumerate(zip(after, before, strict=True)):
            moved = math.log(new / old)
            self.logs[place] += moved
            if abs(moved) > self._moved[place]:
                found = found or self._shares(feature)
                if round(found[place].devices):
                    self._moved[place] = abs(moved)
                    self.telling[place] = f"{found[place]}{described(feature)}"


def _whole(parts: Sequence[float]) -> list[float]:
    total = sum(parts)
    return [part / total for part in parts]


def _matters(found: Sequence[Share], before: Sequence[float]) -> float:
    """How likely a feature decides about credentials: 0.0 where nothing opened to any.

    Bayes' rule for two explanations of how many devices opened to which credential: drawn by the shares ``before``,
    or by shares of the feature's own that are themselves drawn around those (Dirichlet-multinomial).
    """
    total = sum(share.opened for share in found)
    if not total:
        return 0.0
    same, own = 0.0, lgamma(SPREAD) - lgamma(SPREAD + total)
    for share, chance in zip(found, before, strict=True):
        if share.opened:
            same += share.opened * math.log(chance)
            own += lgamma(SPREAD * chance + share.opened) - lgamma(SPREAD * chance)
    return 1 / (1 + math.exp(min(700.0, same - own)) * (1 - MATTERS) / MATTERS)
