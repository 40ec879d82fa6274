"""The report on a credential reads page by page, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from netraven.model import Device, Secret, Verdict, utcnow
from netraven.storage import acceptance
from netraven.storage.store import SqlStore
from tests.storage.facts import add_credential, start_run, try_once


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptance, "PAGE", 3)


async def test_pages_meet_every_device_once_and_in_order(store: SqlStore) -> None:
    names = [f"r{number}" for number in range(8)]
    await store.inventory.upsert_devices([Device(name, "h", "cisco_iosxe", tags={"edge"}) for name in names])
    await store.inventory.upsert_devices([Device("other", "h", "cisco_iosxe", tags={"core"})])
    await add_credential(store)
    await store.vault.update(
        "tacacs", secret=Secret(password="next"), keep_until=utcnow() + timedelta(days=1)
    )
    current, previous = await store.credentials()
    run = await start_run(store)
    for number, name in enumerate(names):
        device = (await store.inventory.get(name)).device
        await try_once(store, run, device, previous, Verdict.ACCEPTED)
        if number < 5:
            verdict = Verdict.NO_VERDICT if number == 0 else Verdict.ACCEPTED
            await try_once(store, run, device, current, verdict, seconds=5)
    found = [(row.device, row.version) async for row in store.acceptance.devices(current)]
    expected = [(name, version) for name in names for version in (2, 1)]
    assert found == [pair for pair in expected if pair[1] == 1 or pair[0] in names[1:5]]
    unproven = [name async for name in store.acceptance.not_proven(current)]
    assert unproven == ["r0", *names[5:]]
    assert await store.acceptance.count_not_proven(current) == 4
    assert [(v.version, v.accepted) for v in await store.acceptance.versions(current)] == [(2, 4), (1, 8)]
