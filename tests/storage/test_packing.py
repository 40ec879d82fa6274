"""Old texts made small: what is read back is what was stored, and it takes a fraction of the room."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from netraven.credentials.sealing import Keyring
from netraven.errors import DatabaseError, KeyringError
from netraven.lab.configurations import configuration
from netraven.model import Selector
from netraven.storage import codecs, schema
from netraven.storage.packing import Packing
from netraven.storage.store import SqlStore
from netraven.storage.turns import Turns
from tests.storage.facts import add_device
from tests.storage.pasts import bytes_stored, count, edits, remember, texts_of

CODEC = schema.blobs.c.codec


async def test_everything_reads_back_and_takes_little(store: SqlStore) -> None:
    texts = edits(40)
    await remember(store, await add_device(store), texts)
    before = await bytes_stored(store)
    assert await store.packing.preview({}) == 39
    done = await store.packing.run()
    assert done.texts == 39
    assert done.unreadable == 0
    assert before - done.bytes_before + done.bytes_after == await bytes_stored(store) < before / 4
    assert await texts_of(store, "r1") == dict(enumerate(texts, 1))
    assert [s.text async for s in store.versions.every(Selector())] == texts
    current = select(CODEC).join(schema.snapshots, schema.snapshots.c.sha256 == schema.blobs.c.sha256)
    async with store.database.reading() as connection:
        newest = current.where(schema.snapshots.c.version == 40)
        assert (await connection.execute(newest)).scalar_one() == codecs.FULL
    assert await count(store, schema.blobs, schema.blobs.c.sealed.is_(False)) == 0


async def test_what_a_text_differs_from_is_itself_in_full(store: SqlStore) -> None:
    for n in range(3):
        await remember(store, await add_device(store, f"r{n}"), edits(30, name=f"r{n}", size=4096))
    await store.packing.run()
    base = schema.blobs.alias()
    async with store.database.reading() as connection:
        statement = select(base.c.codec).join(schema.blobs, schema.blobs.c.base == base.c.sha256).distinct()
        assert (await connection.execute(statement)).scalars().all() == [codecs.BASE]


async def test_a_second_time_there_is_nothing_to_do(store: SqlStore) -> None:
    await remember(store, await add_device(store), edits(10))
    await store.packing.run()
    before = await bytes_stored(store)
    assert await store.packing.preview({}) == 0
    assert (await store.packing.run()).texts == 0
    assert await bytes_stored(store) == before


async def test_night_after_night_it_stays_as_small(store: SqlStore) -> None:
    device, texts = await add_device(store), edits(30)
    for day, text in enumerate(texts):
        await remember(store, device, [text], first_day=day)
        assert (await store.packing.run()).texts == (1 if day else 0)
    assert await texts_of(store, "r1") == dict(enumerate(texts, 1))
    nightly = await bytes_stored(store)
    assert nightly < len(texts) * len(codecs.packed(texts[0].encode())) / 3


async def test_texts_that_have_nothing_in_common_stay_in_full(store: SqlStore) -> None:
    rng = random.Random(1)
    texts = ["\n".join(f"{rng.randrange(1 << 60)}" for _ in range(100)) for _ in range(4)]
    await remember(store, await add_device(store), texts)
    assert (await store.packing.run()).texts == 3
    assert await count(store, schema.blobs, CODEC == codecs.BASE) == 3
    assert (await store.packing.run()).texts == 0


async def test_a_text_in_force_anywhere_stays_as_it_is(store: SqlStore) -> None:
    await remember(store, await add_device(store, "r1"), ["same\n" * 99, "other\n" * 99])
    await remember(store, await add_device(store, "r2"), ["same\n" * 99])
    assert (await store.packing.run()).texts == 0
    await remember(store, await add_device(store, "r2"), ["new\n" * 99], first_day=2)
    assert (await store.packing.run()).texts == 1


async def test_a_text_that_comes_back_is_in_force_as_a_difference(store: SqlStore) -> None:
    device, (a, b, c) = await add_device(store), edits(3)
    await remember(store, device, [a, b, c])
    await store.packing.run()
    await remember(store, device, [a], first_day=3)
    await remember(store, device, [a], first_day=4)
    assert await texts_of(store, "r1") == {1: a, 2: b, 3: c, 4: a}


async def test_bytes_that_are_no_text_and_large_ones(store: SqlStore) -> None:
    large = "".join(f"ip route 10.{n // 256 % 256}.{n % 256}.0 Null{n}\n" for n in range(60_000))
    texts = ["caf\udce9\n" * 50, "caf\udce9\n" * 51, large, large + "x", large + "xy", ""]
    await remember(store, await add_device(store), texts)
    await store.packing.run()
    assert await texts_of(store, "r1") == dict(enumerate(texts, 1))
    assert await bytes_stored(store) < 1.5 * len(codecs.packed(large.encode()))


async def test_what_was_stored_in_clear_is_encrypted(database_url: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(Keyring.generate().to_text())
    key.chmod(0o600)
    texts = edits(5)
    async with SqlStore.open(database_url, key_file=key, encrypt=False) as plain:
        await remember(plain, await add_device(plain), texts)
        done = await plain.packing.run()
        assert (done.texts, done.sealed) == (4, 0)
        assert await texts_of(plain, "r1") == dict(enumerate(texts, 1))
    async with SqlStore.open(database_url, key_file=key) as store:
        done = await store.packing.run()
        assert (done.texts, done.sealed) == (0, 5)
        assert await count(store, schema.blobs, schema.blobs.c.sealed.is_(False)) == 0
        assert await texts_of(store, "r1") == dict(enumerate(texts, 1))


async def test_without_the_key_nothing_is_touched(database_url: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(Keyring.generate().to_text())
    key.chmod(0o600)
    async with SqlStore.open(database_url, key_file=key) as store:
        await remember(store, await add_device(store), edits(5))
        before = await bytes_stored(store)
    async with SqlStore.open(database_url, key_file=tmp_path / "none") as store:
        with pytest.raises(KeyringError):
            await store.packing.run()
        assert await bytes_stored(store) == before


async def test_a_damaged_base_is_named_and_those_beside_it_are_read(store: SqlStore) -> None:
    texts = edits(4)
    await remember(store, await add_device(store), texts)
    await store.packing.run()
    async with store.database.writing() as connection:
        base = CODEC == codecs.BASE
        damaged = (await connection.execute(select(schema.blobs.c.data).where(base))).scalar_one()[:-1] + b"x"
        await connection.execute(update(schema.blobs).where(base).values(data=damaged))
    with pytest.raises(
        DatabaseError, match=r"the text that version 1 .* of r1 differs from cannot be decrypted"
    ):
        await store.versions.numbered("r1", "running", 1)
    found = await store.versions.current("r1", "running")
    assert found is not None
    assert found.text == texts[3]
    await remember(store, await add_device(store), ["new"], first_day=9)
    done = await store.packing.run()
    assert (done.texts, done.unreadable) == (1, 1)


async def test_a_missing_base_is_said(store: SqlStore) -> None:
    await remember(store, await add_device(store), edits(3))
    await store.packing.run()
    async with store.database.writing() as connection:
        of_base = schema.snapshots.c.sha256.in_(select(schema.blobs.c.sha256).where(CODEC == codecs.BASE))
        await connection.execute(delete(schema.snapshots).where(of_base))
        await connection.execute(delete(schema.blobs).where(CODEC == codecs.BASE))
    with pytest.raises(DatabaseError, match="the text that it differs from is missing"):
        await store.versions.numbered("r1", "running", 1)


async def test_cancelled_anywhere_everything_reads_back(store: SqlStore) -> None:
    expected = {}
    for n in range(3):
        expected[f"r{n}"] = edits(150, name=f"r{n}", size=2048)
        device = await add_device(store, f"r{n}")
        await remember(store, device, expected[f"r{n}"])
    turns = 0

    async def cancelled(_: float) -> None:
        nonlocal turns
        turns += 1
        if turns == 2:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await Packing(Turns(store.database, cancelled), store.history_keys).run()
    for name, texts in expected.items():
        assert await texts_of(store, name) == dict(enumerate(texts, 1))
    await store.packing.run()
    assert await count(store, schema.blobs, CODEC == codecs.FULL) == 3
    for name, texts in expected.items():
        assert await texts_of(store, name) == dict(enumerate(texts, 1))


async def test_two_at_once_get_in_nobodys_way(store: SqlStore) -> None:
    texts = edits(60, size=2048)
    await remember(store, await add_device(store), texts)
    other = Packing(Turns(store.database), store.history_keys)
    await asyncio.gather(store.packing.run(), other.run())
    assert await texts_of(store, "r1") == dict(enumerate(texts, 1))
    await store.packing.run()
    assert await count(store, schema.blobs, CODEC == codecs.FULL) == 1


@pytest.mark.parametrize("size", [12_000, 1_000_000, 12_000_000])
def test_a_line_costs_a_line_in_texts_of_any_size(size: int) -> None:
    before = configuration("cisco_iosxe", "r1", size=size).encode()
    middle = before.index(b"\n", size // 2)
    after = before[:middle] + b"\n description new" + before[middle:]
    assert len(codecs.Base(before).difference(after)) < 2000


def test_nothing_but_the_text_of_the_digest_is_accepted() -> None:

    base, text = codecs.Base(b"hostname r1\n" * 20), b"hostname r1\n" * 19 + b"end\n"
    digest = hashlib.sha256(text).digest()
    small = base.difference(text)
    assert base.unpacked(small, digest, len(text)) == text
    for place in range(len(small)):
        for bit in (1, 128):
            damaged = bytearray(small)
            damaged[place] ^= bit
            with contextlib.suppress(ValueError):
                assert base.unpacked(bytes(damaged), digest, len(text)) == text
    with pytest.raises(ValueError, match="size"):
        base.unpacked(codecs.packed(b"\0" * 10_000_000), digest, len(text))
