"""Taking away what is too old, in short transactions, while others collect (``netraven prune``).

Each transaction leaves the database whole: whatever ends a prune, the next one carries on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Table, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.history.retention import Limits
from netraven.storage import expiry
from netraven.storage.schema import blobs, snapshots
from netraven.storage.turns import ROWS, Turns, slices
from netraven.storage.types import padded

Progress = Callable[[str, int], None]
"""What is being done, and how much of it is by now."""


@dataclass(slots=True)
class Pruned:
    """What went, or would go. ``bytes`` as stored."""

    versions: int = 0
    devices: int = 0
    texts: int = 0
    bytes: int = 0
    logs: dict[str, int] = field(default_factory=dict)
    """Rows by table."""


def nobody_listens(_: str, __: int) -> None:
    pass


class Pruning:
    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._database = turns.database

    async def preview(self, limits: Limits, log_days: float, now: datetime) -> tuple[Pruned, expiry.Staying]:
        """What :meth:`run` would take away at this moment, and what stays of outputs that lose versions."""
        found, devices, staying = Pruned(), set(), {}
        async for expired in expiry.versions(self._database, limits, now):
            found.versions += len(expired.ids)
            devices.add(expired.output[0])
            staying[expired.output] = expired.staying
        found.devices = len(devices)
        found.texts, found.bytes = await expiry.texts_to_go(self._database, staying)
        for log in expiry.logs(now, log_days):
            found.logs[log.name] = 0
            async for ids in expiry.old_rows(self._database, log):
                found.logs[log.name] += len(ids)
        return found, staying

    async def run(
        self, limits: Limits, log_days: float, now: datetime, progress: Progress = nobody_listens
    ) -> Pruned:
        """Take away versions beyond ``limits``, texts that nobody has, and logs older than ``log_days`` (0: none)."""
        done, devices = Pruned(), set()
        waiting: list[int] = []
        async for expired in expiry.versions(self._database, limits, now):
            devices.add(expired.output[0])
            waiting += expired.ids
            while len(waiting) >= ROWS:
                done.versions += await self._versions(waiting[:ROWS])
                del waiting[:ROWS]
                progress("versions removed", done.versions)
        if waiting:
            done.versions += await self._versions(waiting)
        done.devices = len(devices)
        async for digests in expiry.unused_texts(self._database):
            for some in slices(digests):
                await self._texts(some, done)
                progress("texts removed", done.texts)
        for log in expiry.logs(now, log_days):
            done.logs[log.name] = 0
            async for ids in expiry.old_rows(self._database, log):
                for few in slices(ids):
                    done.logs[log.name] += await self._rows(log, few)
                    progress(f"rows of {log.name} removed", done.logs[log.name])
        return done

    async def _versions(self, ids: Sequence[int]) -> int:
        async with self._turns.turn() as connection:
            free = await _free(connection, snapshots, ids)
            statement = delete(snapshots).where(snapshots.c.id.in_(padded(free)), expiry.OUTDATED)
            return (await connection.execute(statement)).rowcount if free else 0

    async def _rows(self, log: expiry.Log, ids: Sequence[int]) -> int:
        async with self._turns.turn() as connection:
            free = await _free(connection, log.table, ids)
            statement = delete(log.table).where(log.table.c.id.in_(padded(free)))
            return (await connection.execute(statement)).rowcount if free else 0

    async def _texts(self, digests: Sequence[bytes], done: Pruned) -> None:
        """Remove texts, and those that only they differed from."""
        async with self._turns.turn() as connection:
            bases = await self._unused(connection, digests, done)
            if bases:
                await self._unused(connection, bases, done)

    async def _unused(
        self, connection: AsyncConnection, digests: Sequence[bytes], done: Pruned
    ) -> Sequence[bytes]:
        """Remove those that nobody has; what they differed from.

        On PostgreSQL somebody may be about to point to one of them. He has it locked by then (``blobs.hold``), and it
        is passed over; or it is locked here first, and he waits, finds it gone and stores it anew. Only what is asked
        in a statement after the lock sees all that was committed before it.
        """
        locked = (
            select(blobs.c.sha256, blobs.c.base, func.length(blobs.c.data).label("bytes"))
            .where(blobs.c.sha256.in_(padded(digests)))
            .with_for_update(skip_locked=True)
        )
        rows = {bytes(row.sha256): row for row in await connection.execute(locked)}
        if not rows:
            return []
        statement = (
            delete(blobs).where(blobs.c.sha256.in_(padded(rows)), *expiry.UNUSED).returning(blobs.c.sha256)
        )
        gone = [rows[bytes(digest)] for digest in (await connection.execute(statement)).scalars()]
        done.texts += len(gone)
        done.bytes += sum(row.bytes for row in gone)
        return sorted({bytes(row.base) for row in gone if row.base is not None})


async def _free(connection: AsyncConnection, table: Table, ids: Sequence[int]) -> Sequence[Any]:
    """Those that nobody else works on: a prune waits for nobody, so nobody can wait for it in a circle."""
    statement = select(table.c.id).where(table.c.id.in_(padded(ids))).with_for_update(skip_locked=True)
    return (await connection.execute(statement)).scalars().all()
