"""When to try again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netraven.notify.backoff import FIRST, LONGEST, LONGEST_ASKED, wait

FAILURES = st.integers(0, 10_000)
UIDS = st.text(max_size=40)


@given(FAILURES, UIDS)
def test_waits_are_bounded_and_the_same_for_the_same_facts(failures: int, uid: str) -> None:
    assert FIRST * 0.75 <= wait(failures, uid) <= LONGEST * 1.25
    assert wait(failures, uid) == wait(failures, uid)


@given(st.integers(1, 9), UIDS)
def test_each_failure_doubles_the_wait_but_for_the_spread(failures: int, uid: str) -> None:
    assert 0.75 <= wait(failures, uid) / 2 ** (failures - 1) <= 1.25


def test_many_that_failed_at_once_do_not_come_back_at_once() -> None:
    waits = sorted(wait(1, f"uid-{n}") for n in range(100))
    assert waits[0] < 0.8
    assert waits[-1] > 1.2
    assert len(set(waits)) > 95


@given(FAILURES, UIDS, st.floats(0, 1e9))
def test_what_the_receiver_asks_for_is_kept_up_to_an_hour(failures: int, uid: str, asked: float) -> None:
    waits = wait(failures, uid, asked)
    assert waits >= min(asked, LONGEST_ASKED)
    assert waits <= max(LONGEST * 1.25, LONGEST_ASKED)
