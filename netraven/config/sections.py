"""The sections of the settings and their defaults; `docs/reference/settings.md` says what each key means."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netraven.credentials.source import FORMS, parse_source
from netraven.errors import InputError, SettingsError
from netraven.history.layout import Layout
from netraven.history.pattern import Pattern
from netraven.model import EventKind, Job

SQLITE = ("sqlite:///", "sqlite+aiosqlite:///")


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    url: str = field(default="sqlite+aiosqlite:///netraven.db", repr=False)
    """``sqlite+aiosqlite:///FILE`` or ``postgresql+asyncpg://USER:PASSWORD@HOST/NAME``."""


@dataclass(frozen=True, slots=True)
class SecretsSettings:
    key_file: str = "netraven.key"
    """The keyring that seals stored secrets; mode 0600."""
    command_timeout: float = field(default=10.0, metadata={"least": 0.001})
    """Seconds that a source (a command, a file) may take."""
    cache_seconds: float = field(default=300.0, metadata={"least": 0.0})
    """Seconds for which what a source gave is held in memory; 0: not at all."""


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """HashiCorp Vault. What is empty comes from VAULT_ADDR, VAULT_NAMESPACE and VAULT_TOKEN."""

    url: str = ""
    mount: str = "secret"
    """The KV v2 engine."""
    namespace: str = ""
    token_file: str = ""
    """A file with a token, as Vault Agent writes it; read anew each time."""
    role_id: str = ""
    """AppRole, with the secret id in ``secret_id_file``."""
    secret_id_file: str = ""
    timeout: float = field(default=10.0, metadata={"least": 0.001})
    """Seconds for one secret, logging in included."""

    def problem(self) -> str | None:
        """What does not fit together."""
        if bool(self.role_id) != bool(self.secret_id_file):
            return "role_id and secret_id_file go together: AppRole needs both"
        if self.token_file and self.role_id:
            return "token_file and role_id exclude each other: give one way to log in"
        if self.url and not self.url.startswith(("https://", "http://")):
            return "url must begin with https:// (or http://)"
        return None


@dataclass(frozen=True, slots=True)
class CollectSettings:
    """Timeouts are in seconds."""

    concurrency: int = field(default=200, metadata={"least": 1})
    retries: int = field(default=1, metadata={"least": 0})
    strategy: str = "last-good"
    connect_timeout: float = field(default=10.0, metadata={"least": 0.001})
    login_timeout: float = field(default=20.0, metadata={"least": 0.001})
    command_timeout: float = field(default=60.0, metadata={"least": 0.001})
    device_timeout: float = field(default=300.0, metadata={"least": 0.001})
    refused_backoff: float = field(default=259200.0, metadata={"least": 0.0})
    """After a device has refused a secret, it is not offered there again for so long; twice that after the second
    refusal in a row, and so on, up to 30 days."""
    patience: float = field(default=600.0, metadata={"least": 0.0})
    """How long the end of a run waits for a paused realm or a spent account."""
    login_grace: float = field(default=30.0, metadata={"least": 1.0})
    """How long servers wait for a login before they hang up."""
    outputs: tuple[str, ...] = ()
    """The kinds of output to collect from every device; empty: what each platform says, which is ``running``."""
    dead_after: int = field(default=3, metadata={"least": 1})
    """A device that could not be reached in so many runs in a row is visited last, once, and not waited for long."""
    dead_connect_timeout: float = field(default=3.0, metadata={"least": 0.001})
    """Seconds that such a device is given to answer."""


@dataclass(frozen=True, slots=True)
class RealmSettings:
    """Who judges the passwords of a realm, and when that locks an account. ``window`` is in seconds.

    The defaults are for an AAA service of which nothing is known: no more than three refusals in a row, none of them
    forgotten within the hour.
    """

    scope: str = field(default="central", metadata={"one_of": ("central", "local")})
    """``central``: one service counts refusals over the whole fleet. ``local``: each device for itself."""
    threshold: int = field(default=5, metadata={"least": 1})
    """Refusals in a row at which the service locks an account."""
    margin: int = field(default=2, metadata={"least": 1})
    """How far below the threshold NetRaven stays."""
    window: float = field(default=3600.0, metadata={"least": 0.001})
    """After so many seconds without a refusal the service has forgotten those before."""
    mode: str = field(default="strict", metadata={"one_of": ("strict", "adaptive")})
    max_logins_in_flight: int = field(default=100, metadata={"least": 1})
    """Secrets without a verdict at once, in one process."""

    def problem(self) -> str | None:
        """What does not fit together."""
        if self.threshold <= self.margin:
            return (
                f"threshold ({self.threshold}) must be greater than margin ({self.margin}): the difference is how many "
                "refusals in a row NetRaven may cause"
            )
        if not self.window <= LONGEST_WINDOW:
            return f"window ({self.window:g}) is more than ten years of seconds"
        return None


LONGEST_WINDOW = 315_576_000.0
LOCAL = RealmSettings(scope="local", max_logins_in_flight=100_000)
"""The realm named ``local``, unless settings say otherwise."""


@dataclass(frozen=True, slots=True)
class SshSettings:
    host_keys: str = field(default="accept-new", metadata={"one_of": ("accept-new", "strict")})
    """``off`` and weak algorithms are for single devices and tags only: see :class:`AccessSettings`."""
    source_address: str = ""
    """The local address to connect from; empty: the system's choice."""
    keepalive: float = field(default=60.0, metadata={"least": 0.0})
    """After so many seconds without a byte TCP asks whether the device is still there; 0: never."""
    agent_socket: str = ""
    """Where the ssh agent listens, for credentials whose key it holds; empty: where SSH_AUTH_SOCK says."""


@dataclass(frozen=True, slots=True)
class JumpSettings:
    """Limits for each jump host, in one process."""

    max_logins: int = field(default=20, metadata={"least": 1})
    """Devices that are being connected to and logged in to at once through one jump host."""
    max_sessions: int = field(default=200, metadata={"least": 1})
    """Devices in session at once through one jump host."""
    retry_after: float = field(default=30.0, metadata={"least": 0.0})
    """Seconds after which a jump host that could not be reached is tried again."""


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """``[tags.NAME]`` and ``[devices.NAME]``: how these devices are reached, where that differs from all others."""

    transport: str | None = field(
        default=None, metadata={"kind": str, "one_of": ("ssh", "telnet", "ssh-or-telnet")}
    )
    host_keys: str | None = field(
        default=None, metadata={"kind": str, "one_of": ("accept-new", "strict", "off")}
    )
    legacy: bool | None = field(default=None, metadata={"kind": bool})
    jump: tuple[str, ...] | None = field(default=None, metadata={"kind": tuple})
    telnet_port: int | None = field(default=None, metadata={"kind": int, "least": 1, "most": 65535})
    source_address: str | None = field(default=None, metadata={"kind": str})
    keepalive: float | None = field(default=None, metadata={"kind": float, "least": 0.0})
    outputs: tuple[str, ...] | None = field(default=None, metadata={"kind": tuple})
    connect_timeout: float | None = field(default=None, metadata={"kind": float, "least": 0.001})
    login_timeout: float | None = field(default=None, metadata={"kind": float, "least": 0.001})
    command_timeout: float | None = field(default=None, metadata={"kind": float, "least": 0.001})
    device_timeout: float | None = field(default=None, metadata={"kind": float, "least": 0.001})

    @property
    def told(self) -> dict[str, Any]:
        """What is said, by key."""
        pairs = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(AccessSettings))
        return {name: value for name, value in pairs if value is not None}


@dataclass(frozen=True, slots=True)
class TagSettings(AccessSettings):
    max_sessions: int | None = field(default=None, metadata={"kind": int, "least": 1})
    """Devices of the tag in session at once, in one process."""


@dataclass(frozen=True, slots=True)
class PlatformsSettings:
    folder: str = "platforms"
    """Platform files of the user's own; where there is no such folder, there are none."""


@dataclass(frozen=True, slots=True)
class HistorySettings:
    encrypt: bool = True
    """Whether configurations are encrypted where they are stored, as credentials are."""


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """What ``netraven prune`` takes away. 0 everywhere: nothing. The latest version of an output always stays."""

    versions: int = field(default=0, metadata={"least": 0, "most": 1_000_000_000})
    """The newest so many versions of each device and kind stay."""
    version_days: float = field(default=0.0, metadata={"least": 0.0, "most": 36500})
    """Versions that were in force within so many days stay."""
    log_days: float = field(default=0.0, metadata={"least": 0.0, "most": 36500})
    """Attempts, outcomes, connection logs and the lines of runs stay so many days."""

    def problem(self) -> str | None:
        """What may not be."""
        if 0 < self.log_days < LEAST_LOG_DAYS:
            return (
                f"log_days ({self.log_days:g}) must be 0 or at least {LEAST_LOG_DAYS:g}: which credential is offered "
                "where, and what the lockout guard lets through, is decided by the attempts of the last day"
            )
        return None


LEAST_LOG_DAYS = 2.0
"""Decisions look back one day (``Inventory.targets``); the other one is for clocks that differ."""


_AUTHOR = re.compile(r"[^<>]*[^<> ] <[^<>\s]+>")
_BRANCH = re.compile(r"[A-Za-z0-9_+=,#%!][A-Za-z0-9_+=,#%!.-]*(?:/[A-Za-z0-9_+=,#%!][A-Za-z0-9_+=,#%!.-]*)*")


def _is_branch(text: str) -> bool:
    """Stricter than git, which takes more."""
    parts = text.split("/")
    fits = _BRANCH.fullmatch(text) is not None and ".." not in text and text != "HEAD"
    return fits and not any(part.endswith((".", ".lock")) for part in parts)


@dataclass(frozen=True, slots=True)
class GitSettings:
    path: str = ""
    """A bare repository that configurations are exported to; made where there is none. Empty: no export."""
    layout: str = "{name}"
    """Where a device's file is: ``{name}``, ``{tag}``, ``{platform}``, ``{kind}`` are filled in."""
    commit: str = field(default="run", metadata={"one_of": ("run", "device")})
    author: str = "NetRaven <netraven@localhost>"
    branch: str = "main"
    remote: str = field(default="", repr=False)
    """Pushed to after each export; what the operator's own git takes as a remote. A URL may hold a password."""
    kinds: tuple[str, ...] = ("running",)
    raw: bool = False
    """``true``: secrets in clear."""
    timeout: float = field(default=300.0, metadata={"least": 1.0})
    """Seconds for one push."""

    def problem(self) -> str | None:
        """What does not fit, as ``key: why``; None where all does."""
        if not self.kinds:
            return 'kinds: say what is to be exported, such as ["running"]'
        if wrong := Layout(self.layout).problem(self.kinds):
            return f"layout: {wrong}"
        try:
            Path(self.path).expanduser()
        except RuntimeError:
            return f"path: {self.path!r} names a user whom this machine does not know"
        if not _AUTHOR.fullmatch(self.author) or not self.author.isprintable():
            return f"author: {self.author!r} is not of the form NAME <ADDRESS>"
        if not _is_branch(self.branch):
            return f"branch: {self.branch!r} is no name that git takes for a branch"
        if self.remote.startswith("-") or not self.remote.isprintable():
            return "remote: it must not begin with - nor contain control characters"
        return None


@dataclass(frozen=True, slots=True)
class HookSettings:
    """``[hooks.NAME]``: who is told of what."""

    type: str = field(default="", metadata={"one_of": ("webhook", "command", "mail")})
    events: tuple[str, ...] = (
        "changed",
        "first-seen",
        "failed-again",
        "recovered",
        "run-finished",
        "stale-devices",
    )
    tags: tuple[str, ...] = ()
    """Only devices that carry one of them."""
    platforms: tuple[str, ...] = ()
    pattern: str = ""
    """Only changes in whose added or removed lines this regular expression is found."""
    diff: bool = True
    """Whether the difference is told, secrets as marks."""
    url: str = field(default="", repr=False)
    """Where a webhook is posted to, or the source of that: such an address may itself be a secret."""
    secret: str = ""
    """The source of the key that webhooks are signed with (``env:NAME`` ...)."""
    command: tuple[str, ...] = ()
    timeout: float = field(default=10.0, metadata={"least": 0.1})
    """Seconds for one try."""
    keep_days: float = field(default=7.0, metadata={"least": 0.01})
    """For so long what could not be delivered is tried again."""
    to: tuple[str, ...] = ()
    sender: str = ""
    smtp: str = ""
    """``HOST`` or ``HOST:PORT``."""
    security: str = field(default="starttls", metadata={"one_of": ("starttls", "tls", "none")})
    username: str = ""
    password: str = ""
    """The source of the SMTP password."""

    def problem(self) -> str | None:
        """What does not fit together, after the name of the key that it is about."""
        if not self.type:
            return f"type: say how it is told: {', '.join(_HOOK_KEYS)}"
        for key in (key for keys in _HOOK_KEYS.values() for key in keys):
            default = next(f.default for f in dataclasses.fields(self) if f.name == key)
            if key not in _HOOK_KEYS[self.type] and getattr(self, key) != default:
                return f"{key}: a {self.type} has no such key"
        for key in _HOOK_NEEDS[self.type]:
            if not getattr(self, key):
                return f"{key}: a {self.type} needs it"
        return self._wrong_events() or self._wrong_pattern() or self._wrong_secrets()

    def _wrong_events(self) -> str | None:
        known = [kind.value for kind in EventKind]
        if not self.events:
            return f"events: name at least one of {', '.join(known)}"
        for name in self.events:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(known)}"
                return f"events: there is no event {name!r}, {hint}"
        return None

    def _wrong_pattern(self) -> str | None:
        if self.pattern:
            try:
                Pattern(self.pattern, regex=True)
            except InputError as error:
                return f"pattern: {error}"
        return None

    def _wrong_secrets(self) -> str | None:
        if bool(self.username) != bool(self.password):
            return f"{'password' if self.username else 'username'}: username and password go together"
        if self.password and self.security == "none":
            return "security: a password is only sent over TLS (starttls, tls)"
        for key in ("url", "secret", "password"):
            source = getattr(self, key)
            if not source or (key == "url" and source.startswith(("https://", "http://"))):
                continue
            try:
                parse_source(source)
            except InputError:  # its message repeats what was written, which may be the secret itself
                also = "a URL (https://...) or " if key == "url" else ""
                return f"{key}: give {also}the source of it: {FORMS}"
        return None


_HOOK_KEYS = {
    "webhook": ("url", "secret"),
    "command": ("command",),
    "mail": ("to", "sender", "smtp", "security", "username", "password"),
}
"""Keys that only one type of hook has."""
_HOOK_NEEDS = {"webhook": ("url",), "command": ("command",), "mail": ("to", "sender", "smtp")}


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """``netraven serve``. Times are in seconds."""

    listen: str = "127.0.0.1:9180"
    """Where ``/healthz``, ``/readyz`` and ``/metrics`` are answered; empty: nowhere."""
    listen_anywhere: bool = False
    """Whether that may be an address that other machines can reach: nobody is asked for a password."""
    drain: float = field(default=30.0, metadata={"least": 0.0})
    """How long sessions may go on after the daemon was asked to stop."""
    max_runs: int = field(default=8, metadata={"least": 1, "most": 1000})
    """Runs at once; they share the limits of sessions and logins."""
    several: bool = False
    """Whether other daemons may serve the same PostgreSQL database."""
    start_patience: float = field(default=300.0, metadata={"least": 0.0})
    """How long a database that does not answer is waited for at the start."""
    jobs_folder: str = "jobs"
    """Files with jobs; where there is no such folder, there are none."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    level: str = field(
        default="warning", metadata={"one_of": ("debug", "info", "warning", "error", "critical")}
    )
    format: str = field(default="auto", metadata={"one_of": ("auto", "console", "json")})
    """``auto``: for people on a terminal, JSON lines elsewhere."""


@dataclass(frozen=True, slots=True)
class Settings:
    database: DatabaseSettings = DatabaseSettings()
    secrets: SecretsSettings = SecretsSettings()
    vault: VaultSettings = VaultSettings()
    collect: CollectSettings = CollectSettings()
    ssh: SshSettings = SshSettings()
    jump: JumpSettings = JumpSettings()
    platforms: PlatformsSettings = PlatformsSettings()
    history: HistorySettings = HistorySettings()
    retention: RetentionSettings = RetentionSettings()
    git: GitSettings = GitSettings()
    realms: Mapping[str, RealmSettings] = field(default_factory=dict)
    """``[realms.NAME]``, those that settings speak of."""
    tags: Mapping[str, TagSettings] = field(default_factory=dict)
    """``[tags.NAME]``: of two tags that a device carries, the one that stands later wins."""
    devices: Mapping[str, AccessSettings] = field(default_factory=dict)
    """``[devices.NAME]``: what is said of one device wins over its tags."""
    hooks: Mapping[str, HookSettings] = field(default_factory=dict)
    """``[hooks.NAME]``."""
    jobs: Mapping[str, Job] = field(default_factory=dict)
    """``[jobs.NAME]``, and ``[NAME]`` of the files in ``daemon.jobs_folder``."""
    job_places: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """Where each of them stands: file and line."""
    jobs_problem: str | None = field(default=None, repr=False, compare=False)
    """Why there are none, where they were to be left out if they cannot be used."""
    daemon: DaemonSettings = DaemonSettings()
    log: LogSettings = LogSettings()
    told: frozenset[str] = field(default=frozenset(), repr=False, compare=False)
    """The keys of sections that file or environment speak of, ``section.key``; all others stand at their defaults."""
    file: Path | None = None
    """Where the settings were read, None for defaults and environment alone."""

    @property
    def folder(self) -> Path:
        """What relative paths are relative to."""
        return self.file.parent if self.file is not None else Path.cwd()

    def realm(self, name: str) -> RealmSettings:
        """The settings of a realm, whether they speak of it or not."""
        return realm_named(self.realms, name)

    @property
    def key_file(self) -> Path:
        return self.folder / _path("secrets.key_file", self.secrets.key_file)

    @property
    def platforms_folder(self) -> Path:
        return self.folder / _path("platforms.folder", self.platforms.folder)

    @property
    def jobs_folder(self) -> Path:
        return self.folder / _path("daemon.jobs_folder", self.daemon.jobs_folder)

    @property
    def git_path(self) -> Path | None:
        return self.folder / Path(self.git.path).expanduser() if self.git.path else None

    @property
    def database_url(self) -> str:
        """The URL with a relative SQLite file made absolute."""
        for prefix in SQLITE:
            path = self.database.url.removeprefix(prefix)
            if path not in (self.database.url, ":memory:"):
                return f"{prefix}{self.folder.absolute() / _path('database.url', path)}"
        return self.database.url


def realm_named(realms: Mapping[str, RealmSettings], name: str) -> RealmSettings:
    """What ``realms`` say of a realm; without a word on it, it is central, but for the one named ``local``."""
    if name in realms:
        return realms[name]
    return LOCAL if name == "local" else RealmSettings()


def _path(key: str, text: str) -> Path:
    """Raises ``SettingsError`` for the home of a user that there is not."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise SettingsError(f"{key}: {text!r} names a user whom this machine does not know") from None
