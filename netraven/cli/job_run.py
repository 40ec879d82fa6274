"""`netraven job run`: by the daemon, and followed here; or here, where no daemon lives."""

from __future__ import annotations

import asyncio

from netraven.app import NetRaven
from netraven.cli.collect import tell, watched, within_file_limit
from netraven.cli.context import Context
from netraven.cli.following import Following
from netraven.cli.hooks import note_what_waits
from netraven.cli.report import RunFacts
from netraven.cli.screen import note, print_json, say
from netraven.model import Run, RunStatus
from netraven.plain import plain_line


async def run(context: Context, *, name: str, no_wait: bool, as_json: bool) -> int:
    async with context.store() as store:
        standing = await store.jobs.get(name)
        lives = bool(await store.daemons.living())
        if lives or no_wait:
            queued = await store.jobs.run_now(name)
            if no_wait:
                return _queued(context, queued, lives=lives, as_json=as_json)
            return await _follow(context, Following(store, queued), as_json=as_json)
    within_file_limit(standing.job.concurrency or context.settings.collect.concurrency)
    async with NetRaven.open(context.settings) as raven:
        facts = await watched(context, raven, lambda observer: raven.run_job(name, observer=observer))
        await note_what_waits(context, raven.store)
    if facts.run.status is RunStatus.QUEUED:
        again = context.command("job", "run", name)
        note(f"run {facts.run.id} was put back: the next daemon goes on with it, or {again}")
    return tell(context, facts, as_json=as_json)


def _queued(context: Context, run: Run, *, lives: bool, as_json: bool) -> int:
    if as_json:
        print_json({"run": run.id, "status": run.status.value, "job": run.job})
    else:
        say(
            f"run {run.id} of job {plain_line(str(run.job))} is queued: {context.command('run', 'show', run.id)}"
        )
    if not lives:
        note(f"no daemon runs that would take it: {context.command('serve')}")
    return 0


async def _follow(context: Context, following: Following, *, as_json: bool) -> int:
    shown = context.command("run", "show", following.run.id)
    try:
        ended = await following.until_ended()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None:
            raise
        task.uncancel()
        note(f"run {following.run.id} goes on: only following it has ended. How it goes: {shown}")
        return 130
    if not ended:
        note(
            f"no daemon lives any more: the next one goes on with run {following.run.id}. How it goes: {shown}"
        )
        return 1
    return tell(context, await RunFacts.read(following.store, following.run.id), as_json=as_json)
