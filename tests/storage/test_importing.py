"""Versions from elsewhere come in between those that are there, whoever writes at the same time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from netraven.errors import InputError
from netraven.model import Capture, Device
from netraven.storage import schema
from netraven.storage.blobs import Opener
from netraven.storage.importing import Added
from netraven.storage.store import SqlStore
from tests.storage.facts import add_device, at, collected, start_run
from tests.storage.pasts import DAY, moment, remember, texts_of

PLATFORM = "cisco_iosxe"
CONFIG = "! Last configuration change at 11:02:03 UTC Tue Nov 24 2026 by ops\nhostname r1\nend\n"


async def add(store: SqlStore, device: Device, *texts: tuple[float, str]) -> Added:
    assert device.id is not None
    dated = [(moment(day), moment(day) + timedelta(hours=1), text) for day, text in texts]
    async with store.database.writing() as connection:
        return await store.importing.add(connection, device.id, "running", PLATFORM, dated)


async def test_into_nothing(store: SqlStore) -> None:
    device = await add_device(store)
    assert await add(store, device, (2, "b"), (1, "a"), (3, "b"), (4, "c")) == Added(3, 1)
    assert await texts_of(store, "r1") == {1: "a", 2: "b", 3: "c"}
    newest, second, _ = await store.versions.history("r1", "running")
    assert (newest.run, newest.platform, newest.first_seen_at) == (None, PLATFORM, moment(4))
    assert second.last_seen_at == moment(3) + timedelta(hours=1)


async def test_only_what_lies_beside_it_is_looked_at(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand versions of the time before digests were kept would keep everyone waiting otherwise."""
    device = await add_device(store)
    noisy = [CONFIG.replace(":03", f":{second:02}") for second in range(30)]
    await remember(store, device, [text.replace("r1", f"r{n}") for n, text in enumerate(noisy)])
    async with store.database.writing() as connection:
        await connection.execute(update(schema.snapshots).values(comparable=None))
    looked_at = 0
    look = Opener.text

    async def counted(self: Opener, row: Any, whose: str) -> bytes:
        nonlocal looked_at
        looked_at += 1
        return await look(self, row, whose)

    monkeypatch.setattr(Opener, "text", counted)
    assert await add(store, device, (14.5, noisy[3].replace("r1", "r15"))) == Added(0, 1)
    assert looked_at == 2


async def test_older_newer_and_between(store: SqlStore) -> None:
    device = await add_device(store)
    await remember(store, device, ["e", "g"], first_day=10)
    before = {v.number: v.id for v in await store.versions.history("r1", "running")}
    assert await add(store, device, (1, "a"), (10.5, "f"), (99, "h")) == Added(3, 0)
    assert await texts_of(store, "r1") == {1: "a", 2: "e", 3: "f", 4: "g", 5: "h"}
    after = {v.number: v.id for v in await store.versions.history("r1", "running")}
    assert (after[2], after[4]) == (before[1], before[2])  # they are the same versions still


async def test_twice_adds_nothing(store: SqlStore) -> None:
    device = await add_device(store)
    await remember(store, device, ["c", "d"], first_day=10)
    past = [(1, "a"), (2, "b"), (3, "a"), (5, "c"), (10.5, "c")]
    await add(store, device, *past)
    before = await store.versions.history("r1", "running")
    assert await add(store, device, *past) == Added(0, 5)
    assert await store.versions.history("r1", "running") == before


async def test_what_differs_only_by_itself_is_the_same(store: SqlStore) -> None:
    device = await add_device(store)
    await remember(store, device, [CONFIG], first_day=10)
    assert await add(store, device, (1, CONFIG.replace("11:02:03", "09:00:00"))) == Added(0, 1)
    assert await texts_of(store, "r1") == {1: CONFIG}
    (only,) = await store.versions.history("r1", "running")
    assert only.first_seen_at == moment(1)


async def test_versions_of_the_time_before_there_were_rules_are_compared_too(store: SqlStore) -> None:
    device = await add_device(store)
    await remember(store, device, [CONFIG], first_day=10)
    async with store.database.writing() as connection:
        await connection.execute(update(schema.snapshots).values(comparable=None))
    assert await add(store, device, (1, CONFIG.replace("11:02:03", "09:00:00"))) == Added(0, 1)


async def test_more_than_one_portion(store: SqlStore) -> None:
    device = await add_device(store)
    await remember(store, device, ["last"], first_day=1000)
    texts = [f"text {n}" for n in range(450)]
    assert await add(store, device, *((n, text) for n, text in enumerate(texts))) == Added(450, 0)
    assert await texts_of(store, "r1") == dict(enumerate([*texts, "last"], 1))


async def test_a_failure_changes_nothing(store: SqlStore) -> None:
    device = await add_device(store)
    await remember(store, device, ["a", "b"], first_day=10)

    async def failing() -> None:
        assert device.id is not None
        async with store.database.writing() as connection:
            dated = [(moment(1), moment(1), "old")]
            await store.importing.add(connection, device.id, "running", PLATFORM, dated)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        await failing()
    assert await texts_of(store, "r1") == {1: "a", 2: "b"}
    with pytest.raises(InputError, match="a device was removed"):
        await add(store, replace(device, id=99), (1, "a"))


async def test_collecting_goes_on_meanwhile(store: SqlStore) -> None:
    """Whoever collects has read the number of the newest version by the time that the import gives it another one."""
    device = await add_device(store)
    await remember(store, device, ["first"], first_day=1000)

    async def importing() -> None:
        for n in range(25):
            await add(store, device, (n, f"imported {n}"))

    async def collecting() -> None:
        for n in range(25):
            run = await start_run(store)
            entry = collected(run, device, started_at=at((1001 + n) * DAY))
            (outcome,) = await store.commit([replace(entry, captures=(Capture(f"collected {n}"),))])
            assert outcome.changed

    await asyncio.gather(importing(), collecting())
    found = await texts_of(store, "r1")
    expected = [*(f"imported {n}" for n in range(25)), "first", *(f"collected {n}" for n in range(25))]
    assert list(found.values()) == expected
    assert list(found) == sorted(found)


async def test_the_digest_that_comes_with_a_version_is_kept(store: SqlStore) -> None:
    device = await add_device(store)
    await add(store, device, (1, CONFIG))
    async with store.database.reading() as connection:
        assert (await connection.execute(select(schema.snapshots.c.comparable))).scalar_one() is not None
    await remember(store, device, [CONFIG.replace("11:02:03", "12:00:00")], first_day=5)
    assert await texts_of(store, "r1") == {1: CONFIG}
