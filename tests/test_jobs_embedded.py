"""Jobs and retries as an embedding program has them: `NetRaven.run_job` and `retry`."""

from __future__ import annotations

import asyncio

import pytest

from netraven import CollectSettings, Credential, Device, NetRaven
from netraven.collect.access import AccessRules
from netraven.errors import InputError
from netraven.model import Counts, Order, Outcome, RunStatus, Secret, What
from netraven.schedule.definition import job_of
from netraven.storage.store import SqlStore
from netraven.testing import FakeDevice, FakeTransport
from tests.databases import backend, database, database_url, postgresql_server, postgresql_template, store

__all__ = ["backend", "database", "database_url", "postgresql_server", "postgresql_template", "store"]


async def test_without_a_database_there_are_none() -> None:
    async with NetRaven.in_memory([], []) as raven:
        with pytest.raises(InputError, match="without a database there are no jobs"):
            await raven.run_job("j")
        with pytest.raises(InputError, match="without a database there are no jobs"):
            await raven.retry(1)


@pytest.fixture
async def raven(store: SqlStore) -> NetRaven:
    """Three devices in a database, one of which refuses."""
    names = ("r1", "r2", "r3")
    await store.inventory.upsert_devices(
        [Device(name, "192.0.2.1", "cisco_iosxe", tags=frozenset({"t"})) for name in names]
    )
    await store.vault.add(Credential("c", "svc", tags=frozenset({"t"}), realm="local"), Secret("right"))
    transport = FakeTransport(
        {name: FakeDevice({"svc": "right"} if name != "r3" else {"svc": "another"}) for name in names}
    )
    settings = CollectSettings(retries=0, concurrency=1)
    return NetRaven(store=store, transport=transport, settings=settings, realms={}, access=AccessRules())


async def test_a_job_is_run_as_it_says(raven: NetRaven) -> None:
    outcomes: list[Outcome] = []
    job = await raven.store.jobs.add(job_of("j", {"names": ["r?"], "not_names": ["r2"], "every": "1h"}))
    run = await raven.run_job("j", on_outcome=outcomes.append)
    assert (run.status, run.job_id, run.job) == (RunStatus.PARTIAL, job.id, "j")
    assert sorted(outcome.device.name for outcome in outcomes) == ["r1", "r3"]
    after = await raven.store.jobs.get("j")
    assert after.last_run is not None
    assert after.last_run.id == run.id
    assert after.next_run_at == job.next_run_at, "by hand is not on schedule"


async def test_one_that_waits_is_taken_and_one_that_runs_is_not(raven: NetRaven) -> None:
    await raven.store.jobs.add(job_of("j", {"names": ["r1"]}))
    waits = await raven.store.jobs.run_now("j")
    assert (await raven.run_job("j")).id == waits.id
    claimed = await raven.store.runs.claim(await raven.store.jobs.run_now("j"))
    assert claimed is not None
    with pytest.raises(InputError, match="queued or running"):
        await raven.run_job("j")


async def test_a_cancelled_one_is_gone_on_with(raven: NetRaven) -> None:
    await raven.store.jobs.add(job_of("j", {"names": ["r1", "r2"], "concurrency": 1}))
    first: list[str] = []

    def stop_after_the_first(outcome: Outcome) -> None:
        first.append(outcome.device.name)
        running.cancel()

    running = asyncio.create_task(raven.run_job("j", on_outcome=stop_after_the_first))
    with pytest.raises(asyncio.CancelledError):
        await running
    (waiting,) = await raven.store.runs.queued(9)
    rest: list[str] = []
    run = await raven.run_job("j", on_outcome=lambda outcome: rest.append(outcome.device.name))
    assert (run.id, run.status, run.counts.collected) == (waiting.id, RunStatus.COMPLETE, 2)
    assert sorted([*first, *rest]) == ["r1", "r2"], "each once"


async def test_what_was_not_collected_is_tried_again(raven: NetRaven) -> None:
    run = await raven.run()
    outcomes: list[Outcome] = []
    again = await raven.retry(run.id, on_outcome=outcomes.append)
    assert [outcome.device.name for outcome in outcomes] == ["r3"]
    assert (again.retry_of, again.what, again.counts.devices) == (run.id, What.CONFIGURATION, 1)


async def test_a_retry_needs_something_to_retry(raven: NetRaven) -> None:
    well = await raven.run(names={"r1"})
    going = await raven.store.runs.queue(Order())
    chore = await raven.store.runs.start(Order(what=What.PRUNE))
    await raven.store.runs.finish(chore, RunStatus.COMPLETE, Counts())
    missed = await raven.store.runs.start(Order())
    await raven.store.runs.finish(missed, RunStatus.MISSED, Counts())
    for run_id, said in (
        (well.id, "nothing to retry"),
        (going.id, "has not ended"),
        (chore.id, "no run over devices"),
        (missed.id, "was missed"),
        (99, "no such run"),
    ):
        with pytest.raises(InputError, match=said):
            await raven.retry(run_id)
    assert len(await raven.store.runs.list()) == 4, "nothing was put on record"


@pytest.mark.parametrize(
    ("table", "said"),
    [({"strategy": "gone:Away"}, "strategy"), ({"outputs": ["gone"]}, "no platform has an output")],
)
async def test_what_cannot_be_run_any_more_is_told_before_a_run_is_on_record(
    raven: NetRaven, table: dict[str, object], said: str
) -> None:
    await raven.store.jobs.add(job_of("j", table))
    with pytest.raises(InputError, match=said):
        await raven.run_job("j")
    assert await raven.store.runs.list() == []


async def test_jobs_run_as_they_fall_due_until_it_is_cancelled(raven: NetRaven) -> None:
    """What is due runs at once, what waits in the queue too; what is cut short waits for the next one."""
    jobs = raven.store.jobs
    await jobs.add(job_of("soon", {"names": ["r1"], "every": "1s"}))
    await jobs.add(job_of("by-hand", {"names": ["r2"]}))
    waits = await jobs.run_now("by-hand")
    running = asyncio.create_task(raven.run_jobs())
    async with asyncio.timeout(60):
        for name in ("soon", "by-hand"):
            while (last := (await jobs.get(name)).last_run) is None or last.status is not RunStatus.COMPLETE:
                assert not running.done(), running
                await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await raven.store.runs.get(waits.id)).counts.collected == 1
    assert all(run.status is not RunStatus.RUNNING for run in await raven.store.runs.list())
