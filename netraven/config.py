"""Settings: one TOML file, every key also as an environment variable, nothing guessed.

Found as ``--config``, ``$NETRAVEN_CONFIG``, ``./netraven.toml``, ``/etc/netraven/netraven.toml``, in this order. A key
``k`` of a section ``s`` is also read from ``NETRAVEN_S__K``, which wins. Relative paths are relative to the file's
folder. An unknown key or a value of the wrong kind is an error that names the key.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netraven.errors import SettingsError

PREFIX = "NETRAVEN_"
_RESERVED = frozenset({"NETRAVEN_CONFIG", "NETRAVEN_KEY"})
SYSTEM_FILE = Path("/etc/netraven/netraven.toml")
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
        pairs = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        return {name: value for name, value in pairs if value is not None}


@dataclass(frozen=True, slots=True)
class PlatformsSettings:
    folder: str = "platforms"
    """Platform files of the user's own; where there is no such folder, there are none."""


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
    realms: Mapping[str, RealmSettings] = field(default_factory=dict)
    """``[realms.NAME]``, those that settings speak of."""
    tags: Mapping[str, AccessSettings] = field(default_factory=dict)
    """``[tags.NAME]``: of two tags that a device carries, the one that stands later wins."""
    devices: Mapping[str, AccessSettings] = field(default_factory=dict)
    """``[devices.NAME]``: what is said of one device wins over its tags."""
    log: LogSettings = LogSettings()
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
        return self.folder / Path(self.secrets.key_file).expanduser()

    @property
    def platforms_folder(self) -> Path:
        return self.folder / Path(self.platforms.folder).expanduser()

    @property
    def database_url(self) -> str:
        """The URL with a relative SQLite file made absolute."""
        for prefix in SQLITE:
            path = self.database.url.removeprefix(prefix)
            if path not in (self.database.url, ":memory:"):
                return f"{prefix}{self.folder.absolute() / Path(path).expanduser()}"
        return self.database.url


def realm_named(realms: Mapping[str, RealmSettings], name: str) -> RealmSettings:
    """What ``realms`` say of a realm; without a word on it, it is central, but for the one named ``local``."""
    if name in realms:
        return realms[name]
    return LOCAL if name == "local" else RealmSettings()


_REALMS = "realms"
_NAMED = {_REALMS: "realm", "tags": "tag", "devices": "device"}
"""Sections of sections, one for each name."""
_SECTIONS: dict[str, type[Any]] = {
    "database": DatabaseSettings,
    "secrets": SecretsSettings,
    "vault": VaultSettings,
    "collect": CollectSettings,
    "ssh": SshSettings,
    "jump": JumpSettings,
    "platforms": PlatformsSettings,
    "log": LogSettings,
}


def load_settings(path: str | Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings. Raises ``SettingsError``.

    ``path``: this file and no other. Without one, and without any of the usual files, the defaults hold.
    """
    environ = os.environ if environ is None else environ
    file = find_file(path, environ)
    data = _read(file) if file is not None else {}
    sections: dict[str, Any] = {}
    known = [*_SECTIONS, *_NAMED]
    for name in data:
        if name not in known:
            raise SettingsError(f"{file}: unknown section [{name}]{_closest(name, known)}")
    overrides = _overrides(environ)
    named = {
        section: _named(section, data.get(section, {}), overrides.pop(section, {}), str(file))
        for section in _NAMED
    }
    realms = _realms(named.pop(_REALMS), str(file))
    access: dict[str, Any] = {
        section: {name: AccessSettings(**values) for name, values in given.items()}
        for section, given in named.items()
    }
    for name, section in _SECTIONS.items():
        table = data.get(name, {})
        if not isinstance(table, dict):
            raise SettingsError(f"{file}: {name} must be a section: [{name}]")
        values = {key: _checked(section, name, key, value, str(file)) for key, value in table.items()}
        values |= {key: _from_text(section, name, key, text) for key, text in overrides.get(name, {}).items()}
        sections[name] = section(**values)
    if problem := sections["vault"].problem():
        raise SettingsError(f"{file or 'settings'}: vault: {problem}")
    return Settings(**sections, realms=realms, **access, file=file)


def _named(section: str, tables: Any, overrides: Mapping[str, str], where: str) -> dict[str, dict[str, Any]]:
    """``[SECTION.NAME]`` and ``NETRAVEN_SECTION__NAME__KEY`` (the name in small letters there): values by name."""
    kind = RealmSettings if section == _REALMS else AccessSettings
    word = _NAMED[section]
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise SettingsError(f"{where}: {section} are sections of their own: [{section}.NAME]")
    given: dict[str, dict[str, Any]] = {}
    if "" in tables:
        raise SettingsError(f"{where}: a {word} needs a name: [{section}.NAME]")
    for name, table in tables.items():
        path = f"{section}.{name}"
        given[name] = {key: _checked(kind, path, key, value, where) for key, value in table.items()}
    for path, text in overrides.items():
        name, _, key = path.partition("__")
        variable = f"${PREFIX}{section.upper()}__{path.upper()}"
        if not name or not key:
            example = f"{PREFIX}{section.upper()}__NAME__{'THRESHOLD' if section == _REALMS else 'LEGACY'}"
            raise SettingsError(f"{variable}: {section} have a name and keys: {example}")
        name = next((known for known in given if known.lower() == name), name)
        given.setdefault(name, {})[key] = _from_text(kind, f"{section}.{name}", key, text, variable)
    return given


def _realms(given: Mapping[str, Mapping[str, Any]], where: str) -> dict[str, RealmSettings]:
    realms = {}
    for name, values in given.items():
        scope = values.get("scope", "local" if name == "local" else "central")
        base = LOCAL if scope == "local" else RealmSettings()
        realms[name] = dataclasses.replace(base, **values)
        if problem := realms[name].problem():
            raise SettingsError(f"{where}: realms.{name}: {problem}")
    return realms


def find_file(path: str | Path | None, environ: Mapping[str, str]) -> Path | None:
    """The settings file in force; raises ``SettingsError`` where a named one does not exist."""
    named = path or environ.get("NETRAVEN_CONFIG")
    if named:
        file = Path(named)
        if not file.is_file():
            raise SettingsError(f"{file}: no such settings file; `netraven init` writes one")
        return file
    return next((file for file in (Path("netraven.toml"), SYSTEM_FILE) if file.is_file()), None)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: is not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file}: is not valid TOML: {error}") from error


def _overrides(environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for name, text in environ.items():
        if not name.startswith(PREFIX) or "__" not in name or name in _RESERVED:
            continue
        section, _, key = name.removeprefix(PREFIX).lower().partition("__")
        if section not in (known := [*_SECTIONS, *_NAMED]):
            raise SettingsError(f"${name}: unknown section {section!r}{_closest(section, known)}")
        found.setdefault(section, {})[key] = text
    return found


def _field(section: type[Any], name: str, key: str, where: str) -> dataclasses.Field[Any]:
    fields = {f.name: f for f in dataclasses.fields(section)}
    if key not in fields:
        raise SettingsError(f"{where}: unknown setting {name}.{key}{_closest(key, fields)}")
    return fields[key]


def _checked(section: type[Any], name: str, key: str, value: Any, where: str) -> Any:
    spec = _field(section, name, key, where)
    kind = _kind(spec)
    if kind is float and type(value) is int:
        value = float(value)
    if kind is tuple and isinstance(value, list) and all(isinstance(word, str) and word for word in value):
        value = tuple(value)
    if type(value) is not kind:
        got = (
            repr(value) if spec.repr else f"a {type(value).__name__}"
        )  # what is kept out of reprs may be secret
        raise SettingsError(f"{where}: {name}.{key} must be {_KINDS[kind]}, not {got}")
    least, most, one_of = (spec.metadata.get(rule) for rule in ("least", "most", "one_of"))
    if least is not None and not value >= least:
        raise SettingsError(f"{where}: {name}.{key} must be at least {least}, not {value!r}")
    if most is None and kind is float:
        most = _LONGEST
    if most is not None and not value <= most:
        raise SettingsError(f"{where}: {name}.{key} must be at most {most}, not {value!r}")
    if one_of is not None and value not in one_of:
        raise SettingsError(f"{where}: {name}.{key} must be one of {', '.join(one_of)}, not {value!r}")
    return value


def _from_text(section: type[Any], name: str, key: str, text: str, where: str = "") -> Any:
    where = where or f"${PREFIX}{name.upper()}__{key.upper()}"
    kind = _kind(_field(section, name, key, where))
    try:
        value: Any = _READ.get(kind, kind)(text)
    except (ValueError, KeyError) as error:
        raise SettingsError(f"{where}: must be {_KINDS[kind]}, not {text!r}") from error
    return _checked(section, name, key, value, where)


def _kind(spec: dataclasses.Field[Any]) -> type[Any]:
    kind: type[Any] = spec.metadata.get("kind", type(spec.default))
    return kind


_KINDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple: 'a list of texts, such as ["one", "two"]',
}
_LONGEST = 31_536_000.0
"""Seconds of the longest time: endless ones are no dates that a database could hold."""
_READ: dict[type[Any], Callable[[str], Any]] = {
    bool: lambda text: {"true": True, "false": False}[text.strip().lower()],
    tuple: lambda text: [word.strip() for word in text.split(",") if word.strip()],
}
"""How values are written in an environment variable, where the kind itself does not read them."""


def _closest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else f". Known are: {', '.join(sorted(known))}"
