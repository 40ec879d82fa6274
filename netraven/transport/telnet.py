"""Telnet to a device: one connection, the device's questions first, then exactly one attempt.

Everything goes over the wire in clear text, the secret too, and nobody proves to be the device. What is typed when
is decided by ``transport.telnet_login``; here the bytes are moved, the clocks run, and the login is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

import asyncssh

from netraven.collect.access import telnet_port
from netraven.errors import (
    Negotiation,
    SessionLost,
    Unreachable,
)
from netraven.model import Target
from netraven.ports import Login, Session, Tunnel
from netraven.transport.addresses import connect
from netraven.transport.channel import ShellChannel
from netraven.transport.deadlines import Deadlines
from netraven.transport.dialects import Dialects
from netraven.transport.knock import at_telnet
from netraven.transport.shell_login import ShellLogin, check_typed
from netraven.transport.ssh import SshTunnel
from netraven.transport.telnet_options import TelnetOptions
from netraven.transport.watch import Watch


class TelnetChannel(ShellChannel, asyncio.Protocol):
    """A device's shell behind telnet; it runs over TCP, and in the same way through a jump host."""

    def __init__(self) -> None:
        super().__init__()
        self._options = TelnetOptions()
        self._watch: Watch | None = None
        self._wire: Any = None

    def connection_made(self, chan: Any) -> None:
        self._wire = chan
        super().connection_made(chan)

    def data_received(self, data: bytes, datatype: asyncssh.DataType = None) -> None:
        text, reply = self._options.feed(data)
        if reply and self._wire is not None:
            self._wire.write(reply)
        if text:
            self._heard(text)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wire = None
        super().connection_lost(exc)

    def write(self, data: bytes) -> None:
        super().write(self._options.encode(data))
        if self._watch is not None:
            self._watch("out", data)

    def _heard(self, text: bytes) -> None:
        if self._watch is not None:
            self._watch("in", text)
        super().data_received(text, None)

    def open(self, greeting: bytes, watch: Watch | None) -> None:
        """The login is over: ``greeting``, which was read for it, is read once more, before all else."""
        since = bytes(self._buffer)
        self.discard()
        self._watch = watch
        if greeting or since:
            self._heard(greeting + since)

    def hang_up(self) -> None:
        if self._wire is not None:
            self._wire.abort()


class TelnetTransport:
    """Opens shells over telnet.

    ``watch``: told of what passes through shells, once they are open.
    """

    def __init__(
        self, deadlines: Deadlines, dialects: Dialects | None = None, *, watch: Watch | None = None
    ) -> None:
        self._deadlines = deadlines
        self._dialects = dialects or Dialects()
        self._watch = watch

    @asynccontextmanager
    async def open(self, target: Target, login: Login, via: Tunnel | None = None) -> AsyncIterator[Session]:
        """Connect and log in with at most one attempt on the wire. Raises ``DeviceFailure`` subclasses."""
        platform = self._dialects.of(target)
        check_typed(login)
        channel = TelnetChannel()
        try:
            dialogue = self._dialects.login(platform, login.username)
            deadlines = self._deadlines.of(target.access)

            async def connect_to_it() -> None:
                await _connect(channel, target, via, deadlines.connect)
                login.in_clear_text()

            await ShellLogin(channel, dialogue, login, deadlines).enter(connect_to_it)
            channel.open(dialogue.greeting, self._watch)
            yield self._dialects.session(channel, platform, command_timeout=deadlines.command)
        except SessionLost as error:
            if via is None or via.alive:
                raise
            raise Unreachable(
                f"the jump host's connection ended in the middle of the session: {error}"
            ) from error
        finally:
            channel.hang_up()

    def tunnel(
        self, target: Target, login: Login, via: Tunnel | None = None
    ) -> AbstractAsyncContextManager[Tunnel]:
        """Nothing can be reached through telnet: raises ``Negotiation``."""
        raise Negotiation("a jump host is reached over SSH; telnet leads nowhere further")

    async def knock(self, target: Target, via: Tunnel | None = None) -> str:
        """What it prints first. Raises ``Unreachable``."""
        return await at_telnet(target, self._deadlines, via)


async def _connect(channel: TelnetChannel, target: Target, via: Tunnel | None, seconds: float) -> None:
    host, port = target.device.host, telnet_port(target.access, target.device)
    if via is None:
        await connect(lambda: channel, host, port, target.access, seconds)
        return
    await cast(SshTunnel, via).connect(lambda: channel, host, port)
