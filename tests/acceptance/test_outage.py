"""A patient run, as the daemon's are: whatever becomes of its database, it goes on, loses nothing, repeats nothing."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import text, update

from netraven import NetRaven
from netraven.credentials.lockout import CONTROL_LOGIN
from netraven.errors import RunLost
from netraven.lab import Fleet, fleet
from netraven.model import Order, Outcome, Run, RunStatus, Status
from netraven.storage.schema import runs
from tests.acceptance.installation import Installation, credential
from tests.acceptance.processes import PATIENCE, LabProcess
from tests.acceptance.wire import Wire, through
from tests.databases import OwnServer

DEVICES = 200
CONCURRENCY = 40

Trouble = Callable[[NetRaven], Awaitable[None]]


class Told:
    """Events of the run, as the log has them."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        caplog.set_level(logging.INFO, "netraven.collect")

    def count(self, event: str) -> int:
        return sum(record.message == event for record in self._caplog.records)

    async def until(self, event: str, number: int = 1) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.count(event) < number:  # noqa: ASYNC110 - a log has no event
                await asyncio.sleep(0.01)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    return Told(caplog)


@pytest.fixture
def made() -> Fleet:
    return fleet(DEVICES, shares={"first": 0.6, "second": 0.4}, config_size=2_000, think=0.1)


@pytest.fixture
async def lab(tmp_path: Path, made: Fleet) -> AsyncIterator[LabProcess]:
    async with LabProcess.running(tmp_path / "lab", made.devices) as running:
        yield running


async def stocked(installation: Installation, lab: LabProcess, made: Fleet) -> Installation:
    logins = [credential(login.name, login.password, priority=n) for n, login in enumerate(made.logins)]
    await installation.stock(lab.csv, logins)
    return installation


async def collect_in(raven: NetRaven, lab: LabProcess, trouble: Trouble) -> tuple[Run, list[Outcome]]:
    """A patient run that is in ``trouble`` once it is well under way."""
    outcomes: list[Outcome] = []
    run = await raven.store.start(Order(strategy="priority", concurrency=CONCURRENCY))
    going = asyncio.create_task(raven._running.execute(run, on_outcome=outcomes.append, patient=True))
    try:
        await lab.until(lambda: lab.count("session_closed") > 30 or going.done())
        await trouble(raven)
        async with asyncio.timeout(PATIENCE):
            return await going, outcomes
    finally:
        going.cancel()
        await asyncio.wait([going])


async def sessions_end(lab: LabProcess) -> None:
    """Whoever was in session has what it came for, and waits for the record with it; nobody else begins."""
    await lab.until(lambda: lab.count("session") == lab.count("session_closed"))


async def everything_once(
    installation: Installation, lab: LabProcess, run: Run, outcomes: list[Outcome]
) -> None:
    """Each device was collected once, and the ledger is the lab's, attempt by attempt."""
    assert run.status is RunStatus.COMPLETE
    assert run.counts.collected == DEVICES
    assert Counter(outcome.device.name for outcome in outcomes).most_common(1)[0][1] == 1
    assert {outcome.status for outcome in outcomes} == {Status.COLLECTED}
    await lab.until_left()
    ledger = await installation.attempts()
    wire = lab.attempts()
    assert Counter((row["device_name"], row["credential_username"], row["verdict"]) for row in ledger) == (
        Counter((seen.device, seen.username, seen.verdict) for seen in wire)
    )
    visits = [row for row in ledger if row["reason"] != CONTROL_LOGIN]
    opened = Counter(row["device_name"] for row in visits if row["verdict"] == "accepted")
    assert opened.most_common(1)[0][1] == 1
    assert run.counts.attempts == len(visits)
    for table in ("run_outcomes", "snapshots", "connection_logs"):
        assert await installation.count(table) == DEVICES, table
    metrics = (await installation.metrics()).values()
    assert sum(one.attempts for one in metrics) == len(ledger)
    accepted = sum(row["verdict"] == "accepted" for row in ledger)
    assert sum(one.successes for one in metrics) == accepted


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
async def test_a_server_that_is_stopped_and_started_again(
    own_server: OwnServer, tmp_path: Path, lab: LabProcess, made: Fleet, told: Told, how: signal.Signals
) -> None:
    installation = await Installation.create(tmp_path / "netraven", url=own_server.url)
    await stocked(installation, lab, made)

    async def restarts(_: NetRaven) -> None:
        await own_server.stop(how)
        await told.until("database_lost")
        await sessions_end(lab)
        quiet = lab.count("connect")
        assert lab.count("session_closed") < DEVICES - CONCURRENCY
        await own_server.start()
        await told.until("database_back")
        await lab.until(lambda: lab.count("connect") > quiet)
        await own_server.stop(how)
        await told.until("database_lost", 2)
        await own_server.start()

    async with installation.open() as raven:
        run, outcomes = await collect_in(raven, lab, restarts)
    await everything_once(installation, lab, run, outcomes)
    assert told.count("database_lost") == told.count("database_back")
    assert told.count("guard_not_kept") == told.count("account_not_taken") == 0


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_answers_to_commits_that_never_come(
    database_url: str, postgresql_server: str, tmp_path: Path, lab: LabProcess, made: Fleet, told: Told
) -> None:
    """The connection breaks after COMMIT was sent: whether it was done, nobody has heard."""
    installation = await stocked(
        await Installation.create(tmp_path / "netraven", url=database_url), lab, made
    )
    async with Wire(postgresql_server) as wire:
        remote = Installation(installation.folder, through(database_url, wire.port))
        remote.configure(remote.settings.collect)

        async def breaks(_: NetRaven) -> None:
            for number in (1, 2, 3, 4):
                wire.swallow = 1
                await told.until("database_back", number)

        async with remote.open() as raven:
            run, outcomes = await collect_in(raven, lab, breaks)
        assert wire.swallowed == told.count("database_lost") == 4
        await everything_once(installation, lab, run, outcomes)


@pytest.mark.slow
async def test_a_file_that_another_process_keeps_locked(
    tmp_path: Path, lab: LabProcess, made: Fleet, told: Told
) -> None:
    url = f"sqlite:///{tmp_path}/netraven/netraven.db?busy_timeout=0.1"
    installation = await stocked(await Installation.create(tmp_path / "netraven", url=url), lab, made)

    async def is_locked(_: NetRaven) -> None:
        other = sqlite3.connect(installation.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await told.until("database_lost")
        await sessions_end(lab)
        other.execute("ROLLBACK")
        other.close()

    async with installation.open() as raven:
        run, outcomes = await collect_in(raven, lab, is_locked)
    await everything_once(installation, lab, run, outcomes)
    assert told.count("database_lost") == told.count("database_back") == 1


@pytest.mark.slow
async def test_a_disk_that_is_full_for_a_while(
    installation: Installation, lab: LabProcess, made: Fleet, told: Told
) -> None:
    await stocked(installation, lab, made)

    async def is_full(raven: NetRaven) -> None:
        database = raven.store.database
        pages = await database.autocommit("PRAGMA page_count")
        await database.autocommit(f"PRAGMA max_page_count = {pages + 2}")
        await told.until("database_lost")
        await sessions_end(lab)
        await database.autocommit("PRAGMA max_page_count = 1000000000")

    async with installation.open() as raven:
        run, outcomes = await collect_in(raven, lab, is_full)
    await everything_once(installation, lab, run, outcomes)


@pytest.mark.slow
async def test_a_quota_that_is_used_up_for_a_while(
    installation: Installation, lab: LabProcess, made: Fleet, told: Told
) -> None:
    """Writes fail for the file system's own reasons, here the process's limit on the size of files."""
    await stocked(installation, lab, made)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

    async def is_used_up(_: NetRaven) -> None:
        size = installation.database.with_name("netraven.db-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4_096, unlimited[1]))
        try:
            await told.until("database_lost")
            await sessions_end(lab)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

    async with installation.open() as raven:
        run, outcomes = await collect_in(raven, lab, is_used_up)
    await everything_once(installation, lab, run, outcomes)


@pytest.mark.slow
async def test_a_run_that_is_stopped_while_the_database_is_away_ends_in_time(
    tmp_path: Path, lab: LabProcess, made: Fleet, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netraven.running.LEAVING", 1.0)
    url = f"sqlite:///{tmp_path}/netraven/netraven.db?busy_timeout=0.1"
    installation = await stocked(await Installation.create(tmp_path / "netraven", url=url), lab, made)
    other = sqlite3.connect(installation.database, isolation_level=None)
    async with installation.open() as raven:
        run = await raven.store.start(Order(strategy="priority", concurrency=CONCURRENCY))
        going = asyncio.create_task(raven._running.execute(run, patient=True))
        await lab.until(lambda: lab.count("session_closed") > 30)
        other.execute("BEGIN IMMEDIATE")
        await told.until("database_lost")
        going.cancel()
        async with asyncio.timeout(PATIENCE / 4):
            await asyncio.wait([going])
        assert going.cancelled()
        other.execute("ROLLBACK")
        other.close()
        await lab.until_left()
        left = await raven.store.runs.get(run.id)
    assert left.status is RunStatus.RUNNING  # nobody could say so; whoever finds its process gone does
    for row in await installation.attempts():
        assert row["verdict"] in ("accepted", "refused", "pending")
    sent = Counter((seen.device, seen.username) for seen in lab.attempts())
    on_record = Counter(
        (row["device_name"], row["credential_username"]) for row in await installation.attempts()
    )
    assert sent <= on_record


@pytest.mark.slow
@pytest.mark.parametrize("noticed_by", ["recorder", "heartbeat"])
async def test_a_run_that_another_process_has_taken_over(
    any_installation: Installation,
    lab: LabProcess,
    made: Fleet,
    monkeypatch: pytest.MonkeyPatch,
    noticed_by: str,
) -> None:
    monkeypatch.setattr("netraven.running.HEARTBEAT", 0.1 if noticed_by == "heartbeat" else 1_000.0)
    installation = await stocked(any_installation, lab, made)
    on_record = 0

    async def is_taken(raven: NetRaven) -> None:
        nonlocal on_record
        async with raven.store.database.writing() as connection:
            await connection.execute(update(runs).values(owner="another-host/boot/17/4"))
            number = await connection.execute(text("SELECT count(*) FROM credential_attempts"))
            on_record = number.scalar_one()

    async with installation.open() as raven:
        with pytest.raises(RunLost, match="run 1 "):
            await collect_in(raven, lab, is_taken)
        left = await raven.store.runs.get(1)
    await lab.until_left()
    assert (left.status, left.finished_at) == (RunStatus.RUNNING, None)
    assert await installation.count("credential_attempts") == on_record
    assert len(lab.attempts()) <= on_record
    assert len(lab.attempts()) < DEVICES
