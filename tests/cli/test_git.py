"""`netraven git` and what runs do at their end, against a real lab and real git."""

from __future__ import annotations

import json
import signal
import uuid
from pathlib import Path
from typing import Any

import pytest

from netraven.lab import LabDevice
from tests.canaries import Canaries
from tests.cli.conftest import QUICK, Command, RunningLab, spawn
from tests.git.repositories import commits, every_object, git, sound, subjects, tree

ONE = ("--device", "r1", "--device", "r2")


@pytest.fixture
def exporting(ready: Path) -> Path:
    """An installation whose runs are exported and pushed."""
    git(ready, "init", "--quiet", "--bare", "remote.git")
    told = '[git]\npath = "configs.git"\nlayout = "{tag}/{name}"\nremote = "remote.git"\n'
    (ready / "netraven.toml").write_text(QUICK + told)
    return ready


def test_a_run_is_exported_and_pushed(exporting: Path, nr: Command) -> None:
    said = nr("collect", *ONE)
    assert (said.code, "WARNING" in said.out) == (0, False)
    path = exporting / "configs.git"
    assert subjects(path) == ["Run 1: 2 new"]
    assert sorted(tree(path)) == ["edge/r1", "edge/r2"]
    assert commits(exporting / "remote.git") == commits(path)
    assert "hostname r1" in tree(path)["edge/r1"]
    lines = {row["message"]: row for row in nr("log", "job", "--json").json}
    assert lines["git_exported"]["data"]["commits"] == 1
    assert lines["git_pushed"]["data"]["remote"] == "remote.git"
    sound(path)
    assert nr("collect", *ONE).code == 0
    assert len(commits(path)) == 1, "nothing has changed"


def test_secrets_are_marks_there(exporting: Path, nr: Command) -> None:
    assert nr("collect", *ONE).code == 0
    text = tree(exporting / "configs.git")["edge/r1"]
    stored = nr("config", "show", "r1", "--json").json["text"]
    assert "<redacted:" in text
    assert [line for line in text.splitlines() if "<redacted:" in line] == [
        line for line in stored.splitlines() if "<redacted:" in line
    ], "the same secret has the same mark wherever it is shown"


def test_a_refused_export_is_a_warning(exporting: Path, nr: Command) -> None:
    (exporting / "configs.git").mkdir()
    (exporting / "configs.git" / "thesis.txt").write_text("years of work")
    said = nr("collect", *ONE)
    assert said.code == 0
    assert "WARNING: the git repository is not up to date: git.path:" in said.out
    assert "holds other files" in said.out
    assert nr("collect", *ONE, "--json").json["status"] == "complete"
    said = nr("git", "export")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: git.path: ")
    shown = nr("run", "show", 1)
    assert "holds other files" in shown.out


def test_a_refused_push_is_a_warning_and_tried_again(exporting: Path, nr: Command) -> None:
    hook = exporting / "remote.git" / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho closed >&2\nexit 1\n")
    hook.chmod(0o755)
    said = nr("collect", *ONE)
    assert said.code == 0
    assert "WARNING: the git repository was not pushed to remote.git: the remote refused it" in said.out
    push = nr("git", "push")
    assert (push.code, push.out) == (1, "")
    assert push.err.count("pre-receive hook declined") == 1, "said once, not by the log as well"
    status = nr("git", "status")
    assert status.code == 0
    assert "not up to date" in status.out
    assert "declined" in status.out
    hook.unlink()
    assert nr("git", "export").code == 0
    assert commits(exporting / "remote.git") == commits(exporting / "configs.git")


def test_the_commands(exporting: Path, nr: Command) -> None:
    nr("collect", *ONE)
    before = commits(exporting / "configs.git")
    document = nr("git", "status", "--json").json
    assert document["head"] == before[-1]
    assert document["waiting"] == {"runs": 0, "versions": 0}
    assert document["exported"] == {"through_run": 1, "further_runs": [], "imported": 0, "skipped": 0}
    assert (document["pushed"], document["push_error"], document["remote"]) == (True, None, "remote.git")
    assert "waiting: nothing" in nr("git", "status").out
    document = nr("git", "export", "--rebuild", "--json").json
    assert (document["commits"], document["versions"], document["head"]) == (1, 2, before[-1])
    assert commits(exporting / "configs.git") == before
    assert nr("git", "export").out.endswith("(main): nothing new\n")
    assert nr("git", "push", "--json").json == {
        "remote": "remote.git",
        "commit": before[-1],
        "pushed": True,
        "error": None,
    }


def test_a_kind_that_there_is_none_of_takes_no_file_away(exporting: Path, nr: Command) -> None:
    assert nr("collect", *ONE).code == 0
    before = commits(exporting / "configs.git")
    with (exporting / "netraven.toml").open("a") as file:
        file.write('kinds = ["runing"]\n')
    said = nr("git", "export")
    assert said.code == 2
    assert "git.kinds: no platform has an output of the kind 'runing'" in said.err
    run = nr("collect", *ONE)
    assert run.code == 0, "what is wrong with the repository is not the devices' trouble"
    assert "git.kinds: no platform has" in run.out
    assert commits(exporting / "configs.git") == before


def test_without_settings_there_is_nothing_to_export_to(ready: Path, nr: Command) -> None:
    for words in (("export",), ("push",), ("status", "--json")):
        said = nr("git", *words)
        assert (said.code, said.out) == (2, "")
        assert "git.path is not set" in said.err


def test_an_interrupted_run_is_exported_by_the_next(exporting: Path, nr: Command) -> None:
    """It is finished as far as it came, and nobody waits for git at that moment."""
    process = spawn("collect", "--json", cwd=exporting)
    assert process.stderr is not None
    while "r1" not in nr("device", "show", "r1", "--json").out or not nr("log", "connections", "--json").json:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert json.loads(out)["status"] in ("interrupted", "partial")
    assert nr("git", "export").code == 0
    assert nr("git", "status", "--json").json["waiting"] == {"runs": 0, "versions": 0}


def test_no_secret_gets_into_the_repository_or_into_words(
    home: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {name: f"{name}~{uuid.uuid4().hex}" for name in ("community", "enable", "login", "remote")}
    config = "hostname holds\nsnmp-server community {community} RO\nenable secret 0 {enable}\nend\n".format(
        **secrets
    )
    running = RunningLab([LabDevice("holds", {"netops": secrets["login"]}, config=config, tags=("edge",))])
    try:
        told = f'[git]\npath = "configs.git"\nremote = "http://svc:{secrets["remote"]}@127.0.0.1:1/x"\n'
        (home / "netraven.toml").write_text(f'{QUICK}{told}[log]\nlevel = "debug"\n')
        (home / "devices.csv").write_text(running.lab.csv())
        assert nr("device", "import", "devices.csv").code == 0
        monkeypatch.setenv("THE_PASSWORD", secrets["login"])
        added = nr(
            "credential",
            "add",
            "c",
            "--username",
            "netops",
            "--tags",
            "edge",
            "--password-env",
            "THE_PASSWORD",
        )
        assert added.code == 0
        monkeypatch.delenv("THE_PASSWORD")
        hunt = Canaries(secrets)
        commands = (
            "collect", "git status", "git push", "git export", "git export --rebuild", "run show 1", "log job"
        )  # fmt: skip
        for command in commands:
            for json_too in ((), ("--json",)):
                said = nr(*command.split(), *json_too)
                assert said.code in (0, 1), said.err
                hunt.hunt(command, said.out + said.err)
        path = home / "configs.git"
        assert "<redacted:" in tree(path)["holds"]
        hunt.hunt("objects", every_object(path))
        hunt.hunt_files(path)
        hunt.verdict()
    finally:
        running.stop()


def other_programs(folder: Path) -> Path:
    """A repository as Oxidized keeps it."""
    work = folder / "work"
    git(folder, "init", "--quiet", str(work))
    for day, text in enumerate(("one", "two", "three"), 1):
        (work / "R1.example.net").write_text(f"hostname r1\n! {text}\ninterface {text}\n")
        (work / "stranger\x1b[2J").write_text("x\n")
        git(work, "add", "--all")
        git(work, "commit", "--quiet", "-m", "update", GIT_AUTHOR_DATE=f"2021-03-0{day}T12:00:00Z")
    return work


def test_history_of_other_programs_is_taken_over(exporting: Path, nr: Command, tmp_path: Path) -> None:
    nr("collect", *ONE)
    work = other_programs(tmp_path)
    tried: Any = nr("history", "import-git", work, "--dry-run", "--json").json
    assert (tried["versions"], tried["added"], tried["devices"]) == (3, 0, {"r1": 3})
    said = nr("history", "import-git", work)
    assert said.code == 0
    assert "3 versions of 1 device in 1 repository (oxidized): 3 new" in said.out
    assert "not in the inventory, left out: stranger\\x1b[2J\n" in said.out
    assert "git export --rebuild" in said.out
    again = nr("history", "import-git", work, "--json").json
    assert (again["versions"], again["added"], again["unknown"]) == (3, 0, ["stranger\x1b[2J"])
    said = nr("git", "export")
    assert said.code == 1
    assert "3 imported versions are older than what the repository holds already" in said.err
    assert nr("git", "export").code == 0, "told once"
    assert "left out: 3 imported versions" in nr("git", "status").out
    assert nr("git", "export", "--rebuild", "--no-push").code == 0
    assert "left out" not in nr("git", "status").out
    path = exporting / "configs.git"
    assert subjects(path) == ["Imported: 1 new", "Imported: 1 device changed", "Imported: 1 device changed",
                              "Run 1: 1 device changed, 1 new"]  # fmt: skip
    assert git(path, "log", "--reverse", "--format=%as").split()[:3] == [
        "2021-03-01",
        "2021-03-02",
        "2021-03-03",
    ]
    assert "interface two" in tree(path, "main~2")["edge/r1"]


def test_a_repository_that_is_none_is_said(ready: Path, nr: Command, tmp_path: Path) -> None:
    said = nr("history", "import-git", tmp_path)
    assert said.code == 2
    assert "is no git repository" in said.err
    other_programs(tmp_path)
    said = nr("history", "import-git", tmp_path / "work", "--layout", "rancid")
    assert said.code == 0
    assert "no file of a device was found" in said.out
    assert "known" not in said.out
    said = nr("history", "import-git", tmp_path, "--kind", "../x")
    assert said.code == 2
    assert "no kind of output" in said.err
