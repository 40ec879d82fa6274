"""`netraven prune`."""

from __future__ import annotations

from typing import Any

from netraven.chores import prune as run_prune
from netraven.cli.context import Context
from netraven.cli.entry import DONE, NOT_ALL
from netraven.cli.progress import paced
from netraven.cli.screen import counted, print_json, say, size, warn
from netraven.history.retention import Limits
from netraven.model import utcnow
from netraven.plain import plain_line


async def prune(context: Context, *, dry_run: bool, as_json: bool) -> int:
    told = context.settings.retention
    limits, now = Limits(told.versions, told.version_days), utcnow()
    packed: dict[str, int] | None
    why_not = ""
    async with context.store() as store:
        if dry_run:
            found, staying = await store.pruning.preview(limits, told.log_days, now)
            packed = {"texts": await store.packing.preview(staying)}
        else:
            report = await run_prune(store, told, now, paced())
            found, why_not = report.pruned, report.why_not
            packed = None
            if report.packed is not None:
                packed = {name: getattr(report.packed, name) for name in _PACKED}
    gone = {name: getattr(found, name) for name in ("versions", "devices", "texts", "bytes")}
    configured = bool(limits or told.log_days)
    if as_json:
        about = {
            "dry_run": dry_run,
            "configured": configured,
            "limits": {name: getattr(told, name) for name in ("versions", "version_days", "log_days")},
        }
        print_json({**about, **gone, "logs": found.logs, "packed": packed})
    else:
        _say(gone, found.logs, packed, dry_run=dry_run)
        if not configured:
            where = context.settings.file or "the settings"
            say(
                f"[retention] in {where} sets no limit, so no version and no log is too old: set versions, "
                "version_days or log_days"
            )
    if why_not:
        warn(f"texts are left as they are: {plain_line(why_not, 1000)}")
    unreadable = (packed or {}).get("unreadable", 0)
    if unreadable:
        warn(f"{counted(unreadable, 'text')} cannot be read and stay as they are; `config show` says why")
    return NOT_ALL if why_not or unreadable else DONE


_PACKED = ("texts", "bytes_before", "bytes_after", "sealed", "unreadable")


def _say(gone: dict[str, Any], logs: dict[str, int], packed: dict[str, int] | None, *, dry_run: bool) -> None:
    would = "would go" if dry_run else "gone"
    say(
        f"{would}: {counted(gone['versions'], 'version')} of {counted(gone['devices'], 'device')}, "
        f"{counted(gone['texts'], 'text')} ({size(gone['bytes'])} as stored)"
    )
    rows = [f"{number:,} of {name}" for name, number in logs.items() if number]
    say(f"{would}: {'rows of logs: ' + ', '.join(rows) if rows else 'no rows of logs'}")
    if packed is None:
        return
    if dry_run:
        say(f"would be made small, where that pays: {counted(packed['texts'], 'text')}")
        return
    if packed["texts"]:
        say(
            f"made small: {counted(packed['texts'], 'text')}, {size(packed['bytes_before'])} before, "
            f"{size(packed['bytes_after'])} now"
        )
    if packed["sealed"]:
        say(f"encrypted: {counted(packed['sealed'], 'text')} that had been stored in clear")
