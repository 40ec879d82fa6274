"""Making old texts small (``netraven prune``): each as the difference to another one.

A text that is in force nowhere is stored as the difference to a base, a text of the same output that is itself in full:
one further text has to be read, never a chain. The first old text is the base; a later one takes its place once the
differences to it have cost as much room as it takes itself, for they grow with every change. That is at most twice
what the best choice would have taken, whatever the future brings (as when to buy what one can rent).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.errors import DatabaseError
from netraven.storage import codecs, expiry
from netraven.storage.blobs import Opener, sealed, selected
from netraven.storage.codecs import BASE, DIFFERENCE, FULL
from netraven.storage.history_keys import HistoryKeys
from netraven.storage.pruning import Progress, nobody_listens
from netraven.storage.schema import blobs, snapshots
from netraven.storage.turns import ROWS, Turns, slices
from netraven.storage.types import padded

_AT_ONCE = 8 * 1024 * 1024
"""Bytes of texts that are held at once, and written with one transaction, where each is smaller than that."""

_SMALL = (
    update(blobs)
    .where(blobs.c.sha256 == bindparam("b_sha256"), blobs.c.codec == FULL)
    .values({name: bindparam(f"b_{name}") for name in ("codec", "data", "sealed", "base")})
)
_SEALED = (
    update(blobs)
    .where(
        blobs.c.sha256 == bindparam("b_sha256"),
        blobs.c.codec == bindparam("b_codec"),
        blobs.c.sealed.is_(False),
    )
    .values(data=bindparam("b_data"), sealed=True)
)
_PLACE = tuple_(snapshots.c.device_id, snapshots.c.kind, snapshots.c.version)


@dataclass(slots=True)
class Packed:
    """What was done. ``bytes`` as stored, of the texts that were made small or are what others differ from."""

    texts: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    sealed: int = 0
    """Texts that were in clear though they should not be."""
    unreadable: int = 0
    """Texts that cannot be read, and were left alone."""


@dataclass(frozen=True, slots=True)
class _Text:
    sha256: bytes
    data: bytes
    stored: int
    """Bytes as stored by now."""


@dataclass(frozen=True, slots=True)
class _Small:
    """How a text is to be stored; ``base`` None: in full, as what others differ from."""

    sha256: bytes
    base: bytes | None
    data: bytes
    before: int


class Series:
    """The texts of one output as they are made small, one after the other. No I/O."""

    def __init__(self) -> None:
        self.base: codecs.Base | None = None
        self.sha256 = b""
        self._whole = 0
        self._least = 0
        self._excess = 0

    def start(self, sha256: bytes, data: bytes) -> None:
        self.base, self.sha256 = codecs.Base(data), sha256
        self._whole, self._least, self._excess = len(codecs.packed(data)), 0, 0

    def resume(self, sha256: bytes, data: bytes, sizes: tuple[int, int, int]) -> None:
        """Go on with a base that differences are on record for: how many, their bytes in all, those of the least."""
        self.start(sha256, data)
        number, total, self._least = sizes
        self._excess = total - number * self._least

    def small(self, data: bytes) -> bytes | None:
        """The difference to the base; None where the text is better the next base."""
        if self.base is None or max(len(data), len(self.base.data)) > codecs.LARGEST:
            return None
        found = self.base.difference(data)
        if 2 * len(found) > len(codecs.packed(data)):
            return None
        least = min(self._least or len(found), len(found))
        excess = self._excess + len(found) - least
        if excess > self._whole:
            return None
        self._least, self._excess = least, excess
        return found


class Packing:
    def __init__(self, turns: Turns, keys: HistoryKeys) -> None:
        self._turns = turns
        self._database = turns.database
        self._keys = keys
        self._in_force: set[bytes] = set()
        self._unreadable: set[bytes] = set()

    async def preview(self, staying: expiry.Staying) -> int:
        """How many texts would be looked at, once versions before ``staying`` are gone."""
        digests: set[bytes] = set()
        self._in_force.clear()
        async for page in self._pages():
            digests |= {bytes(r.sha256) for r in page if r.version >= staying.get((r.device_id, r.kind), 0)}
        return len(digests)

    async def run(self, progress: Progress = nobody_listens) -> Packed:
        """Make small what is not yet. Raises ``KeyringError`` where texts are encrypted and there is no key."""
        self._keys.require_key()
        done = Packed()
        self._in_force.clear()
        self._unreadable.clear()
        await self._seal(done, progress)
        async for page in self._pages():
            outputs: dict[expiry.Output, list[Any]] = {}
            for row in page:
                outputs.setdefault((row.device_id, row.kind), []).append(row)
            waiting: list[_Small] = []
            for output, rows in outputs.items():
                async for some in self._output(output, rows):
                    waiting += some
                    if len(waiting) >= ROWS or sum(len(one.data) for one in waiting) > _AT_ONCE:
                        await self._write(waiting, done)
                        waiting = []
            if waiting:
                await self._write(waiting, done)
            progress("texts made small", done.texts)
        done.unreadable = len(self._unreadable)
        return done

    async def _pages(self) -> AsyncIterator[Sequence[Any]]:
        """Versions whose text is to be looked at: stored as it came, and in force nowhere."""
        columns = ("device_id", "kind", "version", "sha256")
        statement = (
            select(*(snapshots.c[name] for name in columns), blobs.c.size)
            .join(blobs, blobs.c.sha256 == snapshots.c.sha256)
            .where(blobs.c.codec == FULL, expiry.OUTDATED)
            .order_by(*_PLACE)
            .limit(ROWS)
        )
        async for span in expiry.device_spans(self._database):
            further, more = statement.where(*span), True
            while more:
                async with self._database.reading() as connection:
                    page = (await connection.execute(further)).all()
                    unknown = {bytes(row.sha256) for row in page} - self._in_force
                    self._in_force |= await _in_force(connection, unknown)
                wanted = [row for row in page if bytes(row.sha256) not in self._in_force]
                if wanted:
                    yield wanted
                more = len(page) == ROWS
                if more:
                    last = (page[-1].device_id, page[-1].kind, page[-1].version)
                    further = statement.where(*span, last < _PLACE)

    async def _output(self, output: expiry.Output, rows: Sequence[Any]) -> AsyncIterator[Sequence[_Small]]:
        """How the texts of one output are to be stored, some at a time."""
        series = Series()
        async with self._database.reading() as connection:
            await self._resume(connection, output, series)
        if series.base is None:
            rows = rows[::-1]  # what comes next is most like the newest
        for some in _portions(rows):
            async with self._database.reading() as connection:
                texts = await self._read(connection, some)
            yield await asyncio.to_thread(_small, series, texts)

    async def _resume(self, connection: AsyncConnection, output: expiry.Output, series: Series) -> None:
        """Go on where the newest of the texts of this output was left that is small already."""
        newest = (
            select(func.coalesce(blobs.c.base, blobs.c.sha256))
            .join(snapshots, snapshots.c.sha256 == blobs.c.sha256)
            .where(
                snapshots.c.device_id == output[0],
                snapshots.c.kind == output[1],
                blobs.c.codec.in_([BASE, DIFFERENCE]),
            )
            .order_by(snapshots.c.version.desc())
            .limit(1)
        )
        found = (await connection.execute(newest)).scalar_one_or_none()
        if found is None:
            return
        texts = await self._read_digests(connection, [bytes(found)])
        size = func.length(blobs.c.data)
        sizes = select(func.count(), func.coalesce(func.sum(size), 0), func.coalesce(func.min(size), 0))
        counted = (await connection.execute(sizes.where(blobs.c.base == found))).one()
        if texts:
            series.resume(bytes(found), texts[0].data, (int(counted[0]), int(counted[1]), int(counted[2])))

    async def _read(self, connection: AsyncConnection, rows: Sequence[Any]) -> Sequence[_Text]:
        digests = list(dict.fromkeys(bytes(row.sha256) for row in rows))
        found = {text.sha256: text for text in await self._read_digests(connection, digests)}
        return [found[digest] for digest in digests if digest in found]

    async def _read_digests(self, connection: AsyncConnection, digests: Sequence[bytes]) -> list[_Text]:
        opener = Opener(connection, self._keys)
        texts = []
        for row in (await connection.execute(selected(digests))).all():
            digest = bytes(row.sha256)
            try:
                data = await opener.text(row, f"the text {digest.hex()}")
            except DatabaseError:
                self._unreadable.add(digest)
            else:
                texts.append(_Text(digest, data, len(row.data)))
        return texts

    async def _write(self, texts: Sequence[_Small], done: Packed) -> None:
        """Store texts anew where they are still as they were read, and what they differ from is still there."""
        for some in slices(texts):
            async with self._turns.turn() as connection:
                keyring = await self._keys.sealing(connection)
                wanted = {one.sha256 for one in some} | {one.base for one in some if one.base is not None}
                locked = select(blobs.c.sha256, blobs.c.codec).where(
                    blobs.c.sha256.in_(padded(sorted(wanted)))
                )
                found = await connection.execute(locked.with_for_update(skip_locked=True))
                codec = {bytes(row.sha256): row.codec for row in found}
                rows = []
                for one in some:
                    if codec.get(one.sha256) != FULL or (
                        one.base is not None and codec.get(one.base) != BASE
                    ):
                        continue
                    codec[one.sha256] = BASE if one.base is None else DIFFERENCE
                    data = sealed(one.data, one.sha256, keyring)
                    rows.append(
                        {
                            "b_sha256": one.sha256,
                            "b_codec": codec[one.sha256],
                            "b_data": data,
                            "b_sealed": keyring is not None,
                            "b_base": one.base,
                        }
                    )
                    done.texts += 1
                    done.bytes_before += one.before
                    done.bytes_after += len(data)
                if rows:
                    await connection.execute(_SMALL, rows)

    async def _seal(self, done: Packed, progress: Progress) -> None:
        """Encrypt what is still in clear, where texts are to be encrypted: databases of the time before that."""
        if not self._keys.encrypt:
            return
        async for span in expiry.text_spans(self._database):
            clear = select(blobs.c.sha256).where(blobs.c.sealed.is_(False), *span).order_by(blobs.c.sha256)
            async with self._database.reading() as connection:
                found = (await connection.execute(clear)).scalars().all()
            for digests in slices(found):
                done.sealed += await self._seal_some(digests)
                progress("texts encrypted", done.sealed)

    async def _seal_some(self, digests: Sequence[bytes]) -> int:
        columns = (blobs.c.sha256, blobs.c.codec, blobs.c.data)
        async with self._database.reading() as connection:
            statement = select(*columns).where(blobs.c.sha256.in_(padded(digests)))
            rows = (await connection.execute(statement)).all()
        if not rows:
            return 0
        async with self._turns.turn() as connection:
            keyring = await self._keys.sealing(connection)
            changes = [
                {
                    "b_sha256": bytes(row.sha256),
                    "b_codec": row.codec,
                    "b_data": sealed(bytes(row.data), bytes(row.sha256), keyring),
                }
                for row in rows
            ]
            await connection.execute(_SEALED, changes)
        return len(rows)


async def _in_force(connection: AsyncConnection, digests: set[bytes]) -> set[bytes]:
    """Those that are the latest version of some output."""
    if not digests:
        return set()
    statement = (
        select(snapshots.c.sha256)
        .where(snapshots.c.sha256.in_(padded(sorted(digests))), ~expiry.OUTDATED)
        .distinct()
    )
    return {bytes(digest) for digest in (await connection.execute(statement)).scalars()}


def _portions(rows: Sequence[Any]) -> Sequence[Sequence[Any]]:
    portions: list[list[Any]] = []
    size = 0
    for row in rows:
        if not portions or size + row.size > _AT_ONCE:
            portions.append([])
            size = 0
        portions[-1].append(row)
        size += row.size
    return portions


def _small(series: Series, texts: Sequence[_Text]) -> Sequence[_Small]:
    found = []
    for text in texts:
        data = series.small(text.data)
        if data is None:
            series.start(text.sha256, text.data)
            found.append(_Small(text.sha256, None, codecs.packed(text.data), text.stored))
        else:
            found.append(_Small(text.sha256, series.sha256, data, text.stored))
    return found
