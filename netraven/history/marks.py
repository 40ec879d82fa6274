"""What stands in the place of a secret: the same for the same secret, and nothing to whoever lacks the key."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field

_DIGITS = 12
"""Of 16 values each, 48 bits: among some 16 million different secrets, two share a mark by chance."""

MARK = re.compile(rf"<redacted:[0-9a-f]{{{_DIGITS}}}>")
"""What :meth:`Marker.mark` writes. It is no secret, and never marked again."""


@dataclass(frozen=True, slots=True)
class Marker:
    """``key``: 32 bytes that never change, so that a mark of last year is today's."""

    key: bytes = field(repr=False)

    def mark(self, secret: str) -> str:
        """``<redacted:0123456789ab>``, of HMAC-SHA256 over the secret."""
        digest = hmac.digest(self.key, secret.encode("utf-8", "surrogateescape"), "sha256")
        return f"<redacted:{digest.hex()[:_DIGITS]}>"
