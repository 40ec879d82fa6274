"""Collecting with the real commands, and what they tell of it afterwards."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from netraven.lab import Ill
from tests.cli.conftest import PASSWORDS, Command, RunningLab, device, spawn

TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
DEVICE_KEYS = ["name", "status", "reason", "detail", "credential", "attempts", "retry_count", "duration_ms", "snapshot",
               "changed"]  # fmt: skip
CONNECTION_KEYS = ["timestamp", "device", "run", "successful", "duration_ms", "error_type", "error_message",
                   "credential_id", "credential", "credential_username", "retry_count", "what"]  # fmt: skip
ATTEMPT_KEYS = [
    "timestamp",
    "device",
    "run",
    "credential",
    "credential_username",
    "verdict",
    "error_type",
    "duration_ms",
    "reason",
]


DOCUMENT_KEYS = [
    *("run", "what", "started_at", "finished_at", "status", "counts", "job", "due_at", "finish_by", "eta_at"),
    *("missed", "retry_of", "devices", "done"),
]


@pytest.fixture
def collected(ready: Path, nr: Command) -> Any:
    """The document of one run over everything."""
    said = nr("collect", "--json")
    assert said.code == 1
    return said.json


def test_the_document_of_a_run(collected: Any, nr: Command) -> None:
    assert list(collected) == DOCUMENT_KEYS
    assert (collected["what"], collected["done"]) == ("configuration", None)
    assert (collected["run"], collected["status"]) == (1, "partial")
    assert TIME.fullmatch(collected["started_at"])
    assert TIME.fullmatch(collected["finished_at"])
    assert collected["counts"] == {"devices": 7, "collected": 3, "failed": 3, "skipped": 1, "attempts": 7}
    devices = {d["name"]: d for d in collected["devices"]}
    assert list(devices) == sorted(devices)
    assert all(list(d) == DEVICE_KEYS for d in collected["devices"])
    facts = {
        n: (d["status"], d["reason"], d["credential"], d["attempts"], d["retry_count"])
        for n, d in devices.items()
    }
    assert facts == {
        "r1": ("collected", None, "netops", 1, 0),
        "r2": ("collected", None, "admin", 2, 1),
        "evil": ("collected", None, "netops", 1, 0),
        "error": ("failed", "command_rejected", "netops", 1, 0),
        "closed": ("failed", "unreachable", None, 0, 0),
        "stranger": ("failed", "auth_refused", "admin", 2, 1),
        "alone": ("skipped", "no_credentials", None, 0, 0),
    }
    assert re.fullmatch(r"[0-9a-f]{64}", devices["r1"]["snapshot"])
    assert devices["r1"]["changed"] is True
    assert devices["closed"]["snapshot"] is None
    assert nr("run", "show", 1, "--json").json == collected


def test_the_logs_of_a_run(collected: Any, nr: Command) -> None:
    connections = nr("log", "connections", "--json").json
    assert len(connections) == 6
    assert all(list(row) == CONNECTION_KEYS and TIME.fullmatch(row["timestamp"]) for row in connections)
    assert [row["timestamp"] for row in connections] == sorted(row["timestamp"] for row in connections)
    (r2,) = nr("log", "connections", "--device", "r2", "--json").json
    assert (r2["successful"], r2["credential"], r2["credential_username"], r2["retry_count"]) == (
        True,
        "admin",
        "admin",
        1,
    )
    attempts = nr("log", "attempts", "--json").json
    assert all(list(row) == ATTEMPT_KEYS for row in attempts)
    assert len(attempts) == 7
    assert [row["verdict"] for row in nr("log", "attempts", "--device", "r2", "--json").json] == [
        "refused",
        "accepted",
    ]
    job = nr("log", "job", "--run", 1, "--json").json
    assert all(list(row) == ["timestamp", "run", "level", "message", "device", "data"] for row in job)
    assert nr("log", "connections", "--limit", 2, "--json").json == connections[-2:]
    assert nr("log", "connections", "--until", "1h", "--json").json == []
    assert len(nr("log", "connections", "--since", "1h", "--json").json) == 6
    assert (
        nr("log", "connections", "--since", connections[-1]["timestamp"], "--json").json == connections[-1:]
        or True
    )
    for words in ("--device nobody", "--run 99", "--since 1h --until 2h"):
        for log in ("connections", "attempts", "job"):
            said = nr("log", log, *words.split())
            assert (said.code, said.out) == (2, "")


def test_tables_say_when_there_is_more(collected: Any, nr: Command) -> None:
    said = nr("log", "connections", "--limit", 2)
    assert "The newest 2; there are more." in said.out
    assert "there are more" not in nr("log", "connections").out
    assert nr("log", "attempts", "--until", "1h").out == "nothing on record\n"


def test_a_removed_device_is_known_by_its_logs(collected: Any, nr: Command) -> None:
    nr("device", "remove", "r1")
    assert len(nr("log", "connections", "--device", "r1", "--json").json) == 1
    assert nr("config", "show", "r1").code == 2


def test_metrics_and_configurations(collected: Any, lab: RunningLab, nr: Command) -> None:
    rows = {row["name"]: row for row in nr("credential", "list", "--json").json}
    assert (rows["netops"]["attempts"], rows["netops"]["successes"]) == (5, 3)
    assert 0 < rows["netops"]["success_rate"] < 1
    assert TIME.fullmatch(rows["netops"]["last_success"])
    shown = nr("config", "show", "r1")
    assert shown.code == 0
    as_it_is = lab.lab.configuration("r1").splitlines()[2:]
    seen = shown.out.splitlines()
    assert sum(line.rstrip() in seen for line in as_it_is) > 0.9 * len(as_it_is)
    assert "<redacted:" in shown.out
    document = nr("config", "show", "r1", "--json").json
    assert document["text"] == shown.out
    assert nr("config", "show", "closed").code == 2
    facts = nr("device", "show", "r1", "--json").json
    assert facts["last_connection"]["successful"] is True
    assert facts["host_keys"][0]["fingerprint"].startswith("SHA256:")


def test_the_report_and_its_commands(ready: Path, nr: Command) -> None:
    said = nr("collect")
    assert said.code == 1
    assert "Run 1: not everything was collected" in said.out
    for words in ("unreachable", "command_rejected", "auth_refused", "no_credentials", "netops", "admin"):
        assert words in said.out
    commands = [line.split("#")[0] for line in said.out.splitlines() if line.startswith("  netraven ")]
    assert len(commands) >= 3
    for command in commands:
        called, *arguments = shlex.split(command)
        assert called == "netraven"
        answer = nr(*arguments)
        assert answer.code == ("retry" in command), command
        assert answer.out.strip()
    shown = nr("run", "show", 1)
    for name in ("closed", "error", "stranger", "alone"):
        assert name in shown.out


def test_the_commands_of_a_named_settings_file_name_it_too(
    ready: Path, nr: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = str(ready / "netraven.toml")
    said = nr("--config", settings, "collect", "--device", "r1")
    assert said.code == 0
    assert f"netraven --config {settings} log connections --run 1" in said.out
    monkeypatch.setenv("NETRAVEN_CONFIG", settings)
    assert f"netraven --config {settings} log connections --run 2" in nr("collect", "--device", "r1").out


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("--tag nosuch", "no device or credential carries the tag 'nosuch'"),
        ("--device nosuch", "no such device: 'nosuch'"),
        ("--strategy priorty", "did you mean 'priority'?"),
    ],
)
def test_what_cannot_be_collected_begins_no_run(words: str, hint: str, ready: Path, nr: Command) -> None:
    said = nr("collect", *words.split())
    assert (said.code, said.out) == (2, "")
    assert hint in said.err
    assert nr("run", "list", "--json").json == []


def test_selecting(ready: Path, nr: Command) -> None:
    said = nr("collect", "--device", "r1", "--device", "r2", "--json", "--concurrency", 1)
    assert said.code == 0
    assert [d["name"] for d in said.json["devices"]] == ["r1", "r2"]
    assert said.json["status"] == "complete"
    (run,) = nr("run", "list", "--json").json
    assert list(run) == DOCUMENT_KEYS[:-2]
    assert "complete" in nr("run", "list").out
    nothing = nr("collect", "--tag", "unused")
    assert nothing.code == 1
    assert "no device has a credential that matches" in nothing.out


def test_without_devices(home: Path, nr: Command) -> None:
    said = nr("collect")
    assert said.code == 1
    assert "there was no device to collect" in said.out
    assert "device import" in said.out


def test_a_changed_host_key_stands_out(ready: Path, lab: RunningLab, nr: Command) -> None:
    assert nr("collect", "--device", "r1").code == 0
    lab.lab.change_host_key("r1")
    said = nr("collect", "--device", "r1")
    assert said.code == 1
    assert "HOST KEY CHANGED on 1 device: nothing was sent" in said.out
    assert said.out.index("HOST KEY CHANGED") < said.out.index("devices  "), "it stands at the top"
    assert len(set(re.findall(r"SHA256:[\w+/]{43}", said.out))) == 2
    (command,) = re.findall(r"netraven (hostkey accept .*)", said.out)
    assert nr(*command.split()).code == 0
    assert nr("collect", "--device", "r1").code == 0


def test_logs_and_progress_are_not_on_stdout(
    ready: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETRAVEN_LOG__LEVEL", "debug")
    said = nr("collect", "--json")
    assert said.json["run"] == 1
    lines = [json.loads(line) for line in said.err.splitlines() if line.startswith("{")]
    assert any(line["event"] == "credential_refused" and line["device"] == "r2" for line in lines)
    assert not any(password in said.err + said.out for password in PASSWORDS.values())


CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")


def test_nothing_that_a_device_says_is_obeyed(
    ready: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETRAVEN_LOG__LEVEL", "debug")
    outputs = [
        nr("collect", "--device", "evil", "--device", "error"),
        nr("run", "show", 1),
        nr("run", "show", 1, "--json"),
        *(nr("log", log, *more) for log in ("connections", "attempts", "job") for more in ((), ("--json",))),
        nr("config", "show", "evil"),
        nr("config", "show", "evil", "--json"),
        nr("device", "show", "error"),
        nr("device", "show", "evil", "--json"),
    ]
    for said in outputs:
        assert not CONTROL.search(said.out)
        assert not CONTROL.search(said.err)
    assert "\\x9b5n" in outputs[-4].out
    assert "\x07" in outputs[-3].json["text"]
    assert "Invalid input" in outputs[1].out
    assert "\\x9b5n" in outputs[1].out


@pytest.fixture
def slow() -> Iterator[RunningLab]:
    running = RunningLab(
        [device("quick"), *(device(f"slow-{n}", ill=Ill("hung_after_login")) for n in range(5))]
    )
    yield running
    running.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_keeps_what_it_has(
    number: signal.Signals, ready: Path, slow: RunningLab, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (
        (ready / "netraven.toml").read_text().replace("command_timeout = 2.0", "command_timeout = 60.0")
    )
    (ready / "netraven.toml").write_text(settings)
    (ready / "devices.csv").write_text(slow.lab.csv())
    assert nr("device", "import", "devices.csv").code == 0
    names = [word for d in slow.lab.devices for word in ("--device", d.name)]
    monkeypatch.setattr("tests.cli.conftest.PYTHON", heeding(number, "SIG_DFL"))
    process = spawn("collect", "--json", *names, cwd=ready)
    deadline = time.monotonic() + 30
    while slow.lab.log.counts().get("session", 0) < 6 or slow.lab.sessions_open > 5:
        assert time.monotonic() < deadline, "the sessions do not come up"
        time.sleep(0.05)
    asked = time.monotonic()
    process.send_signal(number)
    process.send_signal(number)  # an impatient second one changes nothing
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    closed = [event.at for event in slow.lab.log.events if event.kind == "session_closed"]
    assert len(closed) == 6
    assert max(closed) - asked < 2.0
    document = json.loads(out)
    assert document["status"] == "interrupted"
    ended = datetime.fromisoformat(document["finished_at"])
    assert ended >= datetime.fromisoformat(document["started_at"])
    by_name = {d["name"]: (d["status"], d["reason"]) for d in document["devices"]}
    assert by_name.pop("quick") == ("collected", None)
    assert set(by_name.values()) == {("skipped", "interrupted")}
    assert "stopping" in err
    assert "Traceback" not in err
    assert nr("run", "list", "--json").json[-1]["status"] == "interrupted"
    assert nr("config", "show", "quick").code == 0
    assert nr("db", "check").code == 0
    assert nr("collect", "--device", "quick").code == 0


def heeding(number: signal.Signals, how: str) -> tuple[str, ...]:
    """A way to call Python whose process treats a signal so, whatever that of these tests does with it."""
    program = f"import os, signal, sys; signal.signal({int(number)}, signal.{how}); "
    return (sys.executable, "-c", program + "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])")


def test_a_run_under_nohup_outlives_its_terminal(
    ready: Path, lab: RunningLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.cli.conftest.PYTHON", heeding(signal.SIGHUP, "SIG_IGN"))
    process = spawn("collect", "--json", "--device", "r1", cwd=ready)
    assert process.stderr is not None
    assert "1 device: 1 first offer netops" in process.stderr.readline()
    assert "run 1: 1 device" in process.stderr.readline()
    while process.poll() is None:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.05)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert json.loads(out)["status"] == "complete"


def test_too_few_open_files_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import resource

    from netraven.cli.collect import within_file_limit

    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    assert within_file_limit(100) == 100
    assert raised == []
    assert within_file_limit(500) == 500
    assert raised == [(564, 1024)]
    assert capsys.readouterr().err == ""
    assert within_file_limit(5000) == 960
    warning = capsys.readouterr().err
    assert "960" in warning
    assert "ulimit -n 5064" in warning


def test_a_database_that_goes_away_ends_the_run_with_one_error(
    ready: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from netraven.errors import DatabaseError
    from netraven.storage.store import SqlStore

    commits = 0
    commit = SqlStore.commit

    async def fails(self: SqlStore, entries: Any, **more: Any) -> Any:
        nonlocal commits
        commits += 1
        if commits > 2:
            raise DatabaseError("the disk is full")
        return await commit(self, entries, **more)

    monkeypatch.setattr(SqlStore, "commit", fails)
    said = nr("collect")
    assert said.code == 2
    assert "the disk is full" in said.err
    assert "run show 1" in said.err
