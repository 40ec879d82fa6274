"""Where credentials stand with one device: it opened to them, it refused them, or it was never asked.

What a device itself has answered weighs more than anything that is known of others, so all strategies that learn
build their order around the same three groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from netraven.credentials.age import ago
from netraven.model import Choice, Credential, Pair
from netraven.ports import Evidence

REFUSED_BACKOFF = timedelta(days=3)
"""How long a secret that a device has refused is not offered to it again, unless settings say otherwise."""
LONGEST_BACKOFF = timedelta(days=30)
_MOST_DOUBLINGS = 12
"""More than lead from any sensible back-off to the longest: keeps a huge count of refusals harmless."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The candidates of one device in three groups, each in an order that does not depend on how they came in."""

    proven: tuple[Choice, ...]
    """The device opened to these the last time that they were judged, or to the secret that they replaced: the latest
    first, a new secret before the old one."""
    unknown: tuple[Credential, ...]
    """Never judged here; by priority, then name, the newest secret first."""
    refused: tuple[Choice, ...]
    """The device refused these the last time; first those that may be offered soonest."""

    @property
    def everyone(self) -> list[Credential]:
        """All candidates, the unknown ones first."""
        others = [choice.credential for choice in (*self.proven, *self.refused)]
        return [*self.unknown, *sorted(others, key=lambda credential: credential.key)]


def usual(credential: Credential) -> tuple[int, str, int]:
    """The order where nothing is known: the operator's priority, then the name, the newest secret first."""
    return (credential.priority, credential.name, -credential.secret_version)


def standing(
    candidates: Iterable[Credential], evidence: Evidence, backoff: timedelta = REFUSED_BACKOFF
) -> Standing:
    proven: list[tuple[Credential, Pair]] = []
    unknown: list[Credential] = []
    refused: list[tuple[Credential, Pair]] = []
    for candidate in sorted(candidates, key=usual):
        pair = evidence.pair(candidate) or _inherited(candidate, evidence)
        if pair is None:
            unknown.append(candidate)
        elif pair.proven:
            proven.append((candidate, pair))
        else:
            refused.append((candidate, pair))
    proven.sort(key=lambda known: known[1].last_verdict_at, reverse=True)  # stable: usual order among equals
    changed_after = _last_open(pair for _, pair in refused) if not proven else None
    return Standing(
        tuple(Choice(c, _opened(c, p, evidence.now)) for c, p in proven),
        tuple(unknown),
        tuple(_last(refused, evidence.now, backoff, changed_after)),
    )


def predecessors(credential: Credential) -> Iterable[Credential]:
    """The secrets that this one has replaced, the newest first, as far back as matters."""
    version = credential.secret_version
    return (replace(credential, secret_version=old) for old in range(version - 1, max(0, version - 6), -1))


def _inherited(credential: Credential, evidence: Evidence) -> Pair | None:
    """What the device answered to the secret that this one replaced, if it opened: a refusal is not passed on."""
    judged = (evidence.pair(old) for old in predecessors(credential))
    pair = next((pair for pair in judged if pair is not None), None)
    return pair if pair is not None and pair.proven else None


def _opened(credential: Credential, pair: Pair, now: datetime) -> str:
    when = ago(pair.last_verdict_at, now)
    if pair.secret_version == credential.secret_version:
        return f"opened this device {when}"
    return f"new secret; version {pair.secret_version} opened this device {when}"


def back_off(pair: Pair, base: timedelta) -> timedelta:
    """How long after its last refusal a secret is not offered: doubled with each refusal in a row, up to 30 days.

    A ``base`` above that is used as it is.
    """
    longest = max(base, LONGEST_BACKOFF)
    doublings = min(max(0, pair.failures_in_row - 1), _MOST_DOUBLINGS)
    return min(longest, base * (1 << doublings)) if base < longest else longest


def _last_open(refused: Iterable[Pair]) -> datetime | None:
    """When the device last opened to a secret that it refuses by now.

    Between then and the refusal somebody changed the device: what it refused before then, it may accept today.
    """
    return max((pair.last_success for pair in refused if pair.last_success is not None), default=None)


def _last(
    refused: Sequence[tuple[Credential, Pair]],
    now: datetime,
    backoff: timedelta,
    changed_after: datetime | None,
) -> Iterable[Choice]:
    fresh: list[tuple[datetime, Choice]] = []
    for credential, pair in refused:
        when = ago(pair.last_verdict_at, now)
        if changed_after is not None and pair.last_verdict_at < changed_after:
            yield Choice(credential, f"refused here {when}, before the device was changed")
            continue
        until = pair.last_verdict_at + back_off(pair, backoff)
        reason = f"refused here with this secret version {when}"
        fresh.append((until, Choice(credential, reason, not_before=until if until > now else None)))
    yield from (choice for _, choice in sorted(fresh, key=lambda one: one[0]))


def arranged(
    standing: Standing, unknown: Callable[[Sequence[Credential]], Iterable[Choice]]
) -> Sequence[Choice]:
    """What opened the device, then the rest as ``unknown`` orders it, then what the device refused."""
    middle = unknown(standing.unknown) if standing.unknown else ()
    return [*_newest_first([*standing.proven, *middle]), *standing.refused]


def _newest_first(order: Sequence[Choice]) -> Iterable[Choice]:
    """Bring each newer secret of a name before the older ones that are kept for a time after a rotation.

    A newer one that the device has refused is not in ``order``: it stays where it is, at the end.
    """
    if len({choice.credential.name for choice in order}) == len(order):
        return order
    waiting = {choice.credential.key: choice for choice in order}
    result: list[Choice] = []
    for choice in order:
        name, version = choice.credential.key
        newer = sorted((key for key in waiting if key[0] == name and key[1] > version), reverse=True)
        for key in newer:
            moved = waiting.pop(key).credential
            result.append(Choice(moved, f"newer than version {version}: {choice.reason}"))
        if waiting.pop(choice.credential.key, None) is not None:
            result.append(choice)
    return result
