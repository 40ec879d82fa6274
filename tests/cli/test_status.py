"""`netraven status`: what is said of each thing that can be unwell, on one screen of 80 columns."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import termios
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from netraven.cli.context import Context
from netraven.cli.standing import Held, Short, Standing, UnderWay
from netraven.cli.status import lines
from netraven.cli.unwell import unwell
from netraven.config import Settings
from netraven.model import (
    Counts,
    DaemonSeen,
    Figures,
    HookStanding,
    Job,
    JobStanding,
    Order,
    Origin,
    Pause,
    Run,
    RunStatus,
    Schedule,
    Selector,
    What,
)
from netraven.schedule.definition import job_of
from netraven.storage.store import SqlStore
from tests.cli.conftest import PYTHON, Command, environment
from tests.databases import backend, database, database_url, postgresql_server, postgresql_template, store

__all__ = ["backend", "database", "database_url", "postgresql_server", "postgresql_template", "store"]

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
EMPTY = Standing(NOW, "netraven.db")


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def run(number: int = 7, status: RunStatus = RunStatus.RUNNING, **more: Any) -> Run:
    counts = more.pop("counts", Counts(100, 40, 3, 1, 50))
    return Run(number, at(-10), status, counts=counts, **more)


def job(
    name: str = "nightly", due: float | None = 60, *, last: Run | None = None, **more: Any
) -> JobStanding:
    due_at = None if due is None else at(due)
    made = Job(name, schedule=Schedule(every=3600.0), **more)
    return JobStanding(1, made, Origin.COMMAND, NOW, NOW, due_at, due_at, last_run=last)


def daemon(seen: float = 0.0, **state: Any) -> DaemonSeen:
    told = {
        "version": "1",
        "pid": 4711,
        "sessions": 120,
        "waiting": 0,
        "queue": 0,
        "writer_lag_s": 0.0,
    } | state
    return DaemonSeen(1, "here/4711/1", "collector-1", at(-600), at(-seen), told)


def kinds(standing: Standing) -> list[str]:
    return [one.kind for one in unwell(standing)]


def text(standing: Standing, *, columns: int = 80) -> str:
    where = Console(width=columns, force_terminal=True, color_system=None)
    with where.capture() as capture:
        for line in lines(
            Context(given=Settings(file=Path("netraven.toml"))), standing, unwell(standing), where
        ):
            where.print(line)
    return ESCAPES.sub("", capture.get())


# ---- what is unwell


def test_nothing_is_unwell_where_nothing_is() -> None:
    assert kinds(EMPTY) == []
    well = replace(
        EMPTY,
        daemons=[daemon()],
        running=[UnderWay(run(job="a"), 44, eta_at=at(5))],
        jobs=[job(last=run(status=RunStatus.COMPLETE))],
        figures=Figures({"1h": 3, "24h": 4, "7d": 0, "older": 0, "never": 0}),
        hooks=[HookStanding("chat", waiting=2)],
    )
    assert kinds(well) == []
    assert "Nothing is unwell" in text(well)


UNWELL: Mapping[str, tuple[Standing, str]] = {
    "no-daemon": (replace(EMPTY, jobs=[job()], queued=[run()]), "what is due: 1 job, 1 queued run"),
    "silent": (replace(EMPTY, daemons=[daemon(2)]), "collector-1 gave its last sign of life 2 min ago"),
    "reload": (
        replace(EMPTY, daemons=[daemon(reload_error="netraven.toml, line 3: no\x1b[2J")]),
        "goes on with its old settings: netraven.toml, line 3: no",
    ),
    "slow-database": (replace(EMPTY, daemons=[daemon(writer_lag_s=12.0)]), "waits 12 s for the database"),
    "overdue": (replace(EMPTY, daemons=[daemon()], jobs=[job(due=-2)]), "not taken up by anybody: nightly"),
    "missed": (
        replace(
            EMPTY, daemons=[daemon()], jobs=[job(last=run(status=RunStatus.MISSED, due_at=at(-90), missed=2))]
        ),
        "job nightly missed its run of 2026-11-24 10:30:00 UTC, and 2 due times before it",
    ),
    "late": (
        replace(
            EMPTY, daemons=[daemon()], running=[UnderWay(run(job="a", finish_by=at(5)), 44, eta_at=at(9))]
        ),
        "job a will be late: expected to end 2026-11-24 12:09:00, to be finished by 2026-11-24 12:05:00 UTC",
    ),
    "failed": (
        replace(EMPTY, daemons=[daemon()], jobs=[job(last=run(status=RunStatus.FAILED, error="disk full"))]),
        "job nightly: none of 100 collected (run 7): disk full",
    ),
    "incomplete": (
        replace(EMPTY, daemons=[daemon()], jobs=[job(last=run(status=RunStatus.PARTIAL))]),
        "job nightly: 40 of 100 collected (run 7)",
    ),
    "held": (
        replace(EMPTY, held=[Held("tacacs", at(30), "refused 3 times in a row", paused=False)]),
        "credential tacacs is held until 2026-11-24 12:30:00 UTC: refused 3 times in a row",
    ),
    "realm-paused": (
        replace(
            EMPTY, held=[Held(name, at(30), "realm r looks unwell: slow", paused=True) for name in "abcde"]
        ),
        "realm r looks unwell: slow, until 2026-11-24 12:30:00 UTC; not offered meanwhile: a, b, c and 2 more",
    ),
    "short": (
        replace(EMPTY, short=[Short("tacacs", "svc", 1)]),
        "account svc of realm tacacs bears 1 more refusal before it is held",
    ),
    "stale": (
        replace(EMPTY, figures=Figures({"1h": 90, "24h": 3, "7d": 4, "older": 1, "never": 2})),
        "7 of 100 devices not collected for 24 h: 5 longer ago, 2 never",
    ),
    "hook": (
        replace(EMPTY, hooks=[HookStanding("chat", 4, pause=Pause(at(5), 3, "HTTP 500"))]),
        "hook chat fails (3 tries), 4 events waiting: HTTP 500",
    ),
}


@pytest.mark.parametrize("kind", UNWELL)
def test_what_is_unwell_is_said(kind: str) -> None:
    standing, said = UNWELL[kind]
    assert kinds(standing) == [kind]
    shown = unwell(standing)[0].text
    assert said in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    "status", [RunStatus.NO_DEVICES, RunStatus.NO_CREDENTIALS, RunStatus.INTERRUPTED, RunStatus.FAILED]
)
def test_how_a_last_run_went_reads_differently_each_time(status: RunStatus) -> None:
    found = {
        other: unwell(replace(EMPTY, by_hand=run(status=other, finished_at=at(-5))))[0].text
        for other in (RunStatus.NO_DEVICES, RunStatus.NO_CREDENTIALS, RunStatus.INTERRUPTED, RunStatus.FAILED)
    }
    assert list(found.values()).count(found[status]) == 1


def test_a_failed_run_by_hand_of_last_week_is_no_news() -> None:
    old = run(status=RunStatus.FAILED, finished_at=NOW - timedelta(days=7))
    assert kinds(replace(EMPTY, by_hand=old)) == []
    assert kinds(replace(EMPTY, by_hand=replace(old, finished_at=at(-60)))) == ["failed"]


def test_a_job_that_runs_is_not_overdue_and_a_disabled_one_not_unwell() -> None:
    busy = replace(EMPTY, daemons=[daemon()], jobs=[job(due=-2)], running=[UnderWay(run(job="nightly"), 44)])
    assert kinds(busy) == []
    off = job(due=None, last=run(status=RunStatus.FAILED), enabled=False)
    assert kinds(replace(EMPTY, daemons=[daemon()], jobs=[off])) == []


# ---- the screen


def test_the_whole_screen_fits_80_columns() -> None:
    full = Standing(
        NOW,
        "postgresql+asyncpg://netraven@database.of-some-length.example.net:5432/netraven_production",
        daemons=[daemon(0.1)],
        running=[
            UnderWay(run(7, job="a-job-with-a-name-that-is-long", finish_by=at(5)), 44, 12, at(9)),
            UnderWay(run(8, what=What.REACHABILITY), 3),
        ],
        queued=[run(9, RunStatus.QUEUED, job="x"), run(10, RunStatus.QUEUED, begun=False, retry_of=3)],
        jobs=[job(f"job-{n}", 60 * n) for n in range(1, 9)],
        figures=Figures({"1h": 90, "24h": 3, "7d": 4, "older": 1, "never": 2}),
    )
    seen = text(full)
    assert max(map(len, seen.splitlines())) <= 80
    for words in (
        "collector-1 pid 4711, since 2026-11-24 02:00:00 UTC, seen 6 s ago",
        "run 7    job a-job-with-a-name-that",
        "44 of 100  3 failed  12 in session",
        "ends about 12:09, in 9 min, to be finished by 12:05 UTC: late",
        "reachability by hand",
        "56 devices left",
        "retry of 3",
        "not begun",
        "job-1                        2026-11-24 13:00 UTC     in 1 h",
        "and 3 more",
        "100 devices, 93 collected within 24 h",
    ):
        assert words in seen, words


def test_times_of_jobs_are_told_in_their_zone() -> None:
    there = JobStanding(
        1, job_of("j", {"cron": "@daily", "zone": "Asia/Kathmandu"}), Origin.COMMAND, NOW, NOW, at(60), at(60)
    )
    assert "2026-11-24 18:45 +0545" in text(replace(EMPTY, jobs=[there]))


# ---- from a database


async def test_it_is_read_from_the_database(store: SqlStore) -> None:
    settings = Settings()
    first = await store.jobs.add(job_of("one", {"every": "1h"}))
    await store.jobs.add(job_of("off", {"every": "1h", "enabled": False}))
    queued = await store.jobs.run_now("one")
    claimed = await store.runs.claim(queued)
    assert claimed is not None
    begun = await store.runs.begin(claimed, dead_after=3)
    eta = (NOW + timedelta(hours=1)).isoformat()
    state = {
        "pid": 1,
        "runs": {str(begun.id): {"done": 5, "devices": 9, "in_session": 2, "eta_at": eta}, "x": 3},
    }
    seen = await store.daemons.register(state)
    by_hand = await store.runs.start(Order(selector=Selector()))
    await store.runs.finish(by_hand, RunStatus.NO_DEVICES, Counts())
    waits = await store.runs.queue(Order())
    standing = await Standing.read(store, settings)
    (going,) = standing.running
    assert (going.run.id, going.done, going.in_session, going.eta_at) == (
        begun.id,
        5,
        2,
        NOW + timedelta(hours=1),
    )
    assert [one.id for one in standing.queued] == [waits.id]
    assert standing.by_hand is not None
    assert standing.by_hand.id == by_hand.id
    assert [(one.job.name, due) for one, due in standing.coming] == [("one", first.next_run_at)]
    assert [one.id for one in standing.daemons] == [seen.id]
    assert kinds(standing) == ["failed"]
    document = standing.document([])
    assert document["running"][0]["done"] == 5
    assert document["daemons"][0]["pid"] == 1


async def test_what_a_daemon_of_another_version_says_does_no_harm(store: SqlStore) -> None:
    claimed = await store.runs.claim(await store.runs.queue(Order()))
    assert claimed is not None
    odd = {
        "runs": {str(claimed.id): {"done": "many", "eta_at": "soon", "in_session": None}},
        "sessions": "\x1b[2J",
    }
    await store.daemons.register(odd)
    standing = await Standing.read(store, Settings())
    assert (standing.running[0].done, standing.running[0].eta_at) == (0, None)
    assert "\x1b" not in text(standing)


async def test_the_runs_of_a_job_are_its_newest(store: SqlStore) -> None:
    jobs = [await store.jobs.add(job_of(name, {})) for name in ("one", "two")]
    ids = []
    for _ in range(3):
        for one in jobs:
            claimed = await store.runs.claim(await store.jobs.run_now(one.job.name))
            assert claimed is not None
            await store.runs.finish(claimed, RunStatus.COMPLETE, Counts())
            ids.append(claimed.id)
    assert [one.id for one in await store.runs.of_job(jobs[0].id, limit=2)] == [ids[2], ids[4]]


# ---- the command


def test_a_new_installation(home: Path, nr: Command) -> None:
    said = nr("status")
    assert said.code == 0
    for words in ("Daemons\n  none runs", "Running\n  nothing", "no job is due", "Nothing is unwell"):
        assert words in said.out
    document = nr("status", "--json").json
    assert list(document) == ["at", "database", "daemons", "running", "queued", "next", "devices", "unwell"]
    assert document["unwell"] == []


def test_a_held_account_and_a_failing_hook_are_seen(ready: Path, nr: Command) -> None:
    nr("collect", "--device", "stranger")
    nr("job", "add", "j", "--every", "1h")
    said = nr("status", "--json").json
    assert {"kind": "no-daemon", "text": "no daemon runs that would do what is due: 1 job"} in said["unwell"]
    assert [one["job"] for one in said["next"]] == ["j"]
    found = {one["kind"] for one in said["unwell"]}
    assert {"failed", "stale"} <= found
    out = nr("status").out
    assert "the last run by hand: none of 1 collected (run 1)" in out
    assert "netraven run show 1" in out


def test_watching_needs_a_terminal_and_is_for_people(home: Path, nr: Command) -> None:
    said = nr("status", "--watch")
    assert (said.code, said.out) == (2, "")
    assert "--watch draws on a terminal" in said.err
    assert "say one of the two" in nr("status", "--watch", "--json").err


def test_watching_ends_with_ctrl_c(home: Path, nr: Command) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 80))
    process = subprocess.Popen(
        [*PYTHON, "-m", "netraven.cli", "status", "--watch"],
        cwd=home,
        env=environment(TERM="xterm"),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    written = b""
    deadline = time.monotonic() + 30
    while b"Nothing is unwell" not in written and time.monotonic() < deadline:
        written += os.read(ours, 65536)
    process.send_signal(signal.SIGINT)
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:
        pass  # it has ended
    os.close(ours)
    assert process.wait(30) == 0
    assert b"Traceback" not in written
    assert written.count(b"\x1b[?25l") == written.count(b"\x1b[?25h"), "the cursor is back"
