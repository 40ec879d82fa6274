"""Texts as they are stored: compressed, encrypted, and found by the SHA-256 of what they hold."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.credentials.sealing import Keyring, UnknownKey
from netraven.errors import DatabaseError, KeyringError, SecretUnreadable
from netraven.storage import codecs
from netraven.storage.codecs import BASE, DIFFERENCE, FULL
from netraven.storage.history_keys import HistoryKeys
from netraven.storage.schema import blobs
from netraven.storage.types import padded

LARGE = 256 * 1024
"""Bytes from which hashing and compressing leave the event loop: a millisecond's work and more."""

_bases = blobs.alias("bases")
WITH_BASE = blobs.outerjoin(_bases, _bases.c.sha256 == blobs.c.base)
"""Where :data:`COLUMNS` are: a text beside the one that it is a difference to, read in the same moment."""
ENCODED = (
    blobs.c.codec,
    blobs.c.data,
    blobs.c.sealed,
    blobs.c.base,
    *(_bases.c[name].label(f"base_{name}") for name in ("codec", "size", "data", "sealed")),
)
COLUMNS = (blobs.c.sha256, blobs.c.size, *ENCODED)
"""What :meth:`Opener.text` needs of a row."""

_TRIES = 10
_CACHED = 8 * 1024 * 1024
"""Bytes of bases that are kept while a page of differences to them is read."""
_SQLITE = sqlite.insert(blobs).on_conflict_do_nothing(index_elements=[blobs.c.sha256])
_POSTGRESQL = postgresql.insert(blobs).on_conflict_do_nothing(index_elements=[blobs.c.sha256])


async def digest(data: bytes) -> bytes:
    if len(data) < LARGE:
        return hashlib.sha256(data).digest()
    return (await asyncio.to_thread(hashlib.sha256, data)).digest()


async def add(connection: AsyncConnection, keys: HistoryKeys, texts: Iterable[tuple[bytes, bytes]]) -> None:
    """Store texts by their SHA-256, once each. Raises ``KeyringError`` where they cannot be encrypted.

    They stay until the transaction ends, whoever prunes: what it puts beside them by then keeps them. One that was
    there and cannot be read any more is stored anew.
    """
    given = dict(texts)
    keyring = await keys.sealing(connection)
    rows: list[dict[str, Any]] = []
    for sha256, data in sorted(given.items()):
        packed = codecs.packed(data) if len(data) < LARGE else await asyncio.to_thread(codecs.packed, data)
        rows.append(
            {
                "sha256": sha256,
                "codec": FULL,
                "size": len(data),
                "data": sealed(packed, sha256, keyring),
                "sealed": keyring is not None,
                "base": None,
            }
        )
    if not rows:
        return
    there = await _there(connection, given)
    if connection.dialect.name == "sqlite":
        await connection.execute(_SQLITE, rows)
    else:
        await _insert(connection, rows)
    if there:
        await _repair(connection, keys, there, rows)


async def _there(connection: AsyncConnection, digests: Iterable[bytes]) -> list[bytes]:
    found = await connection.execute(select(blobs.c.sha256).where(blobs.c.sha256.in_(padded(digests))))
    return [bytes(digest) for digest in found.scalars()]


async def _insert(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    for _ in range(_TRIES):
        if not rows:
            return
        await connection.execute(_POSTGRESQL, rows)
        held = await hold(connection, [row["sha256"] for row in rows])
        rows = [row for row in rows if row["sha256"] not in held]
    raise DatabaseError("texts are removed from the database as soon as they are stored: who does that?")


async def _repair(
    connection: AsyncConnection, keys: HistoryKeys, there: Sequence[bytes], rows: Sequence[dict[str, Any]]
) -> None:
    """Put right what was there already and cannot be read: what is lost of it is at hand."""
    opener = Opener(connection, keys)
    stored = {bytes(row.sha256): row for row in (await connection.execute(selected(there))).all()}
    for row in rows:
        sha256 = row["sha256"]
        if sha256 not in stored:
            continue
        try:
            await opener.text(stored[sha256], "a text")
        except DatabaseError as error:
            if isinstance(error.__cause__, KeyringError):
                continue  # it is whole, but there is no key here
            needed = (await connection.execute(select(blobs.c.sha256).where(blobs.c.base == sha256))).first()
            whole = row | {"codec": FULL if needed is None else BASE}
            await connection.execute(update(blobs).where(blobs.c.sha256 == sha256).values(whole))


async def hold(connection: AsyncConnection, digests: Iterable[bytes]) -> set[bytes]:
    """Those of the texts that are there; they stay so until the transaction ends.

    A text that was there already is not locked by an insert that leaves it alone: a prune in the same moment would
    take it away from under the version that is about to point to it. SQLite has one writer at a time.
    """
    statement = (
        select(blobs.c.sha256)
        .where(blobs.c.sha256.in_(padded(digests)))
        .order_by(blobs.c.sha256)
        .with_for_update(read=True, key_share=True)
    )
    return {bytes(found) for found in (await connection.execute(statement)).scalars()}


async def sizes(connection: AsyncConnection, digests: Iterable[bytes]) -> dict[bytes, int]:
    """How many bytes these texts have, those that are there."""
    statement = select(blobs.c.sha256, blobs.c.size).where(blobs.c.sha256.in_(padded(digests)))
    return {bytes(row.sha256): row.size for row in await connection.execute(statement)}


def sealed(packed: bytes, sha256: bytes, keyring: Keyring | None) -> bytes:
    return packed if keyring is None else keyring.seal_bytes(packed, _identity(sha256))


class Opener:
    """Reads texts back, in one transaction."""

    def __init__(self, connection: AsyncConnection, keys: HistoryKeys) -> None:
        self._connection = connection
        self._keys = keys
        self._bases: OrderedDict[bytes, codecs.Base] = OrderedDict()
        self._cached = 0

    async def text(self, row: Any, whose: str) -> bytes:
        """What a row with :data:`COLUMNS` holds. Raises ``DatabaseError``, which speaks of ``whose`` it is."""
        sha256 = bytes(row.sha256)
        if row.codec == DIFFERENCE:
            base = await self._base(row, whose)
            unpack = base.unpacked
        elif row.codec in (FULL, BASE):
            unpack = codecs.unpacked
        else:
            raise DatabaseError(f"{whose} is stored as {row.codec}: upgrade the program")
        data = await self.clear(bytes(row.data), sha256, row.sealed, whose)
        try:
            if row.size < LARGE:
                return unpack(data, sha256, row.size)
            return await asyncio.to_thread(unpack, data, sha256, row.size)
        except ValueError as error:
            raise DatabaseError(f"{whose} is damaged in the database") from error

    async def _base(self, row: Any, whose: str) -> codecs.Base:
        sha256 = bytes(row.base or b"")
        if (known := self._bases.get(sha256)) is not None:
            self._bases.move_to_end(sha256)
            return known
        if row.base_data is None:
            raise DatabaseError(
                f"{whose} is damaged in the database: the text that it differs from is missing"
            )
        if row.base_codec not in (FULL, BASE):
            raise DatabaseError(
                f"{whose} differs from a text that is stored as {row.base_codec}: upgrade the program"
            )
        whole = f"the text that {whose} differs from"
        data = await self.clear(bytes(row.base_data), sha256, row.base_sealed, whole)
        try:
            text = (
                codecs.unpacked(data, sha256, row.base_size)
                if row.base_size < LARGE
                else await asyncio.to_thread(codecs.unpacked, data, sha256, row.base_size)
            )
        except ValueError as error:
            raise DatabaseError(f"{whole} is damaged in the database") from error
        base = self._bases[sha256] = codecs.Base(text)
        self._cached += len(text)
        while self._cached > _CACHED and len(self._bases) > 1:
            _, gone = self._bases.popitem(last=False)
            self._cached -= len(gone.data)
        return base

    async def clear(self, data: bytes, sha256: bytes, is_sealed: bool, whose: str) -> bytes:
        """What is stored of a text, decrypted where it is encrypted."""
        if not is_sealed:
            return data
        try:
            try:
                return (await self._keys.opening(self._connection)).open_bytes(data, _identity(sha256))
            except UnknownKey:
                keyring = await self._keys.opening(self._connection, again=True)
                return keyring.open_bytes(data, _identity(sha256))
        except UnknownKey as error:
            raise DatabaseError(f"{whose} is encrypted with a key that is not in the database") from error
        except KeyringError as error:
            raise DatabaseError(f"{whose} is encrypted: {error}") from error
        except SecretUnreadable as error:
            raise DatabaseError(f"{whose} cannot be decrypted: {error}") from error


def selected(digests: Sequence[bytes]) -> Any:
    """The texts of these digests, as :meth:`Opener.text` reads them."""
    return select(*COLUMNS).select_from(WITH_BASE).where(blobs.c.sha256.in_(padded(digests)))


def _identity(sha256: bytes) -> str:
    return f"text:{sha256.hex()}"
