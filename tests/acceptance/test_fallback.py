"""Credential fallback over a fleet, attempt by attempt, with the lab as the referee."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from netraven import RunStatus, Status
from netraven.lab import DIALECTS, Ill, Lab, LabDevice, fleet
from tests.acceptance.installation import Installation, credential

ORDER = ("first", "second", "third")


def expected_rate(verdicts: list[str]) -> float | None:
    """DESIGN.md, "Credential metrics", written down a second time."""
    rate: float | None = None
    for verdict in verdicts:
        if verdict == "no_verdict":
            continue
        accepted = verdict == "accepted"
        if rate is None:
            rate = 1.0 if accepted else 0.0
        else:
            rate = rate * 0.9 + (0.1 if accepted else 0.0)
    return rate


@pytest.mark.slow
async def test_a_thousand_devices_three_credentials(installation: Installation) -> None:
    """Shares 70/20/10 in priority order: 700 + 2 * 200 + 3 * 100 attempts, on both sides."""
    made = fleet(1_000, shares={"first": 0.7, "second": 0.2, "third": 0.1}, config_size=1_000)
    credentials = [
        credential(login.name, login.password, priority=(ORDER.index(login.name) + 1) * 10, realm="local")
        for login in made.logins
    ]
    opened_by = made.opened_by
    async with Lab(made.devices, shared_host_keys=16) as lab:
        await installation.stock(lab, credentials)
        async with installation.open(concurrency=100, strategy="priority") as raven:
            report = await raven.collect()
            connections = [entry async for entry in raven.store.logs.connections()]
            stored: dict[str, str] = {}
            for name in list(opened_by)[:: len(DIALECTS) + 1]:
                if capture := await raven.store.versions.current(name, "running"):
                    stored[name] = capture.text

        assert report.run.status is RunStatus.COMPLETE
        assert [o for o in report.outcomes if o.status is not Status.COLLECTED] == []
        assert report.run.counts.collected == 1_000
        assert report.run.counts.attempts == 1_400

        # the ledger and the wire tell the same story, device by device, in order
        ledger = await installation.attempts()
        assert len(ledger) == len(lab.log.attempts()) == 1_400
        on_record, on_wire = defaultdict(list), defaultdict(list)
        for row in ledger:
            on_record[row["device_name"]].append((row["credential_username"], row["verdict"]))
        for attempt in lab.log.attempts():
            on_wire[attempt.device].append((attempt.username, attempt.verdict))
        assert on_record == on_wire

        # nobody is offered anything twice, and nobody is asked once the door is open
        for name in opened_by:
            secrets = lab.log.secrets_seen(name)
            assert len(secrets) == len(set(secrets)), name
            assert [user for user, _ in on_wire[name]] == list(ORDER[: ORDER.index(opened_by[name]) + 1])

        for name, text in stored.items():
            assert lab.configuration(name).strip() in text, name
        assert len(stored) > 100

    # one connection log each, with the credential that opened the device
    assert len(connections) == 1_000
    for entry in connections:
        user = opened_by[entry["device"]]
        assert (entry["credential"], entry["credential_username"]) == (user, user)
        assert entry["retry_count"] == ORDER.index(user)
        assert entry["successful"] is True
    assert Counter(entry["retry_count"] for entry in connections) == {0: 700, 1: 200, 2: 100}

    metrics = await installation.metrics()
    for name in ORDER:
        concluded = sorted(
            (row for row in ledger if row["credential_name"] == name),
            key=lambda row: str(row["concluded_at"]),
        )
        assert metrics[name].success_rate == pytest.approx(
            expected_rate([row["verdict"] for row in concluded]), abs=1e-9
        )
        assert metrics[name].attempts == len(concluded)
        assert metrics[name].successes == sum(row["verdict"] == "accepted" for row in concluded)
    assert {name: m.attempts for name, m in metrics.items()} == {"first": 1_000, "second": 300, "third": 100}


async def test_a_second_run_over_an_unchanged_fleet_stores_nothing(installation: Installation) -> None:
    """Two dialects print the time of day above their output; a later issue normalises that away."""
    dialects = sorted(set(DIALECTS) - {"cisco_iosxr", "cisco_nxos"})
    made = fleet(30, shares={"first": 0.7, "second": 0.3}, dialects=dialects, config_size=2_000)
    async with Lab(made.devices) as lab:
        await installation.stock(lab, [credential(login.name, login.password) for login in made.logins])
        async with installation.open() as raven:
            first = await raven.collect()
            kept = await installation.count("blobs"), await installation.count("snapshots")
            second = await raven.collect()

            assert {outcome.changed for outcome in first.outcomes} == {True}
            assert {outcome.changed for outcome in second.outcomes} == {False}
            assert {o.device.name: o.snapshot for o in first.outcomes} == {
                o.device.name: o.snapshot for o in second.outcomes
            }
            assert (await installation.count("blobs"), await installation.count("snapshots")) == kept

            # and one device that did change is seen to have changed, alone
            name = made.devices[0].name
            await lab.update(name, config_size=3_000)
            third = await raven.collect()
            assert [o.device.name for o in third.outcomes if o.changed] == [name]
            assert await installation.count("blobs") == kept[0] + 1


async def test_when_every_credential_is_refused_the_device_fails_and_says_so(
    installation: Installation,
) -> None:
    device = LabDevice("r1", accepts={}, ill=Ill("refuses"))
    async with Lab([device]) as lab:
        await installation.stock(
            lab, [credential(name, f"word-{name}", priority=n) for n, name in enumerate(ORDER)]
        )
        async with installation.open() as raven:
            (outcome,) = (await raven.collect()).outcomes
        assert [attempt.username for attempt in lab.log.attempts()] == list(ORDER)
    assert (outcome.status, outcome.reason) == (Status.FAILED, "auth_refused")
    assert outcome.detail == "credentials exhausted (3 offered)"
    assert (outcome.attempts, outcome.retry_count) == (3, 2)
    assert await installation.rates() == dict.fromkeys(ORDER, 0.0)


async def test_a_login_that_is_asked_again_in_the_same_exchange_is_one_attempt_per_credential(
    installation: Installation,
) -> None:
    """Keyboard-interactive servers ask anew after a wrong answer; some offer both methods. Still once each."""
    devices = [
        LabDevice("asks", accepts={"second": "b"}, auth=("keyboard-interactive",), ill=Ill("kbdint_retry")),
        LabDevice("both", accepts={"second": "b"}, auth=("password", "keyboard-interactive")),
        LabDevice("cuts", accepts={"second": "b"}, ill=Ill("disconnect_at_login")),
    ]
    async with Lab(devices) as lab:
        await installation.stock(
            lab,
            [
                credential("first", "a", priority=1, realm="local"),
                credential("second", "b", priority=2, realm="local"),
            ],
        )
        async with installation.open(strategy="priority") as raven:
            report = await raven.collect()
        seen = {d.name: [(a.username, a.password) for a in lab.log.attempts(d.name)] for d in devices}
    once_each = [("first", "a"), ("second", "b")]
    assert seen == {"asks": once_each, "both": once_each, "cuts": once_each}
    assert {o.device.name: (o.status, o.retry_count) for o in report.outcomes} == dict.fromkeys(
        seen, (Status.COLLECTED, 1)
    )
