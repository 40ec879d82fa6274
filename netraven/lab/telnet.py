"""The telnet side of the lab: options, a login that is asked for in the dialect's words, then the same terminal.

Its protocol is written anew and not shared with the collector's: a referee does not use the player's rules.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from netraven.lab.model import Ill
from netraven.lab.session import Session
from netraven.lab.shell import on_wire
from netraven.lab.wirelog import Attempt, Verdict

if TYPE_CHECKING:
    from netraven.lab.lab import Box, Lab

_ASK = b"\xff\xfb\x01\xff\xfb\x03\xff\xfd\x18\xff\xfd\x1f"
"""WILL ECHO, WILL SUPPRESS-GO-AHEAD, DO TERMINAL-TYPE, DO NAWS (RFC 857, 858, 1091, 1073)."""
_COMMAND = re.compile(rb"\xff(?:\xfa.*?\xff\xf0|[\xfb-\xfe].|[\xf1-\xf9])", re.DOTALL)
_UNFINISHED = re.compile(rb"\xff(?:\xfa(?:(?!\xff\xf0).)*|[\xfb-\xfe])?\Z", re.DOTALL)
_MOST_TRIES = 3
EVIL_BANNER = b"Welcome\x1b]0;title of the lab\x07\x1b[2J password: \x9b31m login: \x07notice\r\n"


@dataclass(frozen=True, slots=True)
class Words:
    """What a dialect says at its door. {name} is the device's."""

    banner: str
    user: str
    password: str = "Password: "  # noqa: S105 - the question for one
    refused: str = "Login incorrect\n"


_UNIX = Words("", "{name} login: ")
WORDS = {
    "cisco_iosxe": Words("\n\nUser Access Verification\n\n", "Username: ", refused="% Login invalid\n\n"),
    "cisco_nxos": Words("\nUser Access Verification\n", "{name} login: ", refused="Login incorrect\n\n"),
    "cisco_iosxr": Words(
        "\n\nUser Access Verification\n\n", "Username: ", refused="% User Authentication failed\n"
    ),
    "arista_eos": Words("", "{name} login: ", refused="\nLogin incorrect\n"),
    "juniper_junos": Words("\n{name} (ttyp0)\n\n", "login: ", "Password:"),
}


class TelnetConnection(asyncio.Protocol):
    """One client. Stands where the terminal looks for its SSH connection, and for its channel."""

    def __init__(self, lab: Lab, box: Box, ill: Ill) -> None:
        self.lab, self.box, self.ill = lab, box, ill
        self.device = box.device
        self.number = lab.next_connection()
        self._words = WORDS.get(box.device.dialect, _UNIX)
        self._transport: asyncio.Transport | None = None
        self._unfinished = b""
        self._after_cr = False
        self._line = b""
        self._username: str | None = None
        self._tries = 0
        self._pending: Attempt | None = None
        self._judging: asyncio.Task[None] | None = None
        self._session: Session | None = None

    # -- called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.lab.connections.add(self)
        self.lab.log.event("connect", self.box.name, self.number)
        evil = EVIL_BANNER if self.ill.kind == "evil_output" else b""
        self._transport.write(_ASK + evil)
        self._say(self._words.banner + self._words.user)

    def data_received(self, data: bytes) -> None:
        typed = self._typed(data)
        if self._session is not None:
            self._session.data_received(typed, None)
            return
        for byte in typed:
            if byte not in (10, 13):
                self._line += bytes((byte,))
                continue
            line, self._line = self._line.decode("utf-8", "replace"), b""
            self._obey(line)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._judging is not None:
            self._judging.cancel()
        if self._session is not None:
            self._session.connection_lost(exc)
        self._settle("unanswered")
        self.lab.connections.discard(self)
        self.lab.log.event("disconnect", self.box.name, self.number)

    # -- what the terminal wants of a connection, and of a channel

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data.replace(b"\xff", b"\xff\xff"))

    def is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def get_command(self) -> None:
        """Nothing is run without a terminal."""

    def exit(self, status: int) -> None:
        """Telnet has no word for it."""

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- the login

    def _typed(self, data: bytes) -> bytes:
        """Without telnet's commands, and with CR for CR NUL and CR LF."""
        data = self._unfinished + data
        unfinished = _UNFINISHED.search(data)
        self._unfinished = unfinished.group() if unfinished else b""
        data = data[: len(data) - len(self._unfinished)]
        data = _COMMAND.sub(b"", data).replace(b"\xff\xff", b"\xff")
        if self._after_cr and data[:1] in (b"\x00", b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\x00", b"\r").replace(b"\r\n", b"\r")

    def _obey(self, line: str) -> None:
        if self._judging is not None:
            return
        if self._username is None:
            self._say(f"{line}\n")
            if line:
                self._username = line
            self._say(self._words.password if line else self._words.user)
            return
        self._say("\n")
        self._settle("unanswered")
        self._pending = self.lab.log.attempt(self.box.name, self.number, self._username, "telnet", line)
        self._judging = self.lab.loop.create_task(self._judge(self._username, line))

    async def _judge(self, username: str, password: str) -> None:
        kind, aaa = self.ill.kind, self.lab.aaa
        if kind == "close_at_login":
            self._settle("unanswered")
            self.abort()
        if kind in ("hung_login", "close_at_login") or (aaa is not None and aaa.mode == "silent"):
            return  # and whatever else is typed gets no answer either
        right = kind != "refuses" and self.box.device.accepts.get(username) == password
        if aaa is not None:
            right = aaa.judge(self.box.name, username, right)
        delay = (self.ill.seconds if kind == "slow" else 0.0) + (aaa.answer_delay if aaa is not None else 0.0)
        if delay:
            await asyncio.sleep(delay)
        if not right:
            self._refuse()
        elif kind == "expired_password":
            self._say("Your password has expired.\nNew password: ")
            self._settle("expired")
        else:
            self._let_in(username)

    def _refuse(self) -> None:
        self._tries += 1
        most = self.ill.tries if self.ill.kind == "disconnect_at_login" else _MOST_TRIES
        self._say(self._words.refused + (self._words.user if self._tries < most else ""))
        self._settle("refused")
        self._username = self._judging = None
        if self._tries >= most:
            self.close()

    def _let_in(self, username: str) -> None:
        me = cast(Any, self)  # as much of a connection, and of a channel, as the terminal uses
        if self.ill.kind == "close_after_login":
            self._say("\nWelcome\n" + self.device.name + "#")
            self._settle("accepted")
            self.close()
            return
        self._session = Session(me, username)
        self._session.connection_made(me)
        self._session.session_started()
        self._settle("accepted")

    def _say(self, text: str) -> None:
        self.write(on_wire(text.replace("{name}", self.device.name)))

    def _settle(self, verdict: Verdict) -> None:
        """The attempt in flight, if any, has come to its end."""
        attempt, self._pending = self._pending, None
        if attempt is not None:
            self.lab.log.verdict(attempt, "unanswered" if self._transport is None else verdict)
