"""The courier, over real databases: everything once, in order, and not too often. Only time is made up."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from netraven.credentials.sealing import Keyring
from netraven.history.pattern import Pattern
from netraven.model import DeviceFinished, Event, EventKind, Outcome, RunStatus, Status, Subscription, utcnow
from netraven.notify.backoff import LONGEST
from netraven.notify.changes import Changes
from netraven.notify.courier import Courier, Hook
from netraven.notify.message import Answer, ChangedOutput, Message
from netraven.storage.engine import Database
from netraven.storage.outbox import SqlOutbox
from netraven.storage.schema import hook_deliveries
from netraven.storage.store import SqlStore
from tests.storage.facts import START, add_device, start_run

TAKEN = Answer("taken", delivered=True)
DOWN = Answer("nobody listens there")
PATIENCE = 30.0


class Clock:
    """Goes on when somebody sleeps, by ``stride`` seconds at least."""

    def __init__(self) -> None:
        self.now_ = START + timedelta(hours=1)
        self.stride = 0.0

    def now(self) -> datetime:
        return self.now_

    async def sleep(self, seconds: float) -> None:
        self.now_ += timedelta(seconds=max(seconds, self.stride))
        await asyncio.sleep(0)


class FakeWay:
    """Answers as it is told."""

    longest = 5.0

    def __init__(self, answer: Callable[[Message], Answer] = lambda _: TAKEN, *, together: int = 8) -> None:
        self.together = together
        self.answer = answer
        self.tried: list[Message] = []
        self.taken: list[Message] = []
        self.active: list[str | None] = []
        self.most_active = 0
        self.hold: asyncio.Event | None = None

    async def tell(self, message: Message) -> Answer:
        device = message.event.device if message.event else None
        assert device not in self.active, "two of one device at once"
        self.tried.append(message)
        self.active.append(device)
        self.most_active = max(self.most_active, len(self.active))
        try:
            await asyncio.sleep(0)
            if self.hold is not None:
                await self.hold.wait()
            answer = self.answer(message)
        finally:
            self.active.remove(device)
        if answer.delivered:
            self.taken.append(message)
        return answer


class FakeChanges(Changes):
    """What changed, by the ids of versions."""

    def __init__(self, by_id: dict[int, str] | None = None) -> None:
        self.by_id = by_id or {}

    async def of(
        self, event: Event, *, pattern: Pattern | None = None, differences: bool = True
    ) -> tuple[ChangedOutput, ...]:
        found = [self.by_id[key] for key in event.versions if key in self.by_id]
        wanted = [text for text in found if pattern is None or pattern.found_in([text])]
        return tuple(ChangedOutput("running", 2, 1, 1, 1, text if differences else "") for text in wanted)


@pytest.fixture
def store(database: Database) -> SqlStore:
    return SqlStore(database, Keyring.generate(), subscriptions=[Subscription("all", frozenset(EventKind))])


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Scene:
    """A store with a hook, and a courier made anew for each pass."""

    def __init__(self, store: SqlStore, clock: Clock, way: FakeWay, **hook: Any) -> None:
        self.store = store
        self.clock = clock
        self.way = way
        self.changes = FakeChanges()
        self.hook = Hook("all", way, **hook)

    def courier(self, outbox: SqlOutbox | None = None) -> Courier:
        return Courier(
            [self.hook], outbox or self.store.outbox, self.changes, now=self.clock.now, sleep=self.clock.sleep
        )

    async def deliver(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.courier().deliver()

    async def run_until_told(self) -> None:
        """A courier that has all the time of the world."""
        async with asyncio.timeout(PATIENCE):
            courier = self.courier()
            courier.finish(10 * 86_400)
            await courier.run()

    async def happens(self, *names: str, status: Status = Status.FAILED) -> None:
        """Each in a run of its own: what fails first has ``failed``, then ``failed-again``."""
        for name in names:
            run = await start_run(self.store)
            known = {target.device.name: target.device async for target in self.store.targets(run.selector)}
            device = known.get(name) or await add_device(self.store, name)
            outcome = Outcome(
                device, status, START, 100, None if status is Status.COLLECTED else "unreachable"
            )
            await self.store.commit([DeviceFinished(run.id, outcome)])

    @property
    def taken(self) -> list[tuple[str | None, int]]:
        return [(m.event.device, m.event.run) for m in self.way.taken if m.event]

    async def waiting(self) -> int:
        return sum(s.waiting for s in await self.store.outbox.standing())

    async def given_up(self) -> int:
        return sum(s.given_up for s in await self.store.outbox.standing())


def per_device(taken: list[tuple[str | None, int]]) -> dict[str | None, list[int]]:
    found: dict[str | None, list[int]] = {}
    for device, run in taken:
        found.setdefault(device, []).append(run)
    return found


async def test_everything_arrives_once_and_in_order(store: SqlStore, clock: Clock) -> None:
    scene = Scene(store, clock, FakeWay())
    await scene.happens("a", "b", "a", "c", "a", "b")
    await scene.deliver()
    assert per_device(scene.taken) == {"a": [1, 3, 5], "b": [2, 6], "c": [4]}
    assert await scene.waiting() == 0
    await scene.deliver()
    assert len(scene.way.tried) == 6


async def test_devices_go_side_by_side_once_the_receiver_has_proven_well(
    store: SqlStore, clock: Clock
) -> None:
    scene = Scene(store, clock, FakeWay(together=3))
    await scene.happens(*(f"r{n}" for n in range(12)))
    scene.way.hold = asyncio.Event()
    delivering = asyncio.create_task(scene.deliver())
    await until(lambda: len(scene.way.active) == 1)
    await asyncio.sleep(0.05)
    assert len(scene.way.active) == 1  # nobody knows yet whether anybody is there
    scene.way.hold.set()
    await delivering
    assert scene.way.most_active == 3
    assert len(scene.taken) == 12


async def test_a_receiver_that_is_down_costs_one_try_each_pause_and_gets_everything_later(
    store: SqlStore, clock: Clock
) -> None:
    clock.stride = 30
    up_at = clock.now() + timedelta(hours=3)
    scene = Scene(store, clock, FakeWay(lambda _: TAKEN if clock.now() >= up_at else DOWN))
    await scene.happens(*("a", "b", "c", "d") * 10)
    await scene.run_until_told()
    assert per_device(scene.taken) == {name: list(range(n, 41, 4)) for n, name in enumerate("abcd", 1)}
    failed_tries = len(scene.way.tried) - 40
    assert failed_tries <= 10 + 3 * 3600 / (LONGEST * 0.75)  # 1, 2, 4 ... 512 s, then every ten minutes or so
    uids = [m.uid for m in scene.way.taken]
    assert len(set(uids)) == 40
    assert {m.uid for m in scene.way.tried} == set(uids)
    assert await store.outbox.pauses() == {}


async def test_a_pause_outlives_the_process(store: SqlStore, clock: Clock) -> None:
    scene = Scene(store, clock, FakeWay(lambda _: DOWN))
    await scene.happens("a", "b", "c")
    for _ in range(3):
        await scene.deliver()
    assert len(scene.way.tried) == 1
    (standing,) = await store.outbox.standing()
    assert standing.pause is not None
    assert (standing.waiting, standing.last_error, standing.pause.failures) == (3, DOWN.said, 1)
    clock.now_ = standing.pause.until
    await scene.deliver()
    assert len(scene.way.tried) == 2


async def test_several_that_fail_at_once_are_one_failure(store: SqlStore, clock: Clock) -> None:
    scene = Scene(store, clock, FakeWay())
    await scene.happens(*(f"r{n}" for n in range(9)))
    scene.way.answer = lambda _: TAKEN if len(scene.way.tried) == 1 else DOWN
    await scene.deliver()
    assert len(scene.way.tried) == 9
    assert (await store.outbox.pauses())["all"].failures == 1


async def test_a_message_that_nobody_takes_holds_up_its_own_device_only(
    store: SqlStore, clock: Clock
) -> None:
    bad = Answer("HTTP 500")
    scene = Scene(store, clock, FakeWay(lambda m: bad if m.event and m.event.device == "a" else TAKEN))
    await scene.happens("a", "b", "a", "c", "b")
    courier = scene.courier()
    running = asyncio.create_task(courier.run())
    await until(lambda: len(scene.taken) == 3)
    running.cancel()
    await asyncio.wait([running])
    assert per_device(scene.taken) == {"b": [2, 5], "c": [4]}
    assert await scene.waiting() == 2


async def test_what_will_never_be_taken_is_given_up_and_the_next_passes(
    store: SqlStore, clock: Clock
) -> None:
    never = Answer("HTTP 400", permanent=True)
    scene = Scene(store, clock, FakeWay(lambda m: never if m.event and m.event.run == 1 else TAKEN))
    await scene.happens("a", "a")
    await scene.deliver()
    assert scene.taken == [("a", 2)]
    (standing,) = await store.outbox.standing()
    assert (standing.waiting, standing.given_up, standing.last_error) == (0, 1, "HTTP 400")


async def test_a_receiver_is_left_alone_for_as_long_as_it_asks(store: SqlStore, clock: Clock) -> None:
    scene = Scene(store, clock, FakeWay(lambda _: Answer("HTTP 429", retry_after=90)))
    await scene.happens("a")
    began = clock.now()
    await scene.deliver()
    assert (await store.outbox.pauses())["all"].until - began == timedelta(seconds=90)


async def test_what_could_not_be_delivered_in_time_is_given_up(store: SqlStore, clock: Clock) -> None:
    clock.stride = 600
    scene = Scene(store, clock, FakeWay(lambda _: DOWN), keep=timedelta(days=2))
    await scene.happens("a", "b")
    await scene.run_until_told()
    assert (await scene.waiting(), await scene.given_up()) == (0, 2)
    assert timedelta(days=2) <= clock.now() - START < timedelta(days=2, hours=2)


async def test_a_fault_of_ours_costs_one_try(
    store: SqlStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(message: Message) -> Answer:
        if len(scene.way.tried) == 1:
            raise RuntimeError("c4n4ry")
        return TAKEN

    scene = Scene(store, clock, FakeWay(broken))
    await scene.happens("a")
    await scene.deliver()
    (standing,) = await store.outbox.standing()
    assert standing.last_error == "a fault of NetRaven (RuntimeError): its log has it"
    assert "hook_fault" in caplog.text
    await scene.run_until_told()
    assert scene.taken == [("a", 1)]


# ---- patterns and digests ----


async def test_a_change_in_which_the_pattern_is_not_found_is_never_told(
    store: SqlStore, clock: Clock
) -> None:
    scene = Scene(store, clock, FakeWay(), pattern=Pattern("^ip route", regex=True))
    await put_change(store, "a", 11)
    await put_change(store, "b", 12)
    scene.changes.by_id = {11: "ip route 0.0.0.0", 12: "hostname b"}
    await scene.deliver()
    assert [device for device, _ in scene.taken] == ["a"]
    assert len(scene.way.tried) == 1
    assert await scene.waiting() == 0


async def test_what_is_not_told_says_nothing_of_the_receiver(store: SqlStore, clock: Clock) -> None:
    """A change without the pattern is let go while the receiver is down, and nobody takes the receiver for well."""
    scene = Scene(store, clock, FakeWay(lambda _: DOWN), pattern=Pattern("route"))
    for device in "abc":
        await put_change(store, device, 11 if device == "a" else 12)
    scene.changes.by_id = {11: "ip route 0.0.0.0", 12: "hostname b"}
    await scene.deliver()
    clock.now_ = (await store.outbox.pauses())["all"].until
    await scene.deliver()
    assert (await store.outbox.pauses())["all"].failures == 2
    assert await scene.waiting() == 1


async def test_a_digest_is_one_message_for_each_run_with_all_that_happened(
    store: SqlStore, clock: Clock
) -> None:
    scene = Scene(store, later_than_now(clock), FakeWay(), digest=True)
    for names in (("a", "b"), ("c",)):
        run = await start_run(store)
        for name in names:
            outcome = Outcome(
                await add_device(store, name), Status.FAILED, START, 100, "unreachable", "no route"
            )
            await store.commit([DeviceFinished(run.id, outcome)])
        if names == ("c",):
            break  # this one goes on
        await store.finish(run, RunStatus.FAILED, run.counts)
    await scene.deliver()
    (message,) = scene.way.taken
    assert message.event is not None
    assert message.event.kind is EventKind.RUN_FINISHED
    assert [part.event.device for part in message.parts if part.event] == ["a", "b"]
    assert await scene.waiting() == 1


async def test_a_digest_that_was_not_taken_is_sent_whole_again(store: SqlStore, clock: Clock) -> None:
    way = FakeWay(lambda _: TAKEN if len(way.tried) > 2 else DOWN)
    scene = Scene(store, later_than_now(clock), way, digest=True)
    run = await start_run(store)
    outcome = Outcome(await add_device(store, "a"), Status.FAILED, START, 100, "unreachable", "no route")
    await store.commit([DeviceFinished(run.id, outcome)])
    await store.finish(run, RunStatus.FAILED, run.counts)
    await scene.run_until_told()
    assert [(m.uid, len(m.parts)) for m in scene.way.tried] == [(scene.way.taken[0].uid, 1)] * 3
    assert await scene.waiting() == 0


# ---- ends ----


async def test_what_is_under_way_when_the_courier_is_ended_is_sent_again_under_its_uid(
    store: SqlStore, clock: Clock
) -> None:
    scene = Scene(store, clock, FakeWay())
    await scene.happens("a")
    scene.way.hold = asyncio.Event()
    running = asyncio.create_task(scene.courier().run())
    await until(lambda: bool(scene.way.active))
    running.cancel()
    await asyncio.wait([running])
    scene.way.hold = None
    await scene.deliver()
    first, second = scene.way.tried
    assert first.uid == second.uid
    assert len(scene.way.taken) == 1


async def test_a_receiver_that_never_answers_pauses_though_each_try_is_cut_off(
    store: SqlStore, clock: Clock
) -> None:
    scene = Scene(store, clock, FakeWay())
    await scene.happens("a")
    scene.way.hold = asyncio.Event()
    running = asyncio.create_task(scene.courier().run())
    await until(lambda: bool(scene.way.active))
    clock.now_ += timedelta(seconds=9)
    running.cancel()
    await asyncio.wait([running])
    (standing,) = await store.outbox.standing()
    assert (standing.waiting, standing.last_error) == (1, "no answer for 9 s, then it was left")
    assert standing.pause is not None
    assert standing.pause.failures == 1
    scene.way.hold = None
    await scene.deliver()
    assert len(scene.way.tried) == 1
    clock.now_ += timedelta(seconds=2)
    await scene.deliver()
    assert len(scene.way.taken) == 1


async def test_what_has_been_taken_goes_on_record_though_the_courier_is_ended(
    store: SqlStore, clock: Clock
) -> None:
    scene = Scene(store, clock, FakeWay())
    await scene.happens("a")
    running: asyncio.Task[None]

    def taken(_: Message) -> Answer:
        running.cancel()
        return TAKEN

    scene.way.answer = taken
    running = asyncio.create_task(scene.courier().run())
    await asyncio.wait([running])
    assert await scene.waiting() == 0


async def test_a_courier_that_is_told_to_finish_ends_once_nothing_waits(
    store: SqlStore, clock: Clock
) -> None:
    scene = Scene(store, clock, FakeWay())
    courier = scene.courier()
    running = asyncio.create_task(courier.run())
    await scene.happens("a")
    await until(lambda: len(scene.taken) == 1)
    assert not running.done()
    courier.finish(10)
    async with asyncio.timeout(PATIENCE):
        await running


async def test_a_courier_does_not_wait_for_a_receiver_that_will_not_be_tried_in_time(
    store: SqlStore, clock: Clock
) -> None:
    scene = Scene(store, clock, FakeWay(lambda _: Answer("HTTP 503", retry_after=600)))
    await scene.happens("a")
    courier = scene.courier()
    courier.finish(10)
    async with asyncio.timeout(PATIENCE):
        await courier.run()
    assert len(scene.way.tried) == 1
    assert await scene.waiting() == 1


async def test_two_couriers_at_once_deliver_everything_once(store: SqlStore, clock: Clock) -> None:
    ways = [FakeWay(together=4), FakeWay(together=4)]
    scenes = [Scene(store, clock, way) for way in ways]
    names = [f"r{n}" for n in range(10)]
    await scenes[0].happens(*names, *names, *names)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for scene in scenes:
            courier = scene.courier(SqlOutbox(store.database))
            courier.finish(60)
            group.create_task(courier.run())
    taken = [m for way in ways for m in way.taken]
    assert len(taken) == len({m.uid for m in taken}) == 30
    assert await scenes[0].waiting() == 0


def later_than_now(clock: Clock) -> Clock:
    """The end of a run is stamped with this machine's time."""
    clock.now_ = max(clock.now_, utcnow()) + timedelta(minutes=1)
    return clock


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_whatever_a_receiver_answers_each_device_is_told_in_order_and_nothing_twice(
    store: SqlStore, clock: Clock, seed: int
) -> None:
    chance = random.Random(seed)
    answers = [
        TAKEN,
        TAKEN,
        TAKEN,
        DOWN,
        Answer("HTTP 429", retry_after=30),
        Answer("HTTP 400", permanent=True),
    ]
    way = FakeWay(lambda _: chance.choice(answers), together=5)
    scene = Scene(store, clock, way)
    await scene.happens(*(chance.choice("abcdef") for _ in range(40)))
    clock.stride = 5
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for _ in range(2):  # two processes, as it were
            courier = scene.courier(SqlOutbox(store.database))
            courier.finish(86_400)
            group.create_task(courier.run())
    assert len(way.taken) == len({m.uid for m in way.taken}) == 40 - await scene.given_up()
    assert await scene.waiting() == 0
    assert all(runs == sorted(runs) for runs in per_device(scene.taken).values())


async def put_change(store: SqlStore, device: str, version: int) -> None:
    number = next(_numbers)
    values = {
        "uid": f"all-{number}", "hook": "all", "event": "changed", "run_id": number, "device_name": device, "tags": [],
        "versions": [version], "data": {}, "happened_at": START, "next_try_at": START,
    }  # fmt: skip
    async with store.database.writing() as connection:
        await connection.execute(insert(hook_deliveries).values(values))


_numbers = itertools.count(1)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - nobody sets an event there
            await asyncio.sleep(0.005)
