"""A look at a device's SSH server: key exchange and no further. No user name and no secret is sent."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import cast

import asyncssh

from netraven.errors import DeviceFailure
from netraven.model import HostKey, SshOffer, Target
from netraven.transport.addresses import connect
from netraven.transport.failures import Stage, login_failure, login_timeout, of_the_device
from netraven.transport.host_keys import Shown, shown_by
from netraven.transport.ssh_algorithms import Algorithms, algorithms_of, lacking, nothing_in_common
from netraven.transport.ssh_client import Client, Connection
from netraven.transport.ssh_profile import options_for


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen. ``offer`` is None where no SSH server answered, ``key`` where no key exchange was possible."""

    offer: SshOffer | None = None
    key: HostKey | None = None
    certified: bool = False
    """Whether the key came with a certificate."""
    problem: str | None = None
    """Why there was no key exchange."""


class _Onlooker(asyncssh.SSHClient):
    """Takes any key, to show it to a person."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.shown: Shown | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self.connection = cast(Connection, conn)

    def host_key_shown(self, data: bytes) -> asyncssh.SSHKey | None:
        self.shown = shown_by(data)
        return None if self.shown is None else self.shown.key


class _Look(Connection):
    """Ends where the server has proven that it holds the key that it shows."""

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        waiter = self._waiter
        self._waiter = None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        self.abort()


async def look(target: Target, seconds: float) -> Look:
    """Connect, exchange keys, hang up; a second time where the device's offer leads to other algorithms."""
    algorithms = algorithms_of(target)
    found = await _look(target, algorithms, seconds)
    if found.key is None and found.offer is not None:
        better = algorithms_of(replace(target, offer=found.offer))
        if better != algorithms:
            found = await _look(target, better, seconds)
    return found


async def _look(target: Target, algorithms: Algorithms, seconds: float) -> Look:
    loop = asyncio.get_running_loop()
    onlooker = _Onlooker()
    options = options_for(algorithms, with_key=False, with_password=True)
    options.host, options.port = target.device.host, target.device.port
    options.protocol_factory = lambda: cast(Client, onlooker)
    options.waiter = waiter = loop.create_future()
    problem: str | None = None
    try:
        async with asyncio.timeout(seconds):
            await connect(
                lambda: _Look(loop, options, wait="auth"), options.host, options.port, target.access, seconds
            )
            await waiter
    except DeviceFailure as error:
        problem = error.detail
    except TimeoutError:
        stage = Stage.TCP if onlooker.connection is None else Stage.KEY_EXCHANGE
        problem = login_timeout(stage, seconds).detail
    except Exception as error:
        if not of_the_device(error, Stage.KEY_EXCHANGE):
            raise
        problem = login_failure(error, Stage.KEY_EXCHANGE).detail
    connection, shown = onlooker.connection, onlooker.shown
    offer = connection.offer() if connection is not None else None
    if connection is not None:
        connection.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await connection.wait_closed()
    if problem is not None and offer is not None and (lacks := lacking(offer, algorithms)):
        device = target.device
        problem = nothing_in_common(offer, lacks, device.name, legacy=target.access.legacy)
    if problem is not None or shown is None:
        return Look(offer, problem=problem or "the device showed no host key")
    return Look(offer, shown.plain, shown.certificate is not None)
