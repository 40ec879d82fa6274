"""The runs: started, alive, finished, or found dead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.errors import InputError
from netraven.model import (
    SELECTING,
    Counts,
    Event,
    Load,
    Order,
    Run,
    RunStatus,
    Selector,
    SkipReason,
    Status,
    Subscription,
    Verdict,
    What,
    utcnow,
)
from netraven.storage import device_sessions, happenings, targets
from netraven.storage.clock import shared_now
from netraven.storage.engine import Database
from netraven.storage.owner import current_owner, lives
from netraven.storage.schema import (
    credential_attempts,
    job_logs,
    run_outcomes,
    run_targets,
    runs,
)

SILENCE = timedelta(seconds=90)
"""How long a run on another host may give no sign of life before it is taken for dead."""

ACTIVE = (RunStatus.QUEUED.value, RunStatus.RUNNING.value)
_RUNNING = RunStatus.RUNNING.value
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

    async def start(self, order: Order) -> Run:
        """Put a run on record as running, held by this process. It has no targets before :meth:`begin`."""
        return await self._new(order, RunStatus.RUNNING, self._owner)

    async def queue(self, order: Order) -> Run:
        """Put a run on record that a daemon takes."""
        return await self._new(order, RunStatus.QUEUED, "")

    async def _new(self, order: Order, status: RunStatus, owner: str) -> Run:
        async with self._database.writing() as connection:
            return await put(connection, order, status, owner)

    async def begin(self, run: Run, *, dead_after: int) -> Run:
        """Write the run's targets, in the order in which they are to be visited; the run with their number.

        Devices that could not be reached in the last ``dead_after`` runs come last; where the run has to be finished
        by some time, the slowest come first. Again for a run that was begun is harmless: its targets stay. One that
        visits no devices has none.
        """
        if run.begun:
            return run
        now = utcnow()
        this, new = runs.c.id == run.id, runs.c.targets_at.is_(None)
        async with self._database.writing() as connection:
            beginning = update(runs).where(this, new).values(targets_at=now, started_at=now)
            if (await connection.execute(beginning)).rowcount:
                devices = 0
                if run.what.visits:
                    devices = await targets.write(connection, run, dead_after=dead_after)
                await connection.execute(update(runs).where(this).values(devices=devices))
            else:  # it was, and the answer was lost
                columns = select(runs.c.started_at, runs.c.devices).where(this)
                now, devices = (await connection.execute(columns)).one()
        return replace(run, started_at=now, begun=True, counts=replace(run.counts, devices=devices))

    async def queued(self, limit: int) -> Sequence[Run]:
        """Runs that wait for a daemon, the first to be taken first."""
        statement = select(runs).where(runs.c.status == RunStatus.QUEUED.value)
        statement = statement.order_by(runs.c.priority, runs.c.id).limit(limit)
        async with self._database.reading() as connection:
            return [run_of(row) for row in await connection.execute(statement)]

    async def active(self) -> Sequence[Run]:
        """Runs that are queued or running, by their number."""
        statement = select(runs).where(runs.c.status.in_(ACTIVE)).order_by(runs.c.id)
        async with self._database.reading() as connection:
            return [run_of(row) for row in await connection.execute(statement)]

    async def claim(self, run: Run) -> Run | None:
        """Take a queued run: it is running then, held by this process. None where another one was faster."""
        values: dict[str, Any] = {"status": RunStatus.RUNNING.value, "owner": self._owner}
        statement = update(runs).where(runs.c.id == run.id, runs.c.status == RunStatus.QUEUED.value)
        async with self._database.writing() as connection:
            values["heartbeat_at"] = await shared_now(connection)
            row = (await connection.execute(statement.values(values).returning(runs))).first()
        return None if row is None else run_of(row)

    async def release(self, run: Run, counts: Counts) -> Run:
        """Put a run back that this process holds: another one, or this one later, goes on with what is left."""
        async with self._database.writing() as connection:
            mine = (runs.c.id == run.id) & (runs.c.owner == self._owner) & (runs.c.status == _RUNNING)
            values = {"status": RunStatus.QUEUED.value, "owner": "", "eta_at": None, **_numbers(counts)}
            if (await connection.execute(update(runs).where(mine).values(values))).rowcount:
                await device_sessions.end(connection, run.id, self._owner)
        return replace(run, status=RunStatus.QUEUED, counts=counts)

    async def heartbeat(self, run: Run, counts: Counts | None = None, eta_at: datetime | None = None) -> bool:
        """Give a sign of life; without one for :data:`SILENCE`, other hosts take the run for dead.

        ``counts``: how far it has come. False: another process has taken the run over, so it is to be let go.
        """
        values: dict[str, Any] = {}
        if counts is not None:
            values |= {**_numbers(counts), "eta_at": eta_at}
        mine = (runs.c.id == run.id) & (runs.c.owner == self._owner) & (runs.c.status == _RUNNING)
        async with self._database.writing() as connection:
            values["heartbeat_at"] = await shared_now(connection)
            return bool((await connection.execute(update(runs).where(mine).values(values))).rowcount)

    async def counted(self, run: Run) -> Counts:
        """The outcomes of the run that are on record, in numbers."""
        offered = select(func.coalesce(func.sum(run_outcomes.c.attempts), 0))
        async with self._database.reading() as connection:
            attempts = await connection.execute(offered.where(run_outcomes.c.run_id == run.id))
            return replace(await _counted(connection, run), attempts=int(attempts.scalar_one()))

    async def skipped(self, run: Run, reason: SkipReason) -> int:
        """How many of its devices were skipped for this reason so far."""
        statement = select(func.count()).where(
            run_outcomes.c.run_id == run.id, run_outcomes.c.reason == reason.value
        )
        async with self._database.reading() as connection:
            return int((await connection.execute(statement)).scalar_one())

    async def load(self, run: Run, *, dead_after: int, dead_seconds: float) -> Load:
        """What visits of those that have no outcome yet usually take; of a dead device so many seconds."""
        async with self._database.reading() as connection:
            return await targets.load(connection, run, dead_after=dead_after, dead_seconds=dead_seconds)

    async def finish(
        self,
        run: Run,
        status: RunStatus,
        counts: Counts,
        error: str | None = None,
        happened: Sequence[Event] = (),
    ) -> Run:
        """Put the end of a run on record that this process holds; the run as it is on record otherwise.

        ``happened``: what hooks are to be told of besides, because the run has ended.
        """
        finished = replace(run, status=status, counts=counts, error=error, finished_at=utcnow(), eta_at=None)
        locked = select(runs).where(runs.c.id == run.id).with_for_update()
        async with self._database.writing() as connection:
            row = (await connection.execute(locked)).first()
            if row is not None and (row.owner != self._owner or row.status != _RUNNING):
                return run_of(row)
            await happenings.of_run(connection, self.subscriptions, finished, happened)
            await _write_end(connection, finished)
            await device_sessions.end(connection, run.id, self._owner)
        return finished

    async def get(self, run_id: int) -> Run:
        """The run with this id; ``InputError`` where there is none."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(runs).where(runs.c.id == run_id))).first()
        if row is None:
            raise InputError(f"no such run: {run_id}")
        return run_of(row)

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
        return [run_of(row) for row in reversed(rows)]

    async def of_job(self, job_id: int, *, limit: int) -> Sequence[Run]:
        """The newest runs of a job, newest last."""
        statement = select(runs).where(runs.c.job_id == job_id).order_by(runs.c.id.desc()).limit(limit)
        async with self._database.reading() as connection:
            return [run_of(row) for row in reversed((await connection.execute(statement)).all())]

    async def recover(self, *, now: datetime | None = None) -> Sequence[Run]:
        """Take runs from processes that are gone, and return them: those of jobs are queued, others interrupted.

        On this host the process itself is looked for; one on another host is judged by its silence. Attempts that
        were in flight are concluded without a verdict, and the run is counted from what it left on record.
        """
        running = select(runs).where(runs.c.status == RunStatus.RUNNING.value).order_by(runs.c.id)
        async with self._database.reading() as connection:
            now = now or await shared_now(connection)
            suspects = [row.id for row in await connection.execute(running) if _is_dead(row, now)]
        if not suspects:
            return []
        async with self._database.writing() as connection:
            locked = running.where(runs.c.id.in_(suspects)).with_for_update()
            rows = [row for row in (await connection.execute(locked)).all() if _is_dead(row, now)]
            return [await _taken(connection, row, self.subscriptions) for row in rows]


async def put(
    connection: AsyncConnection, order: Order, status: RunStatus, owner: str, *, missed: int = 0
) -> Run:
    """Put a new run on record."""
    now = utcnow()
    statement = insert(runs).values(
        started_at=now,
        finished_at=now if status is RunStatus.MISSED else None,
        status=status.value,
        selector=_table(order.selector),
        strategy=order.strategy,
        concurrency=order.concurrency,
        owner=owner,
        heartbeat_at=await shared_now(connection),
        what=order.what.value,
        job_id=order.job_id,
        job_name=order.job,
        due_at=order.due_at,
        finish_by=order.finish_by,
        outputs=list(order.outputs),
        options=dict(order.options),
        priority=order.priority,
        retry_of=order.retry_of,
        missed=missed,
    )
    return run_of((await connection.execute(statement.returning(runs))).one())


def _is_dead(row: Row[Any], now: datetime) -> bool:
    alive = lives(row.owner)
    return now - row.heartbeat_at > SILENCE if alive is None else not alive


async def _taken(connection: AsyncConnection, row: Row[Any], subscriptions: Sequence[Subscription]) -> Run:
    """A run whose process is gone: what it left half done is ended, and the run queued or marked as interrupted."""
    run = run_of(row)
    last_sign = max(row.heartbeat_at, *await _events(connection, run))
    await connection.execute(
        update(credential_attempts)
        .where(
            credential_attempts.c.run_id == run.id,
            credential_attempts.c.verdict == Verdict.PENDING.value,
        )
        .values(verdict=Verdict.NO_VERDICT.value, error_type="interrupted", concluded_at=utcnow())
    )
    if lives(row.owner) is False:  # a host that is only silent may be in session still
        await device_sessions.end(connection, run.id, row.owner)
    counts = await _counted(connection, run)
    if run.job_id is not None:
        values = {"status": RunStatus.QUEUED.value, "owner": "", "eta_at": None, **_numbers(counts)}
        await connection.execute(update(runs).where(runs.c.id == run.id).values(values))
        return replace(run, status=RunStatus.QUEUED, counts=counts)
    buried = replace(run, status=RunStatus.INTERRUPTED, counts=counts, error=_DIED, finished_at=last_sign)
    await happenings.of_run(connection, subscriptions, buried)
    await _write_end(connection, buried)
    return buried


async def _counted(connection: AsyncConnection, run: Run) -> Counts:
    by_status = (
        select(run_outcomes.c.status, func.count().label("number"))
        .where(run_outcomes.c.run_id == run.id)
        .group_by(run_outcomes.c.status)
    )
    counted = {row.status: row.number for row in await connection.execute(by_status)}
    of_run = credential_attempts.c.run_id == run.id
    attempts = await connection.execute(select(func.count()).select_from(credential_attempts).where(of_run))
    return Counts(
        devices=run.counts.devices,
        collected=counted.get(Status.COLLECTED.value, 0) + counted.get(Status.CHECKED.value, 0),
        failed=counted.get(Status.FAILED.value, 0),
        skipped=counted.get(Status.SKIPPED.value, 0),
        attempts=attempts.scalar_one(),
    )


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
            eta_at=None,
            **_numbers(run.counts),
        )
    )
    if run.status is not RunStatus.INTERRUPTED:  # each has an outcome; of the others a retry has to know
        await connection.execute(delete(run_targets).where(run_targets.c.run_id == run.id))


def _numbers(counts: Counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in _COUNTS}


def _table(selector: Selector) -> dict[str, Any]:
    """A selector as JSON; ``tags`` and ``names`` always, others where they are told."""
    told = {name: sorted(getattr(selector, name)) for name in SELECTING}
    kept: dict[str, Any] = {name: told[name] for name in SELECTING if told[name] or name in {"tags", "names"}}
    return kept if selector.retry_of is None else kept | {"retry_of": selector.retry_of}


def run_of(row: Row[Any]) -> Run:
    """A run from its row."""
    told = dict(row.selector)
    retry_of = told.pop("retry_of", None)
    return Run(
        id=row.id,
        started_at=row.started_at,
        status=RunStatus(row.status),
        selector=Selector(**{name: frozenset(values) for name, values in told.items()}, retry_of=retry_of),
        strategy=row.strategy,
        concurrency=row.concurrency,
        finished_at=row.finished_at,
        counts=Counts(**{name: getattr(row, name) for name in _COUNTS}),
        error=row.error,
        what=What(row.what),
        outputs=tuple(row.outputs or ()),
        priority=row.priority,
        job_id=row.job_id,
        job=row.job_name,
        due_at=row.due_at,
        finish_by=row.finish_by,
        retry_of=row.retry_of,
        eta_at=row.eta_at,
        missed=row.missed,
        begun=row.targets_at is not None,
        options=dict(row.options or {}),
        batch=row.batch,
    )
