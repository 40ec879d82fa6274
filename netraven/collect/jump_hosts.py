"""Jump hosts of a run: each is logged in to once, and one connection carries many devices.

A jump host is a device of the inventory (platform ``jump_host``): its host key, its credentials, its attempts and the
lockout guard are those of any other device. Where it cannot be reached, its devices are ``Unreachable`` and no others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from netraven.collect.access import AccessRules
from netraven.collect.admission import Withheld
from netraven.collect.floor import Floor
from netraven.collect.places import Places
from netraven.collect.retry import RetryPolicy
from netraven.errors import DeviceFailure, InputError, InternalFault, NetRavenError, Unreachable
from netraven.events import events
from netraven.model import Device, Target
from netraven.ports import Tunnel

_log = events("netraven.collect")

Hold = Callable[[Tunnel], Awaitable[None]]
LetThrough = Callable[[Target, Tunnel | None, Hold], Awaitable[None]]
"""Logs in to a jump host, hands its tunnel to the third, and closes the connection once that returns. Raises
``DeviceFailure``, or ``Withheld`` where no credential may be offered to it."""


@dataclass(frozen=True, slots=True)
class JumpLimits:
    """``retry_after``: seconds after which a jump host that could not be reached is tried again."""

    retry_after: float = 30.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)


class Way:
    """A device's way through its last jump host, with its place among those that log in through it."""

    def __init__(self, tunnel: Tunnel, logins: Places) -> None:
        self.tunnel = tunnel
        self._logins: Places | None = logins

    def logged_in(self) -> None:
        """The device is in, or out: the place is free. Twice is harmless."""
        if self._logins is not None:
            self._logins.release()
            self._logins = None


class JumpHosts:
    """Every jump host of a run, opened when the first device wants it. An async context manager.

    ``targets``: the jump hosts that rules name, by device name. ``floor``: has the places, which runs share.
    """

    def __init__(
        self,
        targets: Mapping[str, Target] | None = None,
        rules: AccessRules = AccessRules(),
        limits: JumpLimits = JumpLimits(),
        floor: Floor | None = None,
    ) -> None:
        self._floor = floor or Floor()
        self._targets = dict(targets or {})
        self._devices: Mapping[str, Device] = {name: t.device for name, t in self._targets.items()}
        self._rules = rules
        self._limits = limits
        self._hosts: dict[tuple[str, ...], _JumpHost] = {}
        self._told: set[str] = set()
        """What is wrong with ways that settings describe, and was noticed."""
        self.let_through: LetThrough | None = None
        self.noticed: Callable[[str, Mapping[str, object]], None] = lambda _event, _data: None

    async def __aenter__(self) -> JumpHosts:
        return self

    async def __aexit__(self, *_: object) -> None:
        hosts = list(self._hosts.values())
        for host in reversed(hosts):  # those behind others first
            await host.close()

    @asynccontextmanager
    async def way_to(self, target: Target) -> AsyncIterator[Way]:
        """The way to a device that has jump hosts; waits for a place among the sessions and logins of the last of them.

        Raises ``Unreachable`` where there is no way.
        """
        host = self._host_of(target)
        logins, sessions = self._floor.jump_places(host.name)
        async with sessions:
            tunnel = await host.tunnel()
            await logins.acquire()
            way = Way(tunnel, logins)
            try:
                yield way
            finally:
                way.logged_in()

    def open_way_to(self, target: Target) -> Tunnel | None:
        """The tunnel to a device where it stands already; nothing is opened and nothing waited for."""
        host = self._hosts.get(self._chain(target))
        return host.open_tunnel if host is not None else None

    def _host_of(self, target: Target) -> _JumpHost:
        host: _JumpHost | None = None
        chain = self._chain(target)
        for length in range(1, len(chain) + 1):
            way, outer = chain[:length], host
            host = self._hosts.get(way)
            if host is None:
                host = self._hosts[way] = _JumpHost(self, self._targets[way[-1]], outer)
        if host is None:
            raise ValueError("the device has no jump hosts")
        return host

    def _chain(self, target: Target) -> tuple[str, ...]:
        try:
            return self._rules.chain(target.device, self._devices)
        except InputError as error:
            said = str(error)
            if said not in self._told:
                self._told.add(said)
                name = self._rules.of(target.device).jump[0]
                data = {"jump_host": name, "error_type": "settings", "detail": said}
                self.noticed("jump_host_unreachable", data)
            raise Unreachable(said) from None

    # ---- what a jump host needs

    @property
    def limits(self) -> JumpLimits:
        return self._limits

    async def log_in(self, target: Target, via: Tunnel | None, hold: Hold) -> None:
        if self.let_through is None:
            raise ValueError("nobody logs in to jump hosts")
        await self.let_through(target, via, hold)


class _JumpHost:
    """One jump host on one way; it is opened again where it has died and a device wants it."""

    def __init__(self, hosts: JumpHosts, target: Target, outer: _JumpHost | None) -> None:
        self.name = target.device.name
        self._hosts = hosts
        self._target = target
        self._outer = outer
        self._keeping: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[Tunnel] | None = None
        self._failed: Unreachable | None = None
        self._until = 0.0

    @property
    def open_tunnel(self) -> Tunnel | None:
        opened = self._opened
        if opened is None or not opened.done() or opened.cancelled() or opened.exception() is not None:
            return None
        return opened.result() if opened.result().alive else None

    async def tunnel(self) -> Tunnel:
        """Raises ``Unreachable``; whoever asks while it is being opened waits for the same login."""
        if (tunnel := self.open_tunnel) is not None:
            return tunnel
        loop = asyncio.get_running_loop()
        if self._failed is not None and loop.time() < self._until:
            raise Unreachable(self._failed.detail)
        if self._opened is None or self._opened.done():
            ended = self._opened
            await self.close()
            if self._opened is not ended:  # another device was faster
                return await self.tunnel()
            self._opened = loop.create_future()
            self._keeping = asyncio.create_task(self._keep(self._opened))
        return await asyncio.shield(self._opened)

    async def close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])

    async def _keep(self, opened: asyncio.Future[Tunnel]) -> None:
        """Log in, and hold the connection until it ends or is not needed any more."""
        try:
            await self._log_in(opened)
        except (DeviceFailure, Withheld) as failure:
            self._fail(opened, failure)
        except NetRavenError as error:  # the run is at its end, and says so itself
            if not opened.done():
                opened.set_exception(Unreachable(f"jump host {self.name}: {error}"))
        except Exception as error:  # noqa: BLE001 - no reason to end the devices' own visits
            _log.exception("internal_fault", device=self.name)
            self._fail(opened, InternalFault(f"a fault of NetRaven: {type(error).__name__}"))
        finally:
            if not opened.done():
                opened.cancel()
            elif not opened.cancelled():
                opened.exception()  # seen, also where nobody waits any more

    async def _log_in(self, opened: asyncio.Future[Tunnel]) -> None:
        async def hold(tunnel: Tunnel) -> None:
            self._failed = None
            if not opened.done():
                opened.set_result(tunnel)
            await tunnel.ended()

        tries = 0
        while True:
            via = await self._outer.tunnel() if self._outer is not None else None
            try:
                await self._hosts.log_in(self._target, via, hold)
            except DeviceFailure as failure:
                wait = None if opened.done() else self._hosts.limits.retry.wait(failure, tries)
                if wait is None:
                    raise
                tries += 1
                await asyncio.sleep(wait)
            else:
                _log.info("jump_host_closed", jump_host=self.name)
                return

    def _fail(self, opened: asyncio.Future[Tunnel], failure: DeviceFailure | Withheld) -> None:
        retriable = failure.retriable if isinstance(failure, DeviceFailure) else not failure.final
        reason = failure.reason or "no permit"
        said = failure.detail if isinstance(failure, DeviceFailure) else failure.why
        self._failed = Unreachable(f"jump host {self.name}: {reason}: {said}")
        after = self._hosts.limits.retry_after if retriable else float("inf")
        self._until = asyncio.get_running_loop().time() + after
        _log.warning("jump_host_unreachable", jump_host=self.name, error_type=str(reason), detail=said)
        self._hosts.noticed(
            "jump_host_unreachable", {"jump_host": self.name, "error_type": str(reason), "detail": said}
        )
        if not opened.done():
            opened.set_exception(self._failed)
