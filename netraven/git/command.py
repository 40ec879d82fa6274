"""The git of this machine in subprocesses: no shell, no question asked, a deadline for each call.

Two ways to run it. What touches our repository only is ``local``: no settings of the user or the machine are read, no
hook runs, and what other programs left in ``GIT_*`` variables does not reach it. A push is the ``operator``'s: their
settings, credential helpers and ssh do it, as when they type it, but nobody is there to answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from asyncio import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from netraven.errors import GitError
from netraven.plain import plain_line

OLDEST = (2, 32)
"""Of June 2021: before it, settings of the user cannot be kept out (GIT_CONFIG_GLOBAL)."""
SHORT = 60.0
"""Seconds for what reads a little."""
LAST_MOMENTS = 5.0
"""Seconds to wait for a process that was killed, and for what is left in the pipes of one that has ended."""
LONGEST_ERROR = 64 * 1024
_LIMIT = 1 << 20

_LOCAL = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
}
_NEVER_ASK = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS_REQUIRE": "never",
    "GCM_INTERACTIVE": "never",
    "LC_ALL": "C",
    "LANGUAGE": "C",
}
_KEPT_LOCALLY = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "GIT_EXEC_PATH")
# Which repository, index and objects are meant is said by us; how to reach a remote, by the operator.
_NOT_PASSED_ON = re.compile(
    r"NETRAVEN_.*|GIT_(DIR|WORK_TREE|INDEX_FILE|OBJECT_DIRECTORY|ALTERNATE_OBJECT_DIRECTORIES|NAMESPACE|"
    r"COMMON_DIR|CEILING_DIRECTORIES|PREFIX|QUARANTINE_PATH|PUSH_OPTION_.*|REPLACE_REF_BASE|GRAFT_FILE|SHALLOW_FILE)"
)
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s@'\"]*@")
_QUERY = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s?'\"]*)\?[^\s'\"]*")


def harmless(text: str, limit: int = 300) -> str:
    """What git or a remote said, on one line: without control characters, and without what URLs say of users."""
    return plain_line(without_userinfo(text), limit)


def without_userinfo(text: str) -> str:
    return _QUERY.sub(r"\1", _USERINFO.sub(r"\1", text))


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    out: bytes
    err: str
    """As git wrote it: not yet fit to be shown, see :func:`harmless`."""


class Git:
    """Git at one repository (``directory``: where ``HEAD`` and ``objects`` are)."""

    def __init__(self, directory: Path, environ: Mapping[str, str], *, folder: Path | None = None) -> None:
        """``folder``: what a relative path in the name of a remote is relative to."""
        self.directory = Path(
            os.path.realpath(directory)
        )  # a link stays: what it leads to is written, and replaced
        self._environ = environ
        self._folder = (folder or Path.cwd()).absolute()

    async def version(self) -> tuple[int, ...]:
        """Raise ``GitError`` where there is no git, or one that is too old."""
        said = (await self.run("version", timeout=SHORT, repository=False)).out.decode("utf-8", "replace")
        match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", said)
        if match is None:
            raise GitError(f"`git version` says {harmless(said)!r}: is that git?")
        found = tuple(int(part) for part in match.groups() if part)
        if found < OLDEST:
            needed = ".".join(map(str, OLDEST))
            raise GitError(f"git {match[0]} is too old for [git]: {needed} or newer is needed")
        return found

    async def run(
        self,
        *words: str,
        timeout: float = SHORT,  # noqa: ASYNC109 - ends the process too, its children included
        operator: Mapping[str, str] | None = None,
        repository: bool = True,
    ) -> Answer:
        """Run to the end. ``operator``: as the operator's own git, with these of git's settings too.

        Raises ``GitError`` where it cannot be run or takes longer than ``timeout`` seconds; its exit code is for the
        caller to judge.
        """
        loop = asyncio.get_running_loop()
        environ = self._local() if operator is None else self._operators(operator)
        argv = self._argv(words, local=operator is None, repository=repository)
        try:
            _, program = await loop.subprocess_exec(
                _Program,
                *argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                cwd=self._folder,
                env=environ,
            )
        except OSError as error:
            raise cannot_run(error) from error
        try:
            async with asyncio.timeout(timeout):
                await program.exited.wait()
        except TimeoutError:
            program.kill()
            raise GitError(
                f"git {_verb(words)} was still running after {timeout:g} s and was stopped"
            ) from None
        except asyncio.CancelledError:
            program.kill()
            raise
        finally:
            await program.end()
        return Answer(program.code, bytes(program.out), program.err.decode("utf-8", "replace"))

    @asynccontextmanager
    async def open(self, *words: str, keep: Sequence[int] = ()) -> AsyncIterator[asyncio.subprocess.Process]:
        """A process to talk with, locally. When the block is left it has ended, or is ended.

        ``keep``: open files that it inherits.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *self._argv(words, local=True),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                limit=_LIMIT,
                start_new_session=True,
                cwd=self._folder,
                env=self._local(),
                pass_fds=tuple(keep),
            )
        except OSError as error:
            raise cannot_run(error) from error
        try:
            yield process
        finally:
            if process.stdin is not None:
                process.stdin.close()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_MOMENTS):
                    await process.wait()
            process._transport.close()  # type: ignore[attr-defined]  # what is unread would keep it open

    def _argv(self, words: Sequence[str], *, local: bool, repository: bool = True) -> list[str]:
        argv = ["git"]
        if local:
            argv += ["-c", f"core.hooksPath={os.devnull}", "-c", "gc.autoDetach=false"]
        if repository:
            argv.append(f"--git-dir={self.directory}")
        return [*argv, *words]

    def _local(self) -> dict[str, str]:
        kept = {name: self._environ[name] for name in _KEPT_LOCALLY if name in self._environ}
        return {**kept, **_LOCAL, **_NEVER_ASK}

    def _operators(self, settings: Mapping[str, str]) -> dict[str, str]:
        kept = {name: text for name, text in self._environ.items() if not _NOT_PASSED_ON.fullmatch(name)}
        told = kept.get("GIT_CONFIG_COUNT", "")
        count = int(told) if told.isdecimal() else 0
        for number, (key, value) in enumerate(settings.items(), start=count):
            kept[f"GIT_CONFIG_KEY_{number}"], kept[f"GIT_CONFIG_VALUE_{number}"] = key, value
        if settings:
            kept["GIT_CONFIG_COUNT"] = str(count + len(settings))
        return {**kept, **_NEVER_ASK}


def _verb(words: Sequence[str]) -> str:
    """Which of git's commands it is."""
    return words[2] if words[0] == "-c" else words[0]


def cannot_run(error: OSError) -> GitError:
    if isinstance(error, FileNotFoundError) and error.filename == "git":
        return GitError("git is not installed, or not in $PATH: [git] and imports from git need it")
    return GitError(f"git cannot be run: {error.strerror}")


class _Program(asyncio.SubprocessProtocol):
    """A running git. It has ended when it has ended: helpers that it left behind may hold its pipes open."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.err = bytearray()
        self.code = -1
        self.exited = asyncio.Event()
        self._open = 2
        self._closed = asyncio.Event()
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)  # noqa: S101 - said by asyncio, for the type checker
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            self.out += data
        else:
            self.err += data[: LONGEST_ERROR - len(self.err)]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - whichever it is
        self._open -= 1
        if not self._open:
            self._closed.set()

    def process_exited(self) -> None:
        assert self._transport is not None  # noqa: S101 - it was started
        code = self._transport.get_returncode()
        self.code = -1 if code is None else code
        self.exited.set()

    def kill(self) -> None:
        """End it, with what it has started."""
        assert self._transport is not None  # noqa: S101 - it was started
        if not self.exited.is_set():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._transport.get_pid(), signal.SIGKILL)

    async def end(self) -> None:
        assert self._transport is not None  # noqa: S101 - it was started
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_MOMENTS):
                await self.exited.wait()
                await self._closed.wait()
        self._transport.close()
