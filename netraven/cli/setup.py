"""`netraven init`."""

from __future__ import annotations

import os
from pathlib import Path

from netraven.cli.context import Context
from netraven.cli.screen import counted, say, warn
from netraven.config import load_settings
from netraven.errors import InputError
from netraven.plain import plain_line

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
# command_timeout = 10.0   # seconds that a source of a secret (a command, a file) may take
# cache_seconds = 300.0    # how long what a source gave is held in memory

[vault]
# url = "https://vault.example.net:8200"   # otherwise $VAULT_ADDR
# mount = "secret"         # the KV v2 engine
# token_file = ""          # a token as Vault Agent writes it; otherwise $VAULT_TOKEN
# role_id = ""             # AppRole, with secret_id_file
# secret_id_file = ""

[collect]
# concurrency = 200        # devices in session at once
# retries = 1              # further tries at a device that did not answer or fell silent
# strategy = "last-good"   # in which order credentials are offered; or "priority", "success-rate", "explore"
# refused_backoff = 259200.0 # seconds until a device is offered again what it has refused; doubled each time
# connect_timeout = 10.0   # seconds, up to the device's question for a secret
# login_timeout = 20.0     # from the secret to its answer
# command_timeout = 60.0   # each command
# device_timeout = 300.0   # one try at a device in all
# patience = 600.0         # how long the end of a run waits for a paused realm or a spent account
# login_grace = 30.0       # how long servers wait for a login; who waits for a permit is connected no longer
# dead_after = 3           # runs in a row after which a device that could not be reached goes last, and only once
# dead_connect_timeout = 3.0 # seconds that such a device has to answer
# outputs = []             # kinds of output to collect, ["running", "version"]; empty: what the platform says

# Who judges the passwords, and when that locks an account; one section for each realm of your credentials.
# Without one, a realm is central and these hold:
# [realms.default]
# scope = "central"        # one service counts for the whole fleet; "local": each device for itself
# threshold = 5            # refusals in a row at which it locks an account
# margin = 2               # how far below that NetRaven stays
# window = 3600.0          # seconds after which the service has forgotten refusals
# mode = "strict"          # or "adaptive"
# max_logins_in_flight = 100

[ssh]
# host_keys = "accept-new" # remember the key of a new device, refuse a changed one; "strict" refuses new ones too
# agent_socket = ""        # where the ssh agent listens that holds keys; otherwise $SSH_AUTH_SOCK
# source_address = ""      # the local address to connect from
# keepalive = 60.0         # seconds without a byte after which TCP asks whether the device is still there; 0: never

[jump]                     # limits for each jump host
# max_logins = 20          # devices that connect and log in at once through it
# max_sessions = 200
# retry_after = 30.0       # seconds after which one that could not be reached is tried again

# How devices are reached that differ from all others; [devices.NAME] has the same keys.
# [tags.dc1]
# jump = ["outer", "inner"] # devices of the platform jump_host on the way, the outermost first
# transport = "ssh"        # or "telnet", or "ssh-or-telnet"
# host_keys = "strict"     # or "accept-new", or "off"
# legacy = false           # true: weak SSH algorithms with devices that have nothing better
# connect_timeout = 30.0   # and login_timeout, command_timeout, device_timeout
# outputs = ["running"]    # kinds of output

[platforms]
# folder = "platforms"     # files that describe platforms of your own, or change one that ships

[history]
# encrypt = true           # configurations are encrypted in the database

[retention]                # what `netraven prune` leaves; 0: everything
# versions = 0             # the newest so many versions of each device and kind
# version_days = 0.0       # those in force within so many days
# log_days = 0.0           # attempts, outcomes and logs of so many days

[git]
# path = ""                # a bare repository that configurations are exported to
# layout = "{name}"        # and {tag}, {platform}, {kind}, with / for folders
# commit = "run"           # or "device"
# author = "NetRaven <netraven@localhost>"
# branch = "main"
# remote = ""              # pushed to after each export
# kinds = ["running"]
# raw = false              # true: secrets in clear

# Who is told of what; one section for each.
# [hooks.chat]
# type = "webhook"         # or "command", "mail"
# events = ["changed", "first-seen", "failed-again", "recovered", "run-finished", "stale-devices"]
# url = "https://chat.example.net/hook"
# secret = "env:HOOK_KEY"  # the key that it is signed with
# tags = ["core"]          # and platforms = [...], pattern = "regular expression"

[daemon]                   # `netraven serve`
# listen = "127.0.0.1:9180" # where /healthz, /readyz and /metrics are answered; "": nowhere
# listen_anywhere = false  # true: also where other machines can connect; nobody is asked for a password
# drain = 30.0             # seconds that sessions get when it is asked to stop
# max_runs = 8             # runs at once
# several = false          # true: other daemons may serve the same PostgreSQL database
# start_patience = 300.0   # seconds that a database which does not answer is waited for at the start
# jobs_folder = "jobs"     # *.toml files with jobs, each under its [NAME]

# What is run when, by `netraven serve`; one section for each. `netraven job add` is the other way.
# [jobs.nightly]
# cron = "30 2 * * *"      # or every = "6h", or at = "2026-12-01T02:00"
# zone = "Europe/Berlin"
# tags = ["core"]          # and names, platforms, not_tags, not_names, not_platforms
# finish_by = "06:00"

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
    shown = Context() if directory == "." else Context(config=str(settings_file))
    database = context.run(_database(context))
    if not _has_key(context):
        context.run(_refuse_second_key(context, shown.command("credential", "remove", "NAME")))
        _write_key(context)
    say(database)
    context.run(_warn_of_unreadable(context))
    say()
    say("Next:")
    say(f"  {shown.command('device', 'import', 'devices.csv')}     (name,host,port,platform,tags)")
    say(f"  {shown.command('credential', 'add', 'NAME', '--username', 'USER', '--tags', 'TAG,TAG')}")
    say(f"  {shown.command('collect')}")
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


def _has_key(context: Context) -> bool:
    """Whether there is a key, and say where."""
    from netraven.credentials.sealing import KEY_VARIABLE, SYSTEMD_KEY

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
    return False


def _write_key(context: Context) -> None:
    from netraven.credentials.sealing import write_new_key_file

    key_file = context.settings.key_file
    write_new_key_file(key_file)
    _report(made=True, what="key", where=key_file, more=" (keep a copy elsewhere: stored secrets need it)")


async def _refuse_second_key(context: Context, remove: str) -> None:
    """A new key opens nothing that another one sealed, and its file would stand where that one's copy belongs."""
    async with context.store() as store:
        sealed = await store.resealing.keys_in_use()
        texts = await store.history_keys.exist()
    if sealed:
        begin = "configurations and secrets are lost: begin with a new database ([database] url)"
        if not texts:
            begin = (
                f"the secrets are lost: remove the credentials (`{remove}`), run `netraven init` again, and add "
                "them anew"
            )
        raise InputError(
            f"no new key was written: the database holds {counted(sum(sealed.values()), 'secret')} sealed with another "
            f"key, and {context.settings.key_file} is not there. Put your copy of the old key back. Where there "
            f"is none, {begin}"
        )


async def _warn_of_unreadable(context: Context) -> None:
    async with context.store() as store:
        unreadable = await store.vault.unreadable()
    if unreadable:
        names = sorted({name for name, _ in unreadable})
        warn(
            f"{counted(len(unreadable), 'stored secret')} cannot be read with this key "
            f"({', '.join(map(plain_line, names))}): {next(iter(unreadable.values()))}"
        )


async def _database(context: Context) -> str:
    """Create it or bring it up to date; the line that says so."""
    from netraven.storage.migrate import create_and_upgrade, current_revision
    from netraven.storage.urls import locate

    url = context.settings.database_url
    before = await current_revision(url)
    after = await create_and_upgrade(url)
    shown = locate(url).shown
    if before is not None and before != after:
        return f"  database   {shown}: brought from revision {before} to {after}"
    return _state(before is None, "database", shown)


def _report(made: bool, what: str, where: object, more: str = "") -> None:
    say(_state(made, what, where) + more)


def _state(made: bool, what: str, where: object) -> str:
    return f"  {what:10} {where}: {'new' if made else 'exists, left as it is'}"
