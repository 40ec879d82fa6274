from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from netraven.errors import InputError, RowRefused
from netraven.model import ConnectionCut, Device, HostKey, HostKeySeen, PlatformFound, Selector
from netraven.storage.inventory import Upserted
from netraven.storage.selecting import PAGE
from netraven.storage.store import SqlStore
from tests.storage.facts import add_credential, add_device


def device(name: str, *tags: str, host: str = "192.0.2.1") -> Device:
    return Device(name, host, "cisco_iosxe", 22, frozenset(tags))


async def test_an_import_adds_changes_and_leaves(store: SqlStore) -> None:
    upsert = store.inventory.upsert_devices
    assert await upsert([device("r1", "a"), device("r2", "a", "b")]) == Upserted(added=2)
    ids = {target.device.name: target.device.id async for target in store.targets(Selector())}
    again = [device("r1", "a"), device("r2", "b", "c", host="192.0.2.9"), device("r3")]
    assert await upsert(again, dry_run=True) == Upserted(1, 1, 1)
    assert await store.count(Selector()) == 2
    assert await upsert(again) == Upserted(1, 1, 1)
    assert list(await store.inventory.list()) == again
    assert (await store.inventory.get("r2")).device.id == ids["r2"]


async def test_a_failed_import_changes_nothing(store: SqlStore) -> None:
    many = [device(f"r{n:04}", "a") for n in range(PAGE + 1)]
    with pytest.raises(RowRefused, match=r"UNIQUE|unique|duplicate"):
        await store.inventory.upsert_devices([*many, device("twice"), device("twice")])
    assert await store.count(Selector()) == 0


async def test_targets_come_by_name_over_many_pages(store: SqlStore) -> None:
    names = sorted(f"r{n}" for n in range(2 * PAGE + 1))
    await store.inventory.upsert_devices(
        [device(name, "odd" if name[-1] in "13579" else "even") for name in names]
    )
    assert [target.device.name async for target in store.targets(Selector())] == names
    odd = Selector(tags=frozenset({"odd", "absent"}))
    expected = [name for name in names if name[-1] in "13579"]
    assert [target.device.name async for target in store.targets(odd)] == expected
    assert await store.count(odd) == len(expected)
    some = Selector(tags=frozenset({"odd"}), names=frozenset(names[:PAGE] + names[-300:]) | {"absent"})
    expected = [name for name in (*names[:PAGE], *names[-300:]) if name[-1] in "13579"]
    assert [target.device.name async for target in store.targets(some)] == expected
    assert await store.count(some) == len(expected)


async def test_names_sort_by_bytes_on_every_database(store: SqlStore) -> None:
    names = ["r1", "R2", "r-3", "r_4", "Ä5", "a b", "r10"]
    await store.inventory.upsert_devices([device(name) for name in names])
    assert [found.name for found in await store.inventory.list()] == sorted(names)
    assert [found.name for found in await store.inventory.list(limit=2)] == sorted(names)[:2]


async def test_a_target_brings_its_host_keys(store: SqlStore) -> None:
    known, key = await add_device(store), HostKey("ssh-ed25519", b"key")
    await store.commit([HostKeySeen(known, key)])
    (target,) = [target async for target in store.targets(Selector())]
    assert (target.device, target.host_keys) == (known, (key,))
    assert await store.host_keys.forget(known) == 1
    assert (await store.inventory.get("r1")).host_keys == ()


async def test_unknown_names_and_tags_are_told(store: SqlStore) -> None:
    await add_device(store, "r1", tags={"edge"})
    await add_credential(store, tags={"core"})
    await store.inventory.upsert_devices([device("r2", "gone")])
    await store.inventory.remove("r2")
    assert await store.known_tags() == {"edge", "core"}
    assert await store.missing(["r1", "r2", "r0"]) == ["r0", "r2"]
    for call in (store.inventory.get, store.inventory.remove):
        with pytest.raises(InputError, match="no such device: 'r2'"):
            await call("r2")


async def test_what_was_learned_of_a_device_goes_with_its_address_or_platform(store: SqlStore) -> None:
    router = Device("r1", "192.0.2.1", "auto", tags=frozenset({"edge"}))
    await store.inventory.upsert_devices([router])

    async def learn() -> None:
        known = (await store.inventory.get("r1")).device
        await store.commit([PlatformFound(known, "cisco_iosxe"), ConnectionCut(known, 2)])

    async def learned() -> tuple[str | None, int | None]:
        target = await store.inventory.get("r1")
        return target.detected, target.tries_per_connection

    await learn()
    await store.inventory.upsert_devices([replace(router, tags=frozenset({"core"}))])
    assert await learned() == ("cisco_iosxe", 2)
    changes: list[dict[str, Any]] = [{"host": "192.0.2.2"}, {"port": 2222}, {"platform": "arista_eos"}]
    for changed in changes:
        router = replace(router, **changed)
        await store.inventory.upsert_devices([router])
        assert await learned() == (None, None), changed
        await learn()
