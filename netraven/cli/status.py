"""`netraven status`: one screen."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.text import Text

from netraven.cli.context import Context
from netraven.cli.jobs import local
from netraven.cli.screen import ago, cell, clock, console, counted, print_json
from netraven.cli.standing import Standing, UnderWay
from netraven.cli.unwell import Unwell, unwell
from netraven.errors import DatabaseError, InputError
from netraven.model import DaemonSeen, Run, What
from netraven.plain import plain_line

if TYPE_CHECKING:
    from netraven.storage.store import SqlStore

EVERY = 2.0
"""Seconds between two looks of --watch."""
ROWS = 5
"""Of each kind; how many more there are is said."""
_NAME = 28


async def status(context: Context, *, watch: bool, as_json: bool) -> int:
    if watch and as_json:
        raise InputError("--watch is for people, --json for programs: say one of the two")
    where = console()
    if watch and not where.is_terminal:
        raise InputError("--watch draws on a terminal, and standard output is none: leave it out")
    async with context.store() as store:
        if watch:
            await _watch(context, store, where)
            return 0
        standing = await Standing.read(store, context.settings)
    found = unwell(standing)
    if as_json:
        print_json(standing.document([{"kind": one.kind, "text": one.text} for one in found]))
        return 0
    for line in lines(context, standing, found, where):
        where.print(line, soft_wrap=not where.is_terminal)
    return 0


async def _watch(context: Context, store: SqlStore, where: Console) -> None:
    """Until Ctrl-C. A database that is lost is waited for: what was seen last stays in sight."""
    from rich.live import Live

    shown: list[Text] = [Text("reading", style="dim")]
    with Live(console=where, auto_refresh=False, screen=True) as live:
        try:
            while True:
                try:
                    standing = await Standing.read(store, context.settings)
                    shown = lines(context, standing, unwell(standing), where)
                    trouble = []
                except DatabaseError as error:
                    trouble = [
                        Text(f"the database cannot be read: {plain_line(str(error))}", style="bold red")
                    ]
                live.update(Group(*trouble, *_fitting(shown, where.height - len(trouble))), refresh=True)
                await asyncio.sleep(EVERY)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None:
                raise
            task.uncancel()


def _fitting(shown: Sequence[Text], height: int) -> Sequence[Text]:
    if len(shown) <= height:
        return shown
    return [
        *shown[: height - 1],
        Text(f"and {len(shown) - height + 1} more lines: a higher terminal shows them", "dim"),
    ]


def lines(context: Context, standing: Standing, found: Sequence[Unwell], where: Console) -> list[Text]:
    """The whole screen, a line each."""
    width = where.width if where.is_terminal else 0
    made = [Text.assemble(("NetRaven", "bold"), f"  {clock(standing.at)} UTC  ", (standing.database, "dim"))]
    for title, rows in (
        ("Daemons", _daemons(standing)),
        ("Running", _running(standing)),
        ("Queued", _queued(standing)),
        ("Next", _next(standing)),
    ):
        made += [Text(), Text(title, style="bold"), *rows]
    made += [Text(), _fleet(standing)]
    made += [
        Text(),
        Text("Unwell" if found else "Nothing is unwell", style="bold red" if found else "bold green"),
    ]
    for one in found:
        made += _wrapped(Text(one.text, style="yellow"), width)
    for line in made:
        line.no_wrap, line.overflow = bool(width), "ellipsis" if width else None
    return [*made, *_look(context, found)]  # a command that is cut does not work as printed


def _wrapped(text: Text, width: int) -> Iterator[Text]:
    """With a hanging indent; on one line where no terminal is in the way."""
    parts = text.wrap(Console(width=width), max(20, width - 4)) if width else [text]
    for number, part in enumerate(parts):
        yield Text("    " if number else "  ").append_text(part)


def _daemons(standing: Standing) -> Iterator[Text]:
    if not standing.daemons:
        yield Text("  none runs", style="dim")
    for one in standing.daemons[:ROWS]:
        yield _daemon(one, standing.at)
    yield from _more(len(standing.daemons))


def _daemon(one: DaemonSeen, now: datetime) -> Text:
    state = one.state
    line = Text("  ").append_text(cell(one.host))
    line.append(
        f" pid {_pid(state.get('pid'))}, since {clock(one.started_at)} UTC, seen {ago(one.heartbeat_at, now)}"
    )
    if state.get("draining"):
        line.append(", stopping", style="yellow")
    else:
        line.append(f", {_number(state.get('sessions'))} in session")
    return line


def _pid(value: object) -> str:
    return str(value) if isinstance(value, int) else "-"


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "-"


def _running(standing: Standing) -> Iterator[Text]:
    if not standing.running:
        yield Text("  nothing", style="dim")
    for one in standing.running[:ROWS]:
        yield from _run(one, standing.at)
    yield from _more(len(standing.running))


def _run(one: UnderWay, now: datetime) -> Iterator[Text]:
    counts = one.run.counts
    line = _named(one.run)
    line.append(f"{one.done:,} of {counts.devices:,}" if one.run.begun else "begins")
    if counts.failed:
        line.append(f"  {counts.failed:,} failed", style="red")
    if one.in_session is not None:
        line.append(f"  {one.in_session:,} in session", style="dim")
    yield line
    said = []
    if one.eta_at is not None:
        said.append(f"ends about {_time(one.eta_at, now)}, {_ahead(one.eta_at, now)}")
    if one.run.finish_by is not None:
        said.append(f"to be finished by {_time(one.run.finish_by, now)} UTC")
    if said:
        line = Text(" " * 11 + ", ".join(said), style="red" if one.late else "dim")
        yield line.append(": late" if one.late else "")


def _named(run: Run) -> Text:
    line = Text(f"  run {run.id:<5}")
    name = cell(_of(run))
    name.truncate(_NAME, overflow="ellipsis", pad=True)
    return line.append_text(name).append(" ")


def _of(run: Run) -> str:
    """What a run is of, in few letters."""
    kind = "" if run.what is What.CONFIGURATION else f"{run.what.value} "
    if run.job is not None:
        return f"{kind}job {run.job}"
    return f"{kind}retry of {run.retry_of}" if run.retry_of is not None else f"{kind}by hand"


def _queued(standing: Standing) -> Iterator[Text]:
    if not standing.queued:
        yield Text("  nothing", style="dim")
    for run in standing.queued[:ROWS]:
        counts = run.counts
        left = counts.devices - counts.collected - counts.failed - counts.skipped
        line = _named(run)
        yield line.append(f"{counted(left, 'device')} left" if run.begun else "not begun", style="dim")
    yield from _more(len(standing.queued))


def _next(standing: Standing) -> Iterator[Text]:
    coming = standing.coming
    if not coming:
        yield Text("  no job is due", style="dim")
    for one, at in coming[:ROWS]:
        name = cell(one.job.name)
        name.truncate(_NAME, overflow="ellipsis", pad=True)
        line = Text("  ").append_text(name)
        line.append(f" {local(at, one.job.schedule.zone):24} ")
        line.append(_ahead(at, standing.at), style="dim")
        yield line
    yield from _more(len(coming))


def _more(number: int) -> Iterator[Text]:
    if number > ROWS:
        yield Text(f"  and {number - ROWS:,} more", style="dim")


def _fleet(standing: Standing) -> Text:
    ages = standing.figures.devices
    total, fresh = sum(ages.values()), ages.get("1h", 0) + ages.get("24h", 0)
    text = Text(f"{counted(total, 'device')}", style="bold")
    return text.append(f", {fresh:,} collected within 24 h", style="") if total else text


def _look(context: Context, found: Sequence[Unwell]) -> Iterator[Text]:
    words = list(dict.fromkeys(one.look for one in found if one.look))
    if not words:
        return
    yield Text()
    yield Text("To look further:")
    for one in words[:ROWS]:
        yield Text(f"  {plain_line(context.command(*one), 1000)}")


def _time(at: datetime, now: datetime) -> str:
    """``02:51``; with its date on another day."""
    text = clock(at) or ""
    return text[11:16] if text[:10] == (clock(now) or "")[:10] else text[:16]


def _ahead(at: datetime, now: datetime) -> str:
    """``in 8 min``, or how long ago."""
    seconds = (at - now).total_seconds()
    if seconds < 0:
        return ago(at, now)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"in {int(seconds // size)} {unit}"
    return f"in {int(seconds)} s"
