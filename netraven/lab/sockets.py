"""Where the devices of a lab live: ports of 127.0.0.1, or addresses of 127.0.0.0/8."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import socket
from collections.abc import Callable, Iterable
from typing import Literal

Addressing = Literal["port", "address"]


def addresses() -> Iterable[str]:
    """A range of 127/8 that follows from the process number, so that labs side by side rarely meet."""
    second = 1 + os.getpid() % 250
    return (f"127.{second}.{n // 250}.{1 + n % 250}" for n in range(1, 64_000))


def bound(host: str, port: int) -> socket.socket:
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((host, port))
    except OSError:
        held.close()
        raise
    return held


def sockets(count: int, addressing: Addressing) -> list[socket.socket]:
    """Bound, not yet listening: one for each device."""
    if addressing == "port":
        return _all(lambda _: bound("127.0.0.1", 0), [""] * count)
    hosts = list(itertools.islice(addresses(), count))
    for _ in range(20):
        port = 0

        def bind(address: str) -> socket.socket:
            nonlocal port
            held = bound(address, port)
            port = held.getsockname()[1]
            return held

        with contextlib.suppress(_Taken):
            return _all(bind, hosts)
    raise OSError(errno.EADDRINUSE, "no port is free on all of the lab's addresses")


class _Taken(Exception):
    """An address is in use: try the next port."""


def _all(bind: Callable[[str], socket.socket], hosts: list[str]) -> list[socket.socket]:
    held: list[socket.socket] = []
    try:
        held.extend(map(bind, hosts))
    except OSError as error:
        for one in held:
            one.close()
        if error.errno == errno.EADDRINUSE:
            raise _Taken from error
        raise
    return held
