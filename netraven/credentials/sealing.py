"""Secrets at rest: AES-256-GCM under a ring of keys.

A sealed secret is ``version (1) | key id (8) | nonce (12) | ciphertext and tag``. The version, the key id and the
secret's identity are authenticated with it: a ciphertext that was moved to another row, or put back after the secret
was changed, does not open. The key id says which key is missing instead of "decryption failed".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from netraven.errors import KeyringError, SecretUnreadable

KEY_VARIABLE = "NETRAVEN_KEY"
SYSTEMD_KEY = "netraven.key"

_VERSION = b"\x01"
_KEY_BYTES = 32
_ID_BYTES = 8
_NONCE_BYTES = 12  # what GCM is defined for without hashing the nonce first (NIST SP 800-38D, 8.2)
_HEADER_BYTES = len(_VERSION) + _ID_BYTES
_TAG_BYTES = 16
_NOT_THIS_ONE = "the stored secret is damaged, or belongs to another credential or an older secret"
_MARK_LABEL = b"netraven source mark 1"  # a key derived under this label does nothing but marking


class UnknownKey(SecretUnreadable):
    """Sealed with a key that is not in the keyring: added, or removed, since the keyring was read."""


class Keyring:
    """One active key, which seals, and older ones, which still open what they sealed."""

    __slots__ = ("_active", "_ciphers", "_keys", "_markers")

    def __init__(self, keys: Iterable[bytes]) -> None:
        """Take raw keys of 32 bytes, the active one first; raise ``KeyringError`` for none or a wrong length."""
        self._keys = tuple(keys)
        if not self._keys:
            raise KeyringError("the keyring holds no key: put your copy of the old key back")
        if any(len(key) != _KEY_BYTES for key in self._keys):
            raise KeyringError(f"a key must be {_KEY_BYTES} bytes, written as base64")
        self._ciphers = {_key_id(key): AESGCM(key) for key in self._keys}
        self._active = _key_id(self._keys[0])
        self._markers: dict[bytes, bytes] = {}

    @classmethod
    def generate(cls) -> Keyring:
        return cls([AESGCM.generate_key(bit_length=_KEY_BYTES * 8)])

    @classmethod
    def parse(cls, text: str) -> Keyring:
        """Read a key file's text: one base64 key a line, the active one first; ``#`` starts a comment."""
        keys = []
        for number, line in enumerate(text.splitlines(), start=1):
            encoded = line.split("#", 1)[0].strip()
            if not encoded:
                continue
            try:
                keys.append(base64.b64decode(encoded, validate=True))
            except (binascii.Error, ValueError):
                raise KeyringError(f"line {number} of the keyring is not base64") from None
        return cls(keys)

    def to_text(self) -> str:
        """Write what :meth:`parse` reads. This is the one place where keys leave the object."""
        return "".join(base64.b64encode(key).decode() + "\n" for key in self._keys)

    def seal(self, plaintext: str, identity: str) -> bytes:
        """Seal ``plaintext`` under the active key. Only the same ``identity`` opens it again."""
        return self.seal_bytes(plaintext.encode(), identity)

    def open(self, sealed: bytes, identity: str) -> str:
        """Give back what was sealed under ``identity``; raise ``SecretUnreadable`` in every other case."""
        try:
            return self.open_bytes(sealed, identity).decode()
        except UnicodeDecodeError:
            raise SecretUnreadable(_NOT_THIS_ONE) from None

    def seal_bytes(self, plaintext: bytes, identity: str) -> bytes:
        """As :meth:`seal`, for what is no text."""
        header = _VERSION + self._active
        nonce = os.urandom(_NONCE_BYTES)
        body = self._ciphers[self._active].encrypt(nonce, plaintext, header + identity.encode())
        return header + nonce + body

    def open_bytes(self, sealed: bytes, identity: str) -> bytes:
        """As :meth:`open`, for what is no text."""
        if len(sealed) < _HEADER_BYTES + _NONCE_BYTES + _TAG_BYTES or not sealed.startswith(_VERSION):
            raise SecretUnreadable("the stored secret is damaged, or was sealed by a newer NetRaven")
        header, key_id = sealed[:_HEADER_BYTES], sealed[len(_VERSION) : _HEADER_BYTES]
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise UnknownKey(
                f"sealed with key {key_id.hex()}, which is not in the keyring: add the old key below the active one"
            )
        nonce, body = (
            sealed[_HEADER_BYTES : _HEADER_BYTES + _NONCE_BYTES],
            sealed[_HEADER_BYTES + _NONCE_BYTES :],
        )
        try:
            return cipher.decrypt(nonce, body, header + identity.encode())
        except InvalidTag:
            raise SecretUnreadable(_NOT_THIS_ONE) from None

    def mark(self, secret: str, identity: str) -> bytes:
        """A digest that tells later whether ``secret`` has changed, and nothing to whoever lacks the key.

        ``key id (8) | HMAC-SHA256`` under a key derived from the active one.
        """
        return self._active + self._digest(self._active, secret, identity)

    def marked(self, mark: bytes, secret: str, identity: str) -> bool | None:
        """Whether ``mark`` was made of this very secret; None where its key is not in the keyring."""
        key_id, digest = mark[:_ID_BYTES], mark[_ID_BYTES:]
        if key_id not in self._ciphers:
            return None
        return hmac.compare_digest(digest, self._digest(key_id, secret, identity))

    def _digest(self, key_id: bytes, secret: str, identity: str) -> bytes:
        marker = self._markers.get(key_id)
        if marker is None:
            key = next(key for key in self._keys if _key_id(key) == key_id)
            marker = HKDF(SHA256(), _KEY_BYTES, salt=None, info=_MARK_LABEL).derive(key)
            self._markers[key_id] = marker
        return hmac.digest(marker, identity.encode() + b"\0" + secret.encode(), "sha256")

    @property
    def active_id(self) -> str:
        return self._active.hex()

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Every key that opens, the active one first."""
        return tuple(_key_id(key).hex() for key in self._keys)

    def __repr__(self) -> str:
        return f"<Keyring active={self.active_id} keys={len(self._keys)}>"


def key_of(sealed: bytes) -> str | None:
    """The id of the key that a secret was sealed with; None where it is damaged."""
    if len(sealed) < _HEADER_BYTES or not sealed.startswith(_VERSION):
        return None
    return sealed[len(_VERSION) : _HEADER_BYTES].hex()


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()[:_ID_BYTES]


def load_keyring(key_file: Path | None, environ: Mapping[str, str]) -> Keyring:
    """Find the keyring: systemd's credentials directory, then ``key_file``, then the environment.

    A source that is there but cannot be used ends the search with ``KeyringError``; only an absent one is passed over.
    """
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if directory and (handed := Path(directory) / SYSTEMD_KEY).exists():
        return _parse_from(handed, _read(handed, private=False))
    if key_file is not None and key_file.exists():
        return _parse_from(key_file, _read(key_file, private=True))
    if text := environ.get(KEY_VARIABLE):
        return _parse_from(f"${KEY_VARIABLE}", text)
    missing = f"{key_file} does not exist" if key_file is not None else "no key file is set"
    raise KeyringError(
        f"no key to open stored secrets with: {missing}. Put your copy of the old key back; where no secret is "
        "stored yet, `netraven init` writes a new key file. `[secrets] key_file` names another file, and "
        f"{KEY_VARIABLE} may hold the key itself"
    )


def write_new_key_file(path: Path) -> Keyring:
    """Write a new key to ``path``, readable by its owner only. An existing file is never touched: ``KeyringError``."""
    keyring = Keyring.generate()
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise KeyringError(f"{path} exists already and is left as it is") from error
    except OSError as error:
        raise KeyringError(f"cannot write the key file {path}: {error.strerror}") from error
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(
            "# NetRaven's keys, one a line. The first one seals; the others open what they sealed before.\n"
        )
        file.write(
            "# Whoever has this file and the database has every stored secret. Keep a copy of it elsewhere.\n"
        )
        file.write(keyring.to_text())
        file.flush()
        os.fsync(file.fileno())
    return keyring


def _read(path: Path, *, private: bool) -> str:
    """Read a key file; where it must be ``private``, refuse one that group or others have any permission on."""
    try:
        with path.open(encoding="utf-8") as file:
            if private and stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise KeyringError(f"{path} can be read by others than its owner: chmod 600 {path}")
            return file.read()
    except UnicodeDecodeError as error:
        raise KeyringError(f"{path} is not a key file: it holds other bytes than text") from error
    except OSError as error:
        raise KeyringError(f"cannot read the key file {path}: {error.strerror}") from error


def _parse_from(source: Path | str, text: str) -> Keyring:
    try:
        return Keyring.parse(text)
    except KeyringError as error:
        raise KeyringError(f"{source}: {error}") from None
