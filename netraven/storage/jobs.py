"""Jobs on record: defined, changed, listed, and claimed when they are due.

A job is stored as the table that defines it. When it is due next is reckoned in the transaction that changes it, so an
edit takes effect at the next look. Who claims a job locks its row first: of several processes one finds it due.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.errors import InputError
from netraven.events import events
from netraven.model import Job, JobStanding, Order, Origin, Run, RunStatus, Subscription, What, utcnow
from netraven.schedule.decision import CLOCK_WAS_WRONG, Fire, Missed, Nothing, decide, first_due
from netraven.schedule.definition import job_of, read_job, table_of
from netraven.schedule.due import Due
from netraven.storage import happenings
from netraven.storage.engine import Database
from netraven.storage.runs import ACTIVE, put, run_of
from netraven.storage.schema import jobs, runs
from netraven.storage.turns import slices

_LOCK = 0x6E72616A6F6273  # PostgreSQL's advisory locks are numbers: "nrajobs"
_LOOKS_FOR_WRONG_CLOCKS = timedelta(minutes=1)
_ALIVE = runs.c.status.in_([literal_column(f"'{status}'") for status in ACTIVE])
"""Spelled out as in the index of such runs, which is used for nothing else."""

_log = events("netraven.storage")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What runs of jobs have that say nothing of it."""

    strategy: str = "last-good"
    concurrency: int = 200


class SqlJobs:
    """Jobs in a database (``ports.Jobs``)."""

    def __init__(
        self,
        database: Database,
        *,
        defaults: Defaults = Defaults(),
        subscriptions: Sequence[Subscription] = (),
    ) -> None:
        """``subscriptions``: what hooks want to be told of."""
        self._database = database
        self.defaults = defaults
        self.subscriptions = subscriptions
        self._looked: datetime | None = None
        """When it was looked for what a wrong clock has noted."""
        self._last: datetime | None = None
        self._unusable: set[int] = set()

    # Definitions

    async def add(self, job: Job, *, now: datetime | None = None) -> JobStanding:
        """Put a new job on record; ``InputError`` where there is one of this name, or it is none."""
        now = now or utcnow()
        table = _checked(job, now)
        async with self._database.writing() as connection:
            await _lock(connection)
            if (await connection.execute(select(jobs.c.id).where(jobs.c.name == job.name))).first():
                raise InputError(f"there is a job {job.name!r} already: edit it, or give another name")
            values = _new(job, table, Origin.COMMAND, now)
            row = (await connection.execute(insert(jobs).values(values).returning(jobs))).one()
        return _standing(row)

    async def edit(self, job: Job, *, now: datetime | None = None) -> JobStanding:
        """Let the job of this name be as ``job`` says; ``InputError`` where there is none, or settings define it.

        What was due keeps its time, unless the schedule changes.
        """
        now = now or utcnow()
        table = _checked(job, now)
        async with self._database.writing() as connection:
            row = await _changeable(connection, job.name)
            row = await _update(connection, row, job, table, now)
        return _standing(row)

    async def enable(self, name: str, *, now: datetime | None = None) -> JobStanding:
        return await self._switch(name, now or utcnow(), enabled=True)

    async def disable(self, name: str, *, now: datetime | None = None) -> JobStanding:
        """It is due no more; a run of it that goes on goes on."""
        return await self._switch(name, now or utcnow(), enabled=False)

    async def _switch(self, name: str, now: datetime, *, enabled: bool) -> JobStanding:
        async with self._database.writing() as connection:
            row = await _changeable(connection, name)
            job = replace(_job(row), enabled=enabled)
            row = await _update(connection, row, job, _stored(job), now)
        return _standing(row)

    async def remove(self, name: str) -> None:
        """Its runs stay on record; one that is queued or running goes on."""
        async with self._database.writing() as connection:
            row = await _changeable(connection, name)
            await connection.execute(delete(jobs).where(jobs.c.id == row.id))

    async def apply(
        self, wanted: Sequence[Job], origin: Origin = Origin.SETTINGS, *, now: datetime | None = None
    ) -> Sequence[str]:
        """Let the jobs of ``origin`` be these and no others, all or nothing; the names of those that changed.

        Again with the same jobs changes nothing. ``InputError`` where one is none, or another origin has its name.
        """
        now = now or utcnow()
        tables: dict[str, dict[str, Any]] = {}
        for job in wanted:
            if job.name in tables:
                raise InputError(f"there are two jobs {job.name!r}: give one of them another name")
            tables[job.name] = _checked(job, now)
            await asyncio.sleep(0)  # thousands take a second, and sessions are open meanwhile
        async with self._database.writing() as connection:
            await _lock(connection)
            rows = {row.name: row for row in await connection.execute(select(jobs).with_for_update())}
            changed = [name for name, row in rows.items() if row.origin == origin and name not in tables]
            for part in slices(changed):
                await connection.execute(delete(jobs).where(jobs.c.name.in_(part)))
            new: list[Job] = []
            for job in wanted:
                row = rows.get(job.name)
                if row is None:
                    new.append(job)
                elif row.origin != origin:
                    raise InputError(
                        f"job {job.name!r}: there is one already, defined by {_WHERE[Origin(row.origin)]}: "
                        "remove that one, or give this one another name"
                    )
                elif row.definition == tables[job.name] and row.enabled == job.enabled:
                    continue
                else:
                    await _update(connection, row, job, tables[job.name], now)
                changed.append(job.name)
            for some in slices(new):
                values = [_new(job, tables[job.name], origin, now) for job in some]
                await connection.execute(insert(jobs), values)
        return sorted(changed)

    # Reading

    async def get(self, name: str) -> JobStanding:
        """The job of this name with its last run; ``InputError`` where there is none."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(jobs).where(jobs.c.name == name))).first()
            if row is None:
                raise await _unknown(connection, name)
            return (await _with_last_runs(connection, [_standing(row)]))[0]

    async def list(self) -> Sequence[JobStanding]:
        """By name, each with its last run."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(jobs).order_by(jobs.c.name))).all()
            return await _with_last_runs(connection, [_standing(row) for row in rows])

    # Due times

    async def due(self, now: datetime, limit: int) -> Sequence[JobStanding]:
        """Jobs that are to be claimed now, the longest due first; none that has a run which is queued or running.

        One whose definition is no longer valid (its zone is gone) is left out, and logged.
        """
        async with self._database.reading() as connection:
            statement = _claimable(jobs.c.next_run_at <= now).order_by(jobs.c.next_run_at, jobs.c.id)
            rows = list(await connection.execute(statement.limit(limit)))
            if self._looks_for_wrong_clocks(now):
                ahead = now + CLOCK_WAS_WRONG
                wrong = or_(jobs.c.last_due_at > ahead, jobs.c.updated_at > ahead)
                rows += await connection.execute(_claimable(wrong).order_by(jobs.c.id).limit(limit))
        return list(self._readable(rows))

    def _readable(self, rows: Iterable[Row[Any]]) -> Iterable[JobStanding]:
        for row in rows:
            try:
                yield _standing(row)
            except InputError as error:
                if row.id not in self._unusable:
                    self._unusable.add(row.id)
                    _log.error("job_unusable", job=row.name, error=str(error))

    def _looks_for_wrong_clocks(self, now: datetime) -> bool:
        """At first, when the clock goes back, and now and then: these columns have no index."""
        went_back = self._last is not None and now < self._last
        self._last = now
        if self._looked is None or went_back or now - self._looked >= _LOOKS_FOR_WRONG_CLOCKS:
            self._looked = now
            return True
        return False

    async def next_at(self) -> datetime | None:
        """When the next job is to be claimed that has no run now; None: none of them is due any more."""
        statement = select(func.min(jobs.c.next_run_at)).where(jobs.c.enabled, _idle())
        async with self._database.reading() as connection:
            found: datetime | None = (await connection.execute(statement)).scalar_one()
        return found

    async def claim(self, standing: JobStanding, now: datetime) -> Run | None:
        """Do what is due of a job that :meth:`due` gave: queue a run, or put on record that one was missed.

        None where there is nothing to do any more: another process was faster, the job has been changed or has a run.
        """
        async with self._database.writing() as connection:
            locked = select(jobs).where(jobs.c.id == standing.id).with_for_update()
            row = (await connection.execute(locked)).first()
            if row is None or not row.enabled or row.due_at != standing.due_at:
                return None
            if await _has_run(connection, row.id):
                return None
            fresh = _standing(row)
            decision = decide(fresh, now)
            await connection.execute(
                update(jobs).where(jobs.c.id == row.id).values(_moved_on(fresh, decision, now))
            )
            if isinstance(decision, Nothing) or await _is_done(connection, row.id, decision):
                return None
            return await self._put(connection, fresh, decision)

    async def _put(self, connection: AsyncConnection, standing: JobStanding, decision: Fire | Missed) -> Run:
        order = replace(self._order(standing), due_at=decision.due_at)
        if isinstance(decision, Fire):
            order = replace(order, finish_by=decision.finish_by)
            return await put(connection, order, RunStatus.QUEUED, "", missed=decision.missed)
        run = await put(connection, order, RunStatus.MISSED, "", missed=decision.missed)
        await happenings.of_missed_run(connection, self.subscriptions, run)
        return run

    async def run_now(self, name: str) -> Run:
        """Queue a run by hand, whatever the schedule says; ``InputError`` where the job has one already."""
        async with self._database.writing() as connection:
            row = await _locked(connection, name)
            if await _has_run(connection, row.id):
                raise InputError(f"job {name!r} has a run that is queued or running: wait for its end")
            return await put(connection, self._order(_standing(row)), RunStatus.QUEUED, "")

    def _order(self, standing: JobStanding) -> Order:
        job = standing.job
        options = {"older_than": job.older_than} if job.what is What.STALE else {}
        return Order(
            what=job.what,
            selector=job.selector,
            strategy=job.strategy or self.defaults.strategy,
            concurrency=job.concurrency or self.defaults.concurrency,
            outputs=job.outputs,
            priority=job.priority,
            job_id=standing.id,
            job=job.name,
            options=options,
        )


_WHERE = {Origin.SETTINGS: "the settings", Origin.COMMAND: "a command"}


def _checked(job: Job, now: datetime) -> dict[str, Any]:
    """The table of a job that is one; raises ``InputError``."""
    job_of(job.name, table_of(job), now=now)
    return _stored(job)


def _stored(job: Job) -> dict[str, Any]:
    """Whether it is enabled has a column of its own."""
    return table_of(replace(job, enabled=True))


def _job(row: Row[Any]) -> Job:
    return replace(read_job(row.name, row.definition), enabled=row.enabled)


def _standing(row: Row[Any]) -> JobStanding:
    return JobStanding(
        id=row.id,
        job=_job(row),
        origin=Origin(row.origin),
        created_at=row.created_at,
        updated_at=row.updated_at,
        due_at=row.due_at,
        next_run_at=row.next_run_at,
        last_due_at=row.last_due_at,
    )


def _times(due: Due | None) -> Mapping[str, datetime | None]:
    return {
        "due_at": None if due is None else due.due_at,
        "next_run_at": None if due is None else due.run_at,
    }


def _moved_on(standing: JobStanding, decision: Fire | Missed | Nothing, now: datetime) -> dict[str, Any]:
    values = dict(_times(decision.next))
    if not isinstance(decision, Nothing):
        values["last_due_at"] = decision.due_at
    elif decision.forget:
        values["last_due_at"] = None
    if standing.updated_at - now > CLOCK_WAS_WRONG:
        values["updated_at"] = now
    return values


def _claimable(condition: ColumnElement[bool]) -> Select[Any]:
    return select(jobs).where(condition, jobs.c.enabled, _idle())


def _idle() -> ColumnElement[bool]:
    """Neither a queued nor a running run."""
    return jobs.c.id.not_in(select(runs.c.job_id).where(_ALIVE, runs.c.job_id.is_not(None)))


async def _has_run(connection: AsyncConnection, job_id: int) -> bool:
    return bool((await connection.execute(select(exists().where(_ALIVE, runs.c.job_id == job_id)))).scalar())


async def _is_done(connection: AsyncConnection, job_id: int, decision: Fire | Missed) -> bool:
    """Whether a clock that has gone back comes past a due time for the second time.

    What was missed while the clock was ahead was not missed: it comes now, and takes the place of that record.
    """
    same = (runs.c.job_id == job_id, runs.c.due_at == decision.due_at)
    status = (await connection.execute(select(runs.c.status).where(*same))).scalar()
    if status == RunStatus.MISSED and isinstance(decision, Fire):
        await connection.execute(delete(runs).where(*same))
        return False
    return status is not None


def _new(job: Job, table: Mapping[str, Any], origin: Origin, now: datetime) -> dict[str, Any]:
    """The row of a job that there was not."""
    return {
        "name": job.name,
        "definition": table,
        "enabled": job.enabled,
        "origin": origin.value,
        "created_at": now,
        "updated_at": now,
        **_times(first_due(job, now)),
    }


async def _update(
    connection: AsyncConnection, row: Row[Any], job: Job, table: Mapping[str, Any], now: datetime
) -> Row[Any]:
    values: dict[str, Any] = {"definition": table, "enabled": job.enabled, "updated_at": now}
    if job.schedule != _schedule(row) or job.enabled != row.enabled:
        values |= _times(first_due(job, now, row.last_due_at))
    statement = update(jobs).where(jobs.c.id == row.id).values(values)
    changed: Row[Any] = (await connection.execute(statement.returning(jobs))).one()
    return changed


def _schedule(row: Row[Any]) -> object:
    try:
        return _job(row).schedule
    except InputError:  # it was valid once; what comes instead is another one
        return None


async def _lock(connection: AsyncConnection) -> None:
    """Nobody else defines a job meanwhile. SQLite has one writer at a time."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


async def _locked(connection: AsyncConnection, name: str) -> Row[Any]:
    row = (await connection.execute(select(jobs).where(jobs.c.name == name).with_for_update())).first()
    if row is None:
        raise await _unknown(connection, name)
    return row


async def _changeable(connection: AsyncConnection, name: str) -> Row[Any]:
    row = await _locked(connection, name)
    if row.origin == Origin.SETTINGS:
        raise InputError(f"job {name!r} is defined by the settings: change it there")
    return row


async def _unknown(connection: AsyncConnection, name: str) -> InputError:
    known = (await connection.execute(select(jobs.c.name).order_by(jobs.c.name))).scalars().all()
    close = difflib.get_close_matches(name[:100], known, n=1, cutoff=0.5)
    hint = f", did you mean {close[0]!r}?" if close else ": `netraven job list` shows those that there are"
    return InputError(f"there is no job {name!r}{hint}")


async def _with_last_runs(
    connection: AsyncConnection, standings: Sequence[JobStanding]
) -> Sequence[JobStanding]:
    last = select(func.max(runs.c.id)).where(runs.c.job_id == jobs.c.id).correlate(jobs).scalar_subquery()
    statement = select(runs).join(jobs, runs.c.id == last)
    if len(standings) == 1:
        statement = statement.where(jobs.c.id == standings[0].id)
    found = {row.job_id: run_of(row) for row in await connection.execute(statement)}
    return [replace(standing, last_run=found.get(standing.id)) for standing in standings]
