"""A database that fails in the middle of a run: the run stops with a clear error, at once, and hangs nobody."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from netraven.errors import RecorderStopped
from netraven.lab import Fleet, fleet
from netraven.storage import engine
from tests.acceptance.installation import Installation, credential
from tests.acceptance.processes import PATIENCE, Command, Ended, LabProcess, collecting
from tests.acceptance.test_kill import compare
from tests.acceptance.wire import Wire, through

CONCURRENCY = 10


def said_clearly(ended: Ended) -> None:
    assert ended.code == 2, (ended.code, ended.err)
    assert "Traceback" not in ended.err
    assert "can no longer be recorded" in ended.err
    lines = [line for line in ended.err.splitlines() if line.startswith("error")]
    assert len(lines) == 1, ended.err


async def check_what_is_left(lab: LabProcess, installation: Installation, command: Command) -> None:
    """What was written before is there, in step with the wire; the run is found as interrupted, the next one works."""
    await lab.until_left()
    assert compare(lab.attempts(), await installation.attempts()) <= CONCURRENCY + 2  # control logins
    listed = await command("run", "list", "--json", config=installation.file)
    assert [entry["status"] for entry in listed.json] == ["interrupted"]
    assert "pending" not in {row["verdict"] for row in await installation.attempts()}
    again = await command("collect", "--json", config=installation.file)
    assert again.code == 0, again.err


@pytest.fixture
def made() -> Fleet:
    return fleet(80, shares={"first": 0.6, "second": 0.4}, config_size=4_000)


async def stock(installation: Installation, lab: LabProcess, made: Fleet) -> None:
    await installation.stock(
        lab.csv, [credential(login.name, login.password, priority=n) for n, login in enumerate(made.logins)]
    )
    forgetful(installation)


def forgetful(installation: Installation) -> None:
    """What is in flight when a run breaks off counts as refused, until the service has forgotten it."""
    installation.configure(installation.settings.collect, window=0.5)


@pytest.mark.slow
async def test_a_file_that_can_grow_no_more(
    installation: Installation, tmp_path: Path, made: Fleet, command: Command
) -> None:
    """A quota, here the process's own limit on file sizes."""
    async with LabProcess.running(tmp_path / "lab", made.devices) as lab:
        await stock(installation, lab, made)
        async with collecting(installation, "--concurrency", str(CONCURRENCY)) as run:
            await lab.until(lambda: lab.count("session_closed") > 10, run)
            log = installation.database.with_name("netraven.db-wal")
            size = log.stat().st_size + 4_096
            resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (size, size))
            ended = await run.end()
        said_clearly(ended)
        assert "disk" in ended.err
        await check_what_is_left(lab, installation, command)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with little room on it."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small disk; test_a_file_that_can_grow_no_more does without")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
async def test_a_full_disk(small_disk: Path, tmp_path: Path, made: Fleet, command: Command) -> None:
    installation = await Installation.create(small_disk / "netraven")
    async with LabProcess.running(tmp_path / "lab", made.devices) as lab:
        await stock(installation, lab, made)
        async with collecting(installation, "--concurrency", str(CONCURRENCY)) as run:
            await lab.until(lambda: lab.count("session_closed") > 10, run)
            filler = small_disk / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4_096))
            ended = await run.end()
        said_clearly(ended)
        assert "the disk is full" in ended.err or "disk full" in ended.err
        filler.unlink()
        await check_what_is_left(lab, installation, command)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_a_server_that_goes_away(
    database_url: str, postgresql_server: str, tmp_path: Path, made: Fleet, command: Command
) -> None:
    installation = await Installation.create(tmp_path / "netraven", url=database_url)
    async with Wire(postgresql_server) as wire, LabProcess.running(tmp_path / "lab", made.devices) as lab:
        await stock(installation, lab, made)
        remote = Installation(installation.folder, through(database_url, wire.port))
        forgetful(remote)
        async with collecting(remote, "--concurrency", str(CONCURRENCY)) as run:
            await lab.until(lambda: lab.count("session_closed") > 10, run)
            await wire.cut()
            ended = await run.end()
        said_clearly(ended)
        forgetful(installation)
        await check_what_is_left(lab, installation, command)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_a_server_that_falls_silent(
    database_url: str, postgresql_server: str, tmp_path: Path, made: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that has gone, or a network in between: nobody says goodbye, and still the run ends."""
    monkeypatch.setattr(engine, "ANSWER_TIMEOUT", 2.0)
    installation = await Installation.create(tmp_path / "netraven", url=database_url)
    async with Wire(postgresql_server) as wire, LabProcess.running(tmp_path / "lab", made.devices) as lab:
        await stock(installation, lab, made)
        remote = Installation(installation.folder, through(database_url, wire.port))
        forgetful(remote)
        async with remote.open(concurrency=CONCURRENCY) as raven:
            run = asyncio.create_task(raven.collect())
            await lab.until(lambda: lab.count("session_closed") > 10)
            wire.go_dead()
            async with asyncio.timeout(PATIENCE):
                await asyncio.wait([run])
        with pytest.raises(RecorderStopped, match="the server did not answer in time"):
            await run
        await lab.until_left()
        assert compare(lab.attempts(), await installation.attempts()) <= CONCURRENCY + 2  # control logins
