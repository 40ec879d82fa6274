"""Previous secrets that are kept as a fallback for a time, as they were sealed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.storage.schema import credential_versions, credentials
from netraven.storage.seals import COLUMNS

_KEPT = credential_versions.c


async def keep(connection: AsyncConnection, row: Row[Any], until: datetime) -> None:
    """Keep the secret of a row of ``credentials``, which is about to be replaced."""
    sealed = {column: getattr(row, column) for column in COLUMNS.values()}
    values = {
        "credential_id": row.id,
        "secret_version": row.secret_version,
        "username": row.username,
        "kept_until": until,
        **sealed,
    }
    await connection.execute(insert(credential_versions).values(values))


async def expire(connection: AsyncConnection, now: datetime) -> None:
    """Delete what is kept no longer."""
    await connection.execute(delete(credential_versions).where(_KEPT.kept_until <= now))


async def forget(connection: AsyncConnection, credential_id: int) -> None:
    """Delete every previous secret of a credential."""
    await connection.execute(delete(credential_versions).where(_KEPT.credential_id == credential_id))


async def unexpired(connection: AsyncConnection, now: datetime, *columns: str) -> Sequence[Row[Any]]:
    """Rows of ``columns``, with their credential's ``id`` and ``uid``: the newest version first."""
    statement = (
        select(credentials.c.id, credentials.c.uid, *(_KEPT[name] for name in columns))
        .join(credentials, credentials.c.id == _KEPT.credential_id)
        .where(_KEPT.kept_until > now)
        .order_by(_KEPT.credential_id, _KEPT.secret_version.desc())
    )
    return (await connection.execute(statement)).all()


async def any_expired(connection: AsyncConnection, now: datetime) -> bool:
    """Whether anything is kept no longer: looking first spares every run a write."""
    statement = select(_KEPT.credential_id).where(_KEPT.kept_until <= now).limit(1)
    return (await connection.execute(statement)).first() is not None
