"""TCP to a device: every address in turn, from the address that was told, with keepalive."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from netraven.errors import Unreachable
from netraven.model import Access
from netraven.transport import addresses
from netraven.transport.addresses import connect


@asynccontextmanager
async def listening(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[tuple[int, list[str]]]:
    """A server's port, and the addresses that it was called from."""
    callers: list[str] = []
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.append(writer.get_extra_info("peername")[0])
        await reader.read()
        writer.close()
        await writer.wait_closed()
        gone.set()

    server = await asyncio.start_server(serve, host, port)
    try:
        yield server.sockets[0].getsockname()[1], callers
    finally:
        await asyncio.wait_for(gone.wait(), 5)
        server.close()
        await server.wait_closed()


class Spoken(asyncio.Protocol):
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport


@asynccontextmanager
async def connected(host: str, port: int, **words: Any) -> AsyncIterator[socket.socket]:
    spoken = await connect(Spoken, host, port, Access(**words), 5.0)
    try:
        yield spoken.transport.get_extra_info("socket")
    finally:
        spoken.transport.close()
        await asyncio.sleep(0)


def resolves(monkeypatch: pytest.MonkeyPatch, *found: tuple[str, int]) -> None:
    """``found``: address and port, as the resolver gives them."""

    async def getaddrinfo(host: str, port: int, **_: object) -> Sequence[Any]:
        assert host == "many.example"
        families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address, _ in found]
        ends = [(a, p, 0, 0) if ":" in a else (a, p) for a, p in found]
        return [(f, socket.SOCK_STREAM, 6, "", end) for f, end in zip(families, ends, strict=True)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


async def test_ipv4_and_ipv6_literals_need_no_resolver() -> None:
    async with listening() as (port, _), connected("127.0.0.1", port) as sock:
        assert sock.getpeername() == ("127.0.0.1", port)
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    async with listening("::1") as (port, _), connected("::1", port) as sock:
        assert sock.getpeername()[:2] == ("::1", port)


async def test_the_next_address_is_tried_where_one_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening() as (port, _):
        resolves(monkeypatch, ("127.0.0.1", 1), ("::1", 1), ("127.0.0.1", port))
        async with connected("many.example", port) as sock:
            assert sock.getpeername() == ("127.0.0.1", port)


async def test_a_silent_address_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening() as (port, _):
        resolves(monkeypatch, ("127.0.0.2", port), ("127.0.0.1", port))
        really = addresses._connected

        async def silent(address: Any, access: Access) -> socket.socket:
            if address[1][0] == "127.0.0.2":
                await asyncio.sleep(1e6)
            return await really(address, access)

        monkeypatch.setattr(addresses, "_connected", silent)
        spoken = await connect(Spoken, "many.example", port, Access(), 0.4)
        assert spoken.transport.get_extra_info("peername") == ("127.0.0.1", port)
        spoken.transport.close()


async def test_every_address_that_failed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    resolves(monkeypatch, ("127.0.0.1", 1), ("127.0.0.2", 1))
    with pytest.raises(
        Unreachable, match=r"127\.0\.0\.1: Connection refused; 127\.0\.0\.2: Connection refused"
    ):
        await connect(Spoken, "many.example", 1, Access(), 5.0)


async def test_the_source_address_is_the_one_that_was_told() -> None:
    async with listening() as (port, callers):
        async with connected("127.0.0.1", port, source_address="127.0.0.9") as sock:
            assert sock.getsockname()[0] == "127.0.0.9"
        assert callers == ["127.0.0.9"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("192.0.2.1", "cannot connect from source_address 192.0.2.1"),
        ("::1", "has no address that can be reached from source_address ::1"),
        ("eth0", "source_address 'eth0' is no IP address"),
    ],
)
async def test_a_source_address_that_does_not_serve_is_said(source: str, said: str) -> None:
    with pytest.raises(Unreachable, match=said):
        await connect(Spoken, "127.0.0.1", 9, Access(source_address=source), 5.0)


@pytest.mark.parametrize(("seconds", "on"), [(0.0, 0), (40.0, 1)])
async def test_tcp_keepalive(seconds: float, on: int) -> None:
    async with listening() as (port, _), connected("127.0.0.1", port, keepalive=seconds) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == on
        if on and hasattr(socket, "TCP_KEEPIDLE"):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 40
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 10
