"""Opening a database: the right one, or a clear refusal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from netraven.errors import DatabaseError
from netraven.storage.engine import Database
from netraven.storage.migrate import check, create_and_upgrade, current_revision
from netraven.storage.schema import REVISIONS
from netraven.storage.urls import locate
from tests.databases import OwnServer


async def set_revision(url: str, revision: str) -> None:
    database = Database(locate(url))
    async with database.writing() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
    await database.close()


async def test_an_uninitialised_database_says_what_to_do(empty_url: str) -> None:
    with pytest.raises(DatabaseError, match="netraven db upgrade"):
        await Database.open(empty_url)
    assert await current_revision(empty_url) is None
    assert await create_and_upgrade(empty_url) == REVISIONS[-1]
    assert await create_and_upgrade(empty_url) == REVISIONS[-1]
    assert await current_revision(empty_url) == REVISIONS[-1]
    assert await check(empty_url) == []


async def test_a_newer_database_is_refused_and_left_alone(database_url: str) -> None:
    await set_revision(database_url, "9999")
    for attempt in (Database.open, create_and_upgrade):
        with pytest.raises(DatabaseError, match=r"newer NetRaven \(revision 9999\): upgrade the program"):
            await attempt(database_url)
    assert await current_revision(database_url) == "9999"
    with pytest.raises(DatabaseError, match="newer NetRaven"):
        await check(database_url)


async def test_a_database_without_tables_is_no_finding(empty_url: str) -> None:
    location = locate(empty_url)
    if location.path is not None:
        location.path.touch()
    with pytest.raises(DatabaseError, match="not initialised: run `netraven db upgrade`"):
        await check(empty_url)


async def test_an_older_database_asks_for_the_upgrade(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netraven.storage.engine.REVISIONS", (*REVISIONS, "9999"))
    with pytest.raises(DatabaseError, match=f"at revision {REVISIONS[-1]} .* run `netraven db upgrade`"):
        await Database.open(database_url)


async def test_check_finds_what_differs(database_url: str) -> None:
    database = Database(locate(database_url))
    async with database.writing() as connection:
        await connection.execute(text("DROP INDEX ix_connection_logs_timestamp"))
    await database.close()
    findings = await check(database_url)
    assert any("ix_connection_logs_timestamp" in finding for finding in findings)


class TestSqlite:
    async def test_opening_creates_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(DatabaseError, match="there is no database at"):
            await Database.open(f"sqlite:///{tmp_path}/absent.db")
        assert list(tmp_path.iterdir()) == []

    async def test_the_file_is_its_owners_alone_and_in_wal_mode(self, tmp_path: Path) -> None:
        path = tmp_path / "netraven.db"
        await create_and_upgrade(f"sqlite:///{path}")
        assert path.stat().st_mode & 0o777 == 0o600
        database = await Database.open(f"sqlite+aiosqlite:///{path}")
        async with database.reading() as connection:
            for pragma, value in (("journal_mode", "wal"), ("synchronous", 1), ("foreign_keys", 1)):
                assert (await connection.execute(text(f"PRAGMA {pragma}"))).scalar_one() == value
        await database.close()

    async def test_another_file_is_not_taken_for_a_database(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("not a database, but a page and more of text\n" * 100)
        with pytest.raises(DatabaseError, match="not a SQLite database"):
            await Database.open(f"sqlite:///{path}")

    async def test_a_missing_directory_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DatabaseError, match="its directory does not exist"):
            await create_and_upgrade(f"sqlite:///{tmp_path}/absent/netraven.db")

    async def test_a_read_only_directory_is_named(self, read_only: Path) -> None:
        with pytest.raises(DatabaseError, match=r"write permission|Permission denied"):
            await Database.open(f"sqlite:///{read_only}/netraven.db")
        with pytest.raises(DatabaseError, match=r"cannot create .*Permission denied"):
            await create_and_upgrade(f"sqlite:///{read_only}/other.db")

    async def test_a_writer_waits_in_line_and_a_reader_does_not(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/netraven.db"
        await create_and_upgrade(url)
        async with await Database.open(url) as database, database.writing() as writer:
            await writer.execute(text("INSERT INTO tags (name) VALUES ('edge')"))
            async with database.reading() as reader:
                assert (await reader.execute(text("SELECT count(*) FROM tags"))).scalar_one() == 0


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A directory with a database in it that this process, root or not, cannot write."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        connection = sqlite3.connect(directory / "netraven.db")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (c)")
        connection.close()
        (directory / "netraven.db").chmod(0o444)
        directory.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)  # nobody: for root, permissions do not count
        try:
            yield directory
        finally:
            if root:
                os.seteuid(0)
            directory.chmod(0o755)


class TestServer:
    URL = "postgresql://netraven:very-secret@127.0.0.1:1/netraven"

    async def test_an_unreachable_server(self) -> None:
        for attempt in (Database.open, create_and_upgrade, current_revision):
            with pytest.raises(DatabaseError, match="cannot be reached") as caught:
                await attempt(self.URL)
            assert "very-secret" not in str(caught.value)
            assert "netraven:***@127.0.0.1" in str(caught.value)

    @pytest.mark.postgres
    async def test_a_database_that_is_not_there(self, postgresql_server: str) -> None:
        url = postgresql_server.replace("/postgres?", "/absent_netraven?")
        if url == postgresql_server:
            pytest.skip("the given server's URL names another database")
        with pytest.raises(DatabaseError, match="no database of this name"):
            await Database.open(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "cannot be read"),
        ("netraven.db", "cannot be read"),
        ("mysql://root:very-secret@h/d", "mysql databases are not supported"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("postgresql://u:very-secret@h/d?connect_timeout=soon", "connect_timeout"),
        ("sqlite:///netraven.db?busy_timeout=nan", "busy_timeout"),
    ],
)
def test_urls_that_are_refused(url: str, message: str) -> None:
    with pytest.raises(DatabaseError, match=message) as caught:
        locate(url)
    assert "very-secret" not in str(caught.value)


def test_server_urls_are_read_as_libpq_reads_them() -> None:
    location = locate("postgresql+asyncpg://u:very%2Fsecret@/d?host=/run/pg&ssl=require&connect_timeout=3")
    dsn = location.connect_args["dsn"]
    assert dsn.startswith("postgresql://u:very%2Fsecret@/d?")
    assert "sslmode=require" in dsn
    assert location.connect_args["timeout"] == 3.0
    assert "secret" not in repr(location) + location.shown


async def test_a_file_that_was_moved_away_for_a_moment_is_not_replaced_by_an_empty_one(
    tmp_path: Path,
) -> None:
    url, path, aside = f"sqlite:///{tmp_path}/n%1.db", tmp_path / "n%1.db", tmp_path / "aside"
    await create_and_upgrade(url)
    async with await Database.open(url) as database:
        path.rename(aside)
        for _ in range(2):
            with pytest.raises(DatabaseError, match="cannot be opened"):  # its first reader
                async with database.reading() as connection:
                    await connection.execute(text("SELECT count(*) FROM devices"))
        assert not path.exists()
        aside.rename(path)
        async with database.reading() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM devices"))).scalar_one() == 0


@pytest.mark.postgres
class TestServerThatComesBack:
    """Whatever a server does, it is told in words, and the next transaction after it is well needs no new process."""

    @staticmethod
    async def write(database: Database) -> None:
        async with database.writing() as connection:
            await connection.execute(text("UPDATE runs SET batch = batch"))

    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
    async def test_it_is_stopped_and_started(self, own_server: OwnServer, how: signal.Signals) -> None:
        async with await Database.open(own_server.url) as database:
            await asyncio.gather(*(self.write(database) for _ in range(8)))  # connections that will be stale

            async def cut_off() -> None:
                async with database.writing() as connection:
                    await connection.execute(text("UPDATE runs SET batch = batch"))
                    await own_server.stop(how)

            with pytest.raises(DatabaseError, match=r"connection to the server was lost|ended the statement"):
                await cut_off()
            with pytest.raises(DatabaseError, match="cannot be reached"):
                await self.write(database)
            await own_server.start()
            await asyncio.gather(*(self.write(database) for _ in range(8)))

    async def test_it_is_starting_up(self, own_server: OwnServer) -> None:
        async with await Database.open(own_server.url) as database:
            await own_server.stop(signal.SIGQUIT)  # it has to recover first
            starting = asyncio.create_task(own_server.start())
            while not starting.done():
                try:
                    await self.write(database)
                except DatabaseError as error:
                    assert re.search("cannot be reached|starting up or shutting down", str(error))  # noqa: PT017 - each try may end in either way
                await asyncio.sleep(0.002)
            await starting
            await self.write(database)

    async def test_it_has_no_connections_left(self, own_server: OwnServer) -> None:
        held: list[asyncpg.Connection] = []
        async with await Database.open(own_server.url) as database:
            with contextlib.suppress(asyncpg.TooManyConnectionsError):
                while len(held) < 1_000:
                    held.append(await asyncpg.connect(own_server.url))
            with pytest.raises(DatabaseError, match="no connections left"):
                await asyncio.gather(*(self.write(database) for _ in range(8)))
            for connection in held:
                await connection.close()
            await self.write(database)

    async def test_it_becomes_a_standby_and_another_one_takes_its_place(self, own_server: OwnServer) -> None:
        """Connections stay on the server that cannot be written, so they are given up."""
        admin = await asyncpg.connect(own_server.server_url)
        try:
            await admin.execute("ALTER DATABASE own SET default_transaction_read_only = on")
            async with Database(locate(own_server.url), connections=1) as database:
                with pytest.raises(DatabaseError, match="read-only"):
                    await self.write(database)
                await admin.execute("ALTER DATABASE own RESET default_transaction_read_only")
                await self.write(database)
        finally:
            await admin.close()


async def test_a_locked_file_is_waited_for_as_long_as_the_url_says(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/netraven.db?busy_timeout=0.05"
    await create_and_upgrade(url)
    async with await Database.open(url) as database:
        other = sqlite3.connect(tmp_path / "netraven.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseError, match="another process keeps it locked"):
            await TestServerThatComesBack.write(database)
        other.execute("ROLLBACK")
        other.close()
        await TestServerThatComesBack.write(database)
