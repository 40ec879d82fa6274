"""Ctrl-C and SIGTERM: sessions are closed at once, what was collected is kept, the run says what happened."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from netraven.lab import Ill, LabDevice
from tests.acceptance.installation import Installation, credential
from tests.acceptance.processes import Command, Ended, LabProcess, Started, collecting

WITHIN = 2.0
"""Seconds from the signal to the last closed connection, as the lab saw it (the issue's own limit)."""
QUICK, SLOW = 6, 4
HANGS = ("hung_login", "hung_in_kex", "hung_before_banner", "hung_after_login", "hang_mid_output")


def devices() -> list[LabDevice]:
    """Six that answer; four that think for minutes; one that hangs at each stage of a connection."""
    accepts = {"netops": "word"}
    return [
        *(LabDevice(f"quick-{n}", accepts=accepts, config_size=500) for n in range(QUICK)),
        *(LabDevice(f"slow-{n}", accepts=accepts, think=300.0) for n in range(SLOW)),
        *(LabDevice(kind.replace("_", "-"), accepts=accepts, ill=Ill(kind)) for kind in HANGS),  # type: ignore[arg-type]  # a list of kinds
    ]


async def in_the_middle(lab: LabProcess, installation: Installation, run: Started) -> None:
    """Wait until everything that can be collected is on record, and the rest hangs as far in as it gets."""
    await lab.until(lambda: lab.count("connect") == QUICK + SLOW + len(HANGS), run)
    await lab.until(lambda: lab.count("attempt") == QUICK + SLOW + len(HANGS) - 2, run)
    await lab.until(lambda: lab.count("session") == QUICK + SLOW + 2, run)
    await lab.until(lambda: lab.count("disconnect") == QUICK, run)
    async with asyncio.timeout(60):
        while await installation.count("run_outcomes") < QUICK:
            assert run.process.returncode is None
            await asyncio.sleep(0.02)


def said_130(ended: Ended) -> None:
    """CPython itself ends by the signal where one more comes while it shuts down: a shell shows 130 then, too."""
    assert ended.code in (130, -signal.SIGINT), ended.err
    assert "Traceback" not in ended.err


async def check_what_is_left(lab: LabProcess, installation: Installation, run: Started, ended: Ended) -> None:
    said_130(ended)
    await lab.until_left()
    closed = [
        e["at"] - run.sent[0] for e in lab.events if e["event"] == "disconnect" and e["at"] > run.sent[0]
    ]
    assert len(closed) == SLOW + len(HANGS)
    assert max(closed) < WITHIN

    (left,) = await installation.rows("SELECT * FROM runs")
    assert left["status"] == "interrupted"
    assert (left["collected"], left["skipped"]) == (QUICK, SLOW + len(HANGS))
    outcomes = await installation.rows("SELECT device_name, status, reason FROM run_outcomes")
    assert {row["device_name"] for row in outcomes if row["status"] == "collected"} == {
        f"quick-{n}" for n in range(QUICK)
    }
    assert {row["reason"] for row in outcomes if row["status"] == "skipped"} == {"interrupted"}
    # no attempt is left hanging, and none that was accepted is forgotten
    verdicts = {row["device_name"]: row["verdict"] for row in await installation.attempts()}
    assert verdicts == {
        seen.device: seen.verdict if seen.verdict != "unanswered" else "no_verdict" for seen in lab.attempts()
    }
    assert await installation.count("snapshots") == QUICK
    assert await installation.rates() == {"netops": pytest.approx(1.0)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "signals",
    [
        pytest.param([signal.SIGINT], id="ctrl-c"),
        pytest.param([signal.SIGTERM], id="sigterm"),
        pytest.param([signal.SIGINT, signal.SIGINT, signal.SIGINT], id="ctrl-c-again-and-again"),
    ],
)
async def test_interrupted_in_the_middle(
    installation: Installation, tmp_path: Path, signals: list[signal.Signals]
) -> None:
    async with LabProcess.running(tmp_path / "lab", devices()) as lab:
        await installation.stock(lab.csv, [credential("netops", "word")])
        async with collecting(installation) as run:
            await in_the_middle(lab, installation, run)
            for place, number in enumerate(signals):
                if place:
                    await asyncio.sleep(0.05)
                if run.process.returncode is None:
                    run.send(number)
            ended = await run.end()
        await check_what_is_left(lab, installation, run, ended)


@pytest.mark.slow
async def test_an_interrupted_run_is_reported_and_the_next_one_works(
    installation: Installation, tmp_path: Path, command: Command
) -> None:
    async with LabProcess.running(tmp_path / "lab", devices()) as lab:
        await installation.stock(lab.csv, [credential("netops", "word")])
        async with collecting(installation, "--json") as run:
            await in_the_middle(lab, installation, run)
            run.send(signal.SIGINT)
            ended = await run.end()
        assert ended.code == 130
        assert ended.json["status"] == "interrupted"
        assert ended.json["counts"]["collected"] == QUICK

        listed = await command("run", "list", "--json", config=installation.file)
        assert [entry["status"] for entry in listed.json] == ["interrupted"]
        again = await command(
            "collect", *(f"--device=quick-{n}" for n in range(QUICK)), "--json", config=installation.file
        )
        assert again.code == 0, again.err
        assert {d["changed"] for d in again.json["devices"]} == {False}


def has_open(pid: int, file: Path) -> bool:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            if link.readlink() == file:
                return True
    return False


@pytest.mark.slow
async def test_interrupted_while_it_starts(installation: Installation, tmp_path: Path) -> None:
    """From the moment on at which it opens its database: no traceback, and no run that seems to go on."""
    async with LabProcess.running(tmp_path / "lab", devices()[QUICK:]) as lab:
        await installation.stock(lab.csv, [credential("netops", "word")])
        for wait in (0.0, 0.1, 0.3):
            async with collecting(installation) as run:
                await lab.until(lambda: has_open(run.pid, installation.database), run)
                await asyncio.sleep(wait)
                run.send(signal.SIGINT)
                ended = await run.end()
            said_130(ended)
        await lab.until_left()
        assert {row["status"] for row in await installation.rows("SELECT status FROM runs")} <= {
            "interrupted"
        }
        assert {row["verdict"] for row in await installation.attempts()} <= {"accepted", "no_verdict"}
