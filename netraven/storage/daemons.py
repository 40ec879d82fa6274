"""Who serves this database: one daemon, or several where they were told so."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.errors import InputError
from netraven.model import DaemonSeen
from netraven.plain import plain_line
from netraven.storage.clock import shared_now
from netraven.storage.engine import Database
from netraven.storage.owner import current_owner, lives
from netraven.storage.schema import daemons

SILENCE = timedelta(seconds=90)
"""How long a daemon on another host may give no sign of life before it is taken for dead."""


class SqlDaemons:
    """Daemons in a database."""

    def __init__(self, database: Database, *, owner: str | None = None) -> None:
        """``owner`` is this process unless a test says otherwise."""
        self._database = database
        self._owner = owner or current_owner()

    async def register(self, state: Mapping[str, Any], *, several: bool = False) -> DaemonSeen:
        """Serve this database from now on. Daemons that have died are forgotten.

        Raises ``InputError`` where another one serves it, unless ``several`` may (PostgreSQL only).
        """
        async with self._database.writing() as connection:
            now = await shared_now(connection)
            if not self._database.is_sqlite:  # two that begin at once must not both find nobody
                await connection.execute(text("LOCK TABLE daemons IN SHARE ROW EXCLUSIVE MODE"))
            for other in await _living(connection, now):
                if other.owner == self._owner or not several or self._database.is_sqlite:
                    raise InputError(self._taken(other, now))
            row = {
                "owner": self._owner,
                "host": socket.gethostname(),
                "started_at": now,
                "heartbeat_at": now,
                "state": dict(state),
            }
            return _seen((await connection.execute(insert(daemons).values(row).returning(daemons))).one())

    async def heartbeat(self, daemon: DaemonSeen, state: Mapping[str, Any]) -> bool:
        """Give a sign of life; False: this daemon was taken for dead meanwhile, and has to :meth:`register` again."""
        async with self._database.writing() as connection:
            mine = update(daemons).where(daemons.c.id == daemon.id)
            values = {"heartbeat_at": await shared_now(connection), "state": dict(state)}
            return bool((await connection.execute(mine.values(values))).rowcount)

    async def leave(self, daemon: DaemonSeen) -> None:
        async with self._database.writing() as connection:
            await connection.execute(delete(daemons).where(daemons.c.id == daemon.id))

    async def living(self) -> Sequence[DaemonSeen]:
        """In the order of their start."""
        async with self._database.reading() as connection:
            now = await shared_now(connection)
            rows = await connection.execute(select(daemons).order_by(daemons.c.id))
            return [_seen(row) for row in rows if not _is_dead(row, now)]

    def _taken(self, other: Row[Any], now: datetime) -> str:
        since = f"{other.started_at:%Y-%m-%d %H:%M:%S} UTC"
        sign = f"its last sign of life {max(0, round((now - other.heartbeat_at).total_seconds()))} s ago"
        who = f"process {other.owner.split('/')[-2]} on {plain_line(other.host)}"
        end = (
            "a SQLite file has one daemon only: stop that one first"
            if self._database.is_sqlite
            else "stop that one first, or allow several with daemon.several = true for each of them"
        )
        return f"database {self._database.shown} is served already: {who}, since {since}, {sign}. {end}"


async def _living(connection: AsyncConnection, now: datetime) -> Sequence[Row[Any]]:
    """Those that live; the others are forgotten."""
    rows = (await connection.execute(select(daemons).order_by(daemons.c.id))).all()
    dead = [row.id for row in rows if _is_dead(row, now)]
    if dead:
        await connection.execute(delete(daemons).where(daemons.c.id.in_(dead)))
    return [row for row in rows if row.id not in dead]


def _is_dead(row: Row[Any], now: datetime) -> bool:
    alive = lives(row.owner)
    return now - row.heartbeat_at > SILENCE if alive is None else not alive


def _seen(row: Row[Any]) -> DaemonSeen:
    return DaemonSeen(row.id, row.owner, row.host, row.started_at, row.heartbeat_at, dict(row.state))
