from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.credentials.success_rate import Step, fold
from netraven.model import Verdict

verdicts = st.lists(st.sampled_from(Verdict), max_size=60)
rates = st.none() | st.floats(0, 1)


def one_by_one(rate: float | None, given: list[Verdict]) -> float | None:
    """The rule as the design states it."""
    for verdict in given:
        if verdict is Verdict.ACCEPTED:
            rate = 1.0 if rate is None else rate * 0.9 + 0.1
        elif verdict is Verdict.REFUSED:
            rate = 0.0 if rate is None else rate * 0.9
    return rate


def close(rate: float | None) -> object:
    return None if rate is None else pytest.approx(rate, abs=1e-12)


@given(verdicts, rates)
def test_a_fold_is_its_verdicts_one_by_one(given: list[Verdict], rate: float | None) -> None:
    assert fold(given).apply(rate) == close(one_by_one(rate, given))


@given(verdicts, verdicts, rates)
def test_batches_compose(first: list[Verdict], second: list[Verdict], rate: float | None) -> None:
    assert fold(second).apply(fold(first).apply(rate)) == close(fold(first + second).apply(rate))


@given(verdicts, rates)
def test_a_rate_stays_a_rate(given: list[Verdict], rate: float | None) -> None:
    after = fold(given).apply(rate)
    assert after is None or -1e-12 <= after <= 1 + 1e-12


def test_nothing_changes_nothing() -> None:
    assert fold([]) == fold([Verdict.NO_VERDICT, Verdict.PENDING]) == Step()
    assert Step().apply(None) is None
    assert Step().apply(0.25) == 0.25
