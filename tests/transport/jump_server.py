"""An SSH server that lets through, and can be watched and killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncssh

from netraven.model import JUMP_HOST, Device


@dataclass
class JumpServer:
    """``logins``: who was let in, in order; ``refused``: wrong passwords; ``through``: where channels went.

    ``slow``: seconds that it takes to reach a port.
    """

    accepts: Mapping[str, str]
    forbids: frozenset[int] = frozenset()
    slow: dict[int, float] = field(default_factory=dict)
    port: int = 0
    logins: list[str] = field(default_factory=list)
    refused: int = 0
    through: list[tuple[str, int]] = field(default_factory=list)
    open_now: int = 0
    connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)

    def device(self, name: str, *tags: str) -> Device:
        return Device(name, "127.0.0.1", JUMP_HOST, self.port, frozenset(tags))

    def die(self) -> None:
        """Every connection breaks off without a word."""
        for connection in self.connections:
            connection.abort()


@asynccontextmanager
async def jump_server(
    accepts: Mapping[str, str], forbids: frozenset[int] = frozenset()
) -> AsyncIterator[JumpServer]:
    served = JumpServer(accepts, forbids)

    class Server(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            served.connections.append(conn)
            served.open_now += 1

        def connection_lost(self, exc: Exception | None) -> None:
            served.open_now -= 1

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            if served.accepts.get(username) != password:
                served.refused += 1
                return False
            served.logins.append(username)
            return True

        def connection_requested(
            self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
        ) -> bool | Awaitable[Any]:
            served.through.append((dest_host, dest_port))
            if dest_port in served.forbids:
                raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "not allowed")
            return self._late(dest_host, dest_port) if dest_port in served.slow else True

        async def _late(self, host: str, port: int) -> Any:
            await asyncio.sleep(served.slow[port])
            return await served.connections[-1].forward_connection(host, port)

    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.create_server(Server, "127.0.0.1", 0, server_host_keys=[key], gss_host=None)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        served.die()
        server.close()
        await server.wait_closed()
