"""The keyring in force, and what is sealed with it: the parts of a credential's secret."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from netraven.credentials.sealing import Keyring, UnknownKey
from netraven.errors import KeyringError, SecretUnreadable
from netraven.model import Secret

COLUMNS = {
    part: f"sealed_{part}" for part in ("password", "private_key", "enable", "passphrase", "certificate")
}
"""The parts of a secret and the columns that they are sealed in; the same in both tables."""

NO_KEY = "there is no key to seal and open secrets with: `netraven init` writes one"


class SealedRow(Protocol):
    """A row of ``credentials``, or of ``credential_versions`` with its credential's uid."""

    uid: str
    secret_version: int


class Seals:
    """Seals and opens. ``reload`` finds the keyring again where it was found first: another process may rotate it."""

    def __init__(
        self,
        keyring: Keyring | None,
        *,
        no_key: str | None = None,
        reload: Callable[[], Keyring] | None = None,
    ) -> None:
        self.keyring = keyring
        self._no_key = no_key or NO_KEY
        self._reload = reload

    def require_key(self) -> None:
        """Raise ``KeyringError``, which says why, where there is no key at all."""
        if self.keyring is None:
            raise KeyringError(self._no_key)

    def renew(self) -> None:
        """Read the keyring again; raise ``KeyringError`` where it is there no more.

        Whoever is about to seal does this first, inside of the transaction that writes: what is sealed with a key that
        a rotation has just removed could never be opened again.
        """
        self.require_key()
        if self._reload is not None:
            self.keyring = self._reload()

    def seal(self, secret: Secret, uid: str, version: int) -> dict[str, bytes | None]:
        """The columns of a row. Without a part to seal no key is needed."""
        sealed: dict[str, bytes | None] = dict.fromkeys(COLUMNS.values())
        given = {part: value for part in COLUMNS if (value := getattr(secret, part))}
        if given:
            self.renew()
        for part, value in given.items():
            assert self.keyring is not None  # noqa: S101 - renewed above
            sealed[COLUMNS[part]] = self.keyring.seal(value, identity(uid, version, part))
        return sealed

    def open(self, row: SealedRow, *, without: Collection[str] = ()) -> Secret:
        """The secret of a row but for the parts ``without``; raise ``SecretUnreadable``."""
        parts = {
            part: sealed
            for part, column in COLUMNS.items()
            if part not in without and (sealed := getattr(row, column)) is not None
        }
        if not parts:
            return Secret()
        if self.keyring is None:
            raise SecretUnreadable(self._no_key)
        try:
            return _opened(self.keyring, parts, row)
        except UnknownKey:
            if self._reload is None:
                raise
        try:
            self.renew()
        except KeyringError as error:
            raise SecretUnreadable(str(error)) from None
        return _opened(self.keyring, parts, row)


def _opened(keyring: Keyring, parts: Mapping[str, Any], row: SealedRow) -> Secret:
    return Secret(
        **{
            part: keyring.open(bytes(sealed), identity(row.uid, row.secret_version, part))
            for part, sealed in parts.items()
        }
    )


def identity(uid: str, version: int, part: str) -> str:
    """What a sealed secret is bound to: this credential, this version of its secret, this part of it."""
    return f"credential:{uid}:{version}:{part}"
