from __future__ import annotations

import os
from datetime import timedelta

import pytest

from netraven.errors import InputError
from netraven.model import AttemptStarted, Counts, Logged, Order, RunStatus, Selector, Verdict
from netraven.storage.owner import current_owner, lives
from netraven.storage.runs import SILENCE, SqlRuns
from netraven.storage.store import SqlStore
from tests.storage.facts import START, add_credential, add_device, collected, failed, start_run, try_once

ELSEWHERE = "otherhost/boot/1/1"


async def test_a_run_is_kept_from_start_to_end(store: SqlStore) -> None:
    selector = Selector(frozenset({"edge"}), frozenset({"r1", "r2"}))
    run = await store.start(Order(selector=selector, strategy="priority", concurrency=7))
    assert await store.runs.get(run.id) == run
    counts = Counts(2, 1, 1, 0, 3)
    finished = await store.finish(run, RunStatus.PARTIAL, counts, "why")
    assert await store.runs.get(run.id) == finished
    assert (finished.status, finished.counts, finished.selector) == (RunStatus.PARTIAL, counts, selector)
    with pytest.raises(InputError, match="no such run: 4711"):
        await store.runs.get(4711)


async def test_the_newest_runs_are_listed_newest_last(store: SqlStore) -> None:
    started = [await start_run(store) for _ in range(5)]
    assert await store.runs.list() == started
    assert await store.runs.list(limit=2) == started[-2:]
    assert await store.runs.list(since=started[1].started_at, until=started[3].started_at) == started[1:3]


async def test_a_living_run_is_left_alone(store: SqlStore) -> None:
    run = await start_run(store)
    assert await store.runs.recover(now=run.started_at + timedelta(days=1)) == []
    assert (await store.runs.get(run.id)).status is RunStatus.RUNNING


async def test_a_dead_process_leaves_an_interrupted_run(store: SqlStore) -> None:
    host, pid, start = current_owner().rsplit("/", 2)
    device, credential = await add_device(store), await add_credential(store)
    other = await add_device(store, "r2")
    dead = SqlRuns(store.database, owner=f"{host}/{pid}/{int(start or 0) + 1}")
    run = await dead.begin(await dead.start(Order(strategy="priority", concurrency=1)), dead_after=3)
    await try_once(store, run, device, credential, Verdict.ACCEPTED)
    await store.commit([collected(run, device, credential), failed(run, other, credential)])
    await store.commit([AttemptStarted(run.id, other, credential, START, "")])

    ended = run.started_at + timedelta(minutes=5)
    await store.commit([Logged(run.id, ended, "info", "the last that was heard of it")])

    (found,) = await store.runs.recover()
    assert await store.runs.get(run.id) == found
    assert found.finished_at == ended
    assert (found.status, found.counts) == (RunStatus.INTERRUPTED, Counts(2, 1, 1, 0, 2))
    assert found.error
    verdicts = [(row["verdict"], row["error_type"]) async for row in store.logs.attempts()]
    assert sorted(verdicts, key=str) == [("accepted", None), ("no_verdict", "interrupted")]
    assert (await store.vault.get("tacacs")).metrics.success_rate == 1.0
    assert await store.runs.recover() == []


async def test_a_run_elsewhere_is_judged_by_its_silence(store: SqlStore) -> None:
    elsewhere = SqlRuns(store.database, owner=ELSEWHERE)
    run = await elsewhere.start(Order(strategy="priority", concurrency=1))
    assert await store.runs.recover(now=run.started_at + SILENCE) == []
    await elsewhere.heartbeat(run)
    beat = run.started_at + SILENCE + timedelta(seconds=1)
    assert await store.runs.recover(now=beat - timedelta(seconds=2)) == []
    (found,) = await store.runs.recover(now=beat + SILENCE)
    assert found.id == run.id
    assert found.finished_at is not None
    assert found.finished_at > run.started_at, "its last sign of life was the heartbeat"


def test_owners() -> None:
    me = current_owner()
    assert lives(me) is True
    host, pid, start = me.rsplit("/", 2)
    assert pid == str(os.getpid())
    assert lives(f"{host}/{pid}/{start}9") is False
    assert lives(f"{host}/{2**22 + 1}/{start}") is False
    assert lives(ELSEWHERE) is None
    assert lives("") is None
