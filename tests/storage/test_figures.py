"""The database in numbers."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import insert

from netraven.model import Device, Figures, RunDue, utcnow
from netraven.storage.schema import device_standing, jobs, runs
from netraven.storage.store import SqlStore


async def test_an_empty_database(store: SqlStore) -> None:
    nothing = dict.fromkeys(("1h", "24h", "7d", "older", "never"), 0)
    assert await store.figures.read() == Figures(nothing, {"queued": 0, "running": 0})


async def test_devices_runs_and_jobs(store: SqlStore) -> None:
    now = utcnow()
    names = ("new", "minutes", "hours", "days", "weeks", "tried")
    await store.inventory.upsert_devices(
        [Device(name, "192.0.2.1", platform="cisco_iosxe") for name in names]
        + [Device("way", "192.0.2.2", platform="jump_host")]
    )
    ids = {target.device.name: target.device.id async for target in store.inventory.targets()}
    ages = {"minutes": 0.5, "hours": 5, "days": 50, "weeks": 500}
    rows = [{"device_id": ids[n], "collected_at": now - timedelta(hours=h)} for n, h in ages.items()]
    rows.append({"device_id": ids["tried"], "collected_at": None})
    run = {
        "started_at": now, "selector": {}, "strategy": "s", "concurrency": 1, "owner": "", "heartbeat_at": now,
        "devices": 0, "job_name": None, "eta_at": None, "finish_by": None,
    }  # fmt: skip
    nightly = {"job_name": "nightly", "eta_at": now, "finish_by": now + timedelta(hours=1)}
    job = {"definition": {}, "origin": "command", "created_at": now, "updated_at": now, "enabled": True}
    async with store.database.writing() as connection:
        await connection.execute(insert(device_standing), rows)
        await connection.execute(
            insert(runs),
            [
                run | {"status": "running"} | nightly,
                run | {"status": "queued"},
                run | {"status": "complete"},
            ],
        )
        await connection.execute(
            insert(jobs),
            [
                job | {"name": "late", "next_run_at": now - timedelta(minutes=5)},
                job | {"name": "soon", "next_run_at": now + timedelta(minutes=5)},
                job | {"name": "by hand", "next_run_at": None},
                job | {"name": "off", "next_run_at": now - timedelta(days=5), "enabled": False},
            ],
        )
    figures = await store.figures.read(now)
    assert figures.devices == {"1h": 1, "24h": 1, "7d": 1, "older": 1, "never": 2}
    assert figures.runs == {"running": 1, "queued": 1}
    assert figures.due == (RunDue("nightly", now, now + timedelta(hours=1)),)
    assert (figures.jobs, figures.overdue, figures.next_run_at) == (3, 1, now - timedelta(minutes=5))
