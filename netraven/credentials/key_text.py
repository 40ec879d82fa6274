"""What the text of a private key tells of it without opening it."""

from __future__ import annotations

import base64
import binascii
import re

_OPENSSH = re.compile(r"-----BEGIN OPENSSH PRIVATE KEY-----(.*?)-----END", re.DOTALL)
_MAGIC = b"openssh-key-v1\0"


def is_sealed(private_key: str) -> bool:
    """Whether a passphrase is needed to open the key (PEM, PKCS #8 or OpenSSH's format)."""
    found = _OPENSSH.search(private_key)
    if found is None:
        return "BEGIN ENCRYPTED PRIVATE KEY" in private_key or "Proc-Type: 4,ENCRYPTED" in private_key
    try:
        blob = base64.b64decode("".join(found[1].split()))
    except (binascii.Error, ValueError):
        return False
    if not blob.startswith(_MAGIC):
        return False
    start = len(_MAGIC) + 4
    return blob[start : start + int.from_bytes(blob[start - 4 : start], "big")] != b"none"
