"""What a terminal would show of the bytes that a device sent. Pure; every function is linear in what it is given."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LONGEST_LINE = 4_096
"""The last line is looked for in this many bytes: a longer one is no prompt, and nothing is searched twice."""
_EMPTY_LINES = 8
"""So many line end characters may stand between the two lines of a prompt."""
_TERMINAL_CODE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-Z\\^-~])")
"""Escape sequences of ECMA-48. Their one-byte forms (0x9b ...) are left alone: in UTF-8 they are parts of letters."""
_LINE_CODE = re.compile(rb"\x1bE|\x1b\[\d*(?:;1?)?[Hf]")
"""Those that begin a line in place of a line end."""
_ERASING = re.compile(
    rb"(?:[\x00\x08]|\r\x00*+ ++\r\x00*+(?!\n)|\r++(?!\n)|\x1b\[[0-9;?]*[CDGJKPX]|\x1b[78]"
    rb"| ++(?=\x00*(?:\x08|\r++(?!\n)|\x1b\[[0-9;]*[DGKP])))*+"
)
"""How devices wipe a pager's text off the line: backspaces, returns and blanks, or escape sequences."""
_ECHO_REACH = 4_096
"""The echo is looked for in this many bytes."""
_ECHO_LINES = 6
"""And in this many lines: a prompt that was late may stand above it."""
_REWRITTEN_ECHO = 8
"""So many characters tell an echo of which the terminal shows only a part."""

Page = tuple[int, int]
"""Where a pager's text began and ended."""


def last_line(text: bytes | bytearray, end: int | None = None) -> int:
    """Where the last line before ``end`` starts; 0 where it is longer than any prompt."""
    end = len(text) if end is None else end
    reach = max(0, end - _LONGEST_LINE)
    return max(text.rfind(b"\n", reach, end), text.rfind(b"\r", reach, end)) + 1


def line_above(text: bytes | bytearray, start: int) -> int:
    """Where the line above the one at ``start`` begins; empty lines between them are passed over."""
    end = start
    while end > max(0, start - _EMPTY_LINES) and text[end - 1] in b"\r\n":
        end -= 1
    return last_line(text, end)


def shown(line: bytes) -> bytes:
    """A line as it stands on the screen, without what is blank around it."""
    if b"\x1b" in line:
        line = _TERMINAL_CODE.sub(b"", _LINE_CODE.sub(b"\n", line))
        line = line[line.rfind(b"\n") + 1 :]
    if b"\x08" in line:
        line = _typed_over(line)
    return line.replace(b"\0", b"").strip(b" \t\r\n\x07\x0b\x0c")


def printed(raw: bytes, pages: Sequence[Page] = ()) -> bytes:
    """The text without what only steers a terminal; lines are ended by ``\\n``.

    NUL goes: terminals ignore it and telnet pads with it (RFC 854); a configuration cannot hold one.
    """
    text = _without_pages(raw, pages) if pages else raw
    if b"\x1b" in text:
        text = _TERMINAL_CODE.sub(b"", _LINE_CODE.sub(b"\n", text))
    if b"\0" in text:
        text = text.replace(b"\0", b"")
    if b"\r" in text:
        text = text.replace(b"\r\r\n", b"\n").replace(b"\r\n", b"\n")
    if b"\x08" in text:
        text = b"\n".join(_typed_over(line) if b"\x08" in line else line for line in text.split(b"\n"))
    return text.replace(b"\r", b"")


def echoed(text: bytes | bytearray, line: str) -> bool:
    """Whether ``text`` begins with the echo of ``line``, however the device spaces or rewrites it."""
    echo = line.encode()
    if text.startswith(echo):
        return True
    return _squeezed(echo) in _squeezed(printed(bytes(text[:_ECHO_REACH])))


def without_echo(text: bytes, line: str, prompt: bytes) -> bytes:
    """``text`` (as :func:`printed` gives it) without the lines that repeat what was typed.

    These are the first line where it holds the echo; as many lines as the echo was wrapped into; or all down to the
    first that is ``prompt`` and echo. A second line of prompt and echo goes too: RouterOS draws its line twice.
    """
    whole = line.encode() + b"\n"
    double = prompt + line.encode()
    if text.startswith(whole) and not text.startswith(double, len(whole)):
        return text[len(whole) :]
    echo, prompt = _squeezed(line.encode()), _squeezed(prompt)
    if not echo:
        return text
    lines = text.split(b"\n", _ECHO_LINES)
    count = _echo_lines([_squeezed(one) for one in lines[:_ECHO_LINES]], echo, prompt)
    if count and len(lines) > count and _squeezed(lines[count]) == prompt + echo:
        count += 1
    return b"\n".join(lines[count:])


def _echo_lines(lines: Sequence[bytes], echo: bytes, prompt: bytes) -> int:
    if echo in lines[0]:
        return 1
    so_far = b""
    for number, line in enumerate(lines, 1):
        if line == prompt + echo:
            return number
        so_far += line
        if so_far in (echo, prompt + echo):
            return number
    head, scrolled, tail = lines[0].removeprefix(prompt).partition(b"$")
    if scrolled and (
        (len(tail) >= _REWRITTEN_ECHO and echo.endswith(tail))
        or (len(head) >= _REWRITTEN_ECHO and echo.startswith(head))
    ):
        return 1  # IOS shows a part of a long line, and a dollar for the rest
    return 0


def _without_pages(raw: bytes, pages: Sequence[Page]) -> bytes:
    parts: list[bytes] = []
    done = 0
    for start, end in pages:
        parts.append(raw[done:start])
        erased = _ERASING.match(raw, end)
        done = erased.end() if erased else end
        if done == end:  # left standing: the line end behind it belongs to the pager
            done += len(raw[end : end + 3]) - len(raw[end : end + 3].lstrip(b"\r"))
            done = done + 1 if raw[done : done + 1] == b"\n" else end
    return b"".join((*parts, raw[done:]))


def _typed_over(line: bytes) -> bytes:
    """What is left where backspaces and returns moved back and other characters went over it."""
    body = line.rstrip(b"\r")
    cells: list[str] = []
    at = 0
    for letter in body.decode("utf-8", "surrogateescape"):
        if letter == "\b":
            at = max(0, at - 1)
        elif letter == "\r":
            at = 0
        else:
            cells[at : at + 1] = letter
            at += 1
    return "".join(cells).encode("utf-8", "surrogateescape")


def _squeezed(text: bytes) -> bytes:
    return b"".join(text.split())
