"""Devices that do what no device should: nothing leaks, nothing hangs, nothing half-read is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncssh
import pytest

from netraven import CollectSettings, Credential, Device, NetRaven, Outcome
from netraven.storage.memory import MemoryStore
from netraven.transport.dialogue import Dialogue

Shell = Callable[[Any], Awaitable[None]]
PASSWORD, ENABLE = "the-password", "the-enable-secret"
QUICK = CollectSettings(retries=0, connect_timeout=5, login_timeout=5, command_timeout=10)


@asynccontextmanager
async def device(
    server: type[asyncssh.SSHServer], shell: Shell, settings: CollectSettings = QUICK
) -> AsyncIterator[NetRaven]:
    """A NetRaven whose one device is this server with this shell."""
    listener = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=server,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=shell,
        encoding=None,
        line_editor=False,
    )
    router = Device("r1", "127.0.0.1", "cisco_iosxe", listener.get_port(), {"t"})
    svc = Credential("svc", "svc", PASSWORD, {"t"}, enable_password=ENABLE)
    try:
        async with NetRaven.in_memory([router], [svc], settings=settings) as raven:
            yield raven
    finally:
        listener.close()
        await listener.wait_closed()


async def collected(raven: NetRaven) -> tuple[Outcome, MemoryStore]:
    async with asyncio.timeout(30):
        (outcome,) = (await raven.collect()).outcomes
    store: Any = raven.store
    return outcome, store


class AnyPassword(asyncssh.SSHServer):
    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return True


class NoQuestion(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False


def ios(answer: Callable[[bytes], AsyncIterator[bytes]], *, prompt: bytes = b"r1#") -> Shell:
    """A shell that echoes, prints what ``answer`` gives for a line, and prompts."""

    async def shell(process: Any) -> None:
        process.stdout.write(prompt)
        buffer = b""
        while chunk := await process.stdin.read(1024):
            buffer += chunk
            while b"\n" in buffer:
                line, _, buffer = buffer.partition(b"\n")
                process.stdout.write(line + b"\r\n")
                async for piece in answer(line):
                    process.stdout.write(piece)
                process.stdout.write(prompt)

    return shell


async def test_who_lets_everybody_in_gets_no_enable_secret_and_keeps_to_its_key() -> None:
    seen: list[bytes] = []

    async def answer(line: bytes) -> AsyncIterator[bytes]:
        seen.append(line)
        if line == b"enable":
            yield b"Password: "

    async with device(NoQuestion, ios(answer, prompt=b"r1>")) as raven:
        outcome, store = await collected(raven)
    assert ENABLE.encode() not in b"".join(seen)
    assert (outcome.status, outcome.attempts, outcome.credential) == ("failed", 0, None)
    assert "r1" in store.host_keys, "its key is on record although it asked for nothing"


class FailsWithoutAsking(asyncssh.SSHServer):
    requests = 0

    def kbdint_auth_supported(self) -> bool:
        return True

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> bool:
        FailsWithoutAsking.requests += 1
        return False


async def test_keyboard_interactive_that_fails_without_a_question_is_asked_for_once() -> None:
    FailsWithoutAsking.requests = 0
    async with device(FailsWithoutAsking, ios(_nothing)) as raven:
        outcome, _ = await collected(raven)
    assert FailsWithoutAsking.requests == 1
    assert (outcome.reason, outcome.attempts) == ("negotiation", 0)


async def _nothing(line: bytes) -> AsyncIterator[bytes]:
    for piece in list[bytes]():
        yield piece


CONFIGURATION = [b"hostname r1\r\n", b"banner motd ^C\r\n", b"r1#", b" is the prompt\r\n^C\r\n", b"end\r\n"]


@pytest.mark.parametrize(
    "cut", [CONFIGURATION, [bytes([b]) for b in b"".join(CONFIGURATION)]], ids=["lines", "bytes"]
)
async def test_a_configuration_that_quotes_the_prompt_is_stored_whole(cut: list[bytes]) -> None:
    async def answer(line: bytes) -> AsyncIterator[bytes]:
        if line.startswith(b"show run"):
            for piece in cut:
                yield piece
                await asyncio.sleep(0.002)

    async with device(AnyPassword, ios(answer)) as raven:
        outcome, store = await collected(raven)
    assert outcome.status == "collected"
    assert store.snapshots["r1", "running"] == b"".join(CONFIGURATION).replace(b"\r", b"")


async def test_a_device_that_never_stops_talking_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dialogue, "most_output", 1 << 20)

    async def answer(line: bytes) -> AsyncIterator[bytes]:
        while line.startswith(b"show run"):
            yield b"interface Loopback0\r\n" * 500
            await asyncio.sleep(0)

    async with device(AnyPassword, ios(answer)) as raven:
        outcome, store = await collected(raven)
    assert outcome.reason == "output_too_long"
    assert "more than 1 MiB" in (outcome.detail or "")
    assert not store.snapshots


class AsksAndForgets(asyncssh.SSHServer):
    """Asks for the password, sends a further message while it is being fetched, and says nothing more."""

    def kbdint_auth_supported(self) -> bool:
        return True

    async def get_kbdint_challenge(
        self, username: str, lang: str, submethods: str
    ) -> tuple[str, str, str, list[Any]]:
        return "", "", "", [("Password: ", False)]

    async def validate_kbdint_response(self, username: str, responses: Any) -> bool:
        await asyncio.sleep(60)
        return False


async def test_the_clock_runs_again_once_the_secret_is_out() -> None:
    settings = CollectSettings(retries=0, connect_timeout=0.5, login_timeout=0.5, device_timeout=60)
    async with device(AsksAndForgets, ios(_nothing), settings) as raven:
        outcome, _ = await collected(raven)
    assert (outcome.reason, outcome.attempts) == ("auth_no_verdict", 1)
    assert outcome.duration_ms < 20_000
