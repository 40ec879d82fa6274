"""How late the loop is."""

from __future__ import annotations

import asyncio

import pytest

from netraven.daemon.loop_lag import KEPT, LoopLag
from tests.virtual_time import in_virtual_time


def test_the_99th_percentile_leaves_one_look_of_a_hundred_out() -> None:
    lag = LoopLag()
    assert lag.p99 == 0.0
    for number in range(1, 201):
        lag.saw(number / 1000)
    assert lag.p99 == 0.199
    for _ in range(KEPT):
        lag.saw(-0.001)  # a clock's grain
    assert lag.p99 == 0.0, "what is older than five minutes is forgotten"


@in_virtual_time
async def test_a_loop_that_is_held_up_is_seen() -> None:
    seen: list[float] = []
    lateness = iter([0.0, 0.3, 0.0])

    async def held_up(seconds: float) -> None:
        await asyncio.sleep(seconds + next(lateness, 1.0))

    lag = LoopLag(seen.append, sleep=held_up)
    measuring = asyncio.create_task(lag.run())
    await asyncio.sleep(2.0)
    measuring.cancel()
    await asyncio.wait([measuring])
    assert seen == [0.0, pytest.approx(0.3), 0.0]
    assert lag.p99 == pytest.approx(0.3)
