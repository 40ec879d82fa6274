"""Words that fit and words that do not: before any settings or database are looked at."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from netraven.cli import main
from netraven.cli.parser import parse
from netraven.cli.words import UsageError, moment
from tests.cli.conftest import Command, environment

HEAVY = ("sqlalchemy", "asyncssh", "scrapli", "rich", "structlog", "cryptography", "asyncio", "alembic")
COMMANDS = (
    "init", "demo", "device import", "device list", "device show", "device remove", "device forget-host-key",
    "device ssh", "device ssh-report", "hostkey list", "hostkey show", "hostkey accept", "hostkey forget",
    "hostkey import", "credential add", "credential update", "credential list", "credential remove", "credential match",
    "collect", "serve", "check reachability", "check credentials", "report stale",
    "run list", "run show", "log connections", "log attempts", "log job", "config show",
    "config history", "config diff", "config search",
    "git export", "git push", "git status", "history import-git", "history export", "history import", "prune",
    "job add", "job edit", "job list", "job show", "job remove", "job enable", "job disable", "job run", "job apply",
    "run retry", "status", "db upgrade", "db check", "hook list", "hook deliver", "hook test", "hook forget",
)  # fmt: skip


def test_help_is_quick_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, netraven.cli\n"
        "code = netraven.cli.main(['--help'])\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.exit(str(loaded) if loaded else code)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert said.returncode == 0, said.stderr
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 1.0, "0.25 s is the budget; the rest is for machines that run other tests meanwhile"
    for word in ("init", "demo", "collect", "--config"):
        assert word in said.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, nr: Command) -> None:
    said = nr(*command.split(), "--help")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"usage: netraven {command}")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_handler_exists(command: str) -> None:
    from importlib import import_module

    fillers = {
        "credential add": ["--username", "u"],
        "run show": ["1"],
        "run retry": ["1"],
        "device ssh": ["x"],
    }
    needed = fillers.get(command, ["x"] if command.startswith("job ") else [])
    if command in ("job list", "job apply"):
        needed = []
    elif any(
        word in command
        for word in (
            "show",
            "import",
            "remove",
            "add",
            "update",
            "match",
            "forget",
            "accept",
            "history",
            "search",
            "test",
            "history export",
        )
    ):
        needed = needed or ["x"]
        needed = ["x", *needed] if command == "credential add" else needed
    module, _, function = parse([*command.split(), *needed]).handler.partition(":")
    assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("colect", "did you mean 'collect'"),
        ("device imprt x", "did you mean 'import'"),
        ("device", "say what to do: import, list"),
        ("collect --concurency 5", "did you mean '--concurrency'"),
        ("collect --concurrency 0", "1 or more"),
        ("collect --concurrency many", "1 or more"),
        ("collect stray", "unknown argument 'stray'"),
        ("log connections --since yesterday", "30m, 2h, 3d"),
        ("log connections --limit -1", "1 or more"),
        ("run show last", "1 or more"),
        ("credential add", "required"),
        ("credential add x", "--username"),
        ("credential add x --username u --priority high", "whole number"),
        ("credential add x --username u --password-stdin --password-env V", "not allowed"),
        ("device import", "FILE"),
        ("job add", "NAME"),
        ("job add x --corn @daily", "did you mean '--cron'"),
        ("job add x --what configurations", "did you mean 'configuration'"),
        ("job shwo", "did you mean 'show'"),
        ("run retry", "RUN"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_one(words: str, hint: str, nr: Command) -> None:
    said = nr(*words.split())
    assert said.code == 2
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert hint in said.err


@pytest.mark.parametrize(
    "option", ["--password", "--password=hunter2", "--secret", "--enable-password", "--enable-secret"]
)
def test_a_secret_is_never_an_argument(option: str, nr: Command) -> None:
    said = nr("credential", "add", "x", "--username", "u", option, "hunter2")
    assert said.code == 2
    assert "readable by everyone" in said.err
    assert "-env VAR" in said.err
    assert "hunter2" not in said.err + said.out


def test_config_is_taken_before_and_after_the_command() -> None:
    assert parse(["--config", "a.toml", "device", "list"]).config == "a.toml"
    assert parse(["device", "list", "--config", "b.toml"]).config == "b.toml"
    assert parse(["--config", "a.toml", "device", "list", "--config", "b.toml"]).config == "b.toml"
    assert parse(["device", "list"]).config is None


def test_the_version(nr: Command) -> None:
    assert nr("--version").out.startswith("netraven")


def test_without_a_command_it_explains_itself(nr: Command) -> None:
    said = nr()
    assert said.code == 0
    assert said.out.startswith("usage: netraven")


def test_moments() -> None:
    from datetime import UTC, datetime, timedelta

    assert moment("2026-11-22T20:07") == datetime(2026, 11, 22, 20, 7, tzinfo=UTC)
    assert moment("2026-11-22T20:07:00+02:00") == datetime(2026, 11, 22, 18, 7, tzinfo=UTC)
    assert moment("2026-11-22") == datetime(2026, 11, 22, tzinfo=UTC)
    assert abs(moment("2h") - (datetime.now(UTC) - timedelta(hours=2))) < timedelta(seconds=5)


def test_an_unexpected_fault_is_one_line_and_a_file(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("netraven.cli.database.upgrade", lambda _: 1 / 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["db", "upgrade"]) == 70
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "ZeroDivisionError" in err
    (kept,) = tmp_path.glob("netraven-fault-*.txt")
    assert str(kept) in err
    assert "Traceback" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0


def test_a_usage_error_is_complete() -> None:
    with pytest.raises(UsageError, match="see: netraven run list --help"):
        parse(["run", "list", "--nonsense"])
