"""What the servers of these tests need of the system: programs, users that exist for a while, processes that end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

PATIENCE = 30.0
"""Seconds after which a server that does not get ready, or a process that does not end, counts as broken."""

_numbers = itertools.count(1)


def missing(reason: str) -> NoReturn:
    """Skip; or fail where every test has to run."""
    if os.environ.get("NETRAVEN_TEST_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def needs_root(what: str) -> None:
    if os.geteuid() != 0:
        missing(f"only root may {what}")


def program(name: str, package: str, *places: str) -> str:
    """Where a program is, which need not be on an ordinary user's PATH."""
    found = shutil.which(
        name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin", *places])
    )
    return found or missing(f"no {name} here (Debian, Ubuntu: apt-get install {package})")


def run(*words: str, stdin: str = "") -> str:
    """A system command; tried again while another one has the user database locked, or a session is ending."""
    tries = 0
    while True:
        tries += 1
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout
        if tries > 50 or not ("cannot lock" in done.stderr or "currently used" in done.stderr):
            raise AssertionError(f"{' '.join(words)}: {done.stderr}")
        time.sleep(0.1)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def unique_name() -> str:
    """For what the whole system sees."""
    return f"nrtest{os.getpid()}x{next(_numbers)}"


@dataclass(frozen=True, slots=True)
class User:
    """One that can log in."""

    name: str
    password: str = field(repr=False)
    home: Path

    def give(self, path: Path, mode: int) -> None:
        """Make a file or folder this user's own."""
        account = pwd.getpwnam(self.name)
        os.chown(path, account.pw_uid, account.pw_gid)
        path.chmod(mode)


@contextmanager
def temporary_user(
    password: str, *, groups: str = "", home: Path = Path("/"), shell: str = "/bin/sh"
) -> Iterator[User]:
    """A user that exists as long as the block; only root may make one. ``home`` is not created."""
    needs_root("make the user that logs in")
    name = unique_name()
    more = ("-G", groups) if groups else ()
    run(program("useradd", "passwd"), "-M", "-d", str(home), "-s", shell, *more, name)
    try:
        run(program("chpasswd", "passwd"), stdin=f"{name}:{password}")
        yield User(name, password, home)
    finally:
        run(program("userdel", "passwd"), name)


@contextmanager
def public_folder() -> Iterator[Path]:
    """A folder that every user may read. pytest's own are closed to all but the one who runs it."""
    with tempfile.TemporaryDirectory(prefix="netraven-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def public_file(path: Path, text: str, mode: int = 0o644) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def alive(pid: int) -> bool:
    """Whether it still runs. One that has ended stays listed until its parent asks."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def descendants(pid: int) -> list[int]:
    """The processes that ``pid`` has started and those that they have, parents first."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # after the name, which may hold anything and is in parentheses: state, parent
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    queue = [pid]
    while queue:
        children = parents.get(queue.pop(0), [])
        found += children
        queue += children
    return found


def kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Daemon:
    """A server in a process of its own. ``log`` is what it says, and of whom."""

    process: asyncio.subprocess.Process
    log: Path

    def kill(self) -> None:
        """At once, with every session of it."""
        kill([self.process.pid, *descendants(self.process.pid)])

    @classmethod
    @asynccontextmanager
    async def running(cls, *words: str, log: Path, ready: str) -> AsyncIterator[Daemon]:
        """Run ``words``, errors to ``log``, ready once ``ready`` is in it. Sessions end with the block."""
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *words, stdin=asyncio.subprocess.DEVNULL, stdout=errors, stderr=errors
            )
        try:
            async with asyncio.timeout(PATIENCE):
                while ready not in log.read_text():
                    assert process.returncode is None, f"{words[0]} did not start: {log.read_text()}"
                    await asyncio.sleep(0.01)
            yield cls(process, log)
        finally:
            sessions = descendants(process.pid) if process.returncode is None else []
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            kill(sessions)
            try:
                async with asyncio.timeout(PATIENCE):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
