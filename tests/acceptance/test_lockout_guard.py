"""Never a locked account: fleets behind an AAA service that counts refusals, with the lab as the referee.

The service locks a user after five refusals in a row, for the rest of the test, and says so.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from netraven import NetRaven, RunReport
from netraven.config import RealmSettings
from netraven.lab import AAA, Ill, Lab, LabDevice
from netraven.model import Credential, Secret, utcnow
from tests.acceptance.installation import EVERYWHERE, TAG, Installation, credential
from tests.acceptance.processes import collecting

FLEET = 2_000
CONCURRENCY = 500
OLD = Credential("svc-old", "svc", "old", EVERYWHERE, priority=1)
NEW = Credential("svc-new", "svc", "new", EVERYWHERE, priority=2)

pytestmark = pytest.mark.slow


def fleet(accepts: Iterable[Mapping[str, str]], **more: object) -> list[LabDevice]:
    return [
        LabDevice(f"r{n:05}", accepts=opens, tags=(TAG, f"half{n % 2}"), config_size=500, **more)  # type: ignore[arg-type]  # fields by name
        for n, opens in enumerate(accepts)
    ]


def shared_out(shares: Mapping[str, int]) -> list[Mapping[str, str]]:
    """A device for each share of each user, shuffled; a user's password is ``of`` and its name."""
    users = [user for user, number in shares.items() for _ in range(number)]
    random.Random(5).shuffle(users)
    return [{user: f"of {user}"} if user else {} for user in users]


@asynccontextmanager
async def behind(
    aaa: AAA, devices: list[LabDevice], installation: Installation, credentials: Iterable[Credential]
) -> AsyncIterator[Lab]:
    lab = Lab(devices, aaa=aaa, addressing="address", one_listener=True, shared_host_keys=8)
    async with lab:
        await installation.stock(lab, credentials)
        yield lab


@asynccontextmanager
async def opened(
    installation: Installation, *, realm: RealmSettings | None = None
) -> AsyncIterator[NetRaven]:
    """With room for the whole fleet, and the credentials' realm as a test has it."""
    settings = installation.settings
    collect = replace(settings.collect, concurrency=CONCURRENCY)
    realms = {} if realm is None else {"default": realm}
    async with NetRaven.open(replace(settings, collect=collect, realms=realms)) as raven:
        yield raven


def reasons(report: RunReport) -> Counter[str | None]:
    return Counter(outcome.reason for outcome in report.outcomes)


async def ledger_agrees(lab: Lab, installation: Installation) -> None:
    """What reached the devices is what is on record, device by device, in order."""
    on_wire = [(a.device, a.username, a.verdict) for a in lab.log.attempts()]
    on_record = [
        (row["device_name"], row["credential_username"], row["verdict"])
        for row in await installation.attempts()
    ]
    known = {"unanswered": "no_verdict"}
    assert Counter((d, u, known.get(v or "", v)) for d, u, v in on_wire) == Counter(on_record)


async def test_a_rotated_password_costs_three_refusals_at_most(installation: Installation) -> None:
    aaa = AAA(5)
    async with behind(aaa, fleet([{"svc": "new"}] * FLEET), installation, [OLD, NEW]) as lab:
        async with opened(installation) as raven:
            report = await raven.collect()
            assert report.run.counts.collected == FLEET
            assert aaa.refusals <= 3
            connections = lab.log.counts()["connect"]
            assert connections <= FLEET + 10, "old and new password are offered on one connection"
            again = await raven.collect()
        assert aaa.lockouts == ()
        assert again.run.counts.attempts == FLEET, "the second run is right at once"
        await ledger_agrees(lab, installation)


async def test_a_wrong_password_costs_four_refusals_at_most(installation: Installation) -> None:
    aaa, many = AAA(5), 10_000
    async with (
        behind(aaa, fleet([{"svc": "new"}] * many), installation, [OLD]),
        opened(installation) as raven,
    ):
        report = await raven.collect()
        (held,) = [entry async for entry in _held(raven)]
    assert aaa.lockouts == ()
    assert aaa.refusals <= 4
    assert report.run.counts.collected == 0
    assert reasons(report) == {"auth_refused": aaa.refusals, "credentials_held": many - aaa.refusals}
    assert "svc-old is held" in next(
        o.detail or "" for o in report.outcomes if o.reason == "credentials_held"
    )
    assert held > 3_000, "seconds: an hour"


async def _held(raven: NetRaven) -> AsyncIterator[float]:
    for state in (await raven.store.guard_book.states()).values():
        for secret in state["secrets"].values():
            yield secret["hold"]


async def test_a_mixed_fleet_is_collected_in_one_run_and_known_in_the_second(
    installation: Installation,
) -> None:
    aaa = AAA(5)
    accepts = shared_out({"a": FLEET // 2, "b": FLEET * 3 // 10, "c": FLEET // 5})
    credentials = [credential(user, f"of {user}", priority=n) for n, user in enumerate("abc")]
    async with behind(aaa, fleet(accepts), installation, credentials) as lab:
        async with opened(installation) as raven:
            first = await raven.collect()
            assert first.run.counts.collected == FLEET
            await ledger_agrees(lab, installation)
            lab.log.clear()
            second = await raven.collect()
        assert second.run.counts.collected == FLEET
        assert len(lab.log.attempts()) <= FLEET * 1.01
    assert aaa.lockouts == ()


async def test_devices_that_accept_nothing_do_not_stop_the_others(installation: Installation) -> None:
    aaa, dead = AAA(5), 60
    devices = fleet([{"svc": "new"} if n % 10 else {} for n in range(10 * dead)])
    async with behind(aaa, devices, installation, [NEW]) as lab:
        async with opened(installation) as raven:
            first = await raven.collect()
            assert first.run.counts.collected == 9 * dead
            lab.log.clear()
            second = await raven.collect()
        assert (second.run.counts.collected, second.run.counts.skipped) == (9 * dead, dead)
        assert {a.verdict for a in lab.log.attempts()} == {"accepted"}, "nothing is offered again in vain"
    assert aaa.lockouts == ()


@pytest.mark.parametrize("runs_before", [0, 1], ids=["first run", "proven fleet"])
async def test_a_password_that_changes_in_the_middle(installation: Installation, runs_before: int) -> None:
    aaa, number = AAA(5), 600
    async with (
        behind(aaa, fleet([{"svc": "old"}] * number), installation, [OLD, NEW]) as lab,
        opened(installation) as raven,
    ):
        for _ in range(runs_before):
            await raven.collect()
        lab.log.clear()
        run = asyncio.create_task(raven.collect())
        await until(lambda: len(lab.log.attempts()) > number // 2)
        lab.set_password("svc", "new")
        report = await run
    assert aaa.lockouts == ()
    assert report.run.counts.collected == number
    assert aaa.refusals <= 4


async def test_adaptive_risks_what_is_in_flight_and_no_more(installation: Installation) -> None:
    aaa, number, most = AAA(5, answer_delay=0.02), 600, 20
    realm = RealmSettings(mode="adaptive", max_logins_in_flight=most)
    async with (
        behind(aaa, fleet([{"svc": "old"}] * number), installation, [OLD, NEW]) as lab,
        opened(installation, realm=realm) as raven,
    ):
        await raven.collect()
        lab.log.clear()
        run = asyncio.create_task(raven.collect())
        await until(lambda: len(lab.log.attempts()) > number // 2)
        lab.set_password("svc", "new")
        await run
    assert 0 < aaa.refusals <= most


@pytest.mark.parametrize("mode", ["refuse_all", "silent"])
@pytest.mark.parametrize("runs_before", [0, 1], ids=["first run", "proven fleet"])
async def test_a_service_in_trouble_is_paused_and_not_held_against_its_credentials(
    installation: Installation, mode: str, runs_before: int
) -> None:
    aaa, number = AAA(5), 300
    installation.configure(replace(installation.settings.collect, retries=1, login_timeout=2.0))
    async with (
        behind(aaa, fleet([{"svc": "new"}] * number), installation, [NEW]) as lab,
        opened(installation, realm=RealmSettings(window=10.0)) as raven,
    ):
        for _ in range(runs_before):
            await raven.collect()
        lab.log.clear()
        before = (await raven.store.vault.get("svc-new")).metrics.success_rate
        run = asyncio.create_task(raven.collect())
        await until(lambda: len(lab.log.attempts()) > number // 2)
        aaa.mode = mode  # type: ignore[assignment]  # one of the two
        await asyncio.sleep(4.0)
        aaa.mode = "normal"
        report = await run
        said = [entry async for entry in raven.store.logs.job() if entry["message"] == "realm_paused"]
        rate = (await raven.store.vault.get("svc-new")).metrics.success_rate
    assert report.run.counts.collected == number
    assert aaa.lockouts == ()
    assert rate == pytest.approx(1.0)
    assert before in (None, pytest.approx(1.0))
    assert said
    assert said[0]["data"]["realm"] == "default"


async def test_each_device_of_a_local_realm_counts_for_itself(installation: Installation) -> None:
    aaa = AAA(5, central=False)
    accepts = shared_out({"a": 250, "b": 150, "c": 100, "": 20})
    credentials = [credential(u, f"of {u}", priority=n, realm="local") for n, u in enumerate("abc")]
    async with behind(aaa, fleet(accepts), installation, credentials) as lab:
        async with opened(installation) as raven:
            first = await raven.collect(strategy="priority")
            assert first.run.counts.collected == 500
            assert lab.peak_sessions > 50, "nobody waits for a permit"
            second = await raven.collect(strategy="priority")
            assert second.run.counts.collected == 500
        for device in lab.devices:
            secrets = lab.log.secrets_seen(device.name)
            refused = [s for s in secrets if s not in device.accepts.values()]
            assert len(refused) == len(set(refused)), device.name
    assert aaa.lockouts == ()


async def test_two_processes_share_what_they_may_risk(any_installation: Installation) -> None:
    installation, aaa, number = any_installation, AAA(5), 400
    installation.configure(replace(installation.settings.collect, concurrency=CONCURRENCY))
    async with behind(aaa, fleet([{"svc": "new"}] * number), installation, [OLD, NEW]) as lab:
        async with (
            collecting(installation, "--tag", "half0", "--json") as one,
            collecting(installation, "--tag", "half1", "--json") as other,
        ):
            ended = [await one.end(), await other.end()]
        assert [e.code for e in ended] == [0, 0], [e.err for e in ended]
        assert sum(e.json["counts"]["collected"] for e in ended) == number
        await ledger_agrees(lab, installation)
    assert aaa.lockouts == ()
    assert aaa.refusals <= 3


async def test_what_a_killed_process_had_in_flight_counts_as_refused(
    any_installation: Installation, tmp_path: Path
) -> None:
    """Three logins hang when it dies: whoever comes next may send one secret, alone, to find out how things are."""
    installation, aaa = any_installation, AAA(5)
    devices = fleet([{"svc": "new"}] * 40)
    devices = [replace(d, ill=Ill("hung_login")) if "half1" in d.tags else d for d in devices]
    async with behind(aaa, devices, installation, [NEW]) as lab:
        async with opened(installation) as raven:
            await raven.collect(tags={"half0"})
        lab.log.clear()
        async with collecting(installation, "--tag", "half1") as dying:
            await until(lambda: len(lab.log.attempts()) >= 3)
            await asyncio.sleep(0.2)
            assert len(lab.log.attempts()) == 3, "the budget is out, nothing more is sent"
            dying.send(signal.SIGKILL)
            await dying.end()
        lab.log.clear()
        async with opened(installation) as raven:
            report = await raven.collect(tags={"half0"})
        first, second = lab.log.attempts()[:2]
        assert (first.verdict, report.run.counts.collected) == ("accepted", 20)
        assert first.answered_at is not None
        assert second.offered_at >= first.answered_at, "one alone, until it has succeeded"
        (control, *_) = [
            row for row in await installation.attempts(report.run.id) if row["reason"].startswith("control")
        ]
        assert control["verdict"] == "accepted"
    assert aaa.lockouts == ()


async def test_break_glass_is_for_when_the_service_does_not_answer(installation: Installation) -> None:
    aaa = AAA(5)
    glass = Credential("glass", "emergency", "of emergency", EVERYWHERE, realm="local", when="aaa-down")
    installation.configure(replace(installation.settings.collect, login_timeout=1.0, patience=1.0))
    accepts = {"svc": "new", "emergency": "of emergency"}
    async with (
        behind(aaa, fleet([accepts] * 6), installation, [NEW, glass]) as lab,
        opened(installation) as raven,
    ):
        await raven.collect()
        assert {a.username for a in lab.log.attempts()} == {"svc"}
        for device in lab.devices:  # the service answers for nobody but the device's own user
            await lab.update(device.name, ill=Ill("hung_login", times=1))
        report = await raven.collect()
    assert report.run.counts.collected == 6
    assert {o.credential.name for o in report.outcomes if o.credential is not None} <= {"glass", "svc-new"}
    assert "emergency" in {a.username for a in lab.log.attempts()}


async def until(true: Callable[[], bool], wait: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
    async with asyncio.timeout(60):
        while not true():
            await wait(0.005)


async def test_another_user_shows_that_the_realm_is_well_and_the_password_is_not(
    installation: Installation,
) -> None:
    """One user's password was changed where nobody told NetRaven; a second user of the same service still works."""
    aaa, number = AAA(5), 60
    spare = credential("spare", "of spare", priority=2)
    only = replace(NEW, name="svc", priority=1)
    accepts = {"svc": "new", "spare": "of spare"}
    async with (
        behind(aaa, fleet([accepts] * number), installation, [only, spare]) as lab,
        opened(installation) as raven,
    ):
        await raven.collect()
        lab.set_password("svc", "changed by somebody")
        report = await raven.collect()
        (state,) = [s for a, s in (await raven.store.guard_book.states()).items() if a[1] == "svc"]
    assert aaa.lockouts == ()
    assert report.run.counts.collected == number
    assert aaa.refusals <= 4
    assert [secret["hold"] > 0 for secret in state["secrets"].values()] == [True]


@pytest.mark.parametrize("already_changed", [True, False], ids=["changed everywhere", "not yet changed"])
async def test_a_new_version_goes_to_canaries_first_and_the_previous_one_is_the_fallback(
    installation: Installation, already_changed: bool
) -> None:
    """`credential update --keep-previous`, before or after the service has the new password."""
    aaa, number = AAA(5), 120
    svc = replace(NEW, name="svc")
    async with (
        behind(aaa, fleet([{"svc": "new"}] * number), installation, [svc]) as lab,
        opened(installation) as raven,
    ):
        await raven.collect()
        until_then = utcnow() + timedelta(days=7)
        await raven.store.vault.update("svc", secret=Secret(password="newer"), keep_until=until_then)
        if already_changed:
            lab.set_password("svc", "newer")
        lab.log.clear()
        report = await raven.collect()
        offered = [a.password for a in lab.log.attempts()]
        assert report.run.counts.collected == number
        assert offered[0] == "newer"
        assert aaa.refusals == (0 if already_changed else 2)
        assert offered.count("newer") == (number if already_changed else 2)
        lab.set_password("svc", "newer")
        lab.log.clear()
        report = await raven.collect()
        assert report.run.counts.collected == number
    assert aaa.lockouts == ()
    assert aaa.refusals <= 8
