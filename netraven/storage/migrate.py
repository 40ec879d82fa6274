"""Creating a database and bringing it to this program's schema, with alembic behind it.

The scripts travel inside the package (``_alembic``); in a checkout they are the ``alembic/`` at its top. Alembic is
configured here, in code: there is no ini file to find, and nobody's logging is touched.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.errors import DatabaseError
from netraven.storage.engine import Database, refuse_other_revisions, stored_revision
from netraven.storage.faults import mapped
from netraven.storage.schema import REVISIONS, metadata
from netraven.storage.urls import Location, locate

_UPGRADE_LOCK = 0x6E65747261766E  # PostgreSQL's advisory locks are numbers: "netravn"
_WAL_TRIES = 300
_WAL_PAUSE = 0.1  # seconds


def script_directory() -> Path:
    """Where the migration scripts are: inside the installed package, else at the top of the checkout."""
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "_alembic", package.parent / "alembic"):
        if (candidate / "env.py").is_file():
            return candidate
    raise DatabaseError("this installation of NetRaven lacks its database migrations: install it again")


def alembic_config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(script_directory()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


async def create_and_upgrade(url: str) -> str:
    """Create the database where it is a file, bring it to the newest revision, and return that revision.

    Twice is harmless, and so are two processes at once. A database of a newer NetRaven is refused untouched. The file
    is created readable by its owner only. A PostgreSQL database must exist; its tables need not.
    """
    location = locate(url)
    if location.path is not None:
        _create_file(location.path)
    database = Database(location)
    try:
        if location.is_sqlite:
            await _enable_wal(database)
        async with database.writing() as connection:
            if not location.is_sqlite:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
            revision = await connection.run_sync(stored_revision)
            if revision is not None and revision not in REVISIONS:
                refuse_other_revisions(revision, database.shown)
            await connection.run_sync(migrate, REVISIONS[-1])
    finally:
        await database.close()
    return REVISIONS[-1]


def migrate(connection: Connection, revision: str) -> None:
    """Bring the database to ``revision``, up or down (``base``: no tables), inside the caller's transaction."""
    config = alembic_config(connection)
    current = stored_revision(connection)
    rank = {"base": -1, None: -1} | {known: place for place, known in enumerate(REVISIONS)}
    if rank[revision] >= rank[current]:
        command.upgrade(config, revision)
    else:
        command.downgrade(config, revision)


async def current_revision(url: str) -> str | None:
    """The revision of the database at ``url``; None where it does not exist or was never initialised."""
    location = locate(url)
    if location.path is not None and not location.path.exists():
        return None
    database = Database(location)
    try:
        async with database.reading() as connection:
            return await connection.run_sync(stored_revision)
    finally:
        await database.close()


async def check(url: str) -> list[str]:
    """Look the database over and say what is wrong with it, a line each; an empty list says that all is well.

    Reads the file through on SQLite, and compares every table, column and index with what this program expects.
    Raises ``DatabaseError`` where the database cannot be opened, or is of no revision that this program can use.
    """
    location = locate(url)
    if location.path is not None and not location.path.exists():
        raise DatabaseError(f"there is no database at {location.path}: run `netraven db upgrade`")
    database = Database(location)
    try:
        async with database.reading() as connection:
            revision = await connection.run_sync(stored_revision)
            refuse_other_revisions(revision, database.shown)
            return [*await _integrity(connection, location), *await connection.run_sync(differences)]
    finally:
        await database.close()


def differences(connection: Connection) -> list[str]:
    """Where the tables differ from schema.py, a line each."""
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return [f"schema differs: {difference}" for difference in compare_metadata(context, metadata)]


async def _integrity(connection: AsyncConnection, location: Location) -> list[str]:
    if not location.is_sqlite:
        await connection.execute(text("SELECT count(*) FROM credentials"))
        return []
    answers = (await connection.execute(text("PRAGMA quick_check"))).scalars().all()
    findings = [f"the file is damaged: {answer}" for answer in answers if answer != "ok"]
    mode = (await connection.execute(text("PRAGMA journal_mode"))).scalar_one()
    if mode != "wal":
        findings.append(f"journal mode is {mode}, not WAL: run `netraven db upgrade`")
    return findings


def _create_file(path: Path) -> None:
    """Create the file with its permissions before SQLite would, so that it is never readable by others."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        pass
    except FileNotFoundError as error:
        raise DatabaseError(f"cannot create the database {path}: its directory does not exist") from error
    except OSError as error:
        raise DatabaseError(f"cannot create the database {path}: {error.strerror}") from error


async def _enable_wal(database: Database) -> None:
    """Set write-ahead logging, which the file remembers.

    SQLite fails at once, whatever the busy timeout, when two processes set it together; the one that lost asks again.
    """
    with mapped(database.shown):
        for remaining in reversed(range(_WAL_TRIES)):
            try:
                mode = await database.autocommit("PRAGMA journal_mode = WAL")
            except DatabaseError:
                if not remaining:
                    raise
                await asyncio.sleep(_WAL_PAUSE)
                continue
            if mode != "wal":
                raise DatabaseError(
                    f"database {database.shown}: this file system does not support SQLite's WAL mode"
                )
            return
