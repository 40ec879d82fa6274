"""The step to jobs (0005): what was on record stays, how devices went is found in it, and statuses are held to more."""

from __future__ import annotations

import hashlib

import pytest
import zstandard
from sqlalchemy import bindparam, insert, select, text

from netraven.errors import RowRefused
from netraven.model import Counts, RunStatus, What
from netraven.storage import schema
from netraven.storage.migrate import differences, migrate
from netraven.storage.store import SqlStore
from netraven.storage.types import UtcDateTime
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


async def test_a_database_of_the_first_schema_is_upgraded_with_what_it_holds(store: SqlStore) -> None:
    """Devices, a run, what it came to, and a configuration, as the first program wrote them."""
    text_of_it = b"hostname r1\n"
    digest = hashlib.sha256(text_of_it).digest()
    device = {"id": 1, "name": "r1", "host": "192.0.2.1", "port": 22, "platform": "cisco_iosxe"}
    run = {"id": 1, "started_at": at(0), "finished_at": at(5), "status": "complete", "strategy": "priority"}
    run |= {"selector": {"tags": [], "names": []}, "concurrency": 5, "owner": "", "heartbeat_at": at(0)}
    outcome = {
        "id": 1,
        "run_id": 1,
        "device_id": 1,
        "device_name": "r1",
        "status": "collected",
        "attempts": 1,
    }
    outcome |= {"retry_count": 0, "duration_ms": 700, "started_at": at(0), "finished_at": at(1)}
    seen = {"run_id": 1, "first_seen_at": at(1), "last_seen_at": at(1)}
    async with store.database.writing() as connection:
        await connection.run_sync(migrate, "0001")
        await connection.execute(insert(schema.devices).values(**device, created_at=at(0), updated_at=at(0)))
        await connection.execute(insert(schema.runs).values(run))
        await connection.execute(insert(schema.run_outcomes).values(outcome))
        blob = {
            "sha256": digest,
            "codec": "zstd",
            "size": len(text_of_it),
            "data": zstandard.compress(text_of_it),
        }
        await connection.execute(_FIRST_BLOB, blob)
        await connection.execute(
            _FIRST_SNAPSHOT, {"device_id": 1, "kind": "running", "sha256": digest, **seen}
        )
    async with store.database.writing() as connection:
        await connection.run_sync(migrate, schema.REVISIONS[-1])
        assert await connection.run_sync(differences) == []
    (kept,) = await store.runs.list()
    assert (kept.status, kept.what, kept.job) == (RunStatus.COMPLETE, What.CONFIGURATION, None)
    version = await store.versions.current("r1", "running")
    assert version is not None
    assert (version.text, version.version.number, version.version.run) == ("hostname r1\n", 1, 1)
    assert [target.device.name async for target in store.inventory.targets()] == ["r1"]
    async with store.database.reading() as connection:
        standing = (await connection.execute(select(schema.device_standing))).one()
    assert (standing.collected_at, standing.duration_ms) == (at(1), 700)


_FIRST_BLOB = text("INSERT INTO blobs (sha256, codec, size, data) VALUES (:sha256, :codec, :size, :data)")
_FIRST_SNAPSHOT = text(
    "INSERT INTO snapshots (device_id, kind, sha256, run_id, first_seen_at, last_seen_at)"
    " VALUES (:device_id, :kind, :sha256, :run_id, :first_seen_at, :last_seen_at)"
).bindparams(*(bindparam(name, type_=UtcDateTime()) for name in ("first_seen_at", "last_seen_at")))
