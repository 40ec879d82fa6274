"""Retention in a database: what goes, what stays, and what others do in the same moment."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import delete, insert, select, update

from netraven.history.retention import Limits
from netraven.model import Capture, Counts, Order, Verdict, What
from netraven.storage import blobs, schema
from netraven.storage.pruning import Pruned, Pruning
from netraven.storage.store import SqlStore
from netraven.storage.turns import Turns
from tests.storage.facts import add_credential, add_device, at, collected, failed, start_run, try_once
from tests.storage.pasts import DAY, count, edits, end, moment, remember, texts_of

NOTHING = Limits()


async def prune(store: SqlStore, limits: Limits = NOTHING, log_days: float = 0, days: float = 100) -> Pruned:
    """Prune, and hold what it did against what its dry run said before."""
    said, _ = await store.pruning.preview(limits, log_days, moment(days))
    done = await store.pruning.run(limits, log_days, moment(days))
    assert done == said
    again, _ = await store.pruning.preview(limits, log_days, moment(days))
    assert again == Pruned(logs=dict.fromkeys(done.logs, 0))
    return done


async def test_the_newest_versions_stay_and_texts_that_nobody_has_go(store: SqlStore) -> None:
    one, two = await add_device(store, "r1"), await add_device(store, "r2")
    await remember(store, one, ["a", "b", "c", "d"])
    await remember(store, one, ["v1", "v2"], kind="version")
    await remember(store, two, ["b", "z"])
    done = await prune(store, Limits(versions=2))
    assert (done.versions, done.devices, done.texts) == (2, 1, 1)  # the other device still has "b"
    assert await texts_of(store, "r1") == {3: "c", 4: "d"}
    assert await texts_of(store, "r1", "version") == {1: "v1", 2: "v2"}
    assert await texts_of(store, "r2") == {1: "b", 2: "z"}


async def test_by_age_what_was_in_force_stays(store: SqlStore) -> None:
    await remember(store, await add_device(store), ["a", "b", "c"])  # b until day 2
    done = await prune(store, Limits(days=10), days=11.5)
    assert done.versions == 1
    assert await texts_of(store, "r1") == {2: "b", 3: "c"}
    done = await prune(store, Limits(days=10), days=1000)
    assert await texts_of(store, "r1") == {3: "c"}


async def test_the_next_version_goes_on_counting(store: SqlStore) -> None:
    device = await add_device(store)
    await remember(store, device, ["a", "b", "c"])
    await prune(store, Limits(versions=1))
    await remember(store, device, ["d"], first_day=5)
    assert await texts_of(store, "r1") == {3: "c", 4: "d"}


async def test_what_a_removed_device_had_goes_without_any_setting(store: SqlStore) -> None:
    await remember(store, await add_device(store, "r1"), ["a", "shared"])
    await remember(store, await add_device(store, "r2"), ["shared"])
    await store.inventory.remove("r1")
    done = await prune(store)
    assert (done.versions, done.texts) == (0, 1)
    assert await texts_of(store, "r2") == {1: "shared"}


async def test_many_versions_go_in_many_transactions(store: SqlStore) -> None:
    device = await add_device(store)
    await remember(store, device, ["x"])
    async with store.database.writing() as connection:
        row = (await connection.execute(select(schema.snapshots))).mappings().one()
        texts = [(hashlib.sha256(b"%d" % n).digest(), b"%d" % n) for n in range(450)]
        await blobs.add(connection, store.history_keys, texts)
        for n, (digest, _) in enumerate(texts, 2):
            values = {**row, "id": row["id"] + n, "version": n, "sha256": digest}
            await connection.execute(insert(schema.snapshots).values(values))
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    pruning = Pruning(Turns(store.database, sleep))
    heard: list[tuple[str, int]] = []
    done = await pruning.run(
        Limits(versions=1), 0, moment(9), lambda what, number: heard.append((what, number))
    )
    assert (done.versions, done.texts) == (450, 450)
    assert len(waits) == 3 + 3
    assert ("versions removed", 200) in heard


async def test_cancelled_in_between_what_is_done_stays_and_the_next_prune_carries_on(store: SqlStore) -> None:
    for n in range(3):
        await remember(store, await add_device(store, f"r{n}"), ["a", "b", f"c{n}"])

    async def cancelled(_: float) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await Pruning(Turns(store.database, cancelled)).run(Limits(versions=1), 0, moment(9))
    assert await count(store, schema.snapshots) == 3
    assert await count(store, schema.blobs) == 5  # the texts were next
    assert (await prune(store, Limits(versions=1))).texts == 2


# ---- logs


async def test_old_rows_of_logs_go_and_runs_stay(store: SqlStore) -> None:
    device, credential = await add_device(store), await add_credential(store)
    for day in (0, 1, 50):
        run = await start_run(store)
        await _began(store, run.id, day)
        await try_once(store, run, device, credential, Verdict.ACCEPTED, day * DAY)
        entry = failed(run, device, credential, started_at=at(day * DAY))
        await store.commit([entry])
        await end(store, run)
    done = await prune(store, log_days=10, days=55)
    assert done.logs == {
        "credential_attempts": 2,
        "run_outcomes": 2,
        "connection_logs": 2,
        "job_logs": 2,
        "hook_deliveries": 0,
    }
    assert await count(store, schema.runs) == 3
    assert await count(store, schema.credential_attempts) == 1
    assert (await store.vault.list())[0].metrics.attempts == 3  # what was learned of them is kept


async def _began(store: SqlStore, run: int, day: float) -> None:
    async with store.database.writing() as connection:
        values = {"started_at": at(day * DAY)}
        await connection.execute(update(schema.runs).where(schema.runs.c.id == run).values(values))


async def test_of_a_run_that_has_not_ended_nothing_goes(store: SqlStore) -> None:
    device, credential = await add_device(store), await add_credential(store)
    run = await start_run(store)
    await _began(store, run.id, 0)
    await try_once(store, run, device, credential, Verdict.REFUSED)
    await store.commit([failed(run, device)])
    done = await prune(store, log_days=10)
    assert set(done.logs.values()) == {0}


async def test_how_each_device_went_last_stays(store: SqlStore) -> None:
    one, two = await add_device(store, "r1"), await add_device(store, "r2")
    for day, devices in ((0, (one, two)), (1, (one,))):
        run = await start_run(store)
        await _began(store, run.id, day)
        await store.commit([failed(run, device, started_at=at(day * DAY)) for device in devices])
        await end(store, run)
    assert (await prune(store, log_days=10)).logs["run_outcomes"] == 1
    async with store.database.reading() as connection:
        rows = (await connection.execute(select(schema.run_outcomes.c.device_name))).scalars()
        assert sorted(rows) == ["r1", "r2"]
    await store.inventory.remove("r2")
    assert (await prune(store, log_days=10)).logs["run_outcomes"] == 1


async def test_how_each_device_went_last_in_checks_of_each_kind_stays(store: SqlStore) -> None:
    """The next check of that kind is told by it, however often the device was collected since."""
    device = await add_device(store)
    for day, what in enumerate((What.REACHABILITY, What.CREDENTIALS, What.REACHABILITY, What.CONFIGURATION)):
        run = await store.start(Order(what))
        await _began(store, run.id, day)
        await store.commit([failed(run, device, started_at=at(day * DAY))])
        await end(store, run)
    assert (await prune(store, log_days=10)).logs["run_outcomes"] == 1
    left = select(schema.runs.c.what).join(
        schema.run_outcomes, schema.run_outcomes.c.run_id == schema.runs.c.id
    )
    async with store.database.reading() as connection:
        whats = (await connection.execute(left)).scalars()
        assert sorted(whats) == ["configuration", "credentials", "reachability"]


async def test_of_a_run_that_waits_to_be_gone_on_with_nothing_goes(store: SqlStore) -> None:
    device = await add_device(store)
    run = await start_run(store)
    await _began(store, run.id, 0)
    await store.commit([failed(run, device), failed(run, await add_device(store, "r2"))])
    await store.release(run, Counts(2, 0, 2))
    assert set((await prune(store, log_days=10)).logs.values()) == {0}


async def test_attempts_that_a_guard_may_have_to_read_stay(store: SqlStore) -> None:
    """A guard that died may not have written down what they came to: the next one reads them from the ledger."""
    device, credential = await add_device(store), await add_credential(store)
    run = await start_run(store)
    await try_once(store, run, device, credential, Verdict.REFUSED)
    await end(store, run)
    account = {"realm": credential.realm, "username": credential.username, "state": {}, "holder": "gone#1"}
    async with store.database.writing() as connection:
        await connection.execute(insert(schema.lockout_accounts).values({**account, "saved_at": at(0)}))
    assert (await prune(store, log_days=10)).logs["credential_attempts"] == 0
    async with store.database.writing() as connection:
        await connection.execute(update(schema.lockout_accounts).values(saved_at=at(100)))
    assert (await prune(store, log_days=10)).logs["credential_attempts"] == 1


async def test_deliveries_that_were_given_up_go_after_a_month(store: SqlStore) -> None:
    async with store.database.writing() as connection:
        for n, (state, day) in enumerate((("given-up", 0), ("waiting", 0), ("given-up", 80))):
            row = {
                "uid": str(n),
                "hook": "h",
                "event": "changed",
                "run_id": 1,
                "device_name": "",
                "tags": [],
                "versions": [],
                "data": {},
                "happened_at": moment(day),
                "next_try_at": moment(day),
                "state": state,
            }
            await connection.execute(insert(schema.hook_deliveries).values(row))
    assert (await prune(store)).logs == {"hook_deliveries": 1}
    assert (await prune(store, log_days=5)).logs["hook_deliveries"] == 1
    assert await count(store, schema.hook_deliveries) == 1


# ---- others in the same moment


async def unused(store: SqlStore, text: bytes) -> bytes:
    digest = hashlib.sha256(text).digest()
    async with store.database.writing() as connection:
        await blobs.add(connection, store.history_keys, [(digest, text)])
    return digest


@pytest.mark.parametrize("backend", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
async def test_a_text_that_is_about_to_be_pointed_to_is_passed_over(store: SqlStore) -> None:
    """It is there already, so storing it again writes nothing; the version that points to it comes a moment later."""
    digest = await unused(store, b"old")
    async with store.database.writing() as storing:
        await blobs.add(storing, store.history_keys, [(digest, b"old")])
        done = await asyncio.wait_for(store.pruning.run(NOTHING, 0, moment(9)), 10)
        assert done.texts == 0
    assert (await store.pruning.run(NOTHING, 0, moment(9))).texts == 1


@pytest.mark.parametrize("backend", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
async def test_a_text_that_is_removed_while_it_is_stored_is_stored_anew(store: SqlStore) -> None:
    device = await add_device(store)
    digest = await unused(store, b"old")
    run = await start_run(store)
    entry = replace(collected(run, device), captures=(Capture("old"),))
    async with store.database.writing() as pruning:
        locked = select(schema.blobs.c.sha256).where(schema.blobs.c.sha256 == digest).with_for_update()
        await pruning.execute(locked)
        storing = asyncio.create_task(store.commit([entry]))
        await _until_someone_waits(store)
        await pruning.execute(delete(schema.blobs).where(schema.blobs.c.sha256 == digest))
    (outcome,) = await asyncio.wait_for(storing, 10)
    assert outcome.changed
    assert await texts_of(store, "r1") == {1: "old"}


async def _until_someone_waits(store: SqlStore) -> None:
    from sqlalchemy import text

    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    for _ in range(500):
        async with store.database.reading() as connection:
            if (await connection.execute(waiting)).scalar_one():
                return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits for the lock")


async def test_collecting_goes_on_while_a_prune_does(store: SqlStore) -> None:
    """The same few texts come and go all the time, and are pruned all the time."""
    devices = [await add_device(store, f"r{n}") for n in range(6)]
    ended = asyncio.Event()

    async def pruning() -> int:
        rounds = 0
        while not ended.is_set():
            await store.pruning.run(Limits(versions=1), 2, moment(9))
            rounds += 1
        return rounds

    prunes = [asyncio.create_task(pruning()) for _ in range(2)]
    for turn in range(30):
        run = await start_run(store)
        entries = [
            replace(collected(run, d, started_at=at(turn)), captures=(Capture(f"text {(turn + n) % 3}"),))
            for n, d in enumerate(devices)
        ]
        await asyncio.gather(*(store.commit([entry]) for entry in entries))
        await end(store, run)
    ended.set()
    assert all(await asyncio.gather(*prunes))
    for n, _ in enumerate(devices):
        (number,) = [v.number for v in (await store.versions.history(f"r{n}", "running"))[:1]]
        assert (await texts_of(store, f"r{n}"))[number] == f"text {(29 + n) % 3}"


async def test_texts_that_others_differ_from_stay_as_long_as_those(store: SqlStore) -> None:
    device = await add_device(store)
    await remember(store, device, edits(6, size=4096))
    await store.packing.run()
    assert await count(store, schema.blobs, schema.blobs.c.base.is_not(None)) == 4
    before = await texts_of(store, "r1")
    async with store.database.writing() as connection:  # the base's own version goes, and others stay
        base = select(schema.blobs.c.base).where(schema.blobs.c.base.is_not(None)).limit(1).scalar_subquery()
        await connection.execute(delete(schema.snapshots).where(schema.snapshots.c.sha256 == base))
    assert (await prune(store)).texts == 0
    assert await texts_of(store, "r1") == {n: before[n] for n in (1, 2, 3, 4, 6)}
    done = await prune(store, Limits(versions=1))
    assert (done.versions, done.texts) == (4, 5)
    assert await texts_of(store, "r1") == {6: before[6]}


def test_times_are_reckoned_from_now() -> None:
    assert Limits(days=2).cutoff(moment(5)) == moment(5) - timedelta(days=2)
