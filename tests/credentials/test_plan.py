"""The plan of a run, as a pure function of facts: what it counts, and what it leaves out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.credentials.evidence import EVERYWHERE, Knowledge, Learned
from netraven.credentials.holds import Standing, secret_key
from netraven.credentials.lockout import Account, Ask, Policy
from netraven.credentials.moments import Moment
from netraven.credentials.plan import NAMED, PROVEN, REFUSED_HERE, AccountPlan, Plan, plan_run
from netraven.credentials.realm_health import Pause
from netraven.credentials.strategy import PriorityStrategy
from netraven.model import Choice, Credential, Device, Pair, SkipReason, Tally, Target, Verdict
from netraven.ports import Evidence, Strategy

NOW = datetime(2026, 11, 24, 2, 30, tzinfo=UTC)
MOMENT = Moment(NOW.timestamp(), 1000.0, "boot")
EDGE = frozenset({"edge"})
TACACS = Credential("tacacs", "svc", tags=EDGE, realm="tacacs", priority=1, id=1)
SPARE = Credential("spare", "spare", tags=EDGE, realm="tacacs", priority=2, id=2)
LOCAL = Credential("local", "admin", tags=EDGE, realm="local", priority=3, id=3)


def target(name: str = "r1", *history: Pair, tags: frozenset[str] = EDGE) -> Target:
    return Target(Device(name, "192.0.2.1", "cisco_iosxe", tags=tags), history=history)


def pair(credential: Credential, verdict: Verdict, *, ago: float = 60.0) -> Pair:
    return Pair(credential.id or 0, credential.secret_version, verdict, NOW - timedelta(seconds=ago))


def refused(times: int, credential: Credential) -> dict[str, Any]:
    """An account's state after so many refusals of one secret that used to work."""
    account = Account(Policy())
    for _ in range(times):
        flight = account.grant(Ask(secret_key(credential), known=True))
        account.conclude(flight, Verdict.REFUSED, MOMENT)
    return account.dump()


def planned(
    targets: Sequence[Target],
    credentials: Sequence[Credential] = (TACACS, SPARE, LOCAL),
    *,
    strategy: Strategy | None = None,
    tallies: dict[Credential, Tally] | None = None,
    states: dict[tuple[str, str], dict[str, Any]] | None = None,
    pauses: dict[str, dict[str, Any]] | None = None,
    policies: dict[str, Policy] | None = None,
    way: Callable[[Device], Iterable[Target]] = lambda _device: (),
) -> Plan:
    def rules(realm: str) -> Policy:
        return (policies or {}).get(realm, Policy(local=realm == "local"))

    async def read() -> AsyncIterator[Target]:
        for one in targets:
            yield one

    learned = Learned(tallies={c.key: {EVERYWHERE: tally} for c, tally in (tallies or {}).items()})
    return asyncio.run(
        plan_run(
            read(),
            credentials,
            strategy=strategy or PriorityStrategy(),
            knowledge=Knowledge(learned, now=lambda: NOW),
            standing=Standing(states or {}, pauses or {}, rules=rules, now=MOMENT),
            way=way,
        )
    )


def account(plan: Plan, username: str) -> AccountPlan:
    return next(account for account in plan.accounts if account.username == username)


def firsts(plan: Plan) -> dict[str, int]:
    return {first.credential.name: first.devices for first in plan.first_offers}


def test_devices_are_counted_by_their_first_offer() -> None:
    berlin = replace(SPARE, tags=frozenset({"ber"}), priority=0)
    plan = planned([*(target(f"r{n}") for n in range(5)), target("b", tags=EDGE | {"ber"})], [TACACS, berlin])
    assert firsts(plan) == {"tacacs": 5, "spare": 1}
    assert (plan.devices, plan.offerable, plan.unmatched) == (6, 6, ())


@pytest.mark.parametrize(
    ("history", "tallies", "attempts"),
    [
        ((), {}, 1 + 0.5 + 0.25),
        ((pair(TACACS, Verdict.ACCEPTED),), {}, 1 + (1 - PROVEN) + (1 - PROVEN) * 0.5),
        ((pair(TACACS, Verdict.REFUSED),), {}, 1 + (1 - REFUSED_HERE) * 1.5),
        ((), {TACACS: Tally(97.0, 1.0)}, 1 + 0.02 + 0.02 * 0.5),
        ((pair(replace(TACACS, secret_version=2), Verdict.ACCEPTED),), {}, 1.75),
    ],
)
def test_expected_attempts_follow_the_evidence(
    history: tuple[Pair, ...], tallies: dict[Credential, Tally], attempts: float
) -> None:
    assert planned([target("r1", *history)], tallies=tallies).expected_attempts == pytest.approx(attempts)


def test_at_worst_every_offer_is_refused() -> None:
    newer = replace(TACACS, name="newer", id=9)
    plan = planned([target(f"r{n}") for n in range(7)], [TACACS, newer, LOCAL])
    assert account(plan, "svc").offers == 14
    assert account(plan, "svc").credentials == ("newer", "tacacs")
    assert account(plan, "admin").offers == 1, "of one device: each counts for itself"


@pytest.mark.parametrize(
    ("policy", "most"),
    [
        (Policy(), 4),
        (Policy(threshold=5, margin=1), 4),
        (Policy(threshold=3, margin=1), 2),
        (Policy(threshold=10, margin=7), 4),
        (Policy(local=True), 3),
        (Policy(adaptive=True), None),
    ],
)
def test_what_the_guard_lets_happen_in_a_row(policy: Policy, most: int | None) -> None:
    plan = planned([target()], [TACACS], policies={"tacacs": policy})
    assert account(plan, "svc").most_in_a_row == most
    assert most is None or most < policy.threshold


def test_devices_that_nothing_can_be_offered_to_are_named_by_reason() -> None:
    lately = replace(LOCAL, tags=frozenset({"own"}))
    plan = planned(
        [
            *(target(f"n{n:02d}", tags=frozenset({"other"})) for n in range(NAMED + 5)),
            target("h", tags=frozenset({"held"})),
            target("own", pair(lately, Verdict.REFUSED), tags=frozenset({"own"})),
            target("own-again", pair(lately, Verdict.REFUSED, ago=4000), tags=frozenset({"own"})),
        ],
        [replace(TACACS, tags=frozenset({"held"})), lately, SPARE],
        states={TACACS.account: refused(4, TACACS)},
    )
    none = plan.unoffered[SkipReason.NO_CREDENTIALS]
    assert (none.devices, none.names[0], len(none.names)) == (NAMED + 5, "n00", NAMED)
    assert plan.unoffered[SkipReason.HELD].names == ("h",)
    assert plan.unoffered[SkipReason.REFUSED_BEFORE].names == ("own",)
    assert plan.unoffered[SkipReason.REALM_PAUSED].devices == 0
    assert firsts(plan) == {"local": 1}
    assert plan.unmatched == ("spare",)


def test_a_held_credential_gives_way_to_the_next() -> None:
    plan = planned([target(), target("r2")], states={TACACS.account: refused(4, TACACS)})
    assert firsts(plan) == {"spare": 2}
    (held,) = plan.held
    assert (held.credential.name, held.devices) == ("tacacs", 2)
    svc = account(plan, "svc")
    assert (svc.offers, svc.on_record, svc.held_until) == (0, 4, NOW + timedelta(hours=1))
    assert account(plan, "spare").held_until is None


def test_refusals_on_record_are_told_before_they_hold_anything() -> None:
    svc = account(planned([target()], states={TACACS.account: refused(2, TACACS)}), "svc")
    assert (svc.on_record, svc.held_until, svc.most_in_a_row) == (2, None, 4)


def test_break_glass_is_for_a_realm_that_is_paused() -> None:
    glass = replace(LOCAL, when="aaa-down", priority=0)
    assert firsts(planned([target()], [TACACS, glass])) == {"tacacs": 1}
    nothing = planned([target()], [glass])
    assert nothing.unoffered[SkipReason.NO_CREDENTIALS].devices == 1
    pauses = {"tacacs": Pause(MOMENT, MOMENT.wall + 40, "3 proven logins refused in 6 s").to_json()}
    assert firsts(planned([target()], [TACACS, glass], pauses=pauses)) == {"local": 1}
    plain = planned([target()], [TACACS], pauses=pauses)
    assert plain.unoffered[SkipReason.REALM_PAUSED].names == ("r1",)
    assert plain.held[0].hold.until == NOW + timedelta(seconds=40)


class _BackOff:
    """By priority, but what a device has refused comes back an hour after that."""

    name = "back-off"

    async def rank(
        self,
        device: Device,
        candidates: Sequence[Credential],
        evidence: Evidence,
    ) -> Sequence[Choice]:
        found = []
        for credential in sorted(candidates, key=lambda c: c.priority):
            known = evidence.pair(credential)
            again = None if known is None or known.proven else known.last_verdict_at + timedelta(hours=1)
            found.append(Choice(credential, "priority", again))
        return found


def test_what_is_not_to_be_offered_before_a_time_is_left_out_until_then() -> None:
    lately, long_ago = pair(TACACS, Verdict.REFUSED), pair(TACACS, Verdict.REFUSED, ago=3601)
    plan = planned([target("r1", lately), target("r2", long_ago)], [TACACS], strategy=_BackOff())
    assert plan.strategy == "back-off"
    assert plan.unoffered[SkipReason.REFUSED_BEFORE].names == ("r1",)
    assert firsts(plan) == {"tacacs": 1}


def test_what_a_device_refused_comes_back_at_worst_once_its_own_secret_is_refused() -> None:
    known = (pair(TACACS, Verdict.REFUSED), pair(SPARE, Verdict.ACCEPTED))
    plan = planned([target("r1", *known)], [TACACS, SPARE], strategy=_BackOff())
    assert firsts(plan) == {"spare": 1}
    assert (account(plan, "svc").offers, account(plan, "spare").offers) == (1, 1)
    assert plan.expected_attempts == pytest.approx(1 + (1 - PROVEN))


def test_a_device_that_counts_for_itself_is_spared_the_rest() -> None:
    own = [replace(LOCAL, name=f"own{n}", id=10 + n, priority=n) for n in range(5)]
    plan = planned([target("r1", pair(own[0], Verdict.REFUSED))], own)
    assert account(plan, "admin").offers == 2, "one is on the device's own record, the budget is 3"
    assert firsts(plan) == {"own1": 1}


def test_a_sample_stands_for_the_fleet() -> None:
    fleet = [target(f"r{n}") for n in range(30)] + [target(f"x{n}", tags=frozenset({"x"})) for n in range(10)]
    plan = planned(fleet, [TACACS, LOCAL]).scaled(4000)
    assert (plan.devices, plan.sample, firsts(plan)) == (4000, 40, {"tacacs": 3000})
    assert plan.unoffered[SkipReason.NO_CREDENTIALS].devices == 1000
    assert plan.expected_attempts == pytest.approx(4500)
    assert (account(plan, "svc").offers, account(plan, "admin").offers) == (3000, 1)
    assert planned([], [TACACS]).scaled(7).devices == 7


TAGS = st.frozensets(st.sampled_from(["a", "b", "c"]), max_size=3)
CREDENTIALS = st.lists(
    st.builds(
        Credential,
        st.sampled_from("uvwxyz"),
        st.sampled_from(["svc", "admin"]),
        tags=TAGS,
        priority=st.integers(1, 3),
        realm=st.sampled_from(["tacacs", "local"]),
        when=st.sampled_from(["always", "always", "aaa-down"]),
    ),
    unique_by=lambda c: c.name,
    max_size=6,
)


@given(CREDENTIALS, st.lists(TAGS, max_size=20), st.integers(0, 4))
def test_the_numbers_agree_with_each_other(
    credentials: list[Credential], fleet: list[frozenset[str]], refusals: int
) -> None:
    states = {("tacacs", "svc"): refused(refusals, replace(TACACS, id=99))}
    plan = planned([target(f"r{n}", tags=tags) for n, tags in enumerate(fleet)], credentials, states=states)
    none = sum(left.devices for left in plan.unoffered.values())
    assert plan.devices == len(fleet) == plan.offerable + none
    matching = [[c for c in credentials if c.tags & tags and c.when == "always"] for tags in fleet]
    assert plan.unoffered[SkipReason.NO_CREDENTIALS].devices == sum(not one for one in matching)
    assert plan.offerable <= plan.expected_attempts + 1e-9 <= sum(len(one) for one in matching) + 1e-6
    held = {h.credential.name for h in plan.held}
    for name, central in (
        (("tacacs", "svc"), True),
        (("tacacs", "admin"), True),
        (("local", "admin"), False),
    ):
        offers = [sum(c.account == name and c.name not in held for c in one) for one in matching]
        worst = sum(offers) if central else min(3, max(offers, default=0))
        told = [a.offers for a in plan.accounts if (a.realm, a.username) == name]
        assert told == [worst] or (told == [] and worst == 0)
    for account_ in plan.accounts:
        assert (account_.held_until is not None) == (account_.offers == 0)
        assert account_.on_record == (
            refusals if (account_.realm, account_.username) == ("tacacs", "svc") else 0
        )


def test_a_jump_host_is_logged_in_to_once_and_is_no_device_of_the_plan() -> None:
    bastion = replace(SPARE, name="bastion", username="jumper", tags=frozenset({"bastions"}))
    host = target("outer", tags=frozenset({"bastions"}))
    unused = replace(bastion, name="unused", tags=frozenset({"elsewhere"}))
    plan = planned([target(f"r{n}") for n in range(5)], [TACACS, bastion, unused], way=lambda _device: [host])
    assert (plan.devices, plan.offerable, plan.unmatched) == (5, 5, ("unused",))
    assert firsts(plan) == {"tacacs": 5}
    assert account(plan, "jumper").offers == 1
    alone = planned([target("r1")], [TACACS], way=lambda _device: [host])
    assert (alone.devices, sum(left.devices for left in alone.unoffered.values())) == (1, 0)
