"""What the database knows gets into the metrics, and a lost database is told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from netraven.credentials.holds import Standing
from netraven.credentials.lockout import Policy
from netraven.credentials.moments import Moment
from netraven.daemon import figures
from netraven.daemon.figures import Known, Refresher
from netraven.daemon.metrics import Metrics
from netraven.errors import DatabaseError
from netraven.model import Figures, HookStanding, RunDue
from tests.virtual_time import in_virtual_time, now

AT = datetime(2026, 11, 24, 2, tzinfo=UTC)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"netraven_{name}", labels)


def well(refresher: Refresher) -> bool:
    return refresher.problem is None


def standing() -> Standing:
    def rules(realm: str) -> Policy:
        return Policy(local=realm == "local")

    refused = {"refusals": [[1, [AT.timestamp(), 1.0, ""], False]]}
    states = {("tacacs", "netops"): refused, ("tacacs", "backup"): {}, ("local", "admin"): {}}
    return Standing(states, {}, rules=rules, now=Moment(AT.timestamp(), 1.0))


def known() -> Known:
    return Known(
        Figures(
            devices={"1h": 5, "24h": 1, "7d": 0, "older": 0, "never": 2},
            runs={"queued": 1, "running": 2},
            due=(RunDue("nightly", AT, AT + timedelta(hours=1)), RunDue("hourly", None, None)),
            jobs=3,
            overdue=1,
            next_run_at=AT,
        ),
        standing(),
        [("tacacs", "netops"), ("tacacs", "backup"), ("local", "admin")],
        [HookStanding("chat", waiting=4)],
        {"tacacs": {}},
    )


def test_every_value_is_shown() -> None:
    metrics = Metrics("1")
    figures.show(metrics, known())
    assert value(metrics, "devices", freshness="never") == 2
    assert value(metrics, "runs", state="running") == 2
    assert value(metrics, "job_eta_timestamp_seconds", job_name="nightly") == AT.timestamp()
    assert value(metrics, "job_finish_by_timestamp_seconds", job_name="nightly") == AT.timestamp() + 3600
    assert value(metrics, "job_eta_timestamp_seconds", job_name="hourly") is None
    assert (value(metrics, "jobs_enabled"), value(metrics, "jobs_overdue")) == (3, 1)
    assert value(metrics, "hook_deliveries_waiting", hook="chat") == 4
    assert value(metrics, "realm_paused", realm="tacacs") == 1
    assert value(metrics, "account_refusals_left", realm="tacacs", username="netops") == 2
    assert value(metrics, "account_refusals_left", realm="tacacs", username="backup") == 3
    assert value(metrics, "account_refusals_left", realm="local", username="admin") is None
    assert value(metrics, "database_up") == 1


def test_what_is_gone_shows_no_old_value() -> None:
    metrics = Metrics("1")
    figures.show(metrics, known())
    figures.show(metrics, Known(Figures(), standing()))
    assert value(metrics, "job_eta_timestamp_seconds", job_name="nightly") is None
    assert value(metrics, "realm_paused", realm="tacacs") is None
    assert value(metrics, "hook_deliveries_waiting", hook="chat") is None


@in_virtual_time
async def test_a_lost_database_is_told_and_asked_again_soon() -> None:
    metrics, asked = Metrics("1"), []
    fault: Exception | None = None

    async def look() -> Known:
        asked.append(now())
        if fault is not None:
            raise fault
        return known()

    refresher = Refresher(look, metrics, clock=now)
    assert not well(refresher)
    refreshing = asyncio.create_task(refresher.run())
    await asyncio.sleep(16)
    assert asked == [0, 15]
    assert well(refresher)
    fault = DatabaseError("database x: the connection to the server was lost")
    await asyncio.sleep(15)
    assert refresher.problem == str(fault)
    assert value(metrics, "database_up") == 0
    assert value(metrics, "runs", state="running") == 2, "the last that was known is still shown"
    fault = None
    await asyncio.sleep(2)
    assert asked == [0, 15, 30, 32]
    assert well(refresher)
    refreshing.cancel()
    await asyncio.wait([refreshing])


@in_virtual_time
async def test_a_database_that_never_answers_is_lost_too() -> None:
    async def look() -> Known:
        await asyncio.sleep(10_000)
        return known()

    refresher = Refresher(look, Metrics("1"), clock=now)
    await refresher.refresh()
    assert now() == figures.SILENCE
    assert refresher.problem == "the database did not answer in time"


@in_virtual_time
async def test_looks_that_take_long_are_rare() -> None:
    asked = []

    async def look() -> Known:
        asked.append(now())
        await asyncio.sleep(2)
        return known()

    refreshing = asyncio.create_task(Refresher(look, Metrics("1"), clock=now).run())
    await asyncio.sleep(100)
    refreshing.cancel()
    await asyncio.wait([refreshing])
    assert asked == [0, 42, 84]
