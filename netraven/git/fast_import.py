"""`git fast-import`: commits as a stream. Branches move when it is told to, and not when the stream breaks off."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from netraven.errors import GitError
from netraven.git.command import LONGEST_ERROR, Git, harmless

SILENCE = 300.0
"""Seconds that git may take to take something in, or to end."""
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Change:
    """A file of a commit: what was given as blob ``mark``, or gone (None)."""

    path: str
    mark: int | None


class FastImport:
    """Writes one branch. Every line waits until git has taken it: memory does not grow with what is written."""

    def __init__(
        self, process: asyncio.subprocess.Process, branch: str, author: str, *, goes_on: bool
    ) -> None:
        assert process.stdin is not None  # noqa: S101 - it was opened as a pipe
        self._stdin = process.stdin
        self._process = process
        self._ref = f"refs/heads/{branch}"
        self._author = author
        self._goes_on = goes_on

    async def blob(self, mark: int, data: bytes) -> None:
        self._stdin.write(f"blob\nmark :{mark}\ndata {len(data)}\n".encode())
        self._stdin.write(data)
        await self._write(b"\n")

    async def commit(self, at: datetime, message: str, changes: Iterable[Change]) -> None:
        """A commit with the changes in the order of their paths. Marks can then be used again."""
        said = message.encode("utf-8", "replace")
        who = f"{self._author} {max(0, int(at.timestamp()))} +0000"
        self._stdin.write(
            f"commit {self._ref}\nauthor {who}\ncommitter {who}\ndata {len(said)}\n".encode() + said + b"\n"
        )
        if self._goes_on:
            self._stdin.write(f"from {self._ref}^0\n".encode())
            self._goes_on = False
        for number, change in enumerate(sorted(changes, key=lambda change: change.path)):
            what = (
                f'D "{change.path}"\n'
                if change.mark is None
                else f'M 100644 :{change.mark} "{change.path}"\n'
            )
            self._stdin.write(what.encode())
            if number % 1000 == 999:
                await self._write(b"")
        await self._write(b"\n")

    async def checkpoint(self) -> None:
        """The branch moves to the last commit, before anything that follows."""
        await self._write(b"checkpoint\n\n")

    async def finish(self) -> None:
        """The branch moves to the last commit. Raises ``GitError``: it is where it was, or at a checkpoint."""
        await self._write(b"done\n")
        self._stdin.close()
        try:
            async with asyncio.timeout(SILENCE):
                await self._process.wait()
        except TimeoutError:
            raise GitError(f"git fast-import did not end within {SILENCE:g} s") from None
        if self._process.returncode:
            raise BrokenPipeError

    async def _write(self, data: bytes) -> None:
        self._stdin.write(data)
        try:
            async with asyncio.timeout(SILENCE):
                await self._stdin.drain()
        except TimeoutError:
            raise GitError(f"git fast-import took nothing for {SILENCE:g} s") from None


@asynccontextmanager
async def fast_import(
    git: Git, branch: str, author: str, *, goes_on: bool, keep: Sequence[int] = ()
) -> AsyncIterator[FastImport]:
    """``goes_on``: the branch is there already. Without ``finish``, it stays where it is (or at the last checkpoint).

    Raises ``GitError`` with what git said, where it ends by itself.
    """
    words = ("fast-import", "--quiet", "--done", "--date-format=raw", "--max-pack-size=1g")
    # A pack for each export, however small: git makes sure that packs are on the disk before a branch speaks of them.
    async with git.open("-c", "fastimport.unpackLimit=0", *words, keep=keep) as process:
        said = asyncio.create_task(_said(process), name="netraven-fast-import-errors")
        try:
            yield FastImport(process, branch, author, goes_on=goes_on)
        except (BrokenPipeError, ConnectionResetError):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await process.wait()
            if process.returncode is None:
                process.kill()
            raise _failed(await said) from None
        finally:
            said.cancel()
            await asyncio.wait([said])


async def _said(process: asyncio.subprocess.Process) -> str:
    """What it says on standard error, and nothing of what it says else: a full pipe would stop it."""
    assert process.stderr is not None  # noqa: S101 - it was opened as a pipe
    kept = b""
    while data := await process.stderr.read(_CHUNK):
        kept = (kept + data)[-LONGEST_ERROR:]
    return kept.decode("utf-8", "replace")


def _failed(said: str) -> GitError:
    lines = [line for line in said.splitlines() if line.startswith(("fatal:", "error:"))]
    why = harmless(" / ".join(lines) or said) or "it ended without a word"
    if "No space left on device" in said or "Disk quota exceeded" in said:
        return GitError(
            f"there is no space left for the git repository: {why}. What was in it before is intact"
        )
    return GitError(f"git fast-import failed: {why}")
