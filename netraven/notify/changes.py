"""What an event changed, as a hook may see it: differences with a mark in the place of each secret."""

from __future__ import annotations

import asyncio

from netraven.errors import NetRavenError
from netraven.history.configurations import LARGE, Configurations
from netraven.history.diff import Diff, diff, unified
from netraven.history.pattern import Pattern
from netraven.model import Event, StoredVersion
from netraven.notify.message import ChangedOutput
from netraven.plain import plain_line
from netraven.ports import Versions


class Changes:
    """Reads versions, and lets ``configurations`` make them fit to be seen."""

    def __init__(self, versions: Versions, configurations: Configurations) -> None:
        self._versions = versions
        self._configurations = configurations

    async def of(
        self, event: Event, *, pattern: Pattern | None = None, differences: bool = True
    ) -> tuple[ChangedOutput, ...]:
        """One for each new version that is still there; with a ``pattern`` those in whose lines it is found.

        Where a text cannot be read, or it is not known what is secret in it, the change is told without it, and why.
        """
        found = []
        for key in event.versions:
            change = await self._one(key, pattern, differences=differences)
            if change is not None:
                found.append(change)
        return tuple(found)

    async def _one(self, key: int, pattern: Pattern | None, *, differences: bool) -> ChangedOutput | None:
        told = ChangedOutput()
        try:
            stored = next(iter(await self._versions.by_ids([key])), None)
            if stored is None:
                return None  # pruned meanwhile, or its device was removed
            version = stored.version
            told = ChangedOutput(version.kind, version.number)
            before = await self._versions.before(version)
            told = ChangedOutput(version.kind, version.number, before.version.number if before else None)
            difference = await self._difference(before, stored)
        except NetRavenError as error:
            problem = f"the difference cannot be told: {plain_line(str(error))}"
            return ChangedOutput(told.kind, told.number, told.previous, problem=problem)
        if pattern is not None and not pattern.found_in(_moved_lines(difference)):
            return None
        text = ""
        if differences and before is not None:
            text = unified(
                difference, f"{version.kind} {before.version.number}", f"{version.kind} {version.number}"
            )
        return ChangedOutput(
            version.kind, version.number, told.previous, difference.added, difference.removed, text
        )

    async def _difference(self, before: StoredVersion | None, after: StoredVersion) -> Diff:
        old = "" if before is None else await self._configurations.text(before, quiet=True)
        new = await self._configurations.text(after, quiet=True)
        if len(old) + len(new) < LARGE:
            return diff(old, new)
        return await asyncio.to_thread(diff, old, new)


def _moved_lines(difference: Diff) -> list[str]:
    return [line.text for hunk in difference.hunks for line in hunk.lines if line.mark != " "]
