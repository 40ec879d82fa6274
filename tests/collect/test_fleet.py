"""Many devices at once under one limit, taken as they are needed, retried when it is time."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from netraven.collect.fleet import Fleet
from netraven.collect.visit import Visit
from netraven.errors import RecorderStopped, SessionLost, Unreachable
from netraven.model import Batch, Device, Outcome, SkipReason, Status, Target
from netraven.testing import FakeDevice, MemoryStore
from tests.collect import rig
from tests.collect.rig import RIGHT, SVC, Rig, WatchedTransport, device
from tests.virtual_time import in_virtual_time, now


def fleet_of(count: int) -> list[Device]:
    return [device(f"r{n:04}") for n in range(count)]


def well(devices: list[Device]) -> dict[str, FakeDevice]:
    return {d.name: FakeDevice(RIGHT) for d in devices}


@pytest.mark.parametrize("concurrency", [1, 2, 7])
def test_never_more_in_session_than_allowed_and_never_fewer_than_possible(concurrency: int) -> None:
    @in_virtual_time
    async def run() -> None:
        devices = fleet_of(40)
        transport = WatchedTransport(well(devices), seconds=1.0)
        rig = Rig(devices, [SVC], transport, concurrency=concurrency)
        outcomes = await rig.run()
        assert len(outcomes) == 40
        assert transport.peak == concurrency
        rounds = -(-40 // concurrency)
        assert now() == pytest.approx(rounds, rel=0.2), "places are filled again as soon as they are free"
        assert rig.fleet.in_session == 0

    run()


@in_virtual_time
async def test_every_device_comes_to_exactly_one_outcome() -> None:
    devices = fleet_of(300)
    ills = {d.name: [Unreachable("away")] for d in devices[::3]}
    rig = Rig(devices, [SVC], WatchedTransport(well(devices), in_turn=ills), retries=1, concurrency=17)
    outcomes = await rig.run()
    assert sorted(o.device.name for o in outcomes) == [d.name for d in devices]
    assert {o.status for o in outcomes} == {Status.COLLECTED}
    assert len(rig.store.outcomes) == 300


class Shelf:
    """A fleet of any size that counts how many devices were taken, and how many of them are still alive."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0

    async def targets(self) -> AsyncIterator[Target]:
        for n in range(self.size):
            self.taken += 1
            yield Target(Device(f"r{n}", "192.0.2.1", "cisco_iosxe", tags=frozenset({"all"})))


class _Quick:
    """In place of a collector: a visit that takes a second."""

    clock = staticmethod(lambda: 0.0)
    patience = 0.0

    def __init__(self) -> None:
        self.guard = rig.idle_guard()

    def begin(self, target: Target) -> Visit:
        return Visit(target, self.clock)

    async def visit(self, visit: object) -> Outcome:
        await asyncio.sleep(1)
        return visit.outcome(Status.COLLECTED)  # type: ignore[attr-defined, no-any-return]  # a Visit, never looked into


@in_virtual_time
async def test_devices_are_taken_as_places_get_free() -> None:
    shelf = Shelf(1_000)
    fleet = Fleet(_Quick(), concurrency=10)  # type: ignore[arg-type]  # no more of it is needed
    ahead: list[int] = []
    finished = 0

    def done(_: Outcome) -> None:
        nonlocal finished
        finished += 1
        ahead.append(shelf.taken - finished)

    await fleet.run(shelf.targets(), done)
    assert finished == 1_000
    assert max(ahead) <= 10, "never holds more than what is in session"


@in_virtual_time
async def test_memory_does_not_grow_with_the_fleet() -> None:
    shelf = Shelf(20_000)
    fleet = Fleet(_Quick(), concurrency=500)  # type: ignore[arg-type]  # no more of it is needed
    held: list[int] = []
    seen = 0

    def done(_: Outcome) -> None:
        nonlocal seen
        seen += 1
        if seen % 5_000 == 0:
            gc.collect()
            held.append(sum(isinstance(o, Target) for o in gc.get_objects()))

    await fleet.run(shelf.targets(), done)
    assert seen == 20_000
    assert max(held) < 2_000


@in_virtual_time
async def test_an_endless_source_is_not_read_ahead() -> None:
    shelf = Shelf(10**12)
    fleet = Fleet(_Quick(), concurrency=3)  # type: ignore[arg-type]  # no more of it is needed
    fleet._collector.interrupted = lambda visit: visit.outcome(Status.SKIPPED)  # type: ignore[method-assign]  # stands in for a method
    told: list[Outcome] = []
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10.5):
            await fleet.run(shelf.targets(), told.append)
    assert shelf.taken <= 3 * 11 + 1
    assert sum(o.status is Status.COLLECTED for o in told) == 30


# ---- retries


@in_virtual_time
async def test_a_retry_comes_after_its_backoff_and_others_use_the_place_meanwhile() -> None:
    devices = fleet_of(3)
    transport = WatchedTransport(well(devices), seconds=1.0, in_turn={"r0000": [Unreachable("away")]})
    outcomes = await Rig(devices, [SVC], transport, retries=1, concurrency=1).run()
    order = [(name, round(at, 1)) for at, name, _ in transport.opened]
    names = [name for name, _ in order]
    assert names.count("r0000") == 2
    assert names[:2] == ["r0000", "r0001"], "the one place was free while the first device waited"
    again = order[len(names) - 1 - names[::-1].index("r0000")][1]
    assert again >= 1.0, "not before half of the first backoff of 2 s"
    assert {o.status for o in outcomes} == {Status.COLLECTED}


@in_virtual_time
async def test_a_retry_that_is_due_goes_before_new_devices() -> None:
    devices = fleet_of(30)
    transport = WatchedTransport(well(devices), seconds=1.0, in_turn={"r0000": [Unreachable("away")]})
    await Rig(devices, [SVC], transport, retries=1, concurrency=1).run()
    names = [name for _, name, _ in transport.opened]
    assert len(names) - 1 - names[::-1].index("r0000") <= 3


@in_virtual_time
async def test_a_run_waits_for_the_last_retry_even_with_nothing_else_to_do() -> None:
    transport = WatchedTransport(
        well(fleet_of(1)), in_turn={"r0000": [Unreachable("away"), SessionLost("gone"), Unreachable("away")]}
    )
    rig = Rig(fleet_of(1), [SVC], transport, retries=3)
    (outcome,) = await rig.run()
    assert outcome.status is Status.COLLECTED
    waits = [b[0] - a[0] for a, b in zip(transport.opened, transport.opened[1:], strict=False)]
    for wait, longest in zip(waits, [2.0, 4.0, 8.0], strict=True):
        assert longest / 2 <= wait <= longest + 0.2
    assert outcome.duration_ms == pytest.approx(now() * 1000, abs=200), "the waiting is part of its duration"


@in_virtual_time
async def test_retries_end() -> None:
    rig = Rig(
        [device()], [SVC], WatchedTransport({"r1": FakeDevice(RIGHT, fails=Unreachable("away"))}), retries=2
    )
    (outcome,) = await rig.run()
    assert (outcome.status, outcome.reason) == (Status.FAILED, "unreachable")
    assert len(rig._transport.opened) == 3  # type: ignore[attr-defined]  # a WatchedTransport


# ---- the end of a run that comes early


@in_virtual_time
async def test_cancelling_closes_sessions_tells_the_interrupted_and_keeps_the_rest() -> None:
    devices = fleet_of(50)
    transport = WatchedTransport(well(devices), seconds=1.0)
    rig = Rig(devices, [SVC], transport, concurrency=8)
    run = asyncio.create_task(rig.run())
    await asyncio.sleep(2.5)
    run.cancel()
    await asyncio.wait([run])
    assert run.cancelled()
    assert transport.open_now == 0
    by_status = [o.status for o in rig.outcomes]
    assert by_status.count(Status.COLLECTED) == 16
    interrupted = [o for o in rig.outcomes if o.status is Status.SKIPPED]
    assert {o.reason for o in interrupted} == {SkipReason.INTERRUPTED}
    assert len(interrupted) == 8
    assert {o.device.name for o in rig.store.outcomes} == {o.device.name for o in rig.outcomes}
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_virtual_time
async def test_a_device_that_waits_for_its_retry_is_told_as_interrupted() -> None:
    transport = WatchedTransport({"r1": FakeDevice(RIGHT, fails=SessionLost("gone"))})
    rig = Rig([device()], [SVC], transport, retries=1)
    run = asyncio.create_task(rig.run())
    await asyncio.sleep(0.5)
    run.cancel()
    await asyncio.wait([run])
    (outcome,) = rig.outcomes
    assert (outcome.status, outcome.reason) == (Status.SKIPPED, "interrupted")
    assert (outcome.attempts, outcome.credential) == (1, SVC), "what it had cost so far is not forgotten"
    assert [o.device.name for o in rig.store.outcomes] == ["r1"]


def test_a_run_cancelled_at_any_moment_leaves_one_outcome_a_device_and_no_open_attempt() -> None:
    for step in range(0, 130, 1):

        @in_virtual_time
        async def run(moment: float = step / 500) -> None:
            devices = fleet_of(6)
            transport = WatchedTransport(well(devices), seconds=0.03)
            rig = Rig(devices, [SVC], transport, concurrency=2)
            task = asyncio.create_task(rig.run())
            await asyncio.sleep(moment)
            task.cancel()
            await asyncio.wait([task])
            told = [o.device.name for o in rig.outcomes]
            assert len(told) == len(set(told))
            written = {o.device.name: o.status for o in rig.store.outcomes}
            assert len(written) == len(rig.store.outcomes), "an outcome was written twice"
            assert written == {o.device.name: o.status for o in rig.outcomes}, "told is not what is on record"
            assert all(verdict != "open" for _, verdict, _ in rig.verdicts), rig.verdicts
            assert len(rig.verdicts) == sum(o.attempts for o in rig.outcomes)
            assert transport.open_now == 0

        run()


@in_virtual_time
async def test_a_fault_of_ours_costs_one_device() -> None:
    class Broken(WatchedTransport):
        def open(self, target, login, via=None):  # type: ignore[no-untyped-def]  # as its base
            if target.device.name == "r0001":
                raise ZeroDivisionError("a bug")
            return super().open(target, login)

    devices = fleet_of(4)
    rig = Rig(devices, [SVC], Broken(well(devices)))
    outcomes = {o.device.name: o for o in await rig.run()}
    assert outcomes["r0001"].reason == "internal"
    assert "ZeroDivisionError" in (outcomes["r0001"].detail or "")
    assert [o.status for n, o in sorted(outcomes.items()) if n != "r0001"] == [Status.COLLECTED] * 3


@in_virtual_time
async def test_a_run_that_cannot_be_recorded_ends() -> None:
    class Full(MemoryStore):
        async def commit(self, entries: Sequence[Any], *, of: Batch | None = None) -> Sequence[Any]:
            if len(self.outcomes) >= 10:
                raise OSError("no space left on device")
            return await super().commit(entries, of=of)

    devices = fleet_of(100)
    transport = WatchedTransport(well(devices), seconds=1.0)
    rig = Rig(devices, [SVC], transport, concurrency=5, store=Full(devices, [SVC]))
    with pytest.raises(ExceptionGroup) as caught:
        await rig.run()
    assert caught.group_contains(RecorderStopped, match="no space left")
    assert transport.open_now == 0
    assert len(transport.attempts) <= 15, "no secret is offered that cannot be put on record"


@in_virtual_time
async def test_a_source_of_devices_that_fails_ends_the_run() -> None:
    async def targets() -> AsyncIterator[Target]:
        yield Target(device())
        raise OSError("the database went away")

    transport = WatchedTransport(well([device()]), seconds=5.0)
    rig = Rig([device()], [SVC], transport, concurrency=2)
    with pytest.raises(ExceptionGroup) as caught:
        await rig.run(targets())
    assert caught.group_contains(OSError, match="went away")
    assert transport.open_now == 0


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Fleet(_Quick(), concurrency=0)  # type: ignore[arg-type]  # no more of it is needed
