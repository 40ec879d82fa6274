"""Credentials whose secret is elsewhere: what is stored of them, and how a changed secret is noticed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from netraven.credentials.sealing import Keyring
from netraven.credentials.source import EnvironmentVariable
from netraven.errors import InputError, KeyringError, SecretUnreadable
from netraven.model import Credential, Secret
from netraven.sources.environment import EnvironmentSource
from netraven.sources.reader import SourceReader
from netraven.storage.engine import Database
from netraven.storage.store import SqlStore
from tests.canaries import Canaries

OLD, NEW = "c4n4ry-of-the-old-secret", "c4n4ry-of-the-new-secret"
EDGE = frozenset({"edge"})


def opened(database: Database, environ: dict[str, str], keyring: Keyring | None) -> SqlStore:
    """A store as a process of its own would have it: with no memory of what sources gave before."""
    sources = SourceReader({EnvironmentVariable: EnvironmentSource(environ)}, cache_seconds=0.0)
    return SqlStore(database, keyring, sources=sources)


async def only(store: SqlStore) -> Credential:
    (found,) = await store.credentials()
    return found


async def row(database: Database) -> Any:
    async with database.reading() as connection:
        (found,) = await connection.execute(text("SELECT * FROM credentials"))
    return found


@pytest.fixture
def environ() -> dict[str, str]:
    return {"PASSWORD": OLD}


async def test_nothing_of_the_secret_is_stored_and_no_key_is_needed(
    database: Database, environ: dict[str, str]
) -> None:
    store = opened(database, environ, None)
    stored = await store.vault.add(Credential("tacacs", "svc", tags=EDGE, source="env:PASSWORD"), Secret())
    found = await only(store)
    assert found == stored
    await store.prepare_run()
    assert (await store.reveal(found)).password == OLD
    kept = await row(database)
    assert [kept.sealed_password, kept.sealed_private_key, kept.sealed_enable, kept.source_mark] == [None] * 4
    assert (await store.vault.unreadable()) == {}


async def test_an_enable_secret_is_stored_beside_the_source(
    database: Database, environ: dict[str, str]
) -> None:
    store = opened(database, environ, Keyring.generate())
    credential = Credential("tacacs", "svc", source="env:PASSWORD")
    found = await store.vault.add(credential, Secret(enable="more"))
    secret = await store.reveal(found)
    assert (secret.password, secret.enable) == (OLD, "more")
    with pytest.raises(SecretUnreadable, match="credential tacacs: there is no key"):
        await opened(database, environ, None).reveal(found)
    await store.prepare_run()
    environ["PASSWORD"] = NEW
    await store.prepare_run()
    secret = await store.reveal(await only(store))
    assert (secret.password, secret.enable) == (NEW, "more")  # sealed anew for its version


@pytest.mark.parametrize("source", ["PASSWORD", "env:", "vault:", "shell:rm"])
async def test_a_malformed_source_changes_nothing(store: SqlStore, source: str) -> None:
    with pytest.raises(InputError):
        await store.vault.add(Credential("tacacs", "svc", source=source), Secret())
    assert await store.credentials() == []
    await store.vault.add(Credential("tacacs", "svc"), Secret(password=OLD))
    with pytest.raises(InputError):
        await store.vault.update("tacacs", source=source)
    with pytest.raises(InputError, match="not both"):
        await store.vault.update("tacacs", source="env:X", secret=Secret(password=NEW))
    assert (await store.reveal(await only(store))).password == OLD


async def test_a_source_and_a_stored_secret_take_each_others_place(
    database: Database, environ: dict[str, str]
) -> None:
    store = opened(database, environ, Keyring.generate())
    await store.vault.add(Credential("tacacs", "svc"), Secret(password="stored", enable="more"))
    changed = await store.vault.update("tacacs", source="env:PASSWORD")
    assert (changed.source, changed.secret_version) == ("env:PASSWORD", 2)
    assert (await row(database)).sealed_password is None
    secret = await store.reveal(changed)
    assert (secret.password, secret.enable) == (OLD, "more")
    assert (await store.vault.update("tacacs", source="env:PASSWORD")).secret_version == 2
    again = await store.vault.update("tacacs", secret=Secret(enable="other"))
    assert (again.source, again.secret_version) == ("env:PASSWORD", 3)
    back = await store.vault.update("tacacs", secret=Secret(password="stored", private_key=""))
    assert (back.source, back.secret_version) == (None, 4)
    secret = await store.reveal(back)
    assert (secret.password, secret.enable) == ("stored", "other")


async def test_a_source_that_does_not_answer_is_the_trouble_of_its_credential(
    database: Database, environ: dict[str, str]
) -> None:
    store = opened(database, environ, Keyring.generate())
    absent = await store.vault.add(Credential("absent", "svc", source="env:ABSENT"), Secret())
    present = await store.vault.add(Credential("present", "svc", source="env:PASSWORD"), Secret())
    await store.prepare_run()
    with pytest.raises(SecretUnreadable, match="credential absent: there is no environment variable ABSENT"):
        await store.reveal(absent)
    assert (await store.reveal(present)).password == OLD
    assert (await store.vault.unreadable()) == {}  # which asks no source


async def test_a_changed_secret_is_a_new_version(database: Database, environ: dict[str, str]) -> None:
    keyring = Keyring.generate()
    store = opened(database, environ, keyring)
    await store.vault.add(Credential("tacacs", "svc", source="env:PASSWORD"), Secret())
    for _ in range(2):
        await store.prepare_run()
        assert (await only(store)).secret_version == 1
    marked = bytes((await row(database)).source_mark)
    environ["PASSWORD"] = NEW
    begun = await only(store)
    with pytest.raises(SecretUnreadable, match="gives another secret than when this run began"):
        await store.reveal(begun)
    await store.prepare_run()
    found = await only(store)
    assert found.secret_version == 2
    assert (await store.reveal(found)).password == NEW
    with pytest.raises(SecretUnreadable):
        await store.reveal(begun)
    hunt = Canaries({"old": OLD, "new": NEW})
    hunt.hunt("marks", marked + bytes((await row(database)).source_mark))
    hunt.verdict()


async def test_two_credentials_of_one_secret_have_different_marks(
    database: Database, environ: dict[str, str]
) -> None:
    store = opened(database, environ, Keyring.generate())
    for name in ("one", "other"):
        await store.vault.add(Credential(name, "svc", source="env:PASSWORD"), Secret())
    await store.prepare_run()
    async with database.reading() as connection:
        found = (await connection.execute(text("SELECT source_mark FROM credentials"))).scalars().all()
    assert len({bytes(mark) for mark in found}) == 2


async def test_a_changed_key_is_no_changed_secret(database: Database, environ: dict[str, str]) -> None:
    keys = [Keyring.generate().to_text() for _ in range(3)]
    ring = Keyring.parse(keys[0])
    await opened(database, environ, ring).vault.add(
        Credential("tacacs", "svc", source="env:PASSWORD"), Secret()
    )
    await opened(database, environ, ring).prepare_run()
    rotated = Keyring.parse(keys[1] + keys[0])
    store = opened(database, environ, rotated)
    assert (await store.reveal(await only(store))).password == OLD
    await store.prepare_run()
    assert (await only(store)).secret_version == 1
    environ["PASSWORD"] = NEW  # with another new key on the same day, the old one still there
    await opened(database, environ, Keyring.parse(keys[2] + keys[1])).prepare_run()
    assert (await only(store)).secret_version == 2
    stranger = opened(database, environ, Keyring.generate())
    await stranger.prepare_run()
    assert (await only(stranger)).secret_version == 2
    assert (await stranger.reveal(await only(stranger))).password == NEW


async def test_two_who_notice_at_once_make_one_version(database: Database, environ: dict[str, str]) -> None:
    keyring = Keyring.generate()
    stores = [opened(database, environ, keyring) for _ in range(4)]
    await stores[0].vault.add(Credential("tacacs", "svc", source="env:PASSWORD"), Secret())
    await asyncio.gather(*(store.prepare_run() for store in stores))
    environ["PASSWORD"] = NEW
    await asyncio.gather(*(store.prepare_run() for store in stores))
    assert (await only(stores[0])).secret_version == 2
    for store in stores:
        assert (await store.reveal(await only(store))).password == NEW


async def test_another_username_is_a_new_version_of_a_sourced_credential(
    database: Database, environ: dict[str, str]
) -> None:
    store = opened(database, environ, Keyring.generate())
    await store.vault.add(Credential("tacacs", "svc", source="env:PASSWORD"), Secret())
    await store.prepare_run()
    changed = await store.vault.update("tacacs", username="svc2")
    assert (changed.secret_version, changed.source) == (2, "env:PASSWORD")
    await store.prepare_run()
    assert (await only(store)).secret_version == 2


async def test_what_has_to_be_sealed_needs_a_key(database: Database, environ: dict[str, str]) -> None:
    keyless = opened(database, environ, None)
    with pytest.raises(KeyringError):
        await keyless.vault.add(Credential("tacacs", "svc", source="env:PASSWORD"), Secret(enable="more"))
    assert await keyless.credentials() == []
