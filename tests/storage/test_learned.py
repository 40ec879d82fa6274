"""What runs learn of devices is kept, on both databases: offers, platforms, facts, keys that were not let pass."""

from __future__ import annotations

from netraven.model import (
    Capture,
    Device,
    DeviceFinished,
    HostKey,
    HostKeyRefused,
    HostKeySeen,
    OfferSeen,
    Order,
    Outcome,
    PlatformFound,
    SshOffer,
    Status,
    utcnow,
)
from netraven.storage.store import SqlStore

OFFER = SshOffer("SSH-2.0-Cisco-1.25", ("a", "b"), ("ssh-rsa",), ("aes128-cbc",), ("hmac-sha1",))
OLD, NEW, OTHER = (HostKey("ssh-ed25519", text) for text in (b"old", b"new", b"other"))


async def device(store: SqlStore, name: str = "r1", platform: str = "auto") -> Device:
    await store.inventory.upsert_devices([Device(name, "192.0.2.1", platform, tags=frozenset({"t"}))])
    return (await store.inventory.get(name)).device


async def test_an_offer_and_a_platform_come_back_with_the_target(store: SqlStore) -> None:
    r1 = await device(store)
    before = await store.inventory.get("r1")
    assert (before.offer, before.detected) == (None, None)
    later = SshOffer("SSH-2.0-later")
    await store.commit([OfferSeen(r1, OFFER, utcnow()), PlatformFound(r1, "cisco_iosxe")])
    after = await store.inventory.get("r1")
    assert (after.offer, after.detected) == (OFFER, "cisco_iosxe")
    await store.commit([OfferSeen(r1, OFFER, utcnow()), OfferSeen(r1, later, utcnow())])
    assert (await store.inventory.get("r1")).offer == later


async def test_facts_are_kept_with_the_outcome_and_the_latest_holds(store: SqlStore) -> None:
    r1 = await device(store)
    for version in ("17.3", "17.6"):
        run = await store.start(Order(strategy="priority", concurrency=1))
        outcome = Outcome(r1, Status.COLLECTED, utcnow(), 5)
        captures = (Capture("Version\n", "version"), Capture(f"hostname {version}\n"))
        (told,) = await store.commit(
            [DeviceFinished(run.id, outcome, captures, {"version": version, "serial": "FOC1"})]
        )
        latest = await store.versions.current("r1", "running")
        assert latest is not None
        assert told.snapshot == latest.version.sha256, "what reports show is the configuration"
    assert await store.inventory.facts("r1") == {"serial": "FOC1", "version": "17.6"}
    assert sorted(await store.versions.kinds("r1")) == ["running", "version"]
    await store.inventory.remove("r1")
    await device(store)
    assert await store.inventory.facts("r1") == {}


async def test_of_keys_that_were_not_let_pass_the_last_one_waits(store: SqlStore) -> None:
    r1 = await device(store)
    await store.commit([HostKeySeen(r1, OLD)])
    await store.commit([HostKeyRefused(r1, NEW, utcnow())])
    await store.commit([HostKeyRefused(r1, NEW, utcnow()), HostKeyRefused(r1, OTHER, utcnow())])
    assert (await store.inventory.get("r1")).host_keys == (OLD,), "nothing that waits is trusted"
    states = {record.key: record.state for record in await store.host_keys.of(r1)}
    assert states == {OLD: "trusted", OTHER: "refused"}


async def test_a_key_that_waited_can_be_the_first_that_is_trusted(store: SqlStore) -> None:
    """Under `strict` it waits; with `accept-new` later on it is taken."""
    r1 = await device(store)
    await store.commit([HostKeyRefused(r1, NEW, utcnow())])
    assert (await store.inventory.get("r1")).host_keys == ()
    (on_record,) = await store.commit([HostKeySeen(r1, NEW)])
    assert on_record == (NEW,)
    assert (await store.inventory.get("r1")).host_keys == (NEW,)
