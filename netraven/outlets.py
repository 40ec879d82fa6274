"""Where what a run brought goes, beside the database: hooks are told, and the git repository follows.

Nothing that goes wrong here is the run's trouble.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from netraven.events import events

if TYPE_CHECKING:
    from netraven.git.after_run import Line
    from netraven.git.export import Exporter
    from netraven.notify.courier import Courier

_log = events("netraven.app")

GOODBYE = 10.0
"""Seconds after a run within which hooks are still told of it."""
HASTY_GOODBYE = 2.0
"""The same after a run that was interrupted or failed."""


@dataclass(frozen=True, slots=True)
class Outlets:
    """What settings name: a git repository, hooks, or neither."""

    git: Exporter | None = None
    courier: Callable[[], Courier] | None = None

    @asynccontextmanager
    async def telling(self) -> AsyncIterator[None]:
        """Hooks are told while the run goes on, and for a moment after it; what remains is told by a later command."""
        if self.courier is None:
            yield
            return
        courier = self.courier()
        telling = asyncio.create_task(courier.run(), name="netraven-courier")
        moment = HASTY_GOODBYE
        try:
            yield
            moment = GOODBYE
        finally:
            courier.finish(moment)
            try:
                await asyncio.wait([telling], timeout=moment)
            finally:
                telling.cancel()
                await asyncio.wait([telling])
                if not telling.cancelled() and (fault := telling.exception()) is not None:
                    _log.warning("hooks_not_told", error=str(fault))

    async def export(self) -> list[Line]:
        """Bring the repository up to date and push; what the run's log is to say of it."""
        if self.git is None:
            return []
        from netraven.git.after_run import export_after_run

        return await export_after_run(self.git)
