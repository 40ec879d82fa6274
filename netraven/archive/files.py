"""Archives as files: written beside their place and put there whole; read piece by piece, and not beyond their end."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import zstandard

from netraven.archive.lines import (
    LONGEST,
    ArchivedVersion,
    Balance,
    End,
    Form,
    Header,
    Line,
    Misfit,
    Text,
    from_line,
    key_identity,
    to_line,
)
from netraven.credentials.sealing import Keyring, UnknownKey
from netraven.errors import InputError, KeyringError, SecretUnreadable
from netraven.model import Device
from netraven.plain import plain_line

_PIECE = 4096
"""Compressed bytes that are read at once: they unpack to 128 MB at the very most."""
_WINDOW_LOG = 26
"""How far texts in clear are compared for what they have in common: 64 MB, which is also what reading them takes."""


class ArchiveRefused(InputError):
    """An archive that is damaged, or cannot be read here; the message says where or why. Nothing was changed."""


class Writer:
    """Writes an archive beside ``path``; it is there once :meth:`finish` has returned, and not before."""

    def __init__(self, path: Path, header: Header, keyring: Keyring | None, *, force: bool) -> None:
        self.path = path
        self.devices = self.texts = self.versions = 0
        self._keyring = keyring
        self._force = force
        self._digest = hashlib.sha256()
        self._balance = Balance()
        if not force and path.exists():
            raise InputError(f"{path} exists already and is left as it is; --force replaces it")
        try:
            _remove_leftovers(path)
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
            self._file: IO[bytes] = os.fdopen(handle, "wb")
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}") from error
        self._beside = Path(name)
        parameters = zstandard.ZstdCompressionParameters.from_level(
            3,
            write_checksum=True,
            **({} if header.form is Form.SEALED else {"window_log": _WINDOW_LOG, "enable_ldm": True}),
        )
        compressor = zstandard.ZstdCompressor(compression_params=parameters)
        self._stream = compressor.stream_writer(self._file, closefd=False)
        self.write([header])

    def write(self, lines: Iterable[Line]) -> None:
        """Raises ``InputError`` where the disk does not take them."""
        for line in lines:
            if isinstance(line, Text):
                self.texts += 1
                self._balance.text(line.sha256, line.uses)
            elif isinstance(line, ArchivedVersion):
                self.versions += 1
                self._balance.version(line.sha256)
            elif isinstance(line, Device):
                self.devices += 1
            written = to_line(line, self._keyring)
            self._digest.update(written)
            with self._named():
                self._stream.write(written)

    def finish(self) -> int:
        """Put the file in its place; its bytes. Raises ``InputError``."""
        if not self._balance.even:
            raise RuntimeError("an archive's texts and versions do not fit together")
        self.write([End(self.devices, self.texts, self.versions, self._digest.digest())])
        with self._named():
            self._stream.flush(zstandard.FLUSH_FRAME)
            self._file.flush()
            os.fsync(self._file.fileno())
            size = self._file.tell()
            self._put()
        return size

    def _put(self) -> None:
        if self._force:
            self._beside.replace(self.path)
        else:
            try:
                os.link(self._beside, self.path)  # unlike a rename it replaces nothing
            except FileExistsError:
                raise InputError(
                    f"{self.path} exists by now and is left as it is; --force replaces it"
                ) from None
            except OSError:  # a file system without links
                self._beside.rename(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"{self.path} cannot be written: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._beside.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._file.close()


def _remove_leftovers(path: Path) -> None:
    """What a process left that was killed: nobody holds its lock any more."""
    for left in path.parent.glob(f".{_literal(path.name)}.*.part"):
        with contextlib.suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


def _literal(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


class Archive:
    """An archive that is open; :meth:`lines` reads it from the beginning, as often as it is asked."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self._file = file
        self._line = 0
        self._sealed_with: Keyring | None = None

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Archive]:
        try:
            file = path.open("rb")
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from error
        with file:
            if not file.seekable():
                raise InputError(f"{path} is no file that can be read twice")
            yield cls(path, file)

    def lines(self, keyring: Keyring | None) -> Iterator[Line]:
        """Every line, the header first. ``keyring``: of this installation, where it has one.

        Raises :class:`ArchiveRefused` at the first thing that does not fit; the end has been checked once all is read.
        """
        order = _Order()
        digest = hashlib.sha256()
        self._line = 0
        for raw in self._raw_lines():
            self._line += 1
            try:
                line = from_line(raw, self._sealed_with)
                order.follow(line, digest.digest())
            except Misfit as error:
                raise self._refused(f"line {self._line} {plain_line(str(error))}") from None
            digest.update(raw)
            if isinstance(line, Header):
                self._sealed_with = self._key(line, keyring)
            yield line
        if not order.ended:
            raise self._refused(f"it ends after line {self._line}, before its end: a part is missing")

    def _key(self, header: Header, keyring: Keyring | None) -> Keyring | None:
        if header.form is Form.REDACTED:
            raise ArchiveRefused(
                f"{self.path} has marks in the place of secrets: it is for giving away, and no history to go on with"
            )
        if header.key is None:
            return None
        if keyring is None:
            raise KeyringError(f"{self.path} is sealed, and there is no key here to open it with")
        try:
            return Keyring([keyring.open_bytes(header.key, key_identity(header.form))])
        except UnknownKey as error:
            raise KeyringError(
                f"{self.path} was sealed by another installation: {error}. Or export it there with --raw, in clear"
            ) from None
        except (SecretUnreadable, KeyringError):
            raise self._refused("line 1 has a key that does not open") from None

    def _raw_lines(self) -> Iterator[bytes]:
        pieces: list[bytes] = []
        size = 0
        for piece in self._unpacked():
            *whole, rest = piece.split(b"\n")
            for end in whole:
                yield b"".join([*pieces, end, b"\n"])
                pieces, size = [], 0
            if rest:
                pieces.append(rest)
                size += len(rest)
            if size > LONGEST:
                raise self._refused(f"line {self._line + 1} is longer than any can be")
        if pieces:
            raise self._refused(f"it ends within line {self._line + 1}")

    def _unpacked(self) -> Iterator[bytes]:
        self._sealed_with = None
        unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
        try:
            self._file.seek(0)
            while piece := self._file.read(_PIECE):
                if unpacker.eof:
                    raise self._refused("something follows its end")
                try:
                    yield unpacker.decompress(piece)
                except zstandard.ZstdError:
                    near = self._file.tell() - len(piece)
                    raise self._refused(f"it is no zstd stream any more near byte {near:,}") from None
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}") from error
        if unpacker.unused_data:
            raise self._refused("something follows its end")
        if not unpacker.eof:
            raise self._refused(
                f"it ends after byte {self._file.tell():,}, before its end: a part is missing"
            )

    def _refused(self, why: str) -> ArchiveRefused:
        return ArchiveRefused(
            f"{self.path} is damaged, or no archive of a history: {why}. Nothing was changed"
        )


class _Order:
    """What may follow what. Devices, texts and versions are sorted, so that none comes twice."""

    _RANK = {Header: 0, Device: 1, Text: 2, ArchivedVersion: 3, End: 4}  # noqa: RUF012 - never changed

    def __init__(self) -> None:
        self.ended = False
        self._rank = -1
        self._counts = [0] * 5
        self._last: tuple[object, ...] = ()
        self._names: set[str] = set()
        self._balance = Balance()

    def follow(self, line: Line, digest: bytes) -> None:
        rank = self._RANK[type(line)]
        if rank < self._rank or self.ended or (self._rank < 0) is not (rank == 0) or rank == self._rank == 0:
            raise Misfit("is out of order")
        self._counts[rank] += 1
        key: tuple[object, ...]
        match line:
            case Device():
                key = (line.name,)
                self._names.add(line.name)
            case Text():
                key = (line.sha256,)
                self._balance.text(line.sha256, line.uses)
            case ArchivedVersion():
                key = (line.device, line.kind, line.number)
                self._balance.version(line.sha256)
                if line.device not in self._names:
                    raise Misfit("is of a device that is not in it")
            case End():
                key = ()
                self._end(line, digest)
            case Header():
                key = ()
        if rank == self._rank and not self._last < key:
            raise Misfit("is out of order")
        self._rank, self._last = rank, key

    def _end(self, line: End, digest: bytes) -> None:
        if [line.devices, line.texts, line.versions] != self._counts[1:4]:
            raise Misfit("counts something else than there is")
        if line.sha256 != digest:
            raise Misfit("has another digest than what comes before it")
        if not self._balance.even:
            raise Misfit("follows versions without their texts, or texts without versions")
        self.ended = True
