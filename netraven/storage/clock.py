"""The clock that several processes on one database go by."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.model import utcnow


async def shared_now(connection: AsyncConnection) -> datetime:
    """The time by which signs of life, leases and claims are told: the server's, or this machine's where all are on it.

    Hosts whose own clocks differ would take each other for dead.
    """
    if connection.dialect.name == "sqlite":
        return utcnow()
    now: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    return now
