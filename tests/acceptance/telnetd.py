"""Debian's telnet server with login(1) behind it, on a loopback port. Each connection is one process, as of inetd."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.acceptance.openssh import missing, program


@asynccontextmanager
async def running() -> AsyncIterator[int]:
    """Its port."""
    telnetd = program("telnetd", "inetutils-telnetd")
    program("login", "login")
    if os.geteuid() != 0:
        missing("only root may run login(1)")
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    servers: list[asyncio.subprocess.Process] = []

    async def accept() -> None:
        while True:
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
            with connection:
                connection.setblocking(True)
                servers.append(
                    await asyncio.create_subprocess_exec(
                        telnetd,
                        "-h",
                        stdin=connection.fileno(),
                        stdout=connection.fileno(),
                        stderr=asyncio.subprocess.DEVNULL,
                    )
                )

    accepting = asyncio.create_task(accept())
    try:
        yield listener.getsockname()[1]
    finally:
        accepting.cancel()
        await asyncio.wait([accepting])
        listener.close()
        for server in servers:
            with suppress(ProcessLookupError):
                server.terminate()
            await server.wait()
