"""`netraven git`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from netraven.cli.context import Context
from netraven.cli.screen import clock, counted, note, print_json, say, warn
from netraven.errors import InputError
from netraven.plain import plain_line

if TYPE_CHECKING:
    from netraven.git.export import Exporter, ExportReport
    from netraven.git.push import Pushed

_EVERY = 5.0
"""Seconds between two lines of progress."""


@asynccontextmanager
async def _exporter(context: Context) -> AsyncIterator[Exporter]:
    from netraven.assembly import git_exporter
    from netraven.platforms import Catalogue

    settings = context.settings
    if not settings.git.path:
        raise InputError(
            "git.path is not set: there is no repository to export to. Name one in the settings: [git] path = "
            '"configs.git"'
        )
    async with context.store() as store:
        exporter = git_exporter(settings, store, Catalogue(settings.platforms_folder))
        assert exporter is not None  # noqa: S101 - the path is set
        yield exporter


async def export(context: Context, *, rebuild: bool, no_push: bool, as_json: bool) -> int:
    """Exit code 1 where something could not be exported or pushed."""
    async with _exporter(context) as exporter:
        report = await exporter.export(rebuild=rebuild, send=not no_push, progress=_Progress())
    for problem in report.problems:
        warn(plain_line(problem, 600))
    if as_json:
        print_json(_document(report))
    else:
        say(_told(report))
        if report.pushed is not None and not report.pushed.error:
            say(f"pushed {report.branch} to {plain_line(report.pushed.remote)}")
    failed = _warn_of_push(report.pushed)
    return 1 if failed or report.problems else 0


def _told(report: ExportReport) -> str:
    where = f"{report.path} ({report.branch})"
    if not report.commits:
        return f"{where}: nothing new"
    removed = f", {counted(report.removed, 'file')} removed" if report.removed else ""
    return f"{where}: {counted(report.commits, 'commit')}, {counted(report.versions, 'version')}{removed}"


def _document(report: ExportReport) -> dict[str, Any]:
    return {
        "path": report.path,
        "branch": report.branch,
        "head": report.head or None,
        "commits": report.commits,
        "versions": report.versions,
        "removed": report.removed,
        "skipped": report.skipped,
        "problems": list(report.problems),
        "push": None if report.pushed is None else _push_document(report.pushed),
    }


def _push_document(pushed: Pushed) -> dict[str, Any]:
    return {
        "remote": pushed.remote,
        "commit": pushed.commit,
        "pushed": not pushed.error,
        "error": pushed.error or None,
    }


def _warn_of_push(pushed: Pushed | None) -> bool:
    if pushed is None or not pushed.error:
        return False
    warn(f"not pushed to {plain_line(pushed.remote)}: {plain_line(pushed.error, 600)}")
    return True


async def push(context: Context, *, as_json: bool) -> int:
    """Exit code 1 where the remote did not take it."""
    async with _exporter(context) as exporter:
        pushed = await exporter.push()
    if as_json:
        print_json(_push_document(pushed))
    elif not pushed.error:
        say(f"pushed {context.settings.git.branch} to {plain_line(pushed.remote)}")
    return 1 if _warn_of_push(pushed) else 0


async def status(context: Context, *, as_json: bool) -> int:
    async with _exporter(context) as exporter:
        found = await exporter.status()
    if as_json:
        print_json(
            {
                "path": found.path,
                "branch": found.branch,
                "exists": found.exists,
                "head": found.head or None,
                "exported": {
                    "through_run": found.exported.through,
                    "further_runs": sorted(found.exported.runs),
                    "imported": found.exported.imported,
                    "skipped": found.exported.skipped,
                },
                "waiting": asdict(found.waiting),
                "remote": found.remote or None,
                "pushed": found.pushed,
                "push_tried_at": found.push_tried_at,
                "push_error": found.push_error or None,
            }
        )
        return 0
    say(f"repository: {found.path}, branch {found.branch}{'' if found.exists else ' (not made yet)'}")
    if found.head:
        say(
            f"last commit: {found.head[:12]}, holds the runs up to {found.exported.through:,}{_further(found)}"
        )
    waiting = found.waiting
    say(
        f"waiting: {counted(waiting.versions, 'version')} of {counted(waiting.runs, 'run')}"
        if waiting.versions
        else "waiting: nothing"
    )
    if found.exported.skipped:
        say(
            f"left out: {counted(found.exported.skipped, 'imported version')}, older than what was there; "
            f"{context.command('git', 'export', '--rebuild')} puts them in their place"
        )
    if found.remote:
        tried = f", last tried {clock(found.push_tried_at)} UTC" if found.push_tried_at else ""
        say(
            f"remote: {plain_line(found.remote)}, {'up to date' if found.pushed else 'not up to date'}{tried}"
        )
        if found.push_error:
            say(f"  {plain_line(found.push_error, 600)}")
    return 0


def _further(found: Any) -> str:
    runs = sorted(found.exported.runs)
    return f" and {', '.join(map(str, runs[:10]))}{' ...' if len(runs) > 10 else ''}" if runs else ""


class _Progress:
    """A line now and then on stderr, where it takes long."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def __call__(self, done: int, expected: int) -> None:
        now = time.monotonic()
        if now - self._said_at < _EVERY:
            return
        self._said_at = now
        note(f"{done:,} of {counted(max(done, expected), 'version')} exported")
