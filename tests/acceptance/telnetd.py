"""Debian's telnet server with login(1) behind it, started for each connection as inetd would."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.acceptance.system import descendants, kill, needs_root, program


@dataclass(slots=True)
class Conversation:
    """What passed on one connection, negotiation included."""

    to_client: bytearray = field(default_factory=bytearray)
    from_client: bytearray = field(default_factory=bytearray, repr=False)


@dataclass(slots=True)
class Telnetd:
    """A running server, and every conversation with it: what login(1) would tell syslog, which a container lacks."""

    port: int = 0
    conversations: list[Conversation] = field(default_factory=list)

    def heard(self, line: str) -> int:
        """How often this came from clients, as a line or a part of one."""
        return sum(conversation.from_client.count(line.encode()) for conversation in self.conversations)

    def said(self, text: str) -> int:
        """How often the server has told clients so."""
        return sum(conversation.to_client.count(text.encode()) for conversation in self.conversations)


@asynccontextmanager
async def running(folder: Path, *options: str) -> AsyncIterator[Telnetd]:
    """``options`` as in telnetd(8). Who logs in, and to which shell, is up to the system's users."""
    needs_root("start telnetd, which starts login")
    telnetd = program("telnetd", "inetutils-telnetd")
    program("login", "login")
    folder.mkdir()
    server = Telnetd()
    loop = asyncio.get_running_loop()
    handlers: set[asyncio.Task[None]] = set()

    async def accept(listener: socket.socket) -> None:
        while True:
            client, _ = await loop.sock_accept(listener)
            conversation = Conversation()
            server.conversations.append(conversation)
            task = loop.create_task(_serve(client, conversation, (telnetd, *options), folder / "telnetd.log"))
            handlers.add(task)
            task.add_done_callback(handlers.discard)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        server.port = listener.getsockname()[1]
        accepting = loop.create_task(accept(listener))
        try:
            yield server
        finally:
            accepting.cancel()
            for task in handlers:
                task.cancel()
            await asyncio.gather(accepting, *handlers, return_exceptions=True)


async def _serve(
    client: socket.socket, conversation: Conversation, words: tuple[str, ...], log: Path
) -> None:
    """Between a client and a telnetd of its own, noting what passes."""
    ours, theirs = await asyncio.to_thread(_tcp_pair)
    with log.open("ab") as errors, theirs:
        theirs.setblocking(True)
        process = await asyncio.create_subprocess_exec(
            *words, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=errors
        )
    outside = await asyncio.open_connection(sock=client)
    inside = await asyncio.open_connection(sock=ours)
    try:
        async with asyncio.TaskGroup() as pumps:
            pumps.create_task(_pump(inside[0], outside[1], conversation.to_client))
            pumps.create_task(_pump(outside[0], inside[1], conversation.from_client))
    finally:
        sessions = descendants(process.pid)
        for _, writer in (outside, inside):
            writer.close()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        kill(sessions)
        await process.wait()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, into: bytearray) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            into += data
            sink.write(data)
            await sink.drain()
    with contextlib.suppress(OSError):
        sink.write_eof()


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of one TCP connection: telnetd asks for the address of its peer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    return ours, theirs
