"""`netraven history export` and `import`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from netraven.cli.context import Context
from netraven.cli.progress import paced
from netraven.cli.screen import counted, print_json, say, size, warn
from netraven.errors import InputError, KeyringError
from netraven.model import Selector, utcnow
from netraven.plain import plain_line


async def export(
    context: Context,
    *,
    file: str,
    tags: Sequence[str],
    names: Sequence[str],
    raw: bool,
    redacted: bool,
    force: bool,
    as_json: bool,
) -> int:
    from netraven.archive.lines import Form
    from netraven.archive.moving import Export

    path = Path(file)
    async with context.store() as store:
        if missing := await store.missing(names):
            raise InputError(f"no such device: {', '.join(map(repr, missing))}")
        if unknown := sorted(set(tags) - await store.known_tags()):
            raise InputError(f"no device or credential carries the tag {', '.join(map(repr, unknown))}")
        form = Form.RAW if raw else Form.REDACTED if redacted else Form.SEALED
        keyring = None
        if form is Form.SEALED:
            store.require_key()
            keyring = store.vault.seals.keyring
        text = context.configurations(store).text
        wanted = Export(
            store.archives,
            Selector(frozenset(tags), frozenset(names)),
            form,
            utcnow(),
            keyring,
            partial(text, raw=False) if redacted else None,
        )
        done = await wanted.write(path, force=force, progress=paced())
    if as_json:
        print_json({"file": path, "texts_are": form.value, **asdict(done)})
        return 0
    say(
        f"{path}: {counted(done.devices, 'device')}, {counted(done.versions, 'version')}, "
        f"{counted(done.texts, 'text')}, {size(done.bytes)}"
    )
    if keyring is not None:
        say(f"Texts are sealed with key {keyring.active_id}: importing the file needs it.")
    elif form is Form.RAW:
        say("Texts are in clear, with every secret of the devices: keep the file as a key is kept.")
    else:
        say("Texts have marks in the place of secrets. This file cannot be imported.")
    return 0


async def load(context: Context, *, file: str, existing_only: bool, dry_run: bool, as_json: bool) -> int:
    from netraven.archive.moving import Import

    async with context.store() as store:
        try:
            store.require_key()
        except KeyringError:
            if context.settings.history.encrypt and not dry_run:
                raise
        wanted = Import(
            store.archives, store.vault.seals.keyring, existing_only=existing_only, dry_run=dry_run
        )
        done = await wanted.read(Path(file), paced())
    if as_json:
        print_json({"file": file, "dry_run": dry_run, **asdict(done)})
        return 0
    would = "would come in" if dry_run else "came in"
    say(f"{would}: {counted(done.versions, 'version')}, {counted(done.devices, 'new device')}")
    if done.known:
        say(f"{counted(done.known, 'version')} known already, or equal to the one beside it")
    if done.skipped:
        shown = ", ".join(plain_line(name) for name in done.skipped[:10])
        more = f" and {len(done.skipped) - 10:,} more" if len(done.skipped) > 10 else ""
        warn(f"not in the inventory, and left out: {shown}{more}")
    return 0
