"""Who drives an account, and what the next one learns of a guard that did not come back."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from netraven.credentials.lockout import Account, Ask, Policy
from netraven.credentials.moments import Moment
from netraven.model import AttemptConcluded, AttemptStarted, Verdict, utcnow
from netraven.storage.owner import current_owner
from netraven.storage.schema import lockout_accounts, runs
from netraven.storage.store import SqlStore
from tests.storage.facts import add_credential, add_device, start_run

ACCOUNT = ("default", "svc")
ME, OTHER = f"{current_owner()}#1", f"{current_owner()}#2"


def a_dead_process() -> str:
    """The owner that a process of this machine had, which has ended."""
    code = "from netraven.storage.owner import current_owner; print(current_owner())"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


async def lease_ends(store: SqlStore) -> None:
    async with store.database.writing() as connection:
        await connection.execute(update(lockout_accounts).values(lease_until=utcnow() - timedelta(seconds=1)))


async def test_one_drives_and_the_other_is_noted(store: SqlStore) -> None:
    book = store.guard_book
    assert await book.take(ACCOUNT, ME, 60.0) == {}
    assert list(await book.claimed(ME)) == []
    assert await book.take(ACCOUNT, OTHER, 60.0) is None
    assert list(await book.claimed(ME)) == [ACCOUNT]
    assert not await book.keep(ACCOUNT, OTHER, {"not": "mine"}, 60.0)
    assert await book.keep(ACCOUNT, ME, {"seq": 3}, None)
    assert await book.take(ACCOUNT, OTHER, 60.0) == {"seq": 3}
    assert list(await book.claimed(OTHER)) == [], "a claim ends with the handing over"


async def test_what_is_kept_stays_ones_own(store: SqlStore) -> None:
    book = store.guard_book
    await book.take(ACCOUNT, ME, 60.0)
    assert await book.keep(ACCOUNT, ME, {"seq": 1}, 60.0)
    assert await book.take(ACCOUNT, OTHER, 60.0) is None
    assert await book.take(ACCOUNT, ME, 60.0) == {"seq": 1}


async def test_after_its_lease_a_guard_has_lost_the_account(store: SqlStore) -> None:
    book = store.guard_book
    await book.take(ACCOUNT, "elsewhere/boot/1/2#1", 60.0)
    assert await book.take(ACCOUNT, ME, 60.0) is None, "of another host nothing but the lease can be seen"
    await lease_ends(store)
    assert await book.take(ACCOUNT, ME, 60.0) == {"since": []}
    assert not await book.keep(ACCOUNT, "elsewhere/boot/1/2#1", {}, 60.0)


@pytest.mark.parametrize("owner", ["dead", "", "another"])
async def test_the_next_one_learns_what_a_dead_one_had_sent(store: SqlStore, owner: str) -> None:
    """Whoever has the run by then: a daemon takes it over before it asks for the account."""
    book, dead = store.guard_book, a_dead_process()
    device, credential = await add_device(store), await add_credential(store)
    run = await start_run(store)
    async with store.database.writing() as connection:
        await connection.execute(update(runs).values(owner=dead))
    assert await book.take(ACCOUNT, f"{dead}#{run.id}", 60.0) == {}
    started = [AttemptStarted(run.id, device, credential, utcnow(), "why") for _ in range(3)]
    accepted, refused, _pending = await store.commit(started)
    for key, verdict in ((accepted, Verdict.ACCEPTED), (refused, Verdict.REFUSED)):
        await store.commit([AttemptConcluded(key, device, credential, verdict, utcnow(), 5)])
    if owner != "dead":
        async with store.database.writing() as connection:
            await connection.execute(update(runs).values(owner=owner))

    state = await book.take(ACCOUNT, ME, 60.0)

    assert state is not None
    secret = f"{credential.id}:1"
    assert [(a["secret"], a["verdict"]) for a in state["since"]] == [
        (secret, "accepted"),
        (secret, "refused"),
        (secret, "pending"),
    ]
    account = Account.load(state, Policy(), Moment(utcnow().timestamp()))
    assert len(account.refusals) == 2, "the refusal overlapped with the success, the third may be refused yet"
    assert account.secrets[secret].proven


async def test_attempts_of_others_and_of_before_are_not_counted(store: SqlStore) -> None:
    book, dead = store.guard_book, a_dead_process()
    device, credential = await add_device(store), await add_credential(store)
    other = await add_credential(store, "other", username="somebody")
    mine, theirs = await start_run(store), await start_run(store)
    async with store.database.writing() as connection:
        await connection.execute(update(runs).where(runs.c.id == theirs.id).values(owner=dead))
    long_ago = utcnow() - timedelta(hours=1)
    before = AttemptStarted(theirs.id, device, credential, long_ago, "an hour ago")
    (key,) = await store.commit([before])
    await store.commit([AttemptConcluded(key, device, credential, Verdict.REFUSED, long_ago, 5)])
    await book.take(ACCOUNT, f"{dead}#{theirs.id}", 60.0)
    await store.commit(
        [
            AttemptStarted(mine.id, device, credential, utcnow(), "of a process that lives"),
            AttemptStarted(theirs.id, device, other, utcnow(), "of another account"),
        ]
    )
    assert await book.take(ACCOUNT, ME, 60.0) == {"since": []}


async def test_a_person_changes_nothing_under_a_guard_that_drives(store: SqlStore) -> None:
    book = store.guard_book
    assert await book.change(ACCOUNT, {}), "nothing is there yet"
    await book.take(ACCOUNT, ME, 60.0)
    assert not await book.change(ACCOUNT, {"seq": 9})
    await book.keep(ACCOUNT, ME, {"seq": 1}, None)
    assert await book.change(ACCOUNT, {"seq": 9})
    assert (await book.states())[ACCOUNT] == {"seq": 9}


async def test_pauses_are_everybodys(store: SqlStore) -> None:
    book = store.guard_book
    for why in ("first", "then"):
        await book.pause("tacacs", {"why": why})
    assert await book.pauses() == {"tacacs": {"why": "then"}}
    await book.pause("tacacs", None)
    await book.pause("tacacs", None)
    assert await book.pauses() == {}


@pytest.mark.parametrize("version", [1, 2])
async def test_devices_that_a_secret_opened_come_latest_first(store: SqlStore, version: int) -> None:
    credential = replace(await add_credential(store), secret_version=version)
    run = await start_run(store)
    for place, (name, verdict) in enumerate(
        [
            ("r1", Verdict.ACCEPTED),
            ("r2", Verdict.REFUSED),
            ("r3", Verdict.ACCEPTED),
            ("r4", Verdict.NO_VERDICT),
        ]
    ):
        device = await add_device(store, name)
        at = utcnow() + timedelta(seconds=place)
        (key,) = await store.commit([AttemptStarted(run.id, device, credential, at, "why")])
        await store.commit([AttemptConcluded(key, device, credential, verdict, at, 5)])
    assert [target.device.name for target in await store.proven(credential)] == ["r3", "r1"]
    assert list(await store.proven(replace(credential, secret_version=9))) == []


def test_an_account_is_the_same_after_it_was_written() -> None:
    account = Account(Policy(window=60))
    for verdict in (Verdict.REFUSED, Verdict.REFUSED, Verdict.REFUSED):
        account.conclude(account.grant(Ask("a")), verdict, Moment(1.0, 2.0, "boot"))
    again = Account.load(account.dump(), account.policy, Moment(1.0, 2.0, "boot"))
    assert again.dump() == account.dump()


async def test_one_that_dies_before_it_wrote_leaves_what_the_one_before_it_left(store: SqlStore) -> None:
    """Killed and started again, and again: what each of them had sent stays counted, however long ago it was sent."""
    book, device, credential = store.guard_book, await add_device(store), await add_credential(store)
    for hours in (3, 2, 1):
        dead, run = a_dead_process(), await start_run(store)
        async with store.database.writing() as connection:
            await connection.execute(update(runs).where(runs.c.id == run.id).values(owner=dead))
        assert await book.take(ACCOUNT, f"{dead}#{run.id}", 60.0) is not None
        await store.commit(
            [AttemptStarted(run.id, device, credential, utcnow() - timedelta(hours=hours), "it hangs")]
        )
    state = await book.take(ACCOUNT, ME, 60.0)
    assert state is not None
    assert [attempt["verdict"] for attempt in state["since"]] == ["pending"] * 3
    account = Account.load(state, Policy(), Moment(utcnow().timestamp()))
    assert len(account.refusals) == 3
    assert await book.keep(ACCOUNT, ME, account.dump(), None)
    assert "since" not in (await book.take(ACCOUNT, OTHER, 60.0) or {}), "it is in the state now"
