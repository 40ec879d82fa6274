"""What it costs to look for due jobs: CPU of the process for each look of the scheduler, on both databases."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.bench import Bench
from benchmarks.process import CORES, pin
from benchmarks.recorder import database_on, postgresql, sqlite_of
from benchmarks.table import Answer, Row

_START = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)
_ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu")
_OFTEN = 100
"""Jobs that are due each minute; all others are due by day."""


def measure(bench: Bench) -> Answer:
    """A look each second while nothing is due, and then a look each minute at which a hundred jobs are."""
    sizes = bench.sizes
    answer = Answer(f"Scheduler: {sizes.jobs:,} jobs", "CPU ms/look")
    allowed = os.sched_getaffinity(0) if CORES.client is not None else set()
    pin(0, CORES.client)
    try:
        asyncio.run(_on(answer, bench, "SQLite", sqlite_of(bench)))
        if allowed:
            os.sched_setaffinity(0, allowed)
        with postgresql() as url:
            if url is None:
                answer.rows.append(
                    Row("PostgreSQL", note="none given (NETRAVEN_TEST_PG_URL), none installed")
                )
            else:
                pin(0, CORES.client)
                asyncio.run(_on(answer, bench, "PostgreSQL", database_on(url)))
    finally:
        if allowed:
            os.sched_setaffinity(0, allowed)
    answer.notes.append(
        "a look each second is all that the scheduler does; PostgreSQL's own CPU is not in it"
    )
    return answer


async def _on(answer: Answer, bench: Bench, name: str, opened: Any) -> None:
    from netraven.storage.migrate import create_and_upgrade
    from netraven.storage.store import SqlStore

    sizes = bench.sizes
    async with opened as url:
        await create_and_upgrade(url)
        async with SqlStore.open(url) as store:
            began = time.process_time()
            await store.jobs.apply(_jobs(sizes.jobs), now=_START)
            applied = time.process_time() - began
            began = time.process_time()
            await store.jobs.apply(_jobs(sizes.jobs), now=_START)
            again = time.process_time() - began
            # Often ones are held back meanwhile by runs of their own: the first look has queued them.
            looks = _Looks(store)
            await looks.look(timedelta(minutes=1))
            idle = [await looks.look(timedelta(seconds=1)) for _ in range(sizes.looks)]
            assert looks.fired == min(_OFTEN, sizes.jobs), "something was due"
            busy = []
            for _ in range(max(sizes.looks // 20, 2)):
                await looks.end_all()
                busy.append(await looks.look(timedelta(minutes=1)))
            assert looks.fired == min(_OFTEN, sizes.jobs) * (1 + len(busy))
    answer.rows.append(Row(f"{name}, nothing due", idle, note=_note(idle)))
    answer.rows.append(Row(f"{name}, {min(_OFTEN, sizes.jobs)} due", busy, note=_note(busy)))
    answer.notes.append(
        f"{name}: jobs of the settings applied in {applied:.2f} s of CPU, and again unchanged in {again:.2f} s"
    )
    answer.raw.append({"database": name, "idle_ms": idle, "busy_ms": busy, "apply_s": [applied, again]})


class _Looks:
    def __init__(self, store: Any) -> None:
        from netraven.schedule.scheduler import Scheduler

        self._store = store
        self._now = _START
        self.fired = 0
        self._scheduler = Scheduler(store.jobs, now=lambda: self._now, on_fired=self._count)

    def _count(self, _: object) -> None:
        self.fired += 1

    async def look(self, later: timedelta) -> float:
        self._now += later
        began = time.process_time()
        await self._scheduler.tick()
        return (time.process_time() - began) * 1000

    async def end_all(self) -> None:
        from sqlalchemy import text

        async with self._store.database.writing() as connection:
            await connection.execute(text("UPDATE runs SET status = 'complete' WHERE status = 'queued'"))


def _jobs(number: int) -> Sequence[Any]:
    """Some by the minute, the others spread over the day in several zones; none of these is due soon."""
    from netraven.model import Job, Schedule, Selector

    often = [
        Job(f"often{n}", schedule=Schedule(cron="* * * * *", zone=_ZONES[n % 4]))
        for n in range(min(_OFTEN, number))
    ]
    daily = [
        Job(
            f"site{n}",
            selector=Selector(tags=frozenset({f"site{n}"})),
            schedule=Schedule(every=86_400.0 * 30, jitter=86_400.0, grace=7_200.0)
            if n % 5 == 0
            else Schedule(cron=f"{n % 60} {n // 60 % 3 + 12} 28 * *", zone=_ZONES[n % 4], jitter=600.0),
        )
        for n in range(number - len(often))
    ]
    return often + daily


def _note(values: Sequence[float]) -> str:
    ranked = sorted(values)
    return f"p99 {ranked[max(round(len(ranked) * 0.99) - 1, 0)]:.2f}, mean {statistics.fmean(values):.2f}"
