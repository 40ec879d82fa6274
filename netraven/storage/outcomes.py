"""What devices came to: outcomes, connection logs and the run's readable log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.model import DeviceFinished, Logged, Outcome, Status
from netraven.storage.schema import connection_logs, job_logs, run_outcomes
from netraven.storage.snapshots import Taken, VersionWriter

_OUTCOME = insert(run_outcomes)
_CONNECTION = insert(connection_logs)
_JOB = insert(job_logs)
_WELL = (Status.COLLECTED, Status.CHECKED)


def finished_at(outcome: Outcome) -> datetime:
    return outcome.started_at + timedelta(milliseconds=outcome.duration_ms)


async def finish(
    connection: AsyncConnection,
    versions: VersionWriter,
    entries: Sequence[DeviceFinished],
    captures: Sequence[Sequence[Taken]],
) -> list[Outcome]:
    """Put outcomes on record with their captures; the outcomes again, ``snapshot`` and ``changed`` filled in."""
    kept = await versions.store(connection, [taken for each in captures for taken in each])
    answers, place = [], 0
    for entry, taken in zip(entries, captures, strict=True):
        outcome = entry.outcome
        if taken:
            mine = kept[place : place + len(taken)]
            shown = next((n for n, one in enumerate(taken) if one.kind == "running"), 0)
            new = any(one.new for one in mine)
            outcome = replace(outcome, snapshot=mine[shown].sha256.hex(), changed=new)
            place += len(taken)
        answers.append(outcome)
    pairs = [(entry.run_id, outcome) for entry, outcome in zip(entries, answers, strict=True)]
    await connection.execute(_OUTCOME, [_outcome_row(run_id, outcome) for run_id, outcome in pairs])
    if rows := [_connection_row(run_id, outcome) for run_id, outcome in pairs if _connected(outcome)]:
        await connection.execute(_CONNECTION, rows)
    if rows := [_job_row(run_id, outcome) for run_id, outcome in pairs if outcome.status not in _WELL]:
        await connection.execute(_JOB, rows)
    return answers


async def log(connection: AsyncConnection, entries: Sequence[Logged]) -> None:
    await connection.execute(
        _JOB,
        [
            {
                "run_id": entry.run_id,
                "timestamp": entry.at,
                "level": entry.level,
                "message": entry.message,
                "device_name": entry.device,
                "data": dict(entry.data),
            }
            for entry in entries
        ],
    )


def _connected(outcome: Outcome) -> bool:
    """Whether there is a connection to log: not for a device that was skipped before anything was tried."""
    return outcome.status is not Status.SKIPPED or outcome.attempts > 0


def _outcome_row(run_id: int, outcome: Outcome) -> dict[str, Any]:
    credential = outcome.credential
    return {
        "run_id": run_id,
        "device_id": outcome.device.id,
        "device_name": outcome.device.name,
        "status": outcome.status.value,
        "reason": outcome.reason,
        "detail": outcome.detail,
        "credential_id": credential.id if credential else None,
        "credential_name": credential.name if credential else None,
        "attempts": outcome.attempts,
        "retry_count": outcome.retry_count,
        "duration_ms": outcome.duration_ms,
        "snapshot": outcome.snapshot,
        "changed": outcome.changed,
        "started_at": outcome.started_at,
        "finished_at": finished_at(outcome),
    }


def _connection_row(run_id: int, outcome: Outcome) -> dict[str, Any]:
    credential = outcome.credential
    return {
        "timestamp": outcome.started_at,
        "run_id": run_id,
        "device_id": outcome.device.id,
        "device_name": outcome.device.name,
        "successful": outcome.status in _WELL,
        "duration_ms": outcome.duration_ms,
        "error_type": outcome.reason,
        "error_message": outcome.detail,
        "credential_id": credential.id if credential else None,
        "credential_name": credential.name if credential else None,
        "credential_username": credential.username if credential else None,
        "retry_count": outcome.retry_count,
    }


def _job_row(run_id: int, outcome: Outcome) -> dict[str, Any]:
    """A line for a device that was not collected; one that was has its connection log, and 100,000 a night do."""
    failed = outcome.status is Status.FAILED
    return {
        "run_id": run_id,
        "timestamp": finished_at(outcome),
        "level": "warning" if failed else "info",
        "message": "device_failed" if failed else "device_skipped",
        "device_name": outcome.device.name,
        "data": {
            "error_type": outcome.reason,
            "detail": outcome.detail,
            "credential": outcome.credential.name if outcome.credential else None,
        },
    }
