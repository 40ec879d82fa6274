"""A batch of a run is written once, by the process that holds the run, however often its answer was lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from netraven.collect.outage import Outage, Patient
from netraven.collect.recorder import Recorder
from netraven.errors import DatabaseError, RowRefused, RunLost
from netraven.model import (
    AttemptConcluded,
    AttemptStarted,
    AttemptWithdrawn,
    Batch,
    ConnectionCut,
    Credential,
    Device,
    Entry,
    HostKey,
    HostKeyRefused,
    HostKeySeen,
    Logged,
    OfferSeen,
    Outcome,
    PlatformFound,
    RefusalConfirmed,
    Run,
    RunStatus,
    SshOffer,
    Verdict,
)
from netraven.storage.schema import metadata, runs
from netraven.storage.store import SqlStore
from tests.storage.facts import START, add_credential, add_device, at, collected, failed, start_run

KEY, OTHER_KEY = HostKey("ssh-ed25519", b"a key"), HostKey("ssh-ed25519", b"another key")
OFFER = SshOffer("SSH-2.0-x", ("kex",), ("ssh-ed25519",), ("aes128-ctr",), ("hmac-sha2-256",))


async def everything(store: SqlStore) -> dict[str, list[Any]]:
    """Every row of every table, but for when the run last gave a sign of life."""
    found: dict[str, list[Any]] = {}
    async with store.database.reading() as connection:
        for table in metadata.sorted_tables:
            columns = [column for column in table.columns if column.name != "heartbeat_at"]
            rows = await connection.execute(select(*columns).order_by(*table.primary_key.columns))
            found[table.name] = [tuple(row) for row in rows]
    return found


async def of_every_kind(
    store: SqlStore, run: Run, devices: Sequence[Device], credential: Credential
) -> list[Entry]:
    """A batch with two entries of each kind, among them two attempts that differ in nothing but their device."""
    first, second = devices
    begun = [AttemptStarted(run.id, device, credential, at(0), "earlier") for device in (first, second) * 2]
    earlier = await store.commit(begun)
    return [
        HostKeySeen(first, KEY),
        HostKeySeen(first, OTHER_KEY),
        HostKeyRefused(second, OTHER_KEY, at(1)),
        OfferSeen(first, OFFER, at(1)),
        PlatformFound(first, "arista_eos"),
        AttemptStarted(run.id, second, credential, at(2), "first"),
        AttemptStarted(run.id, first, credential, at(2), "first"),
        AttemptStarted(run.id, first, credential, at(3), "again"),
        AttemptWithdrawn(earlier[0], credential),
        AttemptConcluded(earlier[1], second, credential, Verdict.ACCEPTED, at(3), 900),
        AttemptConcluded(earlier[2], first, credential, Verdict.REFUSED, at(3), 900, "auth_refused"),
        AttemptConcluded(earlier[3], second, credential, Verdict.NO_VERDICT, at(3), 900, "auth_no_verdict"),
        RefusalConfirmed(second, credential, at(4)),
        ConnectionCut(first, 2),
        replace(collected(run, first, credential, "hostname r1\n"), facts={"version": "17"}),
        failed(run, second, credential),
        Logged(run.id, at(5), "info", "a line", "r1", {"a": 1}),
    ]


@pytest.fixture
async def devices(store: SqlStore) -> list[Device]:
    return [await add_device(store, name) for name in ("r1", "r2")]


@pytest.fixture
async def credential(store: SqlStore) -> Credential:
    return await add_credential(store)


async def test_the_same_batch_again_changes_nothing_and_is_answered_alike(
    store: SqlStore, devices: list[Device], credential: Credential
) -> None:
    run = await start_run(store)
    entries = await of_every_kind(store, run, devices, credential)
    answers = await store.commit(entries, of=Batch(run.id, 1))
    written = await everything(store)
    assert (await store.runs.get(run.id)).batch == 1
    again: Sequence[Any] = ()
    for _ in range(2):
        again = await store.commit(entries, of=Batch(run.id, 1))
        assert [_plain(answer) for answer in again] == [_plain(answer) for answer in answers]
        assert await everything(store) == written
    outcome = again[14]
    assert isinstance(outcome, Outcome)
    assert outcome.changed
    assert outcome.snapshot is not None


def _plain(answer: Any) -> Any:
    return tuple(answer) if isinstance(answer, list) else answer


@pytest.mark.parametrize("seed", range(5))
async def test_any_order_of_entries_is_answered_alike(
    store: SqlStore, devices: list[Device], credential: Credential, seed: int
) -> None:
    run = await start_run(store)
    entries = await of_every_kind(store, run, devices, credential)
    random.Random(seed).shuffle(entries)
    answers = await store.commit(entries, of=Batch(run.id, 1))
    again = await store.commit(entries, of=Batch(run.id, 1))
    assert [_plain(answer) for answer in again] == [_plain(answer) for answer in answers]


class AnswersLost:
    """A ledger whose every transaction is committed, with no word of it the first time."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self._said: set[Batch | None] = set()
        self.lost = 0

    async def commit(self, entries: Sequence[Entry], *, of: Batch | None = None) -> Sequence[Any]:
        answers = await self._store.commit(entries, of=of)
        if of not in self._said:
            self._said.add(of)
            self.lost += 1
            raise DatabaseError("the connection to the server was lost")
        return answers


async def test_a_recorder_whose_answers_are_all_lost_writes_everything_once(
    store: SqlStore, devices: list[Device], credential: Credential, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netraven.collect.outage.FIRST_PAUSE", 0.001)
    run = await start_run(store)
    gone = replace(devices[0], id=9_999, name="gone")
    ledger = AnswersLost(store)
    async with Recorder(Patient(ledger, Outage(60.0)), run=run, max_batch=8) as recorder:
        started = [AttemptStarted(run.id, devices[n % 2], credential, at(n), "why") for n in range(40)]
        given: list[Entry] = [*started, AttemptStarted(run.id, gone, credential, at(99), "why")]
        answers = await asyncio.gather(*(recorder.record(e) for e in given), return_exceptions=True)
        assert isinstance(answers[-1], RowRefused)
        ids = [answer for answer in answers[:-1] if isinstance(answer, int)]
        assert len(set(ids)) == 40
        for entry, key in zip(started, ids, strict=True):
            await recorder.record(
                AttemptConcluded(key, entry.device, credential, Verdict.ACCEPTED, entry.at, 1)
            )
        outcome = await recorder.record(collected(run, devices[0], credential, "hostname r1\n"))
        assert outcome.changed
    assert ledger.lost > 40
    tables = await everything(store)
    assert [(row[0], row[2]) for row in tables["credential_attempts"]] == [
        (key, entry.device.id) for key, entry in sorted(zip(ids, started, strict=True), key=lambda p: p[0])
    ]
    assert (len(tables["run_outcomes"]), len(tables["snapshots"])) == (1, 1)
    measured = (await store.vault.get("tacacs")).metrics
    assert (measured.attempts, measured.successes) == (40, 40)
    assert (await store.runs.get(run.id)).batch >= ledger.lost


async def test_the_same_batch_at_the_same_time_is_written_once(
    store: SqlStore, devices: list[Device], credential: Credential
) -> None:
    """The server may still be at the first transaction when the connection to it is known to be lost."""
    run = await start_run(store)
    entries = [AttemptStarted(run.id, devices[0], credential, at(n), "why") for n in range(3)]
    answers = await asyncio.gather(*(store.commit(entries, of=Batch(run.id, 1)) for _ in range(4)))
    assert len({tuple(answer) for answer in answers}) == 1
    assert len((await everything(store))["credential_attempts"]) == 3


@pytest.mark.parametrize(
    "fate",
    [
        {"owner": "another-host/boot/17/4"},
        {"owner": "", "status": RunStatus.QUEUED.value},
        {"status": RunStatus.INTERRUPTED.value},
        None,
    ],
)
async def test_nothing_is_written_for_a_run_that_is_not_held_any_more(
    store: SqlStore, devices: list[Device], credential: Credential, fate: dict[str, str] | None
) -> None:
    run = await start_run(store)
    await store.commit([HostKeySeen(devices[0], KEY)], of=Batch(run.id, 1))
    async with store.database.writing() as connection:
        changing = delete(runs) if fate is None else update(runs).values(fate)
        await connection.execute(changing.where(runs.c.id == run.id))
    before = await everything(store)
    for number in (1, 2):
        with pytest.raises(RunLost, match=f"run {run.id} "):
            await store.commit([HostKeySeen(devices[1], KEY)], of=Batch(run.id, number))
    if fate is not None:
        assert not await store.heartbeat(run)
        await store.finish(run, RunStatus.COMPLETE, run.counts)
        await store.release(run, run.counts)
    assert await everything(store) == before


async def test_two_recorders_of_one_run_are_noticed(store: SqlStore, devices: list[Device]) -> None:
    """One that began with an old number would be told that its entries are on record, and they are not."""
    run = await start_run(store)
    for number in (1, 2, 3):
        await store.commit([HostKeySeen(devices[0], KEY)], of=Batch(run.id, number))
    with pytest.raises(RunLost):
        await store.commit([HostKeySeen(devices[1], KEY)], of=Batch(run.id, 2))


async def test_a_batch_is_a_sign_of_life(store: SqlStore, devices: list[Device]) -> None:
    run = await start_run(store)
    async with store.database.writing() as connection:
        await connection.execute(update(runs).values(heartbeat_at=START))
    await store.commit([HostKeySeen(devices[0], KEY)], of=Batch(run.id, 1))
    async with store.database.reading() as connection:
        assert (await connection.execute(select(runs.c.heartbeat_at))).scalar_one() > START


async def test_the_beginning_and_the_end_of_a_run_bear_being_told_twice(
    store: SqlStore, devices: list[Device]
) -> None:
    run = await start_run(store)
    begun = await store.begin(run, dead_after=3)
    assert begun.counts.devices == len(devices)
    written = await everything(store)
    assert await store.begin(run, dead_after=3) == begun
    assert await everything(store) == written
    await store.finish(begun, RunStatus.COMPLETE, begun.counts)
    written = await everything(store)
    again = await store.finish(begun, RunStatus.FAILED, begun.counts, "another end")
    assert again.status is RunStatus.COMPLETE
    assert await everything(store) == written
