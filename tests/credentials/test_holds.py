"""What a person is told of holds: it is what the guard's own rules say, read without driving the account."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from netraven.credentials.holds import Standing, secret_key
from netraven.credentials.lockout import LAST_COLD, Account, Ask, May, Policy
from netraven.credentials.moments import Moment
from netraven.credentials.realm_health import Pause
from netraven.model import Credential, Verdict

T0 = 1_800_000_000.0
SVC = Credential("svc-old", "svc", realm="tacacs", id=1)
NEWER = Credential("svc-new", "svc", realm="tacacs", id=2)
STRICT = Policy()


def moment(after: float) -> Moment:
    return Moment(T0 + after, after, "boot")


def standing(
    account: Account | None = None,
    *,
    after: float = 0.0,
    pauses: dict[str, dict[str, Any]] | None = None,
    policy: Policy = STRICT,
    **state: Any,
) -> Standing:
    states = {} if account is None else {SVC.account: account.dump() | state}
    return Standing(states, pauses or {}, rules=lambda _: policy, now=moment(after))


def refused(times: int, *, proven: bool = True, credential: Credential = SVC) -> Account:
    """An account after so many refusals of one secret, all of them at the beginning."""
    account = Account(STRICT)
    for _ in range(times):
        flight = account.grant(Ask(secret_key(credential), known=proven))
        account.conclude(flight, Verdict.REFUSED, moment(0))
    return account


def test_without_a_record_nothing_is_held() -> None:
    now = standing()
    assert now.holds([SVC, NEWER]) == {}
    assert now.refusals(SVC.account) == 0


def test_a_secret_that_never_worked_is_held_after_its_canaries() -> None:
    now = standing(refused(LAST_COLD, proven=False), after=60)
    hold = now.hold(SVC)
    assert hold is not None
    assert hold.why == "refused 3 times in a row"
    assert hold.until == datetime.fromtimestamp(T0 + 3600, UTC)
    assert now.refusals(SVC.account) == 3
    assert standing(refused(LAST_COLD, proven=False), after=3601).hold(SVC) is None


def test_a_spent_account_holds_all_of_its_credentials() -> None:
    now = standing(refused(4), after=600)
    assert set(now.holds([SVC, NEWER])) == {SVC.key, NEWER.key}
    hold = now.hold(NEWER)
    assert hold is not None
    assert hold.why == "4 refusals in a row, the account is locked at 5"
    assert hold.until == datetime.fromtimestamp(T0 + 3600, UTC)
    assert now.hold(replace(SVC, username="other")) is None


def test_a_hold_lasts_as_long_as_what_lasts_longest() -> None:
    account = refused(4)
    account.hold(secret_key(SVC), moment(-3000))  # about to end, while the account stays spent
    hold = standing(account, after=0).hold(SVC)
    assert hold is not None
    assert hold.until == datetime.fromtimestamp(T0 + 3600, UTC)


def test_what_is_in_flight_elsewhere_is_not_taken_for_refused() -> None:
    account = refused(2)
    account.grant(Ask(secret_key(SVC)))
    account.grant(Ask(secret_key(SVC)))
    now = standing(account, after=1)
    assert account.dump()["in_flight"] == 2
    assert now.refusals(SVC.account) == 2
    assert now.hold(SVC) is None


def test_a_paused_realm_holds_its_credentials_until_the_probe() -> None:
    pause = Pause(moment(0), T0 + 40, "3 proven logins refused in 6 s").to_json()
    hold = standing(pauses={"tacacs": pause}, after=10).hold(SVC)
    assert hold is not None
    assert hold.why == "realm tacacs looks unwell: 3 proven logins refused in 6 s"
    assert hold.until == datetime.fromtimestamp(T0 + 40, UTC)
    assert standing(pauses={"radius": pause}, after=10).hold(SVC) is None
    assert standing(pauses={"tacacs": pause}, after=41).hold(SVC) is None


def test_where_each_device_counts_nothing_is_held() -> None:
    local = Policy(local=True)
    assert standing(refused(4), policy=local).hold(SVC) is None


def test_a_release_forgets_and_says_what() -> None:
    pause = Pause(moment(0), T0 + 40, "3 proven logins refused in 6 s").to_json()
    state, forgotten = standing(refused(4, proven=False), after=10, pauses={"tacacs": pause}).release(
        SVC.account
    )
    assert (forgotten.refusals, forgotten.held) == (4, 1)
    assert forgotten.pause == "3 proven logins refused in 6 s"
    after = Standing({SVC.account: state}, {}, rules=lambda _: STRICT, now=moment(11))
    assert after.hold(SVC) is None
    assert after.refusals(SVC.account) == 0
    assert not after.release(SVC.account)[1]


VERDICTS = st.sampled_from([Verdict.ACCEPTED, Verdict.REFUSED, Verdict.NO_VERDICT])


@given(
    st.lists(st.tuples(st.sampled_from([SVC, NEWER]), VERDICTS, st.floats(0, 2000)), max_size=12),
    st.floats(0, 90_000),
    st.sampled_from([STRICT, Policy(threshold=3, margin=1, window=60), Policy(adaptive=True)]),
)
def test_what_is_called_held_the_guard_holds_and_ends_when_it_was_said(
    story: list[tuple[Credential, Verdict, float]], later: float, policy: Policy
) -> None:
    account, clock = Account(policy), 0.0
    for credential, verdict, passed in story:
        clock += passed
        ask = Ask(secret_key(credential))
        if account.decide(ask, moment(clock)).may is May.GRANT:
            account.conclude(account.grant(ask), verdict, moment(clock))
    clock += later
    now = Standing({SVC.account: account.dump()}, {}, rules=lambda _: policy, now=moment(clock))
    for credential in (SVC, NEWER):
        hold = now.hold(credential)
        decision = account.decide(Ask(secret_key(credential)), moment(clock))
        assert (hold is not None) == (decision.may is May.HELD)
        if hold is not None:
            end = (hold.until - datetime.fromtimestamp(T0, UTC)) / timedelta(seconds=1)
            assert end >= clock
            released = Account.load(account.dump(), policy, moment(clock))
            released.release()
            assert released.decide(Ask(secret_key(credential)), moment(clock)).may is May.GRANT
            later_on = Account.load(account.dump(), policy, moment(clock))
            assert later_on.decide(Ask(secret_key(credential)), moment(end + 1)).may is not May.HELD
