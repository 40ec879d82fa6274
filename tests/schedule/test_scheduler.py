"""The loop over real databases, with a clock that is set by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from netraven.model import Counts, Job, Run, RunStatus, Schedule
from netraven.schedule.scheduler import LONGEST_SLEEP, Scheduler
from netraven.storage.engine import Database
from netraven.storage.runs import SqlRuns
from netraven.storage.store import SqlStore
from tests.schedule.oracle import due_times

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Clock:
    """Moves only when somebody sleeps, or is told to; ``at`` says what happens when it comes past a moment."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now
        self.slept: list[float] = []
        self.at: list[tuple[datetime, Callable[[], Any]]] = []

    def __call__(self) -> datetime:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)
        while self.at and self.at[0][0] <= self.now:
            done = self.at.pop(0)[1]()
            if asyncio.iscoroutine(done):
                await done


class Ends:
    """Ends every run at once, as a daemon would have done in the end, and keeps what was fired."""

    def __init__(self, store: SqlStore) -> None:
        self._runs = store.runs
        self.fired: list[Run] = []

    def __call__(self, run: Run) -> None:
        self.fired.append(run)

    async def settle(self) -> None:
        for run in await self._runs.queued(1000):
            if await self._runs.claim(run):
                await self._runs.finish(run, RunStatus.COMPLETE, Counts())


def every(seconds: float, name: str = "job", **more: Any) -> Job:
    return Job(name, schedule=Schedule(every=seconds, **more))


async def run_until(scheduler: Scheduler, clock: Clock, end: datetime) -> None:
    clock.at.append((end, scheduler.stop))
    clock.at.sort(key=lambda pair: pair[0])
    await asyncio.wait_for(scheduler.run(), 60)


async def test_a_job_is_fired_at_its_time_and_the_scheduler_sleeps_until_then(store: SqlStore) -> None:
    clock, fired = Clock(NOW + timedelta(milliseconds=300)), Ends(store)
    await store.jobs.add(every(10.0), now=NOW)
    looks: list[datetime] = []
    scheduler = Scheduler(
        store.jobs, now=clock, sleep=clock.sleep, on_fired=fired, progress=lambda: looks.append(clock.now)
    )
    await run_until(scheduler, clock, NOW + timedelta(seconds=12))
    (run,) = fired.fired
    assert run.due_at == NOW + timedelta(seconds=10)
    assert run.due_at in looks, "not up to a second later"
    assert max(clock.slept) == LONGEST_SLEEP
    assert len(looks) <= 14 + 1


async def test_edits_and_switching_off_take_effect_at_the_next_look(store: SqlStore) -> None:
    clock, fired = Clock(), Ends(store)
    await store.jobs.add(every(86_400.0), now=NOW)

    async def sooner() -> None:
        await store.jobs.edit(every(30.0), now=clock.now)

    async def off() -> None:
        await fired.settle()
        await store.jobs.disable("job", now=clock.now)

    clock.at = [(NOW + timedelta(seconds=5), sooner), (NOW + timedelta(seconds=35), off)]
    scheduler = Scheduler(store.jobs, now=clock, sleep=clock.sleep, on_fired=fired)
    await run_until(scheduler, clock, NOW + timedelta(seconds=100))
    assert [run.due_at for run in fired.fired] == [NOW + timedelta(seconds=30)]


async def test_a_run_that_goes_on_holds_its_job_back(store: SqlStore) -> None:
    clock, fired = Clock(), Ends(store)
    await store.jobs.add(every(10.0), now=NOW)
    clock.at = [(NOW + timedelta(seconds=44), fired.settle)]
    scheduler = Scheduler(store.jobs, now=clock, sleep=clock.sleep, on_fired=fired)
    await run_until(scheduler, clock, NOW + timedelta(seconds=48))
    assert [(run.due_at, run.missed) for run in fired.fired] == [
        (NOW + timedelta(seconds=10), 0),
        (NOW + timedelta(seconds=40), 2),
    ]
    assert min(clock.slept) > 0.5, "it does not spin while something is due that has a run"


async def test_more_than_a_batch_at_once(store: SqlStore) -> None:
    clock, fired = Clock(), Ends(store)
    await store.jobs.apply([every(60.0, f"job{number}") for number in range(250)], now=NOW)
    clock.now = NOW + MINUTE
    await Scheduler(store.jobs, now=clock, sleep=clock.sleep, on_fired=fired).tick()
    assert len({run.job for run in fired.fired}) == len(fired.fired) == 250


@asynccontextmanager
async def second_store(url: str, store: SqlStore) -> AsyncIterator[SqlStore]:
    async with await Database.open(url) as database:
        yield SqlStore(database, store.vault.seals)


async def test_two_schedulers_on_one_database_run_each_due_time_once(
    store: SqlStore, database_url: str
) -> None:
    """Over a night of changing clocks, with a clock each that differ by half a second."""
    start = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)
    lines = {"daily": "30 2 * * *", "often": "*/10 * * * *", "hourly": "5 0-23 * * *", "same": "*/10 * * * *"}
    wanted = [Job(name, schedule=Schedule(cron=line, zone="Europe/Berlin")) for name, line in lines.items()]
    async with second_store(database_url, store) as other:
        await store.jobs.apply(wanted, now=start)
        clocks = Clock(start), Clock(start + timedelta(milliseconds=500))
        fired = Ends(store), Ends(other)
        schedulers = [
            Scheduler(s.jobs, now=clock, sleep=clock.sleep, on_fired=ends)
            for s, clock, ends in zip((store, other), clocks, fired, strict=True)
        ]
        end = start + timedelta(hours=3)
        while clocks[0].now < end:
            await asyncio.gather(*(scheduler.tick() for scheduler in schedulers))
            await fired[0].settle()
            for clock in clocks:
                clock.now += timedelta(seconds=150)
    both = [(run.job, run.due_at) for ends in fired for run in ends.fired]
    assert len(both) == len(set(both))
    for name, line in lines.items():
        expected = due_times(line, ZoneInfo("Europe/Berlin"), start, end - timedelta(seconds=150))
        assert sorted(due for job, due in both if job == name and due) == expected
    assert all(ends.fired for ends in fired), "neither had it all to itself"
    assert all(run.missed == 0 for ends in fired for run in ends.fired)


async def test_two_that_look_at_the_very_same_moment(store: SqlStore, database_url: str) -> None:
    async with second_store(database_url, store) as other:
        await store.jobs.apply([every(60.0, f"job{number}") for number in range(30)], now=NOW)
        (first, second) = [
            (await one.jobs.due(NOW + MINUTE, 100), one.jobs) for one in (store, other)
        ]  # both have seen all of them
        fired = await asyncio.gather(
            *(jobs.claim(standing, NOW + MINUTE) for seen, jobs in (first, second) for standing in seen)
        )
        assert len([run for run in fired if run]) == 30
        assert len(await store.runs.queued(100)) == 30


@pytest.mark.parametrize("leap", [timedelta(hours=1), timedelta(days=364)])
async def test_the_wall_clock_jumps_back_and_forward(store: SqlStore, leap: timedelta) -> None:
    """Each due time that the right clock comes past is run once, and nothing else that was run before."""
    clock, fired = Clock(), Ends(store)
    await store.jobs.add(every(600.0, grace=86_400.0 * 366), now=NOW)
    scheduler = Scheduler(store.jobs, now=clock, sleep=clock.sleep, on_fired=fired)

    async def look_for(minutes: int) -> None:
        for _ in range(minutes):
            await scheduler.tick()
            await fired.settle()
            clock.now += MINUTE

    await look_for(31)
    assert len(fired.fired) == 3
    clock.now -= leap
    await look_for(10)
    clock.now += leap
    await look_for(30)
    right = [run.due_at for run in fired.fired if run.due_at and run.due_at >= NOW]
    assert right == sorted(set(right)), "nothing twice, and in order"
    assert right[:3] == [NOW + timedelta(minutes=m) for m in (10, 20, 30)]
    assert right[-1] == NOW + timedelta(minutes=70)
    every_time = {run.due_at for run in await store.runs.list()}
    assert len(every_time) == len(fired.fired)

    clock.now += leap  # and forward: one run for all that it leapt over
    before = len(fired.fired)
    await look_for(1)
    (run,) = fired.fired[before:]
    assert run.missed > 0
    clock.now -= leap
    await look_for(30)
    assert [r.due_at for r in fired.fired[before + 1 :]] == (
        []  # an hour: what it has run already
        if leap == timedelta(hours=1)
        else [NOW + timedelta(minutes=m) for m in (80, 90, 100)]
    )


# A lost database


@contextmanager
def gone(url: str) -> Iterator[None]:
    path = Path(url.removeprefix("sqlite:///"))
    aside = path.with_suffix(".aside")
    path.rename(aside)
    yield
    aside.rename(path)


@asynccontextmanager
async def lost(url: str) -> AsyncIterator[None]:
    """The database cannot be reached inside."""
    if url.startswith("sqlite"):
        with gone(url):
            yield
        return
    parts = urlsplit(url)
    name = parts.path.removeprefix("/")
    admin = await asyncpg.connect(urlunsplit(parts._replace(path="/postgres")))
    try:
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        yield
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    finally:
        await admin.close()


async def test_a_lost_database_is_waited_for(
    store: SqlStore, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "netraven.schedule")
    clock, fired = Clock(), Ends(store)
    await store.jobs.add(every(60.0), now=NOW)
    looks = 0

    def count() -> None:
        nonlocal looks
        looks += 1

    scheduler = Scheduler(store.jobs, now=clock, sleep=clock.sleep, on_fired=fired, progress=count)
    clock.now = NOW + MINUTE
    async with lost(database_url):
        for _ in range(5):
            assert await scheduler.tick() == LONGEST_SLEEP
    assert (fired.fired, looks) == ([], 5)
    await scheduler.tick()
    assert [run.due_at for run in fired.fired] == [NOW + MINUTE]
    assert [r.message for r in caplog.records if r.name == "netraven.schedule"] == [
        "scheduler_paused",
        "job_due",
        "scheduler_resumed",
    ]


async def test_it_stops_at_once_and_can_be_cancelled(store: SqlStore) -> None:
    async def for_ever(_: float) -> None:
        await asyncio.Event().wait()

    scheduler = Scheduler(store.jobs, sleep=for_ever)
    running = asyncio.create_task(scheduler.run())
    await asyncio.sleep(0.05)
    assert not running.done()
    scheduler.stop()
    await asyncio.wait_for(running, 10)

    cancelled = asyncio.create_task(Scheduler(store.jobs, sleep=for_ever).run())
    await asyncio.sleep(0.05)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_a_process_that_died_leaves_its_run_to_the_next(store: SqlStore) -> None:
    """The due time is not run by another run: the one that there is goes on."""
    clock, fired = Clock(), Ends(store)
    await store.jobs.add(every(60.0), now=NOW)
    clock.now = NOW + MINUTE
    scheduler = Scheduler(store.jobs, now=clock, sleep=clock.sleep, on_fired=fired)
    await scheduler.tick()
    (run,) = fired.fired
    dead = SqlRuns(store.database, owner="otherhost/boot/1/1")
    await dead.claim(run)
    (found,) = await store.runs.recover(now=datetime.now(UTC) + timedelta(hours=1))
    assert (found.id, found.status) == (run.id, RunStatus.QUEUED)
    clock.now += 5 * MINUTE
    await scheduler.tick()
    assert len(fired.fired) == 1
    await fired.settle()
    await scheduler.tick()
    assert [r.due_at for r in fired.fired] == [NOW + MINUTE, NOW + 6 * MINUTE]
