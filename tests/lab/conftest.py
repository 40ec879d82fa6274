"""Clients for the lab: bare asyncssh, and a terminal that is read up to a text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncssh
import pytest

from netraven.lab import Lab

QUICK = 5.0
"""Seconds within which anything on loopback has happened."""


class Caller(asyncssh.SSHClient):
    """Offers the given passwords one after another, and remembers what it was told."""

    def __init__(self, passwords: list[str]) -> None:
        self.passwords = list(passwords)
        self.banners: list[str] = []
        self.key: str = ""

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.key = key.export_public_key().decode().strip()
        return True

    def auth_banner_received(self, msg: str, lang: str) -> None:
        self.banners.append(msg)

    def password_auth_requested(self) -> str | None:
        return self.passwords.pop(0) if self.passwords else None

    def kbdint_auth_requested(self) -> str | None:
        return "" if self.passwords else None

    def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Any
    ) -> list[str] | None:
        if not prompts:
            return []
        return [self.passwords.pop(0)] if self.passwords else None


class Terminal:
    """A shell read up to a text, as bytes."""

    def __init__(self, connection: asyncssh.SSHClientConnection, process: Any) -> None:
        self.connection, self.process = connection, process

    async def until(self, text: bytes) -> bytes:
        async with asyncio.timeout(QUICK):
            found: bytes = await self.process.stdout.readuntil(text)
            return found

    async def rest(self) -> bytes:
        async with asyncio.timeout(QUICK):
            found: bytes = await self.process.stdout.read()
            return found

    def type(self, text: str) -> None:
        self.process.stdin.write(text.encode())

    async def command(self, line: str, prompt: bytes) -> bytes:
        """What a command prints between its echo and the next prompt."""
        self.type(line)
        await self.until(line.encode())
        self.type("\n")
        return (await self.until(prompt)).removeprefix(b"\r\n").removesuffix(prompt)


async def connect(lab: Lab, name: str, username: str, *passwords: str) -> asyncssh.SSHClientConnection:
    host, port = lab.endpoint(name)
    async with asyncio.timeout(QUICK):
        connection, _ = await asyncssh.create_connection(
            lambda: Caller(list(passwords)),
            host,
            port,
            username=username,
            known_hosts=([], [], []),
            config=None,
            client_keys=None,
            agent_path=None,
            preferred_auth="password,keyboard-interactive",
        )
    return connection


@pytest.fixture
def terminal() -> Callable[..., Any]:
    @asynccontextmanager
    async def opened(
        lab: Lab, name: str, username: str = "netops", password: str = "right"
    ) -> AsyncIterator[Terminal]:
        connection = await connect(lab, name, username, password)
        async with connection:
            process = await connection.create_process(term_type="vt100", encoding=None)
            yield Terminal(connection, process)

    return opened


@pytest.fixture
def dial() -> Callable[..., Any]:
    return connect


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    async def waited(true: Callable[[], bool]) -> None:
        async with asyncio.timeout(QUICK):
            while not true():  # noqa: ASYNC110 - what is waited for happens in a device, or in another process
                await asyncio.sleep(0.005)

    return waited
