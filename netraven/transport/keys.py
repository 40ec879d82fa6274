"""Private keys, as far as they can serve to log in: opened once, signing with what the server takes."""

from __future__ import annotations

import asyncio
import copy
import hashlib
from collections import OrderedDict
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

import asyncssh

from netraven.credentials.key_text import is_sealed
from netraven.model import HostKey, Secret

_MOST_OPENED = 64
"""Keys that are kept open in memory: a passphrase costs a tenth of a second of CPU each time (bcrypt)."""
MOST_AGENT_KEYS = 3
"""Keys of an agent that are shown to one device, where none is named; servers count each as a try."""
_CERTIFICATE = b"-cert-v01@openssh.com"
_RSA = ("rsa-sha2-256", "rsa-sha2-512")


class UnusableKey(ValueError):
    """A private key, passphrase or certificate that cannot serve. The message names no secret."""


def open_key(secret: Secret) -> asyncssh.SSHKeyPair:
    """The key of ``secret`` with its certificate. Raises ``UnusableKey``. May take a tenth of a second."""
    problem, key = "", None
    try:
        key = asyncssh.import_private_key(secret.private_key or "", secret.passphrase)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError):
        sealed = is_sealed(secret.private_key or "")
        problem = "is not a private key that can be read, or one of a kind that SSH does not log in with"
        if sealed:
            problem = "needs a passphrase" if secret.passphrase is None else "is not opened by its passphrase"
    if key is None:  # outside of the handler: its exception might carry parts of the key along
        raise UnusableKey(problem)
    certificate = None if secret.certificate is None else _certificate(secret.certificate)
    if certificate is not None and certificate.key.public_data != key.public_data:
        raise UnusableKey("does not belong to its certificate")
    # with a certificate asyncssh would go on to the key without it: one more try for a server to count
    return asyncssh.load_keypairs([key if certificate is None else (key, certificate)])[0]


def _certificate(text: str) -> asyncssh.SSHCertificate:
    try:
        certificate = asyncssh.import_certificate(text)
    except (asyncssh.KeyImportError, ValueError) as error:
        raise UnusableKey(f"the certificate cannot be read: {error}") from error
    if not hasattr(certificate, "principals"):
        raise UnusableKey("the certificate is no OpenSSH certificate")
    return certificate


def wrong_with_certificate(text: str, username: str, now: datetime) -> str | None:
    """What a server will have against a user certificate. Raises ``UnusableKey`` where it is none at all."""
    certificate = _certificate(text)
    kind, valid_after, valid_before, principals = (
        getattr(certificate, name) for name in ("_cert_type", "_valid_after", "_valid_before", "principals")
    )
    if kind != 1:  # SSH_CERT_TYPE_USER
        raise UnusableKey("the certificate is one for hosts, not for users")
    if now.timestamp() >= valid_before:
        return f"the certificate has expired: {datetime.fromtimestamp(valid_before, UTC):%Y-%m-%d %H:%M} UTC"
    if now.timestamp() < valid_after:
        return "the certificate is not valid yet"
    if principals and username not in principals:
        return f"the certificate names other users: {', '.join(principals[:5])}"
    return None


class OpenedKeys:
    """Opens the key of each secret once, off the event loop where that takes long."""

    def __init__(self) -> None:
        self._opened: OrderedDict[bytes, asyncssh.SSHKeyPair | str] = OrderedDict()
        """Or what is wrong with it: a wrong passphrase costs as much time as the right one."""
        self._opening = asyncio.Lock()

    async def of(self, secret: Secret) -> asyncssh.SSHKeyPair:
        """A pair of one's own, whose signature algorithm may be set. Raises ``UnusableKey``."""
        parts = (secret.private_key, secret.passphrase, secret.certificate)
        digest = hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).digest()
        pair = self._opened.get(digest)
        if pair is None:
            async with self._opening:
                pair = self._opened.get(digest)
                if pair is None:
                    pair = await self._open(secret)
                    self._opened[digest] = pair
                    if len(self._opened) > _MOST_OPENED:
                        self._opened.popitem(last=False)
        if isinstance(pair, str):
            raise UnusableKey(pair)
        return copy.copy(pair)

    @staticmethod
    async def _open(secret: Secret) -> asyncssh.SSHKeyPair | str:
        try:
            return (
                open_key(secret) if secret.passphrase is None else await asyncio.to_thread(open_key, secret)
            )
        except UnusableKey as error:
            return str(error)


async def agent_keys(agent: asyncssh.SSHAgentClient, wanted: str) -> Sequence[asyncssh.SSHKeyPair]:
    """The keys that an agent holds under this fingerprint or comment; a few of any, where it is empty."""
    keys = await agent.get_keys()
    if not wanted:
        return list(keys)[:MOST_AGENT_KEYS]
    return [key for key in keys if wanted in (_fingerprint(key), key.get_comment(errors="replace"))][:1]


def _fingerprint(pair: asyncssh.SSHKeyPair) -> str:
    return HostKey(pair.get_algorithm(), pair.public_data).fingerprint


def sign_with(pair: asyncssh.SSHKeyPair, server_takes: Collection[bytes], *, legacy: bool) -> None:
    """Set the signature algorithm of a pair. An RSA key has several, and old servers know only SHA-1 (``legacy``).

    ``server_takes``: what the server has said (RFC 8308 section 3.1); empty where it says nothing.
    """
    if b"rsa-sha2-256" not in pair.sig_algorithms:
        return
    takes = {name.decode("ascii", "replace") for name in server_takes}
    if takes:
        fitting = next((name for name in _RSA if name in takes), None)
        pair.set_sig_algorithm((fitting or ("ssh-rsa" if legacy else _RSA[0])).encode())
    else:
        pair.set_sig_algorithm(b"ssh-rsa" if legacy else _RSA[0].encode())
    if pair.has_cert and pair.sig_algorithm != b"ssh-rsa":
        pair.algorithm = pair.sig_algorithm + _CERTIFICATE
