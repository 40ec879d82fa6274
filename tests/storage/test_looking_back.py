"""What configurations tell of a stored history: differences, changes of a run, what is found; on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import update

from netraven.errors import InputError
from netraven.history.configurations import Configurations, NoSuchVersion
from netraven.history.pattern import Pattern
from netraven.model import AUTO, Capture, Device, Exported, PlatformFound, Run, Selector
from netraven.platforms import Catalogue
from netraven.storage import schema
from netraven.storage.store import SqlStore
from tests.storage.facts import add_device, at, collected, start_run

SECRET = "c4n4ry-community"
PLATFORM = "cisco_iosxe"
TEXT = f"hostname r1\ninterface A\n mtu 1500\n!\nsnmp-server community {SECRET} RO\nntp clock-period 36029056\nend\n"
LARGER = TEXT.replace("1500", "9000").replace("36029056", "36029099")


@pytest.fixture
def configurations(store: SqlStore) -> Configurations:
    return Configurations(store.versions, Catalogue(), store.history_keys.marker)


async def collect(store: SqlStore, device: Device, text: str, seconds: float, kind: str = "running") -> Run:
    run = await start_run(store)
    entry = collected(run, device, started_at=at(seconds), duration_ms=0)
    await store.commit([replace(entry, captures=(Capture(text, kind),))])
    return run


async def test_the_last_change_and_any_other(store: SqlStore, configurations: Configurations) -> None:
    device = await add_device(store)
    for number, text in enumerate((TEXT, LARGER, LARGER.replace(SECRET, "another"))):
        await collect(store, device, text, number * 60)
    last = await configurations.diff("r1")
    assert last.old is not None
    assert (last.old.number, last.new.number) == (2, 3)
    changed = [line.text for hunk in last.diff.hunks for line in hunk.lines if line.mark != " "]
    assert [text[: len("snmp-server community <redacted:")] for text in changed] == [
        "snmp-server community <redacted:"
    ] * 2
    assert changed[0] != changed[1]
    first = await configurations.diff("r1", 1, at(60), context=0)
    assert [hunk.section for hunk in first.diff.hunks] == [("interface A",)]
    assert (first.diff.added, first.diff.removed) == (1, 1)
    raw = await configurations.diff("r1", raw=True)
    assert f"snmp-server community {SECRET} RO" in [
        line.text for hunk in raw.diff.hunks for line in hunk.lines
    ]
    with pytest.raises(NoSuchVersion):
        await configurations.diff("r1", 7)


async def test_the_only_version_is_compared_with_nothing(
    store: SqlStore, configurations: Configurations
) -> None:
    await collect(store, await add_device(store), TEXT, 0)
    change = await configurations.diff("r1")
    assert change.old is None
    assert (change.diff.added > 0, change.diff.removed) == (True, 0)


async def test_what_each_version_changed(store: SqlStore, configurations: Configurations) -> None:
    device = await add_device(store)
    for number, text in enumerate((TEXT, LARGER, LARGER + "! x\n! y\n", TEXT)):
        await collect(store, device, text, number * 60)
    newest = await configurations.history("r1", limit=3)
    changes = [change async for change in configurations.changes(reversed(newest))]
    assert [(c.old and c.old.number, c.new.number, c.diff.added, c.diff.removed) for c in changes] == [
        (1, 2, 1, 1), (2, 3, 2, 0), (3, 4, 1, 3),
    ]  # fmt: skip


async def test_a_damaged_version_costs_its_own_numbers_only(
    store: SqlStore, configurations: Configurations
) -> None:
    device = await add_device(store)
    for number, text in enumerate((TEXT, LARGER, TEXT + "! x\n", TEXT + "! y\n")):
        await collect(store, device, text, number * 60)
    (damaged,) = [v for v in await configurations.history("r1") if v.number == 2]
    async with store.database.writing() as connection:
        where = schema.blobs.c.sha256 == bytes.fromhex(damaged.sha256)
        await connection.execute(update(schema.blobs).where(where).values(data=b"spoilt"))
    history = reversed(await configurations.history("r1"))
    changes = [change async for change in configurations.changes(history)]
    assert [(change.new.number, change.problem is None) for change in changes] == [
        (1, True), (2, False), (3, False), (4, True),
    ]  # fmt: skip
    assert all(SECRET not in (change.problem or "") for change in changes)
    with pytest.raises(InputError, match="no version 9"):
        await configurations.diff("r1", 9)


async def test_what_no_platform_was_known_of_is_shown_once_one_is(
    store: SqlStore, configurations: Configurations
) -> None:
    device = await add_device(store, platform=AUTO)
    other = await add_device(store, "r2", platform=AUTO)
    for one in (device, other):
        await collect(store, one, TEXT, 0)
        await collect(store, one, LARGER, 60)
    for name in ("r1", "r2"):
        with pytest.raises(InputError, match="not on record which platform printed it"):
            await configurations.show(name)
    await store.commit([PlatformFound(device, PLATFORM)])
    await add_device(store, "r2", platform=PLATFORM)
    for name in ("r1", "r2"):
        first = await configurations.show(name, number=1)
        assert (first.version.platform, SECRET in first.text) == (PLATFORM, False)
        assert "snmp-server community <redacted:" in first.text
        assert [v.platform for v in await configurations.history(name)] == [PLATFORM] * 2
        exported = await store.exports.last(name, "running", Exported(through=1000))
        assert exported is not None
        assert exported.version.platform == PLATFORM
    async with store.archives.reading(Selector(tags=frozenset({"edge"}))) as past:
        assert [(found.version.platform, uses) async for found, uses in past.texts()] == [(PLATFORM, 2)] * 2
        async for one in past.devices():
            assert [row.platform for row in await past.versions(one)] == [PLATFORM] * 2


async def test_what_was_printed_by_another_platform_stays_its_own(
    store: SqlStore, configurations: Configurations
) -> None:
    await collect(store, await add_device(store), TEXT, 0)
    await add_device(store, platform="juniper_junos")
    assert (await configurations.show("r1")).version.platform == PLATFORM


async def test_everything_that_changed_in_a_run(store: SqlStore, configurations: Configurations) -> None:
    one, other = await add_device(store), await add_device(store, "r2", platform="of_nobody")
    await collect(store, one, TEXT, 0)
    await collect(store, other, TEXT, 0)
    run = await start_run(store)
    entries = [
        replace(
            collected(run, device, started_at=at(60)), captures=(Capture(LARGER), Capture("x\n", "version"))
        )
        for device in (one, other)
    ]
    await store.commit(entries)
    changes = [change async for change in configurations.changed_in(run.id)]
    assert [(c.new.device, c.new.kind, c.old is None, c.problem is None, c.diff.added) for c in changes] == [
        ("r1", "running", False, True, 1), ("r1", "version", True, True, 1),
        ("r2", "running", False, False, 0), ("r2", "version", True, False, 0),
    ]  # fmt: skip


async def test_searching_now_then_and_everything(store: SqlStore, configurations: Configurations) -> None:
    one, other = await add_device(store), await add_device(store, "r2", tags={"core"})
    await collect(store, one, TEXT, 0)
    await collect(store, one, LARGER, 60)
    await collect(store, other, TEXT, 30)
    mtu = Pattern(r"mtu \d+$", regex=True)

    async def find(
        pattern: Pattern, selector: Selector | None = None, **how: object
    ) -> list[tuple[str, int, str]]:
        found = configurations.search(pattern, selector or Selector(), **how)  # type: ignore[arg-type]  # as it is given
        return [(f.version.device, f.version.number, hit.text) async for f in found for hit in f.hits]

    assert await find(mtu) == [("r1", 2, " mtu 9000"), ("r2", 1, " mtu 1500")]
    assert await find(mtu, at=at(10)) == [("r1", 1, " mtu 1500")]
    assert await find(mtu, Selector(tags={"core"})) == [("r2", 1, " mtu 1500")]
    assert await find(mtu, every=True) == [
        ("r1", 1, " mtu 1500"), ("r1", 2, " mtu 9000"), ("r2", 1, " mtu 1500"),
    ]  # fmt: skip
    assert await find(mtu, kind="version") == []
    assert await find(Pattern(SECRET), every=True) == []
    assert len(await find(Pattern(SECRET), every=True, raw=True)) == 3


@pytest.mark.parametrize("every", [False, True])
async def test_a_damaged_text_is_told_and_the_others_are_searched(
    store: SqlStore, configurations: Configurations, every: bool
) -> None:
    for name in ("r1", "r2", "r3"):
        await collect(store, await add_device(store, name), TEXT.replace("r1", name), 0)
    (damaged,) = await configurations.history("r2")
    async with store.database.writing() as connection:
        where = schema.blobs.c.sha256 == bytes.fromhex(damaged.sha256)
        await connection.execute(update(schema.blobs).where(where).values(data=b"no longer what it was"))
    found = [one async for one in configurations.search(Pattern("mtu 1500"), Selector(), every=every)]
    told = {one.version.device: (len(one.hits), one.readable, one.problem is None) for one in found}
    assert told == {"r1": (1, True, True), "r2": (0, False, False), "r3": (1, True, True)}
