"""Runs that visit no device, on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from netraven import chores
from netraven.config import RetentionSettings
from netraven.credentials.sealing import Keyring
from netraven.errors import DatabaseError, InputError
from netraven.model import (
    Counts,
    EventKind,
    Order,
    Run,
    RunStatus,
    Selector,
    Subscription,
    What,
    utcnow,
)
from netraven.storage.engine import Database
from netraven.storage.schema import device_standing, hook_deliveries
from netraven.storage.store import SqlStore
from netraven.testing import MemoryStore
from tests.storage.facts import add_device, collected

STALE = Order(What.STALE, options={"older_than": 3600.0}, job_id=7, job="morning")
PRUNE = Order(What.PRUNE, job_id=8, job="tidy")


@pytest.fixture
def store(database: Database) -> SqlStore:
    """Its hook wants to be told everything."""
    return SqlStore(database, Keyring.generate(), subscriptions=[Subscription("all", frozenset(EventKind))])


async def told(store: SqlStore) -> list[Any]:
    async with store.database.reading() as connection:
        return list((await connection.execute(select(hook_deliveries).order_by(hook_deliveries.c.id))).all())


async def line(store: SqlStore, run: Run, message: str) -> Any:
    (found,) = await store.logs.events(run.id, [message])
    return found


async def fleet(store: SqlStore, number: int) -> None:
    for n in range(number):
        await add_device(store, f"r{n:04}")


async def test_a_report_tells_hooks_who_is_stale(store: SqlStore) -> None:
    await fleet(store, 3)
    fresh = await add_device(store, "fresh")
    async with store.database.writing() as connection:
        await connection.execute(insert(device_standing), [{"device_id": fresh.id, "collected_at": utcnow()}])
    run = await chores.do(await store.start(STALE), store)
    assert (run.status, run.counts, run.error) == (RunStatus.COMPLETE, Counts(), None)
    on_record = await store.runs.get(run.id)
    assert (on_record.status, on_record.finished_at) == (RunStatus.COMPLETE, run.finished_at)
    event, end = await told(store)
    assert (event.event, event.device_name, event.run_id) == ("stale-devices", "", run.id)
    assert (event.data["older_than_s"], event.data["count"]) == (3600.0, 3)
    assert event.data["devices"][0] == {
        "name": "r0000",
        "platform": "cisco_iosxe",
        "tags": ["edge"],
        "collected_at": None,
        "tried_at": None,
        "reason": None,
    }
    assert (end.event, end.data["status"], end.data["what"]) == ("run-finished", "complete", "stale-report")
    logged = await line(store, run, "stale_devices")
    assert (logged["level"], logged["data"]["count"]) == ("warning", 3)
    assert logged["data"]["devices"] == ["r0000", "r0001", "r0002"]


async def test_a_report_of_a_large_fleet_has_an_end(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "MOST_TOLD", 4)
    monkeypatch.setattr(chores, "MOST_LOGGED", 2)
    await fleet(store, 6)
    run = await chores.do(await store.start(STALE), store)
    event, _ = await told(store)
    assert event.data["count"] == 6
    assert [device["name"] for device in event.data["devices"]] == ["r0000", "r0001", "r0002", "r0003"]
    assert (await line(store, run, "stale_devices"))["data"]["devices"] == ["r0000", "r0001"]


async def test_where_nothing_is_stale_hooks_hear_of_the_run_alone(store: SqlStore) -> None:
    await fleet(store, 2)
    nobody = replace(STALE, selector=Selector(tags={"nobody"}))
    run = await chores.do(await store.start(nobody), store)
    assert run.status is RunStatus.COMPLETE
    assert [row.event for row in await told(store)] == ["run-finished"]
    logged = await line(store, run, "stale_devices")
    assert (logged["level"], logged["data"]["count"]) == ("info", 0)


async def test_a_report_without_a_span_is_of_a_day(store: SqlStore) -> None:
    run = await chores.do(await store.start(replace(STALE, options={})), store)
    assert (await line(store, run, "stale_devices"))["data"]["older_than_s"] == 86_400.0


async def test_a_report_whose_run_was_taken_over_tells_nobody(store: SqlStore) -> None:
    """Whoever has it by now tells it: never both."""
    await fleet(store, 1)
    run = await store.begin(await store.start(STALE), dead_after=3)
    await store.release(run, Counts())
    await chores.do(run, store)
    assert await told(store) == []
    taken = await store.runs.claim(run)
    assert taken is not None
    await chores.do(taken, store)
    assert [row.event for row in await told(store)] == ["stale-devices", "run-finished"]


async def test_a_prune_does_what_the_command_does(store: SqlStore) -> None:
    device = await add_device(store)
    for n in range(5):
        await store.commit(
            [
                collected(
                    await store.start(Order()),
                    device,
                    text=f"hostname r{n}\n",
                    started_at=utcnow() - timedelta(days=10 - n),
                )
            ]
        )
    run = await chores.do(await store.start(PRUNE), store, RetentionSettings(versions=2))
    assert (run.status, run.error) == (RunStatus.COMPLETE, None)
    assert len(await store.versions.history("r1", "running")) == 2
    logged = (await line(store, run, "pruned"))["data"]
    assert (logged["versions"], logged["devices"], logged["texts"]) == (3, 1, 3)
    assert logged["packed"]["unreadable"] == 0


async def test_a_prune_without_limits_takes_nothing(store: SqlStore) -> None:
    device = await add_device(store)
    for n in range(2):
        await store.commit([collected(await store.start(Order()), device, text=f"hostname r{n}\n")])
    run = await chores.do(await store.start(PRUNE), store)
    assert run.status is RunStatus.COMPLETE
    assert (await line(store, run, "pruned"))["data"]["versions"] == 0
    assert len(await store.versions.history("r1", "running")) == 2


@pytest.mark.parametrize("by", ["longest", "finish_by"])
async def test_a_prune_that_takes_too_long_is_cut_short_and_says_so(store: SqlStore, by: str) -> None:
    order, longest = (PRUNE, 0.0)
    if by == "finish_by":
        order, longest = replace(PRUNE, finish_by=utcnow() - timedelta(seconds=1)), 3600.0
    run = await chores.do(await store.start(order), store, longest=longest)
    assert run.status is RunStatus.PARTIAL
    assert "cut short" in str(run.error)
    assert (await line(store, run, "pruned"))["data"]["cut_short"] is True


async def test_a_prune_without_the_key_says_what_it_left(database: Database) -> None:
    store = SqlStore(database, Keyring.generate())
    device = await add_device(store)
    for n in range(3):
        await store.commit([collected(await store.start(Order()), device, text=f"hostname r{n}\n")])
    keyless = SqlStore(database, None)
    run = await chores.do(await keyless.start(PRUNE), keyless)
    assert run.status is RunStatus.PARTIAL
    assert "texts are left as they are" in str(run.error)


@pytest.mark.parametrize(("resumable", "status"), [(True, RunStatus.QUEUED), (False, RunStatus.INTERRUPTED)])
async def test_a_chore_that_is_cancelled_is_put_back_or_ends(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch, resumable: bool, status: RunStatus
) -> None:
    begun = asyncio.Event()

    async def forever(*_: Any, **__: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(chores, "prune", forever)
    run = await store.start(PRUNE)
    doing = asyncio.create_task(chores.do(run, store, resumable=resumable))
    await begun.wait()
    doing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doing
    assert (await store.runs.get(run.id)).status is status


async def test_a_chore_that_fails_says_why(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any, **__: Any) -> None:
        raise DatabaseError("the disk is full")

    monkeypatch.setattr(chores, "prune", fails)
    run = await store.start(PRUNE)
    with pytest.raises(DatabaseError):
        await chores.do(run, store)
    ended = await store.runs.get(run.id)
    assert (ended.status, ended.error) == (RunStatus.INTERRUPTED, "the disk is full")


async def test_a_chore_has_no_targets(store: SqlStore) -> None:
    await fleet(store, 2)
    begun = await store.begin(await store.start(STALE), dead_after=3)
    assert (begun.begun, begun.counts) == (True, Counts())
    assert [t async for t in store.targets_of(begun)] == []


async def test_what_visits_devices_is_no_chore(store: SqlStore) -> None:
    run = await store.start(Order(What.REACHABILITY))
    with pytest.raises(InputError, match="reachability"):
        await chores.do(run, store)
    memory = MemoryStore()
    with pytest.raises(InputError, match="needs a database"):
        await chores.do(await memory.start(PRUNE), memory)
