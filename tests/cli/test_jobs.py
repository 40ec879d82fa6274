"""`netraven job`: definitions by command and from settings, what is wrong with them, and running one by hand."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from netraven.app import NetRaven
from netraven.lab import Ill
from netraven.model import RunStatus
from netraven.storage.store import SqlStore
from tests.cli.conftest import PASSWORDS, Command, RunningLab, device, spawn

T = TypeVar("T")
URL = "sqlite+aiosqlite:///netraven.db"


def in_store(work: Callable[[SqlStore], Awaitable[T]]) -> T:
    async def run() -> T:
        async with SqlStore.open(URL) as store:
            return await work(store)

    return asyncio.run(run())


def jobs(nr: Command) -> dict[str, Any]:
    return {job["job"]: job for job in nr("job", "list", "--json").json}


# ---- by command


def test_a_job_is_added_and_shown(ready: Path, nr: Command) -> None:
    words = ("--tag", "edge", "--not-device", "ev*", "--cron", "30 2 * * *", "--zone", "Europe/Berlin")
    said = nr(
        *("job", "add", "nightly", *words, "--start-after", "22:00", "--finish-by", "06:00"),
        *(
            "--jitter",
            "10m",
            "--grace",
            "2h",
            "--priority",
            "5",
            "--concurrency",
            "9",
            "--strategy",
            "priority",
        ),
    )
    assert (said.code, said.err) == (0, "")
    assert "job nightly added: next run " in said.out
    assert "; 5 devices" in said.out
    assert "no daemon runs" in said.out
    job = jobs(nr)["nightly"]
    assert job["definition"] == {
        "tags": ["edge"], "not_names": ["ev*"], "cron": "30 2 * * *", "zone": "Europe/Berlin", "jitter": "10m",
        "grace": "2h", "start_after": "22:00", "finish_by": "06:00", "strategy": "priority", "concurrency": 9,
        "priority": 5,
    }  # fmt: skip
    assert (job["what"], job["enabled"], job["origin"], job["where"]) == (
        "configuration",
        True,
        "command",
        None,
    )
    assert job["last_run"] is None
    assert job["due_at"] <= job["next_run_at"]
    shown = nr("job", "show", "nightly", "--json").json
    assert shown["devices"] == 5
    assert len(shown["next_due"]) == 5
    assert shown["next_due"][0] == {"due_at": job["due_at"], "run_at": job["next_run_at"]}
    text = nr("job", "show", "nightly").out
    for words_shown in (
        "30 2 * * * Europe/Berlin 22:00-06:00",
        "02:30 CE",
        "5 devices at the moment",
        "no runs yet",
    ):
        assert words_shown in text
    assert "30 2 * * * Europe/Berlin" in nr("job", "list").out


def test_what_is_not_told_stays_as_it_is(ready: Path, nr: Command) -> None:
    nr("job", "add", "j", "--tag", "edge", "--every", "6h", "--jitter", "5m", "--finish-by", "06:00")
    assert nr("job", "edit", "j", "--cron", "@daily", "--zone", "Asia/Kathmandu").code == 0
    assert jobs(nr)["j"]["definition"] == {
        "tags": ["edge"], "cron": "@daily", "zone": "Asia/Kathmandu", "jitter": "5m", "finish_by": "06:00",
    }  # fmt: skip
    said = nr("job", "edit", "j", "--clear", "tag", "--clear", "finish-by", "--clear", "jitter")
    assert said.code == 0, said.err
    assert jobs(nr)["j"]["definition"] == {"cron": "@daily", "zone": "Asia/Kathmandu"}
    assert "unchanged" in nr("job", "edit", "j", "--cron", "@daily").out


def test_a_job_is_switched_off_and_on_and_removed(home: Path, nr: Command) -> None:
    nr("job", "add", "j", "--every", "6h", "--allow-empty")
    assert nr("job", "disable", "j").code == 0
    assert (jobs(nr)["j"]["enabled"], jobs(nr)["j"]["next_run_at"]) == (False, None)
    assert "disabled" in nr("job", "list").out
    assert nr("job", "edit", "j", "--every", "3h").code == 0
    assert jobs(nr)["j"]["enabled"] is False
    assert nr("job", "enable", "j").code == 0
    assert jobs(nr)["j"]["next_run_at"] is not None
    assert nr("job", "remove", "j").code == 0
    assert jobs(nr) == {}
    assert nr("job", "add", "off", "--every", "6h", "--disabled", "--allow-empty").code == 0
    assert jobs(nr)["off"]["enabled"] is False


def test_a_job_that_selects_nothing_is_none_unless_that_is_meant(home: Path, nr: Command) -> None:
    words = ("job", "add", "later", "--every", "1h", "--device", "new-*")
    said = nr(*words)
    assert said.code == 2
    assert "job later selects no device, so nothing was changed" in said.err
    assert jobs(nr) == {}
    said = nr(*words, "--allow-empty")
    assert said.code == 0
    assert "warning: job later selects no device at the moment" in said.err
    assert list(jobs(nr)) == ["later"]
    assert "selects no device" in nr("job", "show", "later").err
    assert nr("job", "edit", "later", "--every", "2h").code == 0, "what is not about its devices may change"
    assert "selects no device" in nr("job", "edit", "later", "--device", "newer-*").err
    assert nr("job", "show", "later", "--json").json["definition"]["names"] == ["new-*"]


def test_no_jobs(home: Path, nr: Command) -> None:
    assert nr("job", "list").out.startswith("no jobs: ")
    assert nr("job", "list", "--json").json == []


WRONG = [
    (("--cron", "0 0 30 2 *"), "is no cron line"),
    (("--cron", "61 * * * *"), "minute '61' cannot be"),
    (("--cron", "@daily", "--zone", "Europe/Berlinn"), "did you mean 'Europe/Berlin'?"),
    (("--every", "soon"), "'soon' is no span of time"),
    (("--at", "tomorrow"), "'tomorrow' is no moment"),
    (("--cron", "@daily", "--every", "1h"), "exclude each other"),
    (("--cron", "0 12 * * *", "--start-after", "22:00", "--finish-by", "04:00"), "no due time"),
    (("--start-after", "22:00"), "job 'j': start_after: "),
    (("--tag", "egde"), "no device or credential carries the tag 'egde', did you mean 'edge'?"),
    (("--not-tag", "egde"), "no device or credential carries the tag 'egde'"),
    (("--platform", "cisco_iosxee"), "unknown platform 'cisco_iosxee'"),
    (("--output", "runing"), "did you mean 'running'?"),
    (("--strategy", "prio"), "unknown strategy 'prio'"),
    (("--what", "prune", "--tag", "edge"), "has no use for it"),
    (("--what", "everything"), "unknown --what 'everything'"),
    (("--concurrency", "0"), "must be a whole number, 1 or more"),
    (("--priority", "-1"), "must be a whole number from 0"),
    (("--device", "\x1b]0;x"), "must not contain control characters"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[" ".join(words)[:40] for words, _ in WRONG])
def test_a_job_that_cannot_be_is_refused_and_nothing_changes(
    ready: Path, nr: Command, words: tuple[str, ...], said: str
) -> None:
    assert nr("job", "add", "j", "--every", "6h").code == 0
    before = jobs(nr)
    for verb, name in (("add", "new"), ("edit", "j")):
        answer = nr("job", verb, name, *words)
        assert (answer.code, answer.out) == (2, "")
        assert said.replace("'j'", f"'{name}'") in answer.err
        assert "\x1b" not in answer.err
    assert jobs(nr) == before


def test_names_that_are_none_or_taken(home: Path, nr: Command) -> None:
    nr("job", "add", "nightly", "--every", "6h", "--allow-empty")
    for words, said in (
        (("add", "nightly", "--allow-empty"), "there is a job 'nightly' already"),
        (("add", "a\nb"), "must not contain control characters"),
        (("add", ""), "must not be empty"),
        (("edit", "nightyl", "--every", "1h"), "there is no job 'nightyl', did you mean 'nightly'?"),
        (("show", "nightyl"), "did you mean 'nightly'?"),
        (("remove", "nightyl"), "did you mean 'nightly'?"),
        (("enable", "nightyl"), "did you mean 'nightly'?"),
        (("disable", "nightyl"), "did you mean 'nightly'?"),
        (("run", "nightyl"), "did you mean 'nightly'?"),
        (("edit", "nightly"), "say what is to change"),
        (("edit", "nightly", "--clear", "finish"), "did you mean 'finish-by'?"),
        (("edit", "nightly", "--cron", "@daily", "--clear", "cron"), "both told and cleared"),
    ):
        answer = nr("job", *words)
        assert answer.code == 2, words
        assert said in answer.err
    assert list(jobs(nr)) == ["nightly"]


# ---- of the settings


def write(home: Path, text: str) -> Path:
    (home / "jobs").mkdir(exist_ok=True)
    file = home / "jobs" / "ours.toml"
    file.write_text(text)
    return file


def test_jobs_of_the_settings_are_applied_again_and_again(ready: Path, nr: Command) -> None:
    nr("job", "add", "by-hand")
    file = write(ready, '[one]\nevery = "6h"\n\n[two]\ntags = ["edge"]\ncron = "@daily"\n')
    dry = nr("job", "apply", "--dry-run", "--json")
    assert dry.json == {"dry_run": True, "added": ["one", "two"], "changed": [], "removed": []}
    assert list(jobs(nr)) == ["by-hand"]
    assert nr("job", "apply").out == "one: added\ntwo: added\n"
    assert nr("job", "apply").out == "2 jobs in the settings, and on record as they are there\n"
    assert jobs(nr)["two"]["where"] == f"{file.relative_to(ready)}, line 4"
    file.write_text('[two]\ntags = ["edge"]\ncron = "@hourly"\n')
    assert nr("job", "apply", "--json").json["changed"] == ["two"]
    assert sorted(jobs(nr)) == ["by-hand", "two"]


def test_a_file_with_one_bad_job_applies_none(ready: Path, nr: Command) -> None:
    write(ready, '[good]\nevery = "6h"\n')
    nr("job", "apply")
    file = write(ready, '[good]\nevery = "3h"\n[fresh]\nevery = "3h"\n[bad]\ncron = "0 0 31 2 *"\n')
    said = nr("job", "apply")
    assert said.code == 2
    assert f"{file.relative_to(ready)}, line 6: job 'bad': cron: " in said.err
    file.write_text('[good]\nevery = "6h"\n')
    assert [(name, job["definition"]) for name, job in jobs(nr).items()] == [("good", {"every": "6h"})]


def test_commands_leave_jobs_of_the_settings_alone(ready: Path, nr: Command) -> None:
    write(ready, '[ours]\nevery = "6h"\n')
    nr("job", "apply")
    for words in (
        ("edit", "ours", "--every", "1h"),
        ("remove", "ours"),
        ("enable", "ours"),
        ("disable", "ours"),
    ):
        said = nr("job", *words)
        assert said.code == 2
        assert "job 'ours' is defined by the settings" in said.err
        assert "jobs/ours.toml, line 1" in said.err
    assert jobs(nr)["ours"]["definition"] == {"every": "6h"}
    assert "defined by the settings, jobs/ours.toml, line 1" in nr("job", "show", "ours").out


def test_a_name_that_a_command_has_taken(ready: Path, nr: Command) -> None:
    nr("job", "add", "ours", "--every", "1h")
    write(ready, '[more]\nevery = "6h"\n[ours]\nevery = "6h"\n')
    for dry in ((), ("--dry-run",)):
        said = nr("job", "apply", *dry)
        assert said.code == 2
        assert "jobs/ours.toml, line 3" in said.err
        assert "netraven job remove ours" in said.err
    assert list(jobs(nr)) == ["ours"]


def test_settings_that_select_nothing_are_warned_of(ready: Path, nr: Command) -> None:
    write(ready, '[a]\nevery = "6h"\ntags = ["egde"]\n[b]\nevery = "6h"\nnames = ["zz*"]\n')
    said = nr("job", "apply")
    assert said.code == 0
    assert "warning: job a: no device or credential carries the tag 'egde', did you mean 'edge'?" in said.err
    assert "warning: job b selects no device at the moment" in said.err


# ---- run


def test_without_a_daemon_it_is_run_here(ready: Path, nr: Command) -> None:
    nr("job", "add", "j", "--device", "r?", "--cron", "@yearly")
    said = nr("job", "run", "j", "--json")
    assert said.code == 0, said.err
    document = said.json
    assert (document["status"], document["job"], document["what"]) == ("complete", "j", "configuration")
    assert [device["name"] for device in document["devices"]] == ["r1", "r2"]
    assert "run 1: 2 devices" in said.err
    last = jobs(nr)["j"]["last_run"]
    assert (last["run"], last["status"], last["counts"]["collected"]) == (1, "complete", 2)
    assert "all 2 collected (run 1)" in nr("job", "list").out
    assert "all 2 collected (run 1)" in nr("job", "show", "j").out
    assert "job j" in nr("run", "list").out
    assert "of the job j" in nr("run", "show", "1").out


def test_its_exit_code_is_that_of_collect(ready: Path, nr: Command) -> None:
    nr("job", "add", "some", "--tag", "edge")
    assert nr("job", "run", "some").code == 1
    nr("job", "add", "none", "--device", "zz*", "--allow-empty")
    said = nr("job", "run", "none")
    assert said.code == 1
    assert "there was no device" in said.out
    assert "no devices" in nr("job", "list").out


def test_a_job_is_run_with_what_it_says(ready: Path, nr: Command) -> None:
    nr(
        "job",
        "add",
        "j",
        "--device",
        "r1",
        "--output",
        "version",
        "--strategy",
        "priority",
        "--concurrency",
        "3",
    )
    assert nr("job", "run", "j").code == 0
    run = in_store(lambda store: store.runs.get(1))
    assert (run.outputs, run.strategy, run.concurrency, run.job) == (("version",), "priority", 3, "j")


def test_a_run_that_waits_is_gone_on_with(ready: Path, nr: Command) -> None:
    nr("job", "add", "j", "--device", "r1")
    said = nr("job", "run", "j", "--no-wait")
    assert said.code == 0
    assert "run 1 of job j is queued" in said.out
    assert "no daemon runs that would take it" in said.err
    assert "queued" in nr("job", "list").out
    assert nr("run", "show", "1").out.startswith("Run 1: waits for a daemon")
    again = nr("job", "run", "j", "--no-wait")
    assert (again.code, again.out) == (2, "")
    assert "has a run that is queued or running" in again.err
    assert nr("job", "run", "j", "--json").json["run"] == 1


@pytest.fixture(scope="module")
def slow() -> Iterator[RunningLab]:
    running = RunningLab([device(f"slow-{n}", ill=Ill("slow", seconds=0.2)) for n in range(4)])
    yield running
    running.stop()


@pytest.fixture
def slow_home(home: Path, slow: RunningLab, nr: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    (home / "devices.csv").write_text(slow.lab.csv())
    nr("device", "import", "devices.csv")
    monkeypatch.setenv("THE_PASSWORD", PASSWORDS["netops"])
    nr(
        "credential",
        "add",
        "netops",
        "--username",
        "netops",
        "--tags",
        "edge",
        "--password-env",
        "THE_PASSWORD",
    )
    return home


def test_ctrl_c_puts_it_back_with_what_is_left(slow_home: Path, nr: Command) -> None:
    nr("job", "add", "j", "--concurrency", "1")
    running = spawn("job", "run", "j", cwd=slow_home)
    until(lambda: nr("run", "show", "1").code == 0 and bool(nr("run", "show", "1", "--json").json["devices"]))
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130, err
    assert "run 1 was put back" in err
    run = nr("run", "show", "1", "--json").json
    assert run["status"] == "queued"
    done = {device["name"] for device in run["devices"]}
    assert 1 <= len(done) < 4
    assert nr("job", "run", "j", "--json").code == 0
    run = nr("run", "show", "1", "--json").json
    assert (run["status"], len(run["devices"])) == ("complete", 4)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while True:
        if true():
            return
        assert time.monotonic() < deadline
        time.sleep(0.05)


# ---- with a daemon


class Daemon:
    """What `serve` does for queued runs, in a thread: registered, and executing them one after another."""

    def __init__(self) -> None:
        self.hold = threading.Event()
        """While set, nothing is taken."""
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(20)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(20)

    async def _serve(self) -> None:
        async with NetRaven.open("netraven.toml") as raven:
            seen = await raven.store.daemons.register({})
            self._ready.set()
            while not self._stop.is_set():
                for queued in [] if self.hold.is_set() else await raven.store.runs.queued(1):
                    claimed = await raven.store.runs.claim(queued)
                    if claimed is not None:
                        await raven._running.execute(claimed, resumable=True)
                await asyncio.sleep(0.02)
            await raven.store.daemons.leave(seen)


@pytest.fixture
def daemon(ready: Path) -> Iterator[Daemon]:
    daemon = Daemon()
    daemon.start()
    yield daemon
    daemon.stop()


def test_where_a_daemon_lives_it_runs_the_job_and_is_followed(
    ready: Path, nr: Command, daemon: Daemon
) -> None:
    nr("job", "add", "j", "--tag", "edge", "--not-device", "evil")
    said = nr("job", "run", "j", "--json")
    assert said.code == 1
    assert (said.json["run"], said.json["status"], said.json["job"]) == (1, "partial", "j")
    assert {d["name"] for d in said.json["devices"]} == {"r1", "r2", "error", "closed", "stranger"}
    nr("job", "edit", "j", "--clear", "tag", "--clear", "not-device", "--device", "r?")
    assert nr("job", "run", "j").code == 0


def test_one_that_is_only_queued(ready: Path, nr: Command, daemon: Daemon) -> None:
    nr("job", "add", "j", "--device", "r1")
    said = nr("job", "run", "j", "--no-wait", "--json")
    assert (said.code, said.err) == (0, "")
    assert said.json == {"run": 1, "status": "queued", "job": "j"}
    until(lambda: in_store(lambda store: store.runs.get(1)).status is RunStatus.COMPLETE)


def test_ctrl_c_ends_following_only(ready: Path, nr: Command, daemon: Daemon) -> None:
    daemon.hold.set()
    nr("job", "add", "j", "--device", "r1")
    following = spawn("job", "run", "j", cwd=ready)
    until(lambda: bool(nr("run", "list", "--json").json))
    following.send_signal(signal.SIGINT)
    _, err = following.communicate(timeout=30)
    assert following.returncode == 130
    assert "run 1 goes on: only following it has ended" in err
    daemon.hold.clear()
    until(lambda: in_store(lambda store: store.runs.get(1)).status is RunStatus.COMPLETE)


def test_a_real_daemon_runs_it(ready: Path, nr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ready / "netraven.toml"
    settings.write_text(settings.read_text() + '[daemon]\nlisten = ""\n')
    write(ready, '[theirs]\nnames = ["r?"]\n')
    serving = spawn("serve", cwd=ready)
    try:
        until(lambda: "theirs" in jobs(nr) and bool(nr("status", "--json").json["daemons"]))
        said = nr("job", "run", "theirs", "--json")
        assert said.code == 0, said.err
        assert [device["status"] for device in said.json["devices"]] == ["collected", "collected"]
        until(lambda: nr("status", "--json").json["running"] == [])
        (daemon,) = nr("status", "--json").json["daemons"]
        assert daemon["pid"] == serving.pid
        assert "in session" in nr("status").out
    finally:
        serving.send_signal(signal.SIGTERM)
        _, err = serving.communicate(timeout=30)
    assert serving.returncode == 0, err
    assert nr("status", "--json").json["daemons"] == []


def test_a_job_at_a_time_that_has_been_is_refused_by_command(ready: Path, nr: Command) -> None:
    said = nr("job", "add", "once", "--at", "2020-01-01T02:00", "--zone", "Europe/Berlin")
    assert said.code == 2
    assert "at: 2020-01-01 02:00 CET has been, it is " in said.err
    nr("job", "add", "once", "--at", "2099-01-01T02:00")
    assert nr("job", "edit", "once", "--at", "2020-01-01").code == 2
    assert jobs(nr)["once"]["definition"]["at"].startswith("2099")


def test_a_mistake_in_a_job_is_in_the_way_of_the_jobs_only(ready: Path, nr: Command) -> None:
    folder = ready / "jobs"
    folder.mkdir()
    (folder / "a.toml").write_text('[a]\nevery = "1h"\n')
    assert nr("job", "apply").code == 0
    (folder / "b.toml").write_text('[b]\nevery = "banana"\n')
    for words in (("job", "apply"), ("serve",)):
        said = nr(*words)
        assert said.code == 2
        assert "jobs/b.toml, line 2: job 'b': every" in said.err
    for line in ("status", "job list", "job show a", "device list", "run list"):
        said = nr(*line.split())
        assert said.code == 0
        assert "warning: no job of the settings can be taken over: jobs/b.toml, line 2" in said.err
    assert "no longer have it" not in nr("job", "show", "a").out
    assert set(jobs(nr)) == {"a"}
