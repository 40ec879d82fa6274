"""One open database: how its transactions begin, and who may read and write at once.

SQLite. The driver's own transactions lose updates between processes, and a transaction that first reads and then
writes fails with "database is locked" whatever the timeout. So the driver is kept in autocommit, and writers begin
with BEGIN IMMEDIATE, which takes the write lock before the first read. Readers have connections of their own; in WAL
mode they neither wait for the writer nor stop it. PostgreSQL has one pool for both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import event, inspect, text
from sqlalchemy.engine import Connection, ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from netraven.errors import DatabaseError, DatabaseUnfit
from netraven.storage import driver
from netraven.storage.faults import mapped
from netraven.storage.schema import REVISIONS
from netraven.storage.urls import Location, locate

ANSWER_TIMEOUT = 60.0
"""Seconds that PostgreSQL may take for a statement. Past them it is lost: a host that has gone says no goodbye, and a
run that waited for it would hang. Migrations may take longer."""


_READ_ONLY = "25006"
"""SQLSTATE of a write where nothing can be written (PostgreSQL, Appendix A)."""


class Database:
    """An open database of the right schema revision. Close it, or use it as ``async with await Database.open(url)``."""

    def __init__(self, location: Location, *, connections: int = 5) -> None:
        """Make the engines; nothing is opened yet. Everyone but ``migrate`` uses :meth:`open`."""
        self.location = location
        self._file: tuple[int, int] | None = None
        if location.path is not None:
            opening = partial(driver.connect, location.path, **location.connect_args)
            self._writer = _sqlite_engine(opening, begin="BEGIN IMMEDIATE", connections=1)
            self._reader = _sqlite_engine(opening, begin="BEGIN", connections=connections)
        else:
            self._writer = self._reader = _postgresql_engine(location, connections=connections)

    @classmethod
    async def open(cls, url: str, *, connections: int = 5) -> Database:
        """Open the database at ``url`` and make sure that it is there, writable and of this program's revision.

        ``connections``: how many readers at once (PostgreSQL: readers and writers). Raises ``DatabaseError`` with what
        to do, and never with the password.
        """
        location = locate(url)
        if location.path is not None and not location.path.exists():
            raise DatabaseUnfit(
                f"there is no database at {location.path}: run `netraven db upgrade` (or `netraven init`)"
            )
        if not location.is_sqlite:
            location = replace(
                location, connect_args={**location.connect_args, "command_timeout": ANSWER_TIMEOUT}
            )
        database = cls(location, connections=connections)
        try:
            async with database.writing() as connection:
                revision = await connection.run_sync(stored_revision)
            refuse_other_revisions(revision, location.shown)
        except BaseException:
            await database.close()
            raise
        return database

    @property
    def shown(self) -> str:
        """The database for people: a path, or a URL without its password."""
        return self.location.shown

    @property
    def is_sqlite(self) -> bool:
        return self.location.is_sqlite

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may write: committed at the end of the block, undone when the block raises."""
        self._same_file()
        with mapped(self.shown):
            async with self._writer.begin() as connection:
                yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads. Keep it short: what it sees does not move on, and SQLite's log grows."""
        with mapped(self.shown):
            async with self._reader.connect() as connection:
                yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A transaction in which all statements see one and the same moment, for what has to fit together.

        As long as it lasts, SQLite's log grows by what others write, and PostgreSQL keeps what others remove.
        """
        with mapped(self.shown):
            async with self._reader.connect() as connection:
                if self.is_sqlite:
                    yield connection
                else:
                    yield await connection.execution_options(isolation_level="REPEATABLE READ")

    async def autocommit(self, statement: str) -> Any:
        """Run one statement that SQLite refuses inside a transaction, and return its first value."""
        with mapped(self.shown):
            async with self._writer.connect() as connection:
                raw = await connection.get_raw_connection()
                cursor = await raw.driver_connection.execute(statement)  # type: ignore[union-attr]  # there is one while connected
                row = await cursor.fetchone()
                await cursor.close()
                return row[0] if row else None

    def _same_file(self) -> None:
        """Raise ``DatabaseError`` where the SQLite file is not the one that was opened: writes would be lost."""
        path = self.location.path
        if path is None:
            return
        try:
            found = path.stat()
        except OSError:
            found = None
        now = None if found is None else (found.st_dev, found.st_ino)
        if self._file is None:
            self._file = now
        elif now != self._file:
            raise DatabaseError(
                f"database {self.shown}: the file was removed or replaced while it was in use"
            )

    async def close(self) -> None:
        await self._writer.dispose()
        if self._reader is not self._writer:
            await self._reader.dispose()

    async def __aenter__(self) -> Database:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Database {self.shown}>"


def _sqlite_engine(connect: Callable[[], Awaitable[Any]], *, begin: str, connections: int) -> AsyncEngine:
    engine = create_async_engine(
        "sqlite+aiosqlite://",
        async_creator=connect,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=connections,
        max_overflow=0,
        pool_reset_on_return=None,  # every transaction here is ended by the block that began it
        hide_parameters=True,
    )

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _postgresql_engine(location: Location, *, connections: int) -> AsyncEngine:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        connect_args=location.connect_args,
        pool_size=connections,
        hide_parameters=True,
    )

    @event.listens_for(engine.sync_engine, "checkout")
    def _replace_if_closed(connection: Any, *_: object) -> None:
        """Take a new connection where the server has hung up meanwhile: known without asking it."""
        if connection.driver_connection.is_closed():
            raise DisconnectionError

    @event.listens_for(engine.sync_engine, "handle_error")
    def _leave_a_standby(context: ExceptionContext) -> None:
        """A server that cannot be written was the right one before, perhaps: new connections find the one that is."""
        if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
            context.is_disconnect = True

    return engine


def stored_revision(connection: Connection) -> str | None:
    """The schema revision that the database says it has; None where it was never initialised."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def refuse_other_revisions(revision: str | None, where: str) -> None:
    """Raise ``DatabaseUnfit`` unless the database is of the revision that this program reads and writes."""
    if revision is None:
        raise DatabaseUnfit(f"database {where} is not initialised: run `netraven db upgrade`")
    if revision not in REVISIONS:
        raise DatabaseUnfit(
            f"database {where} is of a newer NetRaven (revision {revision}): upgrade the program"
        )
    if revision != REVISIONS[-1]:
        raise DatabaseUnfit(
            f"database {where} is at revision {revision} and this program needs {REVISIONS[-1]}: "
            "run `netraven db upgrade`"
        )
