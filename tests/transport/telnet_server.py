"""A telnet device of a few words: it prints what a test says, one piece for each line that is typed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from netraven.model import Access, Device, Target

CLOSE = object()
"""In place of a text: hang up."""


@dataclass
class Scripted:
    """``lines``: what was typed, without telnet commands and line ends."""

    steps: Sequence[object]
    cut: Callable[[bytes], Iterable[bytes]] = lambda data: [data]
    gap: float = 0.0
    echo: bool = False
    access: Access = Access("telnet")
    lines: list[str] = field(default_factory=list)
    raw: bytearray = field(default_factory=bytearray)
    connections: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    say: asyncio.Queue[object] = field(default_factory=asyncio.Queue)
    """What it prints by itself, at once."""
    port: int = 0

    @property
    def target(self) -> Target:
        return Target(Device("r1", "127.0.0.1", "cisco_iosxe", self.port), access=self.access)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        aside = asyncio.create_task(self._say_aside(writer))
        try:
            for number, step in enumerate(self.steps):
                if number:
                    line = re.sub(rb"\xff(?:[\xfb-\xfe].|\xfa.*?\xff\xf0)", b"", await self._line(reader))
                    self.lines.append(line.decode())
                    if self.echo:
                        writer.write(line)
                    writer.write(b"\r\n")
                if step is CLOSE:
                    return
                await self._print(writer, step)
            while data := await reader.read(4096):
                self.raw += data
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            aside.cancel()
            writer.close()
            self.closed.set()

    async def _line(self, reader: asyncio.StreamReader) -> bytes:
        line = await reader.readuntil(b"\r")
        self.raw += line
        after = await reader.readexactly(1)
        self.raw += after
        assert after in b"\x00\n"
        return line[:-1]

    async def _print(self, writer: asyncio.StreamWriter, step: object) -> None:
        data = step if isinstance(step, bytes) else str(step).replace("\n", "\r\n").encode()
        for piece in self.cut(data):
            writer.write(piece)
            await asyncio.sleep(self.gap)

    async def _say_aside(self, writer: asyncio.StreamWriter) -> None:
        while True:
            step = await self.say.get()
            if step is CLOSE:
                writer.close()
                return
            await self._print(writer, step)


@asynccontextmanager
async def scripted(*steps: object, **how: object) -> AsyncIterator[Scripted]:
    """Each step but the first answers one typed line."""
    device = Scripted(steps, **how)  # type: ignore[arg-type]  # passed on as it is
    server = await asyncio.start_server(device.serve, "127.0.0.1", 0)
    device.port = server.sockets[0].getsockname()[1]
    async with server:
        yield device
