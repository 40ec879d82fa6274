"""`kill -9` at any moment: the branch is where it was or further, and the next export ends as this one would."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from netraven.credentials.sealing import write_new_key_file
from netraven.storage.store import SqlStore
from tests.git.repositories import History, commits, exporter, sound

ROOT = Path(__file__).parents[2]
VERSIONS = 12


@pytest.fixture
def backend() -> str:
    return "sqlite"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    write_new_key_file(tmp_path / "netraven.key")
    return tmp_path / "netraven.key"


@pytest.fixture
async def store(database_url: str, key_file: Path) -> AsyncIterator[SqlStore]:
    async with SqlStore.open(database_url, key_file=key_file) as store:
        history = History(store)
        for name in ("r1", "r2", "r3"):
            await history.device(name)
        for round_ in range(VERSIONS // 3):
            await history.run({name: f"hostname {name}\nround {round_}\n" for name in ("r1", "r2", "r3")})
        yield store


async def start(url: str, key_file: Path, path: Path, checkpoint: int, what: str = "export") -> Process:
    words = [sys.executable, "-m", "tests.git.export_process", url, key_file, path, checkpoint, what]
    return await asyncio.create_subprocess_exec(*map(str, words), cwd=ROOT, stdin=PIPE, stdout=PIPE)


async def upto(process: Process, number: int) -> None:
    """Let it go on until it is about to write this version."""
    assert process.stdout is not None
    assert process.stdin is not None
    for reached in range(1, number + 1):
        assert await process.stdout.readline() == b"version\n"
        if reached < number:
            process.stdin.write(b"\n")
            await process.stdin.drain()


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


@pytest.mark.parametrize("git_too", [False, True], ids=["exporter", "exporter-and-git"])
@pytest.mark.parametrize(("number", "checkpoint"), [(1, 1000), (5, 3), (7, 1), (11, 6), (12, 1000)])
async def test_the_next_export_carries_on(
    store: SqlStore,
    database_url: str,
    key_file: Path,
    tmp_path: Path,
    number: int,
    checkpoint: int,
    git_too: bool,
) -> None:
    whole, path = tmp_path / "whole.git", tmp_path / "configs.git"
    await exporter(store, whole).export()
    process = await start(database_url, key_file, path, checkpoint)
    await upto(process, number)
    doomed = [*(children(process.pid) if git_too else ()), process.pid]
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)
    await process.wait()
    process._transport.close()  # type: ignore[attr-defined] # the pipes of one that was killed
    report = await exporter(store, path).export()
    assert commits(path) == commits(whole)
    assert 0 < report.commits <= VERSIONS // 3
    if checkpoint == 1 and not git_too:
        assert report.commits == 2, "what was checked in before it was killed is there"
    sound(path)
    assert (await exporter(store, path).export()).commits == 0


async def test_a_killed_rebuild_leaves_what_was_there(
    store: SqlStore, database_url: str, key_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "configs.git"
    await exporter(store, path).export()
    before = commits(path)
    process = await start(database_url, key_file, path, 1, "rebuild")
    await upto(process, 8)
    process.kill()
    await process.wait()
    process._transport.close()  # type: ignore[attr-defined] # the pipes of one that was killed
    assert commits(path) == before
    assert (await exporter(store, path).export()).commits == 0
    await exporter(store, path).export(rebuild=True)
    assert commits(path) == before
    assert not (tmp_path / "configs.git.rebuilding").exists()
    sound(path)
