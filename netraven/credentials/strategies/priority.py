"""The operator's order, whatever was learned."""

from __future__ import annotations

from collections.abc import Sequence

from netraven.credentials.standing import usual
from netraven.model import Choice, Credential, Device
from netraven.ports import Evidence


class PriorityStrategy:
    """By priority, lower first; by name where priorities are equal, the newest secret first."""

    name = "priority"

    async def rank(
        self,
        device: Device,  # noqa: ARG002 - the order is the same for every device
        candidates: Sequence[Credential],
        evidence: Evidence,  # noqa: ARG002 - and whatever is known
    ) -> Sequence[Choice]:
        return [Choice(c, by_priority(c)) for c in sorted(candidates, key=usual)]


def by_priority(credential: Credential) -> str:
    """The reason where nothing but the operator's word speaks."""
    return f"priority {credential.priority}"
