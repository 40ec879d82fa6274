"""What hooks may cost a run: nothing but a moment."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from netraven import NetRaven, outlets
from netraven.errors import DatabaseError
from netraven.model import RunStatus
from netraven.notify.courier import Courier
from netraven.outlets import Outlets


class FakeCourier:
    """Goes on until it is ended, or breaks."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.moment: float | None = None
        self.cancelled = False

    async def run(self) -> None:
        if self.fault is not None:
            raise self.fault
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    def finish(self, seconds: float) -> None:
        self.moment = seconds


async def run_with(courier: FakeCourier) -> RunStatus:
    async with NetRaven.in_memory([], []) as raven:
        raven._outlets = Outlets(courier=lambda: cast("Courier", courier))
        return (await raven.run()).status


@pytest.mark.parametrize("fault", [DatabaseError("it is gone"), RuntimeError("a fault")])
async def test_a_courier_that_breaks_ends_no_run(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    assert await run_with(FakeCourier(fault)) is RunStatus.NO_DEVICES
    assert "hooks_not_told" in caplog.text


async def test_what_is_not_told_in_time_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets, "GOODBYE", 0.01)
    courier = FakeCourier()
    async with asyncio.timeout(30):
        await run_with(courier)
    assert (courier.moment, courier.cancelled) == (0.01, True)


async def test_an_interrupted_run_says_goodbye_in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets, "HASTY_GOODBYE", 0.01)
    courier = FakeCourier()
    async with NetRaven.in_memory([], []) as raven:
        raven._outlets = Outlets(courier=lambda: cast("Courier", courier))
        running = asyncio.create_task(raven.run())
        await asyncio.sleep(0)
        running.cancel()
        async with asyncio.timeout(30):
            await asyncio.wait([running])
        assert running.cancelled()
    assert (courier.moment, courier.cancelled) == (0.01, True)


async def test_a_second_interruption_ends_the_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets, "GOODBYE", 3600.0)
    courier = FakeCourier()
    async with NetRaven.in_memory([], []) as raven:
        raven._outlets = Outlets(courier=lambda: cast("Courier", courier))
        running = asyncio.create_task(raven.run())
        async with asyncio.timeout(30):
            while courier.moment is None:  # noqa: ASYNC110 - nobody sets an event there
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.wait([running])
    assert courier.cancelled
