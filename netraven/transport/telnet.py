"""Telnet to a device: one connection, the device's questions first, then exactly one attempt.

Everything goes over the wire in clear text, the secret too, and nobody proves to be the device. What is typed when
is decided by ``transport.telnet_login``; here the bytes are moved, the clocks run, and the login is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NoReturn, cast

import asyncssh

from netraven.collect.access import telnet_port
from netraven.errors import (
    AuthNoVerdict,
    AuthRefused,
    DeviceFailure,
    Negotiation,
    NobodyListens,
    NoMethod,
    SessionLost,
    Unreachable,
)
from netraven.model import Secret, Target
from netraven.ports import Login, Session, Tunnel
from netraven.transport.addresses import connect
from netraven.transport.channel import ShellChannel
from netraven.transport.dialects import Dialects
from netraven.transport.failures import Stage as Reached
from netraven.transport.failures import login_failure
from netraven.transport.ssh import Deadlines, SshTunnel
from netraven.transport.telnet_login import BRIEF, QUIET, STILL, Move, Stage, TelnetLogin
from netraven.transport.telnet_options import TelnetOptions
from netraven.transport.watch import Watch

_DAY = 86_400.0


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

    async def stirred(self) -> None:
        """Until something arrives or the connection ends."""
        await self.quiet(_DAY)

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
        if not login.wants_password:
            raise NoMethod("telnet asks for a password, and the credential has none")
        if not login.username.isprintable():
            raise NoMethod("the user name has characters that cannot be typed over telnet")
        channel = TelnetChannel()
        try:
            dialogue = TelnetLogin(platform, login.username)
            deadlines = self._deadlines.of(target.access)
            await _Entry(channel, dialogue, login, deadlines).enter(target, via)
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


class _Entry:
    """One way in, from TCP to the shell."""

    def __init__(
        self, channel: TelnetChannel, dialogue: TelnetLogin, login: Login, deadlines: Deadlines
    ) -> None:
        self._channel = channel
        self._dialogue = dialogue
        self._login = login
        self._deadlines = deadlines
        self._clock: asyncio.Timeout
        self._connected = False

    async def enter(self, target: Target, via: Tunnel | None) -> None:
        """Returns once the shell is open."""
        try:
            async with asyncio.timeout(self._deadlines.connect) as self._clock:
                await self._connect(target, via)
                self._connected = True
                self._login.in_clear_text()
                await self._talk()
        except DeviceFailure as failure:
            await self._fail(failure)
        except TimeoutError as error:
            await self._fail(self._too_late(), error)
        except (OSError, asyncssh.Error, UnicodeError) as error:
            await self._fail(self._cut_off(error), error)
        if self._offered:
            await self._login.accepted()

    @property
    def _offered(self) -> bool:
        return self._dialogue.stage is Stage.OFFERED

    async def _fail(self, failure: DeviceFailure, cause: BaseException | None = None) -> NoReturn:
        if self._offered:
            await self._login.rejected(failure)
        raise failure from cause

    async def _connect(self, target: Target, via: Tunnel | None) -> None:
        host, port = target.device.host, telnet_port(target.access, target.device)
        if via is None:
            await connect(lambda: self._channel, host, port, target.access, self._deadlines.connect)
            return
        jump_host = cast(SshTunnel, via)
        try:
            await jump_host.connection.create_connection(lambda: self._channel, host, port)  # type: ignore[arg-type,return-value]  # a TCP session in all that is called
        except asyncssh.ChannelOpenError as error:
            raise Unreachable(f"jump host {jump_host.name} does not reach it: {error.reason}") from error
        except (OSError, asyncssh.Error) as error:
            raise Unreachable(f"through jump host {jump_host.name}: {error}") from error

    async def _talk(self) -> None:
        """Answer what the device asks until it has let us in."""
        dialogue, channel = self._dialogue, self._channel
        while True:
            match await self._next_move():
                case Move.IN:
                    return
                case Move.RETURN:
                    dialogue.return_pressed()
                    channel.write(b"\n")
                case Move.USERNAME:
                    dialogue.username_typed()
                    channel.write(f"{self._login.username}\n".encode())
                case Move.OFFER:
                    await self._offer()
                case Move.EXPIRED:
                    raise AuthRefused("the password has expired: the device asks for a new one")
                case Move.REFUSED:
                    raise self._refusal()
                case _:
                    raise NoMethod("the device asks for the user name again and not for a password")

    async def _next_move(self) -> Move:
        """The next thing to do. Raises ``OSError`` where the connection ends before."""
        while True:
            quiet = 0.0
            for longer in (BRIEF, QUIET, STILL):
                if not await self._channel.quiet(longer - quiet):
                    break
                ended = self._channel.ended
                if ended and not self._offered:
                    break  # nobody waits for an answer any more
                quiet = STILL if ended else longer
                move = self._dialogue.move(quiet)
                if move is not Move.WAIT:
                    return move
                if ended:
                    break
            self._dialogue.heard(await self._channel.read())

    async def _offer(self) -> None:
        """Type the secret, if the device still waits for it once it may be typed."""
        left = self._stop_the_clock()
        try:
            secret = await self._secret()
        finally:
            self._reschedule(left)
        if secret is None:
            raise Unreachable("the device did not wait for the secret, nothing was sent")
        password = secret.password or ""
        moved = self._channel.pending or self._channel.ended
        self._dialogue.secret_typed(password)
        if moved:
            raise AuthNoVerdict("the device went on just before the secret was sent")
        if not all(character >= " " and character != "\x7f" for character in password):
            raise AuthNoVerdict(
                "the password has control characters: it was not sent, telnet cannot type them"
            )
        self._reschedule(self._deadlines.login)
        self._channel.write(f"{password}\n".encode())

    async def _secret(self) -> Secret | None:
        """The secret, once there is a permit for it; None where the device gave up, or went on, before."""
        asked = asyncio.ensure_future(self._login.secret())
        moved = asyncio.ensure_future(self._channel.stirred())
        try:
            await asyncio.wait((asked, moved), return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            moved.cancel()
            await asyncio.wait((asked, moved))
        return None if asked.cancelled() else asked.result()

    def _too_late(self) -> DeviceFailure:
        if self._offered:
            return self._refused_or(
                AuthNoVerdict(f"no answer to the secret within {self._deadlines.login:g} s")
            )
        seconds = self._deadlines.connect
        if not self._connected:
            return NobodyListens(f"no TCP connection within {seconds:g} s")
        if self._dialogue.asks_something_else:
            return NoMethod(f"the device asks for no password, it waits at {self._dialogue.said!r}")
        return Unreachable(f"the device did not ask for a secret within {seconds:g} s")

    def _cut_off(self, error: Exception) -> DeviceFailure:
        """The connection has ended."""
        said = f": {self._dialogue.said}" if self._dialogue.said else ""
        if self._offered:
            return self._refused_or(
                AuthNoVerdict(f"the connection ended before the secret was answered{said}")
            )
        if not self._connected:
            return login_failure(error, Reached.TCP)
        return Unreachable(f"the device closed the connection before it asked for a secret{said}")

    def _refused_or(self, failure: DeviceFailure) -> DeviceFailure:
        return failure if self._dialogue.refusal() is None else self._refusal()

    def _refusal(self) -> AuthRefused:
        said = self._dialogue.refusal()
        return AuthRefused("the device refused the secret" + (f": {said}" if said else ""))

    def _stop_the_clock(self) -> float | None:
        """Seconds that were left."""
        when = self._clock.when()
        self._reschedule(None)
        return None if when is None else when - asyncio.get_running_loop().time()

    def _reschedule(self, seconds: float | None) -> None:
        if not self._clock.expired():
            self._clock.reschedule(None if seconds is None else asyncio.get_running_loop().time() + seconds)
