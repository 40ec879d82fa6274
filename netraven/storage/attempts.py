"""Attempts on record, and what they teach of credentials and of (device, credential) pairs.

Everything that a batch says about one credential is folded into one row of one UPDATE, and nothing is read first:
no update is lost, whoever else writes. Rows are written in the order of their keys, credentials last, so that two
collectors on PostgreSQL cannot wait for each other in a circle and hold the busiest rows for the shortest time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Float, bindparam, case, delete, func, insert, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.credentials.success_rate import Step
from netraven.model import (
    AttemptConcluded,
    AttemptStarted,
    AttemptWithdrawn,
    Credential,
    Device,
    RefusalConfirmed,
    Verdict,
)
from netraven.storage import device_sessions
from netraven.storage.schema import credential_attempts, credential_pairs, credentials
from netraven.storage.types import Id, UtcDateTime

_INSERT = insert(credential_attempts)
_LAST_ID = text("SELECT seq FROM sqlite_sequence WHERE name = 'credential_attempts'")
_NEXT_IDS = text(
    "SELECT nextval('credential_attempts_id_seq') FROM generate_series(1, CAST(:number AS INTEGER))"
)
_DELETE = delete(credential_attempts).where(credential_attempts.c.id == bindparam("b_id", type_=Id))
_CONCLUDE = (
    update(credential_attempts)
    .where(credential_attempts.c.id == bindparam("b_id", type_=Id))
    .values(
        {name: bindparam(f"b_{name}") for name in ("verdict", "error_type", "concluded_at", "duration_ms")}
    )
)


@dataclass(slots=True)
class _Lesson:
    """What a batch says about one credential."""

    attempts: int = 0
    successes: int = 0
    last_used: datetime | None = None
    last_success: datetime | None = None
    step: Step = field(default_factory=Step)


class Lessons:
    """Gathers what a batch says about credentials, and writes it in one statement."""

    def __init__(self) -> None:
        self._of: dict[int, _Lesson] = {}

    def _lesson(self, credential_id: int | None) -> _Lesson:
        if credential_id is None:
            return _Lesson()  # not from this store: its attempts are logged, and there is no row to count in
        return self._of.setdefault(credential_id, _Lesson())

    def started(self, entry: AttemptStarted) -> None:
        lesson = self._lesson(entry.credential.id)
        lesson.attempts += 1
        lesson.last_used = _later(lesson.last_used, entry.at)

    def withdrawn(self, entry: AttemptWithdrawn) -> None:
        self._lesson(entry.credential.id).attempts -= 1

    def confirmed(self, entry: RefusalConfirmed) -> None:
        lesson = self._lesson(entry.credential.id)
        lesson.step = lesson.step.then(Verdict.REFUSED)

    def concluded(self, entry: AttemptConcluded) -> None:
        if entry.verdict is Verdict.NO_VERDICT or not entry.teaches:
            return
        lesson = self._lesson(entry.credential.id)
        lesson.step = lesson.step.then(entry.verdict)
        if entry.verdict is Verdict.ACCEPTED:
            lesson.successes += 1
            lesson.last_success = _later(lesson.last_success, entry.at)

    async def write(self, connection: AsyncConnection) -> None:
        if self._of:
            await connection.execute(
                _LEARN,
                [
                    {
                        "b_id": credential_id,
                        "b_attempts": lesson.attempts,
                        "b_successes": lesson.successes,
                        "b_last_used": lesson.last_used,
                        "b_last_success": lesson.last_success,
                        "b_from_none": lesson.step.from_none,
                        "b_scale": lesson.step.scale,
                        "b_shift": lesson.step.shift,
                    }
                    for credential_id, lesson in sorted(self._of.items())
                ],
            )


def _later(one: datetime | None, other: datetime) -> datetime:
    return other if one is None or other > one else one


def _latest(name: str) -> object:
    """The later of the column and the parameter, where either may be NULL; the same on both databases."""
    column, given = credentials.c[name], bindparam(f"b_{name}", type_=UtcDateTime())
    return case((column.is_(None), given), (column < given, given), else_=column)


_STEPPED = credentials.c.success_rate * bindparam("b_scale", type_=Float(53)) + bindparam(
    "b_shift", type_=Float(53)
)
_LEARN = (
    update(credentials)
    .where(credentials.c.id == bindparam("b_id", type_=Id))
    .values(
        attempts=credentials.c.attempts + bindparam("b_attempts", type_=Id),
        successes=credentials.c.successes + bindparam("b_successes", type_=Id),
        last_used=_latest("last_used"),
        last_success=_latest("last_success"),
        success_rate=case(
            (credentials.c.success_rate.is_(None), bindparam("b_from_none", type_=Float(53))),
            (_STEPPED > 1.0, 1.0),  # by rounding
            else_=_STEPPED,
        ),
    )
)


async def start(connection: AsyncConnection, entries: Sequence[AttemptStarted]) -> Sequence[int | None]:
    """Put attempts on record as pending; their ids in the order of ``entries``.

    None where another run is in session with the device: nothing is on record of it.
    """
    elsewhere = await device_sessions.claim(connection, entries)
    if not elsewhere:
        return await _put(connection, entries)
    free = [entry for entry in entries if (entry.run_id, entry.device.id) not in elsewhere]
    keys = iter(await _put(connection, free) if free else ())
    return [None if (entry.run_id, entry.device.id) in elsewhere else next(keys) for entry in entries]


async def _put(connection: AsyncConnection, entries: Sequence[AttemptStarted]) -> Sequence[int]:
    ids = await _reserve(connection, len(entries))
    rows = [
        {
            "id": key,
            "run_id": entry.run_id,
            "device_id": entry.device.id,
            "device_name": entry.device.name,
            "credential_id": entry.credential.id,
            "credential_name": entry.credential.name,
            "credential_username": entry.credential.username,
            "realm": entry.credential.realm,
            "secret_version": entry.credential.secret_version,
            "reason": entry.reason,
            "verdict": "pending",
            "started_at": entry.at,
        }
        for key, entry in zip(ids, entries, strict=True)
    ]
    await connection.execute(_INSERT, rows)
    return ids


async def _reserve(connection: AsyncConnection, number: int) -> Sequence[int]:
    """Ids for ``number`` attempts, taken before the insert: RETURNING would cost three times the whole insert.

    SQLite's writer is alone, and counts on from the highest id that it was given.
    """
    if connection.dialect.name == "sqlite":
        last = (await connection.execute(_LAST_ID)).scalar_one_or_none() or 0
        return range(last + 1, last + 1 + number)
    return (await connection.execute(_NEXT_IDS, {"number": number})).scalars().all()


async def withdraw(connection: AsyncConnection, entries: Sequence[AttemptWithdrawn]) -> None:
    await connection.execute(
        _DELETE, [{"b_id": key} for key in sorted(entry.attempt_id for entry in entries)]
    )


async def conclude(connection: AsyncConnection, entries: Sequence[AttemptConcluded]) -> None:
    """Put verdicts on record with the attempts."""
    await connection.execute(
        _CONCLUDE,
        [
            {
                "b_id": entry.attempt_id,
                "b_verdict": entry.verdict.value,
                "b_error_type": entry.error_type,
                "b_concluded_at": entry.at,
                "b_duration_ms": entry.duration_ms,
            }
            for entry in sorted(entries, key=lambda entry: entry.attempt_id)
        ],
    )


async def remember_pairs(
    connection: AsyncConnection,
    concluded: Sequence[AttemptConcluded],
    confirmed: Sequence[RefusalConfirmed],
) -> None:
    """Put what verdicts say of secrets at devices on record."""
    lessons = [(e.device, e.credential, e.verdict, e.at) for e in concluded if e.teaches]
    lessons += [(e.device, e.credential, Verdict.REFUSED, e.at) for e in confirmed]
    pairs = _fold_pairs(lessons)
    if pairs:
        upsert = _UPSERT_SQLITE if connection.dialect.name == "sqlite" else _UPSERT_POSTGRESQL
        await connection.execute(upsert, [pairs[key] for key in sorted(pairs)])


_Pair = dict[str, object]


_PairLesson = tuple[Device, Credential, Verdict, datetime]


def _fold_pairs(lessons: Sequence[_PairLesson]) -> dict[tuple[int, int, int], _Pair]:
    """One row for each (device, credential, secret version), however many verdicts on it came together."""
    pairs: dict[tuple[int, int, int], _Pair] = {}
    for device, credential, verdict, at in lessons:
        device_id = device.id
        if device_id is None or credential.id is None:
            continue
        key = (device_id, credential.id, credential.secret_version)
        row = pairs.get(key)
        if row is None:
            row = pairs[key] = {
                "device_id": key[0],
                "credential_id": key[1],
                "secret_version": key[2],
                "last_verdict": verdict.value,
                "last_verdict_at": at,
                "last_success": None,
                "failures_in_row": 0,
                "attempts": 0,
            }
        row["attempts"] = int(str(row["attempts"])) + 1
        if verdict is Verdict.NO_VERDICT:
            continue
        row["last_verdict"], row["last_verdict_at"] = verdict.value, at
        if verdict is Verdict.ACCEPTED:
            row["last_success"], row["failures_in_row"] = at, 0
        else:
            row["failures_in_row"] = int(str(row["failures_in_row"])) + 1
    return pairs


def _upsert(statement: sqlite.Insert | postgresql.Insert) -> sqlite.Insert | postgresql.Insert:
    """Fold a batch's row into the pair on record.

    An attempt without a verdict counts as an attempt and teaches nothing: the last verdict on record stands.
    """
    new, old = statement.excluded, credential_pairs.c
    silent = new.last_verdict == Verdict.NO_VERDICT.value
    return statement.on_conflict_do_update(
        index_elements=[old.device_id, old.credential_id, old.secret_version],
        set_={
            "last_verdict": case((silent, old.last_verdict), else_=new.last_verdict),
            "last_verdict_at": case((silent, old.last_verdict_at), else_=new.last_verdict_at),
            "last_success": func.coalesce(new.last_success, old.last_success),
            "failures_in_row": case(
                (new.last_success.is_not(None), new.failures_in_row),
                else_=old.failures_in_row + new.failures_in_row,
            ),
            "attempts": old.attempts + new.attempts,
        },
    )


_UPSERT_SQLITE = _upsert(sqlite.insert(credential_pairs))
_UPSERT_POSTGRESQL = _upsert(postgresql.insert(credential_pairs))
