"""``command:PROGRAM ARGUMENTS...``: what a password manager's command prints.

The program is run without a shell, in a process group of its own, with nothing on its standard input. What it prints is
the secret and appears nowhere else. What it says on standard error is not kept either: some programs repeat there what
they were working on, and nothing tells an explanation from a secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio import subprocess
from collections.abc import Mapping
from pathlib import Path

from netraven.credentials.source import Command
from netraven.errors import SecretUnreadable
from netraven.model import Secret
from netraven.plain import plain_line
from netraven.sources.text import LARGEST, secret_in

OUR_OWN = frozenset({"NETRAVEN_KEY", "NETRAVEN_DATABASE__URL"})
"""Variables that may hold secrets of ours and are not passed on."""
LAST_MOMENTS = 2.0
"""Seconds to wait for a process that was killed."""


class CommandSource:
    """``timeout``: seconds that a command may take. It runs in ``folder``."""

    def __init__(self, folder: Path, environ: Mapping[str, str], *, timeout: float) -> None:
        self._folder = folder
        self._environ = environ
        self._timeout = timeout

    async def read(self, place: Command) -> Secret:
        shown = plain_line(place.argv[0], 100)
        program = await self._start(place, shown)
        try:
            async with asyncio.timeout(self._timeout):
                await program.ended.wait()
        except TimeoutError:
            raise SecretUnreadable(
                f"{shown} was still running after {self._timeout:g} s and was stopped: `[secrets] command_timeout` "
                "sets how long it may take; it must not ask anything"
            ) from None
        finally:
            await program.end()
        if len(program.output) <= LARGEST and program.code != 0:
            raise SecretUnreadable(
                f"{shown} {_how(program.code)}: run it by hand, as the user that NetRaven runs as, to see why"
            )
        return secret_in(bytes(program.output), shown)

    async def _start(self, place: Command, shown: str) -> _Program:
        environ = {name: value for name, value in self._environ.items() if name not in OUR_OWN}
        loop = asyncio.get_running_loop()
        try:
            _, program = await loop.subprocess_exec(
                _Program,
                *place.argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd=self._folder,
                env=environ,
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "its words hold a zero byte"
            raise SecretUnreadable(
                f"{shown} cannot be run: {reason}. Programs are looked for in $PATH, without a shell"
            ) from None
        return program


class _Program(asyncio.SubprocessProtocol):
    """A running program: ends when it has ended and its output is closed, or when there is too much of it."""

    def __init__(self) -> None:
        self.output = bytearray()
        self.code: int | None = None
        self.ended = asyncio.Event()
        self._exited = asyncio.Event()
        self._closed = False
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)  # noqa: S101 - said by asyncio, for the type checker
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002 - there is one pipe
        self.output += data[: LARGEST + 1 - len(self.output)]
        if len(self.output) > LARGEST:
            self.ended.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - there is one pipe
        self._closed = True
        self._look()

    def process_exited(self) -> None:
        assert self._transport is not None  # noqa: S101 - it was started
        self.code = self._transport.get_returncode()
        self._exited.set()
        self._look()

    def _look(self) -> None:
        if self._closed and self._exited.is_set():
            self.ended.set()

    async def end(self) -> None:
        """Stop what still runs of it, its children included, and let go of the pipe."""
        assert self._transport is not None  # noqa: S101 - it was started
        if not (self._closed and self._exited.is_set()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._transport.get_pid(), signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_MOMENTS):
                await self._exited.wait()
        self._transport.close()


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
