"""Credentials and their sealed secrets in a database."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Row, Select, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.credentials.key_text import is_sealed
from netraven.credentials.sealing import Keyring, UnknownKey
from netraven.credentials.source import parse_source
from netraven.errors import InputError, RowRefused, SecretUnreadable
from netraven.model import Credential, CredentialMetrics, Secret, utcnow
from netraven.ports import Sources
from netraven.storage import kept, marks, tags
from netraven.storage.engine import Database
from netraven.storage.inventory import credential_of
from netraven.storage.schema import credential_tags, credentials
from netraven.storage.seals import COLUMNS, Seals

_SECRET = ("id", "uid", "secret_version", "source_mark", *COLUMNS.values())
_CLEAR = ("password", "private_key", "enable_password", "passphrase", "certificate", "agent")
"""The fields of a credential that are secret."""
_METRICS = ("success_rate", "attempts", "successes", "last_used", "last_success")


@dataclass(frozen=True, slots=True)
class CredentialRecord:
    """A credential without its secret, and what has been learned of it."""

    credential: Credential
    metrics: CredentialMetrics


class SqlCredentials:
    """Keeps credentials, their secrets sealed or read from their sources (``ports.Secrets``).

    What it remembers between calls are sealed secrets only; each is opened when it is asked for, and then forgotten.
    """

    def __init__(
        self,
        database: Database,
        seals: Seals | Keyring | None = None,
        *,
        no_key: str | None = None,
        sources: Sources | None = None,
    ) -> None:
        """Without a keyring everything works but what needs a sealed secret, which is refused with ``no_key``.

        Without ``sources`` secrets that are kept elsewhere cannot be read.
        """
        self._database = database
        self.seals = seals if isinstance(seals, Seals) else Seals(seals, no_key=no_key)
        self._sources = sources
        self._rows: Mapping[tuple[int, int], Row[Any]] = {}
        self._hopeless: dict[tuple[str, int], Row[Any]] = {}
        """Rows that no key opens: not read again for each device that asks."""
        self._loading = asyncio.Lock()

    async def reveal(self, credential: Credential) -> Secret:
        """The secret of exactly this version of the credential.

        Raises ``SecretUnreadable`` where there is none, where it cannot be opened, or where the secret was changed
        since ``credential`` was read: what is then offered would go on record under the wrong version.
        """
        secret = await self._stored(credential)
        if credential.source is not None:
            secret = (await self._from_source(credential)).with_kept(secret)
            if secret.private_key and secret.passphrase is None and is_sealed(secret.private_key):
                raise SecretUnreadable(
                    f"credential {credential.name}: its private key has a passphrase that is not kept here: "
                    "`credential update --passphrase-env VAR` does that"
                )
        if not secret.opens_something:
            raise SecretUnreadable(f"credential {credential.name} has no secret")
        return secret

    async def _stored(self, credential: Credential) -> Secret:
        row = await self._row_of(credential)
        try:
            return self.seals.open(row)
        except UnknownKey as error:
            if self._hopeless.get(credential.key) is row:
                raise _about(credential, error) from None
            await self._renew(credential, row)  # sealed anew meanwhile, and the old key is gone?
        except SecretUnreadable as error:
            raise _about(credential, error) from None
        row = await self._row_of(credential)
        try:
            return self.seals.open(row)
        except SecretUnreadable as error:
            self._hopeless[credential.key] = row
            raise _about(credential, error) from None

    async def _from_source(self, credential: Credential) -> Secret:
        row = await self._row_of(credential)
        try:
            secret = await self._read(str(credential.source))
        except SecretUnreadable as error:
            raise _about(credential, error) from None
        keyring = self.seals.keyring
        if keyring is not None and row.source_mark is not None and not marks.fits(keyring, row, secret):
            raise SecretUnreadable(
                f"credential {credential.name}: its source gives another secret than when this run began; the next run "
                "takes it as a new version"
            )
        return secret

    async def _read(self, source: str) -> Secret:
        if self._sources is None:
            raise SecretUnreadable("sources of secrets are not read here")
        return await self._sources.read(source)

    async def prepare_run(self) -> None:
        """Before a run: previous secrets whose time is over go, and sources that give another secret are noticed.

        A source that does not answer is passed over here, and reported once its credential is needed.
        """
        now = utcnow()
        async with self._database.reading() as connection:
            expired = await kept.any_expired(connection, now)
        if expired:
            async with self._database.writing() as connection:
                await kept.expire(connection, now)
        await marks.notice_changes(self._database, self.seals, self._read)
        self._rows = {}

    def require_key(self) -> None:
        """Raise ``KeyringError``, which says why, where there is no key at all: no sealed secret could be read."""
        self.seals.require_key()

    async def unreadable(self) -> dict[tuple[str, int], str]:
        """The secrets that are stored and cannot be opened, by name and version, and why. No source is asked."""
        found = {}
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(credentials))).all()
            previous = await kept.unexpired(connection, utcnow(), "secret_version", *COLUMNS.values())
        names = {row.id: row.name for row in rows}
        sourced = {(row.id, row.secret_version) for row in rows if row.source is not None}
        for row in (*rows, *previous):
            try:
                secret = self.seals.open(row)
            except SecretUnreadable as error:
                found[names[row.id], row.secret_version] = str(error)
                continue
            if not secret.opens_something and (row.id, row.secret_version) not in sourced:
                found[names[row.id], row.secret_version] = f"credential {names[row.id]} has no secret"
        return found

    async def _row_of(self, credential: Credential) -> Row[Any]:
        key = (credential.id or 0, credential.secret_version)
        if key not in self._rows:
            async with self._loading:  # a thousand devices ask for their first secret at once
                if key not in self._rows:
                    await self._load()
        row = self._rows.get(key)
        if row is None:
            raise SecretUnreadable(f"credential {credential.name} was changed or removed meanwhile")
        return row

    async def _renew(self, credential: Credential, stale: Row[Any]) -> None:
        """Read the rows again, unless somebody has done so since ``stale`` was found among them."""
        async with self._loading:
            if self._rows.get((credential.id or 0, credential.secret_version)) is stale:
                await self._load()

    async def _load(self) -> None:
        async with self._database.reading() as connection:
            current = await connection.execute(select(*(credentials.c[name] for name in _SECRET)))
            rows = [
                *current,
                *await kept.unexpired(connection, utcnow(), "secret_version", *COLUMNS.values()),
            ]
        self._rows = {(row.id, row.secret_version): row for row in rows}

    async def add(self, credential: Credential, secret: Secret) -> Credential:
        """Store a new credential with its secret sealed; the credential again, with its id.

        One that has a ``source`` gets password or key from there; ``secret`` may add an enable secret, a key's
        passphrase and certificate, and for a key of an agent a password that follows it. Raises
        ``InputError`` where the name is taken or the source malformed, ``KeyringError`` without a keyring.
        """
        if credential.source is not None:
            _check_source(credential.source, secret)
        uid, now = uuid.uuid4().hex, utcnow()
        try:
            async with self._database.writing() as connection:
                await connection.execute(_named(credential.name).with_for_update())
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
                    **self.seals.seal(secret, uid, 1),
                }
                key = (
                    await connection.execute(insert(credentials).values(row).returning(credentials.c.id))
                ).scalar_one()
                await tags.replace(connection, credential_tags, {key: credential.tags})
        except RowRefused as error:
            raise InputError(f"a credential named {credential.name} exists already") from error
        clear = dict.fromkeys(_CLEAR)
        return replace(credential, id=key, secret_version=1, **clear)  # type: ignore[arg-type]  # each may be None

    async def update(  # noqa: PLR0913 - each is a field that may change, and is given by name
        self,
        name: str,
        *,
        username: str | None = None,
        realm: str | None = None,
        priority: int | None = None,
        tags: AbstractSet[str] | None = None,
        secret: Secret | None = None,
        source: str | None = None,
        keep_until: datetime | None = None,
        when: Literal["always", "aaa-down"] | None = None,
    ) -> Credential:
        """Change what is given and keep the rest; the credential as it is then.

        Of ``secret`` only the given parts replace the stored ones; an empty string removes one. A new secret, source
        or username starts a new ``secret_version``: what was learned of the old one says nothing of it, and a hold on
        it ends. A password or key takes the place of a source, and a source that of both. ``keep_until``: the
        previous secret stays a fallback till then; a time that is over forgets every previous one at once. Raises
        ``InputError`` for an unknown name, a malformed source or a secret that cannot be kept, ``KeyringError`` or
        ``SecretUnreadable`` where the secret has to be sealed anew and cannot be.
        """
        if source is not None:
            _check_source(source, secret)
        now = utcnow()
        changes: dict[str, Any] = {"updated_at": now}
        given = {"username": username, "realm": realm, "priority": priority, "offered_when": when}
        changes.update({field: value for field, value in given.items() if value is not None})
        async with self._database.writing() as connection:
            row = (await connection.execute(_named(name).with_for_update())).first()
            if row is None:
                raise InputError(f"no such credential: {name}")
            new_secret = self._new_secret(row, username, secret, source)
            changes |= new_secret
            await kept.expire(connection, now)
            if keep_until is not None:
                await _keep(connection, row, keep_until, now, replaced=bool(new_secret))
            await connection.execute(update(credentials).where(credentials.c.id == row.id).values(changes))
            if tags is not None:
                await _set_tags(connection, row.id, tags)
            return (await _records(connection, name))[0].credential

    def _new_secret(
        self, row: Row[Any], username: str | None, secret: Secret | None, source: str | None
    ) -> dict[str, Any]:
        """The columns of a new secret version; none where nothing about the secret changes."""
        parts = _given(secret)
        if source is not None:
            parts = {"password": "", "private_key": "", "passphrase": "", "certificate": "", **parts}
        elif parts.get("private_key"):  # what belonged to the old key goes with it
            parts = {"passphrase": "", "certificate": "", **parts}
        same_source = source is not None and source == row.source and not _given(secret)
        if (not parts or same_source) and username in (None, row.username):
            return {}
        version = row.secret_version + 1
        try:
            merged = replace(self.seals.open(row, without=parts), **parts)
        except SecretUnreadable as error:
            raise SecretUnreadable(f"credential {row.name}: {error}") from None
        changes = {
            "secret_version": version,
            "source_mark": None,
            **self.seals.seal(merged, row.uid, version),
        }
        if source is not None or _replaces_source(row.source, merged):
            changes["source"] = source
        return changes

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


def _about(credential: Credential, error: SecretUnreadable) -> SecretUnreadable:
    return SecretUnreadable(f"credential {credential.name}: {error}")


def _check_source(source: str, secret: Secret | None) -> None:
    parse_source(source)
    if secret is not None and _replaces_source(source, secret):
        raise InputError("a credential has a source or a stored password or key, not both")


def _replaces_source(source: str | None, secret: Secret) -> bool:
    """Whether the stored secret and what the source gives cannot be one secret: an agent's key may have a password."""
    if secret.private_key:
        return True
    return bool(secret.password) and not (source or "").startswith("agent:")


async def _keep(
    connection: AsyncConnection, row: Row[Any], until: datetime, now: datetime, *, replaced: bool
) -> None:
    """Keep the secret of ``row`` until then; forget every previous one where that is over already."""
    if until <= now:
        await kept.forget(connection, row.id)
        return
    if not replaced:
        raise InputError("there is no previous secret to keep: nothing about the secret changes")
    if row.source is not None:
        raise InputError(
            f"the previous secret of {row.name} cannot be kept: it is in its source ({row.source.partition(':')[0]}:), "
            "not here"
        )
    await kept.keep(connection, row, until)


async def _set_tags(connection: AsyncConnection, key: int, names: AbstractSet[str]) -> None:
    await tags.replace(connection, credential_tags, {key: names})


def _named(name: str) -> Select[Any]:
    return select(credentials).where(credentials.c.name == name)


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


def _given(secret: Secret | None) -> dict[str, str]:
    """The parts that are to replace the stored ones."""
    return {part: value for part in COLUMNS if (value := getattr(secret, part, None)) is not None}
