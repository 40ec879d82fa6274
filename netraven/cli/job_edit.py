"""`netraven job add`, `edit`, `remove`, `enable`, `disable` and `apply`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from netraven.cli.context import Context
from netraven.cli.job_words import LISTS, TEXTS
from netraven.cli.jobs import local, next_line
from netraven.cli.screen import counted, print_json, say, warn
from netraven.config.jobs import check_job
from netraven.errors import InputError
from netraven.model import Job, JobStanding, Origin, What, utcnow
from netraven.plain import plain_line
from netraven.platforms import Catalogue
from netraven.schedule.definition import KEYS, job_of, table_of

if TYPE_CHECKING:
    from netraven.storage.store import SqlStore

_WHENS = ("cron", "every", "at")
_OPTIONS = {option.removeprefix("--"): key for option, (key, *_) in {**LISTS, **TEXTS}.items()}


async def add(context: Context, *, name: str, allow_empty: bool, **told: Any) -> int:
    table = {key: value for key, value in told.items() if value is not None}
    job = job_of(name, table)
    _refuse_past(job)
    check_job(job, Catalogue(context.settings.platforms_folder))
    async with context.store() as store:
        await _check_tags(store, job)
        await _check_devices(store, job, allow_empty=allow_empty)
        standing = await store.jobs.add(job)
        await _say_what_it_is(context, store, standing, "added")
    return 0


async def edit(context: Context, *, name: str, clear: list[str], allow_empty: bool, **told: Any) -> int:
    changes = {key: value for key, value in told.items() if value is not None}
    cleared = [_key(word) for word in clear]
    if not changes and not cleared:
        raise InputError(
            "say what is to change, such as --cron or --clear finish-by: `netraven job edit --help`"
        )
    if both := sorted(set(changes) & set(cleared)):
        raise InputError(f"{both[0]} is both told and cleared: say one of the two")
    async with context.store() as store:
        before = await store.jobs.get(name)
        _refuse_settings(context, before)
        table = {key: value for key, value in table_of(before.job).items() if key not in cleared}
        if any(key in changes for key in _WHENS):
            table = {key: value for key, value in table.items() if key not in _WHENS}
        job = job_of(name, {**table, **changes})
        if "at" in changes:
            _refuse_past(job)
        check_job(job, Catalogue(context.settings.platforms_folder))
        await _check_tags(store, job)
        if job.selector != before.job.selector:
            await _check_devices(store, job, allow_empty=allow_empty)
        standing = await store.jobs.edit(job)
        await _say_what_it_is(context, store, standing, "unchanged" if job == before.job else "changed")
    return 0


async def remove(context: Context, *, name: str) -> int:
    async with context.store() as store:
        _refuse_settings(context, await store.jobs.get(name))
        await store.jobs.remove(name)
    say(f"job {plain_line(name)} removed; its runs stay on record")
    return 0


async def enable(context: Context, *, name: str) -> int:
    async with context.store() as store:
        _refuse_settings(context, await store.jobs.get(name))
        standing = await store.jobs.enable(name)
        await _say_what_it_is(context, store, standing, "enabled")
    return 0


async def disable(context: Context, *, name: str) -> int:
    async with context.store() as store:
        _refuse_settings(context, await store.jobs.get(name))
        await store.jobs.disable(name)
    say(f"job {plain_line(name)} disabled: it is due no more; `job run` still runs it by hand")
    return 0


async def apply(context: Context, *, dry_run: bool, as_json: bool) -> int:
    wanted = context.settings_with_jobs.jobs
    async with context.store() as store:
        before = {standing.job.name: standing for standing in await store.jobs.list()}
        changes = _changes(context, before, wanted)
        if not dry_run:
            await store.jobs.apply(list(wanted.values()))
        for job in wanted.values():
            for problem in await _unfit(store, job):
                warn(problem)
    if as_json:
        print_json({"dry_run": dry_run, **changes})
        return 0
    verbs = (
        ("would be added", "would be changed", "would be removed")
        if dry_run
        else ("added", "changed", "removed")
    )
    for verb, names in zip(verbs, changes.values(), strict=True):
        for name in names:
            say(f"{plain_line(name)}: {verb}")
    if not any(changes.values()):
        say(f"{counted(len(wanted), 'job')} in the settings, and on record as they are there")
    return 0


def _changes(
    context: Context, before: Mapping[str, JobStanding], wanted: Mapping[str, Job]
) -> dict[str, list[str]]:
    for name in wanted:
        if name in before and before[name].origin is Origin.COMMAND:
            raise InputError(
                f"job {name!r} of {context.settings.job_places[name]}: there is one of this name that was added by "
                f"command: remove it (`{context.command('job', 'remove', name)}`), or rename this one"
            )
    return {
        "added": sorted(wanted.keys() - before.keys()),
        "changed": sorted(name for name, job in wanted.items() if name in before and before[name].job != job),
        "removed": sorted(
            name
            for name, standing in before.items()
            if standing.origin is Origin.SETTINGS and name not in wanted
        ),
    }


def _key(word: str) -> str:
    """The key of a job that an option or key on the command line means."""
    name = word.removeprefix("--")
    key = _OPTIONS.get(name, name.replace("-", "_"))
    if key in KEYS and key != "enabled":
        return key
    known = sorted({*_OPTIONS, "what", "concurrency", "priority"})
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
    raise InputError(f"--clear: a job has no {plain_line(word, 60)!r}, {hint}")


def _refuse_settings(context: Context, standing: JobStanding) -> None:
    if standing.origin is Origin.SETTINGS:
        name = standing.job.name
        where = context.settings.job_places.get(name)
        place = (
            f"change it {f'in {where}' if where else 'there'}"
            if where or context.settings.jobs_problem
            else "the settings that it came from no longer have it: `job apply`"
        )
        raise InputError(f"job {name!r} is defined by the settings, no command changes it: {place}")


def _refuse_past(job: Job) -> None:
    """Raise where a job would never be due. In settings such a job stays, once its time has been."""
    at = job.schedule.at
    if at is not None and at <= utcnow():
        zone = job.schedule.zone
        raise InputError(
            f"job {job.name!r}: at: {local(at, zone)} has been, it is {local(utcnow(), zone)}: give a time to come, "
            "or leave it out and run the job by hand with `netraven job run`"
        )


async def _check_tags(store: SqlStore, job: Job) -> None:
    """A tag that nothing carries is a slip."""
    told = job.selector.tags | job.selector.without_tags
    if not told:
        return
    known = await store.known_tags()
    for tag in sorted(told - known):
        close = difflib.get_close_matches(tag, sorted(known), n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise InputError(f"no device or credential carries the tag {plain_line(tag)!r}{hint}")


async def _check_devices(store: SqlStore, job: Job, *, allow_empty: bool) -> None:
    """Raises ``InputError`` for a job that would do nothing."""
    if allow_empty or job.what is What.PRUNE or await store.count(job.selector, collected_only=True):
        return
    raise InputError(
        f"job {plain_line(job.name)} selects no device, so nothing was changed: check its tags, patterns and platforms "
        "(`netraven device list`), or say --allow-empty where its devices are still to come"
    )


async def _unfit(store: SqlStore, job: Job) -> Sequence[str]:
    """Why a job of the settings does less than it says."""
    if job.what is What.PRUNE:
        return []
    try:
        await _check_tags(store, job)
    except InputError as error:
        return [f"job {plain_line(job.name)}: {error}"]
    devices = await store.count(job.selector, collected_only=True)
    return [] if devices else [nothing_selected(job)]


def nothing_selected(job: Job) -> str:
    return f"job {plain_line(job.name)} selects no device at the moment: its runs do nothing until there are some"


async def _say_what_it_is(context: Context, store: SqlStore, standing: JobStanding, done: str) -> None:
    job = standing.job
    said = f"job {plain_line(job.name)} {done}: {next_line(standing)}"
    if job.what is not What.PRUNE:
        devices = await store.count(job.selector, collected_only=True)
        said += f"; {counted(devices, 'device')}"
        if not devices:
            warn(nothing_selected(job))
    say(said)
    if job.schedule.by_hand:
        say(f"run it with: {context.command('job', 'run', job.name)}")
    elif job.enabled and not await store.daemons.living():
        say(f"no daemon runs that would do it: {context.command('serve')}")
