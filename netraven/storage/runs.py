"""The runs: started, alive, finished, or found dead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.errors import InputError
from netraven.model import Counts, Run, RunStatus, Selector, Status, Subscription, Verdict, utcnow
from netraven.storage import happenings
from netraven.storage.engine import Database
from netraven.storage.owner import current_owner, lives
from netraven.storage.schema import credential_attempts, job_logs, run_outcomes, runs

SILENCE = timedelta(seconds=90)
"""How long a run on another host may give no sign of life before it is taken for dead."""

_COUNTS = ("devices", "collected", "failed", "skipped", "attempts")
_DIED = "the process that ran it has ended without finishing it"


class SqlRuns:
    """Runs in a database (``ports.Runs``)."""

    def __init__(
        self, database: Database, *, owner: str | None = None, subscriptions: Sequence[Subscription] = ()
    ) -> None:
        """``owner`` is this process unless a test says otherwise. ``subscriptions``: what hooks want to be told of."""
        self._database = database
        self.subscriptions = subscriptions
        self._owner = owner or current_owner()

    async def start(self, selector: Selector, *, strategy: str, concurrency: int, devices: int) -> Run:
        """Put a run on record as running, held by this process."""
        run = Run(
            id=0,
            started_at=utcnow(),
            status=RunStatus.RUNNING,
            selector=selector,
            strategy=strategy,
            concurrency=concurrency,
            counts=Counts(devices=devices),
        )
        statement = insert(runs).values(
            started_at=run.started_at,
            status=run.status.value,
            selector={"tags": sorted(selector.tags), "names": sorted(selector.names)},
            strategy=strategy,
            concurrency=concurrency,
            owner=self._owner,
            heartbeat_at=run.started_at,
            devices=devices,
        )
        async with self._database.writing() as connection:
            key = (await connection.execute(statement.returning(runs.c.id))).scalar_one()
        return replace(run, id=key)

    async def heartbeat(self, run: Run) -> None:
        """Give a sign of life; without one for :data:`SILENCE`, other hosts take the run for dead."""
        statement = update(runs).where(runs.c.id == run.id).values(heartbeat_at=utcnow())
        async with self._database.writing() as connection:
            await connection.execute(statement)

    async def finish(self, run: Run, status: RunStatus, counts: Counts, error: str | None = None) -> Run:
        """Put a run's end on record."""
        finished = replace(run, status=status, counts=counts, error=error, finished_at=utcnow())
        async with self._database.writing() as connection:
            await happenings.of_run(connection, self.subscriptions, finished)
            await _write_end(connection, finished)
        return finished

    async def get(self, run_id: int) -> Run:
        """The run with this id; ``InputError`` where there is none."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(runs).where(runs.c.id == run_id))).first()
        if row is None:
            raise InputError(f"no such run: {run_id}")
        return _run(row)

    async def list(
        self, *, limit: int | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> Sequence[Run]:
        """Runs that started from ``since`` on and before ``until``, newest last; ``limit`` takes the newest."""
        statement = select(runs).order_by(runs.c.started_at.desc(), runs.c.id.desc()).limit(limit)
        if since is not None:
            statement = statement.where(runs.c.started_at >= since)
        if until is not None:
            statement = statement.where(runs.c.started_at < until)
        async with self._database.reading() as connection:
            rows = (await connection.execute(statement)).all()
        return [_run(row) for row in reversed(rows)]

    async def recover(self, *, now: datetime | None = None) -> Sequence[Run]:
        """Mark runs as interrupted whose process is gone, and return them.

        On this host the process itself is looked for; one on another host is judged by its silence. Attempts that
        were in flight are concluded without a verdict, and the run is counted from what it left on record.
        """
        now = now or utcnow()
        running = select(runs).where(runs.c.status == RunStatus.RUNNING.value).order_by(runs.c.id)
        async with self._database.reading() as connection:
            suspects = [row.id for row in await connection.execute(running) if _is_dead(row, now)]
        if not suspects:
            return []
        async with self._database.writing() as connection:
            locked = running.where(runs.c.id.in_(suspects)).with_for_update()
            rows = [row for row in (await connection.execute(locked)).all() if _is_dead(row, now)]
            return [
                await _buried(connection, _run(row), row.heartbeat_at, self.subscriptions) for row in rows
            ]


def _is_dead(row: Row[Any], now: datetime) -> bool:
    alive = lives(row.owner)
    return now - row.heartbeat_at > SILENCE if alive is None else not alive


async def _buried(
    connection: AsyncConnection, run: Run, heartbeat: datetime, subscriptions: Sequence[Subscription]
) -> Run:
    last_sign = max(heartbeat, *await _events(connection, run))
    await connection.execute(
        update(credential_attempts)
        .where(
            credential_attempts.c.run_id == run.id,
            credential_attempts.c.verdict == Verdict.PENDING.value,
        )
        .values(verdict=Verdict.NO_VERDICT.value, error_type="interrupted", concluded_at=utcnow())
    )
    by_status = (
        select(run_outcomes.c.status, func.count().label("number"))
        .where(run_outcomes.c.run_id == run.id)
        .group_by(run_outcomes.c.status)
    )
    counted = {row.status: row.number for row in await connection.execute(by_status)}
    of_run = credential_attempts.c.run_id == run.id
    attempts = await connection.execute(select(func.count()).select_from(credential_attempts).where(of_run))
    counts = Counts(
        devices=run.counts.devices,
        collected=counted.get(Status.COLLECTED.value, 0),
        failed=counted.get(Status.FAILED.value, 0),
        skipped=counted.get(Status.SKIPPED.value, 0),
        attempts=attempts.scalar_one(),
    )
    buried = replace(run, status=RunStatus.INTERRUPTED, counts=counts, error=_DIED, finished_at=last_sign)
    await happenings.of_run(connection, subscriptions, buried)
    await _write_end(connection, buried)
    return buried


async def _events(connection: AsyncConnection, run: Run) -> list[datetime]:
    """When something of the run was last put on record, one time for each kind of record that there is."""
    columns = (
        credential_attempts.c.started_at,
        credential_attempts.c.concluded_at,
        run_outcomes.c.finished_at,
        job_logs.c.timestamp,
    )
    found = [
        (
            await connection.execute(select(func.max(column)).where(column.table.c.run_id == run.id))
        ).scalar_one()
        for column in columns
    ]
    return [run.started_at, *(at for at in found if at is not None)]


async def _write_end(connection: AsyncConnection, run: Run) -> None:
    await connection.execute(
        update(runs)
        .where(runs.c.id == run.id)
        .values(
            status=run.status.value,
            finished_at=run.finished_at,
            error=run.error,
            **{name: getattr(run.counts, name) for name in _COUNTS},
        )
    )


def _run(row: Row[Any]) -> Run:
    return Run(
        id=row.id,
        started_at=row.started_at,
        status=RunStatus(row.status),
        selector=Selector(frozenset(row.selector["tags"]), frozenset(row.selector["names"])),
        strategy=row.strategy,
        concurrency=row.concurrency,
        finished_at=row.finished_at,
        counts=Counts(**{name: getattr(row, name) for name in _COUNTS}),
        error=row.error,
    )
