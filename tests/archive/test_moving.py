"""Histories taken along: identical elsewhere, once however often, and from nothing but a whole archive."""

from __future__ import annotations

import asyncio
import os
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard
from sqlalchemy import select, update

from netraven.archive import files
from netraven.archive.files import ArchiveRefused
from netraven.archive.lines import Form
from netraven.credentials.sealing import Keyring
from netraven.errors import DatabaseError, InputError, KeyringError
from netraven.history.retention import Limits
from netraven.model import StoredVersion
from netraven.storage import archives, schema
from netraven.storage.importing import PORTION, Added
from netraven.storage.seals import Seals
from netraven.storage.store import SqlStore
from netraven.storage.versions import texts_by_id
from tests.archive.pasts import CANARY, SECRETS, lasting, lines, live, read, rewritten, state, unpacked, write
from tests.canaries import Canaries
from tests.storage.facts import add_device
from tests.storage.pasts import count, edits, moment, remember, texts_of


@pytest.mark.parametrize("form", [Form.SEALED, Form.RAW])
async def test_elsewhere_it_is_the_same(
    store: SqlStore, other_store: SqlStore, tmp_path: Path, form: Form
) -> None:
    await live(store)
    path = tmp_path / "history.zst"
    out = await write(store, path, form)
    assert (out.devices, out.versions, out.texts) == (4, 12, 10)
    assert out.bytes == path.stat().st_size
    done = await read(other_store, path)
    assert (done.devices, done.versions, done.known) == (4, 12, 0)
    assert await state(other_store) == await state(store)
    assert list(await texts_of(other_store, "r1")) == [3, 4, 5, 6, 7]
    await write(store, tmp_path / "one", Form.RAW)
    await write(other_store, tmp_path / "two", Form.RAW)
    assert lasting(tmp_path / "one") == lasting(tmp_path / "two")
    again = await read(other_store, path)
    assert (again.devices, again.versions, again.known) == (0, 0, 12)
    assert await state(other_store) == await state(store)


async def test_the_same_history_makes_the_same_file(store: SqlStore, tmp_path: Path) -> None:
    await live(store)
    await write(store, tmp_path / "one")
    await write(store, tmp_path / "two")
    first, second = unpacked(tmp_path / "one"), unpacked(tmp_path / "two")
    assert first.split(b"\n")[1:-2] == second.split(b"\n")[1:-2]  # but for when it was made, and its digest


async def test_a_clock_that_went_back_changes_no_order(
    store: SqlStore, other_store: SqlStore, tmp_path: Path
) -> None:
    device = await add_device(store, "r1")
    first, *later = edits(4, size=1000)
    await remember(store, device, [first], first_day=90)
    await remember(
        store, device, [first, *later], first_day=10
    )  # the first one was seen again, before it was seen
    path = tmp_path / "history.zst"
    await write(store, path)
    assert (await read(other_store, path)).versions == 4
    assert await state(other_store) == await state(store)
    assert (await read(other_store, path)).known == 4


async def test_what_was_confirmed_since_the_last_import_is_so_there_too(
    store: SqlStore, other_store: SqlStore, tmp_path: Path
) -> None:
    device = await add_device(store, "r1")
    for day in (1, 9):
        await remember(store, device, ["hostname r1\n"], first_day=day)
        await write(store, tmp_path / "history.zst", force=True)
        await read(other_store, tmp_path / "history.zst")
        assert await state(other_store) == await state(store)


async def test_versions_told_apart_stay_so_wherever_an_archive_is_cut(
    store: SqlStore, other_store: SqlStore, tmp_path: Path
) -> None:
    await remember(store, await add_device(store, "r1"), [f"hostname r{n}\n" for n in range(PORTION + 1)])
    async with store.database.writing() as connection:  # as after a change of the rules
        await connection.execute(update(schema.snapshots).values(comparable=bytes(32)))
    await write(store, tmp_path / "history.zst")
    assert (await read(other_store, tmp_path / "history.zst")).versions == PORTION + 1
    assert await state(other_store) == await state(store)


async def test_a_prune_beside_an_import_takes_nothing_of_it(
    store: SqlStore, other_store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("r1", "r2"):
        await remember(store, await add_device(store, name), edits(3, name=name, size=1000))
    await write(store, tmp_path / "history.zst")
    merge = other_store.archives.merge

    async def pruned_before(*args: Any, **how: Any) -> Added:
        await other_store.pruning.run(Limits(), 0, moment(0))
        return await merge(*args, **how)

    monkeypatch.setattr(other_store.archives, "merge", pruned_before)
    assert (await read(other_store, tmp_path / "history.zst")).versions == 6
    assert await state(other_store) == await state(store)


async def test_a_version_without_its_text_is_said(store: SqlStore, tmp_path: Path) -> None:
    await live(store)
    async with store.database.reading() as connection:
        newest = (await connection.execute(select(schema.snapshots.c.sha256).limit(1))).scalar_one()

    async def without(*args: Any) -> dict[int, StoredVersion]:  # no foreign key lets a row go
        found = await texts_by_id(*args)
        return {key: one for key, one in found.items() if one.version.sha256 != newest.hex()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archives, "texts_by_id", without)
        with pytest.raises(DatabaseError, match="lack their text"):
            await write(store, tmp_path / "history.zst")
    assert list(tmp_path.glob("*history.zst*")) == []


async def test_what_is_collected_after_an_import_goes_on_from_it(
    store: SqlStore, other_store: SqlStore, tmp_path: Path
) -> None:
    texts = edits(4, size=2500)
    await remember(store, await add_device(store), texts[:3])
    await write(store, tmp_path / "a")
    await read(other_store, tmp_path / "a")
    device = (await other_store.inventory.get("r1")).device
    await remember(other_store, device, [texts[2], texts[3]], first_day=5)
    assert await texts_of(other_store, "r1") == dict(enumerate(texts, 1))


async def test_an_older_history_comes_in_before_what_is_there(
    store: SqlStore, other_store: SqlStore, tmp_path: Path
) -> None:
    texts = edits(6, size=2500)
    await remember(store, await add_device(store), texts[:4])
    await remember(other_store, await add_device(other_store, host="198.51.100.7"), texts[3:], first_day=10)
    await write(store, tmp_path / "a")
    dry = await read(other_store, tmp_path / "a", dry_run=True)
    assert await texts_of(other_store, "r1") == dict(enumerate(texts[3:], 1))
    done = await read(other_store, tmp_path / "a")
    assert (dry.versions, dry.known) == (done.versions, done.known) == (3, 1)
    assert await texts_of(other_store, "r1") == dict(enumerate(texts, 1))
    fourth = (await other_store.versions.history("r1", "running"))[2]
    assert fourth.first_seen_at == moment(3)  # so long it has been in force
    assert (await other_store.inventory.get("r1")).device.host == "198.51.100.7"


async def test_a_selection_takes_only_what_belongs_to_it(
    store: SqlStore, other_store: SqlStore, tmp_path: Path
) -> None:
    await live(store)
    out = await write(store, tmp_path / "a", tags=["core"], names=["r2"])
    assert (out.devices, out.versions, out.texts) == (1, 4, 3)
    await read(other_store, tmp_path / "a")
    assert [row[0] for row in await state(other_store)] == ["r2"] * 5


async def test_only_devices_that_are_there(store: SqlStore, other_store: SqlStore, tmp_path: Path) -> None:
    await live(store)
    await add_device(other_store, "r3")
    await write(store, tmp_path / "a")
    done = await read(other_store, tmp_path / "a", existing_only=True)
    assert (done.devices, done.versions) == (0, 1)
    assert done.skipped == ["r1", "r2", "r4-never-collected"]
    assert await texts_of(other_store, "r3") == {1: SECRETS}


async def test_long_histories_come_in_in_parts(
    store: SqlStore, other_store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from netraven.archive import moving

    monkeypatch.setattr(moving, "PORTION", 4)
    monkeypatch.setattr(moving, "AT_ONCE", 3)
    monkeypatch.setattr(moving, "_BYTES", 2000)
    await live(store)
    await remember(store, await add_device(store, "r9"), [f"text {n}\n" for n in range(21)])
    await write(store, tmp_path / "a", Form.SEALED)
    await read(other_store, tmp_path / "a")
    assert await state(other_store) == await state(store)


async def test_an_import_that_was_cancelled_is_gone_on_with(
    store: SqlStore, other_store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live(store)
    await write(store, tmp_path / "a")
    merge = other_store.archives.merge
    calls = 0

    async def cancelled(*args: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise asyncio.CancelledError
        return await merge(*args, **options)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(other_store.archives, "merge", cancelled)
    with pytest.raises(asyncio.CancelledError):
        await read(other_store, tmp_path / "a")
    monkeypatch.undo()
    done = await read(other_store, tmp_path / "a")
    assert done.versions
    assert await state(other_store) == await state(store)


# ---- secrets


@pytest.mark.parametrize("form", [Form.SEALED, Form.REDACTED])
async def test_no_secret_is_in_it(store: SqlStore, tmp_path: Path, form: Form) -> None:
    await live(store)
    path = tmp_path / "a"
    await write(store, path, form)
    hunt = Canaries({"community": CANARY})
    hunt.hunt("archive", path.read_bytes())
    hunt.hunt("lines", unpacked(path))
    assert not hunt.sightings
    (version,) = await store.versions.history("r3", "running")
    assert version.sha256.encode() not in unpacked(path)  # it would tell the secret to whoever guesses
    raw = tmp_path / "raw"
    await write(store, raw, Form.RAW)
    hunt.hunt("raw", unpacked(raw))
    assert hunt.sightings  # it can be found


async def test_marks_in_the_place_of_secrets_cannot_be_imported(store: SqlStore, tmp_path: Path) -> None:
    await live(store)
    await write(store, tmp_path / "a", Form.REDACTED)
    digests = {line["sha256"] for line in lines(tmp_path / "a") if line["type"] == "version"}
    assert digests == {line["sha256"] for line in lines(tmp_path / "a") if line["type"] == "text"}
    with pytest.raises(ArchiveRefused, match="for giving away"):
        await read(store, tmp_path / "a")


async def test_a_sealed_one_needs_the_key_it_was_sealed_with(
    store: SqlStore, other_store: SqlStore, tmp_path: Path
) -> None:
    await live(store)
    await write(store, tmp_path / "a", Form.SEALED)
    stranger = SqlStore(other_store.database, Seals(Keyring.generate()))
    with pytest.raises(KeyringError, match=r"another installation.*--raw"):
        await read(stranger, tmp_path / "a")
    without = SqlStore(other_store.database, Seals(None))
    with pytest.raises(KeyringError, match="no key here"):
        await read(without, tmp_path / "a")
    assert await state(other_store) == []


async def test_only_the_owner_can_read_it(store: SqlStore, tmp_path: Path) -> None:
    await live(store)
    before = os.umask(0)
    try:
        await write(store, tmp_path / "a", Form.RAW)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


# ---- the file


async def test_a_file_that_is_there_is_left_alone(store: SqlStore, tmp_path: Path) -> None:
    await live(store)
    path = tmp_path / "a"
    path.write_text("mine")
    with pytest.raises(InputError, match="--force replaces it"):
        await write(store, path)
    assert path.read_text() == "mine"
    await write(store, path, force=True)
    assert lines(path)[0]["format"] == "netraven-history"
    assert list(tmp_path.glob(".*")) == []


async def test_one_that_came_meanwhile_is_left_alone_too(
    store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live(store)
    path = tmp_path / "a"
    put = files.Writer._put

    def late(writer: files.Writer) -> None:
        path.write_text("mine")
        put(writer)

    monkeypatch.setattr(files.Writer, "_put", late)
    with pytest.raises(InputError, match="exists by now"):
        await write(store, path)
    assert path.read_text() == "mine"
    assert list(tmp_path.glob(".*")) == []


async def test_where_it_cannot_be_written_there_is_nothing(store: SqlStore, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        await write(store, tmp_path / "no" / "folder")


async def test_what_a_killed_export_left_is_removed_by_the_next(store: SqlStore, tmp_path: Path) -> None:
    (tmp_path / ".a.12345.part").write_bytes(b"half")
    (tmp_path / ".other.12345.part").write_bytes(b"not ours")
    await write(store, tmp_path / "a")
    assert sorted(path.name for path in tmp_path.iterdir() if "part" in path.name) == [".other.12345.part"]


async def test_a_damaged_text_ends_the_export_and_leaves_no_file(store: SqlStore, tmp_path: Path) -> None:
    from sqlalchemy import update

    await live(store)
    async with store.database.writing() as connection:
        await connection.execute(update(schema.blobs).values(data=b"damaged"))
    with pytest.raises(DatabaseError, match="cannot be decrypted"):
        await write(store, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    assert not list(tmp_path.glob(".*"))


async def test_it_is_made_of_one_moment(
    store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions that come, and versions that go, while it is written."""
    from netraven.history.retention import Limits
    from netraven.storage.archives import Past

    await live(store)
    await write(store, tmp_path / "before")
    device = (await store.inventory.get("r1")).device
    read_texts = Past.texts
    meanwhile = False

    async def texts(past: Past):  # type: ignore[no-untyped-def]  # as the original
        nonlocal meanwhile
        async for one in read_texts(past):
            if not meanwhile:
                meanwhile = True
                await remember(store, device, ["new"], first_day=50)
                await store.pruning.run(Limits(versions=1), 0, moment(100))
            yield one

    monkeypatch.setattr(Past, "texts", texts)
    await write(store, tmp_path / "while")
    assert lasting(tmp_path / "while") == lasting(tmp_path / "before")
    assert len(await texts_of(store, "r1")) == 1


def test_the_usual_tools_read_it(tmp_path: Path) -> None:
    """`zstd -dc` takes one frame after the other, each with a window of 128 MB at the most (its `--memory`)."""
    from netraven.archive.lines import Header
    from netraven.model import utcnow

    for form in (Form.RAW, Form.REDACTED):
        with files.Writer(tmp_path / form.value, Header(utcnow(), form), None, force=False) as writer:
            writer.finish()
        frame = zstandard.get_frame_parameters((tmp_path / form.value).read_bytes())
        assert frame.window_size <= 128 << 20
        assert frame.dict_id == 0


# ---- what is no archive


async def test_of_a_damaged_archive_nothing_comes_in(
    store: SqlStore, other_store: SqlStore, tmp_path: Path
) -> None:
    await live(store)
    await write(store, tmp_path / "a", Form.SEALED)
    data = (tmp_path / "a").read_bytes()
    damaged = tmp_path / "damaged"
    for place in range(0, len(data), max(1, len(data) // 40)):
        damaged.write_bytes(data[:place])
        with pytest.raises(ArchiveRefused, match="Nothing was changed"):
            await read(other_store, damaged)
    for more in (b"\0", data):
        damaged.write_bytes(data + more)
        with pytest.raises(ArchiveRefused, match="follows its end"):
            await read(other_store, damaged)
    assert await state(other_store) == []


async def test_lines_that_do_not_fit_are_named(
    store: SqlStore, other_store: SqlStore, tmp_path: Path
) -> None:
    await live(store)
    await write(store, tmp_path / "a")
    good = lines(tmp_path / "a")
    place = {line["type"]: number for number, line in enumerate(good)}
    device, text, version, end = (place[name] for name in ("device", "text", "version", "end"))

    def changed(which: int, **values: object) -> list[dict[str, object]]:
        return [{**line, **values} if n == which else line for n, line in enumerate(good)]

    late = (moment(9) - timedelta(days=999)).isoformat()
    cases = {
        "follows versions without their texts": [*good[:text], *good[text + 1 :]],
        "texts without versions": [*good[:version], good[end]],
        "is out of order": [good[0], *good[2:4], good[1], *good[4:]],
        f"line {text + 1} is a text of another digest": changed(text, sha256="0" * 64),
        f"line {version + 1} is of a device that is not in it": changed(version, device="r9"),
        f"line {version + 1} is of a version that cannot be": changed(version, last_seen_at=late),
        f"line {version + 1} has no number": changed(version, number=True),
        f"line {version + 1} has a kind that cannot be": changed(version, kind="run\nning"),
        f"line {device + 1} is of a device that cannot be": changed(device, port=0),
        f"line {device + 1} has tags that are none": changed(device, tags=[1]),
        f"line {text + 1} is a text of no version": changed(text, versions=0),
        "line 1 has no created_at": changed(0, created_at="2026-11-22T00:00:00"),
        "line 1 is of version 2 of the format: upgrade": changed(0, version=2),
        "line 1 is of another format": changed(0, format="tar"),
        "line 2 has no type that is known": changed(1, type="\x1b]0;\x07"),
    }
    for why, found in cases.items():
        bad = rewritten(tmp_path / "a", tmp_path / "bad", found)
        with pytest.raises(ArchiveRefused) as caught:
            await read(other_store, bad)
        assert why in str(caught.value), why
        assert "\x1b" not in str(caught.value)
    assert await state(other_store) == []
    assert await count(other_store, schema.blobs) == 0
    whole = rewritten(tmp_path / "a", tmp_path / "whole", good)
    assert (await read(other_store, whole)).versions == 12


async def test_what_is_no_archive_at_all(store: SqlStore, tmp_path: Path) -> None:

    path = tmp_path / "a"
    bomb = zstandard.ZstdCompressor().compress(b"\0" * 400_000_000)
    for data, why in (
        (b"", "a part is missing"),
        (b"hostname r1\n", "no zstd stream"),
        (zstandard.compress(b"hostname r1\n"), "line 1 is not JSON"),
        (zstandard.compress(b"[" * 100_000 + b"\n"), "line 1 is not JSON"),
        (zstandard.compress(b'{"type":"header"}'), "it ends within line 1"),
        (bomb, "longer than any can be"),
    ):
        path.write_bytes(data)
        with pytest.raises(ArchiveRefused, match=why):
            await read(store, path)
    with pytest.raises(InputError, match="cannot be read"):
        await read(store, tmp_path / "none")
    with pytest.raises(InputError, match="cannot be read"):
        await read(store, tmp_path)
