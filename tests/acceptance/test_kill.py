"""`kill -9` in the middle of a run: what the devices saw is on record, whenever it struck."""

from __future__ import annotations

import random
import signal
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from netraven import RunStatus
from netraven.credentials.lockout import CONTROL_LOGIN
from netraven.lab import fleet
from netraven.model import Selector
from tests.acceptance.installation import Installation, credential
from tests.acceptance.processes import Command, LabProcess, Seen, collecting

DEVICES = 60
CONCURRENCY = 15
MOMENTS = 3
"""How often the run is killed on each database, each time after another random number of attempts."""


def compare(seen: list[Seen], ledger: list[dict[str, Any]]) -> int:
    """Hold the ledger of one killed run against what the lab saw of it; returns how many were in flight."""
    on_wire: dict[str, list[Seen]] = defaultdict(list)
    on_record: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for attempt in seen:
        on_wire[attempt.device].append(attempt)
    for row in ledger:
        on_record[row["device_name"]].append(row)
    in_flight = 0
    for device in {*on_wire, *on_record}:
        wire, record = on_wire[device], on_record[device]
        in_flight += sum(row["verdict"] not in ("accepted", "refused") for row in record)
        if any(row["reason"] == CONTROL_LOGIN for row in record):
            compare_beside_control_logins(device, wire, record)
            continue
        # every secret that reached the device is on record, in order; the record may be one ahead: it goes first
        assert [a.username for a in wire] == [r["credential_username"] for r in record][: len(wire)], device
        assert len(record) - len(wire) in (0, 1), device
        for place, row in enumerate(record):
            verdict = wire[place].verdict if place < len(wire) else None
            if row["verdict"] in ("accepted", "refused"):
                assert row["verdict"] == verdict, device  # what is on record as a verdict was one
            else:
                assert place == len(record) - 1, device  # only the last attempt can have been in flight
    return in_flight


def compare_beside_control_logins(device: str, wire: list[Seen], record: list[dict[str, Any]]) -> None:
    """A control login may come to a device while it is visited: what was sent is on record, in whatever order."""
    sent, kept = Counter(a.username for a in wire), Counter(r["credential_username"] for r in record)
    assert sent <= kept, device
    judged = Counter((r["credential_username"], r["verdict"]) for r in record)
    answered = Counter((a.username, a.verdict) for a in wire)
    for (username, verdict), number in judged.items():
        if verdict in ("accepted", "refused"):
            assert number <= answered[username, verdict], device


@pytest.mark.slow
async def test_every_answered_attempt_survives_a_kill(
    any_installation: Installation, tmp_path: Path, command: Command
) -> None:
    installation = any_installation
    made = fleet(DEVICES, shares={"first": 0.4, "second": 0.3, "third": 0.3}, config_size=1_000)
    moments = random.Random()
    async with LabProcess.running(tmp_path / "lab", made.devices) as lab:
        credentials = [
            credential(login.name, login.password, priority=place) for place, login in enumerate(made.logins)
        ]
        await installation.stock(lab.csv, credentials)
        # What is in flight at a kill counts as refused, until the service has forgotten it.
        installation.configure(installation.settings.collect, window=0.5)
        for number in range(MOMENTS):
            since, attempts = len(lab.events), lab.count("attempt")
            moment = moments.randint(1, 50)  # later runs know what opens each device
            print(f"kill {number} after {moment} attempts")
            async with collecting(installation, "--concurrency", str(CONCURRENCY), "--json") as run:
                await lab.until(lambda: lab.count("attempt") >= attempts + moment, run)  # noqa: B023 - used within the turn
                run.send(signal.SIGKILL)
                assert (await run.end()).code == -signal.SIGKILL
            await lab.until_left()

            last = (await installation.rows("SELECT max(id) AS id FROM runs"))[0]["id"]
            as_left = await installation.attempts(last)
            assert compare(lab.attempts(since), as_left) <= CONCURRENCY + len(credentials)
            assert {row["verdict"] for row in as_left} <= {"accepted", "refused", "pending"}

            async with installation.open() as raven:  # the database opens, and the dead run is found
                died = await raven.store.runs.get(last)
                versions = raven.store.versions.every(Selector())
                kept = {(one.version.device, one.version.sha256) async for one in versions}
            collected = "SELECT DISTINCT device_name, snapshot FROM run_outcomes WHERE status = 'collected'"
            told = {(row["device_name"], row["snapshot"]) for row in await installation.rows(collected)}
            assert kept == told, "what is collected can be read, and nothing else is there"
            assert died.status is RunStatus.INTERRUPTED
            assert died.error is not None
            assert died.counts.attempts == len(as_left)
            concluded = await installation.attempts(last)
            assert [(r["device_name"], r["credential_name"]) for r in concluded] == [
                (r["device_name"], r["credential_name"]) for r in as_left
            ]
            for before, after in zip(as_left, concluded, strict=True):
                if before["verdict"] == "pending":
                    assert (after["verdict"], after["error_type"]) == ("no_verdict", "interrupted")
                    assert after["concluded_at"] is not None
                else:
                    assert after == before

        whole = await command("collect", "--json", config=installation.file)
        assert whole.code == 0, whole.err
        assert whole.json["counts"]["collected"] == DEVICES

    metrics = await installation.metrics()
    ledger = await installation.attempts()
    for name, learned in metrics.items():
        mine = [row for row in ledger if row["credential_name"] == name]
        assert learned.attempts == len(mine)
        assert learned.successes == sum(row["verdict"] == "accepted" for row in mine)
