"""SSH to a device: one connection, the host key first, then exactly one attempt, counted from what the device does.

asyncssh asks its client object for a password each time it could send one. The first time, the login hands the
secret over; a second time means that the device has answered the first with a refusal (``transport.ssh_client``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar, cast

import asyncssh

from netraven.errors import (
    AuthNoVerdict,
    AuthRefused,
    DeviceFailure,
    Negotiation,
    NobodyListens,
    SessionLost,
    Unreachable,
)
from netraven.model import Access, Target
from netraven.platforms import Platform
from netraven.ports import Login, Session, Tunnel
from netraven.transport.addresses import connect
from netraven.transport.channel import ShellChannel
from netraven.transport.deadlines import Deadlines
from netraven.transport.dialects import Dialects
from netraven.transport.failures import Stage, login_failure, login_timeout, of_the_device, session_failure
from netraven.transport.keys import OpenedKeys
from netraven.transport.knock import at_ssh
from netraven.transport.shell_login import ShellLogin, check_typed
from netraven.transport.ssh_algorithms import Algorithms, algorithms_of, lacking, nothing_in_common
from netraven.transport.ssh_client import Client, Connection, KeyMeans
from netraven.transport.ssh_profile import options_for
from netraven.transport.watch import Watch, WatchedChannel

T = TypeVar("T")

_TERMINAL = (511, 24)
"""Columns and rows; wide, so that devices do not wrap the echo of a command."""


class SshTunnel:
    """A connection to a jump host (``ports.Tunnel``)."""

    def __init__(self, name: str, connection: Connection) -> None:
        self.name = name
        self.connection = connection
        self._given_up: set[asyncio.Task[Any]] = set()
        """Ways to devices that nobody waits for any more, and that the jump host has not answered yet."""

    @property
    def alive(self) -> bool:
        return not self.connection.is_closed()

    async def ended(self) -> None:
        await self.connection.wait_closed()

    async def connect(self, factory: Callable[[], T], host: str, port: int) -> T:
        """A connection through the jump host, spoken by what ``factory`` makes. Raises ``Unreachable``.

        asyncssh runs SSH, and whatever else has a TCP session's methods, over a channel as over TCP.
        """
        opening = asyncio.create_task(self.connection.create_connection(cast("Any", factory), host, port))
        try:
            _, spoken = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # asyncssh would keep what the jump host opens late, and with it the jump host's connection to the device
            self._given_up.add(opening)
            opening.add_done_callback(self._came_late)
            raise
        except asyncssh.ChannelOpenError as error:
            kind = NobodyListens if error.code == asyncssh.OPEN_CONNECT_FAILED else Unreachable
            raise kind(f"jump host {self.name} does not reach it: {error.reason}") from error
        except (OSError, asyncssh.Error) as error:
            raise Unreachable(f"through jump host {self.name}: {error}") from error
        return cast("T", spoken)

    def _came_late(self, opening: asyncio.Task[Any]) -> None:
        self._given_up.discard(opening)
        if not opening.cancelled() and opening.exception() is None:
            channel, _ = opening.result()
            channel.abort()

    async def leave(self) -> None:
        """Wait for nothing more; what the jump host has opened ends with the connection."""
        if self._given_up:
            late = tuple(self._given_up)
            for opening in late:
                opening.cancel()
            await asyncio.wait(late)


class SshTransport:
    """Opens shells, and connections to jump hosts, over SSH.

    ``agent_socket``: where the ssh agent listens. ``close_grace``: seconds that a closing connection is waited for.
    ``watch``: told of what passes through shells.
    """

    def __init__(
        self,
        deadlines: Deadlines,
        dialects: Dialects | None = None,
        *,
        agent_socket: str = "",
        close_grace: float = 1.0,
        watch: Watch | None = None,
    ) -> None:
        self._deadlines = deadlines
        self._dialects = dialects or Dialects()
        self._channel = ShellChannel if watch is None else partial(WatchedChannel, watch)
        self._close_grace = close_grace
        self._means = KeyMeans(OpenedKeys(), agent_socket)

    @asynccontextmanager
    async def open(self, target: Target, login: Login, via: Tunnel | None = None) -> AsyncIterator[Session]:
        """Connect and log in with one attempt on the wire. Raises ``DeviceFailure`` subclasses."""
        platform = self._dialects.of(target)
        client: Client | None = None
        try:
            async with self._connection(target, login, via, platform) as (client, connection):
                shell = await self._shell(connection, target.access)
                if platform is not None and platform.login_in_shell and not client.offered:
                    await self._log_in_inside(shell, platform, target, login)
                yield self._dialects.session(
                    shell,
                    platform,
                    command_timeout=self._deadlines.of(target.access).command,
                    hints=_says_of_itself(connection),
                )
        except SessionLost as error:
            if client is not None and client.failure is not None:  # another host key at a key exchange anew
                client.failure.captured = error.captured
                raise client.failure from error
            if via is None or via.alive:
                raise
            raise Unreachable(
                f"the jump host's connection ended in the middle of the session: {error}"
            ) from error

    @asynccontextmanager
    async def tunnel(self, target: Target, login: Login, via: Tunnel | None = None) -> AsyncIterator[Tunnel]:
        """Connect and log in to a jump host. Raises ``DeviceFailure`` subclasses."""
        async with self._connection(target, login, via) as (_, connection):
            tunnel = SshTunnel(target.device.name, connection)
            try:
                yield tunnel
            finally:
                await tunnel.leave()

    async def knock(self, target: Target, via: Tunnel | None = None) -> str:
        """The server's identification. Raises ``Unreachable`` or ``NoSshServer``."""
        return await at_ssh(target, self._deadlines, via)

    @asynccontextmanager
    async def _connection(
        self, target: Target, login: Login, via: Tunnel | None, platform: Platform | None = None
    ) -> AsyncIterator[tuple[Client, Connection]]:
        """A connection that is logged in; closed in the end.

        Where no algorithm is in common, what the device offers may lead to others: then there is a second connection,
        and no third. Nothing has been sent by then.
        """
        offered = algorithms_of(target)
        suffix = platform.username_suffix if platform is not None else ""
        client = Client(login, target, self._means, username=login.username + suffix)
        try:
            try:
                connection = await self._log_in(client, target, offered, via)
            except NothingInCommon:
                better = algorithms_of(client.target)
                if better == offered:
                    raise
                await self._close(client)
                client = client.again()
                connection = await self._log_in(client, client.target, better, via)
            yield client, connection
        finally:
            await self._close(client)

    async def _log_in(
        self, client: Client, target: Target, algorithms: Algorithms, via: Tunnel | None
    ) -> Connection:
        login = client.login
        options = options_for(algorithms, with_key=login.wants_key, with_password=login.wants_password)
        options.host, options.port = target.device.host, target.device.port
        options.username = client.username
        options.protocol_factory = lambda: client
        options.waiter = client.waiter
        deadlines = self._deadlines.of(target.access)
        try:
            async with asyncio.timeout(deadlines.connect) as deadline:
                client.deadline, client.login_seconds = deadline, deadlines.login
                connection = await _over(options, target.access, via, deadlines.connect)
                await client.waiter
        except Unreachable:
            raise
        except TimeoutError as error:
            # also raised by the operating system, for a connection that nobody answered
            seconds = deadlines.login if client.offered else deadlines.connect
            failure = client.failure or login_timeout(client.stage, seconds)
            await self._report(client, failure)
            raise failure from error
        except Exception as error:
            if not of_the_device(error, client.stage):
                raise
            failure = (
                client.failure or _not_in_common(client, algorithms) or login_failure(error, client.stage)
            )
            if (
                client.failure is not None and client.offered
            ):  # a key exchange anew, after the secret went out
                failure = AuthNoVerdict(f"before it answered the secret, {client.failure.detail}")
            if client.expired and isinstance(failure, AuthRefused):
                failure = AuthRefused("the password has expired: the device asks for a new one")
            elif client.wants_more and isinstance(failure, AuthRefused):
                failure = AuthRefused(f"the device asks for more than a password: {client.wants_more!r}")
            await self._report(client, failure)
            raise failure from error
        if client.stage is Stage.OFFERED:
            client.stage = Stage.ACCEPTED
            client.forget()
            await client.login.accepted()
        else:
            await client.remember_key()  # let in without a question: the key is on record all the same
        return connection

    @staticmethod
    async def _report(client: Client, failure: DeviceFailure) -> None:
        login = client.login
        if client.stage is Stage.OFFERED:
            if client.key_shown:
                pass  # how many keys and passwords a device takes says nothing of passwords alone
            elif isinstance(failure, AuthRefused):
                await login.cut(client.tries)  # it did not ask again, it hung up
            elif client.tries > 1 and isinstance(failure, AuthNoVerdict):
                await login.cut(client.tries - 1)
            await login.rejected(failure)
        elif client.stage is Stage.REFUSED and not client.told:
            await login.rejected(failure)

    async def _log_in_inside(
        self, shell: ShellChannel, platform: Platform, target: Target, login: Login
    ) -> None:
        check_typed(login)
        dialogue = self._dialects.login(platform, login.username)
        await ShellLogin(shell, dialogue, login, self._deadlines.of(target.access)).enter()
        shell.unread(dialogue.greeting)

    async def _shell(self, connection: Connection, access: Access) -> ShellChannel:
        seconds = self._deadlines.of(access).command
        try:
            async with asyncio.timeout(seconds):
                _, shell = await connection.create_session(
                    self._channel, term_type="vt100", term_size=_TERMINAL, encoding=None
                )
        except TimeoutError as error:
            raise SessionLost(f"the device opened no shell within {seconds:g} s") from error
        except Exception as error:
            raise session_failure(error) from error
        return cast(ShellChannel, shell)

    async def _close(self, client: Client) -> None:
        waiter = client.waiter
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


def _says_of_itself(connection: Connection) -> str:
    """What the server said before the shell was open: the version string of its SSH."""
    return str(connection.get_extra_info("server_version", ""))


async def _over(
    options: asyncssh.SSHClientConnectionOptions, access: Access, via: Tunnel | None, seconds: float
) -> Connection:
    """A connection whose key exchange has begun, straight or through a jump host."""
    loop = asyncio.get_running_loop()

    def speak() -> Connection:
        return Connection(loop, options, wait="auth")

    if via is None:
        return await connect(speak, options.host, options.port, access, seconds)
    return await cast(SshTunnel, via).connect(speak, options.host, options.port)


class NothingInCommon(Negotiation):
    """The device has said what it offers, and nothing of it was among what it was offered."""


def _not_in_common(client: Client, algorithms: Algorithms) -> NothingInCommon | None:
    """Why the key exchange failed, where that was for want of a common algorithm, whichever side ended it."""
    offer = client.connection.offer() if client.connection is not None else None
    if client.stage is not Stage.KEY_EXCHANGE or offer is None:
        return None
    lacks = lacking(offer, algorithms)
    if not lacks:
        return None
    client.learn(offer)
    device, legacy = client.target.device, client.target.access.legacy
    return NothingInCommon(nothing_in_common(offer, lacks, device.name, legacy=legacy))
