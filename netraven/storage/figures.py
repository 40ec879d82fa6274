"""The database in a few numbers, for whoever watches over it."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import case, func, select

from netraven.model import JUMP_HOST, Figures, RunDue, RunStatus, utcnow
from netraven.storage.engine import Database
from netraven.storage.schema import device_standing, devices, jobs, runs

LATE = timedelta(minutes=1)
"""A job that is due for so long and was not taken up is overdue: a scheduler looks each second."""

_AGES = (("1h", timedelta(hours=1)), ("24h", timedelta(days=1)), ("7d", timedelta(days=7)))
_ACTIVE = (RunStatus.QUEUED.value, RunStatus.RUNNING.value)


class SqlFigures:
    """Reads them; each time costs a pass over the devices' standing (some ms for 10,000)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, now: datetime | None = None) -> Figures:
        now = now or utcnow()
        at = device_standing.c.collected_at
        age = case(
            (at.is_(None), "never"), *((at >= now - limit, name) for name, limit in _AGES), else_="older"
        ).label("age")
        by_age = (
            select(age, func.count().label("number"))
            .select_from(devices.outerjoin(device_standing, device_standing.c.device_id == devices.c.id))
            .where(devices.c.platform != JUMP_HOST)
            .group_by(age)
        )
        active = select(runs.c.status, runs.c.job_name, runs.c.eta_at, runs.c.finish_by).where(
            runs.c.status.in_(_ACTIVE)
        )
        of_jobs = select(
            func.count().label("enabled"),
            func.min(jobs.c.next_run_at).label("next"),
            func.count().filter(jobs.c.next_run_at < now - LATE).label("overdue"),
        ).where(jobs.c.enabled)
        async with self._database.reading() as connection:
            ages = {row.age: row.number for row in await connection.execute(by_age)}
            under_way = (await connection.execute(active)).all()
            standing = (await connection.execute(of_jobs)).one()
        names = (*(name for name, _ in _AGES), "older", "never")
        return Figures(
            devices={name: ages.get(name, 0) for name in names},
            runs={status: sum(row.status == status for row in under_way) for status in _ACTIVE},
            due=tuple(
                RunDue(row.job_name, row.eta_at, row.finish_by)
                for row in under_way
                if row.job_name is not None
            ),
            jobs=standing.enabled,
            overdue=standing.overdue,
            next_run_at=standing.next,
        )
