"""The export that follows a run. Nothing that happens in it is the run's trouble: it is told, and tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from netraven.errors import NetRavenError
from netraven.events import events
from netraven.git.export import Exporter, ExportReport

log = events("netraven.git")

AT_MOST = 600.0
"""Seconds that a run's end may take by it, pushing apart; the next export goes on where it was stopped."""
PATIENCE = 30.0
"""Seconds to wait for another export."""
_SOME = 3

Line = tuple[str, str, Mapping[str, Any]]
"""For the run's log: level, event, data."""


async def export_after_run(exporter: Exporter, *, at_most: float = AT_MOST) -> list[Line]:
    """Export and push; what the run's log is to say of it. Raises nothing but ``CancelledError``."""
    try:
        async with asyncio.timeout(at_most):
            report = await exporter.export(send=False, patience=PATIENCE)
    except TimeoutError:
        error = f"it took longer than {at_most:g} s and was stopped; the next export goes on from there"
        return [("warning", "git_export_failed", {"error": error})]
    except (NetRavenError, OSError) as failure:
        return [("warning", "git_export_failed", {"error": str(failure)})]
    except Exception as fault:
        log.exception("git_export_fault")
        return [("warning", "git_export_failed", {"error": f"a fault of NetRaven: {type(fault).__name__}"})]
    return [*_of(report), *await _pushed(exporter, report)]


def _of(report: ExportReport) -> list[Line]:
    lines: list[Line] = []
    if report.commits:
        data = {"commits": report.commits, "versions": report.versions, "head": report.head}
        lines.append(("info", "git_exported", data))
    if report.problems:
        some = list(report.problems[:_SOME])
        lines.append(("warning", "git_export_incomplete", {"count": len(report.problems), "problems": some}))
    return lines


async def _pushed(exporter: Exporter, report: ExportReport) -> list[Line]:
    try:
        pushed = await exporter.push_if_needed(report.head)
    except (NetRavenError, OSError) as failure:
        return [("warning", "git_push_failed", {"error": str(failure)})]
    if pushed is None:
        return []
    if pushed.error:
        return [("warning", "git_push_failed", {"remote": pushed.remote, "error": pushed.error})]
    return [("info", "git_pushed", {"remote": pushed.remote, "head": pushed.commit})]
