"""`netraven collect`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from netraven.app import NetRaven
from netraven.assembly import needs_key
from netraven.cli.context import Context
from netraven.cli.hooks import note_what_waits
from netraven.cli.plan import one_line as plan_in_one_line
from netraven.cli.progress import watcher
from netraven.cli.report import RunFacts, one_line, print_report
from netraven.cli.screen import note, print_json, warn
from netraven.cli.slips import warn_of_slips
from netraven.credentials.strategy import strategy_named
from netraven.errors import NetRavenError
from netraven.model import Run, RunStatus, What
from netraven.plain import plain, plain_line
from netraven.running import Observer

SPARE_FILES = 64
"""Open files beside one socket for each session: database, logs, name lookups."""

SAMPLE = 5_000
"""Devices that the line before a run is reckoned from, where there are many more: all of a large fleet would be read
twice, and the run begin seconds later."""


async def collect(
    context: Context,
    *,
    tags: list[str],
    names: list[str],
    concurrency: int | None,
    strategy: str | None,
    outputs: list[str],
    as_json: bool,
) -> int:
    wanted = concurrency or context.settings.collect.concurrency
    strategy_named(strategy or context.settings.collect.strategy)  # a wrong one is told before all else
    async with NetRaven.open(context.settings) as raven:
        planned = await raven.plan(tags, names, strategy=strategy, sample=SAMPLE)
        if (planned.devices and raven.store.encrypts) or needs_key(await raven.store.credentials()):
            raven.store.require_key()  # without it there is no run that a plan would be for
        await warn_of_slips(context, raven.store)
        for name, why in raven.platforms.broken().items():
            warn(f"platform {plain_line(name)} cannot be used, its devices fail:\n{plain(str(why))}")
        note(plan_in_one_line(planned))
        facts = await run_and_watch(
            context, raven, tags=tags, names=names, concurrency=wanted, strategy=strategy, outputs=outputs
        )
        await note_what_waits(context, raven.store)
    return tell(context, facts, as_json=as_json)


def tell(context: Context, facts: RunFacts, *, as_json: bool) -> int:
    """What a run came to, and the exit code that says it."""
    if as_json:
        print_json(facts.document())
        note(one_line(facts.run))
        for warning in facts.guarded.warnings:
            warn(warning)
    else:
        print_report(context, facts)
    return exit_code(facts)


def exit_code(facts: RunFacts) -> int:
    if facts.run.status in (RunStatus.INTERRUPTED, RunStatus.QUEUED):  # queued: put back when it was stopped
        return 130
    return 0 if facts.run.status is RunStatus.COMPLETE else 1


async def run_and_watch(
    context: Context,
    raven: NetRaven,
    *,
    tags: Sequence[str] = (),
    names: Sequence[str] = (),
    concurrency: int,
    strategy: str | None = None,
    outputs: Sequence[str] = (),
    what: What = What.CONFIGURATION,
) -> RunFacts:
    """Run with progress on stderr. Being cancelled ends the run, not the caller: what was done is reported."""
    concurrency = within_file_limit(concurrency)
    return await watched(
        context,
        raven,
        lambda observer: raven.run(
            tags=tags,
            names=names,
            concurrency=concurrency,
            strategy=strategy,
            outputs=outputs,
            what=what,
            observer=observer,
        ),
    )


async def watched(context: Context, raven: NetRaven, begin: Callable[[Observer], Awaitable[Run]]) -> RunFacts:
    """The same with any run."""
    watching = watcher()
    context.when_stopping = watching.stopping
    run: Run | None = None
    try:
        with watching:
            run = await begin(watching)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if watching.run is None or task is None:
            raise  # nothing had begun
        task.uncancel()
    except NetRavenError as error:
        if watching.run is not None:
            look = context.command("run", "show", watching.run.id)
            raise type(error)(
                f"{error}\nrun {watching.run.id} had come to {watching.counts()}: {look}"
            ) from error
        raise
    finally:
        context.when_stopping = None
    run = watching.run or run  # one that visits no device is not observed
    if run is None:
        raise RuntimeError("a run ended that never began")
    return await RunFacts.read(raven.store, run.id)


def within_file_limit(concurrency: int) -> int:
    """How many sessions the process may have; the limit of open files is raised for them where that is allowed."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = concurrency + SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return concurrency
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (ValueError, OSError):
        allowed = soft
    if allowed >= needed:
        return concurrency
    possible = max(1, allowed - SPARE_FILES)
    warn(
        f"this process may open {allowed:,} files, so {possible:,} devices are in session at once instead of "
        f"{concurrency:,}. `ulimit -n {needed}` (as root) or LimitNOFILE= in the systemd unit allows more"
    )
    return possible
