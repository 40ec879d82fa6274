"""What a prune finds to take away: versions beyond their limits, texts that nobody has, old rows of logs.

Reading only, a page at a time, so that a fleet of any size takes the same memory; a prune and its dry run read here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.history.retention import Dated, Limits, oldest_that_stays
from netraven.model import RunStatus
from netraven.storage.engine import Database
from netraven.storage.schema import (
    blobs,
    connection_logs,
    credential_attempts,
    devices,
    hook_deliveries,
    job_logs,
    lockout_accounts,
    run_outcomes,
    runs,
    snapshots,
)
from netraven.storage.types import padded

Output = tuple[int, str]
"""The id of a device, and a kind."""
Staying = Mapping[Output, int]
"""The number of the oldest version that stays, for each output that has some that go."""

GIVEN_UP_DAYS = 30.0
"""Days that deliveries that were given up stay on record, where nothing else is said of logs."""
_DEVICES = 100
"""Devices whose versions are looked through in one statement."""
_ROWS = 2000
_SPAN = 5000
"""Texts that are looked through in one statement."""

_newer = snapshots.alias("newer")
OUTDATED = (
    select(_newer.c.id)
    .where(
        _newer.c.device_id == snapshots.c.device_id,
        _newer.c.kind == snapshots.c.kind,
        _newer.c.version > snapshots.c.version,
    )
    .exists()
)
"""Whether a version is not the latest of its output."""
_dependent = blobs.alias("dependent")
UNUSED = (
    ~select(snapshots.c.id).where(snapshots.c.sha256 == blobs.c.sha256).exists(),
    ~select(_dependent.c.sha256).where(_dependent.c.base == blobs.c.sha256).exists(),
)
"""Whether no version has a text, and no other text differs from it."""


@dataclass(frozen=True, slots=True)
class Expired:
    """The versions of one output that go."""

    output: Output
    staying: int
    ids: tuple[int, ...]


async def versions(database: Database, limits: Limits, now: datetime) -> AsyncIterator[Expired]:
    """By device and kind."""
    if not limits:
        return
    beyond: list[ColumnElement[bool]] = []
    if limits.versions:
        beyond.append(func.count() > limits.versions)
    if (cutoff := limits.cutoff(now)) is not None:
        beyond.append(func.min(snapshots.c.first_seen_at) <= cutoff)
    grouped = (
        select(snapshots.c.device_id, snapshots.c.kind)
        .group_by(snapshots.c.device_id, snapshots.c.kind)
        .having(func.count() > 1, or_(*beyond))
        .order_by(snapshots.c.device_id, snapshots.c.kind)
    )
    async for span in device_spans(database):
        async with database.reading() as connection:
            found = await connection.execute(grouped.where(*span))
            page = [(row.device_id, row.kind) for row in found]
            dated = await _dated(connection, page)
        for output, rows in dated.items():
            staying = oldest_that_stays([one for _, one in rows], limits, now)
            ids = tuple(key for key, one in rows if one.number < staying)
            if ids:
                yield Expired(output, staying, ids)


async def device_spans(database: Database) -> AsyncIterator[Sequence[ColumnElement[bool]]]:
    """Versions in stretches by device, so that no statement takes long, however many of them nothing is wrong with."""
    last = 0
    while True:
        page = select(devices.c.id).where(devices.c.id > last).order_by(devices.c.id).limit(_DEVICES)
        async with database.reading() as connection:
            ids = (await connection.execute(page)).scalars().all()
        if ids:
            yield [snapshots.c.device_id >= ids[0], snapshots.c.device_id <= ids[-1]]
        if len(ids) < _DEVICES:
            return
        last = ids[-1]


async def _dated(
    connection: AsyncConnection, outputs: Sequence[Output]
) -> dict[Output, list[tuple[int, Dated]]]:
    columns = ("id", "device_id", "kind", "version", "first_seen_at")
    wanted = set(outputs)
    found: dict[Output, list[tuple[int, Dated]]] = {}
    if wanted:
        statement = (
            select(*(snapshots.c[name] for name in columns))
            .where(snapshots.c.device_id.in_(padded(sorted({device for device, _ in wanted}))))
            .order_by(snapshots.c.device_id, snapshots.c.kind, snapshots.c.version)
        )
        for row in await connection.execute(statement):
            if (output := (row.device_id, row.kind)) in wanted:
                found.setdefault(output, []).append((row.id, Dated(row.version, row.first_seen_at)))
    return found


async def unused_texts(database: Database) -> AsyncIterator[Sequence[bytes]]:
    """The digests of texts that go, some at a time. What only they differ from is not among them yet."""
    async for span in text_spans(database):
        statement = select(blobs.c.sha256).where(*span, *UNUSED).order_by(blobs.c.sha256)
        async with database.reading() as connection:
            found = (await connection.execute(statement)).scalars().all()
        if found:
            yield [bytes(digest) for digest in found]


async def texts_to_go(database: Database, staying: Staying) -> tuple[int, int]:
    """How many texts nobody will have once versions before ``staying`` are gone, and their bytes as stored."""
    texts = size = 0
    async for span in text_spans(database):
        async with database.reading() as connection:
            columns = (blobs.c.sha256, func.length(blobs.c.data).label("bytes"))
            rows = (await connection.execute(select(*columns).where(*span))).all()
            kept = await _kept(connection, staying, span, blobs, blobs.c.sha256)
            kept |= await _kept(connection, staying, span, _dependent, _dependent.c.base)
        for row in rows:
            if bytes(row.sha256) not in kept:
                texts, size = texts + 1, size + row.bytes
    return texts, size


async def _kept(
    connection: AsyncConnection, staying: Staying, span: Sequence[Any], texts: Any, kept: Any
) -> set[bytes]:
    """Digests in the span that a version that stays has, or that such a version's text differs from (``kept``)."""
    columns = (blobs.c.sha256, snapshots.c.device_id, snapshots.c.kind, snapshots.c.version)
    statement = select(*columns).where(*span)
    if texts is not blobs:
        statement = statement.join(texts, kept == blobs.c.sha256)
    statement = statement.join(snapshots, snapshots.c.sha256 == texts.c.sha256)
    return {
        bytes(row.sha256)
        for row in await connection.execute(statement)
        if row.version >= staying.get((row.device_id, row.kind), 0)
    }


async def text_spans(database: Database) -> AsyncIterator[Sequence[ColumnElement[bool]]]:
    """All texts in stretches, each a few milliseconds of reading."""
    last: bytes | None = None
    while True:
        after = [] if last is None else [blobs.c.sha256 > last]
        end = select(blobs.c.sha256).where(*after).order_by(blobs.c.sha256).offset(_SPAN - 1).limit(1)
        async with database.reading() as connection:
            found = (await connection.execute(end)).scalar_one_or_none()
        if found is None:
            yield after
            return
        last = bytes(found)
        yield [*after, blobs.c.sha256 <= last]


# ---- logs

_GUARDED = (
    select(lockout_accounts.c.realm)
    .where(
        lockout_accounts.c.realm == credential_attempts.c.realm,
        lockout_accounts.c.username == credential_attempts.c.credential_username,
        lockout_accounts.c.holder.is_not(None),
        credential_attempts.c.concluded_at.is_(None)
        | (credential_attempts.c.concluded_at >= lockout_accounts.c.saved_at),
    )
    .exists()
)
"""An attempt that the lockout guard has not yet drawn its conclusion from: should it die, the next one reads it."""
_later, _later_run = run_outcomes.alias("later"), runs.alias("later_run")
_LAST_OUTCOME = (
    run_outcomes.c.device_id.is_not(None)
    & ~select(_later.c.id)
    .join(_later_run, _later_run.c.id == _later.c.run_id)
    .where(
        _later.c.device_id == run_outcomes.c.device_id,
        _later.c.id > run_outcomes.c.id,
        _later_run.c.what == runs.c.what,
    )
    .correlate(run_outcomes, runs)
    .exists()
)
"""How a device went last in a run of its kind: what comes next is told as a failure again, or a recovery, by it."""


@dataclass(frozen=True, slots=True)
class Log:
    """A table of which old rows go, in the order of an index."""

    table: Table
    order: tuple[ColumnElement[Any], ...]
    conditions: tuple[ColumnElement[bool], ...]

    @property
    def name(self) -> str:
        return self.table.name

    def page(self, after: tuple[Any, ...] | None) -> Select[Any]:
        columns = (self.table.c.id, *(column.label(f"place_{n}") for n, column in enumerate(self.order)))
        statement = select(*columns).where(*self.conditions).order_by(*self.order).limit(_ROWS)
        if "run_id" in self.table.c and self.table is not hook_deliveries:
            statement = statement.join(runs, runs.c.id == self.table.c.run_id).where(
                runs.c.status.not_in((RunStatus.QUEUED.value, RunStatus.RUNNING.value))
            )
        return statement if after is None else statement.where(tuple_(*self.order) > after)


def logs(now: datetime, days: float) -> list[Log]:
    """What goes where logs are kept for ``days`` (0: for ever). Rows of a run that has not ended stay."""
    cutoff = now - timedelta(days=days or GIVEN_UP_DAYS)
    deliveries = hook_deliveries.c
    found = [
        Log(
            hook_deliveries,
            (deliveries.id,),
            (deliveries.state == "given-up", deliveries.happened_at < cutoff),
        )
    ]
    if not days:
        return found
    attempt, outcome = credential_attempts.c, run_outcomes.c
    began_before = runs.c.started_at < cutoff
    return [
        Log(credential_attempts, (attempt.started_at, attempt.id), (attempt.started_at < cutoff, ~_GUARDED)),
        Log(
            run_outcomes,
            (outcome.run_id, outcome.device_name),
            (
                outcome.run_id <= select(func.max(runs.c.id)).where(began_before).scalar_subquery(),
                began_before,
                outcome.finished_at < cutoff,
                ~_LAST_OUTCOME,
            ),
        ),
        *(
            Log(table, (table.c.timestamp, table.c.id), (table.c.timestamp < cutoff,))
            for table in (connection_logs, job_logs)
        ),
        *found,
    ]


async def old_rows(database: Database, log: Log) -> AsyncIterator[Sequence[int]]:
    """The ids of rows that go, some at a time."""
    after: tuple[Any, ...] | None = None
    while True:
        async with database.reading() as connection:
            rows = (await connection.execute(log.page(after))).all()
        if rows:
            yield [row.id for row in rows]
        if len(rows) < _ROWS:
            return
        after = tuple(rows[-1])[1:]
