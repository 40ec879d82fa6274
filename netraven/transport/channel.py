"""The bytes of one shell on a device."""

from __future__ import annotations

import asyncio

import asyncssh

_HIGH_WATER = 1 << 20
"""Bytes that may wait to be read before the device is told to pause."""

_DAY = 86_400.0


class ShellChannel(asyncssh.SSHClientSession[bytes]):
    """A shell's output as it arrives, and its input. One reader at a time."""

    def __init__(self) -> None:
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._buffer = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._error: Exception | None = None
        self.ended = False

    @property
    def pending(self) -> bool:
        """Whether output has arrived that nobody has read."""
        return bool(self._buffer)

    async def read(self) -> bytes:
        """Everything that has arrived, at least one byte. Raises ``OSError`` once the shell has ended."""
        while not self._buffer:
            if self.ended:
                raise self._error or ConnectionResetError("the device closed the session")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        chunk = bytes(self._buffer)
        self.discard()
        return chunk

    async def quiet(self, seconds: float) -> bool:
        """Whether nothing more arrives for ``seconds``."""
        if self._buffer or self.ended:
            return not self._buffer
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        # a bare timer: `asyncio.timeout` costs five times as much, and every answer waits here
        timer = loop.call_later(seconds, self._wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            timer.cancel()
        return not self._buffer

    def discard(self) -> None:
        """Forget what has arrived and not been read."""
        self._buffer.clear()
        if self._paused and self._channel is not None:
            self._paused = False
            self._channel.resume_reading()

    def unread(self, text: bytes) -> None:
        """Let what was read be read once more, before all else."""
        if text:
            self._buffer[:0] = text
            self._wake()

    async def stirred(self) -> None:
        """Until something arrives or the shell ends."""
        await self.quiet(_DAY)

    def write(self, data: bytes) -> None:
        """Raises ``OSError`` once the shell has ended."""
        if self.ended or self._channel is None:
            raise self._error or ConnectionResetError("the device closed the session")
        self._channel.write(data)

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self._buffer += data
        if len(self._buffer) > _HIGH_WATER and not self._paused and self._channel is not None:
            self._paused = True
            self._channel.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self.ended = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self._error = exc
        self._channel = None
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
