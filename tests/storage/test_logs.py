from __future__ import annotations

import pytest

from netraven.model import Logged, Verdict
from netraven.storage.logs import LogFilter
from netraven.storage.store import SqlStore
from tests.storage.facts import add_credential, add_device, at, collected, start_run, try_once


async def seconds(store: SqlStore, **wanted: object) -> list[float]:
    rows = store.logs.connections(LogFilter(**wanted))  # type: ignore[arg-type]  # table-driven
    return [(row["timestamp"] - at(0)).total_seconds() async for row in rows]


async def ten_nights(store: SqlStore) -> None:
    one, other = await add_device(store, "r1"), await add_device(store, "r2")
    for night in range(5):
        run = await start_run(store)
        await store.commit([collected(run, one, started_at=at(2 * night))])
        await store.commit([collected(run, other, started_at=at(2 * night + 1))])


async def test_the_newest_rows_are_taken_and_come_last(store: SqlStore) -> None:
    await ten_nights(store)
    assert await seconds(store) == list(range(10))
    assert await seconds(store, limit=3) == [7, 8, 9]
    assert await seconds(store, limit=0) == []
    assert await seconds(store, since=at(2), until=at(5)) == [2, 3, 4]
    assert await seconds(store, since=at(2), until=at(5), limit=2) == [3, 4]


async def test_by_device_and_by_run(store: SqlStore) -> None:
    await ten_nights(store)
    assert await seconds(store, device="r1") == [0, 2, 4, 6, 8]
    assert await seconds(store, device="r1", limit=2) == [6, 8]
    (last,) = await store.runs.list(limit=1)
    assert await seconds(store, run=last.id) == [8, 9]
    assert await seconds(store, run=last.id, device="r2") == [9]
    assert await seconds(store, device="absent") == []


async def test_a_device_that_came_back_has_both_its_histories(store: SqlStore) -> None:
    await ten_nights(store)
    await store.inventory.remove("r1")
    assert await seconds(store, device="r1") == [0, 2, 4, 6, 8]
    again = await add_device(store, "r1")
    await store.commit([collected(await start_run(store), again, started_at=at(20))])
    assert await seconds(store, device="r1") == [0, 2, 4, 6, 8, 20]
    assert await seconds(store, device="r1", limit=3) == [6, 8, 20]


async def test_every_row_comes_once_over_many_pages(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netraven.storage.logs.PAGE", 3)
    run = await start_run(store)
    await store.commit([Logged(run.id, at(n // 4), "info", f"line {n}") for n in range(20)])
    assert [row["message"] async for row in store.logs.job()] == [f"line {n}" for n in range(20)]


async def test_a_run_by_credential(store: SqlStore) -> None:
    device, one, other = (
        await add_device(store),
        await add_credential(store, "a"),
        await add_credential(store, "b"),
    )
    run = await start_run(store)
    await try_once(store, run, device, one, Verdict.REFUSED)
    await try_once(store, run, device, other, Verdict.ACCEPTED)
    await try_once(store, run, device, other, Verdict.NO_VERDICT)
    await store.commit([collected(run, device, other, attempts=3)])
    first, second = await store.logs.credential_use(run.id)
    assert (first.credential, first.attempts, first.refused, first.success_rate) == ("a", 1, 1, 0.0)
    assert (second.attempts, second.accepted, second.no_verdict, second.success_rate) == (2, 1, 1, 1.0)
    counts = await store.logs.progress(run.id)
    assert (counts.devices, counts.collected, counts.attempts) == (1, 1, 3)
    await store.vault.remove("a")
    assert [(row.credential, row.success_rate) for row in await store.logs.credential_use(run.id)] == [
        ("a", None),
        ("b", 1.0),
    ]
    attempts = [row async for row in store.logs.attempts(LogFilter(device="r1"))]
    assert attempts[0] == {
        "timestamp": at(0),
        "device": "r1",
        "run": run.id,
        "credential": "a",
        "credential_username": "svc",
        "verdict": "refused",
        "error_type": "auth_refused",
        "duration_ms": 900,
        "reason": "priority 100",
    }
