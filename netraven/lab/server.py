"""The SSH side of the lab, on asyncssh. Imported when a lab starts, never before.

One options object is built for the whole lab and copied with another host key per device: building one is not
cheap. asyncssh rereads its options at every login (`reload_config`); here there is nothing to reread.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import asyncssh
from asyncssh.auth import KbdIntChallenge, KbdIntResponse
from asyncssh.packet import SSHPacket, SSHPacketLogger

from netraven.lab.model import Ill, LabAlgorithms
from netraven.lab.session import Session
from netraven.lab.telnet import TelnetConnection
from netraven.lab.wirelog import Attempt, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from netraven.lab.lab import Box, Lab

_IGNORE, _NEWKEYS = 2, 21  # RFC 4253 section 12
_INFO_REQUEST = 60  # RFC 4256 section 5; in RFC 4252 section 8 the same number is PASSWD_CHANGEREQ
_KEX_ALGS = [  # what routers of today offer, without asyncssh's own first choice, which is post-quantum
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group14-sha256",
]
_TOO_MANY = 2  # SSH_DISCONNECT_PROTOCOL_ERROR: what OpenSSH sends past MaxAuthTries
_PKCS8_ED25519 = bytes.fromhex("302e020100300506032b657004220420")  # RFC 8410 section 7, then the 32 bytes
_VERSION_LINE = b"SSH-2.0-Cisco-1.25\r\n"
_USUAL = LabAlgorithms()
EVIL_AUTH_BANNER = "Welcome\x1b]0;title of the lab\x07\x1b[2J\x9b31m \x1b]52;c;bGFi\x07notice\r\n"


def host_key(seed: int, name: str, generation: int) -> asyncssh.SSHKey:
    """An ed25519 key that is the same for the same arguments, so that a restarted lab keeps its keys."""
    secret = hashlib.sha256(f"netraven lab host key/{seed}/{name}/{generation}".encode()).digest()
    return asyncssh.import_private_key(_PKCS8_ED25519 + secret)


def base_options(
    key: asyncssh.SSHKey, algorithms: LabAlgorithms = _USUAL
) -> asyncssh.SSHServerConnectionOptions:
    named = {"encryption_algs": algorithms.ciphers, "mac_algs": algorithms.macs}
    return asyncssh.SSHServerConnectionOptions(
        **{option: list(names) for option, names in named.items() if names},
        server_factory=Door,
        server_host_keys=[key],
        server_version="Lab",
        encoding=None,
        line_editor=False,
        kex_algs=list(algorithms.kex) or _KEX_ALGS,
        compression_algs=["none"],
        gss_host=None,
        login_timeout=600,
        keepalive_interval=0,
        rekey_seconds=0,
        agent_forwarding=False,
    )


def options_with(
    base: asyncssh.SSHServerConnectionOptions, key: asyncssh.SSHKey
) -> asyncssh.SSHServerConnectionOptions:
    options = copy.copy(base)
    pairs = asyncssh.load_keypairs([key])
    options.server_host_keys = OrderedDict(
        (name, pair) for pair in pairs for name in pair.host_key_algorithms
    )
    return options


@lru_cache(maxsize=16)
def _throwaway_key(algorithm: str) -> asyncssh.SSHKey:
    kind = "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm
    return asyncssh.generate_private_key(kind)


def options_offering(key: asyncssh.SSHKey, algorithms: LabAlgorithms) -> asyncssh.SSHServerConnectionOptions:
    """Options of a device that is set apart by what it offers."""
    options = base_options(key, algorithms)
    if algorithms.host_keys:
        options.server_host_keys = OrderedDict(
            (name.encode(), asyncssh.load_keypairs([_throwaway_key(name)])[0])
            for name in algorithms.host_keys
        )
    return options


class Mute(asyncio.Protocol):
    """A peer that accepts TCP and then says nothing, or only its version line; or closes at once."""

    def __init__(self, lab: Lab, box: Box | None, *, first: bytes = b"", close: bool = False) -> None:
        self._lab, self._box, self._first, self._close = lab, box, first, close
        self._transport: asyncio.Transport | None = None
        self._number = lab.next_connection()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._lab.mutes.add(self)
        if self._box is not None:
            self._lab.log.event("connect", self._box.name, self._number)
        if self._first:
            self._transport.write(self._first)
        if self._close:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lab.mutes.discard(self)
        if self._box is not None:
            self._lab.log.event("disconnect", self._box.name, self._number)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Connection(asyncssh.SSHServerConnection):
    """One client. Tells the referee when the key exchange is done and when a verdict has left."""

    def __init__(self, lab: Lab, box: Box, ill: Ill, options: asyncssh.SSHServerConnectionOptions) -> None:
        super().__init__(lab.loop, options)
        self.lab, self.box, self.ill = lab, box, ill
        self.device = box.device
        self.number = lab.next_connection()
        self.pending: Attempt | None = None
        self._keyed = False

    async def reload_config(self) -> None:
        """Nothing to reread: the options do not depend on the user."""

    def send_packet(self, pkttype: int, *args: bytes, handler: SSHPacketLogger | None = None) -> None:
        """Without the empty IGNORE that asyncssh puts before every packet: no router sends those."""
        if pkttype != _IGNORE:
            super().send_packet(pkttype, *args, handler=handler)

    def log_sent_packet(self, pkttype: int, pktid: int | None, packet: object, note: str = "") -> None:
        """The referee keeps its own log."""

    def log_received_packet(self, pkttype: int, pktid: int | None, packet: object, note: str = "") -> None:
        """The referee keeps its own log."""

    def process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> bool | Awaitable[None]:
        result = super().process_packet(pkttype, pktid, packet)
        if pkttype == _NEWKEYS and not self._keyed:
            self._keyed = True
            self.lab.log.event("kex", self.device.name, self.number)
        return result

    def offered(self, username: str, method: str, password: str) -> None:
        self.settle("unanswered")
        self.pending = self.lab.log.attempt(self.device.name, self.number, username, method, password)

    def settle(self, verdict: Verdict) -> None:
        """The attempt in flight, if any, has come to its end."""
        attempt, self.pending = self.pending, None
        if attempt is not None:
            self.lab.log.verdict(attempt, verdict)

    def send_userauth_failure(self, partial_success: bool) -> None:
        super().send_userauth_failure(partial_success)
        self.settle(self._sent("refused"))

    async def send_userauth_success(self) -> None:
        # With no further await between the packet and the record: auth_completed of Door is a plain function.
        await super().send_userauth_success()
        self.settle(self._sent("accepted"))
        if self.ill.kind == "close_after_login":
            self.abort()

    def send_userauth_packet(
        self, pkttype: int, *args: bytes, handler: object = None, trivial: bool = True
    ) -> None:
        super().send_userauth_packet(pkttype, *args, handler=handler, trivial=trivial)  # type: ignore[arg-type]  # None is its default
        if self.pending is not None and self.pending.method == "publickey":
            return  # 60 is PK_OK there: the key may sign
        if pkttype == _INFO_REQUEST:  # the same question again means that the last answer was wrong
            self.settle(self._sent("expired" if self.ill.kind == "expired_password" else "refused"))

    def _sent(self, verdict: Verdict) -> Verdict:
        """What is said to a connection that has gone is said to nobody."""
        return "unanswered" if self._transport is None else verdict


class Door(asyncssh.SSHServer):
    """Who may come in: hands the password to the device's own list and to the AAA server."""

    _connection: Connection
    _wrong = 0
    _shown = ""
    """The user and key of the last public key request."""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = cast(Connection, conn)
        box = self._connection.box
        box.lab.connections.add(self._connection)
        box.lab.log.event("connect", box.name, self._connection.number)

    def connection_lost(self, exc: Exception | None) -> None:
        connection = self._connection
        connection.settle("unanswered")
        connection.lab.connections.discard(connection)
        connection.lab.log.event("disconnect", connection.device.name, connection.number)

    def begin_auth(self, username: str) -> bool:
        if self._connection.ill.kind == "evil_output":
            self._connection.send_auth_banner(EVIL_AUTH_BANNER)
        return True

    def public_key_auth_supported(self) -> bool:
        return "publickey" in self._connection.device.auth

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Asked for a key that is shown, and again once it has signed: the first one is the attempt."""
        connection, shown = self._connection, f"{username} {key.get_fingerprint()}"
        if shown != self._shown:
            self._shown = shown
            connection.offered(username, "publickey", key.get_fingerprint())
        return any(key == known for known in self._authorized(username, authorities=False))

    def validate_ca_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return any(key == known for known in self._authorized(username, authorities=True))

    def _authorized(self, username: str, *, authorities: bool) -> list[asyncssh.SSHKey]:
        lines = self._connection.device.authorized_keys.get(username, "").splitlines()
        mark = "cert-authority "
        chosen = [line.removeprefix(mark) for line in lines if line.startswith(mark) is authorities]
        return [asyncssh.import_public_key(line) for line in chosen if line.strip()]

    def password_auth_supported(self) -> bool:
        return "password" in self._connection.device.auth

    def kbdint_auth_supported(self) -> bool:
        return "keyboard-interactive" in self._connection.device.auth

    async def validate_password(self, username: str, password: str) -> bool:
        return await self._judge(username, "password", password)

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> KbdIntChallenge:
        return "", "", "", [("Password: ", False)]

    async def validate_kbdint_response(self, username: str, responses: KbdIntResponse) -> KbdIntChallenge:
        right = await self._judge(username, "keyboard-interactive", responses[0] if responses else "")
        ill = self._connection.ill
        if not right and ill.kind == "kbdint_retry" and self._wrong < ill.tries:
            return self.get_kbdint_challenge(username, "", "")
        return right

    async def _judge(self, username: str, method: str, password: str) -> bool:
        connection = self._connection
        ill, box = connection.ill, connection.box
        connection.offered(username, method, password)
        if ill.kind == "close_at_login":
            connection.settle("unanswered")
            connection.abort()
        if ill.kind in ("hung_login", "close_at_login"):
            await _forever()
        aaa = box.lab.aaa
        if aaa is not None and aaa.mode == "silent":
            await _forever()
        device = box.device  # the passwords of this moment: they may change while the connection lasts
        right = ill.kind != "refuses" and device.accepts.get(username) == password
        if aaa is not None:
            right = aaa.judge(box.name, username, right)
        delay = (ill.seconds if ill.kind == "slow" else 0.0) + (aaa.answer_delay if aaa is not None else 0.0)
        if delay:
            await asyncio.sleep(delay)
        if right and ill.kind == "expired_password" and method == "password":
            raise asyncssh.PasswordChangeRequired("Your password has expired. New password: ")
        if not right:
            await self._refused(username)
        return right

    async def _refused(self, username: str) -> None:
        self._wrong += 1
        connection = self._connection
        if connection.ill.kind == "disconnect_at_login" and self._wrong >= connection.ill.tries:
            connection.disconnect(_TOO_MANY, f"Too many authentication failures for {username}")
            connection.settle("refused")
            await _forever()

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        connection = self._connection
        return Session(connection, connection.get_extra_info("username") or "")


async def _forever() -> None:
    """Until the connection ends, which cancels the task that asks."""
    await asyncio.get_running_loop().create_future()


def answerer(lab: Lab, box: Box) -> asyncio.BaseProtocol:
    """Who speaks on a new TCP connection to a device."""
    ill = box.next_ill()
    match ill.kind:
        case "port_closed" | "close_on_connect":
            return Mute(lab, box, close=True)
        case "hung_before_banner":
            return Mute(lab, box)
        case "hung_in_kex" if not box.device.telnet:
            return Mute(lab, box, first=_VERSION_LINE)
        case _ if box.device.telnet:
            return TelnetConnection(lab, box, ill)
        case _:
            return Connection(lab, box, ill, box.options())


class Dispatcher(asyncio.Protocol):
    """Behind one wildcard socket: finds the device by the address called; foreign callers are dropped."""

    def __init__(self, find: Callable[[str], asyncio.BaseProtocol | None]) -> None:
        self._find = find

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)
        address = stream.get_extra_info("sockname")[0]
        protocol = self._find(address) if address.startswith("127.") else None
        if protocol is None:
            stream.abort()
            return
        stream.set_protocol(protocol)
        protocol.connection_made(stream)
