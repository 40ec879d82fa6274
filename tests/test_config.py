"""Settings: where they are found, what wins, and what is refused with which words."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.config import (
    CollectSettings,
    DaemonSettings,
    GitSettings,
    HistorySettings,
    JumpSettings,
    RealmSettings,
    RetentionSettings,
    SecretsSettings,
    Settings,
    SshSettings,
    TagSettings,
    VaultSettings,
    load_settings,
    reading,
)
from netraven.errors import SettingsError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, on a machine without system-wide settings."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(reading, "SYSTEM_FILE", tmp_path / "etc" / "netraven.toml")
    return here


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def concurrency(n: int) -> str:
    return f"[collect]\nconcurrency = {n}\n"


# ---- where


def test_without_any_file_the_defaults_hold(folder: Path) -> None:
    settings = load_settings(environ={})
    assert settings == Settings()
    assert settings.file is None


def test_the_order_in_which_files_are_looked_for(folder: Path, tmp_path: Path) -> None:
    write(reading.SYSTEM_FILE, concurrency(4))
    assert load_settings(environ={}).collect.concurrency == 4
    write(folder / "netraven.toml", concurrency(3))
    assert load_settings(environ={}).collect.concurrency == 3
    named = write(tmp_path / "named.toml", concurrency(2))
    assert load_settings(environ={"NETRAVEN_CONFIG": str(named)}).collect.concurrency == 2
    given_file = write(tmp_path / "given.toml", concurrency(1))
    settings = load_settings(given_file, environ={"NETRAVEN_CONFIG": str(named)})
    assert (settings.collect.concurrency, settings.file) == (1, given_file)


def test_the_process_environment_is_the_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRAVEN_COLLECT__RETRIES", "7")
    assert load_settings().collect.retries == 7


@pytest.mark.parametrize("by_name", [True, False])
def test_a_named_file_that_is_not_there_is_an_error_and_not_a_default(folder: Path, by_name: bool) -> None:
    missing = folder / "missing.toml"
    with pytest.raises(SettingsError, match="no such settings file"):
        load_settings(
            missing if by_name else None, environ={} if by_name else {"NETRAVEN_CONFIG": str(missing)}
        )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[collect\n", "is not valid TOML"),
        (b"[collect]\nretries=1\nretries=2", "is not valid TOML"),
        (b"[git]\n[log]\n[git]\npath='x'", "put what belongs to it under the heading that is there"),
        (b"\xff\xfe", "is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read(folder: Path, content: bytes, said: str) -> None:
    file = folder / "netraven.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings(environ={})
    assert "netraven.toml" in str(caught.value)


def test_a_folder_is_no_settings_file(folder: Path) -> None:
    with pytest.raises(SettingsError, match="no such settings file"):
        load_settings(folder, environ={})


# ---- environment


def test_every_key_can_be_set_from_the_environment(folder: Path) -> None:
    write(folder / "netraven.toml", concurrency(3))
    environ = {
        "NETRAVEN_DATABASE__URL": "postgresql+asyncpg://u:p@db/netraven",
        "NETRAVEN_SECRETS__KEY_FILE": "/run/key",
        "NETRAVEN_SECRETS__COMMAND_TIMEOUT": "2.5",
        "NETRAVEN_SECRETS__CACHE_SECONDS": "0",
        "NETRAVEN_VAULT__URL": "https://vault.example.net:8200",
        "NETRAVEN_VAULT__MOUNT": "network",
        "NETRAVEN_VAULT__NAMESPACE": "team",
        "NETRAVEN_VAULT__TOKEN_FILE": "",
        "NETRAVEN_VAULT__ROLE_ID": "role",
        "NETRAVEN_VAULT__SECRET_ID_FILE": "/run/secret-id",
        "NETRAVEN_VAULT__TIMEOUT": "3",
        "NETRAVEN_COLLECT__CONCURRENCY": "9",
        "NETRAVEN_COLLECT__RETRIES": "0",
        "NETRAVEN_COLLECT__STRATEGY": "priority",
        "NETRAVEN_COLLECT__CONNECT_TIMEOUT": "1.5",
        "NETRAVEN_COLLECT__LOGIN_TIMEOUT": "2",
        "NETRAVEN_COLLECT__COMMAND_TIMEOUT": "3e1",
        "NETRAVEN_COLLECT__DEVICE_TIMEOUT": "4",
        "NETRAVEN_COLLECT__REFUSED_BACKOFF": "0",
        "NETRAVEN_COLLECT__PATIENCE": "7",
        "NETRAVEN_COLLECT__LOGIN_GRACE": "60",
        "NETRAVEN_COLLECT__OUTPUTS": "running, version",
        "NETRAVEN_COLLECT__DEAD_AFTER": "4",
        "NETRAVEN_COLLECT__DEAD_CONNECT_TIMEOUT": "2",
        "NETRAVEN_SSH__HOST_KEYS": "strict",
        "NETRAVEN_SSH__AGENT_SOCKET": "/run/agent",
        "NETRAVEN_SSH__SOURCE_ADDRESS": "192.0.2.1",
        "NETRAVEN_SSH__KEEPALIVE": "0",
        "NETRAVEN_JUMP__MAX_LOGINS": "3",
        "NETRAVEN_JUMP__MAX_SESSIONS": "4",
        "NETRAVEN_JUMP__RETRY_AFTER": "5",
        "NETRAVEN_PLATFORMS__FOLDER": "dialects",
        "NETRAVEN_HISTORY__ENCRYPT": "false",
        "NETRAVEN_RETENTION__VERSIONS": "50",
        "NETRAVEN_RETENTION__VERSION_DAYS": "365",
        "NETRAVEN_RETENTION__LOG_DAYS": "90",
        "NETRAVEN_GIT__PATH": "configs.git",
        "NETRAVEN_GIT__LAYOUT": "{tag}/{name}.{kind}",
        "NETRAVEN_GIT__COMMIT": "device",
        "NETRAVEN_GIT__AUTHOR": "Raven <raven@example.net>",
        "NETRAVEN_GIT__BRANCH": "backup",
        "NETRAVEN_GIT__REMOTE": "git@git.example.net:net/configs.git",
        "NETRAVEN_GIT__KINDS": "running, version",
        "NETRAVEN_GIT__RAW": "true",
        "NETRAVEN_GIT__TIMEOUT": "60",
        "NETRAVEN_DAEMON__LISTEN": "[::1]:9999",
        "NETRAVEN_DAEMON__LISTEN_ANYWHERE": "true",
        "NETRAVEN_DAEMON__DRAIN": "5",
        "NETRAVEN_DAEMON__MAX_RUNS": "2",
        "NETRAVEN_DAEMON__SEVERAL": "true",
        "NETRAVEN_DAEMON__START_PATIENCE": "7",
        "NETRAVEN_DAEMON__JOBS_FOLDER": "nightly",
        "NETRAVEN_LOG__LEVEL": "debug",
        "NETRAVEN_LOG__FORMAT": "json",
    }
    settings = load_settings(environ=environ)
    assert settings.platforms_folder.name == "dialects"
    sections = {
        f.name: getattr(settings, f.name)
        for f in dataclasses.fields(settings)
        if f.name
        not in ("file", "told", "realms", "tags", "devices", "hooks", "jobs", "job_places", "jobs_problem")
    }
    keys = {f"NETRAVEN_{s}__{f.name}".upper() for s, v in sections.items() for f in dataclasses.fields(v)}
    assert keys == set(environ), "this test knows every key"
    assert settings.collect == CollectSettings(
        9, 0, "priority", 1.5, 2.0, 30.0, 4.0, 0.0, 7.0, 60.0, ("running", "version"), 4, 2.0
    )
    assert settings.daemon == DaemonSettings("[::1]:9999", True, 5.0, 2, True, 7.0, "nightly")
    assert settings.told == {key.removeprefix("NETRAVEN_").lower().replace("__", ".") for key in environ}
    assert settings.history == HistorySettings(encrypt=False)
    assert settings.retention == RetentionSettings(50, 365.0, 90.0)
    assert settings.git_path is not None
    assert settings.git_path.name == "configs.git"
    assert settings.git == GitSettings(
        "configs.git",
        "{tag}/{name}.{kind}",
        "device",
        "Raven <raven@example.net>",
        "backup",
        "git@git.example.net:net/configs.git",
        ("running", "version"),
        True,
        60.0,
    )
    assert settings.ssh == SshSettings("strict", "192.0.2.1", 0.0, "/run/agent")
    assert settings.jump == JumpSettings(3, 4, 5.0)
    assert (settings.ssh.host_keys, settings.log.level, settings.log.format) == ("strict", "debug", "json")
    assert settings.database_url == "postgresql+asyncpg://u:p@db/netraven"
    assert settings.key_file == Path("/run/key")
    assert settings.secrets == SecretsSettings("/run/key", 2.5, 0.0)
    assert settings.vault == VaultSettings(
        "https://vault.example.net:8200", "network", "team", "", "role", "/run/secret-id", 3.0
    )


def test_ways_to_devices_are_told_for_tags_and_for_single_devices(folder: Path) -> None:
    write(
        folder / "netraven.toml",
        "[tags.old]\nlegacy = true\njump = ['outer', 'inner']\nconnect_timeout = 30\n"
        "[devices.'r1.example']\ntransport = 'telnet'\ntelnet_port = 2323\n",
    )
    environ = {"NETRAVEN_TAGS__OLD__LEGACY": "false", "NETRAVEN_TAGS__NEW__JUMP": "outer, inner"}
    settings = load_settings(environ=environ)
    assert settings.tags == {
        "old": TagSettings(legacy=False, jump=("outer", "inner"), connect_timeout=30.0),
        "new": TagSettings(jump=("outer", "inner")),
    }
    assert settings.devices["r1.example"].told == {"transport": "telnet", "telnet_port": 2323}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tags.a]\nlegcy = true\n", "unknown setting tags.a.legcy, did you mean 'legacy'"),
        ("[tags.a]\nlegacy = 1\n", "tags.a.legacy must be true or false, not 1"),
        ("[tags.a]\njump = 'outer'\n", "tags.a.jump must be a list of texts"),
        ("[devices.r1]\ntelnet_port = 70000\n", "devices.r1.telnet_port must be at most 65535"),
        (
            "[devices.r1]\ntransport = 'ftp'\n",
            "devices.r1.transport must be one of ssh, telnet, ssh-or-telnet",
        ),
        ("[ssh]\nhost_keys = 'off'\n", "ssh.host_keys must be one of accept-new, strict, not 'off'"),
        ("tags = 1\n", "tags are sections of their own"),
        ("[devices.'']\n", "a device needs a name"),
    ],
)
def test_what_is_wrong_with_a_way_is_named(folder: Path, text: str, said: str) -> None:
    write(folder / "netraven.toml", text)
    with pytest.raises(SettingsError, match=re.escape(said)):
        load_settings(environ={})


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("role_id = 'r'", "vault: role_id and secret_id_file go together"),
        ("secret_id_file = 's'", "vault: role_id and secret_id_file go together"),
        ("token_file = 't'\nrole_id = 'r'\nsecret_id_file = 's'", "exclude each other"),
        ("url = 'vault.example.net:8200'", "url must begin with https://"),
        ("timeout = 0", "vault.timeout must be at least"),
    ],
)
def test_a_vault_that_cannot_be_asked_is_refused(folder: Path, keys: str, said: str) -> None:
    file = write(folder / "netraven.toml", f"[vault]\n{keys}\n")
    with pytest.raises(SettingsError, match=said):
        load_settings(file, environ={})


def test_the_environment_wins(folder: Path) -> None:
    write(folder / "netraven.toml", concurrency(3))
    assert load_settings(environ={"NETRAVEN_COLLECT__CONCURRENCY": "5"}).collect.concurrency == 5


def test_other_variables_are_left_alone(folder: Path) -> None:
    environ = {"NETRAVEN_KEY": "x", "NETRAVEN_TEST_PG_URL": "y", "HOME": "/", "OTHER_COLLECT__RETRIES": "5"}
    assert load_settings(environ=environ) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("NETRAVEN_COLECT__RETRIES", "1", r"unknown section 'colect', did you mean 'collect'\?"),
        ("NETRAVEN_COLLECT__RETRYS", "1", r"unknown setting collect.retrys, did you mean 'retries'\?"),
        ("NETRAVEN_COLLECT__RETRIES", "many", "must be a whole number, not 'many'"),
        ("NETRAVEN_COLLECT__RETRIES", "", "must be a whole number, not ''"),
        ("NETRAVEN_COLLECT__RETRIES", "1.5", "must be a whole number"),
        ("NETRAVEN_COLLECT__LOGIN_TIMEOUT", "soon", "must be a number, not 'soon'"),
        ("NETRAVEN_COLLECT__LOGIN_TIMEOUT", "nan", "must be at least 0.001"),
        ("NETRAVEN_COLLECT__CONCURRENCY", "0", "must be at least 1, not 0"),
        ("NETRAVEN_SSH__HOST_KEYS", "off", "must be one of accept-new, strict, not 'off'"),
    ],
)
def test_what_is_wrong_in_the_environment_is_named(folder: Path, name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings(environ={name: value})
    assert name in str(caught.value)


# ---- in the file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[colect]\n", r"unknown section \[colect\], did you mean 'collect'\?"),
        (
            "[zzzzzz]\n",
            r"unknown section \[zzzzzz\]. Known are: collect, daemon, database, devices, git, history, hooks, jobs, "
            "jump, log, platforms, realms, retention, secrets, ssh, tags, vault",
        ),
        ("collect = 5\n", r"collect must be a section: \[collect\]"),
        ("[collect]\nconcurency = 5\n", r"unknown setting collect.concurency, did you mean 'concurrency'\?"),
        ("[collect]\nconcurrency = '5'\n", "collect.concurrency must be a whole number, not '5'"),
        ("[collect]\nconcurrency = true\n", "collect.concurrency must be a whole number, not True"),
        ("[collect]\nconcurrency = 5.0\n", "collect.concurrency must be a whole number, not 5.0"),
        ("[collect]\nconcurrency = 0\n", "collect.concurrency must be at least 1, not 0"),
        ("[collect]\nretries = -1\n", "collect.retries must be at least 0, not -1"),
        ("[collect]\ncommand_timeout = 0\n", "collect.command_timeout must be at least 0.001"),
        ("[collect]\nlogin_timeout = inf\n", "collect.login_timeout must be at most 31536000.0, not inf"),
        ("[tags.a]\nlogin_timeout = 1e300\n", "tags.a.login_timeout must be at most"),
        ("[collect]\ncommand_timeout = nan\n", "collect.command_timeout must be at least 0.001"),
        ("[collect]\ncommand_timeout = true\n", "collect.command_timeout must be a number"),
        ("[collect]\ncommand_timeout = '1'\n", "collect.command_timeout must be a number"),
        (
            "[log]\nlevel = 'loud'\n",
            "log.level must be one of debug, info, warning, error, critical, not 'loud'",
        ),
        ("[log]\nlevel = 3\n", "log.level must be text, not 3"),
        ("[ssh]\nhost_keys = ['strict']\n", "ssh.host_keys must be text"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(folder: Path, text: str, said: str) -> None:
    file = write(folder / "netraven.toml", text)
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings(environ={})
    assert file.name in str(caught.value)


MAIL = "type='mail'\nto=['a@b']\nsender='c@d'\nsmtp='h'\n"
WEBHOOK = "type='webhook'\nurl='https://h/c4n4ry'\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "hooks.x.type: say how it is told: webhook, command, mail"),
        ("type='fax'", "hooks.x.type must be one of webhook, command, mail, not 'fax'"),
        ("type='webhook'", "hooks.x.url: a webhook needs it"),
        ("type='command'", "hooks.x.command: a command needs it"),
        ("type='mail'\nto=['a@b']\nsmtp='h'", "hooks.x.sender: a mail needs it"),
        (
            "type='command'\ncommand=['true']\nurl='https://h/c4n4ry'",
            "hooks.x.url: a command has no such key",
        ),
        (
            WEBHOOK + "events=['chnaged']",
            "hooks.x.events: there is no event 'chnaged', did you mean 'changed'",
        ),
        (WEBHOOK + "events=[]", "hooks.x.events: name at least one of first-seen, changed"),
        (WEBHOOK + "pattern='('", "hooks.x.pattern: "),
        (WEBHOOK + "pattern='(?=a)'", "hooks.x.pattern: .*cannot look ahead"),
        (WEBHOOK + "secret='c4n4ry'", "hooks.x.secret: give the source of it: env:NAME, file:PATH"),
        ("type='webhook'\nurl='ftp://h/c4n4ry'", "hooks.x.url: give a URL .* or the source of it"),
        ("type='webhook'\nurl=5", "hooks.x.url must be text, not a int"),
        (MAIL + "username='u'", "hooks.x.password: username and password go together"),
        (MAIL + "password='env:P'", "hooks.x.username: username and password go together"),
        (MAIL + "username='u'\npassword='c4n4ry'", "hooks.x.password: give the source of it"),
        (
            MAIL + "username='u'\npassword='env:P'\nsecurity='none'",
            "hooks.x.security: a password is only sent over TLS",
        ),
    ],
)
def test_what_is_wrong_with_a_hook_is_named_by_its_key(folder: Path, text: str, said: str) -> None:
    write(folder / "netraven.toml", f"[hooks.x]\n{text}\n")
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings(environ={})
    assert "c4n4ry" not in str(caught.value)


@pytest.mark.parametrize("text", [WEBHOOK, MAIL, "type='command'\ncommand=['true', '-x']\n"])
def test_hooks_that_are_well(folder: Path, text: str) -> None:
    write(folder / "netraven.toml", f"[hooks.x]\n{text}pattern='^ip route'\n")
    settings = load_settings(environ={})
    assert settings.hooks["x"].problem() is None
    assert "c4n4ry" not in repr(settings)


def test_a_hooks_address_may_come_from_the_environment(folder: Path) -> None:
    write(folder / "netraven.toml", "[hooks.Chat]\ntype='webhook'\n")
    settings = load_settings(environ={"NETRAVEN_HOOKS__CHAT__URL": "https://h/c4n4ry"})
    assert settings.hooks["Chat"].url == "https://h/c4n4ry"


def test_a_whole_number_is_a_number(folder: Path) -> None:
    write(folder / "netraven.toml", "[collect]\ncommand_timeout = 5\n")
    assert load_settings(environ={}).collect.command_timeout == 5.0
    assert isinstance(load_settings(environ={}).collect.command_timeout, float)


@given(st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8) | st.booleans(), max_size=3))
def test_no_made_up_key_is_taken(table: dict[str, Any]) -> None:
    known = {f.name for f in dataclasses.fields(CollectSettings)}
    environ = {f"NETRAVEN_COLLECT__{key.upper()}": str(value) for key, value in table.items()}
    if any(key.upper().lower() not in known for key in table):
        with pytest.raises(SettingsError):
            load_settings(environ=environ)


# ---- paths and URLs


def test_relative_paths_are_relative_to_the_file(folder: Path, tmp_path: Path) -> None:
    file = write(
        tmp_path / "a" / "netraven.toml",
        "[database]\nurl='sqlite+aiosqlite:///x/y.db'\n[secrets]\nkey_file='k'\n",
    )
    settings = load_settings(file, environ={})
    assert settings.database_url == f"sqlite+aiosqlite:///{tmp_path}/a/x/y.db"
    assert settings.key_file == tmp_path / "a" / "k"


def test_without_a_file_they_are_relative_to_the_working_directory(folder: Path) -> None:
    settings = load_settings(environ={})
    assert settings.database_url == f"sqlite+aiosqlite:///{folder}/netraven.db"
    assert settings.key_file == folder / "netraven.key"


def test_a_relative_settings_file_gives_absolute_database_urls(folder: Path) -> None:
    write(folder / "conf" / "netraven.toml", "")
    settings = load_settings("conf/netraven.toml", environ={})
    assert settings.database_url == f"sqlite+aiosqlite:///{folder}/conf/netraven.db"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite+aiosqlite:////var/lib/n.db",
        "sqlite:////var/lib/n.db",
        "sqlite://",
        "postgresql://u:p@h/n",
        "sqlite+aiosqlite:///:memory:",
    ],
)
def test_what_is_absolute_or_no_file_stays(folder: Path, url: str) -> None:
    assert load_settings(environ={"NETRAVEN_DATABASE__URL": url}).database_url == url


def test_the_home_directory_may_be_written_as_a_tilde(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/srv/raven")
    environ = {"NETRAVEN_DATABASE__URL": "sqlite:///~/n.db", "NETRAVEN_SECRETS__KEY_FILE": "~/n.key"}
    settings = load_settings(environ=environ)
    assert settings.database_url == "sqlite:////srv/raven/n.db"
    assert settings.key_file == Path("/srv/raven/n.key")


# ---- no password anywhere

CANARY = "kanarienvogel"
URL = f"postgresql+asyncpg://u:{CANARY}@h/n"


def test_no_password_in_a_repr(folder: Path) -> None:
    settings = load_settings(environ={"NETRAVEN_DATABASE__URL": URL})
    assert CANARY not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    "text",
    [
        f"[database]\nurl = ['{URL}']\n",
        f"[database]\nurl = {{ main = '{URL}' }}\n",
        f"[database]\nurll = '{URL}'\n",
        f"[database]\nurl = '{URL}\n",
        f"database = '{URL}'\n",
    ],
)
def test_no_password_in_an_error(folder: Path, text: str) -> None:
    write(folder / "netraven.toml", text)
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={})
    assert CANARY not in str(caught.value)


# ---- realms


def test_realms_are_as_they_are_told_and_safe_where_they_are_not(folder: Path) -> None:
    (folder / "netraven.toml").write_text(
        '[realms.tacacs]\nthreshold = 10\nmargin = 3\nmode = "adaptive"\n[realms.routers]\nscope = "local"\n'
    )
    settings = load_settings(
        environ={"NETRAVEN_REALMS__TACACS__WINDOW": "60", "NETRAVEN_REALMS__NEW__MARGIN": "1"}
    )
    assert settings.realm("tacacs") == RealmSettings(threshold=10, margin=3, window=60.0, mode="adaptive")
    assert settings.realm("routers").scope == "local"
    assert settings.realm("new").margin == 1
    assert settings.realm("never heard of") == RealmSettings()
    assert settings.realm("local").scope == "local"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("threshold = 3\nmargin = 3", r"realms.r: threshold \(3\) must be greater than margin \(3\)"),
        ("threshold = 2", r"realms.r: threshold \(2\) must be greater than margin \(2\)"),
        ("margin = 0", "realms.r.margin must be at least 1, not 0"),
        ("window = 0", "realms.r.window must be at least 0.001, not 0.0"),
        ("window = -5", "realms.r.window must be at least"),
        ('scope = "centrl"', "realms.r.scope must be one of central, local, not 'centrl'"),
        ('mode = "bold"', "realms.r.mode must be one of strict, adaptive, not 'bold'"),
        ("max_logins_in_flight = 0", "realms.r.max_logins_in_flight must be at least 1"),
        ('threshold = "5"', "realms.r.threshold must be a whole number, not '5'"),
        ("treshold = 5", "unknown setting realms.r.treshold, did you mean 'threshold'"),
    ],
)
def test_a_realm_that_can_not_be_kept_to_is_refused(folder: Path, text: str, said: str) -> None:
    (folder / "netraven.toml").write_text(f"[realms.r]\n{text}\n")
    with pytest.raises(SettingsError, match=said):
        load_settings(environ={})


@pytest.mark.parametrize("text", ["realms = 5\n", "[realms]\nthreshold = 5\n"])
def test_realms_have_names(folder: Path, text: str) -> None:
    (folder / "netraven.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"\[realms.NAME\]"):
        load_settings(environ={})


def test_a_realm_in_the_environment_needs_a_name_and_a_key() -> None:
    with pytest.raises(SettingsError, match="NETRAVEN_REALMS__NAME__THRESHOLD"):
        load_settings(environ={"NETRAVEN_REALMS__THRESHOLD": "5"})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('layout = "{host}"', "git.layout: there is no {host}; there are {name}"),
        ('layout = "all"', "git.layout: {name} must be in it"),
        ('layout = "../{name}"', "git.layout: no part of it may begin with '.'"),
        ('kinds = ["running", "version"]', "git.layout: running, version of a device would share a file"),
        ("kinds = []", "git.kinds: say what is to be exported"),
        ('path = "~nobody-of-this-name/x"', "git.path: '~nobody-of-this-name/x' names a user"),
        ('author = "me"', "git.author: 'me' is not of the form NAME <ADDRESS>"),
        ('author = "a <b> <c>"', "git.author"),
        ('branch = "-x"', "git.branch"),
        ('branch = "a..b"', "git.branch"),
        ('branch = "x.lock"', "git.branch"),
        ('branch = "a//b"', "git.branch"),
        ('remote = "--upload-pack=touch x"', "git.remote: it must not begin with -"),
    ],
)
def test_git_settings_that_do_not_fit_together(folder: Path, line: str, said: str) -> None:
    write(folder / "netraven.toml", f"[git]\n{line}\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={})
    assert str(caught.value).startswith("netraven.toml: ")
    assert said in str(caught.value)


def test_a_password_in_the_remote_is_in_no_repr(folder: Path) -> None:
    write(folder / "netraven.toml", '[git]\nremote = "https://svc:hunter2@git.example.net/x"\n')
    settings = load_settings(environ={})
    assert "hunter2" in settings.git.remote
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("[secrets]\nkey_file = '~nobody-here/key'\n", "key_file"),
        ("[platforms]\nfolder = '~nobody-here/x'\n", "platforms_folder"),
        ("[database]\nurl = 'sqlite:///~nobody-here/x'\n", "database_url"),
    ],
)
def test_a_home_that_there_is_not(folder: Path, text: str, read: str) -> None:
    write(folder / "netraven.toml", text)
    with pytest.raises(
        SettingsError, match=r"'~nobody-here/\w+' names a user whom this machine does not know"
    ):
        getattr(load_settings(environ={}), read)
