"""Runs that are stopped and go on, end in time, and share devices with other runs: over real SSH and real databases."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import select

from netraven import Credential, NetRaven
from netraven.collect.fleet import Fleet
from netraven.lab import Lab, LabDevice
from netraven.lab.model import WELL, Ill
from netraven.lab.wirelog import WireLog
from netraven.model import Order, Run, RunStatus, Selector, utcnow
from netraven.storage.schema import credential_attempts, device_sessions, run_outcomes, run_targets
from netraven.storage.store import SqlStore
from tests.acceptance.installation import EVERYWHERE, Installation

WRONG = Credential("wrong", "netops", "no-longer-so", EVERYWHERE, priority=10, realm="local")
RIGHT = Credential("right", "netops", "right", EVERYWHERE, priority=20, realm="local")


def routers(number: int, think: float = 0.0) -> list[LabDevice]:
    return [
        LabDevice(f"r{n:02}", accepts={"netops": "right"}, config_size=500, think=think)
        for n in range(number)
    ]


def most_at_once(log: WireLog) -> Counter[str]:
    """The most sessions that each device ever saw at the same moment."""
    now: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for event in log.events:
        if event.kind == "session":
            now[event.device] += 1
            most[event.device] = max(most[event.device], now[event.device])
        elif event.kind == "session_closed":
            now[event.device] -= 1
    return most


async def outcomes(store: SqlStore, run: Run) -> dict[str, tuple[str, str | None, int, int]]:
    outcome = run_outcomes.c
    statement = select(
        outcome.device_name, outcome.status, outcome.reason, outcome.attempts, outcome.retry_count
    )
    async with store.database.reading() as connection:
        rows = await connection.execute(statement.where(outcome.run_id == run.id))
        return {row[0]: tuple(row[1:]) for row in rows}


async def left_over(store: SqlStore) -> int:
    async with store.database.reading() as connection:
        tables = (device_sessions, run_targets)
        rows = [(await connection.execute(select(table))).all() for table in tables]
        pending = select(credential_attempts.c.id).where(credential_attempts.c.verdict == "pending")
        return sum(map(len, rows)) + len((await connection.execute(pending)).all())


def order(**fields: object) -> Order:
    told: dict[str, object] = {"selector": Selector(), "strategy": "priority", "concurrency": 5} | fields
    return Order(**told)  # type: ignore[arg-type]  # table-driven


@pytest.mark.parametrize("how", ["cancelled", "drained"])
async def test_a_run_that_was_stopped_goes_on_with_what_is_left(
    any_installation: Installation, how: str
) -> None:
    async with Lab(routers(24, think=0.1)) as lab:
        await any_installation.stock(lab, [WRONG, RIGHT])
        async with NetRaven.open(any_installation.file) as raven:
            running, store = raven._running, raven.store
            done: list[str] = []
            fleets: list[Fleet] = []

            class Watching:
                def run_started(self, run: Run, fleet: Fleet) -> None:
                    fleets.append(fleet)

                def device_finished(self, outcome: object) -> None:
                    done.append("")

                def noticed(self, event: str, data: object) -> None: ...

            run = await store.start(order())
            going = asyncio.create_task(running.execute(run, observer=Watching(), resumable=True))
            while len(done) < 7:  # noqa: ASYNC110 - what is waited for happens in servers
                await asyncio.sleep(0.01)
            if how == "drained":
                fleets[0].drain()
                assert (await going).status is RunStatus.QUEUED
            else:
                going.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await going
            waiting = await store.runs.get(run.id)
            before = await outcomes(store, run)
            assert waiting.status is RunStatus.QUEUED
            assert 7 <= len(before) < 24
            assert waiting.counts.collected == len(before)
            assert {reason for _, reason, _, _ in before.values()} == {None}, (
                "nobody is told of as interrupted"
            )
            claimed = await store.runs.claim(waiting)
            assert claimed is not None
            ended = await running.execute(claimed, resumable=True)
            assert (ended.status, ended.counts.collected, ended.counts.devices) == (
                RunStatus.COMPLETE,
                24,
                24,
            )
            found = await outcomes(store, run)
            refused = Counter(a.device for a in lab.log.attempts() if a.verdict == "refused")
            assert max(refused.values()) == 1, "what was refused before is not offered again in the same run"
            on_wire = Counter(attempt.device for attempt in lab.log.attempts())
            assert {name: attempts for name, (_, _, attempts, _) in found.items()} == dict(on_wire)
            assert all(retries == 1 for *_, retries in found.values())
            assert ended.counts.attempts == sum(on_wire.values())
            assert max(most_at_once(lab.log).values()) == 1
            assert await left_over(store) == 0


async def test_two_runs_are_never_in_session_with_the_same_device(any_installation: Installation) -> None:
    """In one program, and in two that only share the database."""
    async with Lab(routers(12, think=0.05)) as lab:
        await any_installation.stock(lab, [RIGHT])
        async with NetRaven.open(any_installation.file) as one, NetRaven.open(any_installation.file) as other:
            ended = await asyncio.gather(
                one.run(concurrency=6), one.run(concurrency=6), other.run(concurrency=6)
            )
            assert [run.status for run in ended] == [RunStatus.COMPLETE] * 3
            assert sum(event.kind == "session" for event in lab.log.events) == 36
            assert max(most_at_once(lab.log).values()) == 1
            assert await left_over(one.store) == 0


async def test_a_run_ends_in_time_and_says_what_was_left(any_installation: Installation) -> None:
    async with Lab([*routers(6), LabDevice("slow", accepts={"netops": "right"}, think=30.0)]) as lab:
        await any_installation.stock(lab, [RIGHT])
        async with NetRaven.open(any_installation.file) as raven:
            run = await raven.store.start(order(finish_by=utcnow() + timedelta(seconds=4)))
            ended = await raven._running.execute(run)
            found = await outcomes(raven.store, run)
            assert found["slow"][:2] == ("skipped", "window_closed")
            assert ended.status is RunStatus.PARTIAL
            assert ended.counts.collected == 6
            assert ended.error is not None
            assert "there was no time for 1 device" in ended.error
            assert ended.finished_at is not None
            assert run.finish_by is not None
            assert ended.finished_at - run.finish_by < timedelta(seconds=10)
            assert await left_over(raven.store) == 0


async def test_the_dead_go_last_and_one_success_ends_that(any_installation: Installation) -> None:
    async with Lab([LabDevice("a-dead", accepts={"netops": "right"}), *routers(3)]) as lab:
        await any_installation.stock(lab, [RIGHT])
        async with NetRaven.open(any_installation.file) as raven:
            await lab.set_ill("a-dead", Ill("port_closed"))
            for _ in range(3):
                await raven.run()
            told: list[str] = []
            await raven.run(concurrency=1, on_outcome=lambda outcome: told.append(outcome.device.name))
            assert told[-1] == "a-dead", "though it is the first by name"
            await lab.set_ill("a-dead", WELL)
            await raven.run()
            told.clear()
            await raven.run(concurrency=1, on_outcome=lambda outcome: told.append(outcome.device.name))
            assert told[0] == "a-dead"
