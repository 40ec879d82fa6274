"""Sealing everything anew under the active key, in small steps, while others read and write.

Each step is a short transaction over a few rows. A row is written only where it still holds what was opened: a secret
that was changed meanwhile is left alone, and met again in the next pass. What is interrupted is gone on with later; the
key id in each sealed secret says what is left to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.credentials.sealing import key_of
from netraven.errors import SecretUnreadable
from netraven.storage import history_keys
from netraven.storage.engine import Database
from netraven.storage.schema import credential_versions, credentials
from netraven.storage.seals import COLUMNS, Seals

BATCH = 50
"""Secrets that are sealed in one transaction."""
PASSES = 10
"""How often to look again for what others sealed meanwhile under a key that they had read before."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Unopened:
    """A stored secret that no key of the ring opens, and why. ``credential`` is None for the keys of the history."""

    credential: str | None
    version: int
    why: str


@dataclass(slots=True)
class Resealed:
    """What was done: how many secret versions were sealed anew, and which could not be."""

    done: int = 0
    unopened: dict[tuple[str | None, int], Unopened] = field(default_factory=dict)


class Resealing:
    def __init__(self, database: Database, seals: Seals) -> None:
        self._database = database
        self._seals = seals

    async def keys_in_use(self) -> Counter[str]:
        """How many secret versions each key has sealed, by key id. Damaged ones are under none."""
        async with self._database.reading() as connection:
            return await _in_use(connection)

    async def run(self, progress: Progress | None = None) -> Resealed:
        """Seal under the active key what is under another; ``progress`` hears how many of how many are done.

        Cancelling it loses nothing: each finished step stays.
        """
        result = Resealed()
        await self._history(result)
        for _ in range(PASSES):
            waiting = await self._waiting(result)
            if not waiting:
                break
            total = result.done + len(waiting)
            for start in range(0, len(waiting), BATCH):
                result.done += await self._step(waiting[start : start + BATCH], result)
                if progress is not None:
                    progress(result.done, total)
        return result

    @asynccontextmanager
    async def settled(self) -> AsyncIterator[Mapping[str, int]]:
        """The keys in use, while nobody can seal anything.

        Who seals reads the keyring anew inside of his transaction (``Seals.renew``). So once all transactions that
        were under way are waited for, nothing more comes under a key that was not the first of the file by then.
        """
        async with self._database.writing() as connection:
            if connection.dialect.name == "postgresql":
                await connection.execute(
                    text("LOCK TABLE credentials, credential_versions IN EXCLUSIVE MODE")
                )
            await history_keys.lock(connection)
            yield await _in_use(connection)

    async def _history(self, result: Resealed) -> None:
        """The keys of stored configurations: a few rows, whatever is encrypted with them."""
        try:
            async with self._database.writing() as connection:
                result.done += await history_keys.reseal(connection, self._seals)
        except SecretUnreadable as error:
            result.unopened[None, 0] = Unopened(None, 0, str(error))

    async def _waiting(self, result: Resealed) -> Sequence[Row[Any]]:
        active = self._active()
        async with self._database.reading() as connection:
            rows = await _all_rows(connection)
        return [
            row
            for row in rows
            if any(key_of(sealed) != active for sealed in _sealed(row))
            and (row.name, row.secret_version) not in result.unopened
        ]

    async def _step(self, rows: Iterable[Row[Any]], result: Resealed) -> int:
        done = 0
        async with self._database.writing() as connection:
            for row in rows:
                try:
                    secret = self._seals.open(row)
                except SecretUnreadable as error:
                    unopened = Unopened(row.name, row.secret_version, str(error))
                    result.unopened[row.name, row.secret_version] = unopened
                    continue
                sealed = self._seals.seal(secret, row.uid, row.secret_version)
                table = credential_versions if row.kept else credentials
                key = credential_versions.c.credential_id if row.kept else credentials.c.id
                unchanged = [
                    table.c[column].is_not_distinct_from(getattr(row, column)) for column in COLUMNS.values()
                ]
                statement = (
                    update(table)
                    .where(key == row.id, table.c.secret_version == row.secret_version, *unchanged)
                    .values(sealed)
                )
                done += (await connection.execute(statement)).rowcount
        return done

    def _active(self) -> str:
        self._seals.renew()
        assert self._seals.keyring is not None  # noqa: S101 - renewed above
        return self._seals.keyring.active_id


async def _all_rows(connection: AsyncConnection) -> Sequence[Row[Any]]:
    """Every secret version with something sealed, of both tables, in the order in which rows are locked."""
    found: list[Row[Any]] = []
    for table in (credentials, credential_versions):
        statement = select(
            credentials.c.id,
            credentials.c.uid,
            credentials.c.name,
            literal(table is credential_versions).label("kept"),
            table.c.secret_version,
            *(table.c[column] for column in COLUMNS.values()),
        ).order_by(credentials.c.id, table.c.secret_version)
        if table is credential_versions:
            statement = statement.join(credentials, credentials.c.id == credential_versions.c.credential_id)
        found += (await connection.execute(statement)).all()
    return [row for row in found if any(True for _ in _sealed(row))]


async def _in_use(connection: AsyncConnection) -> Counter[str]:
    return _keys_of(await _all_rows(connection)) + Counter(await history_keys.sealed_with(connection))


def _sealed(row: Row[Any]) -> Iterator[bytes]:
    return (bytes(sealed) for column in COLUMNS.values() if (sealed := getattr(row, column)) is not None)


def _keys_of(rows: Iterable[Row[Any]]) -> Counter[str]:
    return Counter(
        key for row in rows for key in {key_of(sealed) for sealed in _sealed(row)} if key is not None
    )
