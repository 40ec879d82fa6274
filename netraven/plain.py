"""Text that a device controls, made fit for a terminal and a log.

Banners, error texts and configurations may carry escape sequences that retitle windows, move cursors or answer for
the reader. Nothing of that kind is passed on: every control character is shown, none is obeyed.
"""

from __future__ import annotations

import re

# C0 without tab and newline, DEL, C1, the bidirectional overrides (CVE-2021-42574), lone surrogates.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_LINE_BREAKS = re.compile(r"[\r\n]+")


def _shown(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8 (surrogateescape)
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def plain(text: str) -> str:
    """Text of any number of lines with control characters written out (``\\x1b``); tabs and newlines stay."""
    return _UNSAFE.sub(_shown, text.replace("\r\n", "\n"))


def plain_line(text: str, limit: int = 300) -> str:
    """The same on one line, cut to ``limit`` characters."""
    parts = (part.strip() for part in _LINE_BREAKS.split(text))
    line = plain(" / ".join(part for part in parts if part)).replace("\t", " ")
    return line if len(line) <= limit else line[: limit - 1] + "…"
