"""Dropbear, the SSH server of small devices, on a loopback port."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.system import PATIENCE, Daemon, User, free_port, program, public_file, run


@dataclass(frozen=True, slots=True)
class Dropbear:
    """A running server. ``log`` is its own account of who tried what."""

    port: int
    user: User
    log: Path

    def said(self, pattern: str) -> list[str]:
        return re.findall(pattern, self.log.read_text())


@asynccontextmanager
async def running(
    folder: Path, user: User, command: str, *options: str, authorized: tuple[str, ...] = ()
) -> AsyncIterator[Dropbear]:
    """``command`` is what every user gets; ``options`` as in dropbear(8): ``-s`` takes no password.

    ``authorized``: public keys. They go into the user's home, which has to be a folder of its own then.
    """
    dropbear = program("dropbear", "dropbear-bin")
    folder.mkdir()
    key = folder / "hostkey"
    run(program("dropbearkey", "dropbear-bin"), "-t", "ed25519", "-f", str(key))
    if authorized:
        ssh = user.home / ".ssh"
        ssh.mkdir(exist_ok=True)
        user.give(ssh, 0o700)
        user.give(public_file(ssh / "authorized_keys", "\n".join(authorized) + "\n"), 0o600)
    port = free_port()
    words = (dropbear, "-F", "-E", "-p", f"127.0.0.1:{port}", "-r", str(key), "-P", str(folder / "pid"))
    async with Daemon.running(
        *words, "-c", command, *options, log=folder / "dropbear.log", ready="Not backgrounding"
    ) as daemon:
        await _listening(port)
        yield Dropbear(port, user, daemon.log)


async def _listening(port: int) -> None:
    """Dropbear says that it runs before it listens."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(ConnectionError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return await writer.wait_closed()
            await asyncio.sleep(0.01)
