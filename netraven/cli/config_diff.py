"""`netraven config diff`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from netraven.cli.configs import check_device, version_json
from netraven.cli.context import Context
from netraven.cli.diff_view import View
from netraven.cli.screen import clock, counted, note, print_json, print_json_list, say, warn, whole_text
from netraven.errors import InputError
from netraven.model import Selector
from netraven.plain import plain_line

if TYPE_CHECKING:
    from netraven.history.diff import Change, Hunk, Line
    from netraven.model import Version
    from netraven.storage.store import SqlStore

_LONG = 1_000
"""Characters of a problem."""


async def show(
    context: Context,
    *,
    device: str | None,
    old: int | datetime | None,
    new: int | datetime | None,
    kind: str | None,
    run: int | None,
    tags: list[str],
    side_by_side: bool,
    around: int,
    raw: bool,
    as_json: bool,
) -> int:
    if run is None and device is None:
        raise InputError("say of what: DEVICE, or --run R for everything that changed in a run")
    if run is not None and device is not None:
        raise InputError(
            f"--run {run} is about all devices: leave out {device!r}, or --run; "
            "--tag picks among the devices of a run"
        )
    if tags and run is None:
        raise InputError("--tag picks among the devices of a run: it goes with --run R")
    view = View.of_terminal(side_by_side=side_by_side)
    async with context.store() as store:
        configurations = context.configurations(store)
        if device is not None:
            await check_device(store, device)
            change = await configurations.diff(
                device, old, new, kind=kind or "running", raw=raw, context=around
            )
            _show_one(view, change, raw=raw, as_json=as_json)
        else:
            await store.runs.get(run or 0)
            changes = configurations.changed_in(run or 0, raw=raw, context=around)
            wanted = await _Wanted.of(store, tags, kind)
            await _show_run(view, wanted.of_all(changes), run or 0, raw=raw, as_json=as_json)
    return 0


def _show_one(view: View, change: Change, *, raw: bool, as_json: bool) -> None:
    new = change.new
    if as_json:
        print_json(change_json(change, raw=raw))
    elif change.old is None:
        say(f"{_name(new)}: version {new.number} is the only one so far, there is none to compare it with")
    elif not change.diff.hunks:
        say(f"no difference between version {change.old.number} and version {new.number} of {_name(new)}")
    else:
        _print(view, change)


async def _show_run(
    view: View, changes: AsyncIterator[Change], run: int, *, raw: bool, as_json: bool
) -> None:
    if as_json:
        await print_json_list(_rows(changes, raw))
        return
    changed = first = unread = 0
    async for change in changes:
        new = change.new
        if change.problem is not None:
            unread += 1
            warn(plain_line(change.problem, _LONG))
        elif change.old is None:
            first += 1
            lines = counted(change.diff.added, "line")
            say(f"{_name(new)}: seen for the first time, version {new.number}, {lines}")
        elif not change.diff.hunks:
            changed += 1
            say(
                f"{_name(new)}: no difference between versions {change.old.number} and {new.number} by today's rules"
            )
        else:
            changed += 1
            _print(view, change)
    if not changed and not first and not unread:
        say(f"nothing changed in run {run}")
        return
    note(f"run {run}: {counted(changed, 'output')} changed, {first:,} seen for the first time")


async def _rows(changes: AsyncIterator[Change], raw: bool) -> AsyncIterator[dict[str, Any]]:
    async for change in changes:
        yield change_json(change, raw=raw)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which changes of a run are asked for; None: all."""

    devices: frozenset[str] | None
    kind: str | None

    @classmethod
    async def of(cls, store: SqlStore, tags: list[str], kind: str | None) -> _Wanted:
        if not tags:
            return cls(None, kind)
        selector = Selector(tags=frozenset(tags))
        if unknown := sorted(selector.tags - await store.known_tags()):
            raise InputError(f"no device or credential carries the tag {', '.join(map(repr, unknown))}")
        return cls(frozenset(device.name for device in await store.inventory.list(selector)), kind)

    async def of_all(self, changes: AsyncIterator[Change]) -> AsyncIterator[Change]:
        async for change in changes:
            version = change.new
            if (self.devices is None or version.device in self.devices) and self.kind in {None, version.kind}:
                yield change


def _print(view: View, change: Change) -> None:
    assert change.old is not None  # noqa: S101 - whoever calls has looked
    before, after = (_label(side, change.new) for side in (change.old, change.new))
    view.print(change.diff, before, after)


def _name(version: Version) -> str:
    name = plain_line(version.device)
    return name if version.kind == "running" else f"{name} ({plain_line(version.kind)})"


def _label(version: Version, named: Version) -> tuple[str, str]:
    """A file's name, and what is to be known of it."""
    file = named.device if named.kind == "running" else f"{named.device}.{named.kind}"
    return plain_line(file), f"version {version.number}, first seen {clock(version.first_seen_at)} UTC"


# ---- JSON ----


def change_json(change: Change, *, raw: bool) -> dict[str, Any]:
    """The lines of a first version are not told: they are all there is (`config show`)."""
    diff = change.diff
    return {
        "device": change.new.device,
        "kind": change.new.kind,
        "old": None if change.old is None else version_json(change.old),
        "new": version_json(change.new),
        "added": diff.added,
        "removed": diff.removed,
        "redacted": not raw,
        "problem": change.problem,
        "hunks": [] if change.old is None else [_hunk_json(hunk) for hunk in diff.hunks],
    }


def _hunk_json(hunk: Hunk) -> dict[str, Any]:
    return {
        "old_start": hunk.old_start,
        "old_count": hunk.old_count,
        "new_start": hunk.new_start,
        "new_count": hunk.new_count,
        "section": [whole_text(heading) for heading in hunk.section],
        "lines": [_line_json(line) for line in hunk.lines],
    }


def _line_json(line: Line) -> dict[str, Any]:
    return {
        "mark": line.mark,
        "old": line.old_number,
        "new": line.new_number,
        "text": whole_text(line.text),
        "ended": line.ended,
    }
