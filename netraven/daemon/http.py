"""What the daemon answers on its port: `/healthz`, `/readyz` and `/metrics`. It reads what is known, and asks nobody.

A scrape costs the rendering of a few dozen numbers: what comes from the database was fetched before
(:mod:`netraven.daemon.figures`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from netraven.errors import InputError, SettingsError
from netraven.plain import plain_line

MOST_CONNECTIONS = 64
GOODBYE = 2
"""Seconds that answers under way get at the end."""

Reasons = Sequence[str]
"""Why something is not so, for people; none: it is so."""


@dataclass(frozen=True, slots=True)
class Views:
    """Where the answers come from. None of them may wait."""

    alive: Callable[[], Reasons]
    """Why the process should be restarted."""
    ready: Callable[[], Reasons]
    """Why it can do nothing at the moment."""
    metrics: Callable[[], tuple[str, bytes]]
    """Content type and text of all metrics."""


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    @property
    def shown(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether nobody but this machine can connect; a name but ``localhost`` is not trusted to mean that."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def address_of(listen: str, *, anywhere: bool = False) -> Address | None:
    """What `daemon.listen` names; None where it is empty. ``anywhere``: others than this machine may connect.

    Raises ``SettingsError``.
    """
    if not listen:
        return None
    found = re.fullmatch(
        r"(?:\[(?P<six>[^\[\]]+)\]|(?P<host>[^:\[\]\s]+)):(?P<port>[0-9]{1,5})", listen, re.ASCII
    )
    if found is None or int(found["port"]) > 65535:
        raise SettingsError(
            f'daemon.listen: {listen!r} is no address: write HOST:PORT, such as "127.0.0.1:9180" or "[::1]:9180"'
        )
    address = Address(found["six"] or found["host"], int(found["port"]))
    if not address.loopback and not anywhere:
        raise SettingsError(
            f"daemon.listen: {listen} can be reached from other machines, and nobody is asked for a password there. "
            "Listen on 127.0.0.1 and put a proxy that does in front, or allow it with daemon.listen_anywhere = true"
        )
    return address


@asynccontextmanager
async def answering(address: Address, views: Views) -> AsyncIterator[int]:
    """Answer until the block ends; gives the port. Raises ``InputError`` where nothing can listen there."""
    listening = await _listen(address)
    config = uvicorn.Config(
        _app(views),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        http="h11",
        loop="none",
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=GOODBYE,
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment,method-assign]  # signals are the daemon's
    serving = asyncio.create_task(server.serve([listening]), name="netraven-http")
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        try:
            await asyncio.wait([serving], timeout=GOODBYE + 1)
        finally:
            serving.cancel()
            await asyncio.wait([serving])
            listening.close()


async def _listen(address: Address) -> socket.socket:
    """A socket that listens there. The name is resolved here, once."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise InputError(f"daemon.listen: {address.host} is no address here: {error.strerror}") from error
    family, kind, protocol, _, place = found[0]
    opened = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(place)
        opened.listen(MOST_CONNECTIONS)
        opened.setblocking(False)
    except OSError as error:
        opened.close()
        why = "another program listens there" if error.errno == errno.EADDRINUSE else error.strerror
        raise InputError(
            f"daemon.listen: cannot listen on {address.shown}: {why}. Choose another port, or none with "
            'daemon.listen = ""'
        ) from error
    return opened


Send = Callable[[Mapping[str, Any]], Awaitable[None]]


def _app(views: Views) -> Any:
    async def app(scope: Mapping[str, Any], receive: object, send: Send) -> None:  # noqa: ARG001 - ASGI has it; no body is read
        status, kind, body = _answer(views, scope["method"], scope["path"])
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return app


def _answer(views: Views, method: str, path: str) -> tuple[int, str, bytes]:
    if path not in ("/healthz", "/readyz", "/metrics"):
        return _json(404, {"error": "there are /healthz, /readyz and /metrics"})
    if method not in ("GET", "HEAD"):
        return _json(405, {"error": "only GET"})
    if path == "/metrics":
        kind, body = views.metrics()
        return 200, kind, body
    name, reasons = ("alive", views.alive()) if path == "/healthz" else ("ready", views.ready())
    document = {name: not reasons, "why": [plain_line(reason) for reason in reasons]}
    return _json(503 if reasons else 200, document)


def _json(status: int, document: Mapping[str, Any]) -> tuple[int, str, bytes]:
    return status, "application/json", (json.dumps(document) + "\n").encode()
