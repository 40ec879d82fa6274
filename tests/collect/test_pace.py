"""When a run will be done; which devices are dead; what is taken down of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from netraven.collect.breaker import Breaker
from netraven.collect.eta import seconds_left, unfinished_at
from netraven.collect.standing import after, dead_in_row, usual_ms
from netraven.model import (
    Access,
    Device,
    DeviceFinished,
    DeviceStanding,
    Load,
    Outcome,
    Status,
    Target,
    What,
)

AT = datetime(2026, 3, 1, 4, tzinfo=UTC)
R1 = Device("r1", "192.0.2.1", "cisco_iosxe")


def of(devices: int, seconds: float) -> Load:
    load = Load()
    for _ in range(devices):
        load = load.with_one(seconds)
    return load


def test_before_anything_is_done_what_is_known_decides() -> None:
    assert seconds_left(of(100, 10.0), Load(), places=10, elapsed=0.0) == 100.0
    assert seconds_left(of(3, 10.0), Load(), places=10, elapsed=0.0) == 10.0
    unknown = Load(100)
    assert seconds_left(unknown, Load(), places=10, elapsed=0.0) is None
    half_known = of(50, 10.0)
    half_known = Load(100, half_known.known, half_known.seconds, half_known.longest)
    assert seconds_left(half_known, Load(), places=10, elapsed=0.0) == 100.0, "unknown ones as the average"
    slow = of(9, 1.0).with_one(300.0)
    assert seconds_left(slow, Load(), places=10, elapsed=50.0, slowest_first=True) == 250.0
    assert seconds_left(of(4, 1.0), of(4, 1.0), places=1, elapsed=9.0) == 0.0


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_estimate_comes_near_whatever_the_pace_is(factor: float) -> None:
    """Visits take ``factor`` times what they usually do: half-way through, the estimate is within a fifth."""
    places, usual, devices = 10, 10.0, 1000
    done = of(devices // 2, usual)
    elapsed = devices / 2 / places * usual * factor
    left = seconds_left(of(devices, usual), done, places=places, elapsed=elapsed, in_session=places)
    assert left == pytest.approx(elapsed, rel=0.2)


def test_the_first_device_that_is_done_does_not_frighten() -> None:
    left = seconds_left(Load(1000), Load(1), places=200, elapsed=10.0, in_session=200)
    assert left is None, "too early to say"
    left = seconds_left(Load(1000), Load(20), places=200, elapsed=10.0, in_session=200)
    assert left is not None
    assert left < 100.0, "those in session are half done"


def test_how_many_are_left_when_the_window_closes() -> None:
    assert unfinished_at(100, 50.0, 60.0) == 0
    assert unfinished_at(100, 100.0, 60.0) == 40
    assert unfinished_at(100, 100.0, -5.0) == 100
    assert unfinished_at(5, 100.0, 99.9) == 1


def outcome(status: Status, reason: str | None = None, attempts: int = 0) -> Outcome:
    return Outcome(R1, status, AT, 5_000, reason, attempts=attempts)


def test_a_device_is_dead_after_so_many_runs_in_a_row_and_alive_at_once() -> None:
    assert dead_in_row(2, outcome(Status.FAILED, "unreachable")) == 3
    assert dead_in_row(2, outcome(Status.FAILED, "unreachable", attempts=1)) == 0, "it had answered"
    assert dead_in_row(2, outcome(Status.FAILED, "host_key_changed")) == 0
    assert dead_in_row(2, outcome(Status.COLLECTED)) == 0
    assert dead_in_row(2, outcome(Status.CHECKED)) == 0
    for says_nothing in ("window_closed", "no_credentials", "interrupted"):
        assert dead_in_row(2, outcome(Status.SKIPPED, says_nothing)) == 2
    assert dead_in_row(2, outcome(Status.FAILED, "internal")) == 2


def test_a_dead_device_has_fewer_seconds_and_others_what_settings_say() -> None:
    breaker = Breaker(3, 2.0)
    alive, dead = Target(R1, dead_in_row=2, duration_ms=9_000), Target(R1, dead_in_row=3, duration_ms=9_000)
    assert not breaker.is_open(alive)
    assert breaker.way_to(alive, 10.0) == Access()
    assert breaker.usual_seconds(alive) == 9.0
    assert breaker.is_open(dead)
    assert breaker.way_to(dead, 10.0).connect_timeout == 2.0
    quick = Target(R1, access=Access(connect_timeout=1.0), dead_in_row=9)
    assert breaker.way_to(quick, 10.0).connect_timeout == 1.0
    assert breaker.usual_seconds(dead) == 2.0
    assert breaker.usual_seconds(Target(R1)) is None


def test_only_collecting_moves_freshness_and_only_what_went_well_the_duration() -> None:
    fresh = after(DeviceStanding("r1"), DeviceFinished(1, outcome(Status.COLLECTED), took_ms=1_000))
    done = AT + timedelta(seconds=5)
    assert fresh == DeviceStanding("r1", done, done, None, 0, 1_000)
    failed = after(fresh, DeviceFinished(1, outcome(Status.FAILED, "unreachable"), took_ms=9_000))
    assert (failed.collected_at, failed.reason, failed.dead_in_row) == (done, "unreachable", 1)
    assert failed.duration_ms == 1_000
    checked = after(failed, DeviceFinished(1, outcome(Status.CHECKED), what=What.REACHABILITY, took_ms=7))
    assert checked == DeviceStanding("r1", done, done, "unreachable", 0, 1_000)
    assert usual_ms(1_000, 2_000) == 1_300
