"""One SSH connection: host key first, then exactly one attempt, counted from what the device does.

asyncssh asks its client object for a password each time it could send one. The first time, the login hands the
secret over; a second time means that the device has answered the first with a refusal, and nothing more is offered.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import asyncssh
from asyncssh.constants import DISC_BY_APPLICATION, MSG_DISCONNECT, MSG_IGNORE
from asyncssh.packet import SSHPacketLogger, String, UInt32

from netraven.errors import (
    AuthNoVerdict,
    AuthRefused,
    DeviceFailure,
    HostKeyChanged,
    InputError,
    InternalFault,
    SessionLost,
)
from netraven.model import HostKey, Secret, Target
from netraven.platforms import Catalogue, Platform, shipped
from netraven.ports import Login, Session
from netraven.transport.channel import ShellChannel
from netraven.transport.failures import Stage, login_failure, login_timeout, session_failure
from netraven.transport.host_keys import judge
from netraven.transport.session import ShellSession
from netraven.transport.ssh_profile import options_for
from netraven.transport.watch import Watch, WatchedChannel

_TERMINAL = (511, 24)
"""Columns and rows; wide, so that devices do not wrap the echo of a command."""

MOST_TRIES = 3
"""Passwords on one connection: Cisco IOS allows 3 unless told (`ip ssh authentication-retries`), OpenSSH 6."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds for each step with a device."""

    connect: float = 10.0
    """DNS, TCP and key exchange, up to the device's question for a secret."""
    login: float = 20.0
    """From the secret to its verdict. Waiting for a permit does not count."""
    command: float = 60.0
    """Each command."""


class SshTransport:
    """Opens shells over SSH.

    ``accept_new``: whether a device without a host key on record may show one, which is then remembered.
    ``close_grace``: seconds that a closing connection is waited for. ``catalogue``: the platforms; those that ship,
    unless told. ``watch``: told of every byte of the shells.
    """

    def __init__(
        self,
        deadlines: Deadlines,
        *,
        catalogue: Catalogue | None = None,
        watch: Watch | None = None,
        accept_new: bool = True,
        close_grace: float = 1.0,
    ) -> None:
        self._deadlines = deadlines
        self._catalogue = catalogue or shipped()
        self._channel = ShellChannel if watch is None else partial(WatchedChannel, watch)
        self._accept_new = accept_new
        self._close_grace = close_grace

    @asynccontextmanager
    async def open(self, target: Target, login: Login) -> AsyncIterator[Session]:
        """Connect and log in with one attempt on the wire. Raises ``DeviceFailure`` subclasses."""
        platform = self._platform(target)
        client = _Client(login, target.host_keys, accept_new=self._accept_new)
        known = tuple(key.algorithm for key in target.host_keys)
        options = options_for(known, with_key=login.wants_key)
        loop = asyncio.get_running_loop()
        options.host, options.port = target.device.host, target.device.port
        options.username = login.username
        options.protocol_factory = lambda: client
        options.waiter = loop.create_future()
        try:
            connection = await self._log_in(client, options, login)
            yield await self._shell(connection, platform)
        finally:
            await self._close(client, options.waiter)

    def _platform(self, target: Target) -> Platform:
        """Looked up before anything is sent; an unknown or broken one is this device's trouble and not the run's."""
        try:
            platform = self._catalogue.load(target.device.platform)
        except InputError as error:
            raise InternalFault(str(error)) from error
        if not platform.collects:
            raise InternalFault(f"nothing is collected from a device of platform {platform.name}")
        return platform

    async def _log_in(
        self, client: _Client, options: asyncssh.SSHClientConnectionOptions, login: Login
    ) -> _Connection:
        loop = asyncio.get_running_loop()
        waiter = cast("asyncio.Future[None]", options.waiter)
        try:
            async with asyncio.timeout(self._deadlines.connect) as deadline:
                client.deadline, client.login_seconds = deadline, self._deadlines.login
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop, options, wait="auth"), options.host, options.port
                )
                await waiter
        except TimeoutError as error:
            # also raised by the operating system, for a connection that nobody answered
            seconds = self._deadlines.login if client.offered else self._deadlines.connect
            failure = client.failure or login_timeout(client.stage, seconds)
            await self._report(client, login, failure)
            raise failure from error
        except (OSError, asyncssh.Error, UnicodeError) as error:
            failure = client.failure or login_failure(error, client.stage)
            if (
                client.failure is not None and client.offered
            ):  # a key exchange anew, after the secret went out
                failure = AuthNoVerdict(f"before it answered the secret, {client.failure.detail}")
            if client.expired and isinstance(failure, AuthRefused):
                failure = AuthRefused("the password has expired: the device asks for a new one")
            await self._report(client, login, failure)
            raise failure from error
        if client.stage is Stage.OFFERED:
            client.stage = Stage.ACCEPTED
            await login.accepted()
        else:
            await client.remember_key()  # let in without a question: the key is on record all the same
        return connection

    @staticmethod
    async def _report(client: _Client, login: Login, failure: DeviceFailure) -> None:
        if client.stage is Stage.OFFERED:
            if isinstance(failure, AuthRefused):
                await login.cut(client.tries)  # it did not ask again, it hung up
            elif client.tries > 1 and isinstance(failure, AuthNoVerdict):
                await login.cut(client.tries - 1)
            await login.rejected(failure)
        elif client.stage is Stage.REFUSED and not client.told:
            await login.rejected(failure)

    async def _shell(self, connection: _Connection, platform: Platform) -> Session:
        try:
            async with asyncio.timeout(self._deadlines.command):
                _, shell = await connection.create_session(
                    self._channel, term_type="vt100", term_size=_TERMINAL, encoding=None
                )
        except TimeoutError as error:
            raise SessionLost(f"the device opened no shell within {self._deadlines.command:g} s") from error
        except Exception as error:
            raise session_failure(error) from error
        return ShellSession(cast(ShellChannel, shell), platform, command_timeout=self._deadlines.command)

    async def _close(self, client: _Client, waiter: asyncio.Future[None]) -> None:
        if waiter.done() and not waiter.cancelled():
            waiter.exception()  # seen: it has been raised or the connection was given up
        waiter.cancel()
        connection = client.connection
        if connection is None:
            return
        connection.leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._close_grace):
                await connection.wait_closed()


class _Connection(asyncssh.SSHClientConnection):
    """asyncssh's connection without the empty packet that it sends ahead of every other.

    The empty packet hides the chained initialisation vectors of CBC ciphers (RFC 4251 section 9.3.1). Counter and
    GCM modes have none, no CBC cipher is offered, and two of five packets would be such ones.
    """

    def send_packet(self, pkttype: int, *args: bytes, handler: SSHPacketLogger | None = None) -> None:
        if pkttype != MSG_IGNORE:
            super().send_packet(pkttype, *args, handler=handler)

    def leave(self) -> None:
        """Say goodbye in one packet and close at once, without taking the channels down one by one."""
        if not self.is_closed():
            self.send_packet(MSG_DISCONNECT, UInt32(DISC_BY_APPLICATION), String(""), String(""))
            self.abort()


class _Client(asyncssh.SSHClient):
    """What asyncssh tells and asks while one connection comes up."""

    def __init__(self, login: Login, on_record: Sequence[HostKey], *, accept_new: bool) -> None:
        self._login = login
        self._on_record = on_record
        self._accept_new = accept_new
        self._key: HostKey | None = None
        self._new_key = False
        self._interactive = False
        self.expired = False
        """Whether the device wants a new password in place of the one that it was offered."""
        self.connection: _Connection | None = None
        self.stage = Stage.TCP
        self.failure: DeviceFailure | None = None
        self.deadline: asyncio.Timeout | None = None
        self.login_seconds = 0.0
        self.tries = 0
        """Secrets that were handed over."""
        self.told = False
        """Whether the login knows of the last refusal."""
        self._ready: Secret | None = None
        """The next secret, where it was asked for before the device's question."""

    @property
    def offered(self) -> bool:
        return self.stage >= Stage.OFFERED

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self.connection = cast(_Connection, conn)
        self.stage = Stage.KEY_EXCHANGE

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        shown = HostKey(key.get_algorithm(), key.public_data)
        try:
            if self._key is None:
                self._new_key = judge(shown, self._on_record, accept_new=self._accept_new)
                self._key = shown
            elif shown != self._key:
                raise HostKeyChanged("the device shows another host key in the middle of the session")
        except DeviceFailure as failure:
            self.failure = failure
            return False
        return True

    def begin_auth(self, username: str) -> None:
        self.stage = Stage.AUTHENTICATION

    async def password_auth_requested(self) -> str | None:
        secret = await self._next_secret()
        return None if secret is None else secret.password

    async def kbdint_auth_requested(self) -> str | None:
        if self.stage is Stage.OFFERED:  # asked anew: what it was offered was wrong
            self._ready = await self._after_refusal()
            self._interactive = False
        if self.stage is Stage.REFUSED or self._interactive:
            return (
                None  # failed without a question: asking again would be one more failed login on the device
            )
        self._interactive = True
        return ""

    def password_change_requested(self, prompt: str, lang: str) -> Any:
        self.expired = True
        return NotImplemented

    async def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> Sequence[str] | None:
        if not prompts:
            return []  # a message only
        hidden = [
            not echo or "password" in text.lower() or "passcode" in text.lower() for text, echo in prompts
        ]
        if hidden.count(True) != 1 or (secret := await self._next_secret()) is None:
            return None
        password = secret.password or ""
        return [password if is_secret else self._login.username for is_secret in hidden]

    async def public_key_auth_requested(self) -> asyncssh.SSHKey | None:
        if self.stage is Stage.OFFERED:
            self.stage = Stage.REFUSED
        if self.stage >= Stage.OFFERED:
            return None
        return asyncssh.import_private_key((await self._secret()).private_key or "")

    async def _next_secret(self) -> Secret | None:
        """The secret that goes out now; None where there is none (left). Being asked again is a refusal."""
        if self._ready is not None:
            secret, self._ready = self._ready, None
            return secret
        if self.stage is Stage.OFFERED:
            return await self._after_refusal()
        return await self._secret() if self.stage < Stage.OFFERED else None

    async def _after_refusal(self) -> Secret | None:
        """Tell the login that its secret was refused, and ask for the same user's next one."""
        self.stage = Stage.REFUSED
        if self.expired or self.tries >= MOST_TRIES:
            return None
        left = self._stop_the_clock()
        try:
            self.told = True
            await self._login.rejected(AuthRefused("the device refused the secret"))
            secret = await self._login.another()
        except BaseException:
            self._reschedule(left)
            raise
        if secret is None:
            self._reschedule(left)
            return None
        self.told = False
        self._handed_over()
        return secret

    def _handed_over(self) -> None:
        self.tries += 1
        self.stage = Stage.OFFERED
        self._reschedule(self.login_seconds)

    async def _secret(self) -> Secret:
        """Get the secret from the login, which may take its time; the device's clock runs from here on."""
        left = self._stop_the_clock()
        try:
            await self.remember_key()
            secret = (
                await self._login.secret()
            )  # what it raises, asyncssh passes on to who waits for the login
        except BaseException:  # also: the device went on to another question, which cancels this one
            self._reschedule(left)
            raise
        self._handed_over()
        return secret

    async def remember_key(self) -> None:
        """Put a key that was not on record there. Raises ``HostKeyChanged`` where another one came first."""
        if self._new_key and self._key is not None:
            judge(self._key, await self._login.new_host_key(self._key), accept_new=False)
            self._new_key = False

    def _stop_the_clock(self) -> float | None:
        """Seconds that were left."""
        when = self.deadline.when() if self.deadline is not None else None
        self._reschedule(None)
        return None if when is None else when - asyncio.get_running_loop().time()

    def _reschedule(self, seconds: float | None) -> None:
        if self.deadline is not None and not self.deadline.expired():
            when = None if seconds is None else asyncio.get_running_loop().time() + seconds
            self.deadline.reschedule(when)
