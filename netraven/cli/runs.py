"""`netraven run`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from netraven.cli.context import Context
from netraven.cli.logs import check_span
from netraven.cli.report import RunFacts, origin, print_report, whence
from netraven.cli.screen import ROWS, Table, clock, console, print_json, print_json_list, say, took
from netraven.model import RunStatus

STYLES = {
    RunStatus.COMPLETE: "",
    RunStatus.PARTIAL: "yellow",
    RunStatus.QUEUED: "cyan",
    RunStatus.RUNNING: "bold",
    RunStatus.INTERRUPTED: "magenta",
    RunStatus.MISSED: "red",
    RunStatus.FAILED: "red",
    RunStatus.NO_DEVICES: "dim",
    RunStatus.NO_CREDENTIALS: "red",
}
"""How the status of a run looks on a terminal; its word tells it everywhere."""


async def show_all(
    context: Context, *, limit: int | None, since: datetime | None, until: datetime | None, as_json: bool
) -> int:
    check_span(since, until)
    wanted = limit or ROWS
    async with context.store() as store:
        runs = await store.runs.list(limit=limit if as_json else wanted + 1, since=since, until=until)
    if as_json:
        await print_json_list(
            {
                "run": run.id,
                "what": run.what.value,
                "started_at": run.started_at,
                "finished_at": run.finished_at,
                "status": run.status.value,
                "counts": asdict(run.counts),
                **origin(run),
            }
            for run in runs
        )
        return 0
    more, runs = len(runs) > wanted, runs[-wanted:]
    if not runs:
        say("no runs on record")
        return 0
    numbers = ("run", "took", "devices", "well", "failed", "skipped", "offered")
    columns = ("run", "what", "started (UTC)", "took", "status", *numbers[2:])
    table = Table(*columns, right=numbers, spare=("offered", "skipped", "took", "started (UTC)", "what"))
    for run in runs:
        lasted = (
            None
            if run.finished_at is None
            else round((run.finished_at - run.started_at).total_seconds() * 1000)
        )
        counts = run.counts
        table.add(
            run.id, whence(run), clock(run.started_at), took(lasted), run.status.value.replace("_", " "),
            counts.devices, counts.collected, counts.failed, counts.skipped, counts.attempts,
            style=STYLES.get(run.status, ""),
        )  # fmt: skip
    table.print(console())
    if more:
        say(f"\nThe newest {wanted:,}; there are more. --limit N and --since WHEN show more, --json all.")
    return 0


async def show(context: Context, *, run: int, as_json: bool) -> int:
    async with context.store() as store:
        facts = await RunFacts.read(store, run)
    if as_json:
        print_json(facts.document())
    else:
        print_report(context, facts, each_device=True)
    return 0


async def retry(context: Context, *, run: int, concurrency: int | None, as_json: bool) -> int:
    from netraven.app import NetRaven
    from netraven.cli.collect import tell, watched, within_file_limit
    from netraven.cli.hooks import note_what_waits

    async with NetRaven.open(context.settings) as raven:
        wanted = within_file_limit(concurrency) if concurrency is not None else None
        facts = await watched(
            context, raven, lambda observer: raven.retry(run, concurrency=wanted, observer=observer)
        )
        await note_what_waits(context, raven.store)
    return tell(context, facts, as_json=as_json)
