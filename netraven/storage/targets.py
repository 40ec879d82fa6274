"""The targets of runs: which devices, in which order; written once, so that a run can go on whoever ran it before."""

from __future__ import annotations

from sqlalchemy import ColumnElement, case, func, insert, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.model import JUMP_HOST, Run
from netraven.storage.schema import device_standing, devices, run_targets
from netraven.storage.selecting import selecting


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
