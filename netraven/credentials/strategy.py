"""The orders in which credentials can be offered, by name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from netraven.errors import InputError
from netraven.model import Choice, Credential, Device
from netraven.ports import Evidence, Strategy


class PriorityStrategy:
    """By priority, lower first; by name where priorities are equal."""

    name = "priority"

    async def rank(
        self,
        device: Device,  # noqa: ARG002 - the order is the same for every device
        candidates: Sequence[Credential],
        evidence: Evidence,  # noqa: ARG002 - and whatever is known
    ) -> Sequence[Choice]:
        ordered = sorted(candidates, key=lambda c: (c.priority, c.name))
        return [Choice(c, f"priority {c.priority}") for c in ordered]


_STRATEGIES: dict[str, type[Strategy]] = {PriorityStrategy.name: PriorityStrategy}


def strategy_named(name: str) -> Strategy:
    """Raise ``InputError`` naming the closest one for an unknown ``name``."""
    if name not in _STRATEGIES:
        close = difflib.get_close_matches(name, _STRATEGIES, n=1)
        hint = f", did you mean {close[0]!r}?" if close else f". Known are: {', '.join(sorted(_STRATEGIES))}"
        raise InputError(f"unknown strategy {name!r}{hint}")
    return _STRATEGIES[name]()
