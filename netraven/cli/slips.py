"""What settings speak of and is not there: most likely a slip of the pen, and its words do nothing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from netraven.cli.context import Context
from netraven.cli.screen import warn
from netraven.plain import plain_line

if TYPE_CHECKING:
    from netraven.storage.store import SqlStore


async def warn_of_slips(context: Context, store: SqlStore) -> None:
    """What settings say of realms, tags and devices that there are none of."""
    used = {credential.realm for credential in await store.credentials()}
    for name in sorted(set(context.settings.realms) - used):
        warn(
            f"no credential is of realm {_said(name)}, which the settings speak of: [realms.{plain_line(name)}] does "
            f"nothing{_meant('realms', name, used)}"
        )
    if tags := context.access.tags:
        carried = await store.known_tags()
        for name in sorted(tags - carried):
            warn(
                f"nothing carries the tag {_said(name)}, which the settings speak of: [tags.{plain_line(name)}] does "
                f"nothing{_meant('tags', name, carried)}"
            )
    for name in await store.missing(context.access.devices):
        warn(
            f"no device is named {_said(name)}, of which the settings speak: [devices.{plain_line(name)}] does nothing"
        )
    await warn_of_hook_slips(context, store)


async def warn_of_hook_slips(context: Context, store: SqlStore) -> None:
    """Tags by which a hook would be told of no device."""
    hooks = context.settings.hooks
    if not any(hook.tags for hook in hooks.values()):
        return
    carried = await store.known_tags()
    for name, hook in hooks.items():
        for tag in sorted(set(hook.tags) - carried):
            close = _closest(tag, carried)
            meant = f", did you mean {_said(close)}?" if close else ""
            warn(f"hooks.{plain_line(name)}.tags: nothing carries the tag {_said(tag)}{meant}")


def _said(name: str) -> str:
    return repr(plain_line(name))


def _meant(section: str, name: str, known: Iterable[str]) -> str:
    close = _closest(name, known)
    return f", did you mean [{section}.{plain_line(close)}]?" if close else ""


def _closest(name: str, known: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)), "")
