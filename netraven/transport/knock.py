"""A knock at a device's door: connect, and wait for the first words of whoever answers. Nothing is sent.

Over SSH that is the server's identification line (RFC 4253, section 4.2), which it sends unasked; over telnet any byte.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

import asyncssh

from netraven.collect.access import telnet_port
from netraven.errors import DeviceFailure, NoSshServer, Unreachable
from netraven.model import Target
from netraven.plain import plain_line
from netraven.ports import Tunnel
from netraven.transport.addresses import connect
from netraven.transport.deadlines import Deadlines
from netraven.transport.failures import Stage, login_failure, login_timeout
from netraven.transport.telnet_options import TelnetOptions

if TYPE_CHECKING:
    from netraven.transport.ssh import SshTunnel

MOST = 64 * 1024
"""Bytes that may come before the identification line; it may be preceded by lines of text."""
LONGEST_LINE = 255
"""Of the identification line, its end included (RFC 4253, section 4.2)."""
_SHOWN = 80
"""Characters of what is no SSH that are shown."""
_CLOSE_GRACE = 1.0


class Greeting(Protocol):
    """Whether what has come is enough. No I/O: how the bytes are cut makes no difference."""

    def feed(self, data: bytes) -> str | None:
        """What the device says of itself, made harmless; None: not enough yet. Raises ``DeviceFailure``."""

    def ended(self) -> DeviceFailure:
        """Why an end of the connection at this point is a failure."""


class SshGreeting:
    def __init__(self) -> None:
        self._line = bytearray()
        self._first = b""
        """The first line that was none of SSH."""
        self._read = 0

    def feed(self, data: bytes) -> str | None:
        self._read += len(data)
        self._line += data[: MOST + 1]
        while (end := self._line.find(b"\n")) >= 0:
            line = bytes(self._line[:end])
            del self._line[: end + 1]
            if line.startswith(b"SSH-"):
                return self._identified(line)
            self._first = self._first or line.strip()
        if self._line.startswith(b"SSH-") and len(self._line) > LONGEST_LINE:
            raise NoSshServer(
                f"its SSH identification is longer than {LONGEST_LINE} bytes: {_shown(self._line)}"
            )
        if self._read > MOST:
            raise self._no_ssh()
        return None

    def ended(self) -> DeviceFailure:
        if self._first or self._line.strip():
            return self._no_ssh()
        return Unreachable("the device closed the connection before it said anything")

    def _no_ssh(self) -> NoSshServer:
        return NoSshServer(f"somebody answers, but not with SSH: {_shown(self._first or self._line)}")

    @staticmethod
    def _identified(line: bytes) -> str:
        if len(line) >= LONGEST_LINE:
            raise NoSshServer(f"its SSH identification is longer than {LONGEST_LINE} bytes: {_shown(line)}")
        said = _text(line)
        if not line.startswith((b"SSH-2.0-", b"SSH-1.99-")):
            raise NoSshServer(f"not a usable SSH 2 server: {said}")
        return said


class TelnetGreeting:
    """Also a device that only negotiates, and waits for answers before it prints anything, is there."""

    def __init__(self) -> None:
        self._options = TelnetOptions()

    def feed(self, data: bytes) -> str | None:
        text, _ = self._options.feed(data[:MOST])
        said = _shown(text)
        return f"telnet: {said}" if said else "telnet"

    def ended(self) -> DeviceFailure:
        return Unreachable("the device closed the connection before it said anything")


def _shown(data: bytes | bytearray) -> str:
    return plain_line(bytes(data[: 4 * _SHOWN]).decode("utf-8", "replace"), _SHOWN)


def _text(line: bytes) -> str:
    return plain_line(line.decode("utf-8", "replace"), LONGEST_LINE)


class _Door(asyncssh.SSHTCPSession[bytes], asyncio.Protocol):
    """Listens until a greeting is complete, and hangs up; over TCP, and in the same way through a jump host."""

    def __init__(self, greeting: Greeting) -> None:
        self._greeting = greeting
        self._wire: Any = None
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.closed = asyncio.Event()

    def connection_made(self, wire: Any) -> None:
        self._wire = wire

    def data_received(self, data: bytes, datatype: asyncssh.DataType = None) -> None:
        if self.answer.done():
            return
        try:
            said = self._greeting.feed(data)
        except DeviceFailure as failure:
            self._conclude(failure)
        else:
            if said is not None:
                self.answer.set_result(said)
                self.hang_up()

    def eof_received(self) -> bool:
        self._conclude(self._greeting.ended())
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._wire = None
        self.closed.set()
        self._conclude(self._greeting.ended() if exc is None else login_failure(exc, Stage.KEY_EXCHANGE))

    def _conclude(self, failure: DeviceFailure) -> None:
        if not self.answer.done():
            self.answer.set_exception(failure)
            self.hang_up()

    def hang_up(self) -> None:
        if self._wire is not None:
            self._wire.abort()


async def at_ssh(target: Target, deadlines: Deadlines, via: Tunnel | None) -> str:
    """The SSH server's identification. Raises ``Unreachable``, or ``NoSshServer`` where somebody else answers."""
    seconds = deadlines.of(target.access).connect
    return await _knock(target, target.device.port, via, SshGreeting, (seconds, seconds))


async def at_telnet(target: Target, deadlines: Deadlines, via: Tunnel | None) -> str:
    """What a telnet device prints first. Raises ``Unreachable``."""
    told = deadlines.of(target.access)
    port = telnet_port(target.access, target.device)
    return await _knock(target, port, via, TelnetGreeting, (told.connect, told.connect + told.login))


async def _knock(
    target: Target,
    port: int,
    via: Tunnel | None,
    greeting: Callable[[], Greeting],
    seconds: tuple[float, float],
) -> str:
    """``seconds``: until the connection has to stand, and until the device has to have said something."""
    to_connect, in_all = seconds
    door = _Door(greeting())
    loop = asyncio.get_running_loop()
    began, connected = loop.time(), False
    try:
        async with asyncio.timeout(to_connect) as deadline:
            if via is None:
                await connect(lambda: door, target.device.host, port, target.access, to_connect)
            else:
                await cast("SshTunnel", via).connect(lambda: door, target.device.host, port)
            connected = True
            deadline.reschedule(began + in_all)
            return await door.answer
    except TimeoutError as error:
        if connected:
            raise Unreachable(f"connected, but it said nothing that counts within {in_all:g} s") from error
        raise login_timeout(Stage.TCP, to_connect) from error
    except (OSError, UnicodeError) as error:  # a name may be none
        raise login_failure(error, Stage.TCP) from error
    finally:
        await _leave(door, connected=connected)


async def _leave(door: _Door, *, connected: bool) -> None:
    if door.answer.done() and not door.answer.cancelled():
        door.answer.exception()  # seen: it has been raised, or the connection was given up
    door.answer.cancel()
    door.hang_up()
    if connected:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_GRACE):
                await door.closed.wait()
