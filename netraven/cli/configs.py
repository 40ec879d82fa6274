"""`netraven config`."""

from __future__ import annotations

import sys

from netraven.cli.context import Context
from netraven.cli.screen import print_json, whole_text
from netraven.errors import InputError
from netraven.plain import plain


async def show(context: Context, *, device: str, kind: str, as_json: bool) -> int:
    """The text alone goes to stdout; control characters in it are written out."""
    async with context.store() as store:
        await store.inventory.get(device)
        latest = await store.snapshots.latest(device, kind)
        kinds = await store.snapshots.kinds(device)
    if latest is None and kinds:
        raise InputError(
            f"no output of the kind {kind!r} of {device} has been collected, only {', '.join(kinds)}"
        )
    if latest is None:
        raise InputError(f"no configuration of {device} has been collected yet")
    if as_json:
        print_json(
            {
                "device": latest.device,
                "kind": latest.kind,
                "sha256": latest.sha256,
                "first_seen": latest.first_seen_at,
                "last_seen": latest.last_seen_at,
                "run": latest.run,
                "text": whole_text(latest.text),
            }
        )
    else:
        sys.stdout.write(plain(latest.text))
    return 0
