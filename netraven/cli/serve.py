"""`netraven serve`."""

from __future__ import annotations

import asyncio
import os
import resource
from importlib.metadata import PackageNotFoundError, version

from netraven.cli.context import Context
from netraven.config import Settings, load_settings
from netraven.daemon.serving import Daemon, Start
from netraven.events import events
from netraven.log import configure

SPARE_FILES = 256
"""Open files beside one socket for each session: databases, jump hosts, subprocesses, the port."""


def serve(context: Context) -> int:
    settings = context.settings_with_jobs
    _logging(settings)
    _room_for_sessions(settings.collect.concurrency)
    start = Start(
        settings,
        reload=lambda: load_settings(settings.file),
        version=_version(),
        environ=os.environ,
        on_reload=_logging,
    )
    asyncio.run(_serve(start))
    return 0


async def _serve(start: Start) -> None:
    await Daemon(start).run()


def _logging(settings: Settings) -> None:
    """A daemon tells what it does, where settings do not say how much."""
    configure(settings.log.level if "log.level" in settings.told else "info", settings.log.format)


def _room_for_sessions(concurrency: int) -> None:
    """As many open files as this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        hard = soft
    if hard != resource.RLIM_INFINITY and hard < concurrency + SPARE_FILES:
        events("netraven.daemon").warning(
            "few_open_files",
            allowed=hard,
            needed=concurrency + SPARE_FILES,
            remedy="LimitNOFILE= in the unit",
        )


def _version() -> str:
    try:
        return version("netraven")
    except PackageNotFoundError:
        return "source"
