"""`netraven history import-git`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netraven.cli.context import Context
from netraven.cli.screen import counted, note, print_json, say, whole_text
from netraven.errors import InputError
from netraven.plain import plain_line
from netraven.platforms.schema import KIND

if TYPE_CHECKING:
    from netraven.git.taking_over import TakenOver

_EVERY = 5.0
"""Seconds between two lines of progress."""
_SOME = 20
"""Names that are told, where there are many."""


async def load(
    context: Context, *, path: str, layout: str, branch: str, kind: str, dry_run: bool, as_json: bool
) -> int:
    from netraven.assembly import import_from_git

    if not KIND.fullmatch(kind):
        raise InputError(f"--kind {kind!r} is no kind of output: running, startup, version ...")
    async with context.store() as store:
        if store.encrypts and not dry_run:
            store.require_key()
        done = await import_from_git(
            store,
            Path(path).expanduser(),
            layout=layout,
            branch=branch,
            kind=kind,
            dry_run=dry_run,
            progress=_Progress(),
        )
    if as_json:
        print_json(_document(done, dry_run))
    else:
        _tell(context, done, dry_run)
    return 0


def _document(done: TakenOver, dry_run: bool) -> dict[str, Any]:
    return {
        "repositories": [whole_text(path) for path in done.repositories],
        "layout": done.layout,
        "dry_run": dry_run,
        "devices": dict(sorted(done.devices.items())),
        "versions": done.read,
        "added": done.added,
        "unknown": sorted(map(whole_text, done.unknown)),
        "too_large": sorted(map(whole_text, done.too_large)),
        "unclear": {whole_text(k): list(map(whole_text, v)) for k, v in sorted(done.unclear.items())},
    }


def _tell(context: Context, done: TakenOver, dry_run: bool) -> None:
    where = counted(len(done.repositories), "repository", "repositories")
    what = f"{counted(done.read, 'version')} of {counted(len(done.devices), 'device')}"
    if dry_run:
        say(f"{what} in {where} ({done.layout}); nothing was stored")
    else:
        say(f"{what} in {where} ({done.layout}): {done.added:,} new{_the_others(done)}")
    if not done.read:
        say(
            "no file of a device was found: Oxidized has NAME or GROUP/NAME, RANCID configs/NAME (--layout says whose "
            "it is); names are those of the inventory"
        )
    if done.unknown:
        say(f"not in the inventory, left out: {_some(sorted(done.unknown))}")
    if done.too_large:
        say(f"larger than 64 MB, left out: {_some(sorted(done.too_large))}")
    for name, could in sorted(done.unclear.items())[:_SOME]:
        say(f"not clear, left out: {plain_line(name)}: {_some(could)}")
    if (more := len(done.unclear) - _SOME) > 0:
        say(f"and {more:,} more that are not clear; --json has all")
    if done.added and context.settings.git.path:
        say(f"to have it in the git repository too: {context.command('git', 'export', '--rebuild')}")


def _the_others(done: TakenOver) -> str:
    return ", the others were known" if done.added < done.read else ""


def _some(names: Any) -> str:
    names = list(names)
    more = f" and {len(names) - _SOME:,} more; --json has all" if len(names) > _SOME else ""
    return ", ".join(plain_line(name) for name in names[:_SOME]) + more


class _Progress:
    """A line now and then on stderr, where it takes long."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def __call__(self, read: int) -> None:
        if time.monotonic() - self._said_at >= _EVERY:
            self._said_at = time.monotonic()
            note(f"{counted(read, 'version')} read")
