"""What hooks are to be told: recorded with what happened, lent to one at a time, in order."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from netraven.credentials.sealing import Keyring
from netraven.errors import RowRefused
from netraven.model import (
    Capture,
    Counts,
    Delivery,
    Device,
    DeviceFinished,
    Event,
    EventKind,
    Order,
    Outcome,
    Pause,
    PlatformFound,
    Run,
    RunStatus,
    Status,
    Subscription,
    What,
)
from netraven.storage.engine import Database
from netraven.storage.outbox import SqlOutbox, _due
from netraven.storage.runs import SqlRuns
from netraven.storage.schema import hook_deliveries
from netraven.storage.store import SqlStore
from tests.storage.facts import START, add_device, at, collected, failed, start_run

EVERYTHING = frozenset(EventKind)
GONE = "somewhere/boot/1/1"


@pytest.fixture
def hooked(database: Database) -> SqlStore:
    """A store whose hook ``all`` wants to be told everything."""
    return store_with(database, Subscription("all", EVERYTHING))


def store_with(database: Database, *subscriptions: Subscription) -> SqlStore:
    return SqlStore(database, Keyring.generate(), subscriptions=subscriptions)


def skipped(run: Run, device: Device) -> DeviceFinished:
    return DeviceFinished(run.id, Outcome(device, Status.SKIPPED, START, 0, "credentials_held"))


async def rows(store: SqlStore, hook: str = "all") -> Sequence[Any]:
    wanted = select(hook_deliveries).where(hook_deliveries.c.hook == hook).order_by(hook_deliveries.c.id)
    async with store.database.reading() as connection:
        return (await connection.execute(wanted)).all()


async def told(store: SqlStore, hook: str = "all") -> list[tuple[str, str]]:
    return [(row.event, row.device_name) for row in await rows(store, hook)]


async def put(store: SqlStore, *events: tuple[str, str, int], hook: str = "all") -> None:
    """Events (kind, device, run), as the ledger writes them."""
    first = len(await rows(store, hook))
    values = [
        {
            "uid": f"{hook}-{first + n}",
            "hook": hook,
            "event": kind,
            "run_id": run,
            "device_name": device,
            "tags": [],
            "versions": [],
            "data": {},
            "happened_at": at(first + n),
            "next_try_at": at(first + n),
        }
        for n, (kind, device, run) in enumerate(events, 1)
    ]
    async with store.database.writing() as connection:
        await connection.execute(insert(hook_deliveries), values)


LATER = at(3600)


async def due(outbox: SqlOutbox, limit: int = 100, hook: str = "all", **more: Any) -> list[str]:
    return [d.uid for d in await outbox.due(hook, more.pop("now", LATER), limit, **more)]


# ---- recording ----


async def test_the_first_capture_of_a_device_is_told_with_its_version(hooked: SqlStore) -> None:
    device, run = await add_device(hooked, tags={"edge", "lab"}), await start_run(hooked)
    await hooked.commit([collected(run, device, text="hostname r1\n", duration_ms=400)])
    (row,) = await rows(hooked)
    assert (row.event, row.device_name, row.device_id, row.run_id) == ("first-seen", "r1", device.id, run.id)
    assert (row.platform, row.tags, len(row.versions)) == ("cisco_iosxe", ["edge", "lab"], 1)
    assert row.happened_at == START + timedelta(milliseconds=400)


async def test_a_change_is_told_and_a_confirmation_is_not(hooked: SqlStore) -> None:
    device = await add_device(hooked)
    for text in ("one\n", "one\n", "two\n"):
        await hooked.commit([collected(await start_run(hooked), device, text=text)])
    assert await told(hooked) == [("first-seen", "r1"), ("changed", "r1")]


async def test_every_new_output_of_a_device_is_in_one_event(hooked: SqlStore) -> None:
    device = await add_device(hooked)
    for text in ("one", "two"):
        entry = collected(await start_run(hooked), device, text=f"{text}\n")
        captures = (*entry.captures, Capture(f"version {text}\n", "version"))
        await hooked.commit([replace(entry, captures=captures)])
    first, second = await rows(hooked)
    assert (first.event, second.event) == ("first-seen", "changed")
    assert [len(first.versions), len(second.versions)] == [2, 2]
    assert not set(first.versions) & set(second.versions)


async def test_many_devices_in_one_batch_each_have_their_own_event(hooked: SqlStore) -> None:
    devices = [await add_device(hooked, f"r{n}") for n in range(5)]
    run = await start_run(hooked)
    await hooked.commit([collected(run, d, text=f"hostname {d.name}\n") for d in devices[:3]])
    run = await start_run(hooked)
    await hooked.commit(
        [collected(run, d, text=f"hostname {d.name}\n{'!' * (d.name == 'r1')}") for d in devices]
    )
    assert (await told(hooked))[3:] == [("changed", "r1"), ("first-seen", "r3"), ("first-seen", "r4")]
    versions = [key for row in await rows(hooked) for key in row.versions]
    assert len(versions) == len(set(versions)) == 6


async def in_a_run(store: SqlStore, device: Device, what: What, status: Status) -> None:
    """An outcome of a run of this kind."""
    run = await store.start(Order(what))
    reason = "unreachable" if status is Status.FAILED else None
    await store.commit([DeviceFinished(run.id, Outcome(device, status, START, 1, reason))])


async def test_a_device_is_compared_with_runs_of_the_same_kind(hooked: SqlStore) -> None:
    """Who cannot be logged in to may well be reached; neither tells anything new of the other."""
    device = await add_device(hooked)
    well, unwell = Status.CHECKED, Status.FAILED
    for what, status in [
        (What.CONFIGURATION, unwell), (What.REACHABILITY, well), (What.CREDENTIALS, unwell),
        (What.CONFIGURATION, unwell), (What.REACHABILITY, unwell), (What.CONFIGURATION, Status.COLLECTED),
        (What.REACHABILITY, well), (What.CREDENTIALS, unwell), (What.CREDENTIALS, well),
    ]:  # fmt: skip
        await in_a_run(hooked, device, what, status)
    assert [(row.event, row.data["what"]) for row in await rows(hooked)] == [
        ("failed", "configuration"), ("failed", "credentials"),
        ("failed-again", "configuration"), ("failed", "reachability"), ("recovered", "configuration"),
        ("recovered", "reachability"), ("failed-again", "credentials"), ("recovered", "credentials"),
    ]  # fmt: skip


async def test_a_device_that_fails_fails_again_and_recovers(hooked: SqlStore) -> None:
    device = await add_device(hooked)
    for went in (failed, failed, skipped, failed, collected, collected, failed):
        await hooked.commit([went(await start_run(hooked), device)])
    assert [event for event, _ in await told(hooked)] == [
        "failed", "failed-again", "failed-again", "recovered", "failed",
    ]  # fmt: skip
    assert (await rows(hooked))[0].data == {
        "what": "configuration",
        "reason": "unreachable",
        "detail": "no route",
    }


async def test_a_device_that_recovers_with_a_change_says_first_that_it_is_back(hooked: SqlStore) -> None:
    device = await add_device(hooked)
    await hooked.commit([collected(await start_run(hooked), device, text="one\n")])
    await hooked.commit([failed(await start_run(hooked), device)])
    await hooked.commit([collected(await start_run(hooked), device, text="two\n")])
    assert [event for event, _ in await told(hooked)][2:] == ["recovered", "changed"]


async def test_the_platform_of_an_auto_device_is_the_one_that_was_found(database: Database) -> None:
    store = store_with(database, Subscription("all", EVERYTHING, platforms={"arista_eos"}))
    device = await add_device(store, platform="auto")
    await store.commit([failed(await start_run(store), device)])  # not known yet: not an arista_eos
    run = await start_run(store)
    await store.commit([PlatformFound(device, "arista_eos"), failed(run, device)])
    (row,) = await rows(store)
    assert (row.event, row.platform) == ("failed-again", "arista_eos")


@pytest.mark.parametrize(
    ("subscription", "wanted"),
    [
        (Subscription("all", {EventKind.FAILED}), ["r1", "r2"]),
        (Subscription("all", EVERYTHING, tags={"core", "edge"}), ["r1"]),
        (Subscription("all", EVERYTHING, platforms={"arista_eos"}), ["r2"]),
        (Subscription("all", EVERYTHING, tags={"edge"}, platforms={"arista_eos"}), []),
        (Subscription("all", {EventKind.RECOVERED}), []),
    ],
)
async def test_a_hook_is_told_only_what_it_wants(
    database: Database, subscription: Subscription, wanted: list[str]
) -> None:
    store = store_with(database, subscription)
    r1 = await add_device(store, "r1", tags={"edge"})
    r2 = await add_device(store, "r2", tags={"lab"}, platform="arista_eos")
    run = await start_run(store)
    await store.commit([failed(run, r1), failed(run, r2)])
    assert [device for _, device in await told(store)] == wanted


async def test_each_hook_has_a_row_of_its_own(database: Database) -> None:
    store = store_with(database, Subscription("one", EVERYTHING), Subscription("two", EVERYTHING))
    await store.commit([failed(await start_run(store), await add_device(store))])
    (one,), (two,) = await rows(store, "one"), await rows(store, "two")
    assert one.uid != two.uid


async def test_without_hooks_nothing_is_written(store: SqlStore) -> None:
    run = await start_run(store)
    await store.commit([failed(run, await add_device(store))])
    await store.finish(run, RunStatus.FAILED, Counts(devices=1, failed=1))
    assert await rows(store) == []


async def test_what_is_not_recorded_is_not_told(hooked: SqlStore) -> None:
    run = await start_run(hooked)
    entry = failed(run, await add_device(hooked))
    await hooked.commit([entry])
    with pytest.raises(RowRefused):
        await hooked.commit([entry])
    assert len(await rows(hooked)) == 1


async def test_the_end_of_a_run_is_told_once(hooked: SqlStore) -> None:
    run = await start_run(hooked)
    for _ in range(2):
        await hooked.finish(run, RunStatus.PARTIAL, Counts(devices=3, collected=2, failed=1, attempts=4))
    (row,) = await rows(hooked)
    assert (row.event, row.device_name, row.run_id) == ("run-finished", "", run.id)
    counts = {"devices": 3, "collected": 2, "failed": 1, "skipped": 0, "attempts": 4}
    assert (row.data["status"], row.data["counts"]) == ("partial", counts)


async def test_the_end_of_a_run_that_died_is_told_by_whoever_finds_it(hooked: SqlStore) -> None:
    dead = SqlRuns(hooked.database, owner=GONE)
    run = await dead.start(Order(strategy="priority", concurrency=1))
    assert await told(hooked) == []
    await hooked.runs.recover(now=run.started_at + timedelta(hours=1))
    assert [(row.event, row.data["status"]) for row in await rows(hooked) if row.run_id == run.id] == [
        ("run-finished", "interrupted")
    ]


# ---- lending ----


async def test_of_each_device_the_oldest_is_lent_and_the_oldest_come_first(hooked: SqlStore) -> None:
    await put(
        hooked, ("failed", "b", 1), ("failed", "a", 1), ("failed-again", "b", 2), ("run-finished", "", 2)
    )
    assert await due(hooked.outbox) == ["all-1", "all-2", "all-4"]


async def test_what_is_lent_is_lent_to_nobody_else_until_the_lease_ends(hooked: SqlStore) -> None:
    await put(hooked, ("failed", "a", 1), ("recovered", "a", 2))
    other = SqlOutbox(hooked.database)
    assert await due(hooked.outbox, lease=60) == ["all-1"]
    assert await due(other) == []
    assert await due(hooked.outbox) == []
    assert await due(other, now=LATER + timedelta(seconds=61)) == ["all-1"]


async def test_what_a_dead_process_had_is_lent_at_once_under_the_same_uid(hooked: SqlStore) -> None:
    code = "from netraven.storage.owner import current_owner; print(current_owner())"
    program = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    ended = (await program.communicate())[0].decode().strip()
    await put(hooked, ("failed", "a", 1))
    assert await due(SqlOutbox(hooked.database, owner=ended), lease=600) == ["all-1"]
    assert await due(SqlOutbox(hooked.database)) == ["all-1"]


async def test_what_is_delivered_is_gone_and_the_next_follows(hooked: SqlStore) -> None:
    await put(hooked, ("failed", "a", 1), ("recovered", "a", 2))
    for expected in ("all-1", "all-2"):
        (delivery,) = await hooked.outbox.due("all", LATER, 10)
        assert delivery.uid == expected
        await hooked.outbox.delivered(delivery)
    assert await rows(hooked) == []


async def test_what_is_postponed_holds_back_its_own_device_only(hooked: SqlStore) -> None:
    await put(hooked, ("failed", "a", 1), ("failed", "b", 1), ("recovered", "a", 2))
    first, second = await hooked.outbox.due("all", LATER, 10)
    await hooked.outbox.postpone(first, LATER + timedelta(seconds=10), "HTTP 503")
    await hooked.outbox.delivered(second)
    assert await due(hooked.outbox) == []
    (again,) = await hooked.outbox.due("all", LATER + timedelta(seconds=11), 10)
    assert (again.uid, again.tries, again.last_error) == (first.uid, 1, "HTTP 503")


async def test_what_is_given_up_stays_on_record_and_lets_the_next_pass(hooked: SqlStore) -> None:
    await put(hooked, ("failed", "a", 1), ("recovered", "a", 2))
    (delivery,) = await hooked.outbox.due("all", LATER, 10)
    await hooked.outbox.give_up(delivery, "HTTP 400")
    assert await due(hooked.outbox) == ["all-2"]
    (standing,) = await hooked.outbox.standing()
    assert (standing.waiting, standing.given_up, standing.last_error) == (1, 1, "HTTP 400")


async def test_what_is_handed_back_is_due_as_before(hooked: SqlStore) -> None:
    await put(hooked, ("failed", "a", 1))
    lent = await hooked.outbox.due("all", LATER, 10)
    await SqlOutbox(hooked.database).hand_back(lent)  # not its own
    assert await due(hooked.outbox) == []
    await hooked.outbox.hand_back(lent)
    (again,) = await hooked.outbox.due("all", LATER, 10)
    assert again == lent[0]


async def test_what_was_not_delivered_in_time_is_given_up(hooked: SqlStore) -> None:
    await put(hooked, ("failed", "a", 1), ("failed", "b", 1))
    assert await hooked.outbox.expire("all", at(2), "nobody came") == 1
    assert await hooked.outbox.expire("all", at(2), "nobody came") == 0
    first, second = await rows(hooked)
    assert (first.state, first.last_error, second.state) == ("given-up", "nobody came", "waiting")


async def test_two_outboxes_at_once_never_lend_the_same(hooked: SqlStore) -> None:
    await put(hooked, *(("failed", f"r{n}", 1) for n in range(60)))
    boxes = [SqlOutbox(hooked.database) for _ in range(2)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(due(boxes[n % 2], limit=7)) for n in range(20)]
    lent = [uid for task in tasks for uid in task.result()]
    assert len(lent) == len(set(lent))
    assert set(lent) | set(await due(boxes[0], limit=60)) == {f"all-{n}" for n in range(1, 61)}


# ---- digests ----


async def test_a_digest_is_the_end_of_a_run_and_what_goes_along(hooked: SqlStore) -> None:
    await put(hooked, ("failed", "a", 1), ("changed", "b", 1), ("failed", "a", 2), ("run-finished", "", 1))
    assert await due(hooked.outbox, digest=True) == ["all-4"]
    (end,) = [d for d in await _all(hooked) if d.event.kind is EventKind.RUN_FINISHED]
    assert [d.uid for d in await hooked.outbox.gathered(end, 10)] == ["all-1", "all-2"]
    assert [d.uid for d in await hooked.outbox.gathered(end, 1)] == ["all-1"]
    await hooked.outbox.delivered(end, digest=True)
    assert [row.uid for row in await rows(hooked)] == ["all-3"]


async def test_a_digest_that_is_given_up_takes_what_goes_along_with_it(hooked: SqlStore) -> None:
    await put(hooked, ("failed", "a", 1), ("failed", "b", 2), ("run-finished", "", 1))
    (end,) = await hooked.outbox.due("all", LATER, 10, digest=True)
    await hooked.outbox.give_up(end, "too large", digest=True)
    assert [(row.uid, row.state) for row in await rows(hooked)] == [
        ("all-1", "given-up"), ("all-2", "waiting"), ("all-3", "given-up"),
    ]  # fmt: skip


async def _all(store: SqlStore) -> list[Delivery]:
    return [
        Delivery(row.id, row.uid, row.hook, Event(EventKind(row.event), row.happened_at, row.run_id))
        for row in await rows(store)
    ]


# ---- pauses, and what commands ask ----


async def test_a_pause_is_on_record_until_it_is_taken_back(hooked: SqlStore) -> None:
    for failures in (1, 2):
        await hooked.outbox.pause("all", Pause(at(10 * failures), failures, "connection refused"))
    (standing,) = await hooked.outbox.standing()
    assert standing.pause == Pause(at(20), 2, "connection refused")
    assert (standing.waiting, standing.last_error) == (0, "connection refused")
    await hooked.outbox.pause("all", None)
    assert await hooked.outbox.standing() == []


async def test_hurrying_makes_everything_due(hooked: SqlStore) -> None:
    await put(hooked, ("failed", "a", 1))
    (delivery,) = await hooked.outbox.due("all", LATER, 10)
    await hooked.outbox.postpone(delivery, LATER + timedelta(hours=1), "HTTP 503")
    await hooked.outbox.pause("all", Pause(LATER + timedelta(hours=1), 1, "HTTP 503"))
    await hooked.outbox.hurry("all", LATER)
    assert await due(hooked.outbox) == ["all-1"]
    (standing,) = await hooked.outbox.standing()
    assert standing.pause is None


async def test_a_hook_can_be_forgotten(hooked: SqlStore) -> None:
    await put(hooked, ("failed", "a", 1), ("failed", "b", 1))
    await put(hooked, ("failed", "a", 1), hook="other")
    assert await hooked.outbox.forget("all") == 2
    assert [s.hook for s in await hooked.outbox.standing()] == ["other"]


async def test_removing_a_device_leaves_what_is_to_be_told_of_it(hooked: SqlStore) -> None:
    device = await add_device(hooked)
    await hooked.commit([failed(await start_run(hooked), device)])
    await hooked.inventory.remove(device.name)
    (delivery,) = await hooked.outbox.due("all", LATER, 10)
    assert (delivery.event.device, delivery.event.device_id) == ("r1", None)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_lending_from_a_long_queue_costs_what_it_lends(hooked: SqlStore) -> None:
    """Each question finds its rows by index: no sort and no scan of the table."""
    statement = _due("all", LATER, digest=False).limit(8)
    async with hooked.database.reading() as connection:
        compiled = statement.compile(connection.sync_engine, compile_kwargs={"literal_binds": True})
        plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")
        steps = [row.detail for row in plan]
    assert any("ix_hook_deliveries_hook_state_next_try_at_id" in step for step in steps)
    assert any("ix_hook_deliveries_hook_device_name_id" in step for step in steps)
    assert not any("TEMP B-TREE" in step or step.startswith("SCAN") for step in steps)
