"""Work on much of the database in short transactions, with room between them for those who collect."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.ports import Sleep
from netraven.storage.engine import Database

T = TypeVar("T")

ROWS = 200
"""Rows that are written in one transaction: some 10 ms."""
_LONGEST_PAUSE = 0.25


class Turns:
    """Transactions one after the other. SQLite has one writer at a time: after each turn as long a pause is made, so
    that others have half of the time.
    """

    def __init__(self, database: Database, sleep: Sleep = asyncio.sleep) -> None:
        self.database = database
        self._sleep = sleep

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[AsyncConnection]:
        """One transaction, made durable at the end of the block. Cancelling undoes it, and none before."""
        async with self.database.writing() as connection:
            began = time.monotonic()
            yield connection
        await self._sleep(min(time.monotonic() - began, _LONGEST_PAUSE))


def slices(rows: Sequence[T], size: int = ROWS) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
