"""Texts as they are stored: compressed, encrypted, and found by the SHA-256 of what they hold."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import zstandard
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.credentials.sealing import Keyring, UnknownKey
from netraven.errors import DatabaseError, KeyringError, SecretUnreadable
from netraven.storage.history_keys import HistoryKeys
from netraven.storage.schema import blobs
from netraven.storage.types import padded

LARGE = 256 * 1024
"""Bytes from which hashing and compressing leave the event loop: a millisecond's work and more."""

COLUMNS = (blobs.c.sha256, blobs.c.codec, blobs.c.size, blobs.c.data, blobs.c.sealed)
"""What :func:`opened` needs of a row."""

_LEVEL = 3
_CODEC = "zstd"
_SQLITE = sqlite.insert(blobs).on_conflict_do_nothing(index_elements=[blobs.c.sha256])
_POSTGRESQL = postgresql.insert(blobs).on_conflict_do_nothing(index_elements=[blobs.c.sha256])


async def digest(data: bytes) -> bytes:
    if len(data) < LARGE:
        return hashlib.sha256(data).digest()
    return (await asyncio.to_thread(hashlib.sha256, data)).digest()


async def add(connection: AsyncConnection, keys: HistoryKeys, texts: Iterable[tuple[bytes, bytes]]) -> None:
    """Store texts by their SHA-256, once each. Raises ``KeyringError`` where they cannot be encrypted."""
    keyring = await keys.sealing(connection)
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    rows = []
    for sha256, data in sorted(texts):
        if len(data) < LARGE:
            rows.append(_packed(compressor, keyring, sha256, data))
        else:
            rows.append(await asyncio.to_thread(_packed, compressor, keyring, sha256, data))
    if rows:
        await connection.execute(_SQLITE if connection.dialect.name == "sqlite" else _POSTGRESQL, rows)


def _packed(
    compressor: zstandard.ZstdCompressor, keyring: Keyring | None, sha256: bytes, data: bytes
) -> dict[str, Any]:
    packed = compressor.compress(data)
    if keyring is not None:
        packed = keyring.seal_bytes(packed, _identity(sha256))
    return {
        "sha256": sha256,
        "codec": _CODEC,
        "size": len(data),
        "data": packed,
        "sealed": keyring is not None,
        "base": None,
    }


class Opener:
    """Reads texts back, in one transaction."""

    def __init__(self, connection: AsyncConnection, keys: HistoryKeys) -> None:
        self._connection = connection
        self._keys = keys

    async def text(self, row: Any, whose: str) -> bytes:
        """What a row with :data:`COLUMNS` holds. Raises ``DatabaseError``, which speaks of ``whose`` it is."""
        sha256 = bytes(row.sha256)
        if row.codec != _CODEC:
            raise DatabaseError(f"{whose} is stored as {row.codec}: upgrade the program")
        data = bytes(row.data)
        if row.sealed:
            data = await self._unsealed(data, sha256, whose)
        large = row.size >= LARGE
        try:
            return (
                await asyncio.to_thread(_checked, data, sha256, row.size)
                if large
                else _checked(data, sha256, row.size)
            )
        except (zstandard.ZstdError, ValueError) as error:
            raise DatabaseError(f"{whose} is damaged in the database") from error

    async def _unsealed(self, data: bytes, sha256: bytes, whose: str) -> bytes:
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
    return select(*COLUMNS).where(blobs.c.sha256.in_(padded(digests)))


def _checked(data: bytes, sha256: bytes, size: int) -> bytes:
    """Unpack; raise ``ValueError`` for what is not the text that was stored."""
    found = zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
    if hashlib.sha256(found).digest() != sha256:
        raise ValueError("another digest")
    return found


def _identity(sha256: bytes) -> str:
    return f"text:{sha256.hex()}"
