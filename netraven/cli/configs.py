"""`netraven config`."""

from __future__ import annotations

import sys

from netraven.cli.context import Context
from netraven.cli.screen import print_json, whole_text
from netraven.plain import plain


async def show(context: Context, *, device: str, kind: str, as_json: bool) -> int:
    """The text alone goes to stdout; control characters in it are written out."""
    async with context.store() as store:
        await store.inventory.get(device)
        shown = await context.configurations(store).show(device, kind)
    version = shown.version
    if as_json:
        print_json(
            {
                "device": version.device,
                "kind": version.kind,
                "sha256": version.sha256,
                "first_seen": version.first_seen_at,
                "last_seen": version.last_seen_at,
                "run": version.run,
                "text": whole_text(shown.text),
            }
        )
    else:
        sys.stdout.write(plain(shown.text))
    return 0
