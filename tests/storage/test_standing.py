"""Devices that were not collected for long, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import insert

from netraven.model import JUMP_HOST, PlatformFound, Selector, StaleDevice, utcnow
from netraven.storage import standing
from netraven.storage.schema import device_standing
from netraven.storage.store import SqlStore
from tests.storage.facts import add_device

DAY = timedelta(days=1)


async def stands(store: SqlStore, name: str, age: timedelta | None, reason: str | None = None) -> None:
    """A device that was collected so long ago (None: never), and tried a moment ago."""
    key = (await store.inventory.get(name)).device.id
    now = utcnow()
    values = {
        "device_id": key,
        "collected_at": None if age is None else now - age,
        "tried_at": now,
        "reason": reason,
    }
    async with store.database.writing() as connection:
        await connection.execute(insert(device_standing), [values])


async def stale(store: SqlStore, selector: Selector = Selector(), age: timedelta = DAY) -> list[StaleDevice]:
    before = utcnow() - age
    found = [device async for device in store.standing.stale(selector, before)]
    assert await store.standing.count(selector, before) == len(found)
    return found


async def names(store: SqlStore, selector: Selector = Selector(), age: timedelta = DAY) -> list[str]:
    return [device.name for device in await stale(store, selector, age)]


@pytest.fixture
async def fleet(store: SqlStore) -> SqlStore:
    for name in ("fresh", "old", "older", "never", "unknown", "another"):
        await add_device(store, name, tags={"edge", name})
    await add_device(store, "hop", platform=JUMP_HOST)
    await stands(store, "fresh", timedelta(hours=1))
    await stands(store, "old", timedelta(hours=25), "unreachable")
    await stands(store, "older", timedelta(days=9), "auth_refused")
    await stands(store, "never", None, "no_credentials")
    return store


async def test_those_that_never_were_come_first_and_then_the_oldest(fleet: SqlStore) -> None:
    assert await names(fleet) == ["another", "never", "unknown", "older", "old"]
    assert await names(fleet, age=2 * DAY) == ["another", "never", "unknown", "older"]
    assert await names(fleet, age=timedelta(minutes=30)) == [
        "another", "never", "unknown", "older", "old", "fresh",
    ]  # fmt: skip


async def test_a_device_comes_with_all_that_a_person_asks(fleet: SqlStore) -> None:
    found = {device.name: device for device in await stale(fleet)}
    old, never, unknown = found["old"], found["never"], found["unknown"]
    assert (old.platform, old.reason) == ("cisco_iosxe", "unreachable")
    assert old.tags == {"edge", "old"}
    assert old.collected_at is not None
    assert old.tried_at is not None
    assert utcnow() - old.collected_at > DAY > utcnow() - old.tried_at
    assert (never.collected_at, never.reason) == (None, "no_credentials")
    assert never.tried_at is not None
    assert (unknown.collected_at, unknown.tried_at, unknown.reason) == (None, None, None)


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        (Selector(tags={"old", "fresh"}), ["old"]),
        (Selector(names={"older", "never", "fresh"}), ["never", "older"]),
        (Selector(patterns={"old*"}), ["older", "old"]),
        (Selector(without_tags={"never"}, without_patterns={"old*"}), ["another", "unknown"]),
        (Selector(platforms={"arista_eos"}), []),
        (Selector(tags={"nothing"}), []),
    ],
)
async def test_only_those_that_are_selected(fleet: SqlStore, selector: Selector, found: list[str]) -> None:
    assert await names(fleet, selector) == found


async def test_nothing_is_stale_where_there_is_nothing(store: SqlStore) -> None:
    assert await names(store) == []


async def test_they_are_read_page_by_page(fleet: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = await names(fleet)
    for size in (1, 2, 3, 5):
        monkeypatch.setattr(standing, "PAGE", size)
        assert await names(fleet) == whole, size


async def test_the_same_moment_is_told_apart_by_name(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "PAGE", 2)
    now = utcnow()
    rows = []
    for name in ("e", "c", "a", "d", "b"):
        device = await add_device(store, name)
        rows.append({"device_id": device.id, "collected_at": now - 3 * DAY})
    async with store.database.writing() as connection:
        await connection.execute(insert(device_standing), rows)
    assert await names(store) == ["a", "b", "c", "d", "e"]


async def test_a_platform_that_was_found_out_is_told(store: SqlStore) -> None:
    device = await add_device(store, "auto", platform="auto")
    assert [d.platform for d in await stale(store)] == ["auto"]
    await store.commit([PlatformFound(device, "arista_eos")])
    assert [d.platform for d in await stale(store)] == ["arista_eos"]
