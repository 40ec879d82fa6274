"""The lockout guard's rules, against an AAA service that counts as such services do."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netraven.credentials.lockout import Account, Ask, Flight, May, Policy
from netraven.credentials.moments import Moment
from netraven.model import Verdict

NOW = Moment(1_000.0, 50.0, "boot")
COLD, WARM = Ask("cold"), Ask("warm", known=True)


def later(seconds: float) -> Moment:
    return Moment(NOW.wall + seconds, NOW.tick + seconds, "boot")


def refuse(account: Account, ask: Ask, times: int = 1, now: Moment = NOW) -> None:
    for _ in range(times):
        account.conclude(account.grant(ask), Verdict.REFUSED, now)


def accept(account: Account, ask: Ask, now: Moment = NOW) -> None:
    account.conclude(account.grant(ask), Verdict.ACCEPTED, now)


def may(account: Account, ask: Ask, now: Moment = NOW) -> May:
    return account.decide(ask, now).may


# ---- the rules one by one


def test_a_cold_secret_goes_out_one_at_a_time() -> None:
    account = Account(Policy())
    canary = account.grant(COLD)
    assert may(account, COLD) is May.WAIT
    account.conclude(canary, Verdict.ACCEPTED, NOW)
    assert [may(account, COLD) for _ in range(3) if account.grant(COLD)] == [May.GRANT, May.GRANT, May.WAIT]


def test_after_two_refusals_devices_with_another_credential_try_that_one_first() -> None:
    account = Account(Policy())
    refuse(account, COLD, 2)
    assert may(account, replace(COLD, alternatives=True)) is May.LATER
    assert may(account, COLD) is May.GRANT


def test_a_secret_that_never_worked_is_held_after_three_refusals() -> None:
    account = Account(Policy(window=600))
    refuse(account, COLD, 3)
    held = account.decide(COLD, NOW)
    assert (held.may, held.seconds) == (May.HELD, 600)
    assert len(account.refusals) == 3, "the fourth is kept for a secret that is more likely to be right"
    assert may(account, Ask("changed", last_hope=True)) is May.GRANT, "for instance the mended one"


def test_each_further_hold_of_the_same_secret_is_twice_as_long_and_starts_with_one_canary() -> None:
    account = Account(Policy(window=600))
    refuse(account, COLD, 3)
    assert may(account, COLD, later(601)) is May.GRANT
    refuse(account, COLD, 1, later(601))
    again = account.decide(COLD, later(602))
    assert again.may is May.HELD
    assert again.seconds == pytest.approx(1_199)
    accept(account, Ask("cold"), later(3_000))
    refuse(account, COLD, 2, later(3_000))
    assert may(account, COLD, later(3_000)) is not May.HELD, "what worked meanwhile starts anew"


def test_refusals_that_pile_up_ask_for_a_control_login() -> None:
    account = Account(Policy())
    accept(account, WARM)
    refuse(account, WARM, 3)
    assert may(account, WARM) is May.CONTROL
    control = account.grant_control(WARM, NOW)
    assert control is not None
    assert may(account, WARM) is May.WAIT
    account.conclude(control, Verdict.ACCEPTED, NOW)
    assert may(account, WARM) is May.GRANT
    assert account.refusals == []


def test_a_control_login_that_is_refused_leaves_nothing_to_lose() -> None:
    account = Account(Policy(window=600))
    accept(account, WARM)
    refuse(account, WARM, 3)
    control = account.grant_control(WARM, NOW)
    assert control is not None
    account.conclude(control, Verdict.REFUSED, NOW)
    full = account.decide(WARM, later(100))
    assert (full.may, full.seconds) == (May.HELD, 500)
    assert account.grant_control(WARM, NOW) is None
    assert may(account, WARM, later(600)) is May.GRANT


def test_one_of_the_budget_is_kept_where_another_secret_may_be_the_successor() -> None:
    account = Account(Policy(), rivals=frozenset({"warm", "new"}))
    accept(account, WARM)
    refuse(account, WARM, 2)
    new = Ask("new", fallback=True)
    assert may(account, new) is May.GRANT
    accept(account, new)
    assert account.refusals == []


def test_what_a_success_overlapped_with_is_not_forgotten() -> None:
    """The service may have counted the refusal after the success, whatever arrived here first."""
    account = Account(Policy())
    accept(account, WARM)
    first, second = account.grant(WARM), account.grant(WARM)
    account.conclude(first, Verdict.REFUSED, NOW)
    account.conclude(second, Verdict.ACCEPTED, NOW)
    assert len(account.refusals) == 1
    accept(account, WARM)
    assert account.refusals == []


def test_no_verdict_counts_as_refused_but_says_nothing_of_the_secret() -> None:
    account = Account(Policy())
    account.conclude(account.grant(COLD), Verdict.NO_VERDICT, NOW)
    assert len(account.refusals) == 1
    assert account.secrets["cold"].refused == 0


def test_the_service_forgets_after_its_window_and_a_clock_set_forward_does_not_change_that() -> None:
    account = Account(Policy(window=600))
    accept(account, WARM)
    refuse(account, WARM, 3)
    assert may(account, WARM, Moment(NOW.wall + 86_400, NOW.tick + 60, "boot")) is May.CONTROL
    assert may(account, WARM, Moment(NOW.wall - 86_400, NOW.tick + 60, "boot")) is May.CONTROL
    assert may(account, WARM, later(600)) is May.GRANT


def test_adaptive_runs_ahead_with_proven_pairs_and_collapses_at_the_first_refusal() -> None:
    account = Account(Policy(adaptive=True))
    accept(account, WARM)
    here = replace(WARM, proven_here=True)
    flights = [account.grant(here) for _ in range(50) if may(account, here) is May.GRANT]
    assert len(flights) == 50
    assert may(account, WARM) is May.WAIT, "an unproven device keeps to the budget"
    account.conclude(flights[0], Verdict.REFUSED, NOW)
    assert may(account, here) is May.WAIT
    for flight in flights[1:]:
        account.conclude(flight, Verdict.ACCEPTED, NOW)
    assert may(account, here) is May.GRANT, "one refusal is within the budget"
    accept(account, here)
    assert [may(account, here) for _ in range(9) if account.grant(here)] == [May.GRANT] * 9


def test_a_release_forgets_refusals_and_holds() -> None:
    account = Account(Policy())
    refuse(account, COLD, 3)
    account.release()
    assert may(account, COLD) is May.GRANT


def test_what_was_in_flight_counts_as_refused_for_whoever_comes_next() -> None:
    account = Account(Policy())
    accept(account, WARM)
    account.grant(WARM)
    account.grant(WARM)
    found = Account.load(account.dump(), account.policy, NOW)
    assert (len(found.refusals), len(found.flights)) == (2, 0)
    assert found.secrets["warm"].proven


def test_the_ledger_tells_what_a_guard_did_not_come_back_to_write() -> None:
    account = Account(Policy())
    accept(account, WARM)
    refuse(account, WARM, 1, Moment(990.0, 40.0, "boot"))
    attempts = [
        {"secret": "warm", "verdict": "accepted", "started": 1_001.0, "concluded": 1_002.0},
        {"secret": "warm", "verdict": "refused", "started": 1_000.5, "concluded": 1_001.5},
        {"secret": "warm", "verdict": "pending", "started": 1_003.0, "concluded": None},
    ]
    found = Account.load(account.dump() | {"in_flight": 3, "since": attempts}, account.policy, later(10))
    assert len(found.refusals) == 2, "the overlapping refusal and the one without a verdict"


def test_attempts_that_waited_for_a_permit_are_not_taken_for_sent_ones() -> None:
    pending = {"secret": "warm", "verdict": "pending", "started": 1_003.0, "concluded": None}
    found = Account.load({"since": [pending] * 30}, Policy(), NOW)
    assert len(found.refusals) == 3, "no more than the budget was ever in flight"
    assert may(found, WARM) is May.CONTROL


@pytest.mark.parametrize(
    "wrong",
    [{"threshold": 2, "margin": 2}, {"margin": 0}, {"window": 0.0}, {"most_in_flight": 0}],
)
def test_a_policy_that_can_not_be_kept_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="a policy needs"):
        Policy(**wrong)  # type: ignore[arg-type]  # one of them is a float


# ---- every interleaving


@dataclass
class Service:
    """An AAA service: counts refusals in a row, forgets them after a while without one."""

    window: float
    right: set[str] = field(default_factory=set)
    count: int = 0
    last: float = 0.0

    def judge(self, secret: str, at: float) -> bool:
        self.forget(at)
        if secret in self.right:
            self.count = 0
            return True
        self.count += 1
        self.last = at
        return False

    def forget(self, at: float) -> None:
        if self.count and at - self.last >= self.window:
            self.count = 0


@dataclass
class Sent:
    flight: Flight
    verdict: Verdict | None = None
    """The service's, once it has judged."""


SECRETS = ("a", "b", "c")


class World:
    """A guarded account: permits, verdicts in any order, silence, crashes, changed passwords, wrong clocks."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        threshold = chance.randint(2, 7)
        margin = 1 if chance.random() < 0.5 else chance.randint(1, threshold - 1)
        self.policy = Policy(threshold=threshold, margin=margin, window=600.0)
        self.rivals = frozenset(SECRETS) if chance.random() < 0.5 else frozenset()
        self.service = Service(600.0)
        self.change_passwords()
        self.time, self.skew = 1_000.0, 0.0
        self.account = Account(self.policy, rivals=self.rivals)
        self.sent: list[Sent] = []
        self.granted = 0

    def now(self) -> Moment:
        return Moment(1_000_000.0 + self.time + self.skew, self.time, "boot")

    def step(self) -> None:
        steps = [self.ask] * 6 + [self.judge] * 3 + [self.conclude] * 3
        steps += [self.withdraw, self.crash, self.pass_time, self.set_clock, self.change_passwords]
        self.chance.choice(steps)()
        self.check()

    def ask(self) -> None:
        coin = self.chance.random
        ask = Ask(
            self.chance.choice(SECRETS),
            known=coin() < 0.7,
            alternatives=coin() < 0.3,
            last_hope=coin() < 0.3,
            fallback=coin() < 0.3,
        )
        decision = self.account.decide(ask, self.now())
        if decision.may is May.GRANT:
            self.send(self.account.grant(ask))
        elif decision.may is May.CONTROL:
            flight = self.account.grant_control(ask, self.now())
            if flight is not None:
                self.send(flight)
            else:
                self.account.controlled = True

    def send(self, flight: Flight) -> None:
        self.granted += 1
        self.sent.append(Sent(flight))

    def judge(self) -> None:
        """The service judges one that has reached it, or all, in any order."""
        waiting = [sent for sent in self.sent if sent.verdict is None]
        self.chance.shuffle(waiting)
        for sent in waiting if self.chance.random() < 0.5 else waiting[:1]:
            right = self.service.judge(sent.flight.ask.secret, self.time)
            sent.verdict = Verdict.ACCEPTED if right else Verdict.REFUSED

    def conclude(self) -> None:
        """A verdict arrives, or never does; then the service may have judged all the same."""
        if not self.sent:
            return
        sent = self.sent.pop(self.chance.randrange(len(self.sent)))
        verdict = sent.verdict
        if verdict is None:
            self.service.judge(sent.flight.ask.secret, self.time)
        if verdict is None or self.chance.random() < 0.2:
            verdict = Verdict.NO_VERDICT
        self.account.conclude(sent.flight, verdict, self.now())

    def withdraw(self) -> None:
        unsent = [sent for sent in self.sent if sent.verdict is None]
        if unsent:
            sent = self.chance.choice(unsent)
            self.sent.remove(sent)
            self.account.withdraw(sent.flight)

    def crash(self) -> None:
        """The process dies; the next one reads what was written, and what was in flight is judged meanwhile."""
        if self.chance.random() < 0.7:
            return
        for sent in self.sent:
            if sent.verdict is None:
                self.service.judge(sent.flight.ask.secret, self.time)
        self.sent.clear()
        self.account = Account.load(self.account.dump(), self.policy, self.now())
        self.account.rivals = self.rivals

    def pass_time(self) -> None:
        self.time += self.chance.choice([0.1, 5.0, 200.0, 590.0, 600.0, 3_000.0])

    def set_clock(self) -> None:
        self.skew += self.chance.choice([-1e6, -600.0, 60.0, 600.0, 1e6])

    def change_passwords(self) -> None:
        if not self.service.right or self.chance.random() < 0.3:
            self.service.right = set(self.chance.sample(SECRETS, self.chance.randint(0, 2)))

    def check(self) -> None:
        self.service.forget(self.time)
        flying = sum(sent.verdict is None for sent in self.sent)
        worst = self.service.count + flying
        assert worst < self.policy.threshold, (
            "every secret in flight may be refused, and the account stays open"
        )
        if worst > self.policy.budget:
            assert worst == self.policy.budget + 1
            assert len(self.sent) <= 1, "past the budget there is one last canary, alone"
        if not self.account.flights:
            for secret in SECRETS:
                for ask in (Ask(secret), Ask(secret, known=True), Ask(secret, last_hope=True)):
                    decision = self.account.decide(ask, self.now())
                    assert decision.may is not May.WAIT, "nothing is in flight that could end the waiting"
                    assert decision.seconds <= 86_400.0


@given(st.integers(0, 1 << 32))
@settings(max_examples=400)
def test_whatever_happens_in_whatever_order_the_account_stays_open(seed: int) -> None:
    world = World(random.Random(seed))
    for _ in range(150):
        world.step()


def test_the_world_sends_something() -> None:
    """Lest the test above pass because nothing ever happens."""
    worlds = [World(random.Random(seed)) for seed in range(50)]
    for world in worlds:
        for _ in range(150):
            world.step()
    assert sum(world.granted for world in worlds) > 500
