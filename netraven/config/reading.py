"""Settings: one TOML file, every key also as an environment variable, nothing guessed.

Found as ``--config``, ``$NETRAVEN_CONFIG``, ``./netraven.toml``, ``/etc/netraven/netraven.toml``, in this order. A key
``k`` of a section ``s`` is also read from ``NETRAVEN_S__K``, which wins. Relative paths are relative to the file's
folder. An unknown key or a value of the wrong kind is an error that names the key.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from netraven.config.sections import (
    LOCAL,
    AccessSettings,
    CollectSettings,
    DaemonSettings,
    DatabaseSettings,
    GitSettings,
    HistorySettings,
    HookSettings,
    JumpSettings,
    LogSettings,
    PlatformsSettings,
    RealmSettings,
    RetentionSettings,
    SecretsSettings,
    Settings,
    SshSettings,
    TagSettings,
    VaultSettings,
)
from netraven.errors import SettingsError

PREFIX = "NETRAVEN_"
_RESERVED = frozenset({"NETRAVEN_CONFIG", "NETRAVEN_KEY"})
SYSTEM_FILE = Path("/etc/netraven/netraven.toml")


_REALMS = "realms"
_HOOKS = "hooks"
_JOBS = "jobs"
_NAMED = {_REALMS: "realm", "tags": "tag", "devices": "device", _HOOKS: "hook"}
"""Sections of sections, one for each name."""
_NAMED_KINDS: dict[str, type[Any]] = {_REALMS: RealmSettings, "tags": TagSettings, _HOOKS: HookSettings}
_EXAMPLES = {_REALMS: "THRESHOLD", _HOOKS: "URL"}
_SECTIONS: dict[str, type[Any]] = {
    "database": DatabaseSettings,
    "secrets": SecretsSettings,
    "vault": VaultSettings,
    "collect": CollectSettings,
    "ssh": SshSettings,
    "jump": JumpSettings,
    "platforms": PlatformsSettings,
    "history": HistorySettings,
    "retention": RetentionSettings,
    "git": GitSettings,
    "daemon": DaemonSettings,
    "log": LogSettings,
}


def load_settings(
    path: str | Path | None = None, environ: Mapping[str, str] | None = None, *, without_jobs: bool = False
) -> Settings:
    """Read the settings. Raises ``SettingsError``.

    ``path``: this file and no other. Without one, and without any of the usual files, the defaults hold.
    ``without_jobs``: where the jobs cannot be used, the rest can: there are none then, and ``jobs_problem`` says why.
    """
    environ = os.environ if environ is None else environ
    file = find_file(path, environ)
    text = _text(file) if file is not None else ""
    data = _parsed(file, text) if file is not None else {}
    sections: dict[str, Any] = {}
    told: set[str] = set()
    known = [*_SECTIONS, *_NAMED, _JOBS]
    for name in data:
        if name not in known:
            raise SettingsError(f"{file}: unknown section [{name}]{_closest(name, known)}")
    overrides = _overrides(environ)
    named = {
        section: _named(section, data.get(section, {}), overrides.pop(section, {}), str(file))
        for section in _NAMED
    }
    realms = _realms(named.pop(_REALMS), str(file))
    hooks = _hooks(named.pop(_HOOKS), str(file))
    access: dict[str, Any] = {
        section: {name: _NAMED_KINDS.get(section, AccessSettings)(**values) for name, values in given.items()}
        for section, given in named.items()
    }
    for name, section in _SECTIONS.items():
        table = data.get(name, {})
        if not isinstance(table, dict):
            raise SettingsError(f"{file}: {name} must be a section: [{name}]")
        values = {key: _checked(section, name, key, value, str(file)) for key, value in table.items()}
        values |= {key: _from_text(section, name, key, text) for key, text in overrides.get(name, {}).items()}
        sections[name] = section(**values)
        told.update(f"{name}.{key}" for key in values)
    for name in ("vault", "retention"):
        if problem := sections[name].problem():
            raise SettingsError(f"{file or 'settings'}: {name}: {problem}")
    if problem := sections["git"].problem():
        raise SettingsError(f"{file or 'settings'}: git.{problem}")
    settings = Settings(**sections, realms=realms, hooks=hooks, **access, told=frozenset(told), file=file)
    if file is None:
        return settings
    try:
        return _with_jobs(settings, file, text, data.get(_JOBS))
    except SettingsError as error:
        if not without_jobs:
            raise
        return dataclasses.replace(settings, jobs_problem=str(error))


def _with_jobs(settings: Settings, file: Path, text: str, tables: Any) -> Settings:
    """The same with the jobs of the settings file and of the folder beside it."""
    folder = settings.jobs_folder
    if tables is None and not os.path.lexists(folder):
        return settings
    from netraven.config.jobs import JobFiles  # noqa: PLC0415 - it knows the platforms, which take a while to import
    from netraven.platforms import Catalogue  # noqa: PLC0415 - the same

    found = JobFiles(Catalogue(settings.platforms_folder))
    if tables is not None:
        found.settings(file, text, tables)
    found.folder(folder)
    return dataclasses.replace(settings, jobs=found.jobs, job_places=found.places)


def _named(section: str, tables: Any, overrides: Mapping[str, str], where: str) -> dict[str, dict[str, Any]]:
    """``[SECTION.NAME]`` and ``NETRAVEN_SECTION__NAME__KEY`` (the name in small letters there): values by name."""
    kind = _NAMED_KINDS.get(section, AccessSettings)
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
            example = f"{PREFIX}{section.upper()}__NAME__{_EXAMPLES.get(section, 'LEGACY')}"
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


def _hooks(given: Mapping[str, Mapping[str, Any]], where: str) -> dict[str, HookSettings]:
    hooks = {name: HookSettings(**values) for name, values in given.items()}
    for name, hook in hooks.items():
        if problem := hook.problem():
            raise SettingsError(f"{where}: hooks.{name}.{problem}")
    return hooks


def find_file(path: str | Path | None, environ: Mapping[str, str]) -> Path | None:
    """The settings file in force; raises ``SettingsError`` where a named one does not exist."""
    named = path or environ.get("NETRAVEN_CONFIG")
    if named:
        file = Path(named)
        if not file.is_file():
            raise SettingsError(f"{file}: no such settings file; `netraven init` writes one")
        return file
    return next((file for file in (Path("netraven.toml"), SYSTEM_FILE) if file.is_file()), None)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: is not UTF-8") from error


def _parsed(file: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file}: is not valid TOML: {error}{_how_it_goes(str(error))}") from error


def _how_it_goes(error: str) -> str:
    """For a section pasted from the documentation: what `netraven init` writes has each heading already."""
    if re.search(r"Cannot (declare|overwrite|mutate)", error):
        return (
            ": a section stands in the file once only; put what belongs to it under the heading that is there"
        )
    return ""


def _overrides(environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for name, text in environ.items():
        if not name.startswith(PREFIX) or "__" not in name or name in _RESERVED:
            continue
        section, _, key = name.removeprefix(PREFIX).lower().partition("__")
        if section == _JOBS:
            raise SettingsError(f"${name}: jobs are told in files only: [jobs.NAME] of the settings file")
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
