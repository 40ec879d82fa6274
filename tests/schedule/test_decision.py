"""What becomes of due times: coalescing, grace, clocks that jump."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netraven.model import Job, JobStanding, Origin, Schedule
from netraven.schedule.decision import MOST_COUNTED, Fire, Missed, Nothing, decide, first_due
from netraven.schedule.due import Due, jitter_of, next_due
from tests.schedule.oracle import due_times, utc

HOUR = timedelta(hours=1)
START = utc(2026, 3, 1, 12)


@dataclass
class Desk:
    """A job on record, as the scheduler leads it; only what was decided is kept."""

    job: Job
    now: datetime
    fired: list[datetime] = field(default_factory=list)
    missed: list[datetime] = field(default_factory=list)
    counted: int = 0
    """Due times that were accounted for: run, missed, or gone by before."""

    def __post_init__(self) -> None:
        due = first_due(self.job, self.now)
        self.standing = JobStanding(
            1,
            self.job,
            Origin.COMMAND,
            self.now,
            self.now,
            *((due.due_at, due.run_at) if due else (None, None)),
        )

    def look(self, now: datetime | None = None) -> Fire | Missed | Nothing:
        self.now = now or self.now
        decision = decide(self.standing, self.now)
        times = (decision.next.due_at, decision.next.run_at) if decision.next else (None, None)
        self.standing = replace(self.standing, due_at=times[0], next_run_at=times[1])
        if isinstance(decision, Nothing):
            if decision.forget:
                self.standing = replace(self.standing, last_due_at=None)
            return decision
        (self.fired if isinstance(decision, Fire) else self.missed).append(decision.due_at)
        self.counted += 1 + decision.missed
        self.standing = replace(self.standing, last_due_at=decision.due_at)
        return decision


def daily(**more: object) -> Job:
    return Job("nightly", schedule=Schedule(cron="0 2 * * *", **more))  # type: ignore[arg-type]  # whatever a schedule has


def hourly(**more: object) -> Job:
    return Job("hourly", schedule=Schedule(every=3600.0, **more))  # type: ignore[arg-type]  # whatever a schedule has


def test_it_is_run_when_it_is_due_and_not_before() -> None:
    desk = Desk(daily(), START)
    assert isinstance(desk.look(utc(2026, 3, 2, 1, 59, 59)), Nothing)
    assert desk.look(utc(2026, 3, 2, 2)) == Fire(
        utc(2026, 3, 2, 2), None, 0, next_due(daily(), utc(2026, 3, 2, 2))
    )
    assert isinstance(desk.look(), Nothing)
    assert desk.standing.due_at == utc(2026, 3, 3, 2)


def test_missed_times_coalesce_into_the_latest_one() -> None:
    desk = Desk(hourly(), START)
    decision = desk.look(START + 5 * HOUR + timedelta(minutes=59))
    assert isinstance(decision, Fire)
    assert (decision.due_at, decision.missed) == (START + 5 * HOUR, 4)


def test_what_is_too_late_is_missed() -> None:
    desk = Desk(daily(grace=3600.0), START)
    decision = desk.look(utc(2026, 3, 4, 3, 0, 1))
    assert isinstance(decision, Missed)
    assert (decision.due_at, decision.missed) == (utc(2026, 3, 4, 2), 2)
    assert desk.standing.due_at == utc(2026, 3, 5, 2)
    assert isinstance(Desk(daily(), START).look(utc(2026, 3, 4, 3)), Fire), "the last moment of its grace"


def test_grace_is_counted_from_when_the_run_was_to_start() -> None:
    job = daily(grace=1.0, jitter=7200.0)
    jitter = jitter_of(job)
    assert jitter > timedelta(minutes=10)
    desk = Desk(job, START)
    assert isinstance(desk.look(utc(2026, 3, 2, 2) + jitter - timedelta(seconds=1)), Nothing)
    assert isinstance(desk.look(utc(2026, 3, 2, 2) + jitter), Fire)


def test_a_run_that_would_have_to_be_finished_already_is_missed() -> None:
    job = daily(grace=86_000.0, start_after="01:00", finish_by="05:00")
    early, late = Desk(job, START), Desk(job, START)
    decision = early.look(utc(2026, 3, 2, 4, 59))
    assert isinstance(decision, Fire)
    assert decision.finish_by == utc(2026, 3, 2, 5)
    assert isinstance(late.look(utc(2026, 3, 2, 5)), Missed)


def test_what_is_switched_off_or_run_by_hand_is_never_due() -> None:
    assert decide(Desk(replace(hourly(), enabled=False), START).standing, START + 9 * HOUR) == Nothing(None)
    assert decide(Desk(Job("hand"), START).standing, START + 9 * HOUR) == Nothing(None)


def test_once_is_over_after_it_was_run() -> None:
    desk = Desk(Job("once", schedule=Schedule(at=START + HOUR)), START)
    assert isinstance(desk.look(START + HOUR), Fire)
    assert desk.standing.due_at is None
    assert desk.look(START + 9 * HOUR) == Nothing(None)


# Clocks


def test_a_clock_that_goes_back_an_hour_runs_nothing_twice() -> None:
    desk = Desk(hourly(), START)
    desk.look(START + HOUR)
    desk.look(START + 2 * HOUR)
    for minutes in range(-60, 65):  # back at START + 1 h
        desk.look(START + 2 * HOUR + timedelta(minutes=minutes))
    assert desk.fired == [START + HOUR, START + 2 * HOUR, START + 3 * HOUR]
    assert desk.missed == []


def test_an_edit_while_the_clock_is_behind_runs_nothing_twice() -> None:
    due = first_due(hourly(), START + HOUR, last_due_at=START + 2 * HOUR)
    assert due is not None
    assert due.due_at == START + 3 * HOUR


def test_a_clock_that_goes_forward_an_hour_runs_what_it_leapt_over_once() -> None:
    desk = Desk(Job("often", schedule=Schedule(every=600.0)), START)
    desk.look(START + timedelta(minutes=70))
    assert desk.fired == [START + timedelta(minutes=70)]
    assert desk.counted == 7


def test_a_clock_that_was_a_year_ahead_is_forgotten() -> None:
    desk = Desk(daily(), START)
    desk.look(START + timedelta(days=365))
    assert len(desk.missed) == 1
    assert desk.standing.due_at is not None
    assert desk.standing.due_at > START + timedelta(days=365)
    decision = desk.look(START + timedelta(minutes=1))  # set right
    assert isinstance(decision, Nothing)
    assert decision.forget
    assert desk.standing.due_at == utc(2026, 3, 2, 2)
    assert isinstance(desk.look(utc(2026, 3, 2, 2)), Fire)


def test_a_change_while_only_the_jitter_puts_a_run_off_does_not_lose_it() -> None:
    job = Job("j", schedule=Schedule(cron="0 2 * * *", jitter=7200.0))
    due, jitter = utc(2026, 3, 2, 2), jitter_of(job)
    assert jitter > timedelta(minutes=10)
    between, yesterday = due + timedelta(minutes=10), due - timedelta(days=1)
    assert first_due(job, between, yesterday) == Due(due, due + jitter)
    assert first_due(job, between) == Due(due, due + jitter)
    assert first_due(job, between, due) == Due(due + timedelta(days=1), due + timedelta(days=1) + jitter)
    assert first_due(job, due + jitter, yesterday) == Due(
        due + timedelta(days=1), due + timedelta(days=1) + jitter
    )


def test_a_job_that_was_defined_while_the_clock_was_a_year_ahead_is_due_in_time() -> None:
    desk = Desk(daily(), START + timedelta(days=365))
    desk.look(START)
    assert desk.standing.due_at == utc(2026, 3, 2, 2)


def test_a_clock_that_was_a_year_behind_runs_the_latest_time_only() -> None:
    desk = Desk(daily(), START - timedelta(days=365))
    assert isinstance(desk.look(utc(2026, 3, 2, 2, 30)), Fire)
    assert desk.fired == [utc(2026, 3, 2, 2)]
    assert desk.counted == 366


jumps = st.lists(
    st.one_of(
        st.integers(1, 3600),
        st.sampled_from((-3600, 3600, -7200, 5 * 3600, -60, 1, 30)),
    ),
    max_size=80,
)


@settings(max_examples=150, deadline=None)
@given(
    steps=jumps, every=st.sampled_from((60.0, 600.0, 3600.0, 7000.0)), jitter=st.sampled_from((0.0, 900.0))
)
def test_however_the_clock_goes_no_due_time_is_taken_twice_and_they_come_in_order(
    steps: list[int], every: float, jitter: float
) -> None:
    job = Job("j", schedule=Schedule(every=every, jitter=jitter, grace=1200.0))
    desk = Desk(job, START)
    latest = START
    for step in steps:
        now = max(desk.now + timedelta(seconds=step), latest - timedelta(hours=20))
        latest = max(latest, now)
        before = len(desk.fired) + len(desk.missed)
        desk.look(now)
        taken = len(desk.fired) + len(desk.missed) - before
        if taken and desk.fired and desk.fired[-1] == desk.standing.last_due_at:
            assert now - desk.fired[-1] - jitter_of(job) <= timedelta(seconds=1200)
            assert desk.fired[-1] + jitter_of(job) <= now
        assert desk.standing.next_run_at is not None
        assert desk.standing.next_run_at > now, "one look takes all that is due"
    taken_times = sorted(desk.fired + desk.missed)
    assert len(set(taken_times)) == len(taken_times)
    assert desk.fired == sorted(desk.fired)
    # Every due time up to the latest moment is accounted for: run, missed, or gone by with one of these.
    all_times = int((latest - jitter_of(job) - utc(1970, 1, 1)).total_seconds() // every)
    known = int((START - jitter_of(job) - utc(1970, 1, 1)).total_seconds() // every)
    assert desk.counted == max(all_times - known, 0)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe"])
def test_looking_each_minute_over_a_change_of_clocks_runs_what_the_oracle_says(zone: str) -> None:
    place = ZoneInfo(zone)
    for start in (utc(2024, 3, 30), utc(2024, 10, 26), utc(2024, 10, 5), utc(2024, 4, 6)):
        desk = Desk(Job("j", schedule=Schedule(cron="30 1,2 * * *", zone=zone)), start)
        end = start + timedelta(days=2)
        while desk.now < end:
            desk.look(desk.now + timedelta(seconds=60))
        assert desk.fired == due_times("30 1,2 * * *", place, start, end)


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(cron="* * * * *", zone="Europe/Berlin"),
        Schedule(cron="* * * 1 *", zone="America/New_York"),
        Schedule(every=1.0),
        Schedule(cron="*/5 * * * *", start_after="22:00", finish_by="23:00"),
    ],
)
def test_years_without_a_look_cost_no_walk_through_them(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    from netraven.schedule import due

    looks = 0
    plain: Callable[[due.Calendar, datetime], object] = due.Calendar.next

    def counted(self: due.Calendar, after: datetime) -> object:
        nonlocal looks
        looks += 1
        return plain(self, after)

    monkeypatch.setattr(due.Calendar, "next", counted)
    job = Job("j", schedule=schedule)
    standing = Desk(job, START).standing
    now = START + timedelta(days=1500, seconds=17)
    decision = decide(standing, now)
    assert isinstance(decision, Fire | Missed)
    assert decision.missed == MOST_COUNTED
    assert looks < MOST_COUNTED + 50
    monkeypatch.undo()
    following = next_due(job, decision.due_at)
    assert decision.next == following
    assert following is not None
    assert following.run_at > now >= decision.due_at
