"""By how a credential did lately, on whichever devices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from netraven.credentials.standing import REFUSED_BACKOFF, Standing, arranged, standing, usual
from netraven.model import Choice, Credential, Device
from netraven.ports import Evidence

UNKNOWN = 0.5
"""The rate that a credential counts as while it has none."""


class SuccessRateStrategy:
    """By the moving average of verdicts (``credentials.success_rate``) as it stood when the run began.

    What opened this device before gets no advantage; what this device has refused goes last.
    """

    name = "success-rate"

    def __init__(self, refused_backoff: timedelta = REFUSED_BACKOFF) -> None:
        self._backoff = refused_backoff

    async def rank(
        self,
        device: Device,  # noqa: ARG002 - rates are the same for every device
        candidates: Sequence[Credential],
        evidence: Evidence,
    ) -> Sequence[Choice]:
        found = standing(candidates, evidence, self._backoff)
        open_to = sorted([*found.unknown, *(choice.credential for choice in found.proven)], key=usual)
        return arranged(
            Standing((), tuple(open_to), found.refused), lambda unknown: _by_rate(unknown, evidence)
        )


def _by_rate(candidates: Iterable[Credential], evidence: Evidence) -> Iterable[Choice]:
    rates = [(evidence.metrics(candidate).success_rate, candidate) for candidate in candidates]
    rates.sort(key=lambda one: -(UNKNOWN if one[0] is None else one[0]))
    for rate, candidate in rates:
        said = "no verdict yet, counts as 50 %" if rate is None else f"success rate {rate * 100:.0f} %"
        yield Choice(candidate, f"{said}; priority {candidate.priority}")
