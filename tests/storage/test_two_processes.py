"""Two collectors at once on one database."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from netraven.model import HostKey, HostKeySeen, Verdict
from netraven.storage.engine import Database
from netraven.storage.migrate import create_and_upgrade
from netraven.storage.store import SqlStore
from tests.storage.facts import add_credential, add_device, start_run, try_once
from tests.storage.verdicts_process import TIMES

ROOT = Path(__file__).parents[2]


async def test_counters_and_rates_are_exact(store: SqlStore, database_url: str) -> None:
    device = await add_device(store)
    refused, accepted = await add_credential(store, "refused"), await add_credential(store, "accepted")
    run = await start_run(store)
    await try_once(store, run, device, refused, Verdict.ACCEPTED)  # the rate starts at 1 and falls
    await try_once(store, run, device, accepted, Verdict.REFUSED)  # the rate starts at 0 and rises

    command = [sys.executable, "-m", "tests.storage.verdicts_process", database_url, str(run.id)]
    processes = [
        await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=PIPE, stdout=PIPE) for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert [process.returncode for process in processes] == [0, 0]

    times = 2 * TIMES
    fell = (await store.vault.get("refused")).metrics
    assert (fell.attempts, fell.successes) == (times + 1, 1)
    assert fell.success_rate == pytest.approx(0.9**times, rel=1e-9)
    rose = (await store.vault.get("accepted")).metrics
    assert (rose.attempts, rose.successes) == (times + 1, times)
    assert rose.success_rate is not None
    assert 1 - rose.success_rate == pytest.approx(0.9**times, rel=1e-5)
    use = {row.credential: row for row in await store.logs.credential_use(run.id)}
    assert (use["refused"].refused, use["accepted"].accepted) == (times, times)


async def test_two_writers_agree_on_a_devices_first_host_key(store: SqlStore, database_url: str) -> None:
    devices = [await add_device(store, f"r{n}") for n in range(5)]
    async with await Database.open(database_url) as other:
        ledgers = (store.ledger, SqlStore(other, None).ledger)
        seen = [
            [HostKeySeen(device, HostKey("ssh-ed25519", who)) for device in order]
            for who, order in ((b"one", devices), (b"two", devices[::-1]))
        ]
        answers = await asyncio.gather(
            *(ledger.commit(entries) for ledger, entries in zip(ledgers, seen, strict=True))
        )
    assert answers[0] == answers[1][::-1]
    assert all(len(keys) == 1 for keys in answers[0])


async def test_two_may_create_the_database_at_once(empty_url: str) -> None:
    await asyncio.gather(*(create_and_upgrade(empty_url) for _ in range(4)))
    async with await Database.open(empty_url):
        pass
