"""What a run would do, before it does anything: who is offered what first, and what could go wrong at worst.

Facts in, a :class:`Plan` out. Targets are taken one by one and only counted, so memory does not grow with the fleet.
The order of a device's offers is the strategy's own; what is left out of it is what a run would leave out too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from netraven.credentials.evidence import EVERYWHERE, Knowledge
from netraven.credentials.holds import AccountName, Hold, Standing
from netraven.credentials.lockout import Policy
from netraven.credentials.matching import CredentialIndex
from netraven.model import Choice, Credential, Device, Pair, SkipReason, Target
from netraven.ports import Strategy

NAMED = 10
"""Devices that are named where a plan says why they are offered nothing."""
PROVEN = 0.99
"""How likely a secret opens a device that it opened the last time."""
REFUSED_HERE = 0.02
"""The same for a device that has refused this very secret version before."""


@dataclass(frozen=True, slots=True)
class FirstOffers:
    """A credential, and how many devices it is offered to before any other one."""

    credential: Credential
    devices: int


@dataclass(frozen=True, slots=True)
class AccountPlan:
    """What a run may do to one account.

    ``offers``: how often its secrets were refused if every device refused everything and nothing held the run back;
    where devices count for themselves, at the one device where that is most. ``most_in_a_row``: the refusals in a row
    that the lockout guard lets happen, those ``on_record`` among them; None where nothing but ``in_flight`` secrets at
    once bounds them (``adaptive``). ``held_until``: before then, none of its credentials is offered.
    """

    realm: str
    username: str
    credentials: tuple[str, ...]
    policy: Policy
    offers: int
    on_record: int = 0
    held_until: datetime | None = None
    hold_reason: str | None = None

    @property
    def most_in_a_row(self) -> int | None:
        policy = self.policy
        if policy.local:
            return policy.budget
        if policy.adaptive:
            return None
        return policy.budget + 1 if policy.budget + 1 < policy.threshold else policy.budget


@dataclass(frozen=True, slots=True)
class HeldCredential:
    """A credential that would be offered to so many ``devices``, if it were not held."""

    credential: Credential
    hold: Hold
    devices: int


@dataclass(frozen=True, slots=True)
class Unoffered:
    """Devices that nothing can be offered to, and the first of them by name."""

    devices: int = 0
    names: tuple[str, ...] = ()


UNOFFERED = (
    SkipReason.NO_CREDENTIALS,
    SkipReason.HELD,
    SkipReason.REALM_PAUSED,
    SkipReason.REFUSED_BEFORE,
)
"""Why a device can be offered nothing: what the run would say of it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that has not begun. Most first, where things are counted.

    ``expected_attempts``: offers until a device accepts one or none is left, by what the evidence makes likely.
    """

    strategy: str
    devices: int
    expected_attempts: float
    first_offers: tuple[FirstOffers, ...]
    accounts: tuple[AccountPlan, ...]
    held: tuple[HeldCredential, ...]
    unoffered: Mapping[SkipReason, Unoffered]
    unmatched: tuple[str, ...]
    """Credentials that match none of the devices, and no jump host on the way to one."""

    sample: int | None = None
    """How many of the devices were looked at, where the rest is reckoned from them."""

    @property
    def offerable(self) -> int:
        """Devices that are offered something."""
        return sum(first.devices for first in self.first_offers)

    def scaled(self, devices: int) -> Plan:
        """The plan for so many devices, of which those of this one are a sample."""
        if not self.devices:
            return replace(self, devices=devices, sample=0)
        factor = devices / self.devices
        return replace(
            self,
            devices=devices,
            expected_attempts=self.expected_attempts * factor,
            first_offers=tuple(
                replace(f, devices=max(1, round(f.devices * factor))) for f in self.first_offers
            ),
            accounts=tuple(
                a if a.policy.local else replace(a, offers=round(a.offers * factor)) for a in self.accounts
            ),
            held=tuple(replace(h, devices=round(h.devices * factor)) for h in self.held),
            unoffered={
                why: replace(u, devices=round(u.devices * factor)) for why, u in self.unoffered.items()
            },
            sample=self.devices,
        )


async def plan_run(
    targets: AsyncIterable[Target],
    credentials: Sequence[Credential],
    *,
    strategy: Strategy,
    knowledge: Knowledge,
    standing: Standing,
    way: Callable[[Device], Iterable[Target]] = lambda _device: (),
) -> Plan:
    """The plan for ``targets``, as ``strategy`` ranks ``credentials`` by what is known and held at this moment.

    ``way``: the jump hosts on the way to a device. Each is logged in to once, and is none of the plan's devices.
    """
    planner = _Planner(credentials, strategy, knowledge, standing)
    on_the_way: dict[str, Target] = {}
    async for target in targets:
        await planner.add(target)
        on_the_way.update((host.device.name, host) for host in way(target.device))
    for host in on_the_way.values():
        await planner.add(host, on_the_way=True)
    return planner.plan()


@dataclass(slots=True, eq=False)
class _Line:
    """What is counted for one credential."""

    credential: Credential
    policy: Policy
    hold: Hold | None
    chance: float
    """That a device of which nothing is known accepts it."""
    first: int = 0
    offers: int = 0
    kept_back: int = 0


@dataclass(slots=True)
class _Left:
    """What one device's order comes to."""

    history: Mapping[tuple[int, int], Pair]
    at_device: Counter[AccountName] = field(default_factory=Counter)
    """Refusals that the device itself still counts."""
    local: Counter[AccountName] = field(default_factory=Counter)
    """Offers of accounts that the device itself judges."""
    offers: list[_Line] = field(default_factory=list)
    expected: float = 0.0
    """Offers, by what is likely."""
    survives: float = 1.0
    """How likely it is that all offers so far are refused."""
    backed_off: list[Choice] = field(default_factory=list)
    proven: bool = False
    """Something is offered that opened the device before."""
    paused: bool = False
    why_not: SkipReason = SkipReason.NO_CREDENTIALS


class _Planner:
    def __init__(
        self, credentials: Sequence[Credential], strategy: Strategy, knowledge: Knowledge, standing: Standing
    ) -> None:
        self._index = CredentialIndex(credentials)
        self._strategy = strategy
        self._knowledge = knowledge
        self._standing = standing
        self._now = standing.at
        self._lines = {c.key: self._line(c) for c in credentials}
        self._owners = {(c.id, c.secret_version): c for c in credentials if c.id is not None}
        self._locals = any(line.policy.local for line in self._lines.values())
        self._matched: set[tuple[str, int]] = set()
        self._seen_candidates: set[int] = set()
        self._most_at_one: Counter[AccountName] = Counter()
        self._devices = 0
        self._expected = 0.0
        self._unoffered = {reason: Unoffered() for reason in UNOFFERED}

    def _line(self, credential: Credential) -> _Line:
        tally = self._knowledge.tally(credential, EVERYWHERE)
        return _Line(
            credential,
            self._standing.rules(credential.realm),
            self._standing.hold(credential),
            (tally.accepted + 1.0) / (tally.total + 2.0),
        )

    async def add(self, target: Target, *, on_the_way: bool = False) -> None:
        """``on_the_way``: a jump host, whose logins count and which itself does not."""
        self._devices += not on_the_way
        candidates = self._index.matching(target.device)
        if not candidates:
            if not on_the_way:
                self._none(target, SkipReason.NO_CREDENTIALS)
            return
        if id(candidates) not in self._seen_candidates:  # the index gives the same tuple for the same tags
            self._seen_candidates.add(id(candidates))
            self._matched.update(c.key for c in candidates)
        evidence = self._knowledge.of(target)
        left = self._walk(target, await self._strategy.rank(target.device, candidates, evidence))
        if not left.offers:
            if not on_the_way:
                self._none(target, left.why_not)
            return
        left.offers[0].first += not on_the_way
        for line in left.offers:
            line.offers += 1
        self._expected += left.expected

    def _walk(self, target: Target, choices: Sequence[Choice]) -> _Left:
        """The order as a run would go through it, without what it would not offer."""
        left = _Left({(pair.credential_id, pair.secret_version): pair for pair in target.history})
        if self._locals:
            left.at_device = self._refused_lately(target.history)
        glass = [choice for choice in choices if choice.credential.when == "aaa-down"]
        for choice in choices:
            if choice.credential.when == "aaa-down":
                continue
            if choice.not_before is not None and choice.not_before > self._now:
                left.backed_off.append(choice)
            else:
                self._offer(choice, left)
        if left.proven:  # should that be refused, what the device refused earlier may fit again
            for choice in left.backed_off:
                self._offer(choice, left)
        elif left.backed_off and left.why_not is SkipReason.NO_CREDENTIALS:
            left.why_not = SkipReason.REFUSED_BEFORE
        if left.paused:  # what break-glass credentials are for
            for choice in glass:
                self._offer(choice, left)
        for account, number in left.local.items():
            self._most_at_one[account] = max(self._most_at_one[account], number)
        return left

    def _offer(self, choice: Choice, left: _Left) -> None:
        credential = choice.credential
        line = self._lines.get(credential.key)
        if line is None:  # of the strategy's own making
            line = self._lines[credential.key] = self._line(credential)
        pair = left.history.get((credential.id or 0, credential.secret_version))
        why_not = self._why_not(line, pair, left)
        if why_not is not None:
            left.why_not = max(left.why_not, why_not, key=_WEIGHT.index)
            left.paused = left.paused or why_not is SkipReason.REALM_PAUSED
            return
        left.offers.append(line)
        left.expected += left.survives
        left.survives *= 1.0 - _chance(line, pair)
        left.proven = left.proven or (pair is not None and pair.proven)
        if line.policy.local:
            left.local[credential.account] += 1

    def _why_not(self, line: _Line, pair: Pair | None, left: _Left) -> SkipReason | None:
        """Why the guard would not let this be offered now."""
        if line.hold is not None:
            line.kept_back += 1
            return SkipReason.REALM_PAUSED if line.hold.paused else SkipReason.HELD
        if line.policy.local:
            if pair is not None and not pair.proven and self._recent(pair, line.policy):
                return SkipReason.REFUSED_BEFORE
            account = line.credential.account
            if left.at_device[account] + left.local[account] >= line.policy.budget:
                return SkipReason.HELD
        return None

    def _refused_lately(self, history: Iterable[Pair]) -> Counter[AccountName]:
        """Refusals that the device itself may still count, by account."""
        found: Counter[AccountName] = Counter()
        for pair in history:
            owner = self._owners.get((pair.credential_id, pair.secret_version))
            if owner is None or pair.proven:
                continue
            policy = self._lines[owner.key].policy
            found[owner.account] += policy.local and self._recent(pair, policy)
        return found

    def _recent(self, pair: Pair, policy: Policy) -> bool:
        return self._now - pair.last_verdict_at < timedelta(seconds=policy.window)

    def _none(self, target: Target, why: SkipReason) -> None:
        before = self._unoffered[why]
        names = before.names
        if len(names) < NAMED:
            names = (*names, target.device.name)
        self._unoffered[why] = Unoffered(before.devices + 1, names)

    def plan(self) -> Plan:
        lines = sorted(self._lines.values(), key=lambda line: (-line.first, line.credential.key))
        return Plan(
            strategy=self._strategy.name,
            devices=self._devices,
            expected_attempts=self._expected,
            first_offers=tuple(FirstOffers(line.credential, line.first) for line in lines if line.first),
            accounts=self._accounts(),
            held=tuple(
                HeldCredential(line.credential, line.hold, line.kept_back)
                for line in sorted(lines, key=lambda line: -line.kept_back)
                if line.hold is not None
            ),
            unoffered=self._unoffered,
            unmatched=tuple(
                sorted(
                    {c.name for c in self._all()} - {c.name for c in self._all() if c.key in self._matched}
                )
            ),
        )

    def _all(self) -> Iterable[Credential]:
        return (line.credential for line in self._lines.values())

    def _accounts(self) -> tuple[AccountPlan, ...]:
        """Those that the run may use, and those that it may not because they are held."""
        by_name: dict[AccountName, list[_Line]] = {}
        for line in self._lines.values():
            if line.offers or line.kept_back:
                by_name.setdefault(line.credential.account, []).append(line)
        found = [self._account(name, lines) for name, lines in by_name.items()]
        return tuple(sorted(found, key=lambda account: (-account.offers, account.realm, account.username)))

    def _account(self, name: AccountName, lines: Sequence[_Line]) -> AccountPlan:
        policy = lines[0].policy
        holds = [line.hold for line in lines if line.hold is not None]
        first = min(holds, key=lambda hold: hold.until) if len(holds) == len(lines) else None
        return AccountPlan(
            realm=name[0],
            username=name[1],
            credentials=tuple(sorted({line.credential.name for line in lines})),
            policy=policy,
            offers=self._most_at_one[name] if policy.local else sum(line.offers for line in lines),
            on_record=0 if policy.local else self._standing.refusals(name),
            held_until=first.until if first else None,
            hold_reason=first.why if first else None,
        )


def _chance(line: _Line, pair: Pair | None) -> float:
    if pair is None:
        return line.chance
    return PROVEN if pair.proven else REFUSED_HERE


_WEIGHT = (SkipReason.NO_CREDENTIALS, SkipReason.REFUSED_BEFORE, SkipReason.REALM_PAUSED, SkipReason.HELD)
"""Where parts of an order are left out for different reasons, the last of them is what the run would say."""
