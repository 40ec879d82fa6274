"""A device is in one session at a time, whoever runs; how devices went; what a run that goes on finds of before."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from netraven.model import (
    JUMP_HOST,
    AttemptStarted,
    Credential,
    Device,
    DeviceFinished,
    DeviceLeft,
    Earlier,
    Order,
    Outcome,
    Run,
    RunStatus,
    SkipReason,
    Status,
    Verdict,
    What,
    utcnow,
)
from netraven.storage.runs import SILENCE, SqlRuns
from netraven.storage.schema import device_sessions, device_standing
from netraven.storage.store import SqlStore
from tests.storage.facts import START, add_credential, add_device, at, start_run, try_once


def start(run: Run, device: Device, credential: Credential) -> AttemptStarted:
    return AttemptStarted(run.id, device, credential, utcnow(), "why")


async def sessions(store: SqlStore) -> dict[int, int]:
    async with store.database.reading() as connection:
        rows = await connection.execute(select(device_sessions.c.device_id, device_sessions.c.run_id))
        return {row.device_id: row.run_id for row in rows}


async def test_another_run_has_to_wait_until_the_session_is_over(store: SqlStore) -> None:
    device, other, credential = (
        await add_device(store),
        await add_device(store, "r2"),
        await add_credential(store),
    )
    mine, theirs = await start_run(store), await start_run(store)
    (key,) = await store.commit([start(mine, device, credential)])
    assert isinstance(key, int)
    again, refused, free = await store.commit(
        [start(mine, device, credential), start(theirs, device, credential), start(theirs, other, credential)]
    )
    assert isinstance(again, int), "the run's own device"
    assert refused is None
    assert isinstance(free, int)
    assert len([row async for row in store.logs.attempts()]) == 3, (
        "nothing is on record of what was not let in"
    )
    await store.commit([DeviceLeft(mine.id, device)])
    (key,) = await store.commit([start(theirs, device, credential)])
    assert isinstance(key, int)
    await store.commit([DeviceLeft(theirs.id, device), DeviceLeft(mine.id, other)])
    assert await sessions(store) == {other.id: theirs.id}
    await store.release(theirs, theirs.counts)
    assert await sessions(store) == {}


async def test_a_device_that_is_left_and_comes_again_in_one_batch(store: SqlStore) -> None:
    device, credential = await add_device(store), await add_credential(store)
    run = await start_run(store)
    await store.commit([start(run, device, credential)])
    await store.commit([DeviceLeft(run.id, device), start(run, device, credential)])
    assert await sessions(store) == {device.id: run.id}
    await store.commit([start(run, device, credential), DeviceLeft(run.id, device)])
    assert await sessions(store) == {}


async def test_jump_hosts_are_nobodys(store: SqlStore) -> None:
    host, credential = await add_device(store, platform=JUMP_HOST), await add_credential(store)
    for run in (await start_run(store), await start_run(store)):
        (key,) = await store.commit([start(run, host, credential)])
        assert isinstance(key, int)
    assert await sessions(store) == {}


async def test_a_session_of_a_dead_process_and_one_whose_time_is_over_are_taken_over(store: SqlStore) -> None:
    devices = [await add_device(store, name) for name in ("r1", "r2", "r3")]
    credential = await add_credential(store)
    mine, theirs = await start_run(store), await start_run(store)
    await store.commit([start(theirs, device, credential) for device in devices])
    dead = store.runs._owner.rpartition("/")[0].rpartition("/")[0] + "/1/0"
    changed: list[tuple[int | None, dict[str, Any]]] = [
        (devices[0].id, {"owner": dead}),
        (devices[1].id, {"until": utcnow() - timedelta(seconds=1)}),
    ]
    async with store.database.writing() as connection:
        for key, values in changed:
            where = device_sessions.c.device_id == key
            await connection.execute(update(device_sessions).where(where).values(values))
    answers = await store.commit([start(mine, device, credential) for device in devices])
    assert [isinstance(answer, int) for answer in answers] == [True, True, False]
    assert await sessions(store) == {devices[0].id: mine.id, devices[1].id: mine.id, devices[2].id: theirs.id}


async def test_a_run_that_was_taken_from_a_silent_host_waits_for_the_sessions_there(store: SqlStore) -> None:
    """The process there may only stand still: its sessions are open until their time is over."""
    devices = [await add_device(store, name) for name in ("r1", "r2")]
    credential = await add_credential(store)
    elsewhere = SqlRuns(store.database, owner="elsewhere/boot/1/0")
    run = await elsewhere.start(Order(strategy="priority", concurrency=1, job_id=7, job="nightly"))
    await store.commit([start(run, device, credential) for device in devices])
    (taken,) = await store.runs.recover(now=utcnow() + SILENCE + timedelta(seconds=1))
    assert await sessions(store) == {device.id: run.id for device in devices}
    mine = await store.runs.claim(taken)
    assert mine is not None
    assert await store.commit([start(mine, devices[0], credential)]) == [None]
    await store.commit([DeviceLeft(run.id, devices[0])])
    assert len(await sessions(store)) == 2, "it is not ours to end"

    async with store.database.writing() as connection:
        over = update(device_sessions).where(device_sessions.c.device_id == devices[0].id)
        await connection.execute(over.values(until=utcnow() - timedelta(seconds=1)))
    (key,) = await store.commit([start(mine, devices[0], credential)])
    assert isinstance(key, int)
    await store.runs.finish(mine, RunStatus.COMPLETE, mine.counts)
    assert await sessions(store) == {devices[1].id: run.id}


async def test_a_host_whose_clock_is_ahead_takes_nothing_from_one_that_lives(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a server all go by its clock; a SQLite file has one machine, whose clock is everybody's."""
    if store.database.is_sqlite:
        return
    device, credential = await add_device(store), await add_credential(store)
    elsewhere = SqlRuns(store.database, owner="elsewhere/boot/1/0")
    run = await elsewhere.start(Order(strategy="priority", concurrency=1, job_id=7, job="nightly"))
    await store.commit([start(run, device, credential)])
    for name, module in list(sys.modules.items()):
        if name.startswith("netraven.storage.") and hasattr(module, "utcnow"):
            monkeypatch.setattr(module, "utcnow", lambda: utcnow() + timedelta(hours=1))
    assert await store.runs.recover() == []
    other = await start_run(store)
    assert await store.commit([start(other, device, credential)]) == [None]


async def standing(store: SqlStore) -> dict[str, Any]:
    async with store.database.reading() as connection:
        return dict((await connection.execute(select(device_standing))).one()._mapping)


async def test_how_a_device_went(store: SqlStore) -> None:
    device = await add_device(store)

    async def finish(outcome: Outcome, **fields: Any) -> dict[str, Any]:
        run = await start_run(store)
        await store.commit([DeviceFinished(run.id, outcome, **fields)])
        return await standing(store)

    well = Outcome(device, Status.COLLECTED, START, 5_000, attempts=1)
    dead = Outcome(device, Status.FAILED, at(60), 1_000, "unreachable")
    found = await finish(well, took_ms=1_000)
    assert found == {
        "device_id": device.id,
        "collected_at": at(5),
        "tried_at": at(5),
        "reason": None,
        "dead_in_row": 0,
        "duration_ms": 1_000,
    }
    assert (await finish(replace(well), took_ms=2_000))["duration_ms"] == 1_300
    await finish(dead, took_ms=77)
    found = await finish(dead)
    assert (found["dead_in_row"], found["reason"], found["duration_ms"]) == (2, "unreachable", 1_300)
    assert (found["collected_at"], found["tried_at"]) == (at(5), at(61))
    skipped = Outcome(device, Status.SKIPPED, at(120), 0, "credentials_held")
    found = await finish(skipped)
    assert (found["dead_in_row"], found["reason"]) == (2, "credentials_held")
    checked = Outcome(device, Status.CHECKED, at(180), 5)
    found = await finish(checked, what=What.REACHABILITY, took_ms=5)
    assert found["dead_in_row"] == 0
    assert (found["collected_at"], found["reason"], found["duration_ms"]) == (
        at(5),
        "credentials_held",
        1_300,
    )


async def test_a_run_that_goes_on_knows_what_was_before(store: SqlStore) -> None:
    devices = [await add_device(store, name) for name in ("r1", "r2", "r3", "r4")]
    credential, spare = await add_credential(store), await add_credential(store, "spare", username="spare")
    run = await store.begin(await start_run(store), dead_after=3)
    await try_once(store, run, devices[0], credential, Verdict.REFUSED, 1)
    await try_once(store, run, devices[0], spare, Verdict.ACCEPTED, 2)
    await try_once(store, run, devices[1], credential, Verdict.REFUSED, 3)
    done = Outcome(devices[0], Status.COLLECTED, START, 5, credential=spare, attempts=2)
    none = Outcome(devices[2], Status.SKIPPED, START, 5, "no_credentials")
    await store.commit([DeviceFinished(run.id, done, took_ms=4_000), DeviceFinished(run.id, none)])
    targets = {t.device.name: t async for t in store.targets_of(run, resumed=True)}
    assert list(targets) == ["r2", "r4"]
    (earlier,) = targets["r2"].earlier
    assert (earlier.verdict, earlier.credential.key, earlier.credential.id) == (
        Verdict.REFUSED,
        ("tacacs", 1),
        credential.id,
    )
    assert targets["r4"].earlier == ()
    assert [t.earlier async for t in store.targets_of(run)] == [(), ()]
    counts = await store.counted(run)
    assert (counts.collected, counts.skipped, counts.attempts) == (1, 1, 2), (
        "r2's attempt counts with its outcome"
    )
    assert await store.skipped(run, SkipReason.NO_CREDENTIALS) == 1
    assert isinstance(earlier, Earlier)


async def test_what_is_left_of_a_run_and_how_long_it_takes(store: SqlStore) -> None:
    devices = [await add_device(store, name) for name in ("r1", "r2", "r3", "r4")]
    for device, took in zip(devices, (1_000, 8_000, 3_000), strict=False):
        run = await start_run(store)
        well = Outcome(device, Status.COLLECTED, START, took, attempts=1)
        await store.commit([DeviceFinished(run.id, well, took_ms=took)])
    for _ in range(3):
        run = await start_run(store)
        dead = Outcome(devices[2], Status.FAILED, START, 10, "unreachable")
        await store.commit([DeviceFinished(run.id, dead)])
    run = await store.start(
        Order(strategy="priority", concurrency=1, finish_by=utcnow() + timedelta(hours=1))
    )
    run = await store.begin(run, dead_after=3)
    targets = [target async for target in store.targets_of(run)]
    assert [t.device.name for t in targets] == ["r2", "r4", "r1", "r3"], (
        "slowest first, unknown as the average, dead last"
    )
    assert [(t.dead_in_row, t.duration_ms) for t in targets] == [
        (0, 8_000),
        (0, None),
        (0, 1_000),
        (3, 3_000),
    ]
    load = await store.load(run, dead_after=3, dead_seconds=2.5)
    assert (load.devices, load.known, load.seconds, load.longest) == (4, 3, 11.5, 8.0)
    await store.commit([DeviceFinished(run.id, Outcome(devices[1], Status.COLLECTED, START, 5, attempts=1))])
    load = await store.load(run, dead_after=3, dead_seconds=2.5)
    assert (load.devices, load.known, load.seconds) == (3, 2, 3.5)
