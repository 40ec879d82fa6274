"""Reading what is on record: logs, attempts and outcomes, as plain mappings with the keys of the `--json` outputs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, case, func, select, tuple_

from netraven.model import Counts, Status, Verdict
from netraven.storage.engine import Database
from netraven.storage.schema import (
    connection_logs,
    credential_attempts,
    credentials,
    devices,
    job_logs,
    run_outcomes,
    runs,
)

PAGE = 1000
"""Rows that are read together."""

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which rows: all that is given has to hold. ``since`` belongs to the span, ``until`` does not.

    ``limit`` takes the newest rows; whatever is taken comes oldest first.
    """

    device: str | None = None
    run: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = None


EVERYTHING = LogFilter()


@dataclass(frozen=True, slots=True)
class _Log:
    """A log table: what stands for its time, and the columns by the names that users see."""

    table: Table
    time: str
    columns: dict[str, str]
    of_run: tuple[str, ...] = ()
    """Columns of the run that are shown with it."""

    def select(self) -> Select[Any]:
        named = [self.table.c[column].label(name) for name, column in self.columns.items()]
        named += [runs.c[column].label(column) for column in self.of_run]
        rows = select(*named, self.table.c.id.label("row_id"), self.table.c[self.time].label("row_time"))
        if not self.of_run:
            return rows
        return rows.select_from(self.table).join(runs, runs.c.id == self.table.c.run_id)


_CONNECTIONS = _Log(
    connection_logs,
    "timestamp",
    {
        "timestamp": "timestamp",
        "device": "device_name",
        "run": "run_id",
        "successful": "successful",
        "duration_ms": "duration_ms",
        "error_type": "error_type",
        "error_message": "error_message",
        "credential_id": "credential_id",
        "credential": "credential_name",
        "credential_username": "credential_username",
        "retry_count": "retry_count",
    },
    of_run=("what",),
)
_ATTEMPTS = _Log(
    credential_attempts,
    "started_at",
    {
        "timestamp": "started_at",
        "device": "device_name",
        "run": "run_id",
        "credential": "credential_name",
        "credential_username": "credential_username",
        "verdict": "verdict",
        "error_type": "error_type",
        "duration_ms": "duration_ms",
        "reason": "reason",
    },
)
_JOBS = _Log(
    job_logs,
    "timestamp",
    {
        "timestamp": "timestamp",
        "run": "run_id",
        "level": "level",
        "message": "message",
        "device": "device_name",
        "data": "data",
    },
)


@dataclass(frozen=True, slots=True)
class CredentialUse:
    """What one credential did in one run. ``success_rate`` is the present one, None once it was removed."""

    credential: str
    username: str
    attempts: int
    accepted: int
    refused: int
    no_verdict: int
    success_rate: float | None


class SqlLogs:
    """Reads the logs. Lists come oldest first and are read page by page, so that no transaction stays open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def connections(self, wanted: LogFilter = EVERYTHING) -> AsyncIterator[Entry]:
        """Connection logs, one for each device and run, with the keys of `log connections --json`."""
        return self._rows(_CONNECTIONS, wanted)

    def attempts(self, wanted: LogFilter = EVERYTHING) -> AsyncIterator[Entry]:
        """Attempts, with the keys of `log attempts --json`."""
        return self._rows(_ATTEMPTS, wanted)

    def job(self, wanted: LogFilter = EVERYTHING) -> AsyncIterator[Entry]:
        """The runs' readable log: timestamp, run, level, message, device, data."""
        return self._rows(_JOBS, wanted)

    async def events(self, run_id: int, messages: Sequence[str]) -> Sequence[Entry]:
        """Those lines of a run's log that have one of ``messages``, oldest first."""
        table = job_logs.c
        statement = _JOBS.select().where(table.run_id == run_id, table.message.in_(messages))
        async with self._database.reading() as connection:
            rows = await connection.execute(statement.order_by(table.timestamp, table.id))
            return [_shown(_JOBS, row) for row in rows.mappings()]

    async def outcomes(self, run_id: int) -> Sequence[Entry]:
        """What each device came to in a run, by name, with the keys of `collect --json`."""
        names = ("status", "reason", "detail", "credential_name", "attempts", "retry_count", "duration_ms")
        shown = [run_outcomes.c[name].label(name.removesuffix("_name")) for name in names]
        statement = (
            select(
                run_outcomes.c.device_name.label("name"),
                *shown,
                run_outcomes.c.snapshot,
                run_outcomes.c.changed,
            )
            .where(run_outcomes.c.run_id == run_id)
            .order_by(run_outcomes.c.device_name)
        )
        async with self._database.reading() as connection:
            return [dict(row) for row in (await connection.execute(statement)).mappings()]

    async def credential_use(self, run_id: int) -> Sequence[CredentialUse]:
        """Attempts by credential in a run, by name."""
        attempt = credential_attempts.c

        def count(verdict: Verdict) -> ColumnElement[int]:
            return func.coalesce(func.sum(case((attempt.verdict == verdict.value, 1), else_=0)), 0)

        statement = (
            select(
                attempt.credential_name,
                attempt.credential_username,
                func.count(),
                count(Verdict.ACCEPTED),
                count(Verdict.REFUSED),
                count(Verdict.NO_VERDICT),
                func.max(credentials.c.success_rate),
            )
            .outerjoin(credentials, credentials.c.id == attempt.credential_id)
            .where(attempt.run_id == run_id)
            .group_by(attempt.credential_name, attempt.credential_username)
            .order_by(attempt.credential_name, attempt.credential_username)
        )
        async with self._database.reading() as connection:
            return [CredentialUse(*row) for row in await connection.execute(statement)]

    async def progress(self, run_id: int) -> Counts:
        """A run in numbers as far as it is on record; ``devices`` counts those that are finished."""
        finished = (
            select(run_outcomes.c.status, func.count(), func.sum(run_outcomes.c.attempts))
            .where(run_outcomes.c.run_id == run_id)
            .group_by(run_outcomes.c.status)
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(finished)).all()
        by_status = {status: number for status, number, _ in rows}
        return Counts(
            devices=sum(by_status.values()),
            collected=by_status.get(Status.COLLECTED.value, 0) + by_status.get(Status.CHECKED.value, 0),
            failed=by_status.get(Status.FAILED.value, 0),
            skipped=by_status.get(Status.SKIPPED.value, 0),
            attempts=int(sum(offered for _, _, offered in rows)),
        )

    async def _rows(self, log: _Log, wanted: LogFilter) -> AsyncIterator[Entry]:
        spans = await self._spans(log, wanted)
        if wanted.limit is None:
            for span in spans:
                async for row in self._ascending(log, span):
                    yield row
            return
        taken: list[Entry] = []
        for span in reversed(spans):
            if len(taken) < wanted.limit:
                taken += await self._newest(span, wanted.limit - len(taken), log)
        for row in reversed(taken):
            yield row

    async def _spans(self, log: _Log, wanted: LogFilter) -> Sequence[Select[Any]]:
        """The rows wanted as selections to be read one after the other, older first; an index serves each.

        A device's rows are found by its id. Those of a removed device of that name have none any more and are older:
        whoever has the name now came after it.
        """
        table, statement = log.table, log.select()
        time = table.c[log.time]
        if wanted.run is not None:
            statement = statement.where(table.c.run_id == wanted.run)
        if wanted.since is not None:
            statement = statement.where(time >= wanted.since)
        if wanted.until is not None:
            statement = statement.where(time < wanted.until)
        if wanted.device is None:
            return [statement]
        named = table.c.device_name == wanted.device
        if "device_id" not in table.c:
            return [statement.where(named)]
        removed = statement.where(table.c.device_id.is_(None), named)
        async with self._database.reading() as connection:
            found = await connection.execute(select(devices.c.id).where(devices.c.name == wanted.device))
            key = found.scalar_one_or_none()
        return [removed] if key is None else [removed, statement.where(table.c.device_id == key)]

    async def _ascending(self, log: _Log, span: Select[Any]) -> AsyncIterator[Entry]:
        place = tuple_(log.table.c[log.time], log.table.c.id)
        page = span.order_by(log.table.c[log.time], log.table.c.id).limit(PAGE)
        after: tuple[datetime, int] | None = None
        while True:
            statement = page if after is None else page.where(place > after)
            async with self._database.reading() as connection:
                rows = (await connection.execute(statement)).mappings().all()
            for row in rows:
                yield _shown(log, row)
            if len(rows) < PAGE:
                return
            after = (rows[-1]["row_time"], rows[-1]["row_id"])

    async def _newest(self, span: Select[Any], limit: int, log: _Log) -> list[Entry]:
        statement = span.order_by(log.table.c[log.time].desc(), log.table.c.id.desc()).limit(limit)
        async with self._database.reading() as connection:
            return [_shown(log, row) for row in (await connection.execute(statement)).mappings()]


def _shown(log: _Log, row: Any) -> Entry:
    return {name: row[name] for name in (*log.columns, *log.of_run)}
