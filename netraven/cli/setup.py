"""`netraven init`."""

from __future__ import annotations

import os
from pathlib import Path

from netraven.cli.context import Context
from netraven.cli.screen import say, warn
from netraven.config import load_settings
from netraven.errors import InputError

SETTINGS = """\
# Settings of NetRaven. What is commented out stands at its default.
# Each key can also come from the environment: NETRAVEN_SECTION__KEY, for instance NETRAVEN_COLLECT__CONCURRENCY=500.
# Relative paths start at the folder of this file.

[database]
# One file, or a PostgreSQL server: "postgresql+asyncpg://USER:PASSWORD@HOST/NAME"
url = "sqlite+aiosqlite:///netraven.db"

[secrets]
# The key that stored secrets are sealed with. Keep a copy elsewhere: without it they are lost.
key_file = "netraven.key"

[collect]
# concurrency = 200        # devices in session at once
# retries = 1              # further tries at a device that did not answer or fell silent
# strategy = "priority"    # in which order credentials are offered
# connect_timeout = 10.0   # seconds, up to the device's question for a secret
# login_timeout = 20.0     # from the secret to its answer
# command_timeout = 60.0   # each command
# device_timeout = 300.0   # one try at a device in all

[ssh]
# host_keys = "accept-new" # remember the key of a new device, refuse a changed one; "strict" refuses new ones too

[log]
# level = "warning"        # debug, info, warning, error, critical
# format = "auto"          # console, json; auto: console on a terminal, JSON lines elsewhere
"""


def init(context: Context, *, directory: str) -> int:
    """Write what is missing, touch nothing that is there."""
    if context.config is not None:
        raise InputError("init takes a directory, not --config")
    folder = Path(directory)
    settings_file = folder / "netraven.toml"
    made = _write_settings(folder, settings_file)
    context.given = load_settings(settings_file)
    _report(made, "settings", settings_file)
    has_key = _write_key(context)
    context.run(_database(context, had_key=has_key))
    if directory == ".":
        context = Context()
    else:
        context = Context(config=str(settings_file))
    say()
    say("Next:")
    say(f"  {context.command('credential', 'add', 'NAME', '--username', 'USER', '--tags', 'TAG,TAG')}")
    say(f"  {context.command('device', 'import', 'devices.csv')}     (name,host,port,platform,tags)")
    say(f"  {context.command('collect')}")
    return 0


def _write_settings(folder: Path, file: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if file.exists():
            return False
        # A database URL may come to hold a password.
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.write(SETTINGS)
    except OSError as error:
        raise InputError(f"cannot write {error.filename or file}: {error.strerror}") from error
    return True


def _write_key(context: Context) -> bool:
    """Whether there was a key before."""
    from netraven.credentials.sealing import KEY_VARIABLE, SYSTEMD_KEY, write_new_key_file

    key_file = context.settings.key_file
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if directory and (Path(directory) / SYSTEMD_KEY).exists():
        say(f"  key        comes from systemd's credentials directory, {directory}")
        return True
    if key_file.exists():
        _report(made=False, what="key", where=key_file)
        return True
    if os.environ.get(KEY_VARIABLE):
        say(f"  key        comes from ${KEY_VARIABLE}")
        return True
    write_new_key_file(key_file)
    _report(made=True, what="key", where=key_file, more=" (keep a copy elsewhere: stored secrets need it)")
    return False


async def _database(context: Context, *, had_key: bool) -> None:
    from netraven.storage.migrate import create_and_upgrade, current_revision
    from netraven.storage.urls import locate

    url = context.settings.database_url
    before = await current_revision(url)
    after = await create_and_upgrade(url)
    shown = locate(url).shown
    if before is None:
        _report(made=True, what="database", where=shown)
    elif before != after:
        say(f"  database   {shown}: brought from revision {before} to {after}")
    else:
        _report(made=False, what="database", where=shown)
    if before is not None and not had_key:
        async with context.store() as store:
            if sealed := await store.vault.list():
                warn(
                    f"the {len(sealed)} credentials in the database were sealed with another key than the new one: "
                    "add that key to the key file, below the new one, or remove the credentials and add them again"
                )


def _report(made: bool, what: str, where: object, more: str = "") -> None:
    say(f"  {what:10} {where}: {'new' if made else 'exists, left as it is'}{more}")
