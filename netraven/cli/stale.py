"""`netraven report stale`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from netraven.cli.context import Context
from netraven.cli.screen import ROWS, Table, clock, console, counted, print_json_list, say, stamp
from netraven.errors import InputError
from netraven.model import Selector, StaleDevice, utcnow
from netraven.schedule.durations import span_text

if TYPE_CHECKING:
    from netraven.storage.store import SqlStore


async def report(
    context: Context,
    *,
    older_than: float,
    tags: list[str],
    names: list[str],
    limit: int | None,
    as_json: bool,
) -> int:
    before = utcnow() - timedelta(seconds=older_than)
    selector = Selector(frozenset(tags), frozenset(names))
    async with context.store() as store:
        await _check(store, selector)
        if as_json:
            await print_json_list(_documents(store, selector, before, limit))
            return 0
        number = await store.standing.count(selector, before)
        wanted = limit or ROWS
        found: list[StaleDevice] = []
        async for device in store.standing.stale(selector, before):
            if len(found) == wanted:
                break
            found.append(device)
        devices = await store.count(selector, collected_only=True)
    span = span_text(older_than)
    if not number:
        say(
            f"none: each of {counted(devices, 'device')} was collected within {span}"
            if devices
            else "none: there are no devices"
        )
        return 0
    table = Table(
        "device", "platform", "tags", "collected (UTC)", "tried (UTC)", "reason", spare=("tags", "platform")
    )
    for device in found:
        table.add(
            device.name,
            device.platform,
            ", ".join(sorted(device.tags)),
            "never" if device.collected_at is None else clock(device.collected_at),
            "never" if device.tried_at is None else clock(device.tried_at),
            device.reason or "",
        )
    table.print(console())
    say(f"\n{number:,} of {counted(devices, 'device')} not collected within {span}.")
    if number > len(found):
        say(f"The first {len(found):,}; --limit N shows more, --json all.")
    return 0


async def _check(store: SqlStore, selector: Selector) -> None:
    if unknown := sorted(selector.tags - await store.known_tags()):
        raise InputError(f"no device or credential carries the tag {', '.join(map(repr, unknown))}")
    if missing := await store.missing(selector.names):
        raise InputError(f"no such device: {', '.join(map(repr, missing))}")


async def _documents(
    store: SqlStore, selector: Selector, before: Any, limit: int | None
) -> AsyncIterator[dict[str, Any]]:
    number = 0
    async for device in store.standing.stale(selector, before):
        if number == limit:
            return
        number += 1
        yield {
            "name": device.name,
            "platform": device.platform,
            "tags": sorted(device.tags),
            "collected_at": None if device.collected_at is None else stamp(device.collected_at),
            "tried_at": None if device.tried_at is None else stamp(device.tried_at),
            "reason": device.reason,
        }
