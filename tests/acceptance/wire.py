"""What stands between NetRaven and PostgreSQL, and can be cut."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import parse_qs, urlsplit


class Wire:
    """Passes everything on, until it is cut. ``swallow``: how many answers to a COMMIT never arrive."""

    def __init__(self, server: str) -> None:
        parts = urlsplit(server)
        self._host = parse_qs(parts.query).get("host", [parts.hostname or "127.0.0.1"])[0]
        self._port = parts.port or 5432
        self._writers: set[asyncio.StreamWriter] = set()
        self._alive = asyncio.Event()
        self._alive.set()
        self._server: asyncio.Server
        self.swallow = 0
        self.swallowed = 0

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def cut(self) -> None:
        """The server has died: connections are closed, new ones refused."""
        self._server.close()
        self._alive.set()
        for writer in self._writers:
            writer.transport.abort()

    def go_dead(self) -> None:
        """The network has gone: nothing is passed on, nobody is told."""
        self._alive.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._host.startswith("/"):
            far = await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
        else:
            far = await asyncio.open_connection(self._host, self._port)
        self._writers |= {writer, far[1]}
        with contextlib.suppress(OSError):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask(reader, *far, writer))
                group.create_task(self._pass_on(far[0], writer))
        self._writers -= {writer, far[1]}

    async def _ask(
        self,
        reader: asyncio.StreamReader,
        answers: asyncio.StreamReader,
        far: asyncio.StreamWriter,
        near: asyncio.StreamWriter,
    ) -> None:
        """Pass on what is asked; where the answer is to be swallowed, the connection breaks in its place."""
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self._alive.wait()
                if self.swallow and b"COMMIT" in data:
                    self.swallow -= 1
                    self.swallowed += 1
                    near.transport.abort()
                far.write(data)
                await far.drain()
        far.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self._alive.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


def through(url: str, port: int) -> str:
    """The same database, called over 127.0.0.1 and this port."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{user}@127.0.0.1:{port}", query="").geturl()
