"""Which transport reaches a device: what settings say, and telnet in place of SSH only where no SSH server answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from netraven.errors import NobodyListens, NoSshServer, Unreachable
from netraven.model import Target
from netraven.ports import Login, Session, Transport, Tunnel


class Reach:
    """A ``ports.Transport`` that goes by ``Target.access.transport``."""

    def __init__(self, ssh: Transport, telnet: Transport) -> None:
        self._ssh = ssh
        self._telnet = telnet

    @asynccontextmanager
    async def open(self, target: Target, login: Login, via: Tunnel | None = None) -> AsyncIterator[Session]:
        """Connect and log in with exactly one attempt on the wire; raises ``DeviceFailure`` subclasses only."""
        async with AsyncExitStack() as stack:
            yield await self._entered(stack, target, login, via)

    def tunnel(
        self, target: Target, login: Login, via: Tunnel | None = None
    ) -> AbstractAsyncContextManager[Tunnel]:
        """A jump host is reached over SSH, or not at all."""
        way = self._telnet if target.access.transport == "telnet" else self._ssh
        return way.tunnel(target, login, via)

    async def knock(self, target: Target, via: Tunnel | None = None) -> str:
        """Telnet is knocked at where a login would be tried over it, and nowhere else."""
        if target.access.transport == "telnet":
            return await self._telnet.knock(target, via)
        try:
            return await self._ssh.knock(target, via)
        except (NobodyListens, NoSshServer) as failure:
            without_ssh = self._not_over_ssh(target, failure)
        try:
            return await self._telnet.knock(target, via)
        except Unreachable as failure:
            raise Unreachable(f"SSH: {without_ssh.detail}; telnet: {failure.detail}") from failure

    @staticmethod
    def _not_over_ssh(target: Target, failure: NobodyListens | NoSshServer) -> NobodyListens | NoSshServer:
        """What SSH came to, where telnet may be tried in its place; raises it where it may not."""
        if target.access.transport == "ssh":
            raise failure
        if target.host_keys:  # whoever can block SSH must not be told the password for it
            raise type(failure)(
                f"{failure.detail}; not tried over telnet: it has shown an SSH host key before"
            ) from failure
        return failure

    async def _entered(
        self, stack: AsyncExitStack, target: Target, login: Login, via: Tunnel | None
    ) -> Session:
        if target.access.transport == "telnet":
            return await stack.enter_async_context(self._telnet.open(target, login, via))
        try:
            return await stack.enter_async_context(self._ssh.open(target, login, via))
        except (NobodyListens, NoSshServer) as failure:
            without_ssh = self._not_over_ssh(target, failure)
        try:
            return await stack.enter_async_context(self._telnet.open(target, login, via))
        except Unreachable as failure:
            raise Unreachable(f"SSH: {without_ssh.detail}; telnet: {failure.detail}") from failure
