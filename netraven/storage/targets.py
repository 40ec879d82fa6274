"""The targets of runs: which devices, in which order; written once, so that a run can go on whoever ran it before."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Float, case, cast, func, insert, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.credentials.lockout import CONTROL_LOGIN
from netraven.model import JUMP_HOST, Credential, Earlier, Load, Run, Verdict
from netraven.storage.schema import credential_attempts, device_standing, devices, run_outcomes, run_targets
from netraven.storage.selecting import selecting
from netraven.storage.types import padded


async def write(connection: AsyncConnection, run: Run, *, dead_after: int) -> int:
    """Put the devices that the run's selector fits on record as its targets; how many.

    Those that could not be reached in the last ``dead_after`` runs come last. Where the run has to be finished by some
    time, the slowest come first, one that nothing is known of as if it took as long as the average.
    """
    standing, already = device_standing.c, 0
    order: list[ColumnElement[object]] = [case((standing.dead_in_row >= dead_after, 1), else_=0)]
    if run.finish_by is not None:
        usual = select(func.avg(standing.duration_ms)).scalar_subquery()
        order.append(func.coalesce(standing.duration_ms, usual, 0).desc())
    order.append(devices.c.name)
    for conditions in selecting(run.selector):
        chosen = (
            select(
                literal(run.id).label("run_id"),
                (already + func.row_number().over(order_by=order)).label("seq"),
                devices.c.id,
                devices.c.name,
            )
            .select_from(devices)
            .outerjoin(device_standing, standing.device_id == devices.c.id)
            .where(*conditions, devices.c.platform != JUMP_HOST)
        )
        into = insert(run_targets).from_select(["run_id", "seq", "device_id", "device_name"], chosen)
        await connection.execute(into)
        written = select(func.count()).where(run_targets.c.run_id == run.id)
        already = (await connection.execute(written)).scalar_one()
    return already


async def load(connection: AsyncConnection, run: Run, *, dead_after: int, dead_seconds: float) -> Load:
    """What visits of the targets that have no outcome yet usually take; of a dead device so many seconds."""
    standing, target = device_standing.c, run_targets.c
    done = select(run_outcomes.c.id).where(
        run_outcomes.c.run_id == run.id, run_outcomes.c.device_name == target.device_name
    )
    usual = case(
        (standing.dead_in_row >= dead_after, literal(dead_seconds * 1000, Float)),
        else_=cast(standing.duration_ms, Float),
    )
    statement = (
        select(func.count().label("number"), func.count(usual), func.sum(usual), func.max(usual))
        .select_from(run_targets)
        .outerjoin(device_standing, standing.device_id == target.device_id)
        .where(target.run_id == run.id, ~done.exists())
    )
    devices, known, together, longest = (await connection.execute(statement)).one()
    return Load(devices, known, (together or 0.0) / 1000, (longest or 0.0) / 1000)


async def earlier(
    connection: AsyncConnection, run: Run, ids: Sequence[int]
) -> dict[int, tuple[Earlier, ...]]:
    """What was offered to devices in a run so far, by device id; a device without any is not in it."""
    attempt = credential_attempts.c
    statement = (
        select(
            attempt.device_id,
            attempt.credential_id,
            attempt.credential_name,
            attempt.credential_username,
            attempt.realm,
            attempt.secret_version,
            attempt.verdict,
        )
        .where(attempt.run_id == run.id, attempt.device_id.in_(padded(ids)))
        .where(attempt.reason != CONTROL_LOGIN)
        .order_by(attempt.id)
    )
    found: dict[int, tuple[Earlier, ...]] = {}
    for row in await connection.execute(statement):
        credential = Credential(
            row.credential_name,
            row.credential_username,
            realm=row.realm,
            secret_version=row.secret_version,
            id=row.credential_id,
        )
        one = Earlier(credential, Verdict(row.verdict))
        found[row.device_id] = (*found.get(row.device_id, ()), one)
    return found
