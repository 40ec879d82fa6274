"""One exporter at a time: a lock that goes with its process, however that ends."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from netraven.errors import GitError

NAME = "netraven.lock"
"""In the repository. A folder that has it was made by an export."""
_EVERY = 0.1


@asynccontextmanager
async def locked(directory: Path, *, patience: float) -> AsyncIterator[int]:
    """Hold the lock of a repository; wait ``patience`` seconds for whoever has it. Gives the open file.

    Whoever inherits the file holds the lock too: a git that outlives its exporter is waited for. Raises ``GitError``.
    """
    deadline = asyncio.get_running_loop().time() + patience
    while (file := _try(directory)) is None:
        if asyncio.get_running_loop().time() >= deadline:
            raise GitError(
                f"{directory} is being written by another export{_holder(directory)}; try again later"
            )
        await asyncio.sleep(_EVERY)
    try:
        yield file
    finally:
        os.close(file)


def _try(directory: Path) -> int | None:
    path = directory / NAME
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise GitError(f"{path} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _same(file, path):  # the repository was put in the place of another meanwhile
            raise BlockingIOError
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        os.close(file)
        return None
    except OSError as error:
        os.close(file)
        raise GitError(f"{path} cannot be locked: {error.strerror}") from error
    return file


def _same(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _holder(directory: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return f" (process {int((directory / NAME).read_text())})"
    return ""
