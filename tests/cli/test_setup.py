"""`init`, settings, keys and databases that are not as they should be."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from netraven.cli.setup import SETTINGS
from netraven.config import RealmSettings, Settings, load_settings
from netraven.credentials.sealing import write_new_key_file
from tests.cli.conftest import PASSWORDS, ROOT, Command, environment, spawn


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NETRAVEN_CONFIG", raising=False)
    return tmp_path


def test_init_writes_settings_key_and_database_for_the_owner_only(empty: Path, nr: Command) -> None:
    said = nr("init")
    assert said.code == 0
    assert said.out.count("new") >= 3
    for name in ("netraven.toml", "netraven.key", "netraven.db"):
        assert stat.S_IMODE((empty / name).stat().st_mode) == 0o600, name
    assert nr("db", "check").code == 0
    assert nr("device", "list").code == 0


def test_init_twice_is_harmless(empty: Path, nr: Command) -> None:
    nr("init", "there")
    before = {file.name: file.read_bytes() for file in (empty / "there").iterdir()}
    said = nr("init", "there")
    assert said.code == 0
    assert said.out.count("exists, left as it is") == 3
    assert {file.name: file.read_bytes() for file in (empty / "there").iterdir()} == before


def test_init_elsewhere_prints_commands_that_name_the_settings(empty: Path, nr: Command) -> None:
    said = nr("init", "sub/dir")
    commands = re.findall(r"netraven (--config .*)", said.out)
    assert len(commands) == 3
    assert all(command.startswith("--config sub/dir/netraven.toml ") for command in commands)
    assert nr("--config", "sub/dir/netraven.toml", "device", "list").code == 0


def test_the_written_settings_are_the_defaults_and_show_every_key(empty: Path) -> None:
    (empty / "netraven.toml").write_text(SETTINGS)
    written = load_settings("netraven.toml", environ={})
    defaults = Settings()
    shown = tomllib.loads(re.sub(r"(?m)^# (\w+ = |\[(?:realms|tags|hooks|jobs))", r"\1", SETTINGS))
    assert shown["realms"] == {"default": asdict(RealmSettings())}
    (empty / "shown.toml").write_text(
        re.sub(r"(?m)^# (\w+ = |\[(?:realms|tags|hooks|jobs))", r"\1", SETTINGS)
    )
    assert load_settings("shown.toml", environ={}).tags["dc1"].jump == ("outer", "inner")
    assert load_settings("shown.toml", environ={}).jobs["nightly"].schedule.finish_by == "06:00"
    for section in ("database", "secrets", "collect", "ssh", "jump", "daemon", "log"):
        assert getattr(written, section) == getattr(defaults, section)
        default = asdict(getattr(defaults, section))
        assert shown[section] == {k: list(v) if isinstance(v, tuple) else v for k, v in default.items()}


def test_a_directory_that_cannot_be_written(empty: Path, nr: Command) -> None:
    (empty / "file").write_text("")
    said = nr("init", "file/below")
    assert said.code == 2
    assert said.err.startswith("error: cannot write")
    with tempfile.TemporaryDirectory() as name:
        read_only = Path(name)
        read_only.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)  # nobody: for root, permissions do not count
        try:
            said = nr("init", name)
        finally:
            if root:
                os.seteuid(0)
        assert said.code == 2
        assert said.err.startswith("error: cannot write")
        assert list(read_only.iterdir()) == []


def test_a_read_only_file_system(empty: Path, nr: Command) -> None:
    if not Path("/proc/self").exists():
        pytest.skip("no /proc")
    said = nr("init", "/proc/self")
    assert (said.code, said.out) == (2, "")
    assert "cannot write" in said.err


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[collect]\nconcurency = 5\n", "collect.concurency, did you mean 'concurrency'?"),
        ("[colect]\n", "unknown section [colect], did you mean 'collect'?"),
        ("[collect]\nconcurrency = 'many'\n", "a whole number"),
        ("[log]\nlevel = 'loud'\n", "one of debug"),
        ("[database\n", "not valid TOML"),
        ("[database]\nurl = 'mysql://x'\n", "mysql"),
    ],
)
@pytest.mark.parametrize("command", ["collect", "device list", "credential list --json", "db check"])
def test_unknown_settings_stop_every_command(
    text: str, hint: str, command: str, home: Path, nr: Command
) -> None:
    (home / "netraven.toml").write_text(text)
    said = nr(*command.split())
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert hint in said.err


def test_a_settings_file_that_is_not_there(home: Path, nr: Command) -> None:
    said = nr("device", "list", "--config", "nowhere.toml")
    assert said.code == 2
    assert "nowhere.toml" in said.err


def test_an_unknown_key_in_the_environment(home: Path, nr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRAVEN_COLLECT__CONCURENCY", "5")
    said = nr("collect")
    assert said.code == 2
    assert "did you mean 'concurrency'?" in said.err


def test_no_database(home: Path, nr: Command) -> None:
    (home / "netraven.db").unlink()
    for command in ("device list", "collect", "db check"):
        said = nr(*command.split())
        assert said.code == 2
        assert "netraven db upgrade" in said.err
    assert nr("db", "upgrade").code == 0
    assert nr("db", "check").out.rstrip().endswith("all is well")


def test_a_database_of_a_newer_version(home: Path, nr: Command) -> None:
    with sqlite3.connect(home / "netraven.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    for command in ("device list", "collect", "db upgrade"):
        said = nr(*command.split())
        assert (said.code, said.out) == (2, "")
        assert "newer NetRaven" in said.err
    assert nr("db", "check", "--json").code in {1, 2}


def test_a_check_that_finds_something(home: Path, nr: Command) -> None:
    with sqlite3.connect(home / "netraven.db") as connection:
        connection.execute("DROP TABLE job_logs")
    connection.close()
    said = nr("db", "check", "--json")
    assert said.code == 1
    assert set(said.json) == {"database", "well", "findings"}
    assert said.json["well"] is False
    assert nr("db", "check").code == 1


def _with_credential(nr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_WORD", "once-upon-a-time")
    words = ("credential", "add", "c", "--username", "u", "--tags", "t", "--password-env", "SECRET_WORD")
    assert nr(*words).code == 0


def test_a_missing_key(home: Path, nr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    _with_credential(nr, monkeypatch)
    (home / "netraven.key").rename(home / "copy")
    said = nr("credential", "add", "d", "--username", "u", "--tags", "t", "--password-env", "SECRET_WORD")
    assert said.code == 2
    assert "netraven.key does not exist. Put your copy of the old key back" in said.err
    assert nr("credential", "list").code == 0
    again = nr("init")
    assert again.code == 2
    assert "sealed with another key" in again.err
    assert "`netraven credential remove NAME`" in again.err
    assert not (home / "netraven.key").exists()
    (home / "copy").rename(home / "netraven.key")
    well = nr("init")
    assert (well.code, well.err) == (0, "")
    (home / "netraven.key").unlink()
    assert nr("credential", "remove", "c").code == 0
    assert nr("init").code == 0


def _break_key(how: str, key: Path) -> None:
    match how:
        case "missing":
            key.unlink()
        case "malformed":
            key.write_text("not base64!\n")
        case "open to others":
            key.chmod(0o644)


@pytest.mark.parametrize("how", ["missing", "malformed", "open to others"])
def test_without_its_key_nothing_is_collected(how: str, ready: Path, nr: Command) -> None:
    _break_key(how, ready / "netraven.key")
    said = nr("collect")
    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert re.match(r"error: .*netraven\.key", said.err)
    assert nr("run", "list", "--json").json == []
    matched = nr("credential", "match", "r1")
    assert matched.code == 0
    assert matched.out.count("its secret cannot be read") == 2
    assert "none can be offered" in matched.out
    assert all(choice["unreadable"] for choice in nr("credential", "match", "r1", "--json").json)


def test_without_credentials_no_key_is_missed(home: Path, nr: Command) -> None:
    (home / "netraven.key").unlink()
    assert "there was no device to collect" in nr("collect").out


def test_a_key_that_others_can_read(home: Path, nr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "netraven.key").chmod(0o644)
    monkeypatch.setenv("SECRET_WORD", "x")
    said = nr("credential", "add", "d", "--username", "u", "--password-env", "SECRET_WORD")
    assert said.code == 2
    assert "chmod 600" in said.err


def test_a_wrong_key_is_never_a_password(ready: Path, nr: Command) -> None:
    (ready / "netraven.key").unlink()
    write_new_key_file(ready / "netraven.key")
    assert "2 stored secrets cannot be read with this key (admin, netops)" in nr("init").err
    said = nr("collect", "--device", "r1", "--json")
    assert said.code == 1
    (device,) = said.json["devices"]
    assert (device["status"], device["reason"], device["attempts"]) == ("skipped", "no_credentials", 0)
    assert "secret_unreadable" in said.err
    assert nr("log", "attempts", "--json").json == []
    report = nr("run", "show", 1).out
    assert "no stored secret that matches could be read" in report
    hints = re.findall(r"^  netraven (.*?)(?: +#.*)?$", report, re.MULTILINE)
    assert hints == ["log job --run 1", "credential match r1"]
    assert all(nr(*hint.split()).code == 0 for hint in hints)


def test_a_secret_that_cannot_be_read_costs_only_its_credential(
    ready: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ready / "netraven.key").unlink()
    write_new_key_file(ready / "netraven.key")
    monkeypatch.setenv("THE_PASSWORD", PASSWORDS["admin"])
    assert nr("credential", "update", "admin", "--password-env", "THE_PASSWORD").code == 0
    said = nr("collect", "--device", "r2", "--json")
    assert said.code == 0
    assert said.json["devices"][0]["credential"] == "admin"
    first, second = nr("credential", "match", "r2", "--json").json
    assert (first["credential"], first["reason"]) == ("admin", "opened this device just now")
    assert first["unreadable"] is None
    assert "not in the keyring" in second["unreadable"]


def test_without_settings_and_database_it_says_where_it_looked(
    empty: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netraven.config.reading.SYSTEM_FILE", empty / "etc" / "netraven.toml")
    for command in ("device list", "collect", "run list", "db check", "db upgrade"):
        said = nr(*command.split())
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith("error: no settings were found")
        assert str(empty / "netraven.toml") in said.err
        assert "--config" in said.err
    assert list(empty.iterdir()) == []
    monkeypatch.setenv("NETRAVEN_DATABASE__URL", "sqlite:///chosen.db")
    assert nr("db", "upgrade").code == 0
    assert nr("device", "list").out == "no devices\n"


def test_a_database_that_was_never_initialised_is_unusable(home: Path, nr: Command) -> None:
    (home / "netraven.db").write_bytes(b"")
    said = nr("db", "check")
    assert (said.code, said.out) == (2, "")
    assert said.err.count("netraven.db") == 1


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["run list", "--help", "device list --json"])
def test_output_that_cannot_be_written_is_one_error(command: str, unbuffered: str, home: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with Path("/dev/full").open("w") as full:
        said = _run(command, home, stdout=full, PYTHONUNBUFFERED=unbuffered)
    assert (said.returncode, said.stderr) == (2, "error: cannot write the output: No space left on device\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["run show 1", "run list", "--help"])
def test_a_reader_that_has_gone_is_told_by_the_exit_code_alone(
    command: str, unbuffered: str, home: Path, nr: Command
) -> None:
    assert nr("collect").code == 1
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        said = _run(command, home, stdout=theirs, PYTHONUNBUFFERED=unbuffered)
    finally:
        os.close(theirs)
    assert (said.returncode, said.stderr) == (141, "")


def test_streams_that_are_closed(home: Path) -> None:
    python = f"{sys.executable} -m netraven"
    for closed in (">&-", ">&- 2>&-", "<&- >&- 2>&-"):
        said = subprocess.run(
            ["sh", "-c", f"{python} run list {closed}"],
            cwd=home,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def _run(command: str, home: Path, *, stdout: Any, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "netraven", *command.split()],
        cwd=home,
        env=environment(**more),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


def test_a_reader_that_goes_away_is_no_error(home: Path, nr: Command) -> None:
    rows = "".join(f"r{n:05},192.0.2.1,,cisco_iosxe,a\n" for n in range(3000))
    (home / "d.csv").write_text("name,host,port,platform,tags\n" + rows)
    assert nr("device", "import", "d.csv").code == 0
    process = spawn("device", "list", "--json", cwd=home)
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) in {0, 141}
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_terminal_without_unicode(home: Path, nr: Command) -> None:
    (home / "d.csv").write_text("name,host,port,platform,tags\nzürich,h,,cisco_iosxe,a\n", encoding="utf-8")
    nr("device", "import", "d.csv")
    said = subprocess.run(
        [sys.executable, "-m", "netraven.cli", "device", "list"],
        cwd=home,
        env=environment(PYTHONIOENCODING="ascii", PYTHONPATH=str(ROOT)),
        capture_output=True,
        check=False,
    )
    assert said.returncode == 0
    assert b"z\\xfcrich" in said.stdout
