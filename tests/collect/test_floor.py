"""What runs share: places by priority, tags with a limit, and no device in two sessions, over random schedules."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from netraven.collect.fleet import Fleet, Terms
from netraven.collect.floor import Floor, FloorLimits
from netraven.collect.later import Again, Later
from netraven.collect.places import Places
from netraven.collect.visit import Visit
from netraven.model import Device, Outcome, Status, Target
from tests.collect import rig
from tests.virtual_time import in_virtual_time, now, settled


def device(name: str, *tags: str) -> Device:
    return Device(name, "192.0.2.1", "cisco_iosxe", tags=frozenset(tags or {"all"}))


async def each(devices: list[Device]) -> AsyncIterator[Target]:
    for one in devices:
        yield Target(one)


class Site:
    """Knows who is in session at this moment, whichever run is."""

    def __init__(self) -> None:
        self.inside: Counter[str] = Counter()
        self.of_tag: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self.visits: list[tuple[str, str]] = []

    def enter(self, run: str, one: Device) -> None:
        assert not self.inside[one.name], f"{one.name} is in two sessions"
        self.inside[one.name] += 1
        self.of_tag.update([*one.tags, ""])
        self.visits.append((run, one.name))
        for tag in (*one.tags, ""):
            self.peak[tag] = max(self.peak[tag], self.of_tag[tag])

    def leave(self, one: Device) -> None:
        del self.inside[one.name]
        self.of_tag.subtract([*one.tags, ""])


class Visitor:
    """In place of a collector: visits take what ``seconds`` says, and some are put aside once."""

    clock = staticmethod(lambda: 0.0)
    patience = 0.0

    def __init__(
        self, site: Site, run: str, seconds: dict[str, float], again: frozenset[str] = frozenset()
    ) -> None:
        self.guard = rig.idle_guard()
        self._site, self._run, self._seconds, self._again = site, run, seconds, set(again)

    def begin(self, target: Target) -> Visit:
        return Visit(target, self.clock)

    async def visit(self, visit: Visit) -> Outcome | Later:
        self._site.enter(self._run, visit.device)
        try:
            await asyncio.sleep(self._seconds.get(visit.device.name, 1.0))
        finally:
            self._site.leave(visit.device)
        if visit.device.name in self._again:
            self._again.discard(visit.device.name)
            return Again(visit, 0.5)
        return visit.outcome(Status.COLLECTED)

    async def closed(self, visit: Visit, why: str) -> Outcome:
        return visit.outcome(Status.SKIPPED, "window_closed", why)

    def interrupted(self, visit: Visit) -> Outcome:
        return visit.outcome(Status.SKIPPED, "interrupted")


def fleet(visitor: Visitor, floor: Floor, concurrency: int = 10, **terms: object) -> Fleet:
    return Fleet(visitor, concurrency=concurrency, floor=floor, terms=Terms(**terms))  # type: ignore[arg-type]  # in place of a collector


@in_virtual_time
async def test_places_go_by_priority_and_then_in_turn() -> None:
    places, served = Places(1), []

    async def wait(name: str, priority: int) -> None:
        await places.acquire(priority)
        served.append(name)
        await asyncio.sleep(1)
        places.release()

    async with asyncio.TaskGroup() as group:
        group.create_task(wait("first", 100))
        await settled()
        for name, priority in (("a", 100), ("b", 100), ("urgent", 1), ("c", 200), ("d", 100)):
            group.create_task(wait(name, priority))
    assert served == ["first", "urgent", "a", "b", "d", "c"]
    assert places.taken == 0


@in_virtual_time
async def test_a_place_that_nobody_waits_for_any_more_is_not_lost() -> None:
    places = Places(1)
    await places.acquire()
    gone = asyncio.create_task(places.acquire())
    stays = asyncio.create_task(places.acquire())
    await settled()
    places.release()  # given to the one that is cancelled before it has noticed
    gone.cancel()
    await stays
    assert gone.cancelled()
    assert places.taken == 1
    places.limit = 3
    await places.acquire()
    places.limit = 1
    places.release()
    assert not places.free, "two were taken where one may be"
    places.release()
    assert places.free


@in_virtual_time
async def test_the_run_of_lower_number_is_served_first_and_equals_share() -> None:
    site, floor = Site(), Floor(FloorLimits(2))
    seconds: dict[str, float] = {}
    ended: dict[str, float] = {}

    async def run(name: str, number: int, priority: int) -> None:
        mine = [device(f"{name}{n}") for n in range(number)]
        await fleet(Visitor(site, name, seconds), floor, priority=priority).run(each(mine), lambda _: None)
        ended[name] = now()

    async with asyncio.TaskGroup() as runs:
        runs.create_task(run("slow", 20, 100))
        await asyncio.sleep(0.5)
        runs.create_task(run("same", 20, 100))
        await asyncio.sleep(3.2)
        runs.create_task(run("urgent", 10, 1))
    assert site.peak[""] == 2
    assert ended["urgent"] <= 3.7 + 1 + 6, "the urgent run has both places as soon as they come free"
    first = [run for run, _ in site.visits[:20] if run != "urgent"]
    assert abs(first.count("slow") - first.count("same")) <= 2, "nobody of the same priority starves"


@in_virtual_time
async def test_a_full_tag_lets_others_go_first() -> None:
    site, floor = Site(), Floor(FloorLimits(10, {"thin": 1}))
    thin = [device(f"a{n:02}", "thin") for n in range(20)]
    others = [device(f"b{n:02}") for n in range(20)]
    outcomes: list[Outcome] = []
    one = fleet(Visitor(site, "run", {}), floor)
    await one.run(each([*thin, *others]), outcomes.append)
    assert len(outcomes) == 40
    assert site.peak["thin"] == 1
    assert now() == 20.0, "as long as the thin ones take one after the other"
    assert {name for _, name in site.visits[:10]} >= {f"b{n:02}" for n in range(9)}
    assert one.aside == 0
    assert not floor.in_session
    assert floor.places.taken == 0


@in_virtual_time
async def test_devices_of_full_tags_are_not_all_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netraven.collect.fleet.MOST_PARKED", 1)
    site, floor = Site(), Floor(FloorLimits(2, {"thin": 1}))
    thin = [device(f"a{n:03}", "thin") for n in range(100)]
    other = [device("z")]
    done: set[str] = set()
    most = 0
    one = fleet(Visitor(site, "run", {}), floor, concurrency=2)

    def finished(outcome: Outcome) -> None:
        nonlocal most
        done.add(outcome.device.name)
        most = max(most, one.aside)

    everything = [*thin, *other]
    await one.run(each(everything), finished, lambda: each([d for d in everything if d.name not in done]))
    assert done == {d.name for d in everything}
    assert len(site.visits) == 101, "each once"
    assert most <= 8, "a bounded number waits aside, the others are read again"
    assert site.visits[1] == ("run", "z"), "whoever is behind them all goes at once"


@in_virtual_time
async def test_limits_can_be_changed_while_runs_go_on() -> None:
    site, floor = Site(), Floor(FloorLimits(1))
    devices = [device(f"r{n}", "t") for n in range(40)]
    running = asyncio.create_task(fleet(Visitor(site, "run", {}), floor).run(each(devices), lambda _: None))
    await asyncio.sleep(4.5)
    assert site.peak[""] == 1
    floor.change(FloorLimits(10))
    await asyncio.sleep(1)
    assert site.peak[""] == 10
    floor.change(FloorLimits(10, {"t": 2}))
    await asyncio.sleep(1.1)
    site.peak.clear()
    await running
    assert site.peak["t"] == 2
    with floor.at_least(50):
        assert floor.places.limit == 50
    assert floor.places.limit == 10


@pytest.mark.parametrize("seed", range(25))
def test_no_device_is_in_two_sessions_and_no_limit_is_exceeded(seed: int) -> None:
    chance = random.Random(seed)
    limits = FloorLimits(chance.randint(1, 8), {"a": chance.randint(1, 3), "b": chance.randint(1, 3)})

    @in_virtual_time
    async def play() -> None:
        site, floor = Site(), Floor(limits)
        fleet_of = [
            device(f"r{n:02}", *chance.sample(["a", "b", "c"], chance.randint(1, 3))) for n in range(30)
        ]
        seconds = {one.name: chance.uniform(0.1, 5) for one in fleet_of}
        outcomes: Counter[str] = Counter()

        async def run(name: str) -> None:
            mine = chance.sample(fleet_of, chance.randint(5, 30))
            again = frozenset(one.name for one in mine if chance.random() < 0.2)
            begins, cut = chance.uniform(0, 5), chance.uniform(1, 30) if chance.random() < 0.3 else None
            await asyncio.sleep(begins)
            told: list[Outcome] = []
            one = fleet(
                Visitor(site, name, seconds, again),
                floor,
                chance.randint(1, 8),
                priority=chance.choice([1, 100]),
            )
            try:
                async with asyncio.timeout(cut):
                    await one.run(each(mine), told.append)
                assert len(told) == len(mine)
            except TimeoutError:
                pass
            outcomes.update(outcome.device.name for outcome in told)

        async with asyncio.TaskGroup() as runs:
            for name in ("one", "two", "three"):
                runs.create_task(run(name))
        assert site.peak[""] <= limits.concurrency
        assert all(site.peak[tag] <= most for tag, most in limits.tags.items())
        assert not floor.in_session, "nothing is left behind"
        assert floor.places.taken == 0
        assert max(outcomes.values()) <= 3

    play()


@in_virtual_time
async def test_a_drained_fleet_lets_sessions_end_and_begins_none() -> None:
    site, floor = Site(), Floor(FloorLimits(5))
    devices = [device(f"r{n}") for n in range(100)]
    outcomes: list[Outcome] = []
    one = fleet(Visitor(site, "run", {}), floor, resumable=True)
    running = asyncio.create_task(one.run(each(devices), outcomes.append))
    await asyncio.sleep(2.5)
    one.drain()
    assert not await running
    assert now() == 3.0
    assert len(outcomes) == 15
    assert not floor.in_session


@in_virtual_time
async def test_when_the_window_closes_everything_has_an_outcome_at_once() -> None:
    site, floor = Site(), Floor(FloorLimits(3))
    devices = [device(f"r{n}") for n in range(50)]
    outcomes: list[Outcome] = []
    one = fleet(
        Visitor(site, "run", {"r1": 100.0}),
        floor,
        closes_at=now() + 4.5,
        closes=rig_time(),
        usual=lambda _: None,
    )
    assert await one.run(each(devices), outcomes.append)
    assert now() == 4.5
    assert len(outcomes) == 50
    collected = [o for o in outcomes if o.status is Status.COLLECTED]
    assert len(collected) == 8, "r1 holds its place to the end, four rounds of the other two"
    assert {o.reason for o in outcomes if o.status is Status.SKIPPED} == {"window_closed"}
    assert not floor.in_session
    assert floor.places.taken == 0


@in_virtual_time
async def test_what_does_not_fit_any_more_is_not_begun() -> None:
    site, floor = Site(), Floor(FloorLimits(1))
    devices = [device("long"), device("short")]
    outcomes: list[Outcome] = []

    def usual(target: Target) -> float:
        return 60.0 if target.device.name == "long" else 1.0

    one = fleet(Visitor(site, "run", {}), floor, closes_at=now() + 10, closes=rig_time(), usual=usual)
    await one.run(each(devices), outcomes.append)
    assert site.visits == [("run", "short")]
    assert {o.device.name: o.status for o in outcomes} == {"long": Status.SKIPPED, "short": Status.COLLECTED}


def rig_time() -> object:
    from datetime import UTC, datetime

    return datetime(2026, 3, 1, 5, tzinfo=UTC)
