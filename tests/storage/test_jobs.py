"""Jobs on record, on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text, update

from netraven.errors import InputError
from netraven.model import (
    Counts,
    EventKind,
    Job,
    JobStanding,
    Origin,
    Run,
    RunStatus,
    Schedule,
    Selector,
    Subscription,
    What,
)
from netraven.schedule.due import jitter_of
from netraven.storage.engine import Database
from netraven.storage.jobs import Defaults, SqlJobs
from netraven.storage.schema import jobs as job_table
from netraven.storage.store import SqlStore

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def hourly(name: str = "hourly", **more: Any) -> Job:
    return Job(name, schedule=Schedule(every=3600.0, **more))


def full(name: str = "nightly") -> Job:
    return Job(
        name,
        selector=Selector(tags=frozenset({"edge"}), without_patterns=frozenset({"*-old"})),
        schedule=Schedule(
            cron="30 2 * * *",
            zone="Europe/Berlin",
            jitter=600.0,
            grace=7200.0,
            start_after="01:00",
            finish_by="05:00",
        ),
        outputs=("running", "version"),
        strategy="priority",
        concurrency=7,
        priority=3,
    )


async def the_due(jobs: SqlJobs, now: datetime) -> list[str]:
    return [standing.job.name for standing in await jobs.due(now, 100)]


async def claim_all(jobs: SqlJobs, now: datetime) -> list[Run]:
    found = [await jobs.claim(standing, now) for standing in await jobs.due(now, 100)]
    return [run for run in found if run is not None]


async def end(store: SqlStore, run: Run) -> None:
    taken = await store.runs.claim(run)
    assert taken is not None
    await store.runs.finish(taken, RunStatus.COMPLETE, Counts())


async def test_a_job_comes_back_as_it_was_defined(store: SqlStore) -> None:
    added = await store.jobs.add(full(), now=NOW)
    due = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)
    assert (added.job, added.origin, added.created_at) == (full(), Origin.COMMAND, NOW)
    assert (added.due_at, added.next_run_at) == (due, due + jitter_of(full()))
    assert await store.jobs.get("nightly") == added
    await store.jobs.add(replace(hourly("a"), enabled=False), now=NOW)
    await store.jobs.add(Job("Z", what=What.STALE, older_than=7200.0), now=NOW)
    listed = await store.jobs.list()
    assert [standing.job.name for standing in listed] == ["Z", "a", "nightly"]
    assert [standing.due_at for standing in listed] == [None, None, due]
    assert listed[2] == added
    assert listed[0].job.older_than == 7200.0


async def test_names_are_taken_once_and_known(store: SqlStore) -> None:
    await store.jobs.add(full(), now=NOW)
    with pytest.raises(InputError, match="there is a job 'nightly' already"):
        await store.jobs.add(hourly("nightly"), now=NOW)
    for call in (store.jobs.get, store.jobs.remove, store.jobs.enable, store.jobs.run_now):
        with pytest.raises(InputError, match=r"there is no job 'nightlie', did you mean 'nightly'\?"):
            await call("nightlie")
    with pytest.raises(InputError, match="there is no job 'x': `netraven job list`"):
        await store.jobs.edit(hourly("x"), now=NOW)


async def test_what_is_no_job_is_not_put_on_record(store: SqlStore) -> None:
    for wrong in (
        Job("a", schedule=Schedule(cron="0 0 30 2 *")),
        Job("a", schedule=Schedule(every=60.0, zone="Mars/Phobos")),
        Job("a", selector=Selector(names=frozenset({"r1"}))),
        Job("-a"),
    ):
        with pytest.raises(InputError):
            await store.jobs.add(wrong, now=NOW)
    assert await store.jobs.list() == []


async def test_an_edit_takes_effect_at_once(store: SqlStore) -> None:
    await store.jobs.add(hourly(), now=NOW)
    edited = await store.jobs.edit(Job("hourly", schedule=Schedule(cron="5 12 * * *")), now=NOW)
    assert edited.due_at == NOW + timedelta(minutes=5)
    assert await the_due(store.jobs, NOW + timedelta(minutes=5)) == ["hourly"]
    await store.jobs.disable("hourly", now=NOW)
    assert await the_due(store.jobs, NOW + 30 * HOUR) == []
    assert await store.jobs.next_at() is None
    enabled = await store.jobs.enable("hourly", now=NOW + HOUR)
    assert enabled.due_at == NOW + timedelta(days=1, minutes=5)
    assert enabled.job.enabled
    await store.jobs.remove("hourly")
    assert await store.jobs.list() == []


async def test_an_edit_of_something_else_loses_nothing_that_is_due(store: SqlStore) -> None:
    await store.jobs.add(hourly(), now=NOW)
    late = NOW + HOUR + timedelta(minutes=10)  # nobody has looked meanwhile
    edited = await store.jobs.edit(replace(hourly(), priority=1), now=late)
    assert edited.due_at == NOW + HOUR
    (run,) = await claim_all(store.jobs, late)
    assert (run.due_at, run.priority) == (NOW + HOUR, 1)


async def test_a_run_has_what_the_job_says(store: SqlStore) -> None:
    store.jobs.defaults = Defaults("last-good", 33)
    await store.jobs.add(full(), now=NOW)
    stale = Job("stale", what=What.STALE, schedule=Schedule(cron="31 1 * * *"), older_than=90_000.0)
    await store.jobs.add(stale, now=NOW)
    now = datetime(2026, 3, 2, 1, 45, tzinfo=UTC)
    runs = {run.job: run for run in await claim_all(store.jobs, now)}
    run, other = runs["nightly"], runs["stale"]
    assert run.status is RunStatus.QUEUED
    assert (run.what, run.selector, run.outputs) == (
        What.CONFIGURATION,
        full().selector,
        ("running", "version"),
    )
    assert (run.strategy, run.concurrency, run.priority) == ("priority", 7, 3)
    assert (other.strategy, other.concurrency, other.priority) == ("last-good", 33, 100)
    assert run.due_at == datetime(2026, 3, 2, 1, 30, tzinfo=UTC)
    assert run.finish_by == datetime(2026, 3, 2, 4, tzinfo=UTC)
    assert other.options == {"older_than": 90_000.0}
    assert [found.id for found in await store.runs.queued(9)] == [run.id, other.id]
    standing = await store.jobs.get("nightly")
    assert (standing.last_due_at, standing.due_at) == (run.due_at, run.due_at + timedelta(days=1))
    assert standing.last_run == run
    assert (await store.jobs.list())[0].last_run == run


async def test_a_job_does_not_overlap_itself(store: SqlStore) -> None:
    await store.jobs.add(hourly(), now=NOW)
    seen = (await store.jobs.due(NOW + HOUR, 9))[0]
    (run,) = await claim_all(store.jobs, NOW + HOUR)
    assert await store.jobs.claim(seen, NOW + HOUR) is None, "it was claimed meanwhile"
    assert await the_due(store.jobs, NOW + 3 * HOUR) == []
    assert await store.jobs.next_at() is None
    standing = await store.jobs.get("hourly")
    assert await store.jobs.claim(standing, NOW + 3 * HOUR) is None, "its run is queued still"
    with pytest.raises(InputError, match="'hourly' has a run that is queued or running"):
        await store.jobs.run_now("hourly")
    await store.runs.claim(run)
    assert await the_due(store.jobs, NOW + 3 * HOUR) == []
    await store.runs.finish(run, RunStatus.COMPLETE, Counts())
    (late,) = await claim_all(store.jobs, NOW + 4 * HOUR)
    assert (late.due_at, late.missed) == (NOW + 4 * HOUR, 2)


async def test_what_is_too_late_is_on_record_as_missed(store: SqlStore) -> None:
    store.jobs.subscriptions = [Subscription("mail", frozenset({EventKind.RUN_FINISHED}))]
    await store.jobs.add(Job("daily", schedule=Schedule(every=86_400.0)), now=NOW)
    (run,) = await claim_all(store.jobs, NOW + timedelta(days=4))
    assert (run.status, run.missed, run.job) == (RunStatus.MISSED, 3, "daily")
    assert run.due_at == datetime(2026, 3, 5, tzinfo=UTC)
    assert run.finished_at is not None
    assert await store.runs.queued(9) == []
    assert await the_due(store.jobs, NOW + timedelta(days=4)) == []
    (delivery,) = await store.outbox.due("mail", NOW + timedelta(days=10_000), 9)
    assert delivery.event.data["status"] == "missed"
    assert await store.jobs.get("daily") == (await store.jobs.list())[0]


async def test_by_hand(store: SqlStore) -> None:
    await store.jobs.add(replace(full(), enabled=False), now=NOW)
    run = await store.jobs.run_now("nightly")
    assert (run.status, run.job, run.due_at, run.finish_by) == (RunStatus.QUEUED, "nightly", None, None)
    assert [found.id for found in await store.runs.queued(9)] == [run.id]
    await end(store, run)
    again = await store.jobs.run_now("nightly")
    assert again.id > run.id


# Jobs of the settings


async def test_settings_are_applied_all_or_nothing_and_again_without_effect(store: SqlStore) -> None:
    await store.jobs.add(hourly("mine"), now=NOW)
    assert await store.jobs.apply([full("b"), hourly("a")], now=NOW) == ["a", "b"]
    before = await store.jobs.list()
    assert await store.jobs.apply([hourly("a"), full("b")], now=NOW + 5 * HOUR) == []
    assert await store.jobs.list() == before
    changed = replace(full("b"), priority=9)
    assert await store.jobs.apply([changed, hourly("c")], now=NOW + 5 * HOUR) == ["a", "b", "c"]
    assert [(s.job.name, s.origin.value) for s in await store.jobs.list()] == [
        ("b", "settings"),
        ("c", "settings"),
        ("mine", "command"),
    ]
    before = await store.jobs.list()
    for wrong in (hourly("mine"), Job("d", schedule=Schedule(cron="nonsense")), hourly("c")):
        with pytest.raises(InputError):
            await store.jobs.apply([hourly("c"), hourly("e"), wrong], now=NOW)
        assert await store.jobs.list() == before
    assert await store.jobs.apply([], now=NOW) == ["b", "c"]
    assert [s.job.name for s in await store.jobs.list()] == ["mine"]


async def test_what_settings_define_is_changed_there(store: SqlStore) -> None:
    await store.jobs.apply([hourly("a")], now=NOW)
    for call in (store.jobs.enable, store.jobs.disable, store.jobs.remove):
        with pytest.raises(InputError, match="'a' is defined by the settings: change it there"):
            await call("a")
    with pytest.raises(InputError, match="defined by the settings"):
        await store.jobs.edit(hourly("a"), now=NOW)
    assert (await store.jobs.run_now("a")).job == "a"


async def test_two_that_apply_the_same_settings_at_once_do_not_meet(
    store: SqlStore, database_url: str
) -> None:
    wanted = [hourly(f"job{number}") for number in range(20)]
    async with await Database.open(database_url) as second:
        other = SqlJobs(second)
        await asyncio.gather(store.jobs.apply(wanted, now=NOW), other.apply(wanted, now=NOW))
    assert len(await store.jobs.list()) == 20


# Clocks, and what cannot be read


async def test_a_due_time_that_comes_again_is_not_run_again(store: SqlStore) -> None:
    await store.jobs.add(Job("daily", schedule=Schedule(every=86_400.0, grace=30_000_000.0)), now=NOW)
    due = datetime(2026, 3, 2, tzinfo=UTC)
    (run,) = await claim_all(store.jobs, due)
    await end(store, run)
    behind = due - timedelta(days=365)
    assert await claim_all(store.jobs, behind) == [], "forgotten: the clock seems to have been ahead"
    standing = await store.jobs.get("daily")
    assert (standing.last_due_at, standing.due_at) == (None, behind + timedelta(days=1))
    assert await claim_all(store.jobs, due + HOUR) == [], "the latest due time was run before"
    assert (await store.jobs.get("daily")).due_at == due + timedelta(days=1)
    assert len(await store.runs.list()) == 1


async def test_what_was_missed_while_the_clock_was_ahead_is_run_when_it_comes(store: SqlStore) -> None:
    due = NOW + timedelta(days=200)
    await store.jobs.add(Job("once", schedule=Schedule(at=due)), now=NOW)
    (missed,) = await claim_all(store.jobs, NOW + timedelta(days=365))
    assert (missed.status, missed.due_at) == (RunStatus.MISSED, due)
    assert await claim_all(store.jobs, NOW + HOUR) == [], "set right"
    (run,) = await claim_all(store.jobs, due)
    assert (run.status, run.due_at) == (RunStatus.QUEUED, due)
    await end(store, run)
    assert [found.id for found in await store.runs.list()] == [run.id]
    assert await claim_all(store.jobs, due + HOUR) == []


async def test_what_a_clock_noted_that_was_a_year_ahead_is_found(store: SqlStore, database_url: str) -> None:
    ahead = NOW + timedelta(days=365)
    await store.jobs.add(hourly("run"), now=NOW)
    await store.jobs.add(hourly("defined"), now=ahead)
    for run in await claim_all(store.jobs, ahead + HOUR):
        await end(store, run)
    await claim_all(store.jobs, NOW)  # the clock has gone back
    assert {s.job.name: s.due_at for s in await store.jobs.list()} == {
        "run": NOW + HOUR,
        "defined": NOW + HOUR,
    }
    assert await the_due(store.jobs, NOW) == []

    async with store.database.writing() as connection:
        await connection.execute(update(job_table).values(last_due_at=ahead, next_run_at=ahead, due_at=ahead))
    async with await Database.open(database_url) as second:  # it went back while nobody looked
        await claim_all(SqlJobs(second), NOW)
    assert {s.due_at for s in await store.jobs.list()} == {NOW + HOUR}


async def test_a_job_that_is_none_any_more_stops_no_other(
    store: SqlStore, caplog: pytest.LogCaptureFixture
) -> None:
    await store.jobs.add(hourly("a"), now=NOW)
    await store.jobs.add(hourly("b"), now=NOW)
    async with store.database.writing() as connection:
        gone = update(job_table).where(job_table.c.name == "a")
        await connection.execute(gone.values(definition={"every": "1h", "zone": "Mars/Phobos"}))
    for _ in range(3):
        assert await the_due(store.jobs, NOW + HOUR) == ["b"]
    (record,) = [record for record in caplog.records if record.message == "job_unusable"]
    assert "Mars/Phobos" in record.__dict__["error"]
    await store.jobs.edit(hourly("a"), now=NOW)
    assert await the_due(store.jobs, NOW + HOUR) == ["a", "b"]


async def test_a_look_reads_the_jobs_that_are_due_and_no_others(store: SqlStore) -> None:
    """By the plan of the very statements: neither the jobs nor the runs are read from end to end."""
    await store.jobs.apply([hourly(f"job{number}") for number in range(40)], now=NOW)
    for run in (await claim_all(store.jobs, NOW + HOUR))[:30]:
        await end(store, run)
    statements: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            statements.append((statement, parameters))

    reader = store.database._reader.sync_engine
    await store.jobs.due(NOW, 100)  # once a minute wrong clocks are looked for
    event.listen(reader, "before_cursor_execute", note)
    await store.jobs.due(NOW, 100)
    await store.jobs.next_at()
    event.remove(reader, "before_cursor_execute", note)
    assert len(statements) == 2
    async with store.database.writing() as connection:
        if not store.database.is_sqlite:
            await connection.execute(
                text("SET enable_seqscan = off")
            )  # so few rows: it would read all of them
        for statement, parameters in statements:
            explain = "EXPLAIN QUERY PLAN " if store.database.is_sqlite else "EXPLAIN "
            rows = await connection.exec_driver_sql(explain + statement, parameters)
            plan = "\n".join(str(row[-1]) for row in rows)
            assert "ix_jobs_next_run_at" in plan
            assert "ix_runs_active" in plan


async def test_a_standing_is_a_fact_of_one_moment(store: SqlStore) -> None:
    """What was edited since it was read is not claimed as it was."""
    await store.jobs.add(hourly(), now=NOW)
    (seen,) = await store.jobs.due(NOW + HOUR, 9)
    await store.jobs.edit(Job("hourly", schedule=Schedule(every=60.0)), now=NOW + HOUR)
    assert await store.jobs.claim(seen, NOW + HOUR) is None
    (seen,) = await store.jobs.due(NOW + HOUR + timedelta(minutes=1), 9)
    await store.jobs.disable("hourly", now=NOW + HOUR)
    assert await store.jobs.claim(seen, NOW + HOUR + timedelta(minutes=1)) is None
    await store.jobs.remove("hourly")
    assert await store.jobs.claim(seen, NOW + HOUR + timedelta(minutes=1)) is None
    assert isinstance(seen, JobStanding)
