"""OpenSSH's own server on a loopback port, with a user that exists as long as the tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

PATIENCE = 30.0


def missing(reason: str) -> NoReturn:
    """Skip; or fail where every test has to run."""
    if os.environ.get("NETRAVEN_TEST_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


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


@contextmanager
def temporary_user(password: str, *, groups: str = "") -> Iterator[str]:
    """A user that can log in; only root may make one."""
    if os.geteuid() != 0:
        missing("only root may make the user that logs in to sshd")
    name = f"nrtest{os.getpid()}{'f' if groups else ''}"
    more = ("-G", groups) if groups else ()
    run(program("useradd", "passwd"), "-M", "-d", "/", "-s", "/bin/sh", *more, name)
    try:
        run(program("chpasswd", "passwd"), stdin=f"{name}:{password}")
        yield name
    finally:
        run(program("userdel", "passwd"), name)


@dataclass(frozen=True, slots=True)
class Sshd:
    """A running server. ``log`` is its own account of who tried what."""

    port: int
    user: str
    password: str = field(repr=False)
    log: Path

    def said(self, pattern: str) -> list[str]:
        return re.findall(pattern, self.log.read_text())


@asynccontextmanager
async def running(folder: Path, user: str, password: str, *options: str) -> AsyncIterator[Sshd]:
    """``options`` are lines of sshd_config(5), which go before ours: the first one of a kind holds."""
    sshd = program("sshd", "openssh-server")
    folder.mkdir()
    Path("/run/sshd").mkdir(
        mode=0o755, exist_ok=True
    )  # where it separates its privileges, as Debian builds it
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "hostkey"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(
        "\n".join(
            [
                *options,
                f"Port {port}",
                "ListenAddress 127.0.0.1",
                f"HostKey {folder / 'hostkey'}",
                "PidFile none",
                "UsePAM no",
                "PasswordAuthentication yes",
                "KbdInteractiveAuthentication no",
                "PubkeyAuthentication no",
                f"AllowUsers {user}",
                "PrintMotd no",
                "StrictModes no",
                "LogLevel VERBOSE",
                "",
            ]
        )
    )
    log = folder / "sshd.log"
    server = await asyncio.create_subprocess_exec(
        sshd, "-D", "-f", str(folder / "sshd_config"), "-E", str(log), stdin=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(PATIENCE):
            while not log.exists() or "Server listening" not in log.read_text():
                assert server.returncode is None, log.read_text() if log.exists() else "sshd did not start"
                await asyncio.sleep(0.01)
        yield Sshd(port, user, password, log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.terminate()
        await server.wait()
