"""`netraven secrets`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from netraven.cli.context import Context
from netraven.cli.entry import DONE, NOT_ALL
from netraven.cli.screen import counted, note, say, warn
from netraven.credentials.key_file import KeyPlace, add_key, key_lines, key_place, remove_keys
from netraven.credentials.sealing import Keyring, load_keyring
from netraven.errors import InputError
from netraven.plain import plain_line
from netraven.storage.resealing import BATCH

if TYPE_CHECKING:
    from netraven.storage.store import SqlStore


async def rotate(context: Context, *, remove_old: bool) -> int:
    """Seal everything under a new key, or go on with what an earlier rotation left."""
    place = key_place(context.settings.key_file, os.environ)
    async with context.store() as store:
        store.require_key()
        keyring = load_keyring(context.settings.key_file, os.environ)
        if remove_old and place.file is None:
            raise InputError(
                f"the key comes from {place.shown}, which is not changed here: remove old keys there"
            )
        left = await _left_to_do(store, keyring)
        if left:
            say(f"going on with an earlier rotation: {counted(left, 'secret')} left under older keys")
        elif not (remove_old and len(keyring.key_ids) > 1):
            keyring = _new_key(place, keyring)
        result = await store.resealing.run(_show)
        keyring = load_keyring(context.settings.key_file, os.environ)
        say(
            f"{counted(result.done, 'secret')} sealed anew; everything new is sealed with key {keyring.active_id}"
        )
        for lost in result.unopened.values():
            what = (
                "the key of stored configurations"
                if lost.credential is None
                else f"credential {plain_line(lost.credential)}, version {lost.version},"
            )
            warn(f"{what} is left as it was: {plain_line(lost.why, 1000)}")
        await _about_old_keys(context, store, place, keyring, remove=remove_old)
    return NOT_ALL if result.unopened else DONE


async def _left_to_do(store: SqlStore, keyring: Keyring) -> int:
    in_use = await store.resealing.keys_in_use()
    return sum(in_use[key] for key in keyring.key_ids[1:])


def _new_key(place: KeyPlace, keyring: Keyring) -> Keyring:
    if place.file is None:
        raise InputError(
            f"everything is sealed with key {keyring.active_id}, the first one of {place.shown}, which cannot be "
            "written from here. Put a new key above it there (`openssl rand -base64 32` makes one), keep the old one "
            "below, and give this command again"
        )
    made = add_key(place.file, keyring.active_id)
    say(f"new key {made.active_id} in {place.file}: keep a copy of the file elsewhere")
    return made


def _show(done: int, total: int) -> None:
    if total > BATCH:
        note(f"{done:,} of {total:,} secrets sealed anew")


async def _about_old_keys(
    context: Context, store: SqlStore, place: KeyPlace, keyring: Keyring, *, remove: bool
) -> None:
    """Which old keys nothing needs any more, and take them out where that is wanted."""
    async with store.resealing.settled() as in_use:
        old = [key for key in keyring.key_ids[1:] if not in_use.get(key)]
        needed = [key for key in keyring.key_ids[1:] if in_use.get(key)]
        if remove and place.file is not None and old:
            gone = remove_keys(place.file, old)
            say(
                f"removed {counted(len(gone), 'old key')} from {place.file}: {', '.join(k.key_id for k in gone)}"
            )
            old = []
    if needed:
        warn(f"still needed, for what could not be sealed anew: {', '.join(needed)}")
    if old:
        say(f"no stored secret needs any more: {_where(place.file, old)}")
        if place.file is None:
            say(f"Remove it from {place.shown} once every collector has the new key.")
        else:
            say(
                f"`{context.command('secrets', 'rotate', '--remove-old')}` removes it. Copies of the database that are"
            )
            say("older than this still need it: keep it with them.")


def _where(file: Path | None, key_ids: Sequence[str]) -> str:
    if file is None:
        return ", ".join(f"key {key}" for key in key_ids)
    numbers = {line.key_id: line.number for line in key_lines(file)}
    return ", ".join(f"key {key} (line {numbers[key]} of {file})" for key in key_ids if key in numbers)
