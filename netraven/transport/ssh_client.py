"""What asyncssh tells and asks while one connection comes up: host key first, then secrets, each at most once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import asyncssh
from asyncssh.constants import DISC_BY_APPLICATION, MSG_DISCONNECT, MSG_IGNORE
from asyncssh.packet import SSHPacketLogger, String, UInt32

from netraven.errors import AuthRefused, DeviceFailure, HostKeyChanged
from netraven.model import HostKey, Secret, Target
from netraven.ports import Login
from netraven.transport.failures import Stage
from netraven.transport.host_keys import judge

MOST_TRIES = 3
"""Passwords on one connection: Cisco IOS allows 3 unless told (`ip ssh authentication-retries`), OpenSSH 6."""


class Connection(asyncssh.SSHClientConnection):
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


class Client(asyncssh.SSHClient):
    """What asyncssh tells and asks while one connection comes up."""

    def __init__(self, login: Login, target: Target) -> None:
        self.login = login
        self._target = target
        self._key: HostKey | None = None
        self._new_key = False
        self._interactive = False
        self.expired = False
        """Whether the device wants a new password in place of the one that it was offered."""
        self.connection: Connection | None = None
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
        self.connection = cast(Connection, conn)
        self.stage = Stage.KEY_EXCHANGE

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        shown = HostKey(key.get_algorithm(), key.public_data)
        try:
            if self._key is None:
                self._new_key = judge(shown, self._target)
                self._key = shown
            elif shown != self._key:
                raise HostKeyChanged("the device shows another host key in the middle of the session")
        except DeviceFailure as failure:
            self.failure = failure
            self.login.refused_host_key(shown)
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
        return [password if is_secret else self.login.username for is_secret in hidden]

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
            await self.login.rejected(AuthRefused("the device refused the secret"))
            secret = await self.login.another()
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
                await self.login.secret()
            )  # what it raises, asyncssh passes on to who waits for the login
        except BaseException:  # also: the device went on to another question, which cancels this one
            self._reschedule(left)
            raise
        self._handed_over()
        return secret

    async def remember_key(self) -> None:
        """Put a key that was not on record there. Raises ``HostKeyChanged`` where another one came first."""
        if self._new_key and self._key is not None:
            on_record = await self.login.new_host_key(self._key)
            judge(self._key, replace(self._target, host_keys=tuple(on_record)))
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
