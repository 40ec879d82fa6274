"""The daemon as a process: from its start to its end, under signals, beside another one, without a database."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from netraven.lab import LabDevice
from netraven.model import Job, RunStatus, Schedule
from tests.acceptance.installation import PATIENT, Installation, credential
from tests.acceptance.processes import LabProcess, netraven
from tests.daemon.processes import configure, queued, serving
from tests.databases import _execute

ACCEPTS = {"netops": "word"}


def fleet(number: int, *, think: float = 0.0, name: str = "r") -> list[LabDevice]:
    return [LabDevice(f"{name}{n}", accepts=ACCEPTS, config_size=500, think=think) for n in range(number)]


def shut(url: str, server: str) -> None:
    """Nobody gets into the database any more, and who is in is thrown out: as a server that has gone looks."""
    name = urlsplit(url).path.lstrip("/")
    _execute(
        server,
        f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
    )


def let_in(url: str, server: str) -> None:
    _execute(server, f"ALTER DATABASE {urlsplit(url).path.lstrip('/')} WITH ALLOW_CONNECTIONS true")


async def test_a_run_that_waits_is_taken_and_the_daemon_ends_when_told(
    any_installation: Installation, tmp_path: Path
) -> None:
    installation = any_installation
    configure(installation)
    async with LabProcess.running(tmp_path / "lab", fleet(5)) as lab:
        await installation.stock(lab.csv, [credential("netops", "word")])
        async with serving(installation) as daemon:
            ended = await daemon.ended(await queued(installation))
            assert (ended.status, ended.counts.collected) == (RunStatus.COMPLETE, 5)

            assert await daemon.json("/healthz") == {"alive": True, "why": []}
            await daemon.until(lambda: daemon.events("run_ended"))
            assert await daemon.metric("outcomes_total", status="collected", reason="") == 5
            assert await daemon.metric("attempts_total", realm="default", verdict="accepted") == 5
            assert await daemon.metric("runs_finished_total", what="configuration", status="complete") == 1
            assert await daemon.metric("database_up") == 1
            assert await daemon.metric("sessions_open") == 0
            taken = await daemon.said("run_taken")
            assert (taken["run"], taken["level"]) == (ended.id, "info")

            daemon.send(signal.SIGTERM)
            assert await daemon.end() == 0
            assert daemon.heard[-1].startswith(("STATUS=", "EXTEND", "STOPPING=1"))
            assert any(line.startswith("STOPPING=1") for line in daemon.heard)
            assert daemon.events("stopped")
            assert "word" not in daemon.log
    assert await installation.count("daemons") == 0


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 2])
async def test_sigterm_drains_and_a_second_one_cuts(
    any_installation: Installation, tmp_path: Path, signals: int
) -> None:
    """What is left goes back to the queue, and the next daemon goes on with it."""
    installation = any_installation
    configure(installation, drain=1.0 if signals == 1 else 60.0)
    devices = [*fleet(4), *fleet(6, think=300.0, name="slow")]
    async with LabProcess.running(tmp_path / "lab", devices) as lab:
        await installation.stock(lab.csv, [credential("netops", "word")])
        run = await queued(installation)
        async with serving(installation, env={"PYTHONASYNCIODEBUG": "1"}) as daemon:
            await lab.until(lambda: lab.count("session") == 10)
            await lab.until(lambda: lab.count("disconnect") == 4)
            for _ in range(signals):
                daemon.send(signal.SIGTERM)
                await asyncio.sleep(0.2)
            assert await daemon.end() == 0
        await lab.until_left()
    (left,) = await installation.rows("SELECT status, owner, collected FROM runs")
    assert (left["status"], left["owner"], left["collected"]) == ("queued", "", 4)
    verdicts = [row["verdict"] for row in await installation.attempts()]
    assert len(verdicts) == 10
    assert "pending" not in verdicts

    async with LabProcess.running(tmp_path / "again", [*fleet(4), *fleet(6, name="slow")]) as lab:
        await installation.stock(lab.csv, [])
        async with serving(installation, name="next") as daemon:
            ended = await daemon.ended(run)
            assert (ended.status, ended.counts.devices, ended.counts.collected) == (
                RunStatus.COMPLETE,
                10,
                10,
            )
            assert {seen.device for seen in lab.attempts()} == {f"slow{n}" for n in range(6)}
            assert len(await installation.attempts()) == 16
    assert await installation.count("run_targets") == 0


@pytest.mark.slow
async def test_sigterm_with_500_sessions_open(installation: Installation, tmp_path: Path) -> None:
    configure(installation, drain=3.0, collect=replace(PATIENT, concurrency=500))
    async with LabProcess.running(tmp_path / "lab", fleet(500, think=600.0)) as lab:
        await installation.stock(lab.csv, [credential("netops", "word")])
        run = await queued(installation, concurrency=500)
        async with serving(installation) as daemon:
            await lab.until(lambda: lab.count("session") == 500)
            assert await daemon.metric("sessions_open") == 500
            began = time.monotonic()
            daemon.send(signal.SIGTERM)
            assert await daemon.end() == 0
            took = time.monotonic() - began
            print(f"ended {took:.1f} s after SIGTERM")
            assert took < 3.0 + 20.0, (
                "3 s are the drain; the rest is for a machine that does other things too"
            )
        await lab.until_left()
    async with installation.open() as raven:
        left = await raven.store.runs.get(run.id)
        assert (left.status, left.counts.devices) == (RunStatus.QUEUED, 500)
    assert await installation.count("run_targets") == 500
    assert await installation.count("device_sessions") == 0
    assert {row["verdict"] for row in await installation.attempts()} == {"accepted"}


async def test_a_killed_daemon_s_run_is_gone_on_with(any_installation: Installation, tmp_path: Path) -> None:
    """Of a run without a job nobody goes on: it is marked as interrupted, as ever."""
    installation = any_installation
    configure(installation)
    async with LabProcess.running(tmp_path / "lab", fleet(3, think=300.0)) as lab:
        await installation.stock(lab.csv, [credential("netops", "word")])
        run = await queued(installation, job_id=7, job="nightly")
        async with serving(installation) as daemon:
            await lab.until(lambda: lab.count("session") == 3)
            daemon.send(signal.SIGKILL)
            await daemon.end()
            await lab.until_left()
            async with serving(installation, name="next") as following:
                await following.said("run_recovered")
                taken = await following.said("run_taken")
                assert (taken["run"], taken["resumed"]) == (run.id, True)
                await lab.until(lambda: lab.count("session") == 6)


async def test_settings_are_read_again_and_wrong_ones_change_nothing(
    installation: Installation, tmp_path: Path
) -> None:
    configure(installation, max_runs=2)
    async with serving(installation) as daemon:
        good = installation.file.read_text()
        installation.file.write_text(good + "\n[nonsense]\n")
        daemon.send(signal.SIGHUP)
        wrong = await daemon.said("settings_wrong")
        assert "unknown section [nonsense]" in wrong["error"]
        assert wrong["level"] == "error"
        await daemon.until(lambda: "settings not taken over" in daemon.heard[-1])
        assert await daemon.metric("settings_reload_success") == 0
        assert (await daemon.get("/readyz"))[0] == 200, "it works on, on the old ones"

        configure(installation, '[log]\nlevel = "debug"', max_runs=3, listen="127.0.0.1:1")
        daemon.send(signal.SIGHUP)
        await daemon.said("settings_read")
        assert (await daemon.said("restart_needed"))["settings"] == ["daemon.listen"]
        assert await daemon.metric("settings_reload_success") == 1
        reloads = [line for line in daemon.heard if line.startswith("RELOADING=1\nMONOTONIC_USEC=")]
        assert len(reloads) == 2
        assert daemon.heard[-1].startswith("READY=1")
        daemon.send(signal.SIGTERM)
        assert await daemon.end() == 0


async def test_jobs_of_settings_are_there_at_the_start_and_after_a_reload(installation: Installation) -> None:
    """All of them or none: a file with one bad job changes nothing."""
    nightly = '[jobs.nightly]\ncron = "0 2 * * *"\n'
    hourly = '[jobs.hourly]\nevery = "1h"\n'

    async def names() -> list[str]:
        return [row["name"] for row in await installation.rows("SELECT name FROM jobs ORDER BY name")]

    configure(installation, nightly)
    async with serving(installation) as daemon:
        assert await names() == ["nightly"]
        configure(installation, hourly + '[jobs.bad]\ncron = "0 0 30 2 *"\n')
        daemon.send(signal.SIGHUP)
        wrong = await daemon.said("settings_wrong")
        assert "bad" in wrong["error"]
        assert await names() == ["nightly"]
        configure(installation, hourly)
        daemon.send(signal.SIGHUP)
        await daemon.said("settings_read")
        assert await names() == ["hourly"]
        assert daemon.events("jobs_applied")[-1]["changed"] == ["hourly", "nightly"]


async def test_a_second_daemon_hears_who_serves(any_installation: Installation) -> None:
    installation = any_installation
    configure(installation)
    async with serving(installation) as daemon:
        second = await netraven("serve", config=installation.file)
        assert second.code == 2
        assert f"is served already: process {daemon.process.pid} on" in second.err
        configure(installation, several=True)
        third = await netraven("serve", config=installation.file) if "sqlite" in installation.url else None
        assert third is None or third.code == 2
        assert daemon.process.returncode is None


@pytest.mark.postgres
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_several_daemons_of_one_database(any_installation: Installation, tmp_path: Path) -> None:
    installation = any_installation
    configure(installation, several=True)
    async with LabProcess.running(tmp_path / "lab", fleet(3)) as lab:
        await installation.stock(lab.csv, [credential("netops", "word")])
        async with serving(installation) as one, serving(installation, name="other") as other:
            runs = [await queued(installation) for _ in range(4)]
            for run in runs:
                assert (await one.ended(run)).status is RunStatus.COMPLETE
            taken = [line["run"] for line in one.events("run_taken") + other.events("run_taken")]
            assert sorted(taken) == sorted(run.id for run in runs), "each run once"


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_the_other_daemon_takes_over_from_a_killed_one(
    any_installation: Installation, tmp_path: Path
) -> None:
    installation = any_installation
    configure(installation, several=True)
    async with LabProcess.running(tmp_path / "lab", fleet(6, think=1.0)) as lab:
        await installation.stock(lab.csv, [credential("netops", "word")])
        async with serving(installation) as one, serving(installation, name="other") as other:
            run = await queued(installation, job_id=7, job="nightly", concurrency=2)
            await lab.until(lambda: lab.count("session") >= 3)
            first, second = (one, other) if one.events("run_taken") else (other, one)
            first.send(signal.SIGKILL)
            began = time.monotonic()
            assert (await second.said("run_taken"))["resumed"] is True
            print(f"taken over {time.monotonic() - began:.1f} s after the kill")
            ended = await second.ended(run)
            assert (ended.status, ended.counts.collected) == (RunStatus.COMPLETE, 6)
            seen = [attempt.device for attempt in lab.attempts()]
            assert len(seen) == len(await installation.attempts()) <= 8, "twice only where it was in session"


async def test_hooks_are_told_and_the_repository_follows(installation: Installation, tmp_path: Path) -> None:
    more = """
[git]
path = "configs.git"
[hooks.told]
type = "command"
command = ["/bin/sh", "-c", "cat >> told.jsonl"]
events = ["first-seen", "run-finished"]
timeout = 30.0
"""
    configure(installation, more)
    told = installation.folder / "told.jsonl"
    async with LabProcess.running(tmp_path / "lab", fleet(3)) as lab:
        await installation.stock(lab.csv, [credential("netops", "word")])
        async with serving(installation) as daemon:
            run = await daemon.ended(await queued(installation))
            exported = await daemon.said("git_exported")
            assert (exported["run"], exported["versions"]) == (run.id, 3)
            await daemon.until(lambda: told.exists() and told.read_text().count("run-finished") == 1)
            await daemon.until(lambda: told.read_text().count("first-seen") == 3)
            assert (installation.folder / "configs.git" / "HEAD").exists()


async def test_a_run_that_cannot_be_made_fails_once(installation: Installation, tmp_path: Path) -> None:
    """Without its key no secret opens: it is not taken again each second."""
    configure(installation)
    async with LabProcess.running(tmp_path / "lab", fleet(1)) as lab:
        await installation.stock(lab.csv, [credential("netops", "word")])
        (installation.folder / "netraven.key").unlink()
        async with serving(installation) as daemon:
            failed = await daemon.ended(await queued(installation))
            assert failed.status is RunStatus.FAILED
            assert "Put your copy of the old key back" in str(failed.error)
            unknown = await daemon.ended(await queued(installation, strategy="no-such"))
            assert "no-such" in str(unknown.error)
            assert len(daemon.events("run_taken")) == 2
        assert not lab.attempts()


async def test_what_it_does_is_on_record_while_it_does_it(installation: Installation, tmp_path: Path) -> None:
    configure(installation)
    async with LabProcess.running(tmp_path / "lab", [*fleet(2), *fleet(3, think=300.0, name="slow")]) as lab:
        await installation.stock(lab.csv, [credential("netops", "word")])
        async with serving(installation) as daemon:
            run = await queued(installation)
            await lab.until(lambda: lab.count("session") == 5)
            async with asyncio.timeout(30):
                while True:
                    async with installation.open() as raven:
                        (seen,) = await raven.store.daemons.living()
                    if (of_run := seen.state["runs"].get(str(run.id))) and of_run["done"] == 2:
                        break
                    await asyncio.sleep(0.2)
            assert seen.state["pid"] == daemon.process.pid
            assert seen.state["sessions"] == of_run["in_session"] == 3
            assert of_run["devices"] == 5
            assert seen.state["reload_error"] is None


async def test_a_database_that_is_not_there_yet_is_waited_for(installation: Installation) -> None:
    """A port where nobody listens; told to stop meanwhile, it stops."""
    configure(installation)
    wrong = "postgresql+asyncpg://nobody@127.0.0.1:9/nothing"
    async with serving(installation, ready=False, env={"NETRAVEN_DATABASE__URL": wrong}) as daemon:
        await daemon.said("database_not_there")
        assert await daemon.until(lambda: any("waiting for the database" in line for line in daemon.heard))
        status, body = await daemon.get("/readyz")
        assert (status, "waiting for the database" in body) == (503, True)
        assert (await daemon.get("/healthz"))[0] == 200
        assert not any("READY=1" in line for line in daemon.heard)
        daemon.send(signal.SIGTERM)
        assert await daemon.end() == 0


class Power:
    """Takes the database of an installation away, and gives it back."""

    def __init__(self, installation: Installation, request: pytest.FixtureRequest) -> None:
        self._url = installation.url
        self._file = Path(installation.url.partition("///")[2])
        sqlite = "sqlite" in installation.url
        self._server = None if sqlite else str(request.getfixturevalue("postgresql_server"))

    @property
    def _away(self) -> Path:
        return self._file.with_name("elsewhere.db")

    def cut(self) -> None:
        if self._server is None:
            self._file.rename(self._away)
        else:
            shut(self._url, self._server)

    def back(self) -> None:
        if self._server is None:
            self._away.rename(self._file)
        else:
            let_in(self._url, self._server)


@pytest.mark.slow
async def test_a_run_waits_for_the_database_and_goes_on(
    any_installation: Installation, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    installation = any_installation
    configure(installation)
    power = Power(installation, request)
    async with LabProcess.running(tmp_path / "lab", fleet(8, think=0.5)) as lab:
        await installation.stock(lab.csv, [credential("netops", "word")])
        async with serving(installation) as daemon:
            run = await queued(installation, concurrency=2)
            await lab.until(lambda: lab.count("disconnect") >= 2)
            power.cut()
            await daemon.said("database_lost")
            await daemon.until(lambda: any("database" in line for line in daemon.heard))
            await asyncio.sleep(1)
            power.back()
            ended = await daemon.ended(run)
            assert (ended.status, ended.counts.collected) == (RunStatus.COMPLETE, 8)
        assert len(lab.attempts()) == len(await installation.attempts())


@pytest.mark.slow
async def test_a_database_that_goes_away_and_comes_back(
    any_installation: Installation, request: pytest.FixtureRequest
) -> None:
    installation = any_installation
    configure(installation)
    power = Power(installation, request)
    async with serving(installation) as daemon:
        assert await daemon.json("/readyz") == {"ready": True, "why": []}
        power.cut()
        lost = await daemon.said("database_lost")
        assert lost["level"] == "warning"
        await daemon.becomes("/readyz", 503)
        assert (await daemon.get("/healthz"))[0] == 200
        assert daemon.process.returncode is None
        power.back()
        await daemon.said("database_back")

        await daemon.becomes("/readyz", 200)
        daemon.send(signal.SIGTERM)
        assert await daemon.end() == 0
        assert len(daemon.events("database_lost")) == 1


async def test_its_patience_ends(installation: Installation) -> None:
    configure(installation, start_patience=0.5)
    wrong = "postgresql+asyncpg://nobody@127.0.0.1:9/nothing"
    async with serving(installation, ready=False, env={"NETRAVEN_DATABASE__URL": wrong}) as daemon:
        assert await daemon.end() == 2
        assert "the server cannot be reached" in daemon.log.splitlines()[-1]


@pytest.mark.parametrize(
    ("daemon", "said"),
    [
        ({"listen": "0.0.0.0:9180"}, "daemon.listen_anywhere = true"),
        ({"listen": "nonsense"}, "daemon.listen: 'nonsense' is no address"),
        ({"max_runs": 0}, "daemon.max_runs must be at least 1"),
    ],
)
async def test_settings_that_it_does_not_begin_with(
    installation: Installation, daemon: dict[str, Any], said: str
) -> None:
    configure(installation, **daemon)
    ended = await netraven("serve", config=installation.file)
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err


async def test_a_database_url_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "nr"
    folder.mkdir()
    installation = Installation(folder, "nonsense")
    configure(installation)
    ended = await netraven("serve", config=installation.file)
    assert ended.code == 2
    assert "the database URL cannot be read" in ended.err


async def test_a_database_of_another_version_is_not_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "nr"
    folder.mkdir()
    installation = Installation(folder, f"sqlite+aiosqlite:///{folder / 'netraven.db'}")
    configure(installation)
    ended = await netraven("serve", config=installation.file)
    assert ended.code == 2
    assert "netraven db upgrade" in ended.err


async def test_a_job_is_run_when_it_is_due(any_installation: Installation, tmp_path: Path) -> None:
    """Each second, while the one before does not overlap; by two daemons it would be no more often."""
    installation = any_installation
    configure(installation)
    async with LabProcess.running(tmp_path / "lab", fleet(2)) as lab:
        await installation.stock(lab.csv, [credential("netops", "word")])
        job = Job("often", schedule=Schedule(every=2.0, grace=1.0))
        async with installation.open() as raven:
            await raven.store.jobs.add(job)
        async with serving(installation) as daemon:
            await daemon.said("run_ended", 3)
            assert await daemon.metric("jobs_enabled") in (1, None)
            assert {line["job"] for line in daemon.events("run_taken")} == {"often"}
            async with installation.open() as raven:
                await raven.store.jobs.disable("often")
                runs = [run for run in await raven.store.runs.list() if run.status is RunStatus.COMPLETE]
            due = [run.due_at for run in runs]
            assert len(due) == len(set(due)) >= 3
            assert all(run.job == "often" and run.counts.collected == 2 for run in runs)
            daemon.send(signal.SIGTERM)
            assert await daemon.end() == 0
