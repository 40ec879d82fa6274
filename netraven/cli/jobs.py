"""`netraven job list` and `show`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from netraven.cli.context import Context
from netraven.cli.kinds import kind_of
from netraven.cli.report import origin
from netraven.cli.screen import Table, clock, console, counted, print_json, say, warn
from netraven.model import Job, JobStanding, Run, RunStatus, Schedule, What, utcnow
from netraven.plain import plain_line
from netraven.schedule.definition import table_of
from netraven.schedule.due import Due, next_due
from netraven.schedule.durations import span_text
from netraven.schedule.zones import zone_named

if TYPE_CHECKING:
    from netraven.storage.store import SqlStore

DUE_TIMES = 5
"""Of the next due times so many are shown."""
RUNS = 10
"""Of the last runs."""


async def show_all(context: Context, *, as_json: bool) -> int:
    async with context.store() as store:
        standings = await store.jobs.list()
    if as_json:
        print_json([document(context, standing) for standing in standings])
        return 0
    if not standings:
        say(f"no jobs: {context.command('job', 'add', 'NAME', '--cron', '30 2 * * *')} defines one")
        return 0
    table = Table("job", "what", "when", "next run", "last run", "of", spare=("of", "what"))
    for standing in standings:
        job = standing.job
        table.add(
            job.name, job.what.value, when(job.schedule), next_run(standing), last_run(standing.last_run),
            standing.origin.value, style="" if job.enabled else "dim",
        )  # fmt: skip
    table.print(console())
    return 0


async def show(context: Context, *, name: str, as_json: bool) -> int:
    async with context.store() as store:
        standing = await store.jobs.get(name)
        runs = await store.runs.of_job(standing.id, limit=RUNS)
        devices = await _selected(store, standing.job)
        lives = bool(await store.daemons.living())
    due = due_times(standing.job, utcnow()) if standing.job.enabled else []
    if as_json:
        print_json(
            {
                **document(context, standing),
                "devices": devices,
                "next_due": [{"due_at": one.due_at, "run_at": one.run_at} for one in due],
                "runs": [run_document(run) for run in runs],
            }
        )
        return 0
    _print(context, standing, devices)
    _print_due(standing, due)
    if due and not lives:
        say(f"no daemon runs that would do it: {context.command('serve')}")
    _print_runs(runs)
    return 0


async def _selected(store: SqlStore, job: Job) -> int | None:
    """How many devices a job selects now; None where it is about none."""
    return None if job.what is What.PRUNE else await store.count(job.selector, collected_only=True)


def document(context: Context, standing: JobStanding) -> dict[str, Any]:
    """A job as JSON has it: ``definition`` as a table of the settings would say it."""
    job = standing.job
    return {
        "job": job.name,
        "what": job.what.value,
        "enabled": job.enabled,
        "origin": standing.origin.value,
        "where": context.settings.job_places.get(job.name) if standing.origin.value == "settings" else None,
        "definition": table_of(job),
        "due_at": standing.due_at,
        "next_run_at": standing.next_run_at,
        "last_due_at": standing.last_due_at,
        "created_at": standing.created_at,
        "updated_at": standing.updated_at,
        "last_run": None if standing.last_run is None else run_document(standing.last_run),
    }


def run_document(run: Run) -> dict[str, Any]:
    """As `run list --json`."""
    return {
        "run": run.id,
        "what": run.what.value,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "status": run.status.value,
        "counts": asdict(run.counts),
        **origin(run),
    }


def due_times(job: Job, now: datetime) -> Sequence[Due]:
    """The next few."""
    found: list[Due] = []
    after = now
    while len(found) < DUE_TIMES and (due := next_due(job, after)) is not None:
        found.append(due)
        after = due.due_at
    return found


# ---- words ----


def when(schedule: Schedule) -> str:
    """A schedule on one line."""
    zone = "" if schedule.zone == "UTC" else f" {schedule.zone}"
    window = f" {schedule.start_after or ''}-{schedule.finish_by or ''}"
    if schedule.start_after is None:
        window = f" until {schedule.finish_by}" if schedule.finish_by is not None else ""
    if schedule.cron is not None:
        return f"{schedule.cron}{zone}{window}"
    if schedule.every is not None:
        return f"every {span_text(schedule.every)}{window}{zone if window else ''}"
    if schedule.at is not None:
        return f"once{window}"
    return f"by hand{window}{zone if window else ''}"


def local(at: datetime, zone: str) -> str:
    """``2026-11-25 02:30 CET``: as the wall clock of the job shows it."""
    return at.astimezone(zone_named(zone)).strftime("%Y-%m-%d %H:%M %Z")


def next_run(standing: JobStanding) -> str | None:
    if not standing.job.enabled:
        return "disabled"
    if standing.next_run_at is None:
        return None if standing.job.schedule.by_hand else "never again"
    return local(standing.next_run_at, standing.job.schedule.zone)


def next_line(standing: JobStanding) -> str:
    """When it is run next, as the end of a sentence."""
    job = standing.job
    if not job.enabled:
        return "switched off"
    if job.schedule.by_hand:
        return "run by hand only"
    if standing.next_run_at is None:
        return "its time has been, it is due no more"
    return f"next run {local(standing.next_run_at, job.schedule.zone)}"


def last_run(run: Run | None) -> str | None:
    """How a run went, told apart at a glance."""
    if run is None:
        return None
    counts = run.counts
    of = f"{counts.collected:,} of {counts.devices:,}"
    if not run.what.visits:
        said = {RunStatus.COMPLETE: "done"}.get(run.status, run.status.value)
    else:
        well = kind_of(run.what).well
        said = {
            RunStatus.QUEUED: f"queued, {of}" if run.begun else "queued",
            RunStatus.RUNNING: f"running, {of}",
            RunStatus.COMPLETE: f"all {counts.devices:,} {well}",
            RunStatus.PARTIAL: f"{of} {well}",
            RunStatus.FAILED: f"none of {counts.devices:,} {well}" if counts.devices else "failed",
            RunStatus.INTERRUPTED: f"interrupted, {of}",
            RunStatus.NO_DEVICES: "no devices",
            RunStatus.NO_CREDENTIALS: "no credentials",
            RunStatus.MISSED: "missed",
        }[run.status]
    return f"{said} (run {run.id})"


def _print(context: Context, standing: JobStanding, devices: int | None) -> None:
    job = standing.job
    state = "" if job.enabled else ", disabled"
    say(f"Job {plain_line(job.name)}: {job.what.value}, {when(job.schedule)}{state}")
    where = context.settings.job_places.get(job.name)
    unknown = "" if context.settings.jobs_problem else ", which no longer have it"
    defined = f"the settings{f', {where}' if where else unknown}"
    say(f"  defined by {defined if standing.origin.value == 'settings' else 'command'}")
    for key, value in table_of(job).items():
        if key not in ("what", "enabled"):
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            say(f"  {key:14} {plain_line(str(shown), 1000)}")
    if devices is not None:
        say(f"  {counted(devices, 'device')} at the moment")
        if not devices:
            warn("it selects no device: its runs do nothing until there are some")


def _print_due(standing: JobStanding, due: Sequence[Due]) -> None:
    zone = standing.job.schedule.zone
    if not due:
        if standing.job.enabled and not standing.job.schedule.by_hand:
            warn("it is due no more")
        return
    say()
    moved = any(one.run_at != one.due_at for one in due)
    own = [] if zone == "UTC" else [f"due ({zone})"]
    table = Table(*own, "due (UTC)", *(["starts (UTC)"] if moved else []))
    for one in due:
        table.add(
            *([local(one.due_at, zone)] if own else []),
            clock(one.due_at),
            *([clock(one.run_at)] if moved else []),
        )
    table.print(console())


def _print_runs(runs: Sequence[Run]) -> None:
    say()
    if not runs:
        say("no runs yet")
        return
    table = Table("started (UTC)", "due (UTC)", "it came to", spare=("due (UTC)",))
    for run in runs:
        table.add(clock(run.started_at), clock(run.due_at), last_run(run))
    table.print(console())
