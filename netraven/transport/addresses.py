"""TCP to a device: its addresses one after the other, from the address and with the keepalive that settings say."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
from collections.abc import Callable, Sequence
from typing import TypeVar

from netraven.errors import NobodyListens, Unreachable
from netraven.model import Access

P = TypeVar("P", bound=asyncio.BaseProtocol)

Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]

_PROBES = 4
"""Keepalive probes without an answer after which the connection is given up."""


async def connect(factory: Callable[[], P], host: str, port: int, access: Access, seconds: float) -> P:
    """A connection to the first address of ``host`` that answers, spoken by what ``factory`` makes.

    Each address is given an even share of what is left of ``seconds``. Raises ``Unreachable``, which names every
    address that was tried and why it failed, and ``TimeoutError`` where none has answered in time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    addresses = _from(access.source_address, await _addresses(host, port), host)
    failed: list[tuple[str, OSError]] = []
    for place, address in enumerate(addresses):
        share = (deadline - loop.time()) / (len(addresses) - place)
        try:
            async with asyncio.timeout(share if len(addresses) > 1 else None):
                sock = await _connected(address, access)
        except TimeoutError as error:
            failed.append((address[1][0], TimeoutError("no answer") if not error.errno else error))
            continue
        except OSError as error:
            failed.append((address[1][0], error))
            continue
        try:
            _, protocol = await loop.create_connection(factory, sock=sock)
        except BaseException:
            sock.close()
            raise
        return protocol
    if len(failed) == 1:
        raise failed[0][1]
    raise NobodyListens("; ".join(f"{address}: {_why(error)}" for address, error in failed))


async def _addresses(host: str, port: int) -> Sequence[Address]:
    with contextlib.suppress(ValueError):
        literal = ipaddress.ip_address(host)
        if isinstance(literal, ipaddress.IPv4Address):
            return [(socket.AF_INET, (host, port))]
        if literal.scope_id is None:
            return [(socket.AF_INET6, (host, port, 0, 0))]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))  # type: ignore[misc]  # of the two families that TCP has


def _from(source: str | None, addresses: Sequence[Address], host: str) -> Sequence[Address]:
    """Those that can be reached from the source address."""
    if not source:
        return addresses
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(source).version == 6 else socket.AF_INET
    except ValueError:
        raise Unreachable(f"source_address {source!r} is no IP address") from None
    fitting = [address for address in addresses if address[0] is family]
    if not fitting:
        raise Unreachable(f"{host} has no address that can be reached from source_address {source}")
    return fitting


async def _connected(address: Address, access: Access) -> socket.socket:
    family, where = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _keep_alive(sock, access.keepalive)
        if access.source_address:
            try:
                sock.bind((access.source_address, 0))
            except OSError as error:
                said = error.strerror or str(error)
                raise Unreachable(
                    f"cannot connect from source_address {access.source_address}: {said}"
                ) from error
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


def _keep_alive(sock: socket.socket, seconds: float) -> None:
    if not seconds:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    between = max(1, round(seconds / _PROBES))
    for option, value in (
        ("TCP_KEEPIDLE", max(1, round(seconds))),
        ("TCP_KEEPINTVL", between),
        ("TCP_KEEPCNT", _PROBES),
    ):
        if hasattr(socket, option):  # macOS has no TCP_KEEPIDLE
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _why(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)
