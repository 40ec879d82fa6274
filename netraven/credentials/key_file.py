"""Changing the key file: a new key on top, old ones out. A reader sees the old file or the new one, never a part.

Whoever changes it holds a lock on its folder, reads the file again under it, and puts a new file in its place: two
rotations at once come to one new key, and no key is lost.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import os
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from netraven.credentials.sealing import (
    KEY_VARIABLE,
    SYSTEMD_KEY,
    Keyring,
    load_keyring,
)
from netraven.errors import KeyringError


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where the keyring comes from. ``file`` is None where it is not ours to write."""

    shown: str
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A key of a file, by its line and id."""

    number: int
    key_id: str


def key_place(key_file: Path | None, environ: Mapping[str, str]) -> KeyPlace:
    """Where ``load_keyring`` finds its keys."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if directory and (Path(directory) / SYSTEMD_KEY).exists():
        return KeyPlace(f"systemd ({Path(directory) / SYSTEMD_KEY})")
    if key_file is not None and key_file.exists():
        return KeyPlace(str(key_file), key_file)
    return KeyPlace(f"${KEY_VARIABLE}")


def add_key(file: Path, active_id: str) -> Keyring:
    """Put a new key above the others; the keyring as it is then.

    ``active_id`` is the key that is to be replaced. Where another one stands on top by now, another rotation came
    first: the file is left as it is. Raises ``KeyringError``.
    """
    with _changing(file) as target:
        keyring = load_keyring(target, {})
        if keyring.active_id != active_id:
            return keyring
        lines = target.read_text(encoding="utf-8").splitlines(keepends=True)
        first = next(number for number, line in enumerate(lines) if _key_in(line) is not None)
        new = Keyring.generate().to_text().strip()
        lines.insert(first, f"{new}  # since {date.today().isoformat()}\n")  # noqa: DTZ011 - a remark for people here
        _replace(target, "".join(lines))
        return load_keyring(target, {})


def remove_keys(file: Path, key_ids: Collection[str]) -> Sequence[KeyLine]:
    """Take keys out of the file, never the first one; the lines that are gone. Raises ``KeyringError``."""
    with _changing(file) as target:
        active = load_keyring(target, {}).active_id
        gone = [line for line in key_lines(target) if line.key_id in key_ids and line.key_id != active]
        if gone:
            numbers = {line.number for line in gone}
            lines = target.read_text(encoding="utf-8").splitlines(keepends=True)
            _replace(target, "".join(text for n, text in enumerate(lines, 1) if n not in numbers))
        return gone


def key_lines(file: Path) -> Sequence[KeyLine]:
    """Where each key of a file stands."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [
        KeyLine(number, key) for number, line in enumerate(lines, 1) if (key := _key_in(line)) is not None
    ]


def _key_in(line: str) -> str | None:
    """The id of the key on a line; None for a remark and an empty line."""
    encoded = line.split("#", 1)[0].strip()
    if not encoded:
        return None
    try:
        return Keyring([base64.b64decode(encoded, validate=True)]).active_id
    except (binascii.Error, ValueError) as error:
        raise KeyringError("a line of the key file is not base64") from error


@contextmanager
def _changing(file: Path) -> Iterator[Path]:
    """The file itself (what a link leads to), with nobody else changing it."""
    target = file.resolve()
    try:
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise KeyringError(f"cannot open {target.parent}: {error.strerror}") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # goes with the process, whatever becomes of it
        yield target
    except OSError as error:
        raise KeyringError(f"cannot change the key file {file}: {error.strerror}. It is as it was") from error
    finally:
        os.close(folder)


def _replace(target: Path, text: str) -> None:
    """Write a new file beside the old one and rename it, so that a crash leaves one of the two."""
    Keyring.parse(text)  # never a file that could not be read again
    before = target.stat()
    fresh = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(handle, before.st_uid, before.st_gid)  # root rotates, the service reads
            opened.write(text)
            opened.flush()
            os.fsync(handle)
        fresh.rename(target)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
