"""The keys of the history: what stored configurations are encrypted with, and what secrets in them are marked with.

They are random, and sealed by the keyring in a table of a few rows. So a new key of the keyring means a few rows to
seal anew, not a million configurations; and marks stay the same for ever, so that no secret looks changed because a
key was.
"""

from __future__ import annotations

import os
from typing import Any

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.credentials.sealing import Keyring, UnknownKey, key_of
from netraven.errors import KeyringError, SecretUnreadable
from netraven.history.marks import Marker
from netraven.model import utcnow
from netraven.storage.engine import Database
from netraven.storage.schema import history_keys
from netraven.storage.seals import Seals

_TEXTS, _MARKS = "texts", "marks"
_OF = {_TEXTS: "stored configurations", _MARKS: "marks in the place of secrets"}
_BYTES = 32
_COLUMNS = history_keys.c
_NEWEST = select(func.max(_COLUMNS.number)).where(_COLUMNS.purpose == _TEXTS)


class HistoryKeys:
    """``encrypt``: whether new texts are to be encrypted; what is encrypted already is opened either way."""

    def __init__(self, database: Database, seals: Seals, *, encrypt: bool = True) -> None:
        self.encrypt = encrypt
        self._database = database
        self._seals = seals
        self._texts: Keyring | None = None
        self._newest: int | None = None
        self._marker: Marker | None = None

    def require_key(self) -> None:
        """Raise ``KeyringError`` where texts are to be encrypted and there is no key."""
        if self.encrypt:
            self._seals.require_key()

    async def sealing(self, connection: AsyncConnection) -> Keyring | None:
        """What new texts are encrypted with; None where they are not. Inside of the transaction that writes them.

        Raises ``KeyringError`` where there is no key.
        """
        if not self.encrypt:
            return None
        newest = (await connection.execute(_NEWEST)).scalar_one()
        if newest is None:
            await self._make(connection, _TEXTS, 1)
        elif self._texts is not None and newest == self._newest:
            return self._texts
        return await self._load(connection)

    async def opening(self, connection: AsyncConnection, *, again: bool = False) -> Keyring:
        """What texts are opened with. ``again``: read the keys anew, for one was missing.

        Raises ``KeyringError`` where there is no key, ``SecretUnreadable`` where the one that is there opens nothing.
        """
        if self._texts is None or again:
            return await self._load(connection)
        return self._texts

    async def marker(self) -> Marker:
        """What secrets in texts are marked with; made at the first call. Raises as :meth:`opening` does."""
        if self._marker is None:
            found = await self._mark_key()
            if found is None:
                async with self._database.writing() as connection:
                    await self._make(connection, _MARKS, 1)
                found = await self._mark_key()
            if found is None:
                raise KeyringError("the key of the marks was removed while it was being made: try again")
            self._marker = Marker(found)
        return self._marker

    async def check(self) -> None:
        """Raise ``SecretUnreadable`` where what is collected could not be encrypted, before anybody logs in anywhere.

        That there is no key at all is for ``require_key`` to say.
        """
        if self._seals.keyring is None:
            return
        async with self._database.reading() as connection:
            if (await connection.execute(_NEWEST)).scalar_one() is not None:
                await self._load(connection)

    async def exist(self) -> bool:
        """Whether there are any: something was encrypted, or marked."""
        async with self._database.reading() as connection:
            return (await connection.execute(select(_COLUMNS.number).limit(1))).first() is not None

    async def _mark_key(self) -> bytes | None:
        async with self._database.reading() as connection:
            row = (await connection.execute(select(history_keys).where(_COLUMNS.purpose == _MARKS))).first()
        return None if row is None else self._opened(row)

    async def _make(self, connection: AsyncConnection, purpose: str, number: int) -> None:
        """Whoever comes second keeps the first one's key."""
        self._seals.renew()
        assert self._seals.keyring is not None  # noqa: S101 - renewed above
        sealed = self._seals.keyring.seal_bytes(os.urandom(_BYTES), _identity(purpose, number))
        row = {"purpose": purpose, "number": number, "sealed_key": sealed, "created_at": utcnow()}
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        await connection.execute(dialect.insert(history_keys).values(row).on_conflict_do_nothing())

    async def _load(self, connection: AsyncConnection) -> Keyring:
        statement = select(history_keys).where(_COLUMNS.purpose == _TEXTS).order_by(_COLUMNS.number.desc())
        rows = (await connection.execute(statement)).all()
        if not rows:
            raise SecretUnreadable("the keys of stored configurations are missing from the database")
        self._texts = Keyring([self._opened(row) for row in rows])
        self._newest = rows[0].number
        return self._texts

    def _opened(self, row: Any) -> bytes:
        self._seals.require_key()
        sealed, identity = bytes(row.sealed_key), _identity(row.purpose, row.number)
        assert self._seals.keyring is not None  # noqa: S101 - required above
        try:
            try:
                return self._seals.keyring.open_bytes(sealed, identity)
            except UnknownKey:
                self._seals.renew()
            return self._seals.keyring.open_bytes(sealed, identity)
        except SecretUnreadable as error:  # no key of texts is unknown: one of the keyring is
            raise SecretUnreadable(f"the key of {_OF[row.purpose]} cannot be opened: {error}") from error


async def lock(connection: AsyncConnection) -> None:
    """Nobody makes or seals a key until the transaction ends."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text("LOCK TABLE history_keys IN EXCLUSIVE MODE"))


async def sealed_with(connection: AsyncConnection) -> list[str]:
    """The id of the key of the keyring that has sealed each of them."""
    sealed = (await connection.execute(select(_COLUMNS.sealed_key))).scalars()
    return [key for key in map(key_of, map(bytes, sealed)) if key is not None]


async def reseal(connection: AsyncConnection, seals: Seals) -> int:
    """Seal under the active key what is under another, and begin a new key for texts; how many were sealed anew.

    What a lost key of the keyring has opened once stays open to whoever copied it; what is stored from now on is not.
    Raises ``SecretUnreadable``, with nothing done.
    """
    seals.renew()
    assert seals.keyring is not None  # noqa: S101 - renewed above
    done, newest = 0, 0
    for row in (await connection.execute(select(history_keys).with_for_update())).all():
        if row.purpose == _TEXTS:
            newest = max(newest, row.number)
        sealed = bytes(row.sealed_key)
        if key_of(sealed) == seals.keyring.active_id:
            continue
        identity = _identity(row.purpose, row.number)
        key = seals.keyring.open_bytes(sealed, identity)
        await connection.execute(
            update(history_keys)
            .where(_COLUMNS.purpose == row.purpose, _COLUMNS.number == row.number)
            .values(sealed_key=seals.keyring.seal_bytes(key, identity))
        )
        done += 1
    if done and newest:
        fresh = seals.keyring.seal_bytes(os.urandom(_BYTES), _identity(_TEXTS, newest + 1))
        values = {"purpose": _TEXTS, "number": newest + 1, "sealed_key": fresh, "created_at": utcnow()}
        await connection.execute(insert(history_keys).values(values))
    return done


def _identity(purpose: str, number: int) -> str:
    return f"history:{purpose}:{number}"
