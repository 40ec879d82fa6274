"""Notices that a source gives another secret than it gave last, without keeping the secret.

With each credential that has a source stands a keyed digest of what the source gave (``Keyring.mark``). Another digest
under the same key means another secret: a new version, as if it had been stored with `credential update`. Without a
keyring no mark is kept, and a changed secret goes by the version of the old one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import Row, select, update

from netraven.credentials.sealing import Keyring
from netraven.errors import KeyringError, SecretUnreadable
from netraven.events import events
from netraven.model import Secret, utcnow
from netraven.storage.engine import Database
from netraven.storage.schema import credentials
from netraven.storage.seals import COLUMNS, Seals

AT_ONCE = 16
"""Sources that are read at the same time."""

Read = Callable[[str], Awaitable[Secret]]

_log = events("netraven.storage")


def fits(keyring: Keyring, row: Row[Any], secret: Secret) -> bool:
    """Whether the mark of ``row`` is that of ``secret``, or cannot be told for want of its key."""
    return keyring.marked(bytes(row.source_mark), *_marked(row, secret)) is not False


async def notice_changes(database: Database, seals: Seals, read: Read) -> None:
    """Read every source once; give credentials whose secret has changed the next version, and store the marks."""
    if seals.keyring is None:
        return
    async with database.reading() as connection:
        statement = select(credentials).where(credentials.c.source.is_not(None)).order_by(credentials.c.id)
        rows = (await connection.execute(statement)).all()
    limit = asyncio.Semaphore(AT_ONCE)

    async def look(row: Row[Any]) -> None:
        try:
            async with limit:
                secret = await read(row.source)
        except SecretUnreadable:
            return  # whoever needs it will say so
        try:
            await _compare(database, seals, row, secret)
        except (SecretUnreadable, KeyringError) as error:
            _log.warning("source_not_compared", credential=row.name, error=str(error))

    try:
        async with asyncio.TaskGroup() as looking:
            for row in rows:
                looking.create_task(look(row))
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


async def _compare(database: Database, seals: Seals, row: Row[Any], secret: Secret) -> None:
    keyring = seals.keyring
    if keyring is None:
        return
    mark = keyring.mark(*_marked(row, secret))
    if row.source_mark == mark:
        return
    same = row.source_mark is None or fits(keyring, row, secret)
    columns = credentials.c
    unchanged = (
        columns.id == row.id,
        columns.secret_version == row.secret_version,
        columns.source == row.source,
    )
    async with database.writing() as connection:
        # Another process may have noticed the same: then the version has moved on, and this one has nothing to add.
        statement = select(credentials).where(*unchanged).with_for_update()
        now = (await connection.execute(statement)).first()
        if now is None or now.source_mark != row.source_mark:
            return
        changes: dict[str, Any] = {"source_mark": mark}
        if not same:
            version = row.secret_version + 1
            changes |= {"secret_version": version, "updated_at": utcnow()}
            if any(getattr(now, column) is not None for column in COLUMNS.values()):
                changes |= seals.seal(seals.open(now), now.uid, version)
        await connection.execute(update(credentials).where(*unchanged).values(changes))
    if not same:
        _log.info("source_secret_changed", credential=row.name, version=row.secret_version + 1)


def _marked(row: Row[Any], secret: Secret) -> tuple[str, str]:
    """What is marked: the secret, bound to its credential, so that two that share one do not show it."""
    if secret.private_key is not None:
        value = f"key:{secret.private_key}"
    else:
        value = f"agent:{secret.agent}" if secret.password is None else f"password:{secret.password}"
    return value, f"credential:{row.uid}"
