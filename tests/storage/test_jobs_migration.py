"""The step to jobs (0005): what was on record stays, how devices went is found in it, and statuses are held to more."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from netraven.errors import RowRefused
from netraven.model import Counts, RunStatus
from netraven.storage.migrate import migrate
from netraven.storage.store import SqlStore
from tests.storage.facts import add_device, at, collected, failed, start_run

QUEUED = text("UPDATE runs SET status = 'queued'")


async def test_a_history_takes_the_step_and_back(store: SqlStore) -> None:
    devices = {name: await add_device(store, name) for name in ("r1", "r2", "r3")}
    for day in range(2):
        run = await start_run(store)
        await store.commit(
            [
                collected(run, devices["r1"], started_at=at(day * 86_400), duration_ms=1_000 + day * 1_000),
                failed(run, devices["r2"], started_at=at(day * 86_400)),
            ]
        )
        await store.finish(run, RunStatus.PARTIAL, Counts(3, 1, 1))
    async with store.database.writing() as connection:
        await connection.run_sync(migrate, "0004")
        before = (await connection.execute(text("SELECT count(*) FROM run_outcomes"))).scalar_one()
    with pytest.raises(RowRefused):
        async with store.database.writing() as connection:
            await connection.execute(QUEUED)
    async with store.database.writing() as connection:
        await connection.run_sync(migrate, "0005")
    async with store.database.writing() as connection:
        assert (
            (await connection.execute(text("SELECT count(*) FROM run_outcomes"))).scalar_one() == before == 4
        )
        await connection.execute(QUEUED)
        rows = await connection.execute(
            text(
                "SELECT name, collected_at IS NOT NULL AS done, tried_at IS NOT NULL AS tried, reason, dead_in_row,"
                " device_standing.duration_ms FROM device_standing JOIN devices ON devices.id = device_id ORDER BY name"
            )
        )
        found = [tuple(row) for row in rows]
    assert found[0] == ("r1", 1, 1, None, 0, 1_500)
    assert found[1][:3] == ("r2", 0, 1)
    assert found[1][3] is not None
    assert len(found) == 2
    with pytest.raises(RowRefused):
        async with store.database.writing() as connection:
            await connection.execute(text("UPDATE runs SET status = 'finished'"))
