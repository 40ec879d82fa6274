"""Everything under a new key, while others read, write, and are interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text, update

from netraven.credentials.key_file import add_key, remove_keys
from netraven.credentials.sealing import Keyring, load_keyring, write_new_key_file
from netraven.errors import SecretUnreadable
from netraven.model import Credential, Secret, utcnow
from netraven.storage import resealing
from netraven.storage.engine import Database
from netraven.storage.schema import credentials
from netraven.storage.seals import Seals
from netraven.storage.store import SqlStore

SECRET = Secret("pass-canary", "key-canary", "enable-canary")


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    write_new_key_file(tmp_path / "netraven.key")
    return tmp_path / "netraven.key"


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resealing, "BATCH", 2)


def process(database: Database, key_file: Path) -> SqlStore:
    """A store with a keyring of its own, as another process has it."""
    return SqlStore(database, Seals(load_keyring(key_file, {}), reload=lambda: load_keyring(key_file, {})))


async def stock(store: SqlStore, number: int = 5) -> None:
    for n in range(number):
        await store.vault.add(Credential(f"c{n}", "svc"), SECRET)
    await store.vault.update("c0", secret=Secret(password="next"), keep_until=utcnow() + timedelta(days=7))


async def all_open(store: SqlStore) -> None:
    for credential in await store.credentials():
        secret = await store.reveal(credential)
        current = credential.key == ("c0", 2)
        assert secret == (Secret("next", "key-canary", "enable-canary") if current else SECRET)


async def test_everything_is_sealed_under_the_first_key(database: Database, key_file: Path) -> None:
    store = process(database, key_file)
    await stock(store)
    old = load_keyring(key_file, {}).active_id
    assert await store.resealing.keys_in_use() == {old: 6}
    assert (await store.resealing.run()).done == 0
    new = add_key(key_file, old).active_id
    heard: list[tuple[int, int]] = []
    result = await store.resealing.run(lambda done, total: heard.append((done, total)))
    assert (result.done, result.unopened) == (6, {})
    assert heard == [(2, 6), (4, 6), (6, 6)]
    assert await store.resealing.keys_in_use() == {new: 6}
    async with store.resealing.settled() as in_use:
        assert in_use == {new: 6}
    remove_keys(key_file, [old])
    await all_open(process(database, key_file))


async def test_what_was_interrupted_is_gone_on_with(database: Database, key_file: Path) -> None:
    store = process(database, key_file)
    await stock(store)
    old = load_keyring(key_file, {}).active_id
    new = add_key(key_file, old).active_id

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 4:
            raise Stop

    with pytest.raises(Stop):
        await store.resealing.run(stop)
    assert await store.resealing.keys_in_use() == {old: 2, new: 4}
    await all_open(process(database, key_file))
    assert (await process(database, key_file).resealing.run()).done == 2
    assert await store.resealing.keys_in_use() == {new: 6}


async def test_a_cancelled_rotation_keeps_what_is_done(database: Database, key_file: Path) -> None:
    store = process(database, key_file)
    await stock(store)
    old = load_keyring(key_file, {}).active_id
    new = add_key(key_file, old).active_id

    def stop(done: int, total: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    rotating = asyncio.create_task(store.resealing.run(stop))
    await asyncio.wait([rotating])
    assert rotating.cancelled()
    assert await store.resealing.keys_in_use() == {old: 4, new: 2}
    await all_open(process(database, key_file))


async def test_who_has_read_the_old_keys_goes_on(database: Database, key_file: Path) -> None:
    """A collector that was started before the rotation, with and without having read a secret yet."""
    reading, idle, rotating = (process(database, key_file) for _ in range(3))
    await stock(rotating)
    await all_open(reading)
    old = load_keyring(key_file, {}).active_id
    new = add_key(key_file, old).active_id
    await rotating.resealing.run()
    await all_open(reading)
    await all_open(idle)
    late = process(database, key_file)
    remove_keys(key_file, [old])
    newest = add_key(key_file, new).active_id
    await rotating.resealing.run()
    remove_keys(key_file, [new])
    for store in (reading, idle, late):
        await all_open(store)
        await store.vault.add(Credential(f"new{id(store)}", "svc"), SECRET)
    assert set(await rotating.resealing.keys_in_use()) == {newest}


async def test_a_key_that_is_gone_is_looked_for_once_and_named(database: Database, key_file: Path) -> None:
    store = process(database, key_file)
    await stock(store)
    key_file.write_text(Keyring.generate().to_text())
    stranger = process(database, key_file)
    for credential in await stranger.credentials():
        with pytest.raises(SecretUnreadable, match=f"credential {credential.name}: sealed with key"):
            await stranger.reveal(credential)
    key_file.unlink()
    with pytest.raises(SecretUnreadable, match="no key to open stored secrets"):
        await stranger.reveal((await stranger.credentials())[0])
    await all_open(store)  # what it has read, it has


async def test_what_no_key_opens_is_left_as_it_is_and_told(database: Database, key_file: Path) -> None:
    store = process(database, key_file)
    await stock(store, 3)
    async with database.writing() as connection:
        await connection.execute(
            text("UPDATE credentials SET sealed_enable = sealed_password WHERE name = 'c1'")
        )
    old = load_keyring(key_file, {}).active_id
    new = add_key(key_file, old).active_id
    result = await store.resealing.run()
    assert result.done == 3
    (lost,) = result.unopened.values()
    assert (lost.credential, lost.version) == ("c1", 1)
    assert "damaged" in lost.why
    assert await store.resealing.keys_in_use() == {new: 3, old: 1}


async def test_secrets_that_change_meanwhile_are_kept(database: Database, key_file: Path) -> None:
    """Updates from another process, all the while; none is lost, none is sealed for nobody."""
    rotating, other = process(database, key_file), process(database, key_file)
    await stock(rotating, 12)
    last = {}

    async def change() -> None:
        for turn in range(3):
            for n in range(1, 12):
                last[f"c{n}"] = f"turn {turn} of {n}"
                await other.vault.update(f"c{n}", secret=Secret(password=last[f"c{n}"]))

    changing = asyncio.create_task(change())
    while not changing.done():
        old = load_keyring(key_file, {}).active_id
        add_key(key_file, old)
        await rotating.resealing.run()
        async with rotating.resealing.settled() as in_use:
            remove_keys(key_file, [key for key in load_keyring(key_file, {}).key_ids if key not in in_use])
    await changing
    reader = process(database, key_file)
    found = {c.name: (await reader.reveal(c)).password for c in await reader.credentials() if c.name in last}
    assert found == last


async def test_two_rotations_at_once_lose_nothing(database: Database, key_file: Path) -> None:
    stores = [process(database, key_file) for _ in range(2)]
    await stock(stores[0], 8)
    old = load_keyring(key_file, {}).active_id
    made = [add_key(key_file, old).active_id for _ in stores]
    assert len(set(made)) == 1
    await asyncio.gather(*(store.resealing.run() for store in stores))
    assert set(await stores[0].resealing.keys_in_use()) == set(made)
    await all_open(process(database, key_file))


async def test_a_secret_that_no_key_opens_is_not_read_for_everyone_who_asks(
    database: Database, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stock(process(database, key_file), 2)
    key_file.write_text(Keyring.generate().to_text())
    stranger = process(database, key_file)
    read = 0
    load = stranger.vault._load

    async def counted() -> None:
        nonlocal read
        read += 1
        await load()

    monkeypatch.setattr(stranger.vault, "_load", counted)
    credential = (await stranger.credentials())[0]
    for _ in range(3):
        said = await asyncio.gather(
            *(stranger.reveal(credential) for _ in range(100)), return_exceptions=True
        )
        assert all(isinstance(error, SecretUnreadable) for error in said)
    assert read == 2


async def test_the_last_look_waits_for_whoever_is_about_to_seal(database: Database, key_file: Path) -> None:
    """Somebody has read the keyring before the new key came, and has not written yet."""
    store = process(database, key_file)
    await stock(store, 1)
    old = load_keyring(key_file, {})
    new = add_key(key_file, old.active_id).active_id
    await store.resealing.run()

    async def last_look() -> Mapping[str, int]:
        async with store.resealing.settled() as in_use:
            return in_use

    async with database.writing() as connection:
        named = credentials.c.name == "c0"
        row = (await connection.execute(select(credentials).where(named).with_for_update())).one()
        looking = asyncio.create_task(last_look())
        done, _ = await asyncio.wait([looking], timeout=0.3)
        assert not done
        sealed = Seals(old).seal(SECRET, row.uid, row.secret_version)
        await connection.execute(update(credentials).where(named).values(sealed))
    assert await looking == {old.active_id: 1, new: 1}
