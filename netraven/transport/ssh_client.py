"""What asyncssh tells and asks while one connection comes up: host key first, then secrets, each at most once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import asyncssh
from asyncssh.constants import DISC_BY_APPLICATION, MSG_DISCONNECT, MSG_IGNORE
from asyncssh.packet import SSHPacketLogger, String, UInt32

from netraven.errors import AuthRefused, DeviceFailure, HostKeyChanged, HostKeyUnknown, NoMethod
from netraven.model import HostKey, Secret, SshOffer, Target
from netraven.plain import plain_line
from netraven.ports import Login
from netraven.transport.challenge import Prompts, Wants, is_secret, wanted
from netraven.transport.failures import Stage
from netraven.transport.host_keys import judge, judge_certificate, shown_by
from netraven.transport.keys import OpenedKeys, UnusableKey, agent_keys, sign_with
from netraven.transport.ssh_offer import Malformed, read_offer

MOST_TRIES = 3
"""Passwords on one connection: Cisco IOS allows 3 unless told (`ip ssh authentication-retries`), OpenSSH 6."""

_AGENT_SECONDS = 10.0


class Connection(asyncssh.SSHClientConnection):
    """asyncssh's connection with the host key gate, and without the empty packet that goes ahead of every other.

    The empty packet hides the chained initialisation vectors of CBC ciphers (RFC 4251 section 9.3.1). Counter and
    GCM modes have none, and two of five packets would be such ones.
    """

    def send_packet(self, pkttype: int, *args: bytes, handler: SSHPacketLogger | None = None) -> None:
        if pkttype != MSG_IGNORE or self._enc_alg_cs.endswith(b"-cbc"):
            super().send_packet(pkttype, *args, handler=handler)

    def validate_server_host_key(self, key_data: bytes) -> asyncssh.SSHKey:
        key = cast(Client, self._owner).host_key_shown(key_data)
        if key is None:
            raise asyncssh.HostKeyNotVerifiable("the host key is not let pass")
        self._server_host_key = key
        return key

    async def public_key_auth_requested(self) -> asyncssh.SSHKeyPair | None:
        return await cast(Client, self._owner).key_requested(self._server_sig_algs)

    def offer(self) -> SshOffer | None:
        """What the server offers; None before it has said so, or where it makes no sense."""
        if not self._server_kexinit:
            return None
        try:
            return read_offer(self._server_version, self._server_kexinit)
        except Malformed:
            return None

    def keep(self, agent: asyncssh.SSHAgentClient) -> None:
        """Close this agent's connection together with this one."""
        self._agent = agent

    def leave(self) -> None:
        """Say goodbye in one packet and close at once, without taking the channels down one by one."""
        if not self.is_closed():
            self.send_packet(MSG_DISCONNECT, UInt32(DISC_BY_APPLICATION), String(""), String(""))
            self.abort()


@dataclass(frozen=True, slots=True)
class KeyMeans:
    """Where private keys are opened, and the agent that holds others (its socket; empty: there is none)."""

    opened: OpenedKeys
    agent_socket: str = ""


class Client(asyncssh.SSHClient):
    """What asyncssh tells and asks while one connection comes up.

    A secret with a key and a password is one attempt: the key goes first, and it is refused once neither the key nor
    the password was enough. Another secret follows only where no key went out.
    """

    def __init__(self, login: Login, target: Target, means: KeyMeans, *, username: str = "") -> None:
        """``username``: as the device is to see it, where that is not the login's."""
        self.login = login
        self.username = username or login.username
        self.target = target
        self._means = means
        self._key: HostKey | None = None
        self._new_key = False
        self._interactive = False
        self._answered: Prompts = ()
        """The questions that were answered with the password."""
        self.expired = False
        """Whether the device wants a new password in place of the one that it was offered."""
        self.wants_more = ""
        """What the device asks once it has the password, where that is no question for the password."""
        self.connection: Connection | None = None
        self.waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.stage = Stage.TCP
        self.failure: DeviceFailure | None = None
        self.deadline: asyncio.Timeout | None = None
        self.login_seconds = 0.0
        self.tries = 0
        """Secrets that were handed over."""
        self.told = False
        """Whether the login knows of the last refusal."""
        self._secret_out: Secret | None = None
        """The secret that was handed over."""
        self._keys: list[asyncssh.SSHKeyPair] | None = None
        """Its keys that have not been shown yet; None before they were asked for."""
        self._password_sent = False
        self._ready: Secret | None = None
        """The next secret, where it was asked for before the device's question."""

    def again(self) -> Client:
        """For one more connection to the same device, with what this one has learned of it."""
        return Client(self.login, self.target, self._means, username=self.username)

    @property
    def offered(self) -> bool:
        return self.stage >= Stage.OFFERED

    @property
    def key_shown(self) -> bool:
        """Whether public key authentication was tried."""
        return self._keys is not None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self.connection = cast(Connection, conn)
        self.stage = Stage.KEY_EXCHANGE

    def host_key_shown(self, data: bytes) -> asyncssh.SSHKey | None:
        """The gate: the key to go on with, None where it is not let pass."""
        shown = shown_by(data)
        if shown is None:
            self.failure = HostKeyUnknown("the device shows a host key that cannot be read; nothing was sent")
            return None
        try:
            if self._key is None:
                self._new_key = not judge_certificate(shown, self.target) and judge(shown.plain, self.target)
                self._key = shown.plain
            elif shown.plain != self._key:
                raise HostKeyChanged(
                    f"the device shows {shown.plain.fingerprint} ({shown.plain.algorithm}) in the middle of the"
                    f" session, which began with {self._key.fingerprint} ({self._key.algorithm})"
                )
        except DeviceFailure as failure:
            self.failure = failure
            if shown.plain not in self.target.trust.revoked:  # about that nobody has to decide any more
                self.login.refused_host_key(shown.plain)
            return None
        return shown.key

    def begin_auth(self, username: str) -> None:
        self.stage = Stage.AUTHENTICATION
        if (
            self.connection is not None
        ):  # only now: the key exchange has proven that the offer is the device's own
            self.learn(self.connection.offer())

    def learn(self, offer: SshOffer | None) -> None:
        """Tell the login of an offer that is not on record."""
        if offer is not None and offer != self.target.offer:
            self.target = replace(self.target, offer=offer)
            self.login.offer_seen(offer)

    async def password_auth_requested(self) -> str | None:
        secret = await self._next_secret()
        if secret is None or secret.password is None:
            return None
        self._password_sent = True
        return secret.password

    async def kbdint_auth_requested(self) -> str | None:
        if self.stage is Stage.OFFERED and self._password_sent:  # asked anew: what it was offered was wrong
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
        if not self._is_for_the_password(prompts):
            return None
        if (secret := await self._next_secret()) is None or secret.password is None:
            return None
        self._password_sent, self._answered = True, prompts
        return [
            secret.password if is_secret(text, echo=echo) else self.login.username for text, echo in prompts
        ]

    def _is_for_the_password(self, prompts: Prompts) -> bool:
        """Whether the password, or after a refusal the user's next one, may answer these questions.

        Once one was answered, only the very same comes back for a refusal. Another one follows a password that was
        taken: what is asked then is a new password or a second factor, and no secret of anybody's goes there.
        """
        wants = wanted(prompts)
        asked_on = self._password_sent and self.stage is Stage.OFFERED and self._ready is None
        if asked_on and list(prompts) != list(self._answered):
            self.stage = Stage.REFUSED
            self.expired = wants is Wants.CHANGE
            self.wants_more = plain_line(prompts[-1][0].strip(), 60)
            return False
        return wants is Wants.OWN

    async def key_requested(self, server_takes: Collection[bytes]) -> asyncssh.SSHKeyPair | None:
        """The next key to show; None where there is none (left)."""
        if self.stage > Stage.OFFERED or not self.login.wants_key:
            return None
        if self._keys is None:
            if self.stage is Stage.OFFERED:
                self._keys = await self._keys_of(self._secret_out or Secret())
            else:
                await self._secret(with_keys=True)
        if self._keys:
            pair = self._keys.pop(0)
            sign_with(pair, server_takes, legacy=self.target.access.legacy)
            return pair
        if not self._may_follow_key():
            self.stage = Stage.REFUSED
        return None

    def _may_follow_key(self) -> bool:
        """Whether the password of the secret can still go out on this connection."""
        if self._secret_out is None or self._secret_out.password is None or self.connection is None:
            return False
        return any(method != "publickey" for method in self.connection.get_server_auth_methods())

    async def _usable_keys_of(self, secret: Secret) -> list[asyncssh.SSHKeyPair]:
        try:
            keys = await self._keys_of(secret)
            if not keys and secret.password is None:
                raise ConnectionError("the ssh agent does not hold the key any more")
        except ConnectionError as error:
            await self.login.unsent()
            raise NoMethod(plain_line(str(error))) from error
        return keys

    async def _keys_of(self, secret: Secret) -> list[asyncssh.SSHKeyPair]:
        if secret.private_key is not None:
            try:
                return [await self._means.opened.of(secret)]
            except UnusableKey as error:
                raise ConnectionError(f"the private key {error}") from None
        if secret.agent is None:
            return []
        agent = asyncssh.SSHAgentClient(self._means.agent_socket)
        try:
            async with asyncio.timeout(_AGENT_SECONDS):
                await agent.connect()
                keys = await agent_keys(agent, secret.agent)
        except (OSError, ValueError) as error:  # a timeout is an OSError
            agent.close()
            said = str(error) or f"not within {_AGENT_SECONDS:g} s"
            raise ConnectionError(f"the ssh agent does not answer: {said}") from error
        if self.connection is not None:
            self.connection.keep(agent)
        return list(keys)

    async def _next_secret(self) -> Secret | None:
        """The secret that goes out now; None where there is none (left). Being asked again is a refusal."""
        if self._ready is not None:
            secret, self._ready = self._ready, None
            return secret
        if self.stage is Stage.OFFERED:
            return await self._after_refusal() if self._password_sent else self._secret_out
        return await self._secret() if self.stage < Stage.OFFERED else None

    async def _after_refusal(self) -> Secret | None:
        """Tell the login that its secret was refused, and ask for the same user's next one."""
        self.stage = Stage.REFUSED
        if self.expired or self.tries >= MOST_TRIES or self.key_shown:
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
        self._handed_over(secret)
        return secret

    def _handed_over(self, secret: Secret) -> None:
        self._secret_out = secret
        self.tries += 1
        self.stage = Stage.OFFERED
        self._reschedule(self.login_seconds)

    def forget(self) -> None:
        """The secret has done its work; a session may last for long."""
        self._secret_out, self._keys = None, [] if self.key_shown else None

    async def _secret(self, *, with_keys: bool = False) -> Secret:
        """Get the secret from the login, which may take its time; the device's clock runs from here on.

        ``with_keys``: open them as well. Those that cannot be used raise ``NoMethod``: nothing has been sent.
        """
        left = self._stop_the_clock()
        try:
            await self.remember_key()
            secret = (
                await self.login.secret()
            )  # what it raises, asyncssh passes on to who waits for the login
            if with_keys:
                self._keys = await self._usable_keys_of(secret)
        except BaseException:  # also: the device went on to another question, which cancels this one
            self._reschedule(left)
            raise
        self._handed_over(secret)
        return secret

    async def remember_key(self) -> None:
        """Put a key that was not on record there. Raises ``HostKeyChanged`` where another one came first."""
        if self._new_key and self._key is not None:
            on_record = await self.login.new_host_key(self._key)
            judge(self._key, replace(self.target, host_keys=tuple(on_record)))
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
