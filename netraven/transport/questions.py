"""What devices ask in the middle of a dialogue, and what is answered. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PAGER = re.compile(
    rb"<?\s*-{1,4}\s*\(?\s*more\b[^\r\n]{0,120}"
    rb"|press\s+(?:any|<?space>?|<?enter>?|<?return>?)\s[^\r\n]{0,20}\b(?:continue|more|next)\b[^\r\n]{0,60}"
    rb"|[^\r\n]{0,40}space\s+n\s+next\s+page[^\r\n]{0,60}",
    re.IGNORECASE,
)
"""What pagers of the usual systems show."""
_LINE_PAGER = re.compile(
    rb"(?:type|press)\s+<(?:cr|return|enter)>\s+to\s+continue[^\r\n]{0,60}", re.IGNORECASE
)
"""Those that want a line end: SunOS-like consoles, older Extreme, Alcatel."""

SECRET = re.compile(rb"(?:pass(?:word|code|phrase)|secret)\b[^\r\n:]{0,60}:$", re.IGNORECASE)
"""A question for a secret, however it is put."""
USERNAME = re.compile(rb"^(?:user(?: ?name)?|login(?: name)?|account)\s*:$", re.IGNORECASE)

_GREETINGS = (
    (re.compile(rb"change now\s*\?\s*\[y/n\]\s*:?$", re.IGNORECASE), "n\n"),  # Huawei VRP, an old password
    (re.compile(rb"\(press 'a' to accept\)\s*:?$", re.IGNORECASE), "a"),  # FortiOS, a banner after the login
    (re.compile(rb"see the software license\?\s*\[y/n\]\s*:?$", re.IGNORECASE), "n"),  # RouterOS, first login
)


@dataclass(frozen=True, slots=True)
class Pager:
    """How one platform asks for a key before the next page: its own text, or a usual one."""

    own: re.Pattern[bytes] | None = None
    own_key: bytes = b" "
    line_end: bytes = b"\n"

    def key(self, line: bytes) -> bytes | None:
        """The key for a line as it is shown; None where it is no pager's."""
        if self.own is not None and self.own.search(line):
            return self.own_key
        if _LINE_PAGER.fullmatch(line):
            return self.line_end
        if _PAGER.fullmatch(line):
            return b" "
        return None

    def is_own(self, line: bytes) -> bool:
        return self.own is not None and self.own.search(line) is not None


def greeting_answer(line: bytes, line_end: bytes) -> bytes | None:
    """What is typed where a device asks something between the login and its first prompt: always the harmless no."""
    for question, answer in _GREETINGS:
        if question.search(line):
            return answer.encode().replace(b"\n", line_end)
    return None
