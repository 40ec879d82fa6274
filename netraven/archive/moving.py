"""A history into an archive, and an archive into a history."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from netraven.archive.files import Archive, Writer
from netraven.archive.lines import ArchivedVersion, End, Form, Header, Line, Text, key_identity
from netraven.credentials.sealing import Keyring
from netraven.model import Device, Selector, StoredVersion
from netraven.storage.archives import Past, SqlArchives
from netraven.storage.importing import PORTION, Added, Incoming, TextsGone

AT_ONCE = 200
"""Lines that are made or read together, out of the event loop."""
_BYTES = 4 * 1024 * 1024
"""Bytes of texts that are stored with one transaction."""

Progress = Callable[[str, int], None]
"""What is being done, and how much of it is by now."""
Redact = Callable[[StoredVersion], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Exported:
    devices: int
    texts: int
    versions: int
    bytes: int


@dataclass(slots=True)
class Imported:
    """What came in, or would. ``known`` versions were there, or said nothing new."""

    devices: int = 0
    """Those that were not in the inventory."""
    versions: int = 0
    known: int = 0
    skipped: list[str] = field(default_factory=list)
    """Devices that are not in the inventory and were not to be made."""


def _nobody_listens(_: str, __: int) -> None:
    pass


# ---- out


@dataclass(frozen=True, slots=True)
class Export:
    """What goes into an archive, and how. ``keyring`` seals it; ``redact`` makes texts fit to be given away."""

    archives: SqlArchives
    selector: Selector
    form: Form
    at: datetime
    keyring: Keyring | None = field(default=None, repr=False)
    redact: Redact | None = None

    async def write(
        self, path: Path, *, force: bool = False, progress: Progress = _nobody_listens
    ) -> Exported:
        """Raises ``InputError``, ``DatabaseError``, ``KeyringError``; then there is no file."""
        header, sealing = self._header()
        with Writer(path, header, sealing, force=force) as writer:
            async with self.archives.reading(self.selector) as past:
                waiting: list[Line] = []
                async for line in self._lines(past):
                    waiting.append(line)
                    if len(waiting) >= AT_ONCE or (
                        isinstance(line, Text) and len(line.data) > _BYTES // AT_ONCE
                    ):
                        await asyncio.to_thread(writer.write, waiting)
                        waiting = []
                        progress("texts written", writer.texts)
                await asyncio.to_thread(writer.write, waiting)
            size = await asyncio.to_thread(writer.finish)
            return Exported(writer.devices, writer.texts, writer.versions, size)

    def _header(self) -> tuple[Header, Keyring | None]:
        if self.form is not Form.SEALED:
            return Header(self.at, self.form), None
        assert self.keyring is not None  # noqa: S101 - whoever wants it sealed has the key
        key = os.urandom(32)
        sealed = self.keyring.seal_bytes(key, key_identity(self.form))
        return Header(self.at, self.form, sealed), Keyring([key])

    async def _lines(self, past: Past) -> AsyncIterator[Line]:
        chosen = []
        async for device in past.devices():
            chosen.append(device)
            yield device
        async for text in self._texts(past):
            yield text
        for device in chosen:
            async for version in self._versions(past, device):
                yield version

    async def _texts(self, past: Past) -> AsyncIterator[Text]:
        """Each once: those of several platforms come one after the other, and differ at most in what is hidden."""
        held: dict[bytes, Text] = {}
        of = ""
        async for stored, uses in past.texts():
            if stored.version.sha256 != of:
                for text in held.values():
                    yield text
                held, of = {}, stored.version.sha256
            data = await self._data(stored)
            digest = hashlib.sha256(data).digest()
            before = held[digest].uses if digest in held else 0
            held[digest] = Text(digest, data, before + uses)
        for text in held.values():
            yield text

    async def _data(self, stored: StoredVersion) -> bytes:
        text = stored.text if self.redact is None else await self.redact(stored)
        return text.encode("utf-8", "surrogateescape")

    async def _versions(self, past: Past, device: Device) -> AsyncIterator[ArchivedVersion]:
        rows = await past.versions(device)
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            stored = {} if self.redact is None else await past.read([row.id for row in some])
            for row in some:
                sha256, comparable = bytes(row.sha256), row.comparable
                if (
                    self.redact is not None
                ):  # a digest of the whole text would tell a short secret to whoever guesses
                    sha256, comparable = hashlib.sha256(await self._data(stored[row.id])).digest(), None
                yield ArchivedVersion(
                    device.name,
                    row.kind,
                    row.version,
                    sha256,
                    row.platform,
                    row.first_seen_at,
                    max(row.first_seen_at, row.last_seen_at),
                    None if comparable is None else bytes(comparable),
                    row.run_id,
                )


# ---- in


@dataclass(frozen=True, slots=True)
class Import:
    """``keyring``: this installation's, where it has one. ``existing_only``: make no devices."""

    archives: SqlArchives
    keyring: Keyring | None = field(default=None, repr=False)
    existing_only: bool = False
    dry_run: bool = False

    async def read(self, path: Path, progress: Progress = _nobody_listens) -> Imported:
        """Look the whole archive over, then put it in. Whatever ends that, the same import again carries on.

        Raises ``InputError`` and ``KeyringError`` with nothing changed; ``DatabaseError``.
        """
        with Archive.open(path) as archive:
            checked = 0
            async for some in _portions(archive.lines(self.keyring)):
                checked += len(some)
                progress("lines checked", checked)
            return await self._write(archive, progress)

    async def _write(self, archive: Archive, progress: Progress) -> Imported:
        done = Imported()
        ids: dict[str, int | None] = {}
        pending: list[ArchivedVersion] = []
        texts: list[Text] = []
        histories = _Histories()
        async for some in _portions(archive.lines(self.keyring)):
            await self._devices([line for line in some if isinstance(line, Device)], ids, done)
            texts += [line for line in some if isinstance(line, Text)]
            if texts and (sum(len(text.data) for text in texts) > _BYTES or not isinstance(some[-1], Text)):
                await self._texts(texts)
                texts = []
            pending += [line for line in some if isinstance(line, ArchivedVersion)]
            whole, pending = _whole(pending, last=isinstance(some[-1], End))
            await self._versions(archive, whole, ids, histories, done)
            progress("versions imported", done.versions)
        return done

    async def _devices(self, found: Sequence[Device], ids: dict[str, int | None], done: Imported) -> None:
        if not found:
            return
        there = await self.archives.known([device.name for device in found])
        new = [device for device in found if device.name not in there]
        if self.existing_only:
            done.skipped += [device.name for device in new]
        else:
            done.devices += len(new)
            if self.dry_run:
                ids.update((device.name, None) for device in new)
            elif new:
                there |= await self.archives.create(new)
        ids.update(there)

    async def _texts(self, texts: Sequence[Text]) -> None:
        if not self.dry_run:
            for start in range(0, len(texts), AT_ONCE):
                some = texts[start : start + AT_ONCE]
                await self.archives.store_texts([(text.sha256, text.data) for text in some])

    async def _versions(
        self,
        archive: Archive,
        groups: Sequence[Sequence[ArchivedVersion]],
        ids: dict[str, int | None],
        histories: _Histories,
        done: Imported,
    ) -> None:
        for group in groups:
            first = group[0]
            if first.device not in ids:
                continue
            for start in range(0, len(group), PORTION):
                some = [histories.incoming(one) for one in group[start : start + PORTION]]
                added = await self._merge(archive, ids[first.device], first.kind, some)
                done.versions += added.added
                done.known += added.known

    async def _merge(
        self, archive: Archive, device_id: int | None, kind: str, some: Sequence[Incoming]
    ) -> Added:
        """A prune may take texts away before anything points to them: then they are read once more."""
        try:
            return await self.archives.merge(device_id, kind, some, dry_run=self.dry_run)
        except TextsGone:
            contents = await self._texts_again(archive.path, {one.sha256 for one in some})
        return await self.archives.merge(device_id, kind, some, contents, dry_run=self.dry_run)

    async def _texts_again(self, path: Path, wanted: set[bytes]) -> dict[bytes, bytes]:
        """Store every text again, but for those that are ``wanted`` at once."""
        contents: dict[bytes, bytes] = {}
        with Archive.open(path) as archive:
            async for some in _portions(archive.lines(self.keyring)):
                texts = [line for line in some if isinstance(line, Text)]
                contents |= {text.sha256: text.data for text in texts if text.sha256 in wanted}
                await self._texts([text for text in texts if text.sha256 not in wanted])
                if isinstance(some[-1], ArchivedVersion):
                    break
        return contents


def _whole(
    pending: Sequence[ArchivedVersion], *, last: bool
) -> tuple[Sequence[Sequence[ArchivedVersion]], list[ArchivedVersion]]:
    """Outputs that are complete, and parts of long ones; and what is left, which has more to come."""
    groups = [list(group) for _, group in itertools.groupby(pending, key=lambda v: (v.device, v.kind))]
    left = [] if last or not groups else groups.pop()
    while len(left) >= PORTION:
        groups.append(left[:PORTION])
        left = left[PORTION:]
    return groups, left


class _Histories:
    """Gives each version what went before it in its own history, in whichever portions they come."""

    def __init__(self) -> None:
        self._output: tuple[str, str] | None = None
        self._before: Incoming | None = None

    def incoming(self, one: ArchivedVersion) -> Incoming:
        if self._output != (one.device, one.kind):
            self._output, self._before = (one.device, one.kind), None
        before, placed_at, follows = self._before, one.first_seen_at, None
        if before is not None:
            placed_at = max(placed_at, before.placed_at or before.first_seen_at)
            follows = (before.first_seen_at, before.sha256)
        self._before = Incoming(
            one.first_seen_at,
            one.last_seen_at,
            one.sha256,
            one.comparable,
            one.platform,
            one.number,
            placed_at,
            follows,
        )
        return self._before


async def _portions(lines: Iterator[Line]) -> AsyncIterator[Sequence[Line]]:
    """Lines some at a time, made in a thread: opening a thousand texts takes a second."""
    while some := await asyncio.to_thread(_next, lines):
        yield some


def _next(lines: Iterator[Line]) -> Sequence[Line]:
    found: list[Line] = []
    size = 0
    for line in lines:
        found.append(line)
        size += len(line.data) if isinstance(line, Text) else 0
        if len(found) >= AT_ONCE or size > _BYTES:
            break
    return found
