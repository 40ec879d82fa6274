"""Debian's telnet server with login(1) behind it, started for each connection as inetd would."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.acceptance.system import descendants, kill, needs_root, program

PROMPT = b"Password: "


@dataclass(slots=True)
class Conversation:
    """What passed on one connection, negotiation included."""

    to_client: bytearray = field(default_factory=bytearray)
    from_client: bytearray = field(default_factory=bytearray, repr=False)
    answered: list[bool] = field(default_factory=list)
    """For each question for a password: whether the client has sent a line after it."""

    def heard(self, data: bytes) -> None:
        """From the server. A question may come in pieces: what counts is how many there are by now."""
        self.to_client += data
        self.answered += [False] * (self.to_client.count(PROMPT) - len(self.answered))

    def said(self, data: bytes) -> None:
        self.from_client += data
        if self.answered and b"\r" in data:
            self.answered[-1] = True


@dataclass(slots=True)
class Telnetd:
    """A running server, and every conversation with it: what login(1) would tell syslog, which a container lacks."""

    port: int = 0
    conversations: list[Conversation] = field(default_factory=list)

    @property
    def offers(self) -> int:
        """Passwords that were sent."""
        return sum(sum(conversation.answered) for conversation in self.conversations)

    def count(self, text: bytes) -> int:
        """How often the server has said so."""
        return sum(conversation.to_client.count(text) for conversation in self.conversations)


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
            pumps.create_task(_pump(inside[0], outside[1], conversation.heard))
            pumps.create_task(_pump(outside[0], inside[1], conversation.said))
    finally:
        sessions = descendants(process.pid)
        for _, writer in (outside, inside):
            writer.close()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        kill(sessions)
        await process.wait()


async def _pump(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, note: Callable[[bytes], None]
) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            note(data)
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
