"""The guard book in a database (``ports.GuardBook``): one row for each account, driven by one guard at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.credentials.lockout import CONTROL_LOGIN
from netraven.model import utcnow
from netraven.storage.clock import shared_now
from netraven.storage.engine import Database
from netraven.storage.owner import lives
from netraven.storage.schema import credential_attempts, lockout_accounts, realm_pauses

Account = tuple[str, str]

CLAIM_LASTS = timedelta(seconds=3)
"""A guard that still waits for an account asks again more often than this."""


class SqlGuardBook:
    """What guards know of accounts, and who drives which."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, account: Account, holder: str, lease: float) -> dict[str, Any] | None:
        async with self._database.writing() as connection:
            now = await shared_now(connection)
            row = await _locked(connection, account)
            if row is None:
                row = await _created(connection, account)
            gone = row.holder is not None and row.holder != holder and _gone(row, now)
            if row.holder not in (None, holder) and not gone:
                await connection.execute(update(lockout_accounts).where(_is(account)).values(claimed_at=now))
                return None
            state = dict(row.state)
            if gone:  # written down at once: this holder may die too, before it first writes by itself
                left = await _left_behind(connection, account, row)
                state["since"] = [*state.get("since", ()), *left]
            await connection.execute(
                update(lockout_accounts)
                .where(_is(account))
                .values(
                    state=state,
                    holder=holder,
                    lease_until=now + timedelta(seconds=lease),
                    claimed_at=None,
                    saved_at=utcnow(),
                )
            )
            return state

    async def keep(self, account: Account, holder: str, state: dict[str, Any], lease: float | None) -> bool:
        values: dict[str, Any] = {"state": state, "saved_at": utcnow()}
        mine = update(lockout_accounts).where(_is(account), lockout_accounts.c.holder == holder)
        async with self._database.writing() as connection:
            if lease is None:
                values |= {"holder": None, "lease_until": None}
            else:
                values |= {"lease_until": await shared_now(connection) + timedelta(seconds=lease)}
            return bool((await connection.execute(mine.values(values))).rowcount)

    async def claimed(self, holder: str) -> Sequence[Account]:
        async with self._database.reading() as connection:
            since = await shared_now(connection) - CLAIM_LASTS
            waited_for = select(lockout_accounts.c.realm, lockout_accounts.c.username).where(
                lockout_accounts.c.holder == holder, lockout_accounts.c.claimed_at > since
            )
            return [(row.realm, row.username) for row in await connection.execute(waited_for)]

    async def pauses(self) -> Mapping[str, dict[str, Any]]:
        async with self._database.reading() as connection:
            return {row.realm: dict(row.state) for row in await connection.execute(select(realm_pauses))}

    async def pause(self, realm: str, state: dict[str, Any] | None) -> None:
        async with self._database.writing() as connection:
            if state is None:
                await connection.execute(delete(realm_pauses).where(realm_pauses.c.realm == realm))
                return
            dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
            row = dialect.insert(realm_pauses).values(realm=realm, state=state)
            await connection.execute(
                row.on_conflict_do_update(index_elements=["realm"], set_={"state": row.excluded.state})
            )

    # ---- for commands

    async def states(self) -> Mapping[Account, dict[str, Any]]:
        """Every account's state as it was last written."""
        async with self._database.reading() as connection:
            rows = await connection.execute(select(lockout_accounts))
            return {(row.realm, row.username): dict(row.state) for row in rows}

    async def change(self, account: Account, state: dict[str, Any]) -> bool:
        """Put another state in place where nobody drives the account; False where somebody does."""
        async with self._database.writing() as connection:
            now = await shared_now(connection)
            row = await _locked(connection, account)
            if row is None or (row.holder is not None and not _gone(row, now)):
                return row is None
            values = {"state": state, "saved_at": utcnow(), "holder": None, "lease_until": None}
            await connection.execute(update(lockout_accounts).where(_is(account)).values(values))
            return True


def _is(account: Account) -> ColumnElement[bool]:
    return (lockout_accounts.c.realm == account[0]) & (lockout_accounts.c.username == account[1])


async def _locked(connection: AsyncConnection, account: Account) -> Row[Any] | None:
    statement = select(lockout_accounts).where(_is(account)).with_for_update()
    return (await connection.execute(statement)).first()


async def _created(connection: AsyncConnection, account: Account) -> Row[Any]:
    """The account's new row; another process may have made it in the same moment (PostgreSQL)."""
    values = {"realm": account[0], "username": account[1], "state": {}, "saved_at": utcnow()}
    if connection.dialect.name == "sqlite":
        await connection.execute(insert(lockout_accounts).values(values))
    else:
        row = postgresql.insert(lockout_accounts).values(values)
        await connection.execute(row.on_conflict_do_nothing())
    found = await _locked(connection, account)
    if found is None:
        raise RuntimeError("a row that was just made is not there")
    return found


def _gone(row: Row[Any], now: datetime) -> bool:
    """Whether the holder's process has ended, as far as that can be seen from here, or its lease has."""
    return lives(row.holder.rpartition("#")[0]) is False or row.lease_until is None or row.lease_until <= now


async def _left_behind(connection: AsyncConnection, account: Account, row: Row[Any]) -> list[dict[str, Any]]:
    """What the ledger has of the holder's attempts since it last wrote the state, in the order of their start.

    They are found by the holder's run: that may have another owner by now, who goes on with it.
    Times of attempts and ``saved_at`` are by the holder's own clock, so they compare.
    """
    attempt = credential_attempts.c
    statement = (
        select(
            attempt.credential_id,
            attempt.secret_version,
            attempt.verdict,
            attempt.reason,
            attempt.started_at,
            attempt.concluded_at,
        )
        .where(
            attempt.concluded_at.is_(None) | (attempt.concluded_at >= row.saved_at),
            attempt.realm == account[0],
            attempt.credential_username == account[1],
            attempt.run_id == int(row.holder.rpartition("#")[2]),
        )
        .order_by(attempt.started_at, attempt.id)
    )
    found = []
    for left in await connection.execute(statement):
        pending = left.concluded_at is None or left.verdict == "pending"
        found.append(
            {
                "secret": f"{left.credential_id}:{left.secret_version}",
                "verdict": left.verdict,
                "control": left.reason == CONTROL_LOGIN,
                "started": _wall(left.started_at),
                "concluded": None if pending else _wall(left.concluded_at),
            }
        )
    return found


def _wall(at: datetime) -> float:
    return at.astimezone(UTC).timestamp()
