"""The terminal of one session: echo, type-ahead, paging, thinking time, and what may go wrong midway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import asyncssh

from netraven.lab.shell import Answer, Shell

if TYPE_CHECKING:
    from netraven.lab.server import Connection

PAGE_LINES = 23
_ERASE = b"\b" * 9 + b" " * 9 + b"\b" * 9
EVIL_GREETING = b"\x1b]0;title of the lab\x07\x1b[2J\x1b[31mMaintenance tonight\x1b[0m \x9b5n\r\n"


class Session(asyncssh.SSHServerSession[bytes]):
    """Works on bytes as they come; a line ends with CR, LF or both."""

    def __init__(self, connection: Connection, username: str) -> None:
        self._connection = connection
        self._ill = connection.ill
        device = connection.device
        error = self._ill.text if self._ill.kind == "command_error" else None
        self._shell = Shell(
            connection.box.dialect,
            device.name,
            username,
            config=connection.box.config_on_wire,
            enable_password=device.enable_password,
            config_error=error,
        )
        self._delay = device.think + (self._ill.seconds if self._ill.kind == "slow" else 0.0)
        self._line = b""
        self._waiting = b""  # typed while the device was busy
        self._pages: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._silent = False
        self._after_cr = False
        self._chan: asyncssh.SSHServerChannel[bytes]

    # -- called by asyncssh

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._chan = chan
        self._connection.lab.session_opened()
        self._event("session")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._silent = True
        self._connection.lab.session_closed()
        self._event("session_closed")

    def pty_requested(self, term_type: str, term_size: object, term_modes: object) -> bool:
        return True

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, command: str) -> bool:
        self._event("command", command)
        self._later(self._exec, command)
        return True

    def session_started(self) -> None:
        if self._ill.kind == "hung_after_login":
            self._silent = True
        elif self._timer is None and self._chan.get_command() is None:
            evil = EVIL_GREETING if self._ill.kind == "evil_output" else b""
            self._write(evil + self._shell.greeting())

    def eof_received(self) -> bool:
        return False

    def break_received(self, msec: int) -> bool:
        return True

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self._silent:
            return
        if self._timer is not None:
            self._waiting += data
            return
        self._read(data)

    # -- the dialogue

    def _read(self, data: bytes) -> None:
        while data and not self._silent:
            if self._pages:
                data = self._turn_page(data)
                continue
            if self._after_cr and data[:1] == b"\n":
                data = data[1:]
            self._after_cr = False
            end = _line_end(data)
            typed = data if end < 0 else data[:end]
            if typed and self._shell.echoes:
                self._write(typed if end < 0 else typed + b"\r\n")
            elif end >= 0:
                self._write(b"\r\n")
            self._line += typed
            if end < 0:
                return
            self._after_cr = data[end : end + 1] == b"\r"
            line, self._line = self._line.decode("utf-8", "replace"), b""
            data = data[end + 1 :]
            if line and self._shell.echoes:
                self._event("command", line)
                if self._delay:
                    self._waiting = data
                    self._later(self._obey, line)
                    return
            self._obey(line)

    def _later(self, what: Callable[[str], None], line: str) -> None:
        self._timer = self._connection.lab.loop.call_later(self._delay, self._wake, what, line)

    def _wake(self, what: Callable[[str], None], line: str) -> None:
        self._timer = None
        what(line)
        waiting, self._waiting = self._waiting, b""
        if waiting and not self._silent:
            self._read(waiting)

    def _obey(self, line: str) -> None:
        answer = self._shell.answer(line)
        if answer.kind == "enable":
            self._event("enable", answer.detail)
        if answer.ends:
            self._leave(answer.text)
        elif answer.kind == "config" and self._cut(answer):
            return
        elif self._shell.paging and answer.text.count(b"\r\n") > PAGE_LINES:
            self._pages = _pages(answer)
            self._write(self._pages.pop(0) + self._shell.more)
        else:
            self._write(answer.text)

    def _exec(self, command: str) -> None:
        answer = self._shell.run(command)
        if answer.kind == "config" and self._cut(answer):
            return
        self._write(answer.text)
        self._silent = True
        self._chan.exit(0)

    def _cut(self, answer: Answer) -> bool:
        """Stop in the middle of the configuration, if that is what this device suffers from."""
        if self._ill.kind not in ("drop_mid_output", "hang_mid_output"):
            return False
        self._write(answer.text[: len(answer.text) // 2])
        self._silent = True
        if self._ill.kind == "drop_mid_output":
            self._connection.abort()
        return True

    def _turn_page(self, data: bytes) -> bytes:
        key = data[:1]
        if key in (b"q", b"Q"):
            self._write(_ERASE + self._pages[-1])
            self._pages = []
        elif key in (b" ", b"\r", b"\n"):
            page = self._pages.pop(0)
            self._write(_ERASE + page + (self._shell.more if self._pages[1:] else b""))
            if len(self._pages) == 1:
                self._write(self._pages.pop())
        return data[1:]

    def _leave(self, text: bytes) -> None:
        self._write(text)
        self._silent = True
        self._chan.exit(0)
        self._connection.close()

    def _write(self, data: bytes) -> None:
        if data and not self._chan.is_closing():
            self._chan.write(data)

    def _event(self, kind: str, detail: str = "") -> None:
        self._connection.lab.log.event(kind, self._connection.device.name, self._connection.number, detail)  # type: ignore[arg-type]  # kinds are literals


def _line_end(data: bytes) -> int:
    feed, back = data.find(b"\n"), data.find(b"\r")
    if feed < 0 or back < 0:
        return max(feed, back)
    return min(feed, back)


def _pages(answer: Answer) -> list[bytes]:
    """Screens of lines, and the prompt as the last element, which is printed without waiting for a key."""
    body = answer.text.removesuffix(answer.prompt)
    lines = body.splitlines(keepends=True)
    screens = [b"".join(lines[start : start + PAGE_LINES]) for start in range(0, len(lines), PAGE_LINES)]
    return [*screens, answer.prompt]
