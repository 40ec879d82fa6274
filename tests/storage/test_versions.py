"""Previous secrets that are kept as a fallback for a time."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from netraven.credentials.matching import CredentialIndex
from netraven.credentials.sealing import Keyring
from netraven.errors import InputError, SecretUnreadable
from netraven.model import Credential, Device, Secret, utcnow
from netraven.storage.credentials import SqlCredentials
from netraven.storage.store import SqlStore
from tests.storage.facts import add_credential, add_device


def soon() -> datetime:
    return utcnow() + timedelta(days=7)


async def versions(store: SqlStore) -> list[int]:
    return [credential.secret_version for credential in await store.credentials()]


async def test_the_previous_secret_stays_a_credential_of_the_same_name(store: SqlStore) -> None:
    first = await add_credential(store, priority=5, realm="hq")
    await store.vault.update("tacacs", username="svc2", secret=Secret(password="next"), keep_until=soon())
    current, previous = await store.credentials()
    assert (current.key, current.username) == (("tacacs", 2), "svc2")
    assert previous == first
    assert (previous.id, previous.priority, previous.realm, previous.tags) == (current.id, 5, "hq", {"edge"})
    assert (await store.reveal(current)).password == "next"
    assert (await store.reveal(previous)).password == "only-a-test"
    assert [
        c.key for c in CredentialIndex([previous, current]).matching(Device("r", "h", "p", tags={"edge"}))
    ] == [
        ("tacacs", 2),
        ("tacacs", 1),
    ]
    assert [record.credential.key for record in await store.vault.list()] == [("tacacs", 2)]


async def test_several_are_kept_the_newest_first(store: SqlStore) -> None:
    await add_credential(store)
    for password in ("two", "three"):
        await store.vault.update("tacacs", secret=Secret(password=password), keep_until=soon())
    assert await versions(store) == [3, 2, 1]
    found = [(await store.reveal(credential)).password for credential in await store.credentials()]
    assert found == ["three", "two", "only-a-test"]


async def test_without_being_asked_to_nothing_is_kept(store: SqlStore) -> None:
    await add_credential(store)
    await store.vault.update("tacacs", secret=Secret(password="next"))
    assert await versions(store) == [2]


async def over(store: SqlStore) -> None:
    """The time of everything that is kept has come."""
    async with store.database.writing() as connection:
        statement = text(
            "UPDATE credential_versions SET kept_until = (SELECT min(created_at) FROM credentials)"
        )
        await connection.execute(statement)


async def rows(store: SqlStore) -> int:
    async with store.database.reading() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM credential_versions"))).scalar_one())


async def test_once_its_time_is_over_it_is_neither_offered_nor_kept(store: SqlStore) -> None:
    await add_credential(store)
    await store.vault.update("tacacs", secret=Secret(password="next"), keep_until=soon())
    previous = (await store.credentials())[1]
    await over(store)
    assert await versions(store) == [2]
    assert await rows(store) == 1
    await store.prepare_run()
    assert await rows(store) == 0
    with pytest.raises(SecretUnreadable, match="changed or removed"):
        await store.reveal(previous)
    await store.vault.update("tacacs", secret=Secret(password="third"), keep_until=soon())
    await over(store)
    await store.vault.update("tacacs", priority=1)
    assert await rows(store) == 0


async def test_what_is_kept_can_be_forgotten_at_once(store: SqlStore) -> None:
    await add_credential(store)
    await store.vault.update("tacacs", secret=Secret(password="next"), keep_until=soon())
    changed = await store.vault.update("tacacs", keep_until=utcnow())
    assert changed.secret_version == 2
    assert await versions(store) == [2]
    await store.vault.update("tacacs", secret=Secret(password="third"), keep_until=soon())
    await store.vault.remove("tacacs")
    assert await rows(store) == 0


async def test_what_cannot_be_kept_is_said(store: SqlStore) -> None:
    await add_credential(store)
    with pytest.raises(InputError, match="nothing about the secret changes"):
        await store.vault.update("tacacs", priority=3, keep_until=soon())
    await store.vault.update("tacacs", source="env:X", keep_until=soon())
    assert await versions(store) == [2, 1]  # what was stored can be kept
    with pytest.raises(InputError, match=r"cannot be kept: it is in its source \(env:\)"):
        await store.vault.update("tacacs", secret=Secret(password="next"), keep_until=soon())
    assert await versions(store) == [2, 1]


async def test_an_unreadable_previous_secret_is_told_from_the_current_one(store: SqlStore) -> None:
    await add_credential(store)
    await store.vault.update("tacacs", secret=Secret(password="next"), keep_until=soon())
    async with store.database.writing() as connection:
        await connection.execute(
            text("UPDATE credential_versions SET sealed_password = (SELECT sealed_password FROM credentials)")
        )
    assert set(await store.vault.unreadable()) == {("tacacs", 1)}
    current, previous = await store.credentials()
    with pytest.raises(SecretUnreadable, match="credential tacacs: the stored secret is damaged"):
        await store.reveal(previous)
    assert (await store.reveal(current)).password == "next"
    stranger = SqlCredentials(store.database, Keyring.generate())
    assert set(await stranger.unreadable()) == {("tacacs", 1), ("tacacs", 2)}


async def test_versions_are_told_apart_on_record(store: SqlStore) -> None:
    """Both go by one credential id; attempts and pairs say which version it was."""
    from netraven.model import Verdict
    from tests.storage.facts import start_run, try_once

    device = await add_device(store)
    await add_credential(store)
    await store.vault.update("tacacs", secret=Secret(password="next"), keep_until=soon())
    current, previous = await store.credentials()
    run = await start_run(store)
    await try_once(store, run, device, current, Verdict.REFUSED)
    await try_once(store, run, device, previous, Verdict.ACCEPTED, seconds=2)
    history = {pair.secret_version: pair.last_verdict for pair in (await store.inventory.get("r1")).history}
    assert history == {2: Verdict.REFUSED, 1: Verdict.ACCEPTED}


def test_a_credential_without_a_version_is_the_first() -> None:
    assert Credential("tacacs", "svc").key == ("tacacs", 1)
