"""How a credential's success rate moves.

The rate is an exponential moving average: None until the first verdict, which sets it to 1.0 or 0.0; from then on
``rate * 0.9 + 0.1`` for an accepted secret and ``rate * 0.9`` for a refused one. Each of these is an affine map, and
affine maps compose into affine maps: however many verdicts come together, one :class:`Step` says what they do to a
rate that its holder need not even know. A store applies it in one statement, without reading first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from netraven.model import Verdict

KEPT = 0.9
GAINED = 0.1


@dataclass(frozen=True, slots=True)
class Step:
    """``rate -> rate * scale + shift``, and ``from_none`` where there was no rate yet. The default changes nothing."""

    scale: float = 1.0
    shift: float = 0.0
    from_none: float | None = None

    def then(self, verdict: Verdict) -> Step:
        """This step followed by one more verdict; pending and missing verdicts leave it as it is."""
        if verdict is Verdict.ACCEPTED:
            gained, first = GAINED, 1.0
        elif verdict is Verdict.REFUSED:
            gained, first = 0.0, 0.0
        else:
            return self
        return Step(
            scale=self.scale * KEPT,
            shift=self.shift * KEPT + gained,
            from_none=first if self.from_none is None else self.from_none * KEPT + gained,
        )

    def apply(self, rate: float | None) -> float | None:
        """The rate afterwards; rounding may not lift it above 1."""
        return self.from_none if rate is None else min(1.0, rate * self.scale + self.shift)


def fold(verdicts: Iterable[Verdict]) -> Step:
    """What ``verdicts``, in the order in which they came, do to a success rate."""
    step = Step()
    for verdict in verdicts:
        step = step.then(verdict)
    return step
