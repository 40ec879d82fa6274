"""A knock: whoever answers is heard, nothing is sent, and nobody can keep the door open."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import pytest

from netraven.errors import DeviceFailure, NobodyListens, NoSshServer, Unreachable
from netraven.lab import Ill, Lab
from netraven.model import Access, Device, Target
from netraven.ports import Tunnel
from netraven.transport.deadlines import Deadlines
from netraven.transport.knock import LONGEST_LINE, MOST, SshGreeting, TelnetGreeting
from netraven.transport.reach import Reach
from netraven.transport.ssh import SshTransport
from netraven.transport.telnet import TelnetTransport
from tests.transport.jump_server import jump_server
from tests.transport.rig import PATIENT, NotedLogin, key_of, quiet, router, target

SHORT = Deadlines(connect=0.3, login=0.3, command=1.0)
"""For who never says anything."""


def reach(deadlines: Deadlines = PATIENT) -> Reach:
    return Reach(SshTransport(deadlines), TelnetTransport(deadlines))


# ---- the words, however they are cut


def heard(greeting: SshGreeting, pieces: Sequence[bytes]) -> str | None:
    for piece in pieces:
        if (said := greeting.feed(piece)) is not None:
            return said
    return None


WELL = [
    (b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", "SSH-2.0-OpenSSH_9.2p1 Debian"),
    (b"SSH-2.0-Cisco-1.25\n", "SSH-2.0-Cisco-1.25"),
    (b"SSH-1.99-Cisco-1.25\r\nSSH-2.0-second", "SSH-1.99-Cisco-1.25"),
    (b"Authorized use only\r\n\r\nSSH-2.0-x\r\n", "SSH-2.0-x"),
    (b"SSH-2.0-evil\x1b]0;title\x07\r\n", "SSH-2.0-evil\\x1b]0;title\\x07"),
    (b"SSH-2.0-\xff\r\n", "SSH-2.0-\ufffd"),
]


@pytest.mark.parametrize(("words", "said"), WELL)
def test_the_identification_is_heard_however_it_is_cut(words: bytes, said: str) -> None:
    assert heard(SshGreeting(), [words]) == said
    assert heard(SshGreeting(), [bytes([byte]) for byte in words]) == said
    for place in range(1, len(words)):
        assert heard(SshGreeting(), [words[:place], words[place:]]) == said


UNWELL = [
    (b"SSH-1.5-old\r\n", "not a usable SSH 2 server: SSH-1.5-old"),
    (b"SSH-\r\n", "not a usable SSH 2 server: SSH-"),
    (b"SSH-2.0-" + b"x" * LONGEST_LINE + b"\r\n", "longer than 255 bytes"),
    (b"SSH-2.0-" + b"x" * LONGEST_LINE, "longer than 255 bytes"),
    (b"220 \x1b[2Jmail\r\n" + b"x" * MOST, r"not with SSH: 220 \x1b[2Jmail"),
    (b"\x00" * (MOST + 1), "not with SSH"),
    (b"line\n" * (MOST // 5 + 1), "not with SSH: line"),
]


@pytest.mark.parametrize(("words", "said"), UNWELL)
def test_what_is_no_ssh_is_told_however_it_is_cut(words: bytes, said: str) -> None:
    for size in (len(words), 1000, 7):
        pieces = [words[place : place + size] for place in range(0, len(words), size)]
        with pytest.raises(NoSshServer) as caught:
            heard(SshGreeting(), pieces)
        assert said in caught.value.detail
        assert len(caught.value.detail) < 400
        assert caught.value.detail.isprintable()


def test_an_end_says_whether_anything_came_before_it() -> None:
    assert isinstance(SshGreeting().ended(), Unreachable)
    greeting = SshGreeting()
    assert greeting.feed(b"HTTP/1.1 400 Bad") is None
    assert isinstance(greeting.ended(), NoSshServer)
    assert "HTTP/1.1 400 Bad" in greeting.ended().detail


def test_any_byte_of_telnet_will_do() -> None:
    assert TelnetGreeting().feed(b"\r\nUsername: ") == "telnet: Username:"
    assert TelnetGreeting().feed(b"\xff\xfd\x18") == "telnet", "it negotiates, so it is there"
    assert TelnetGreeting().feed(b"\x1b[2Jlogin: ") == "telnet: \\x1b[2Jlogin:"
    said = TelnetGreeting().feed(b"x" * 10_000_000)
    assert said is not None
    assert len(said) < 100


# ---- over TCP


async def test_a_device_says_what_it_is_and_sees_no_login() -> None:
    async with Lab([router()]) as lab:
        assert (await reach().knock(target(lab))).startswith("SSH-2.0-")
        await quiet(lab)
        assert lab.log.secrets_seen("r1") == []


@pytest.mark.parametrize("name", ["hung_in_kex", "refuses", "hung_login"])
async def test_who_only_fails_later_is_there(name: str) -> None:
    async with Lab([router(ill=Ill(name))]) as lab:  # type: ignore[arg-type]  # a list of kinds
        assert (await reach().knock(target(lab))).startswith("SSH-2.0-")
        await quiet(lab)


async def test_a_closed_port() -> None:
    async with Lab([router(ill=Ill("port_closed"))]) as lab:
        with pytest.raises(NobodyListens):
            await reach().knock(target(lab))


@pytest.mark.parametrize(
    ("host", "said"), [("no-such-host.invalid", "does not resolve"), ("\x9b.invalid", "idna")]
)
async def test_a_name_that_does_not_resolve(host: str, said: str) -> None:
    with pytest.raises(NobodyListens, match=said) as caught:
        await reach().knock(Target(Device("r1", host, "cisco_iosxe")))
    assert caught.value.detail.isprintable()


@pytest.mark.parametrize("ill", ["hung_before_banner", "close_on_connect"])
async def test_who_never_says_anything_is_unreachable(ill: str) -> None:
    async with Lab([router(ill=Ill(ill))]) as lab:  # type: ignore[arg-type]  # a list of kinds
        with pytest.raises(Unreachable) as caught:
            await reach(SHORT).knock(target(lab))
        assert not isinstance(caught.value, NobodyListens)
        assert caught.value.retriable
        await quiet(lab)


async def test_a_device_has_as_long_as_its_own_access_says() -> None:
    async with Lab([router(ill=Ill("hung_before_banner"))]) as lab:
        goal = replace(target(lab), access=Access(connect_timeout=0.2))
        with pytest.raises(Unreachable, match=r"within 0\.2 s"):
            await reach(PATIENT).knock(goal)
        await quiet(lab)


@dataclass
class Talker:
    """Says ``words`` over and over; ``written`` counts what it could get rid of."""

    words: bytes
    times: int = 1
    port: int = 0
    written: int = 0
    received: bytearray = field(default_factory=bytearray)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            for _ in range(self.times):
                writer.write(self.words)
                await writer.drain()
                self.written += len(self.words)
            while data := await reader.read(1000):
                self.received += data
        writer.close()
        self.gone.set()

    @property
    def target(self) -> Target:
        return Target(Device("r1", "127.0.0.1", "cisco_iosxe", self.port))


@asynccontextmanager
async def talking(words: bytes, times: int = 1) -> AsyncIterator[Talker]:
    talker = Talker(words, times)
    server = await asyncio.start_server(talker.serve, "127.0.0.1", 0)
    talker.port = server.sockets[0].getsockname()[1]
    try:
        yield talker
        async with asyncio.timeout(20):
            await talker.gone.wait()
    finally:
        server.close()


@pytest.mark.parametrize(
    ("words", "times"),
    [(b"220 mail.example ESMTP\r\n" * 100, 10_000), (b"\x00\xff" * 4096, 10_000), (b"x" * 1_000_000, 20)],
)
async def test_who_talks_without_end_is_left_early(words: bytes, times: int) -> None:
    async with talking(words, times) as talker:
        with pytest.raises(NoSshServer, match="not with SSH"):
            await reach().knock(talker.target)
    assert talker.written < 20 * 1_000_000, "nobody reads it to its end"


async def test_nothing_is_sent() -> None:
    async with talking(b"SSH-2.0-mine\r\n") as talker:
        assert await reach().knock(talker.target) == "SSH-2.0-mine"
    assert bytes(talker.received) == b""


async def test_a_knock_that_is_cancelled_hangs_up() -> None:
    async with talking(b"no line end") as talker:
        knocking = asyncio.create_task(reach().knock(talker.target))
        async with asyncio.timeout(20):
            while not talker.written:  # noqa: ASYNC110 - it happens in the server
                await asyncio.sleep(0.005)
        knocking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await knocking


# ---- telnet


def over(transport: str, goal: Target, telnet_port: int) -> Target:
    return replace(goal, access=Access(transport, telnet_port=telnet_port))  # type: ignore[arg-type]  # a list of words


async def test_a_telnet_device() -> None:
    async with Lab([router("t1", telnet=True)]) as lab:
        goal = target(lab, "t1")
        said = await reach().knock(over("telnet", goal, goal.device.port))
        assert said.startswith("telnet")
        await quiet(lab)
        assert lab.log.secrets_seen("t1") == []


async def test_a_telnet_device_that_never_says_anything() -> None:
    async with Lab([router("t1", telnet=True, ill=Ill("hung_before_banner"))]) as lab:
        goal = target(lab, "t1")
        with pytest.raises(Unreachable, match=r"within 0\.6 s"):
            await reach(SHORT).knock(over("telnet", goal, goal.device.port))


async def test_telnet_is_knocked_at_where_no_ssh_server_answers() -> None:
    async with Lab([router(ill=Ill("port_closed")), router("t1", telnet=True)]) as lab:
        port = lab.endpoint("t1")[1]
        goal = target(lab)
        assert (await reach().knock(over("ssh-or-telnet", goal, port))).startswith("telnet")
        with pytest.raises(NobodyListens):
            await reach().knock(over("ssh", goal, port))
        known = replace(over("ssh-or-telnet", goal, port), host_keys=(key_of(lab, "t1"),))
        with pytest.raises(NobodyListens, match="not tried over telnet"):
            await reach().knock(known)


async def test_neither_answers() -> None:
    async with Lab([router(ill=Ill("port_closed"))]) as lab:
        goal = target(lab)
        with pytest.raises(Unreachable, match=r"SSH: .*; telnet: "):
            await reach().knock(over("ssh-or-telnet", goal, goal.device.port))


# ---- through a jump host


@asynccontextmanager
async def through(forbids: frozenset[int] = frozenset()) -> AsyncIterator[tuple[Tunnel, Callable[[], None]]]:
    async with jump_server({"netops": "right"}, forbids) as jump:
        host = Target(Device("bastion", "127.0.0.1", "jump_host", jump.port))
        async with SshTransport(PATIENT).tunnel(host, NotedLogin()) as tunnel:
            yield tunnel, jump.die


async def test_through_a_jump_host() -> None:
    async with Lab([router(), router("t1", telnet=True)]) as lab, through() as (tunnel, _):
        assert (await reach().knock(target(lab), tunnel)).startswith("SSH-2.0-")
        goal = target(lab, "t1")
        assert (await reach().knock(over("telnet", goal, goal.device.port), tunnel)).startswith("telnet")
        assert tunnel.alive
        await quiet(lab)


@pytest.mark.parametrize(
    ("ill", "failure"),
    [("port_closed", NobodyListens), ("hung_before_banner", Unreachable), ("close_on_connect", Unreachable)],
)
async def test_who_does_not_answer_behind_a_jump_host(ill: str, failure: type[DeviceFailure]) -> None:
    async with Lab([router(ill=Ill(ill))]) as lab, through() as (tunnel, _):  # type: ignore[arg-type]  # a list of kinds
        with pytest.raises(failure):
            await reach(SHORT).knock(target(lab), tunnel)
        assert tunnel.alive, "one device's trouble is not the others'"


async def test_a_jump_host_that_dies_leaves_nobody_waiting() -> None:
    async with Lab([router(ill=Ill("hung_before_banner"))]) as lab, through() as (tunnel, die):
        knocking = asyncio.create_task(reach(PATIENT).knock(target(lab), tunnel))
        async with asyncio.timeout(20):
            for _ in itertools.count():
                if lab.connections or lab.mutes:
                    break
                await asyncio.sleep(0.005)
        die()
        with pytest.raises(Unreachable):
            async with asyncio.timeout(20):
                await knocking


async def test_many_knocks_leave_no_connection() -> None:
    async with Lab([router()]) as lab:
        goal = target(lab)
        said = await asyncio.gather(*(reach().knock(goal) for _ in range(50)))
        assert len(set(said)) == 1
        await quiet(lab)
