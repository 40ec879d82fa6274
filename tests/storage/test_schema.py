"""The tables: migrations, constraints, and which index each listing uses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import insert, inspect, select, text
from sqlalchemy.engine import Connection
from sqlalchemy.sql import ClauseElement

from netraven.errors import RowRefused
from netraven.model import Verdict
from netraven.storage.engine import Database
from netraven.storage.logs import _ATTEMPTS, _CONNECTIONS, _JOBS, LogFilter, _Log
from netraven.storage.migrate import alembic_config, differences, migrate
from netraven.storage.schema import REVISIONS, runs, tags
from netraven.storage.store import SqlStore
from netraven.storage.types import NaiveTime, padded
from tests.storage.facts import add_credential, add_device, at, collected, start_run, try_once


def table_names(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"alembic_version"}


async def test_migrations_go_up_down_and_up_again(database: Database) -> None:
    async with database.writing() as connection:
        assert await connection.run_sync(differences) == []
        full = await connection.run_sync(table_names)
        await connection.run_sync(migrate, "base")
        assert await connection.run_sync(table_names) == set()
        await connection.run_sync(migrate, REVISIONS[-1])
        assert await connection.run_sync(table_names) == full
        assert await connection.run_sync(differences) == []


def test_the_program_knows_every_revision() -> None:
    scripts = ScriptDirectory.from_config(alembic_config())
    assert tuple(script.revision for script in reversed(list(scripts.walk_revisions()))) == REVISIONS


async def test_an_unknown_status_is_refused(store: SqlStore) -> None:
    run = await start_run(store)
    with pytest.raises(RowRefused):
        async with store.database.writing() as connection:
            await connection.execute(runs.update().where(runs.c.id == run.id).values(status="finished"))


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 11, 22, 3, 4, 5, 678_901, tzinfo=timezone(timedelta(hours=5, minutes=45))),
        datetime(9999, 12, 31, tzinfo=UTC),
    ],
)
async def test_times_come_back_exact_and_in_utc(store: SqlStore, moment: datetime) -> None:
    run = await start_run(store)
    async with store.database.writing() as connection:
        await connection.execute(runs.update().where(runs.c.id == run.id).values(heartbeat_at=moment))
    async with store.database.reading() as connection:
        stored = (await connection.execute(select(runs.c.heartbeat_at))).scalar_one()
        found = (
            (await connection.execute(select(runs.c.id).where(runs.c.heartbeat_at == moment))).scalars().all()
        )
    assert stored == moment
    assert stored.tzinfo is UTC
    assert list(found) == [run.id]


async def test_a_naive_time_is_refused_in_queries_too(store: SqlStore) -> None:
    with pytest.raises(NaiveTime):
        await store.runs.list(since=datetime(2026, 1, 1))  # noqa: DTZ001 - naive on purpose


async def test_a_failing_statement_shows_no_parameters(database: Database) -> None:
    with pytest.raises(RowRefused) as caught:
        async with database.writing() as connection:
            await connection.execute(insert(tags), [{"name": "very-secret"}, {"name": "very-secret"}])
    cause = caught.value.__cause__
    assert "very-secret" not in str(caught.value)
    assert "very-secret" not in str(cause).split("DETAIL", 1)[0]


def test_in_lists_come_in_few_lengths() -> None:
    assert [len(padded(range(n))) for n in range(10)] == [0, 1, 2, 4, 4, 8, 8, 8, 8, 16]
    assert set(padded([3, 1, 2])) == {1, 2, 3}


FILTERS = [
    LogFilter(),
    LogFilter(limit=50),
    LogFilter(since=at(-1), until=at(1)),
    LogFilter(run=1),
    LogFilter(run=1, since=at(-1)),
    LogFilter(device="r1"),
    LogFilter(device="r1", run=1),
    LogFilter(device="gone"),
    LogFilter(device="gone", limit=5),
]


@pytest.mark.parametrize("log", [_CONNECTIONS, _ATTEMPTS, _JOBS], ids=lambda log: log.table.name)
@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_no_listing_scans_or_sorts_a_log(store: SqlStore, log: _Log) -> None:
    device, credential = await add_device(store), await add_credential(store)
    run = await start_run(store)
    await try_once(store, run, device, credential, Verdict.ACCEPTED)
    await store.commit([collected(run, device, credential)])
    for wanted in FILTERS:
        time = log.table.c[log.time]
        for span in await store.logs._spans(log, wanted):
            for order in ((time, log.table.c.id), (time.desc(), log.table.c.id.desc())):
                plan = await explain(store, span.order_by(*order).limit(50))
                assert all("INDEX" in step or "runs USING INTEGER PRIMARY KEY" in step for step in plan), (
                    wanted,
                    plan,
                )
                assert not any("TEMP B-TREE" in step for step in plan), (wanted, plan)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_removing_a_device_or_credential_scans_no_log(store: SqlStore) -> None:
    for table in ("run_outcomes", "credential_attempts", "connection_logs"):
        for column in ("device_id", "credential_id"):
            plan = await explain(store, text(f"UPDATE {table} SET {column} = NULL WHERE {column} = 1"))
            assert all("INDEX" in step for step in plan), plan


async def explain(store: SqlStore, statement: ClauseElement) -> list[str]:
    async with store.database.reading() as connection:
        compiled = statement.compile(connection.sync_engine, compile_kwargs={"literal_binds": True})
        rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")
        return [row.detail for row in rows]
