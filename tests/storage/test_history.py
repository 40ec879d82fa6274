"""Versions: what makes one, what does not, how they are kept, and how they are read back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from netraven.credentials.sealing import Keyring
from netraven.errors import DatabaseError, KeyringError, SecretUnreadable
from netraven.model import Capture, Device, Selector, StoredVersion, Version
from netraven.platforms import Catalogue
from netraven.storage import schema
from netraven.storage.engine import Database
from netraven.storage.store import SqlStore
from tests.storage.facts import add_device, at, collected, start_run

CONFIG = """\
Building configuration...

Current configuration : 3121 bytes
!
! Last configuration change at 11:02:03 UTC Tue Nov 24 2026 by ops
hostname r1
snmp-server community c4n4ry-community RO
ntp clock-period 36029056
end
"""
LATER = CONFIG.replace("3121", "3120").replace("11:02:03", "23:10:59").replace("36029056", "36029099")


async def collect(
    store: SqlStore, device: Device, text: str, seconds: float = 0, kind: str = "running", **more: Any
) -> bool | None:
    run = await start_run(store)
    entry = collected(run, device, started_at=at(seconds))
    (outcome,) = await store.commit([replace(entry, captures=(Capture(text, kind, **more),))])
    changed: bool | None = outcome.changed
    return changed


async def rows(store: SqlStore, table: Any) -> list[Any]:
    async with store.database.reading() as connection:
        return list((await connection.execute(select(table))).mappings())


async def everything(found: AsyncIterator[StoredVersion]) -> list[tuple[str, str, int]]:
    return [(one.version.device, one.version.kind, one.version.number) async for one in found]


# ---- what makes a version


async def test_what_changes_by_itself_makes_none_and_the_first_text_is_kept(store: SqlStore) -> None:
    device = await add_device(store)
    assert [await collect(store, device, CONFIG), await collect(store, device, LATER, 60)] == [True, False]
    (row,) = await rows(store, schema.snapshots)
    assert (row["version"], row["last_seen_at"]) == (1, at(60.4))
    told = {outcome["snapshot"] for outcome in await rows(store, schema.run_outcomes)}
    assert told == {row["sha256"].hex()}, "reports speak of the version that is there"
    current = await store.versions.current("r1", "running")
    assert current is not None
    assert current.text == CONFIG
    assert len(await rows(store, schema.blobs)) == 1


async def test_one_changed_character_does(store: SqlStore) -> None:
    device = await add_device(store)
    await collect(store, device, CONFIG)
    assert await collect(store, device, LATER.replace("hostname r1", "hostname r2"), 60) is True
    assert [v.number for v in await store.versions.history("r1", "running")] == [2, 1]


async def test_many_devices_and_kinds_in_one_transaction(store: SqlStore) -> None:
    devices = [await add_device(store, f"r{n}") for n in range(4)]
    runs = [await start_run(store) for _ in range(3)]
    entries = []
    for n, run in enumerate(
        runs
    ):  # the same device more than once in one batch: runs that go on side by side
        for device in devices:
            captures = (Capture(f"hostname {device.name} {n // 2}\n"), Capture(f"IOS {n}\n", "version"))
            entries.append(replace(collected(run, device, started_at=at(n * 10)), captures=captures))
    outcomes = await store.commit(entries)
    assert [outcome.changed for outcome in outcomes] == [True] * 12
    for device in devices:
        running = await store.versions.history(device.name, "running")
        assert [(v.number, v.run) for v in running] == [(2, runs[2].id), (1, runs[0].id)]
        assert (running[1].first_seen_at, running[1].last_seen_at) == (at(0.4), at(10.4))
        assert [v.number for v in await store.versions.history(device.name, "version")] == [3, 2, 1]


def catalogue(folder: Path, volatile: str) -> Catalogue:
    folder.mkdir(exist_ok=True)
    (folder / "ours.toml").write_text(
        f'title = "Ours"\nprompt = "^>$"\nvolatile = [{volatile}]\n[outputs]\nrunning = "show"\n'
    )
    return Catalogue(folder)


async def test_a_new_rule_makes_no_version(database: Database, tmp_path: Path) -> None:
    keyring = Keyring.generate()
    before = SqlStore(database, keyring, catalogue=catalogue(tmp_path / "a", ""))
    device = await add_device(before, platform="ours")
    assert await collect(before, device, "up 5 days\nhostname r1\n") is True
    after = SqlStore(database, keyring, catalogue=catalogue(tmp_path / "b", "'^up .*$'"))
    assert await collect(after, device, "up 6 days\nhostname r1\n", 60) is False
    assert await collect(after, device, "up 7 days\nhostname r1\n", 120) is False
    assert await collect(after, device, "up 7 days\nhostname r2\n", 180) is True


async def test_versions_of_an_older_database_are_compared_too(store: SqlStore) -> None:
    """They have no digest of what is comparable: it is made when it is first needed."""
    device = await add_device(store)
    await collect(store, device, CONFIG)
    async with store.database.writing() as connection:
        await connection.execute(update(schema.snapshots).values(comparable=None))
    assert await collect(store, device, LATER, 60) is False
    (row,) = await rows(store, schema.snapshots)
    assert row["comparable"] is not None


async def test_a_platform_that_is_gone_makes_a_version_too_many_at_worst(store: SqlStore) -> None:
    device = await add_device(store, platform="cisco_iosxe")
    await collect(store, device, CONFIG, platform="gone")
    assert await collect(store, device, CONFIG, 60, platform="gone") is False
    assert await collect(store, device, LATER, 120, platform="gone") is True


async def test_the_dialect_that_printed_it_is_kept_with_it(store: SqlStore) -> None:
    device = await add_device(store, platform="auto")
    await collect(store, device, CONFIG, platform="arista_eos")
    (version,) = await store.versions.history("r1", "running")
    assert version.platform == "arista_eos"


# ---- at rest


async def test_nothing_of_a_configuration_is_stored_in_clear(store: SqlStore) -> None:
    await collect(store, await add_device(store), CONFIG)
    (blob,) = await rows(store, schema.blobs)
    assert blob["sealed"] is True
    plain = SqlStore(store.database, None, encrypt=False)
    await collect(plain, await add_device(store, "r2"), CONFIG.replace("r1", "r2"))
    clear = {row["sealed"]: bytes(row["data"]) for row in await rows(store, schema.blobs)}
    assert clear[False].startswith(b"\x28\xb5\x2f\xfd"), "zstd's magic number: it is compressed only"
    assert b"\x28\xb5\x2f\xfd" not in clear[True]


async def test_without_its_key_it_cannot_be_read_and_with_another_neither(store: SqlStore) -> None:
    await collect(store, await add_device(store), CONFIG)
    with pytest.raises(DatabaseError, match=r"version 1 \(running\) of r1 is encrypted"):
        await SqlStore(store.database, None).versions.current("r1", "running")
    with pytest.raises(
        DatabaseError, match="the key of stored configurations cannot be opened: sealed with key"
    ):
        await SqlStore(store.database, Keyring.generate()).versions.current("r1", "running")


async def test_without_a_key_nothing_is_stored_in_clear_instead(store: SqlStore) -> None:
    keyless = SqlStore(store.database, None)
    device = await add_device(store)
    with pytest.raises(KeyringError):
        await collect(keyless, device, CONFIG)
    assert await rows(store, schema.blobs) == []


async def test_a_text_that_was_moved_to_another_row_does_not_open(store: SqlStore) -> None:
    for name in ("r1", "r2"):
        await collect(store, await add_device(store, name), CONFIG.replace("hostname r1", f"hostname {name}"))
    first, second = await rows(store, schema.blobs)
    async with store.database.writing() as connection:
        moved = update(schema.blobs).where(schema.blobs.c.sha256 == first["sha256"])
        await connection.execute(moved.values(data=second["data"], size=second["size"]))
    read = [store.versions.current(name, "running") for name in ("r1", "r2")]
    answers = []
    for one in read:
        try:
            answers.append(await one)
        except DatabaseError as error:
            assert "cannot be decrypted" in str(error)  # noqa: PT017 - which of the two it is depends on digests
    assert len(answers) == 1


@pytest.mark.parametrize("encrypt", [True, False])
async def test_a_damaged_text_is_reported_and_collecting_goes_on(store: SqlStore, encrypt: bool) -> None:
    writing = SqlStore(store.database, Keyring.generate(), encrypt=encrypt)
    device = await add_device(store)
    await collect(writing, device, CONFIG)
    (blob,) = await rows(store, schema.blobs)
    data = bytearray(blob["data"])
    data[len(data) // 2] ^= 0x40
    async with store.database.writing() as connection:
        await connection.execute(update(schema.blobs).values(data=bytes(data)))
    with pytest.raises(DatabaseError, match=r"version 1 \(running\) of r1 (is damaged|cannot be decrypted)"):
        await writing.versions.current("r1", "running")
    assert await collect(writing, device, LATER, 60) is False, "its digest is well: nothing has changed"
    assert await collect(writing, device, CONFIG + "!\n", 120) is True
    newest = await writing.versions.current("r1", "running")
    assert newest is not None
    assert newest.text == CONFIG + "!\n"


async def test_a_damaged_key_of_configurations_is_named(store: SqlStore) -> None:
    device = await add_device(store)
    await collect(store, device, CONFIG)
    async with store.database.writing() as connection:
        await connection.execute(update(schema.history_keys).values(sealed_key=b"\0" * 80))
    again = SqlStore(store.database, store.vault.seals)
    with pytest.raises(
        SecretUnreadable, match=r"the key of stored configurations cannot be opened: .*damaged"
    ):
        await collect(again, device, CONFIG + "!\n", 60)
    assert await collect(again, device, CONFIG, 60) is False, "what is the same needs no key"


async def test_a_damaged_text_that_is_seen_again_is_whole_again(store: SqlStore) -> None:
    device = await add_device(store)
    for place, text in enumerate([CONFIG, CONFIG + "!\n", CONFIG + "!!\n", CONFIG + "!!!\n"]):
        await collect(store, device, text, 60 * place)
    await store.packing.run()
    async with store.database.writing() as connection:
        outdated = update(schema.blobs).where(schema.blobs.c.codec != "zstd")
        assert (await connection.execute(outdated.values(data=b"\0" * 50))).rowcount == 3
    for place, text in enumerate([CONFIG, CONFIG + "!\n", CONFIG + "!!\n"], 10):
        assert await collect(store, device, text, 60 * place) is True
    history = await store.versions.history("r1", "running")
    assert len(history) == 7
    for version in history:
        assert await store.versions.numbered("r1", "running", version.number) is not None


async def test_rotating_the_keyring_seals_a_few_rows_and_new_texts_have_a_new_key(database: Database) -> None:
    keys = [bytes([n]) * 32 for n in range(2)]
    old = SqlStore(database, Keyring(keys[:1]))
    device = await add_device(old)
    await collect(old, device, CONFIG)
    mark = (await old.history_keys.marker()).mark("secret")
    blob = (await rows(old, schema.blobs))[0]["data"]

    both = SqlStore(database, Keyring(keys[::-1]))
    assert (await both.resealing.run()).done == 2
    assert set(await both.resealing.keys_in_use()) == {Keyring(keys[1:]).active_id}
    assert (await both.resealing.run()).done == 0, "twice is harmless"

    new = SqlStore(database, Keyring(keys[1:]))
    assert (await rows(new, schema.blobs))[0]["data"] == blob
    current = await new.versions.current("r1", "running")
    assert current is not None
    assert current.text == CONFIG
    assert (await new.history_keys.marker()).mark("secret") == mark, "or every secret would look changed"
    await collect(new, device, CONFIG + "!\n", 60)
    header = {bytes(row["data"])[1:9] for row in await rows(new, schema.blobs)}
    assert len(header) == 2, "texts of a time before and after"
    assert await collect(both, device, CONFIG, 120) is True
    await both.versions.numbered("r1", "running", 2)
    with pytest.raises(DatabaseError, match="cannot be decrypted"):
        await SqlStore(database, Keyring(keys[:1])).versions.numbered("r1", "running", 1)


async def test_processes_that_were_there_before_a_rotation_go_on(database: Database) -> None:
    keyring = Keyring([bytes(32), bytes([1]) * 32])
    early, other = SqlStore(database, keyring), SqlStore(database, keyring)
    device = await add_device(early)
    await collect(early, device, CONFIG)
    rotated = SqlStore(database, Keyring([bytes([1]) * 32, bytes(32)]))
    await rotated.resealing.run()
    await collect(rotated, device, CONFIG + "!\n", 60)
    for store in (early, other):
        newest = await store.versions.current("r1", "running")
        assert newest is not None
        assert newest.text == CONFIG + "!\n"
    assert await collect(early, device, CONFIG, 120) is True


async def test_two_that_make_the_first_mark_at_once_make_the_same(store: SqlStore) -> None:
    other = SqlStore(store.database, store.vault.seals)
    one, two = await store.history_keys.marker(), await other.history_keys.marker()
    assert one.mark("secret") == two.mark("secret")


# ---- reading


@pytest.fixture
async def past(store: SqlStore) -> SqlStore:
    """Three devices; r1 changed twice, an hour apart; r2 has two kinds; nothing of r3."""
    for n, name in enumerate(("r1", "r2", "r3")):
        await add_device(store, name, tags={"edge", f"site{n}"})
    r1 = (await store.inventory.get("r1")).device
    r2 = (await store.inventory.get("r2")).device
    for n in range(3):
        await collect(store, r1, f"hostname r1\nversion {n}\n", n * 3600)
    await collect(store, r2, "hostname r2\n", 1800)
    await collect(store, r2, "IOS 17\n", 1800, "version")
    return store


def number(stored: StoredVersion | None) -> int | None:
    return None if stored is None else stored.version.number


async def test_by_number_by_time_and_the_one_before(past: SqlStore) -> None:
    versions = past.versions
    assert [number(await versions.numbered("r1", "running", n)) for n in (0, 1, 3, 4)] == [None, 1, 3, None]
    moments = [(-1.0, None), (0.4, 1), (3600.3, 1), (3600.4, 2), (1e6, 3)]
    for seconds, expected in moments:
        assert number(await versions.at("r1", "running", at(seconds))) == expected, seconds
    newest: Version = (await versions.history("r1", "running"))[0]
    assert number(await versions.before(newest)) == 2
    assert await versions.before((await versions.history("r2", "running"))[0]) is None
    assert await versions.kinds("r2") == ["running", "version"]
    assert [v.number for v in await versions.history("r1", "running", limit=1)] == [3]
    async with past.database.writing() as connection:  # as retention does: the gap stays
        await connection.execute(delete(schema.snapshots).where(schema.snapshots.c.version == 2))
    assert number(await versions.before(newest)) == 1
    assert number(await versions.at("r1", "running", at(3601))) == 1


async def test_the_whole_fleet_at_a_time_and_every_version(past: SqlStore) -> None:
    def all_at(kind: str | None, moment: datetime | None = None, **who: Any) -> Any:
        return everything(past.versions.all_at(Selector(**who), kind, moment))

    assert await all_at("running") == [("r1", "running", 3), ("r2", "running", 1)]
    assert await all_at(None) == [("r1", "running", 3), ("r2", "running", 1), ("r2", "version", 1)]
    assert await all_at("running", at(60)) == [("r1", "running", 1)]
    assert await all_at("running", tags={"site1"}) == [("r2", "running", 1)]
    assert await all_at("running", names={"r1", "nobody"}) == [("r1", "running", 3)]
    assert await everything(past.versions.every(Selector())) == [
        *(("r1", "running", n) for n in (1, 2, 3)),
        ("r2", "running", 1),
        ("r2", "version", 1),
    ]
    assert await everything(past.versions.every(Selector(tags={"site1"}), "version")) == [
        ("r2", "version", 1)
    ]


async def test_pages_follow_each_other_without_a_gap(past: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = await everything(past.versions.every(Selector()))
    latest = await everything(past.versions.all_at(Selector(), None))
    monkeypatch.setattr("netraven.storage.versions.PAGE", 2)
    assert await everything(past.versions.every(Selector())) == whole
    assert await everything(past.versions.all_at(Selector(), None)) == latest


async def test_what_became_new_in_a_run_with_what_it_took_the_place_of(past: SqlStore) -> None:
    run = await start_run(past)
    r1, r2, r3 = [(await past.inventory.get(name)).device for name in ("r1", "r2", "r3")]
    texts = ((r3, "hostname r3\n"), (r1, "hostname r1\nversion 9\n"), (r2, "hostname r2\n"))
    await past.commit([collected(run, device, text=text, started_at=at(9999)) for device, text in texts])
    found = [
        (number(old), new.version.device, new.text) async for old, new in past.versions.changed_in(run.id)
    ]
    assert found == [(3, "r1", "hostname r1\nversion 9\n"), (None, "r3", "hostname r3\n")]
    assert [one async for one in past.versions.changed_in(10**6)] == []


async def test_a_key_that_does_not_open_stops_a_run_before_it_logs_in(store: SqlStore) -> None:
    await collect(store, await add_device(store), CONFIG)
    await store.prepare_run()
    with pytest.raises(SecretUnreadable, match="key"):
        await SqlStore(store.database, Keyring.generate()).prepare_run()
    await SqlStore(store.database, Keyring.generate(), encrypt=False).prepare_run()
