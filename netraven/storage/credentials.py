"""Credentials and their sealed secrets in a database."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.credentials.sealing import Keyring
from netraven.errors import InputError, KeyringError, RowRefused, SecretUnreadable
from netraven.model import Credential, CredentialMetrics, Secret, utcnow
from netraven.storage import tags
from netraven.storage.engine import Database
from netraven.storage.inventory import credential_of
from netraven.storage.schema import credential_tags, credentials

_SEALED = {"password": "sealed_password", "private_key": "sealed_private_key", "enable": "sealed_enable"}
_METRICS = ("success_rate", "attempts", "successes", "last_used", "last_success")


@dataclass(frozen=True, slots=True)
class CredentialRecord:
    """A credential without its secret, and what has been learned of it."""

    credential: Credential
    metrics: CredentialMetrics


class SqlCredentials:
    """Keeps credentials, their secrets sealed (``ports.Secrets``).

    What it remembers between calls are sealed secrets only; each is opened when it is asked for, and then forgotten.
    """

    def __init__(
        self, database: Database, keyring: Keyring | None = None, *, no_key: str | None = None
    ) -> None:
        """Without a ``keyring`` everything works but what needs a secret, which is refused with ``no_key``."""
        self._database = database
        self._keyring = keyring
        self._no_key = no_key or "there is no key to seal and open secrets with: `netraven init` writes one"
        self._sealed: dict[int, Row[Any]] = {}
        self._loading = asyncio.Lock()

    async def reveal(self, credential: Credential) -> Secret:
        """The secret of exactly this version of the credential.

        Raises ``SecretUnreadable`` where there is none, where it cannot be opened, or where the secret was changed
        since ``credential`` was read: what is then offered would go on record under the wrong version.
        """
        row = await self._sealed_row(credential)
        if row is None or row.secret_version != credential.secret_version:
            raise SecretUnreadable(f"credential {credential.name} was changed or removed meanwhile")
        secret = self._opened(row, credential.name)
        if secret.password is None and secret.private_key is None:
            raise SecretUnreadable(f"credential {credential.name} has no secret")
        return secret

    def require_key(self) -> None:
        """Raise ``KeyringError``, which says why, where there is no key at all: no secret could be read."""
        if self._keyring is None:
            raise KeyringError(self._no_key)

    async def unreadable(self) -> dict[str, str]:
        """The credentials whose secret cannot be read, by name, and why."""
        found = {}
        for record in await self.list():
            name = record.credential.name
            try:
                await self.reveal(record.credential)
            except SecretUnreadable as error:
                found[name] = str(error).removeprefix(f"credential {name}: ")
        return found

    async def _sealed_row(self, credential: Credential) -> Row[Any] | None:
        if credential.id is None:
            return None
        row = self._sealed.get(credential.id)
        if row is None or row.secret_version != credential.secret_version:
            async with self._loading:  # a thousand devices ask for their first secret at once
                row = self._sealed.get(credential.id)
                if row is None or row.secret_version != credential.secret_version:
                    await self._load()
        return self._sealed.get(credential.id)

    async def _load(self) -> None:
        columns = (credentials.c[name] for name in ("id", "uid", "secret_version", *_SEALED.values()))
        async with self._database.reading() as connection:
            self._sealed = {row.id: row for row in await connection.execute(select(*columns))}

    async def add(self, credential: Credential, secret: Secret) -> Credential:
        """Store a new credential with its secret sealed; the credential again, with its id.

        Raises ``InputError`` where the name is taken, ``KeyringError`` without a keyring.
        """
        uid, now = uuid.uuid4().hex, utcnow()
        row = {
            "uid": uid,
            "name": credential.name,
            "username": credential.username,
            "realm": credential.realm,
            "priority": credential.priority,
            "offered_when": credential.when,
            "source": credential.source,
            "secret_version": 1,
            "created_at": now,
            "updated_at": now,
            **self._seal(secret, uid, 1),
        }
        try:
            async with self._database.writing() as connection:
                key = (
                    await connection.execute(insert(credentials).values(row).returning(credentials.c.id))
                ).scalar_one()
                await tags.replace(connection, credential_tags, {key: credential.tags})
        except RowRefused as error:
            raise InputError(f"a credential named {credential.name} exists already") from error
        return replace(
            credential, id=key, secret_version=1, password=None, private_key=None, enable_password=None
        )

    async def update(
        self,
        name: str,
        *,
        username: str | None = None,
        realm: str | None = None,
        priority: int | None = None,
        tags: AbstractSet[str] | None = None,
        secret: Secret | None = None,
    ) -> Credential:
        """Change what is given and keep the rest; the credential as it is then.

        Of ``secret`` only the given parts replace the stored ones; an empty string removes one. A new secret, or a
        new username, starts a new ``secret_version``: what was learned of the old one says nothing of it, and a hold
        on it ends. Raises ``InputError`` for an unknown name, ``KeyringError`` or ``SecretUnreadable`` where the
        secret has to be sealed anew and cannot be.
        """
        changes: dict[str, Any] = {"updated_at": utcnow()}
        given = {"username": username, "realm": realm, "priority": priority}
        changes.update({field: value for field, value in given.items() if value is not None})
        async with self._database.writing() as connection:
            row = await _row(connection, name, lock=True)
            if secret is not None or (username is not None and username != row.username):
                version = row.secret_version + 1
                given_parts = _given(secret)
                merged = replace(self._opened(row, name, without=given_parts), **given_parts)
                changes |= self._seal(merged, row.uid, version)
                changes |= {"secret_version": version}
            await connection.execute(update(credentials).where(credentials.c.id == row.id).values(changes))
            if tags is not None:
                await _set_tags(connection, row.id, tags)
            return (await _records(connection, name))[0].credential

    async def remove(self, name: str) -> None:
        """Remove a credential; logs keep its name and username. ``InputError`` where there is none."""
        async with self._database.writing() as connection:
            if not (await connection.execute(delete(credentials).where(credentials.c.name == name))).rowcount:
                raise InputError(f"no such credential: {name}")

    async def get(self, name: str) -> CredentialRecord:
        """The credential of this name; ``InputError`` where there is none."""
        async with self._database.reading() as connection:
            records = await _records(connection, name)
        if not records:
            raise InputError(f"no such credential: {name}")
        return records[0]

    async def list(self) -> Sequence[CredentialRecord]:
        """Every credential in the order of their names."""
        async with self._database.reading() as connection:
            return await _records(connection)

    def _seal(self, secret: Secret, uid: str, version: int) -> dict[str, bytes | None]:
        if self._keyring is None:
            raise KeyringError(self._no_key)
        sealed: dict[str, bytes | None] = {}
        for part, column in _SEALED.items():
            value = getattr(secret, part)
            sealed[column] = self._keyring.seal(value, _identity(uid, version, part)) if value else None
        return sealed

    def _opened(self, row: Row[Any], name: str, *, without: Collection[str] = ()) -> Secret:
        """The stored secret; parts ``without`` are about to be replaced and need not be readable any more."""
        if self._keyring is None:
            raise SecretUnreadable(f"credential {name}: {self._no_key}")
        parts = {}
        try:
            for part, column in _SEALED.items():
                if part not in without and (sealed := getattr(row, column)) is not None:
                    parts[part] = self._keyring.open(sealed, _identity(row.uid, row.secret_version, part))
        except SecretUnreadable as error:
            raise SecretUnreadable(f"credential {name}: {error}") from None
        return Secret(**parts)


async def _set_tags(connection: AsyncConnection, key: int, names: AbstractSet[str]) -> None:
    await tags.replace(connection, credential_tags, {key: names})


async def _row(connection: AsyncConnection, name: str, *, lock: bool) -> Row[Any]:
    statement = select(credentials).where(credentials.c.name == name)
    row = (await connection.execute(statement.with_for_update() if lock else statement)).first()
    if row is None:
        raise InputError(f"no such credential: {name}")
    return row


async def _records(connection: AsyncConnection, name: str | None = None) -> Sequence[CredentialRecord]:
    statement = select(credentials).order_by(credentials.c.name)
    if name is not None:
        statement = statement.where(credentials.c.name == name)
    rows = (await connection.execute(statement)).all()
    names = await tags.of_owners(connection, credential_tags, [row.id for row in rows])
    return [
        CredentialRecord(
            credential_of(row, names.get(row.id, frozenset())),
            CredentialMetrics(**{field: getattr(row, field) for field in _METRICS}),
        )
        for row in rows
    ]


def _identity(uid: str, version: int, part: str) -> str:
    """What a sealed secret is bound to: this credential, this version of its secret, this part of it."""
    return f"credential:{uid}:{version}:{part}"


def _given(secret: Secret | None) -> dict[str, str]:
    """The parts that are to replace the stored ones."""
    return {part: value for part in _SEALED if (value := getattr(secret, part, None)) is not None}
