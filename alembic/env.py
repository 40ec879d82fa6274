"""Runs migrations for alembic: over the connection that NetRaven hands in, or over one of its own.

Logging is left alone: whoever calls has set it up.
"""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy.engine import Connection

from netraven.storage.engine import Database
from netraven.storage.schema import metadata
from netraven.storage.urls import locate


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        render_as_batch=connection.dialect.name == "sqlite",  # SQLite alters a table by building it anew
    )
    with context.begin_transaction():
        context.run_migrations()


async def _run_alone(url: str) -> None:
    database = Database(locate(url))
    try:
        async with database.writing() as connection:
            await connection.run_sync(_run)
    finally:
        await database.close()


if context.is_offline_mode():
    raise SystemExit("migrations need the database at hand: SQL scripts are not written out")
if (given := context.config.attributes.get("connection")) is not None:
    _run(given)
else:
    asyncio.run(_run_alone(context.config.get_main_option("sqlalchemy.url") or ""))
