"""What is unwell, in sentences, the worst first; and what a person can look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from netraven.cli.jobs import last_run
from netraven.cli.screen import ago, clock, counted
from netraven.cli.standing import Standing
from netraven.model import Run, RunStatus
from netraven.plain import plain_line

OVERDUE = timedelta(minutes=1)
"""A job that is due for so long and was not taken up waits for somebody; a scheduler looks each second."""
SILENT = timedelta(seconds=30)
"""A daemon gives a sign of life every few seconds."""
SLOW = 5.0
"""Seconds for which what is to be recorded may wait."""
NAMED = 3
"""So many are named where more are meant."""
RECENT = timedelta(days=1)
"""A run by hand that failed longer ago is not news."""

_BAD = (RunStatus.FAILED, RunStatus.NO_CREDENTIALS, RunStatus.NO_DEVICES, RunStatus.INTERRUPTED)


@dataclass(frozen=True, slots=True)
class Unwell:
    """``kind``: a word for programs."""

    kind: str
    text: str
    look: tuple[str, ...] = ()
    """Words of a command that tells more."""


def unwell(standing: Standing) -> list[Unwell]:
    """Everything that a person should know."""
    return [
        *_daemons(standing),
        *_due(standing),
        *_late(standing),
        *_last_runs(standing),
        *_accounts(standing),
        *_devices(standing),
        *_hooks(standing),
    ]


def _daemons(standing: Standing) -> Iterator[Unwell]:
    waiting = [counted(len(standing.coming), "job")] if standing.coming else []
    waiting += [counted(len(standing.queued), "queued run")] if standing.queued else []
    if waiting and not standing.daemons:
        yield Unwell(
            "no-daemon", f"no daemon runs that would do what is due: {', '.join(waiting)}", ("serve",)
        )
    for daemon in standing.daemons:
        who = f"the daemon on {plain_line(daemon.host)}"
        silence = standing.at - daemon.heartbeat_at
        if silence > SILENT:
            yield Unwell(
                "silent", f"{who} gave its last sign of life {ago(daemon.heartbeat_at, standing.at)}"
            )
        if error := daemon.state.get("reload_error"):
            yield Unwell("reload", f"{who} goes on with its old settings: {plain_line(str(error), 600)}")
        lag = daemon.state.get("writer_lag_s")
        if isinstance(lag, int | float) and lag > SLOW:
            yield Unwell("slow-database", f"{who} waits {lag:.0f} s for the database to record what happened")


def _due(standing: Standing) -> Iterator[Unwell]:
    busy = {one.run.job for one in standing.running} | {run.job for run in standing.queued}
    overdue = [
        one.job.name for one, at in standing.coming if standing.at - at > OVERDUE and one.job.name not in busy
    ]
    if overdue:
        yield Unwell("overdue", f"due, and not taken up by anybody: {_names(overdue)}", ("job", "list"))
    for one in standing.jobs:
        run = one.last_run
        if run is not None and run.status is RunStatus.MISSED and one.job.enabled:
            more = f", and {counted(run.missed, 'due time')} before it" if run.missed else ""
            yield Unwell(
                "missed",
                f"job {plain_line(one.job.name)} missed its run of {clock(run.due_at)} UTC{more}",
                ("job", "show", one.job.name),
            )


def _late(standing: Standing) -> Iterator[Unwell]:
    for one in standing.running:
        if one.late:
            ends, by = clock(one.eta_at), clock(one.run.finish_by)
            text = f"{plain_line(one.name)} will be late: expected to end {ends}, to be finished by {by} UTC"
            yield Unwell("late", text, ("run", "show", str(one.run.id)))


def _last_runs(standing: Standing) -> Iterator[Unwell]:
    for one in standing.jobs:
        if one.last_run is not None and one.job.enabled:
            yield from _ended(f"job {plain_line(one.job.name)}", one.last_run)
    run = standing.by_hand
    if run is not None and run.finished_at is not None and standing.at - run.finished_at < RECENT:
        yield from _ended("the last run by hand", run)


def _ended(what: str, run: Run) -> Iterator[Unwell]:
    look = ("run", "show", str(run.id))
    why = f": {plain_line(run.error, 300)}" if run.error else ""
    if run.status in _BAD:
        yield Unwell("failed", f"{what}: {last_run(run)}{why}", look)
    elif run.status is RunStatus.PARTIAL:
        yield Unwell("incomplete", f"{what}: {last_run(run)}", look)


def _accounts(standing: Standing) -> Iterator[Unwell]:
    paused: dict[str, list[str]] = {}
    for held in standing.held:
        if held.paused:
            paused.setdefault(f"{plain_line(held.why)}, until {clock(held.until)} UTC", []).append(
                held.credential
            )
            continue
        text = f"credential {plain_line(held.credential)} is held until {clock(held.until)} UTC: {plain_line(held.why)}"
        yield Unwell("held", text, ("credential", "list"))
    for why, credentials in paused.items():
        yield Unwell("realm-paused", f"{why}; not offered meanwhile: {_names(credentials)}", ("plan",))
    for short in standing.short:
        account = f"account {plain_line(short.username)} of realm {plain_line(short.realm)}"
        yield Unwell(
            "short", f"{account} bears {counted(short.left, 'more refusal')} before it is held", ("plan",)
        )


def _devices(standing: Standing) -> Iterator[Unwell]:
    ages = standing.figures.devices
    old, never = ages.get("7d", 0) + ages.get("older", 0), ages.get("never", 0)
    if old or never:
        total = sum(ages.values())
        parts = [f"{old:,} longer ago"] if old else []
        parts += [f"{never:,} never"] if never else []
        text = f"{old + never:,} of {counted(total, 'device')} not collected for 24 h: {', '.join(parts)}"
        yield Unwell("stale", text, ("report", "stale"))


def _hooks(standing: Standing) -> Iterator[Unwell]:
    for one in standing.hooks:
        name = plain_line(one.hook)
        if one.pause is not None and one.waiting:
            why = plain_line(one.pause.error)
            tries = counted(one.pause.failures, "try", "tries")
            text = f"hook {name} fails ({tries}), {counted(one.waiting, 'event')} waiting: {why}"
            yield Unwell("hook", text, ("hook", "list"))
        elif one.given_up:
            yield Unwell(
                "hook", f"hook {name} was not told of {counted(one.given_up, 'event')}", ("hook", "list")
            )


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(map(plain_line, names[:NAMED])) + more
