"""The lines of an archive, each a JSON object with a ``type``. Nothing here reads or writes a file."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from netraven.credentials.sealing import Keyring
from netraven.errors import SecretUnreadable
from netraven.inventory.names import wrong_with_host, wrong_with_name, wrong_with_tag
from netraven.model import Device
from netraven.storage import codecs

FORMAT = "netraven-history"
VERSION = 1
LONGEST = 256 * 1024 * 1024
"""Bytes of the longest line."""


class Form(StrEnum):
    """How texts are in an archive."""

    SEALED = "sealed"
    RAW = "raw"
    REDACTED = "redacted"


class Misfit(ValueError):
    """A line that is not as it has to be; the message says how."""


@dataclass(frozen=True, slots=True)
class Header:
    created_at: datetime
    form: Form
    key: bytes | None = field(default=None, repr=False)
    """What texts are sealed with, itself sealed with the keyring of the installation that wrote it."""


@dataclass(frozen=True, slots=True)
class Text:
    """``uses``: how many versions have it."""

    sha256: bytes
    data: bytes = field(repr=False)
    uses: int


@dataclass(frozen=True, slots=True)
class ArchivedVersion:
    device: str
    kind: str
    number: int
    sha256: bytes
    platform: str
    first_seen_at: datetime
    last_seen_at: datetime
    comparable: bytes | None = None
    run: int | None = None
    """The run that saw it first, where it was collected. It means nothing elsewhere."""


@dataclass(frozen=True, slots=True)
class End:
    devices: int
    texts: int
    versions: int
    sha256: bytes
    """Of every byte before this line."""


Line = Header | Device | Text | ArchivedVersion | End


def key_identity(form: Form) -> str:
    return f"archive:{form}"


_TEXT_IDENTITY = "archived text"


def _version_identity(device: str, kind: str, number: int) -> str:
    return f"archived version:{number}:{kind}:{device}"


class Balance:
    """Whether the versions have exactly the texts that there are, each as often as it says.

    Both sides are added up under a secret number, so that it takes no memory and nobody can make them equal by chance
    or by design.
    """

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._sum = 0

    def text(self, sha256: bytes, uses: int) -> None:
        self._sum += uses * self._weight(sha256)

    def version(self, sha256: bytes) -> None:
        self._sum -= self._weight(sha256)

    def _weight(self, sha256: bytes) -> int:
        return int.from_bytes(hashlib.blake2b(sha256, key=self._key, digest_size=32).digest())

    @property
    def even(self) -> bool:
        return self._sum == 0


def to_line(line: Line, keyring: Keyring | None = None) -> bytes:
    """``keyring``: what texts are sealed with; None: in clear."""
    return json.dumps(_object(line, keyring), separators=(",", ":")).encode() + b"\n"


def _object(line: Line, keyring: Keyring | None) -> dict[str, Any]:
    match line:
        case Header():
            about = {"format": FORMAT, "version": VERSION, "created_at": _stamp(line.created_at)}
            key = {} if line.key is None else {"key": base64.b64encode(line.key).decode()}
            return {"type": "header", **about, "texts": line.form.value, **key}
        case Device():
            place = {"host": line.host, "port": line.port, "platform": line.platform}
            return {"type": "device", "name": line.name, **place, "tags": sorted(line.tags)}
        case Text():
            return {"type": "text", "versions": line.uses, **_content(line, keyring)}
        case ArchivedVersion():
            return {
                "type": "version",
                "device": line.device,
                "kind": line.kind,
                "number": line.number,
                "platform": line.platform,
                "first_seen_at": _stamp(line.first_seen_at),
                "last_seen_at": _stamp(line.last_seen_at),
                "run": line.run,
                **_digests(line, keyring),
            }
        case End():
            counts = {"devices": line.devices, "texts": line.texts, "versions": line.versions}
            return {"type": "end", **counts, "sha256": line.sha256.hex()}


def _content(text: Text, keyring: Keyring | None) -> dict[str, Any]:
    if keyring is not None:
        sealed = keyring.seal_bytes(codecs.packed(text.data), _TEXT_IDENTITY)
        return {"size": len(text.data), "sealed": base64.b64encode(sealed).decode()}
    digest = {"sha256": text.sha256.hex()}
    try:
        return {**digest, "text": text.data.decode()}
    except UnicodeDecodeError:
        return {**digest, "base64": base64.b64encode(text.data).decode()}


def _digests(line: ArchivedVersion, keyring: Keyring | None) -> dict[str, Any]:
    """What says which text it has. Whoever has a digest and all of a text but a short secret can find that by guessing:
    where the text is sealed, so is the digest.
    """
    if keyring is not None:
        both = line.sha256 + (line.comparable or b"")
        sealed = keyring.seal_bytes(both, _version_identity(line.device, line.kind, line.number))
        return {"sealed": base64.b64encode(sealed).decode()}
    return {
        "sha256": line.sha256.hex(),
        "comparable": None if line.comparable is None else line.comparable.hex(),
    }


def from_line(line: bytes, keyring: Keyring | None = None) -> Line:
    """Raises :class:`Misfit`. ``keyring``: what texts are sealed with; None: they are in clear."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise Misfit("is not JSON") from None
    if not isinstance(found, dict):
        raise Misfit("is no JSON object")
    fields = _Fields(found)
    match found.get("type"):
        case "header":
            return _header(fields)
        case "device":
            return _device(fields)
        case "text":
            return _text(fields, keyring)
        case "version":
            return _version(fields, keyring)
        case "end":
            counts = [fields.number(name) for name in ("devices", "texts", "versions")]
            return End(counts[0], counts[1], counts[2], fields.digest("sha256"))
        case _:
            raise Misfit("has no type that is known")


def _header(fields: _Fields) -> Header:
    if fields.text("format") != FORMAT:
        raise Misfit(f"is of another format than {FORMAT}")
    if fields.number("version") > VERSION:
        raise Misfit(f"is of version {fields.number('version')} of the format: upgrade the program")
    try:
        form = Form(fields.text("texts"))
    except ValueError:
        raise Misfit("has texts in no form that is known") from None
    key = fields.bytes("key") if "key" in fields.found else None
    if (form is Form.SEALED) is (key is None):
        raise Misfit("has no key, or one that nothing is sealed with")
    return Header(fields.time("created_at"), form, key)


def _device(fields: _Fields) -> Device:
    name, host, port = fields.text("name"), fields.text("host"), fields.number("port")
    tags = fields.found.get("tags")
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise Misfit("has tags that are none")
    wrong = [wrong_with_name(name), wrong_with_host(host), *map(wrong_with_tag, tags)]
    if any(wrong) or not 1 <= port <= 65535:
        raise Misfit("is of a device that cannot be: " + (next(filter(None, wrong), None) or "its port"))
    return Device(name, host, fields.word("platform"), port, frozenset(tags))


def _text(fields: _Fields, keyring: Keyring | None) -> Text:
    uses = fields.number("versions")
    if not uses:
        raise Misfit("is a text of no version")
    if keyring is not None:
        try:
            packed = keyring.open_bytes(fields.bytes("sealed"), _TEXT_IDENTITY)
            data = codecs.unpacked(packed, None, fields.number("size"))
        except (SecretUnreadable, ValueError):
            raise Misfit("is a text that does not open") from None
        return Text(hashlib.sha256(data).digest(), data, uses)
    sha256 = fields.digest("sha256")
    data = (
        fields.bytes("base64")
        if "base64" in fields.found
        else fields.text("text").encode("utf-8", "surrogatepass")
    )
    if hashlib.sha256(data).digest() != sha256:
        raise Misfit("is a text of another digest")
    return Text(sha256, data, uses)


def _version(fields: _Fields, keyring: Keyring | None) -> ArchivedVersion:
    device, kind, number = fields.text("device"), fields.word("kind"), fields.number("number")
    first, last = fields.time("first_seen_at"), fields.time("last_seen_at")
    if not number or last < first:
        raise Misfit("is of a version that cannot be")
    if keyring is None:
        sha256 = fields.digest("sha256")
        comparable = fields.digest("comparable") if fields.found.get("comparable") is not None else None
    else:
        try:
            both = keyring.open_bytes(fields.bytes("sealed"), _version_identity(device, kind, number))
        except SecretUnreadable:
            raise Misfit("is of a version whose digests do not open") from None
        if len(both) not in (32, 64):
            raise Misfit("is of a version that cannot be")
        sha256, comparable = both[:32], both[32:] or None
    run = fields.number("run") if fields.found.get("run") is not None else None
    return ArchivedVersion(
        device,
        kind,
        number,
        sha256,
        fields.word("platform", empty=True),
        first,
        last,
        comparable,
        run,
    )


@dataclass(frozen=True, slots=True)
class _Fields:
    """Reads the fields of an object, or says which one does not fit."""

    found: Mapping[str, Any]

    def text(self, name: str) -> str:
        value = self.found.get(name)
        if not isinstance(value, str):
            raise Misfit(f"has no {name}")
        return value

    def word(self, name: str, *, empty: bool = False) -> str:
        """A text that stands in tables and on command lines."""
        value = self.text(name)
        if not (empty and not value) and wrong_with_name(value):
            raise Misfit(f"has a {name} that cannot be")
        return value

    def number(self, name: str) -> int:
        value = self.found.get(name)
        if type(value) is not int or not 0 <= value < 1 << 31:
            raise Misfit(f"has no {name}")
        return value

    def digest(self, name: str) -> bytes:
        value = self.text(name)
        if len(value) != 64 or value != value.lower():
            raise Misfit(f"has no {name}")
        try:
            return bytes.fromhex(value)
        except ValueError:
            raise Misfit(f"has no {name}") from None

    def bytes(self, name: str) -> bytes:
        try:
            return base64.b64decode(self.text(name), validate=True)
        except (binascii.Error, ValueError):
            raise Misfit(f"has no {name}") from None

    def time(self, name: str) -> datetime:
        try:
            found = datetime.fromisoformat(self.text(name))
        except ValueError:
            raise Misfit(f"has no {name}") from None
        if found.tzinfo is None:
            raise Misfit(f"has no {name}")
        return found.astimezone(UTC)


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
