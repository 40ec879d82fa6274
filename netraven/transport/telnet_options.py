"""The telnet protocol without I/O: what of the bytes is for the reader, and what has to be answered.

RFC 854 (commands, line ends), 855 (options), 856 (BINARY), 857 (ECHO), 858 (SUPPRESS-GO-AHEAD), 1073 (NAWS) and 1091
(TERMINAL-TYPE). We ask for nothing and only answer, so that the states of RFC 1143 in which an own request is on
its way do not occur; what is in force already is not answered, which is what keeps two sides from answering forever.
"""

from __future__ import annotations

from collections import Counter
from enum import IntEnum

SE, SB, WILL, WONT, DO, DONT, IAC = 240, 250, 251, 252, 253, 254, 255
BINARY, ECHO, SGA, TTYPE, NAWS = 0, 1, 3, 24, 31
_TTYPE_IS, _TTYPE_SEND = 0, 1

_MOST_ANSWERS = 8
"""How often one command for one option is answered: whoever repeats it more often does not listen."""
_LONGEST_SUBNEGOTIATION = 64
"""Bytes that are kept of one; those that mean something to us have two."""

_THEIRS = frozenset((BINARY, ECHO, SGA))
"""What the device may do."""
_OURS = frozenset((BINARY, SGA, TTYPE, NAWS))
"""What we do if the device wants it."""


class _At(IntEnum):
    """Where in the stream the next byte stands."""

    TEXT = 0
    COMMAND = 1
    """Behind an IAC."""
    OPTION = 2
    """Behind WILL, WONT, DO or DONT."""
    SUB_OPTION = 3
    SUB = 4
    SUB_COMMAND = 5
    """Behind an IAC inside a subnegotiation."""


class TelnetOptions:
    """One connection's state. How the stream is cut makes no difference."""

    def __init__(self, *, columns: int = 511, rows: int = 24, terminal: str = "vt100") -> None:
        self._size = columns.to_bytes(2, "big") + rows.to_bytes(2, "big")
        self._terminal = terminal.encode("ascii")
        self._at = _At.TEXT
        self._command = 0
        self._after_cr = False
        self._option = 0
        self._sub = bytearray()
        self._theirs: set[int] = set()
        self._ours: set[int] = set()
        self._answered: Counter[tuple[int, int]] = Counter()

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """What the device printed, and what is to be sent back."""
        text, reply = bytearray(), bytearray()
        position, end = 0, len(data)
        while position < end:
            if self._at is _At.TEXT:
                found = data.find(IAC, position)
                stop = end if found < 0 else found
                self._print(data[position:stop], text)
                position = stop
                if found >= 0:
                    self._at = _At.COMMAND
                    position += 1
            elif self._at is _At.SUB:
                found = data.find(IAC, position)
                stop = end if found < 0 else found
                self._sub += data[position : min(stop, position + _LONGEST_SUBNEGOTIATION - len(self._sub))]
                position = stop
                if found >= 0:
                    self._at = _At.SUB_COMMAND
                    position += 1
            else:
                self._step(data[position], text, reply)
                position += 1
        return bytes(text), bytes(reply)

    def encode(self, data: bytes) -> bytes:
        """``data`` as it is typed. A line end is sent as the return key: CR NUL, and CR alone in binary mode.

        Clients for people send the same; a device that took CR LF for two returns would take the second one for
        an empty password. CR LF is sent where ``data`` says so.
        """
        lines = data.split(b"\r\n")
        return_key = b"\r" if BINARY in self._ours else b"\r\x00"
        typed = b"\r\n".join(line.replace(b"\n", b"\r").replace(b"\r", return_key) for line in lines)
        return typed.replace(b"\xff", b"\xff\xff")

    def _print(self, data: bytes, text: bytearray) -> None:
        if not data:
            return
        if BINARY in self._theirs:
            text += data
            self._after_cr = False
            return
        padded = data.startswith(b"\x00") and self._after_cr
        self._after_cr = data.endswith(b"\r")
        text += (data[1:] if padded else data).replace(b"\r\x00", b"\r")

    def _step(self, byte: int, text: bytearray, reply: bytearray) -> None:
        if self._at is _At.COMMAND:
            self._command_at(byte, text)
        elif self._at is _At.OPTION:
            self._at = _At.TEXT
            reply += self._negotiated(self._command, byte)
        elif self._at is _At.SUB_OPTION:
            if byte == IAC:  # a subnegotiation of nothing
                self._at = _At.SUB_COMMAND
            else:
                self._option, self._at = byte, _At.SUB
        elif byte == IAC:  # in a subnegotiation, doubled: a byte of its own
            if len(self._sub) < _LONGEST_SUBNEGOTIATION:
                self._sub.append(IAC)
            self._at = _At.SUB
        elif byte == SE:
            self._at = _At.TEXT
            reply += self._subnegotiated()
        else:  # it was never ended
            self._command_at(byte, text)

    def _command_at(self, byte: int, text: bytearray) -> None:
        if byte == IAC:  # doubled: a byte of text
            self._at = _At.TEXT
            self._after_cr = False
            text.append(IAC)
        elif byte in (WILL, WONT, DO, DONT):
            self._command, self._at = byte, _At.OPTION
        elif byte == SB:
            self._sub.clear()
            self._option, self._at = IAC, _At.SUB_OPTION
        else:  # go ahead, no operation, are you there ...: nothing that a reader of text could do about them
            self._at = _At.TEXT

    def _negotiated(self, command: int, option: int) -> bytes:
        asked = command in (WILL, DO)
        of_theirs = command in (WILL, WONT)
        in_force = self._theirs if of_theirs else self._ours
        if asked == (option in in_force) or not self._may_answer(command, option):
            return b""
        yes, no = (DO, DONT) if of_theirs else (WILL, WONT)
        if not asked:
            in_force.discard(option)
            return bytes((IAC, no, option))
        if option not in (_THEIRS if of_theirs else _OURS):
            return bytes((IAC, no, option))
        in_force.add(option)
        return bytes((IAC, yes, option)) + (self._window() if option == NAWS else b"")

    def _subnegotiated(self) -> bytes:
        if self._option != TTYPE or TTYPE not in self._ours or bytes(self._sub) != bytes((_TTYPE_SEND,)):
            return b""
        if not self._may_answer(SB, TTYPE):
            return b""
        return bytes((IAC, SB, TTYPE, _TTYPE_IS)) + self._terminal + bytes((IAC, SE))

    def _window(self) -> bytes:
        return bytes((IAC, SB, NAWS)) + self._size.replace(b"\xff", b"\xff\xff") + bytes((IAC, SE))

    def _may_answer(self, command: int, option: int) -> bool:
        self._answered[command, option] += 1
        return self._answered[command, option] <= _MOST_ANSWERS
