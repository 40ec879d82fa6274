"""aiosqlite with one trip to its thread for each statement.

An aiosqlite connection is a thread that holds the sqlite3 connection. Asked as SQLAlchemy asks, a statement crosses
to that thread and back four times: make a cursor, execute, fetch, close. Each crossing costs as much as a small
statement itself (50 to 100 us). Here they are one: cheaper by half for a transaction of a few statements, which is
what a run makes all the time.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import aiosqlite

BUSY_TIMEOUT = 30.0
"""Seconds that a transaction waits for another process's to end."""
PRAGMAS = ("synchronous = NORMAL", "foreign_keys = ON")


async def connect(path: Path, *, busy_timeout: float = BUSY_TIMEOUT) -> aiosqlite.Connection:
    """Open a connection in autocommit: transactions begin and end as ``engine`` says, not where the driver guesses.

    ``busy_timeout``: seconds that it waits for a lock that another process holds. The file has to be there: SQLite
    would make an empty one in place of one that was moved away for a moment, and the connection would go on with that.
    """

    def connector() -> sqlite3.Connection:
        uri = f"{path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=busy_timeout)
        try:
            for pragma in PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    connection = OneTripConnection(connector, iter_chunk_size=64)
    thread = connection._thread
    thread.daemon = True  # never what keeps a process from ending
    try:
        return await connection
    except BaseException:
        await asyncio.to_thread(
            thread.join
        )  # its last words are for this event loop, so wait until they are said
        raise


class OneTripConnection(aiosqlite.Connection):
    """As aiosqlite's, but for what ``cursor`` gives."""

    def cursor(self) -> Any:
        return _Cursor(self)

    async def once(self, work: Callable[..., None], *args: Any, **options: Any) -> None:
        """Do ``work`` in the connection's thread."""
        await self._execute(work, *args, **options)  # type: ignore[no-untyped-call]  # aiosqlite leaves it untyped


class _Cursor:
    """What SQLAlchemy's adapter uses of an aiosqlite cursor; rows are fetched with the execution."""

    __slots__ = ("_connection", "_rows", "arraysize", "description", "lastrowid", "rowcount")

    def __init__(self, connection: OneTripConnection) -> None:
        self._connection = connection
        self._rows: Sequence[Any] = ()
        self.arraysize = 1
        self.description: Any = None
        self.lastrowid: int | None = None
        self.rowcount = -1

    async def __aenter__(self) -> _Cursor:
        return self

    async def execute(self, operation: str, parameters: Any = ()) -> _Cursor:
        await self._connection.once(self._run, operation, parameters, many=False)
        return self

    async def executemany(self, operation: str, parameters: Iterable[Any]) -> _Cursor:
        await self._connection.once(self._run, operation, parameters, many=True)
        return self

    async def fetchall(self) -> Sequence[Any]:
        rows, self._rows = self._rows, ()
        return rows

    async def close(self) -> None:
        """Closed since its rows were fetched."""

    def _run(self, operation: str, parameters: Any, *, many: bool) -> None:
        """In the connection's thread."""
        cursor = self._connection._conn.cursor()
        try:
            (cursor.executemany if many else cursor.execute)(operation, parameters)
            self.description, self.lastrowid, self.rowcount = (
                cursor.description,
                cursor.lastrowid,
                cursor.rowcount,
            )
            self._rows = cursor.fetchall() if cursor.description else ()
        finally:
            cursor.close()
