"""`netraven check`: whether devices are there, and whether they still open. Nothing is collected."""

from __future__ import annotations

from netraven.app import NetRaven
from netraven.cli.collect import SAMPLE, exit_code, run_and_watch
from netraven.cli.context import Context
from netraven.cli.hooks import note_what_waits
from netraven.cli.plan import one_line as plan_in_one_line
from netraven.cli.report import RunFacts, one_line, print_report
from netraven.cli.screen import note, print_json, warn
from netraven.cli.slips import warn_of_slips
from netraven.credentials.strategy import strategy_named
from netraven.model import What


async def reachability(
    context: Context, *, tags: list[str], names: list[str], concurrency: int | None, as_json: bool
) -> int:
    wanted = concurrency or context.settings.collect.concurrency
    async with NetRaven.open(context.settings) as raven:
        await warn_of_slips(context, raven.store)
        facts = await run_and_watch(
            context, raven, tags=tags, names=names, concurrency=wanted, what=What.REACHABILITY
        )
        await note_what_waits(context, raven.store)
    return _said(context, facts, as_json=as_json)


async def credentials(
    context: Context,
    *,
    tags: list[str],
    names: list[str],
    concurrency: int | None,
    strategy: str | None,
    as_json: bool,
) -> int:
    wanted = concurrency or context.settings.collect.concurrency
    strategy_named(strategy or context.settings.collect.strategy)  # a wrong one is told before all else
    async with NetRaven.open(context.settings) as raven:
        note(plan_in_one_line(await raven.plan(tags, names, strategy=strategy, sample=SAMPLE)))
        await warn_of_slips(context, raven.store)
        facts = await run_and_watch(
            context,
            raven,
            tags=tags,
            names=names,
            concurrency=wanted,
            strategy=strategy,
            what=What.CREDENTIALS,
        )
        await note_what_waits(context, raven.store)
    return _said(context, facts, as_json=as_json)


def _said(context: Context, facts: RunFacts, *, as_json: bool) -> int:
    if as_json:
        print_json(facts.document())
        note(one_line(facts.run))
        for warning in facts.guarded.warnings:
            warn(warning)
    else:
        print_report(context, facts, each_device=True)
    return exit_code(facts)
