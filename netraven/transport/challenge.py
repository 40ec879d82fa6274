"""What the questions of keyboard-interactive authentication ask for (RFC 4256). Pure: texts in, a judgement out.

The server words them, and nothing else tells its question for the password from one for a new password or a code. A
secret goes only where its own question stands: typed behind "New password:" it would become the password.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

Prompts = Sequence[tuple[str, bool]]
"""Texts, and whether what is typed is shown."""

_CHANGE = re.compile(
    r"\b(?:new|old|current|retype|re-?enter|confirm|verify|change)\b.{0,40}(?:password|passcode|passwd)"
    r"|(?:password|passcode|passwd).{0,40}(?:(?<!try )\bagain\b|\bconfirmation\b)",
    re.IGNORECASE | re.DOTALL,
)
_PASSWORD = re.compile(r"password|passcode|passwd", re.IGNORECASE)
_CODE = re.compile(
    r"\b(?:code|token|otp|one[- ]time|challenge|response|duo|verification|pin)\b", re.IGNORECASE
)


class Wants(Enum):
    OWN = "the password"
    CHANGE = "change"
    """A new password in place of the user's."""
    OTHER = "other"
    """Something that no password answers."""


def wanted(prompts: Prompts) -> Wants:
    """What one request wants; questions for a user name beside that for the password count for nothing."""
    if any(_CHANGE.search(text) for text, _ in prompts):
        return Wants.CHANGE
    secret = [text for text, echo in prompts if is_secret(text, echo=echo)]
    if len(secret) != 1 or (_CODE.search(secret[0]) and not _PASSWORD.search(secret[0])):
        return Wants.OTHER
    return Wants.OWN


def is_secret(text: str, *, echo: bool) -> bool:
    """Whether a question is for something that nobody may see."""
    return not echo or _PASSWORD.search(text) is not None
