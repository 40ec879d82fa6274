"""`netraven config history` and `netraven config show`, and what the commands of configurations share."""

from __future__ import annotations

import difflib
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from netraven.cli.context import Context
from netraven.cli.logs import check_span
from netraven.cli.screen import ROWS, Table, clock, console, print_json, print_json_list, say, whole_text
from netraven.errors import InputError
from netraven.plain import plain, plain_line

if TYPE_CHECKING:
    from netraven.history.diff import Change
    from netraven.model import Version
    from netraven.storage.store import SqlStore

_SHORT = 12
"""Digits of a SHA-256 in a table."""
_NAMES = 10_000
"""Devices among which a name is looked for that was meant."""


async def history(
    context: Context,
    *,
    device: str,
    kind: str,
    limit: int | None,
    since: datetime | None,
    until: datetime | None,
    as_json: bool,
) -> int:
    """``since`` and ``until`` are about when a version was seen first."""
    check_span(since, until)
    async with context.store() as store:
        await check_device(store, device)
        configurations = context.configurations(store)
        bounded = since is None and until is None
        wanted = limit if as_json else (limit or ROWS)
        newest = await configurations.history(
            device, kind, limit=wanted + 1 if bounded and wanted is not None else None
        )
        if not newest:
            await configurations.find(device, kind)  # says what there is
        found = [
            version
            for version in reversed(newest)
            if (since is None or version.first_seen_at >= since)
            and (until is None or version.first_seen_at < until)
        ]
        shown = found if wanted is None else found[-wanted:]
        if as_json:
            await print_json_list(_history_rows(configurations.changes(shown)))
            return 0
        changes = [change async for change in configurations.changes(shown)]
    if not changes:
        say("no version was seen first in this time")
        return 0
    _history_table(changes).print(console())
    if len(found) > len(shown):
        say(f"\nThe newest {len(shown):,}; there are more. --limit N and --since WHEN show more, --json all.")
    return 0


def _history_table(changes: list[Change]) -> Table:
    numbers = ("version", "run", "bytes", "added", "removed")
    table = Table(
        "version", "first seen (UTC)", "last seen (UTC)", "run", "bytes", "added", "removed", "sha256",
        right=numbers, spare=("sha256", "bytes", "run", "last seen (UTC)"),
    )  # fmt: skip
    for change in changes:
        version, counts = change.new, _counts(change)
        table.add(
            version.number,
            clock(version.first_seen_at),
            clock(version.last_seen_at),
            version.run,
            version.size,
            *("" if count is None else f"{sign}{count}" for sign, count in zip("+-", counts, strict=True)),
            version.sha256[:_SHORT],
        )
    return table


async def _history_rows(changes: AsyncIterator[Change]) -> AsyncIterator[dict[str, Any]]:
    async for change in changes:
        added, removed = _counts(change)
        yield version_json(change.new) | {"added": added, "removed": removed}


def _counts(change: Change) -> tuple[int | None, int | None]:
    """Lines that came and went; None of the first version, and where it cannot be told."""
    if change.old is None or change.problem is not None:
        return None, None
    return change.diff.added, change.diff.removed


async def show(
    context: Context,
    *,
    device: str,
    kind: str,
    at: datetime | None,
    number: int | None,
    raw: bool,
    as_json: bool,
) -> int:
    """The text alone goes to stdout; control characters in it are written out."""
    async with context.store() as store:
        await check_device(store, device)
        shown = await context.configurations(store).show(device, kind, number=number, at=at, raw=raw)
    if as_json:
        print_json(version_json(shown.version) | {"redacted": shown.redacted, "text": whole_text(shown.text)})
    else:
        sys.stdout.write(plain(shown.text))
    return 0


def version_json(version: Version) -> dict[str, Any]:
    return {
        "device": version.device,
        "kind": version.kind,
        "version": version.number,
        "platform": version.platform,
        "sha256": version.sha256,
        "size": version.size,
        "first_seen": version.first_seen_at,
        "last_seen": version.last_seen_at,
        "run": version.run,
    }


async def check_device(store: SqlStore, device: str) -> None:
    """Raise ``InputError`` where there is none of this name."""
    if not await store.missing([device]):
        return
    names = [known.name for known in await store.inventory.list(limit=_NAMES)]
    close = difflib.get_close_matches(device, names, n=1, cutoff=0.5)
    hint = f", did you mean {plain_line(close[0])!r}?" if close else ""
    raise InputError(f"no such device: {device!r}{hint}")
