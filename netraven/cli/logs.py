"""`netraven log`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from netraven.cli.context import Context
from netraven.cli.kinds import well
from netraven.cli.screen import ROWS, Table, clock, console, print_json_list, say, took
from netraven.errors import InputError

if TYPE_CHECKING:
    from netraven.storage.logs import LogFilter
    from netraven.storage.store import SqlStore

Row = Mapping[str, Any]
Rows = Callable[["LogFilter"], AsyncIterator[Row]]


async def connections(context: Context, **options: Any) -> int:
    return await _show(context, lambda store: store.logs.connections, _connections, options)


async def attempts(context: Context, **options: Any) -> int:
    return await _show(context, lambda store: store.logs.attempts, _attempts, options)


async def job(context: Context, **options: Any) -> int:
    return await _show(context, lambda store: store.logs.job, _job, options)


async def _show(
    context: Context,
    chosen: Callable[[SqlStore], Rows],
    table_of: Callable[[list[Row]], Table],
    options: dict[str, Any],
) -> int:
    from netraven.storage.logs import LogFilter

    as_json: bool = options.pop("as_json")
    limit: int | None = options["limit"]
    check_span(options["since"], options["until"])
    async with context.store() as store:
        rows = chosen(store)
        await _check(store, options["device"], options["run"])
        if as_json:
            await print_json_list(rows(LogFilter(**options)))
            return 0
        wanted = limit or ROWS
        found = [row async for row in rows(LogFilter(**(options | {"limit": wanted + 1})))]
    more, found = len(found) > wanted, found[-wanted:]
    if not found:
        say("nothing on record")
        return 0
    table_of(found).print(console())
    if more:
        say(f"\nThe newest {wanted:,}; there are more. --limit N and --since WHEN show more, --json all.")
    return 0


def check_span(since: datetime | None, until: datetime | None) -> None:
    if since is not None and until is not None and since >= until:
        raise InputError("--since must be earlier than --until")


async def _check(store: SqlStore, device: str | None, run: int | None) -> None:
    """An unknown run or device is an error; a device that was removed is known by its logs."""
    from netraven.storage.logs import LogFilter

    if run is not None:
        await store.runs.get(run)
    if device is not None and await store.missing([device]):
        for rows in (store.logs.connections, store.logs.attempts, store.logs.job):
            async for _ in rows(LogFilter(device=device, limit=1)):
                return
        raise InputError(f"no such device: {device!r}")


def _connections(rows: list[Row]) -> Table:
    table = Table(
        "time (UTC)", "run", "device", "result", "took", "credential", "username", "retries", "message",
        right=("run", "took", "retries"), spare=("username", "retries", "took", "run", "time (UTC)", "credential"),
    )  # fmt: skip
    for row in rows:
        table.add(
            clock(row["timestamp"]),
            row["run"],
            row["device"],
            well(row["what"]) if row["successful"] else row["error_type"] or "failed",
            took(row["duration_ms"]),
            row["credential"],
            row["credential_username"],
            row["retry_count"],
            row["error_message"] or "",
            style="" if row["successful"] else "yellow",
        )
    return table


def _attempts(rows: list[Row]) -> Table:
    table = Table(
        "time (UTC)", "run", "device", "credential", "username", "verdict", "took", "cause", "reason",
        right=("run", "took"), spare=("username", "took", "run", "reason", "cause", "time (UTC)"),
    )  # fmt: skip
    for row in rows:
        verdict = str(row["verdict"])
        cause = row["error_type"] if row["error_type"] != "auth_refused" else None
        table.add(
            clock(row["timestamp"]),
            row["run"],
            row["device"],
            row["credential"],
            row["credential_username"],
            verdict.replace("_", " "),
            took(row["duration_ms"]),
            cause or "",
            row["reason"],
            style="" if verdict == "accepted" else "yellow",
        )
    return table


def _job(rows: list[Row]) -> Table:
    columns = ("time (UTC)", "run", "level", "device", "message", "details")
    table = Table(*columns, right=("run",), spare=("level", "run", "time (UTC)"))
    for row in rows:
        details = ", ".join(
            f"{key} {_word(value)}" for key, value in (row["data"] or {}).items() if value is not None
        )
        table.add(
            clock(row["timestamp"]),
            row["run"],
            row["level"],
            row["device"] or "",
            str(row["message"]).replace("_", " "),
            details,
            style="yellow" if row["level"] in ("warning", "error", "critical") else "",
        )
    return table


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
