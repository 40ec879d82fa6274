from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text

from netraven.credentials.sealing import Keyring
from netraven.errors import InputError, KeyringError, SecretUnreadable
from netraven.model import Credential, Secret, Verdict
from netraven.storage.credentials import SqlCredentials
from netraven.storage.store import SqlStore
from tests.storage.facts import add_credential, add_device, start_run, try_once

SECRET = Secret("pass-canary", "key-canary", "enable-canary")


async def test_a_secret_comes_back_as_it_was(store: SqlStore) -> None:
    given = Credential("tacacs", "svc", "clear", {"edge", "core"}, 10, "hq")
    stored = await store.vault.add(given, SECRET)
    assert (stored, stored.password, stored.secret_version) == (given, None, 1)
    (read,) = await store.credentials()
    assert (read, read.id) == (stored, stored.id)
    secret = await store.reveal(read)
    assert (secret.password, secret.private_key, secret.enable) == (
        "pass-canary",
        "key-canary",
        "enable-canary",
    )


async def test_no_secret_is_in_the_database_in_clear(store: SqlStore) -> None:
    await store.vault.add(Credential("tacacs", "svc"), SECRET)
    async with store.database.reading() as connection:
        (row,) = await connection.execute(text("SELECT * FROM credentials"))
    assert "canary" not in repr([bytes(v) if isinstance(v, memoryview) else v for v in row])


async def test_a_new_secret_is_a_new_version_and_the_old_one_is_not_offered(store: SqlStore) -> None:
    old = await store.vault.add(Credential("tacacs", "svc", tags=frozenset({"edge"})), SECRET)
    await store.reveal(old)
    new = await store.vault.update("tacacs", secret=Secret(password="next", enable=""))
    assert new.secret_version == 2
    secret = await store.reveal(new)
    assert (secret.password, secret.private_key, secret.enable) == ("next", "key-canary", None)
    with pytest.raises(SecretUnreadable, match="tacacs was changed or removed"):
        await store.reveal(old)


async def test_another_username_is_a_new_version_too(store: SqlStore) -> None:
    await store.vault.add(Credential("tacacs", "svc"), SECRET)
    assert (await store.vault.update("tacacs", username="svc")).secret_version == 1
    changed = await store.vault.update("tacacs", username="svc2")
    assert (changed.username, changed.secret_version) == ("svc2", 2)
    assert (await store.reveal(changed)).password == "pass-canary"


async def test_other_changes_need_no_key(store: SqlStore) -> None:
    await add_credential(store, priority=100)
    keyless = SqlCredentials(store.database)
    changed = await keyless.update("tacacs", priority=5, realm="hq", tags=frozenset({"core"}))
    assert (changed.priority, changed.realm, changed.tags, changed.secret_version) == (
        5,
        "hq",
        frozenset({"core"}),
        1,
    )
    assert (await keyless.get("tacacs")).credential == changed


async def test_without_a_key_secrets_neither_come_nor_go(store: SqlStore) -> None:
    credential = await add_credential(store)
    keyless = SqlCredentials(store.database, no_key="the key file is gone")
    with pytest.raises(SecretUnreadable, match="tacacs: the key file is gone"):
        await keyless.reveal(credential)
    with pytest.raises(KeyringError, match="the key file is gone"):
        await keyless.add(Credential("other", "svc"), SECRET)
    assert [record.credential.name for record in await keyless.list()] == ["tacacs"]


async def test_one_unreadable_secret_is_its_own_trouble(store: SqlStore) -> None:
    one, other = await add_credential(store, "one"), await add_credential(store, "other")
    async with store.database.writing() as connection:
        await connection.execute(
            text(
                "UPDATE credentials SET sealed_password ="
                " (SELECT c.sealed_password FROM credentials c WHERE c.name = 'other') WHERE name = 'one'"
            )
        )
    with pytest.raises(SecretUnreadable, match=r"credential one: .* belongs to another credential"):
        await store.reveal(one)
    assert (await store.reveal(other)).password == "only-a-test"
    stranger = SqlCredentials(store.database, Keyring.generate())
    with pytest.raises(SecretUnreadable, match="credential other: sealed with key"):
        await stranger.reveal(other)


async def test_a_credential_without_a_secret_is_never_offered(store: SqlStore) -> None:
    empty = await store.vault.add(Credential("empty", "svc"), Secret())
    with pytest.raises(SecretUnreadable, match="has no secret"):
        await store.reveal(empty)
    with pytest.raises(SecretUnreadable):
        await store.reveal(replace(empty, id=4711))


async def test_metrics_stand_beside_their_credential(store: SqlStore) -> None:
    device, credential = await add_device(store), await add_credential(store)
    await add_credential(store, "idle")
    await try_once(store, await start_run(store), device, credential, Verdict.ACCEPTED)
    idle, used = await store.vault.list()
    assert (idle.metrics.success_rate, idle.metrics.attempts) == (None, 0)
    assert (used.metrics.success_rate, used.metrics.successes) == (1.0, 1)


async def test_names_are_unique_and_unknown_ones_are_told(store: SqlStore) -> None:
    await add_credential(store)
    with pytest.raises(InputError, match="tacacs exists already"):
        await add_credential(store)
    await store.vault.remove("tacacs")
    for call in (store.vault.get, store.vault.remove, store.vault.update):
        with pytest.raises(InputError, match="no such credential: tacacs"):
            await call("tacacs")
