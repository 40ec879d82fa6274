"""`netraven db`."""

from __future__ import annotations

from netraven.cli.context import Context
from netraven.cli.screen import print_json, say


async def upgrade(context: Context) -> int:
    from netraven.storage.migrate import create_and_upgrade, current_revision
    from netraven.storage.urls import locate

    url = context.settings.database_url
    before = await current_revision(url)
    after = await create_and_upgrade(url)
    what = (
        "up to date"
        if before == after
        else "created"
        if before is None
        else f"upgraded from revision {before}"
    )
    say(f"database {locate(url).shown}: {what}, revision {after}")
    return 0


async def check(context: Context, *, as_json: bool) -> int:
    from netraven.storage.migrate import check as look_over
    from netraven.storage.urls import locate

    url = context.settings.database_url
    findings = await look_over(url)
    shown = locate(url).shown
    if as_json:
        print_json({"database": shown, "well": not findings, "findings": findings})
    else:
        say(f"database {shown}: {'all is well' if not findings else ''}".rstrip())
        for finding in findings:
            say(f"  {finding}")
    return 1 if findings else 0
