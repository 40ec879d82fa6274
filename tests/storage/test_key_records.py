"""Host keys as a person looks after them, on every database."""

from __future__ import annotations

import pytest

from netraven.errors import InputError
from netraven.model import Device, HostKey, HostKeyRefused, HostKeySeen, Selector, utcnow
from netraven.storage.key_records import Imported, Rule
from netraven.storage.store import SqlStore
from tests.storage.facts import add_device

EVERY = Selector()
OLD, NEW, RSA = HostKey("ssh-ed25519", b"old"), HostKey("ssh-ed25519", b"new"), HostKey("ssh-rsa", b"rsa")


async def known(store: SqlStore, name: str = "r1", tags: set[str] | None = None) -> Device:
    device = await add_device(store, name, tags=tags or {"edge"})
    await store.commit([HostKeySeen(device, OLD)])
    return device


async def states(store: SqlStore, device: Device) -> dict[bytes, tuple[str, str]]:
    return {r.key.key: (r.state, r.origin) for r in await store.host_keys.of(device)}


async def test_what_waits_is_accepted_in_place_of_the_key_of_its_algorithm(store: SqlStore) -> None:
    device = await known(store)
    await store.host_keys.load([(device, RSA)], [])
    await store.commit([HostKeyRefused(device, NEW, utcnow())])
    (gone,) = await store.host_keys.accept(device, NEW)
    assert gone.key == OLD
    assert await states(store, device) == {b"new": ("trusted", "accepted"), b"rsa": ("trusted", "imported")}
    assert set((await store.inventory.get("r1")).host_keys) == {NEW, RSA}


async def test_accepting_may_leave_the_others(store: SqlStore) -> None:
    device = await known(store)
    assert await store.host_keys.accept(device, NEW, add=True) == []
    assert set(await states(store, device)) == {b"old", b"new"}


async def test_a_revoked_key_is_not_accepted(store: SqlStore) -> None:
    device = await known(store)
    await store.host_keys.load([], [Rule("revoked", device.host, NEW)])
    target = await store.inventory.get("r1")
    assert target.trust.revoked == (NEW,)


async def test_forgetting_by_algorithm(store: SqlStore) -> None:
    device = await known(store)
    await store.host_keys.load([(device, RSA)], [])
    assert await store.host_keys.forget(device, "ssh-rsa") == 1
    assert set(await states(store, device)) == {b"old"}
    assert await store.host_keys.forget(device) == 1
    assert await store.host_keys.forget(device) == 0


async def test_an_import_adds_and_says_what_was_there(store: SqlStore) -> None:
    device = await known(store)
    keys, rules = [(device, OLD), (device, RSA), (device, RSA)], [Rule("authority", "*", NEW)]
    assert await store.host_keys.load(keys, rules, dry_run=True) == Imported(1, 1, 1)
    assert set(await states(store, device)) == {b"old"}
    assert await store.host_keys.load(keys, rules) == Imported(1, 1, 1)
    assert await store.host_keys.load(keys, rules) == Imported(0, 0, 3)
    assert (await store.inventory.get("r1")).trust.authorities == (NEW,)
    assert [rule.patterns for _, rule, _ in await store.host_keys.rules()] == ["*"]


async def test_an_import_trusts_what_was_waiting(store: SqlStore) -> None:
    device = await known(store)
    await store.commit([HostKeyRefused(device, NEW, utcnow())])
    await store.host_keys.load([(device, NEW)], [])
    assert await states(store, device) == {b"old": ("trusted", "seen"), b"new": ("trusted", "imported")}


async def test_the_list_is_by_device_and_can_be_narrowed(store: SqlStore) -> None:
    first, second = await known(store, "r1"), await known(store, "r2", {"core"})
    await store.commit([HostKeyRefused(first, NEW, utcnow())])
    await store.host_keys.load([(second, RSA)], [])

    async def listed(selector: Selector = EVERY, state: str | None = None) -> list[tuple[str, bytes]]:
        return [(r.device, r.key.key) async for r in store.host_keys.list(selector, state=state)]

    assert await listed() == [("r1", b"old"), ("r1", b"new"), ("r2", b"old"), ("r2", b"rsa")]
    assert await listed(Selector(tags={"core"})) == [("r2", b"old"), ("r2", b"rsa")]
    assert await listed(Selector(names={"r1"}), "refused") == [("r1", b"new")]


async def test_many_keys_are_listed_across_pages(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netraven.storage.key_records._PAGE", 2)
    device = await known(store)
    await known(store, "r2")
    await store.host_keys.load([(device, HostKey("ssh-rsa", bytes([n]))) for n in range(5)], [])
    listed = [(r.device, r.key.key) async for r in store.host_keys.list(Selector())]
    assert len(listed) == len(set(listed)) == 7


async def test_who_is_not_there_has_no_key(store: SqlStore) -> None:
    with pytest.raises(InputError):
        await store.inventory.get("r9")
