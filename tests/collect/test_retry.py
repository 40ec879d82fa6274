"""When a device is tried again, decided without a clock and a loop."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.collect.retry import RetryPolicy
from netraven.errors import FAILURES, DeviceFailure, Unreachable


@pytest.mark.parametrize("kind", FAILURES)
def test_only_what_may_pass_is_tried_again(kind: type[DeviceFailure]) -> None:
    wait = RetryPolicy(retries=3).wait(kind("x"), 0)
    assert (wait is not None) == kind.retriable


@given(
    retries=st.integers(0, 8),
    tried=st.integers(0, 12),
    base=st.floats(0.001, 30),
    ceiling=st.floats(0.001, 300),
    seed=st.integers(),
)
def test_the_wait_doubles_up_to_a_ceiling_and_at_most_half_of_it_is_chance(
    retries: int, tried: int, base: float, ceiling: float, seed: int
) -> None:
    policy = RetryPolicy(retries, base, ceiling, random.Random(seed))
    wait = policy.wait(Unreachable("x"), tried)
    assert (wait is None) == (tried >= retries)
    if wait is not None:
        longest = min(ceiling, base * 2**tried)
        assert longest / 2 <= wait <= longest


def test_devices_that_failed_together_do_not_come_back_together() -> None:
    policy = RetryPolicy(retries=1, base=2.0, random=random.Random(1))
    waits = [policy.wait(Unreachable("x"), 0) or 0.0 for _ in range(200)]
    assert len(set(waits)) > 190
    assert max(waits) - min(waits) > 0.9


def test_no_retries_at_all() -> None:
    assert RetryPolicy(retries=0).wait(Unreachable("x"), 0) is None
