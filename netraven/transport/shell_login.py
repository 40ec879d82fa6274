"""Logging in by a shell's own dialogue: telnet's, and that of SSH servers that let anybody in and ask inside.

What is typed when is decided by ``transport.login_dialogue``; here the bytes are moved, the clocks run, and the login
is told. At most one secret is typed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

import asyncssh

from netraven.errors import (
    AuthNoVerdict,
    AuthRefused,
    DeviceFailure,
    NobodyListens,
    NoMethod,
    Unreachable,
)
from netraven.model import Secret
from netraven.ports import Login
from netraven.transport.channel import ShellChannel
from netraven.transport.deadlines import Deadlines
from netraven.transport.failures import Stage as Reached
from netraven.transport.failures import login_failure
from netraven.transport.login_dialogue import BRIEF, QUIET, STILL, LoginDialogue, Move, Stage


def check_typed(login: Login) -> None:
    """Raise ``NoMethod`` where the credential has nothing that can be typed."""
    if not login.wants_password:
        raise NoMethod("the device asks for a password in its shell, and the credential has none")
    if not login.username.isprintable():
        raise NoMethod("the user name has characters that cannot be typed")


class ShellLogin:
    """One way in, up to an open shell."""

    def __init__(
        self, channel: ShellChannel, dialogue: LoginDialogue, login: Login, deadlines: Deadlines
    ) -> None:
        self._channel = channel
        self._dialogue = dialogue
        self._login = login
        self._deadlines = deadlines
        self._clock: asyncio.Timeout
        self._connected = False

    async def enter(self, connect: Callable[[], Awaitable[None]] | None = None) -> None:
        """Returns once the shell is open. ``connect``: what connects ``channel``, where it is not connected yet.

        Raises ``DeviceFailure`` subclasses.
        """
        try:
            async with asyncio.timeout(self._deadlines.connect) as self._clock:
                if connect is not None:
                    await connect()
                self._connected = True
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
                "the password has control characters: it was not sent, a shell cannot be typed them"
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
