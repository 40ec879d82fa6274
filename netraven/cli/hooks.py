"""`netraven hook`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from netraven.cli.context import Context
from netraven.cli.screen import Table, ago, clock, console, counted, note, print_json, say
from netraven.cli.slips import warn_of_hook_slips
from netraven.errors import InputError
from netraven.model import HookStanding, utcnow
from netraven.plain import plain_line

if TYPE_CHECKING:
    from netraven.storage.store import SqlStore


async def show_all(context: Context, *, as_json: bool) -> int:
    async with context.store() as store:
        standing = await _standing(context, store)
        await warn_of_hook_slips(context, store)
    if as_json:
        print_json([_document(context, one) for one in standing.values()])
        return 0
    if not standing:
        say("no hooks: sections [hooks.NAME] of the settings say who is told of what")
        return 0
    _print(context, standing)
    return 0


async def deliver(context: Context, *, as_json: bool) -> int:
    """Whatever the pauses say: whoever asks has mended something, or wants to know."""
    from netraven.assembly import courier
    from netraven.platforms import Catalogue

    settings = context.settings
    async with context.store() as store:
        messenger = courier(settings, store, Catalogue(settings.platforms_folder))
        before = await _standing(context, store)
        for name in settings.hooks:
            await store.outbox.hurry(name, utcnow())
        await messenger.deliver()
        after = await _standing(context, store)
    told = {name: one for name, one in after.items() if name in settings.hooks}
    done = _Sum.of(before, settings.hooks), _Sum.of(after, settings.hooks)
    given_up = max(0, done[1].given_up - done[0].given_up)
    delivered = max(0, done[0].waiting - done[1].waiting - given_up)
    if as_json:
        hooks = [_document(context, one) for one in told.values()]
        print_json({"delivered": delivered, "given_up": given_up, "waiting": done[1].waiting, "hooks": hooks})
    else:
        say(f"{delivered:,} delivered, {given_up:,} given up, {done[1].waiting:,} still waiting")
        if done[1].waiting or given_up:
            _print(context, told)
    return 1 if done[1].waiting else 0


async def test(context: Context, *, name: str, as_json: bool) -> int:
    from netraven.assembly import hook_ways
    from netraven.notify.message import Message

    ways = hook_ways(context.settings)
    if name not in ways:
        raise InputError(_unknown(name, context.settings.hooks))
    answer = await ways[name].tell(Message(uuid.uuid4().hex, name, utcnow()))
    if as_json:
        print_json({"hook": name, "delivered": answer.delivered, "said": answer.said})
    else:
        say(answer.said)
    return 0 if answer.delivered else 1


async def forget(context: Context, *, name: str, force: bool) -> int:
    if name in context.settings.hooks and not force:
        raise InputError(
            f"the hook {plain_line(name)!r} is still in the settings, and what waits for it would be lost: take it out "
            "first, or say --force"
        )
    async with context.store() as store:
        known = {standing.hook for standing in await store.outbox.standing()}
        if name not in known and name not in context.settings.hooks:
            raise InputError(_unknown(name, known))
        gone = await store.outbox.forget(name)
    say(f"dropped {counted(gone, 'event')} of {plain_line(name)}")
    return 0


async def note_what_waits(context: Context, store: SqlStore) -> None:
    """After a run, where hooks could not be told of all of it."""
    if not context.settings.hooks:
        return
    for one in (await _standing(context, store)).values():
        if one.waiting and one.hook in context.settings.hooks:
            why = f", last error: {plain_line(one.last_error)}" if one.last_error else ""
            note(
                f"hook {plain_line(one.hook)}: {counted(one.waiting, 'event')} still to be told{why}. The next run "
                f"goes on with it, or {context.command('hook', 'deliver')}"
            )


async def _standing(context: Context, store: SqlStore) -> Mapping[str, HookStanding]:
    """Those of the settings, and those of which something is on record."""
    found = {name: HookStanding(name) for name in context.settings.hooks}
    return found | {one.hook: one for one in await store.outbox.standing()}


@dataclass(frozen=True, slots=True)
class _Sum:
    waiting: int
    given_up: int

    @classmethod
    def of(cls, standing: Mapping[str, HookStanding], names: Mapping[str, Any]) -> _Sum:
        counted = [one for name, one in standing.items() if name in names]
        return cls(sum(one.waiting for one in counted), sum(one.given_up for one in counted))


def _document(context: Context, one: HookStanding) -> dict[str, Any]:
    told = context.settings.hooks.get(one.hook)
    return {
        "hook": one.hook,
        "type": told.type if told is not None else None,
        "events": list(told.events) if told is not None else [],
        "waiting": one.waiting,
        "given_up": one.given_up,
        "oldest": one.oldest,
        "failures": one.pause.failures if one.pause is not None else 0,
        "paused_until": one.pause.until if one.pause is not None else None,
        "last_error": one.last_error,
    }


def _print(context: Context, standing: Mapping[str, HookStanding]) -> None:
    now = utcnow()
    numbers = ("waiting", "given up")
    table = Table(
        "hook", "type", *numbers, "oldest", "next try (UTC)", "details", right=numbers,
        spare=("next try (UTC)", "oldest"),
    )  # fmt: skip
    forgotten = []
    for one in standing.values():
        told = context.settings.hooks.get(one.hook)
        if told is None:
            forgotten.append(one.hook)
        table.add(
            one.hook, told.type if told else "not in settings", one.waiting, one.given_up,
            ago(one.oldest, now) if one.oldest else None, clock(_next_try(one, now)), one.last_error,
        )  # fmt: skip
    table.print(console())
    for name in forgotten:
        say(f"\nno settings speak of {plain_line(name)}: {context.command('hook', 'forget', name)}")


def _next_try(one: HookStanding, now: datetime) -> datetime | None:
    return one.pause.until if one.pause is not None and one.waiting and one.pause.until > now else None


def _unknown(name: str, known: Any) -> str:
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(known)) or 'none'}"
    return f"there is no hook {plain_line(name)!r}, {plain_line(hint)}"
