"""Due times against a slow oracle, over the changes of clocks in many zones."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from netraven.errors import InputError
from netraven.model import Job, Schedule
from netraven.schedule.cron import Cron
from netraven.schedule.due import Calendar, jitter_of, next_due
from netraven.schedule.window import Window
from tests.schedule.oracle import due_times, minutes, utc

ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour
    "America/Sao_Paulo",  # changed at midnight, until 2019
    "Asia/Kathmandu",  # +05:45
    "UTC",
    "Pacific/Apia",  # left out a day: 2011-12-30
    "Africa/Casablanca",  # back for Ramadan
)
LINES = (
    "30 2 * * *",
    "0 0 * * *",
    "*/10 * * * *",
    "15 * * * *",
    "45 1 * * *",
    "0 */2 * * *",
    "0,30 1-3 * * *",
    "*/20 2 * * 0",
    "59 23 31 12 *",
    "5 4 29 2 *",
    "0 3 1,15 * 1-5",
    "7 0-23/6 * 3,10,11 *",
    "* 2 * 3-4 *",
    "0-59 1-2 * * 0",
)
# Where the clocks of these zones change, in years that hold what is odd about them.
CHANGES = {
    "Europe/Berlin": ((2024, 3, 30), (2024, 10, 26)),
    "America/New_York": ((2025, 3, 8), (2025, 11, 1)),
    "Australia/Lord_Howe": ((2024, 10, 5), (2025, 4, 5)),
    "America/Sao_Paulo": ((2018, 11, 3), (2018, 2, 17)),
    "Asia/Kathmandu": ((2024, 1, 1), (1985, 12, 31)),
    "UTC": ((2024, 2, 28), (2024, 12, 31)),
    "Pacific/Apia": ((2011, 12, 29), (2021, 4, 3)),
    "Africa/Casablanca": ((2024, 3, 9), (2024, 4, 13)),
}


def walk(cron: Cron, start: datetime, end: datetime) -> list[datetime]:
    found: list[datetime] = []
    after = start
    while (moment := cron.next(after)) is not None and moment <= end:
        found.append(moment)
        after = moment
    return found


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("line", LINES)
def test_at_every_change_of_clocks_a_line_is_due_as_the_oracle_says(zone: str, line: str) -> None:
    place = ZoneInfo(zone)
    for year, month, day in CHANGES[zone]:
        start = utc(year, month, day)
        end = start + timedelta(days=4)
        assert walk(Cron(line, place), start, end) == due_times(line, place, start, end)


@pytest.mark.parametrize(
    ("zone", "line"),
    [
        ("Europe/Berlin", "30 2 * * *"),
        ("Australia/Lord_Howe", "0 */2 * * *"),
        ("Africa/Casablanca", "15 2-3 * * *"),
        ("America/Sao_Paulo", "0 0 * * *"),
    ],
)
def test_over_years(zone: str, line: str) -> None:
    place, start, end = ZoneInfo(zone), utc(2016, 12, 30), utc(2019, 12, 31)
    assert walk(Cron(line, place), start, end) == due_times(line, place, start, end)


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    # Of different ends: '5-5/2' is 5,7,9... to cronsim, as '5/2' is, and 5 to other crons.
    ends = st.tuples(number, number).filter(lambda pair: pair[0] != pair[1])
    span = ends.map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.builds("{}/{}".format, st.one_of(st.just("*"), span), st.integers(1, high))
    return st.one_of(
        st.just("*"), st.lists(st.one_of(number.map(str), span, step), min_size=1, max_size=3).map(",".join)
    )


lines = st.tuples(
    _field(0, 59), st.one_of(_field(0, 23), _field(0, 4)), _field(1, 31), _field(1, 12), _field(0, 7)
).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(line=lines, zone=st.sampled_from(ZONES), which=st.integers(0, 1), shift=st.integers(-1440, 1440))
def test_any_line_is_due_as_the_oracle_says(line: str, zone: str, which: int, shift: int) -> None:
    place = ZoneInfo(zone)
    start = utc(*CHANGES[zone][which]) + timedelta(minutes=shift)
    end = start + timedelta(days=2)
    assert walk(_cron_or_none(line, place), start, end) == due_times(line, place, start, end)


def _cron_or_none(line: str, place: ZoneInfo) -> Cron:
    try:
        return Cron(line, place)
    except InputError:  # 31 February
        reject()


@settings(max_examples=80, deadline=None)
@given(
    line=st.sampled_from(LINES),
    zone=st.sampled_from(ZONES),
    seconds=st.integers(0, 4 * 86_400),
    micros=st.integers(0, 999_999),
)
def test_from_any_moment_the_next_due_time_is_the_first_one_after_it(
    line: str, zone: str, seconds: int, micros: int
) -> None:
    place = ZoneInfo(zone)
    start = utc(*CHANGES[zone][0])
    moment = start + timedelta(seconds=seconds, microseconds=micros)
    expected = due_times(line, place, moment, start + timedelta(days=6))
    found = Cron(line, place).next(moment)
    assert found is not None
    assert found.second == found.microsecond == 0
    assert found == expected[0] if expected else found > start + timedelta(days=6)


def test_what_cron_8_says_of_both_changes_in_berlin() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    daily, hourly = Cron("30 2 * * *", berlin), Cron("30 * * * *", berlin)
    assert walk(daily, utc(2024, 3, 30, 12), utc(2024, 4, 1)) == [utc(2024, 3, 31, 1)]
    assert walk(daily, utc(2024, 10, 26, 12), utc(2024, 10, 28)) == [utc(2024, 10, 27, 0, 30)]
    assert walk(hourly, utc(2024, 10, 26, 23, 59), utc(2024, 10, 27, 2)) == [
        utc(2024, 10, 27, 0, 30),  # 02:30, summer
        utc(2024, 10, 27, 1, 30),  # 02:30, winter
    ]


@settings(max_examples=60, deadline=None)
@given(
    every=st.integers(60, 3 * 86_400),
    moments=st.lists(st.integers(0, 10**9), min_size=2, max_size=6),
)
def test_an_interval_does_not_drift_whenever_one_looks(every: int, moments: list[int]) -> None:
    job = Job("a", schedule=Schedule(every=every))
    for moment in moments:
        after = utc(2020, 1, 1) + timedelta(seconds=moment)
        due = next_due(job, after)
        assert due is not None
        assert after < due.due_at <= after + timedelta(seconds=every)
        assert (due.due_at - utc(1970, 1, 1)) % timedelta(seconds=every) == timedelta(0)


def test_once_is_once() -> None:
    job = Job("a", schedule=Schedule(at=utc(2040, 1, 1, 12)))
    due = next_due(job, utc(2026, 1, 1))
    assert due is not None
    assert due.due_at == utc(2040, 1, 1, 12)
    assert next_due(job, due.due_at) is None
    assert next_due(Job("by hand"), utc(2026, 1, 1)) is None


# Windows

times = st.one_of(st.none(), st.tuples(st.integers(0, 23), st.sampled_from((0, 15, 30, 59))))


@settings(max_examples=120, deadline=None)
@example(zone="Europe/Berlin", which=1, start=(2, 15), finish=None, jitter=0, line="*/15 * * * *")
@given(
    zone=st.sampled_from(ZONES),
    which=st.integers(0, 1),
    start=times,
    finish=times,
    jitter=st.sampled_from((0, 0, 90, 3600)),
    line=st.sampled_from(("*/15 * * * *", "30 2 * * *", "7 * * * *", "0,30 0-6 * * *")),
)
def test_only_what_runs_in_the_window_is_due(
    zone: str,
    which: int,
    start: tuple[int, int] | None,
    finish: tuple[int, int] | None,
    jitter: int,
    line: str,
) -> None:
    if start == finish:
        finish = None
    place = ZoneInfo(zone)
    schedule = Schedule(
        cron=line,
        zone=zone,
        jitter=jitter,
        start_after=None if start is None else "{:02}:{:02}".format(*start),
        finish_by=None if finish is None else "{:02}:{:02}".format(*finish),
    )
    job = Job("nightly", schedule=schedule)
    put_off = jitter_of(job)
    begin = utc(*CHANGES[zone][which])
    end = begin + timedelta(days=3)

    def is_open(moment: datetime) -> bool:
        shown = moment.astimezone(place)
        now = (shown.hour, shown.minute)
        if start is None:
            return True
        if finish is None:
            return now >= start
        return start <= now < finish if start < finish else now >= start or now < finish

    expected = [due for due in due_times(line, place, begin, end) if is_open(due + put_off)]
    found: list[datetime] = []
    calendar = Calendar(job)
    after = begin
    while (due := calendar.next(after)) is not None and due.due_at <= end:
        assert due.run_at == due.due_at + put_off
        found.append(due.due_at)
        after = due.due_at
    assert found == expected


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("finish", ["02:30", "00:00", "23:59", "05:00"])
def test_a_run_has_to_end_when_the_wall_clock_comes_to_it(zone: str, finish: str) -> None:
    """Shown twice, it counts twice: what is due between ends by the second one. Skipped, it counts when it is."""
    place = ZoneInfo(zone)
    at = time.fromisoformat(finish)
    calendar = Calendar(Job("a", schedule=Schedule(every=3600, zone=zone, finish_by=finish)))
    for change in CHANGES[zone]:
        start = utc(*change)
        reached = due_times(
            f"{at.minute} {at.hour} * * *", place, start - timedelta(days=1), start + timedelta(days=5)
        )
        for moment in minutes(start, start + timedelta(days=4)):
            if moment.astimezone(place).time() == at and moment not in reached:
                reached.append(moment)
        for due in minutes(start, start + timedelta(days=2)):
            if due.minute % 20 == 0:
                assert calendar.finish_by(due) == min(moment for moment in reached if moment > due)


def test_a_window_knows_when_it_opens() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    night = Window(berlin, time(22), time(2, 30))
    assert night.open_at(utc(2024, 10, 27, 0, 29))  # 02:29
    assert not night.open_at(utc(2024, 10, 27, 0, 30))  # 02:30, the first time
    assert night.opens_after(utc(2024, 10, 27, 0, 45)) == utc(2024, 10, 27, 1)  # put back: 02:00 again
    assert night.opens_after(utc(2024, 10, 27, 1, 45)) == utc(2024, 10, 27, 21)
    assert night.finish_after(utc(2024, 10, 27, 1)) == utc(2024, 10, 27, 1, 30)
    late = Window(berlin, time(2, 15))
    assert not late.open_at(utc(2024, 10, 27, 1))
    assert late.opens_after(utc(2024, 10, 27, 1)) == utc(2024, 10, 27, 1, 15)  # 02:15, the second time


# Jitter


def test_jitter_is_the_same_for_a_name_and_spread_over_names() -> None:
    def jitter(name: str, seconds: float = 600.0) -> float:
        return jitter_of(Job(name, schedule=Schedule(every=60, jitter=seconds))).total_seconds()

    assert jitter("nightly") == 526.0  # whatever process asks, today and tomorrow
    assert jitter("nightly", 0.0) == jitter("nightly", 0.5) == 0.0
    many = sorted(jitter(f"job{number}") for number in range(1000))
    assert many[0] >= 0
    assert many[-1] < 600
    assert max(b - a for a, b in pairwise(many)) < 12


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(cron="* * * * *", zone="Europe/Berlin", start_after="04:00", finish_by="04:01"),
        Schedule(cron="30 2 * * *", zone="UTC", start_after="03:00", finish_by="02:00"),
        Schedule(every=1, zone="Asia/Kathmandu", start_after="23:59"),
    ],
)
def test_a_window_that_is_hardly_ever_open_takes_no_long_search(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    calendar = Calendar(Job("a", schedule=schedule))
    times = calendar._next

    def counted(after: datetime) -> datetime | None:
        nonlocal looks
        looks += 1
        return times(after)

    monkeypatch.setattr(calendar, "_next", counted)
    calendar.next(utc(2026, 1, 1, 5))
    assert looks <= 5 * 366 + 2  # a day at a time, five years at the most
