"""Private keys, as far as they can serve to log in."""

from __future__ import annotations

import asyncssh


def can_log_in(private_key: str) -> bool:
    """Whether the text is a private key that SSH can sign with: not every key that can be read is one (X25519)."""
    try:
        asyncssh.import_private_key(private_key)
    except (asyncssh.KeyImportError, ValueError):
        return False
    return True
