"""A message handed to a program on its standard input, as JSON; exit code 0 says that it has it.

No shell stands between. The program runs in a process group of its own, in the folder of the settings, and has so many
seconds: then the group is asked to end (SIGTERM), and a moment later it is ended (SIGKILL). It sees this program's
environment without what may be a secret in it: nothing that begins with ``NETRAVEN_`` or ``VAULT_``, and none of the
variables that settings name as sources of secrets.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from netraven.notify.message import Answer, Message
from netraven.notify.payload import body
from netraven.plain import plain_line

GRACE = 2.0
"""Seconds between asking a group of processes to end and ending it."""
LAST_MOMENTS = 2.0
"""Seconds to wait for a process that was killed."""
LONGEST_COMPLAINT = 4 * 1024
"""Bytes of standard error that are kept."""
TOGETHER = 4
_HIDDEN = ("NETRAVEN_", "VAULT_")


def environment(environ: Mapping[str, str], hidden: Collection[str] = ()) -> dict[str, str]:
    """What a program may see. ``hidden``: names of variables that hold secrets."""
    return {n: value for n, value in environ.items() if not n.startswith(_HIDDEN) and n not in hidden}


class CommandHook:
    """``environ`` is what the program is given, see :func:`environment`."""

    together = TOGETHER

    def __init__(
        self,
        argv: Sequence[str],
        *,
        folder: Path,
        environ: Mapping[str, str],
        timeout: float,
        grace: float = GRACE,
    ) -> None:
        self._argv = argv
        self._folder = folder
        self._environ = environ
        self._timeout = timeout
        self._grace = grace
        self.longest = timeout + grace + LAST_MOMENTS

    async def tell(self, message: Message) -> Answer:
        shown = plain_line(self._argv[0], 100)
        try:
            program = await self._start()
        except OSError as error:
            return Answer(f"{shown} cannot be run: {plain_line(error.strerror or str(error))}")
        except ValueError:
            return Answer(f"{shown} cannot be run: its words hold a zero byte")
        try:
            program.hand_over(body(message))
            try:
                async with asyncio.timeout(self._timeout):
                    await program.exited.wait()
            except TimeoutError:
                await program.stop(self._grace)
                return Answer(f"{shown} was still running after {self._timeout:g} s and was stopped")
            await program.said_all()
            return _judged(shown, program)
        finally:
            await program.end()

    async def _start(self) -> _Program:
        loop = asyncio.get_running_loop()
        _, program = await loop.subprocess_exec(
            _Program,
            *self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd=self._folder,
            env=dict(self._environ),
        )
        return program


class _Program(asyncio.SubprocessProtocol):
    """A running program. What it is given waits in memory until it reads it; if it does not, nobody is held up."""

    def __init__(self) -> None:
        self.complaint = bytearray()
        self.code: int | None = None
        self.exited = asyncio.Event()
        self._silent = asyncio.Event()
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)  # noqa: S101 - said by asyncio, for the type checker
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002 - only standard error is read
        self.complaint += data[: LONGEST_COMPLAINT - len(self.complaint)]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - it need not read all
        if fd == 2:
            self._silent.set()

    def process_exited(self) -> None:
        assert self._transport is not None  # noqa: S101 - it was started
        self.code = self._transport.get_returncode()
        self.exited.set()

    def hand_over(self, content: bytes) -> None:
        assert self._transport is not None  # noqa: S101 - it was started
        pipe = self._transport.get_pipe_transport(0)
        assert isinstance(pipe, asyncio.WriteTransport)  # noqa: S101 - it was asked for
        pipe.write(content)
        pipe.write_eof()

    async def said_all(self) -> None:
        """Its last words may still be on their way; children of its that live on do not hold us up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await self._silent.wait()

    async def stop(self, grace: float) -> None:
        """Ask the group to end, and end it."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                await self.exited.wait()
        except TimeoutError:
            pass
        finally:
            self._signal(signal.SIGKILL)  # those of its children, too, that were asked and did not

    async def end(self) -> None:
        """Let go of it; where it still runs (nobody waits for it any more) it is ended."""
        assert self._transport is not None  # noqa: S101 - it was started
        if not self.exited.is_set():
            self._signal(signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_MOMENTS):
                    await self.exited.wait()
        self._transport.close()

    def _signal(self, number: signal.Signals) -> None:
        assert self._transport is not None  # noqa: S101 - it was started
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._transport.get_pid(), number)


def _judged(shown: str, program: _Program) -> Answer:
    if program.code == 0:
        return Answer(f"{shown} ended with exit code 0", delivered=True)
    first = program.complaint.decode("utf-8", "surrogateescape").strip().partition("\n")[0]
    complaint = plain_line(first, 200)
    return Answer(f"{shown} {_how(program.code)}" + (f": {complaint}" if complaint else ""))


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
