"""Checks over the real lab, on each database, as commands and as runs of jobs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from netraven import Credential, Device, NetRaven
from netraven.config import CollectSettings
from netraven.lab import Ill, Lab, LabDevice
from netraven.model import (
    Capture,
    Counts,
    DeviceFinished,
    EventKind,
    Order,
    Outcome,
    RunStatus,
    Selector,
    Status,
    Subscription,
    What,
    utcnow,
)
from netraven.running import Running
from tests.acceptance.installation import EVERYWHERE, PATIENT, TAG, Installation, credential
from tests.acceptance.processes import Command
from tests.transport.jump_server import jump_server

IMPATIENT = replace(PATIENT, connect_timeout=3.0, login_timeout=3.0, command_timeout=3.0)
ACCEPTS = {"netops": "right"}
SAID = "SSH-2.0-"


def device(name: str, **more: Any) -> LabDevice:
    return LabDevice(name, ACCEPTS, tags=(TAG,), config_size=600, **more)


FLEET = (
    device("well"),
    device("refuses", ill=Ill("refuses")),
    device("hung-in-kex", ill=Ill("hung_in_kex")),
    device("closed", ill=Ill("port_closed")),
    device("silent", ill=Ill("hung_before_banner")),
    device("cut", ill=Ill("close_on_connect")),
    device("mute", ill=Ill("hung_after_login")),
    device("enables", enable_password="enable-me"),
    device("enable-wrong", enable_password="another"),
    device("broken", ill=Ill("command_error")),
    device("wire", telnet=True),
)


@asynccontextmanager
async def stocked(installation: Installation, *credentials: Credential) -> AsyncIterator[Lab]:
    installation.configure(IMPATIENT)
    async with Lab(FLEET) as lab:
        port = lab.endpoint("wire")[1]
        with installation.file.open("a") as file:
            file.write(f'[devices.wire]\ntransport = "telnet"\ntelnet_port = {port}\n')
        await installation.stock(lab, credentials)
        yield lab


def shown(document: Any) -> dict[str, tuple[str, str | None]]:
    return {found["name"]: (found["status"], found["reason"]) for found in document["devices"]}


async def test_reachability_needs_no_credential_no_key_and_leaves_no_attempt(
    any_installation: Installation, command: Command
) -> None:
    async with stocked(any_installation, credential("netops", "right")) as lab:
        (any_installation.folder / "netraven.key").unlink()
        said = await command("check", "reachability", "--json", config=any_installation.file)
        assert said.code == 1, said.err
        document = json.loads(said.stdout)
        assert (document["what"], document["status"]) == ("reachability", "partial")
        assert document["counts"] == {
            "devices": 11,
            "collected": 8,
            "failed": 3,
            "skipped": 0,
            "attempts": 0,
        }
        well = ("checked", None)
        assert shown(document) == {
            **dict.fromkeys(
                ("well", "refuses", "hung-in-kex", "mute", "enables", "enable-wrong", "broken", "wire"), well
            ),
            **dict.fromkeys(("closed", "silent", "cut"), ("failed", "unreachable")),
        }
        details = {found["name"]: found["detail"] for found in document["devices"]}
        assert details["well"].startswith(SAID)
        assert details["wire"].startswith("telnet")
        assert all(lab.log.secrets_seen(one.name) == [] for one in FLEET)
    assert await any_installation.count("credential_attempts") == 0
    assert await any_installation.count("snapshots") == 0
    assert await any_installation.count("host_keys") == 0
    assert await any_installation.rows("SELECT * FROM device_standing WHERE collected_at IS NOT NULL") == []


async def test_reachability_in_words(installation: Installation, command: Command) -> None:
    async with stocked(installation):
        said = await command("check", "reachability", config=installation.file)
        assert said.code == 1
        assert "not every device is reachable" in said.out
        assert "No secret was sent." in said.out
        assert "collected" not in said.out
        assert "run 1: 11 devices" in said.err
        again = await command("run", "show", "1", config=installation.file)
        assert "not every device is reachable" in again.out
        log = await command("log", "connections", config=installation.file)
        assert "reachable" in log.out
        assert "collected" not in log.out
        one = await command("device", "show", "well", config=installation.file)
        assert "reachable" in one.out
        well = await command("check", "reachability", "--device", "well", config=installation.file)
        assert well.code == 0
        assert "every device is reachable" in well.out
        listed = json.loads((await command("run", "list", "--json", config=installation.file)).stdout)
        assert [run["what"] for run in listed] == ["reachability", "reachability"]


async def test_credentials_are_proven_as_far_as_collecting_needs(
    any_installation: Installation, command: Command
) -> None:
    opens = credential("netops", "right", enable_password="enable-me")
    wrong = credential("wrong", "nothing", priority=1, username="netops")
    async with stocked(any_installation, wrong, opens) as lab:
        words = ("check", "credentials", "--strategy", "priority", "--json")
        said = await command(*words, config=any_installation.file)
        assert said.code == 1, said.err
        document = json.loads(said.stdout)
        assert shown(document) == {
            "well": ("checked", None),
            "enables": ("checked", None),
            "broken": ("checked", None),  # the command that it rejects is never given
            "wire": ("checked", None),
            "refuses": ("failed", "auth_refused"),
            "enable-wrong": ("failed", "privilege_refused"),
            "mute": ("failed", "dialogue_timeout"),
            **dict.fromkeys(("hung-in-kex", "closed", "silent", "cut"), ("failed", "unreachable")),
        }
        opened = [found for found in document["devices"] if found["status"] == "checked"]
        assert {found["credential"] for found in opened} == {"netops"}
        seen = [secret for one in FLEET for secret in lab.log.secrets_seen(one.name)]
        attempts = await any_installation.attempts()
        assert len(seen) == len(attempts) == document["counts"]["attempts"]
        assert {row["verdict"] for row in attempts} == {"accepted", "refused"}
    assert await any_installation.count("snapshots") == 0
    assert await any_installation.rows("SELECT * FROM device_standing WHERE collected_at IS NOT NULL") == []
    said = await command("log", "connections", config=any_installation.file)
    assert "opened" in said.out
    rates = await any_installation.rates()
    assert rates["netops"], "what a check learns counts"


async def test_what_a_check_finds_out_is_used_when_collecting(any_installation: Installation) -> None:
    async with stocked(
        any_installation,
        credential("wrong", "no", priority=1, username="netops"),
        credential("netops", "right"),
    ):
        async with any_installation.open() as raven:
            run = await raven.run(names=["well"], what=What.CREDENTIALS, strategy="priority")
            assert (run.status, run.counts.attempts) == (RunStatus.COMPLETE, 2)
            report = await raven.collect(names=["well"])
        (outcome,) = report.outcomes
        assert (outcome.status, outcome.attempts) == (Status.COLLECTED, 1)


async def test_a_check_makes_no_version_and_no_device_new(any_installation: Installation) -> None:
    """Collected, checked, collected again: nothing has changed, and hooks hear of checks by their kind."""
    async with stocked(any_installation, credential("netops", "right")), any_installation.open() as raven:
        wanted = Subscription("all", frozenset(EventKind))
        raven.store.ledger.subscriptions = raven.store.runs.subscriptions = (wanted,)
        await raven.run(names=["well"])
        for what in (What.CREDENTIALS, What.REACHABILITY):
            await raven.run(names=["well"], what=what)
        outcomes: list[Outcome] = []
        await raven.run(names=["well"], on_outcome=outcomes.append)
        assert [outcome.changed for outcome in outcomes] == [False]
        assert len(await raven.store.versions.history("well", "running")) == 1
        events = await any_installation.rows("SELECT event FROM hook_deliveries ORDER BY id")
        assert [row["event"] for row in events] == ["first-seen", *["run-finished"] * 4]


async def test_a_check_is_a_run_of_a_job(any_installation: Installation) -> None:
    async with stocked(any_installation, credential("netops", "right")), any_installation.open() as raven:
        running: Running = raven._running
        order = Order(
            What.REACHABILITY,
            Selector(names={"well", "closed"}),
            "last-good",
            5,
            job_id=1,
            job="there",
        )
        queued = await raven.store.runs.queue(order)
        taken = await raven.store.runs.claim(queued)
        assert taken is not None
        await running.prepare(taken.selector, taken.what)
        ended = await running.execute(taken, resumable=True)
        assert (ended.status, ended.counts.collected, ended.counts.failed) == (RunStatus.PARTIAL, 1, 1)


async def test_chores_go_the_same_way(any_installation: Installation, command: Command) -> None:
    async with stocked(any_installation, credential("netops", "right")):
        async with any_installation.open() as raven:
            await raven.run(names=["well"])
            for order in (
                Order(What.STALE, options={"older_than": 3600.0}, concurrency=1),
                Order(What.PRUNE, concurrency=1),
            ):
                run = await raven._running.execute(await raven.store.start(order))
                assert (run.status, run.error) == (RunStatus.COMPLETE, None)
        said = await command("run", "show", "2", config=any_installation.file)
        assert "devices not collected within 1h" in said.out, said.out
        assert "broken" in said.out
        said = await command("run", "show", "3", config=any_installation.file)
        assert "gone: 0 versions of 0 devices" in said.out
        document = json.loads(
            (await command("run", "show", "3", "--json", config=any_installation.file)).stdout
        )
        assert (document["what"], document["done"]["versions"], document["devices"]) == ("prune", 0, [])


async def test_chores_as_jobs_at_the_command_line(any_installation: Installation, command: Command) -> None:
    with any_installation.file.open("a") as file:
        file.write("[retention]\nversions = 1\n")
    async with any_installation.open() as raven:
        await raven.store.inventory.upsert_devices(
            [Device("r1", "192.0.2.1", "cisco_iosxe", tags=EVERYWHERE)]
        )
        (target,) = [target async for target in raven.store.targets(Selector())]
        for n in range(3):
            run = await raven.store.start(Order())
            outcome = Outcome(target.device, Status.COLLECTED, utcnow(), 1)
            await raven.store.commit([DeviceFinished(run.id, outcome, (Capture(f"hostname r{n}\n"),))])
            await raven.store.finish(run, RunStatus.COMPLETE, Counts(1, 1))

    async def say(line: str) -> str:
        said = await command(*line.split(), config=any_installation.file)
        assert said.code == 0, said.err
        return said.out

    await say("job add tidy --what prune")
    await say("job add missing --what stale-report --older-than 1h")
    said = await say("job run tidy")
    assert "gone: 2 versions of 1 device" in said
    assert await any_installation.count("snapshots") == 1
    said = await say("job run missing")
    assert "none: each of its devices was collected within 1h" in said


async def test_the_stale_report(any_installation: Installation, command: Command) -> None:
    async with stocked(any_installation, credential("netops", "right")):
        said = await command("report", "stale", config=any_installation.file)
        assert said.code == 0
        assert "11 of 11 devices not collected within 1d" in said.out
        await command("check", "reachability", config=any_installation.file)
        said = await command("report", "stale", "--json", config=any_installation.file)
        assert len(json.loads(said.stdout)) == 11, "who is only reached is not collected"
        said = await command("report", "stale", "--tag", "nowhere", config=any_installation.file)
        assert (said.code, "nowhere" in said.err) == (2, True)
        said = await command("report", "stale", "--older-than", "soon", config=any_installation.file)
        assert (said.code, "no span of time" in said.err) == (2, True)


async def test_no_devices_and_no_credentials(installation: Installation, command: Command) -> None:
    said = await command("check", "reachability", config=installation.file)
    assert (said.code, "there was no device to reach" in said.out) == (1, True)
    said = await command("report", "stale", config=installation.file)
    assert (said.code, said.out.strip()) == (0, "none: there are no devices")
    async with stocked(installation):
        said = await command("check", "credentials", config=installation.file)
        assert (said.code, "no device has a credential that matches" in said.out) == (1, True)


# ---- through a jump host


async def test_a_jump_host_is_logged_in_to_and_the_device_behind_it_is_not(
    any_installation: Installation,
) -> None:
    async with (
        jump_server({"jumper": "jump-pw"}) as jump,
        Lab([device("behind"), device("closed", ill=Ill("port_closed"))]) as lab,
    ):
        any_installation.configure(IMPATIENT)
        with any_installation.file.open("a") as file:
            file.write(f'[tags.{TAG}]\njump = ["bastion"]\n')
        await any_installation.stock(
            lab, [Credential("bastion", "jumper", "jump-pw", frozenset({"bastions"}), realm="bastions")]
        )
        async with any_installation.open() as raven:
            await raven.store.inventory.upsert_devices([jump.device("bastion", "bastions")])
            outcomes: list[Outcome] = []
            run = await raven.run(what=What.REACHABILITY, on_outcome=outcomes.append)
        assert run.status is RunStatus.PARTIAL
        found = {outcome.device.name: outcome for outcome in outcomes}
        assert found["behind"].status is Status.CHECKED
        assert (found["behind"].detail or "").startswith(SAID)
        assert found["closed"].reason == "unreachable"
        assert "jump host bastion" in (found["closed"].detail or "")
        assert jump.logins == ["jumper"]
        attempts = await any_installation.attempts()
        assert [(row["device_name"], row["verdict"]) for row in attempts] == [("bastion", "accepted")]
        assert lab.log.secrets_seen("behind") == []


# ---- retries, and the end of a run


async def test_a_knock_is_tried_again_as_settings_say() -> None:
    async with Lab([device("late", ill=Ill("close_on_connect", times=1))]) as lab:
        host, port = lab.endpoint("late")
        devices = [Device("late", host, "cisco_iosxe", port, EVERYWHERE)]
        for retries, status in ((0, Status.FAILED), (1, Status.CHECKED)):
            settings = CollectSettings(retries=retries)
            async with NetRaven.in_memory(devices, [], settings=settings) as raven:
                report: list[Outcome] = []
                await raven.run(what=What.REACHABILITY, on_outcome=report.append)
            assert [outcome.status for outcome in report] == [status], "the first connection was cut"
            await asyncio.sleep(0)
