"""Which versions go: whatever the limits, and whatever the times."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from netraven.history.retention import Dated, Limits, oldest_that_stays

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def versions(*days_ago: float, first: int = 1) -> list[Dated]:
    return [Dated(first + place, NOW - timedelta(days=days)) for place, days in enumerate(days_ago)]


def stay(found: list[Dated], limits: Limits) -> list[int]:
    oldest = oldest_that_stays(found, limits, NOW)
    return [one.number for one in found if one.number >= oldest]


def test_without_limits_everything_stays() -> None:
    assert stay(versions(900, 800, 1), Limits()) == [1, 2, 3]


def test_the_newest_so_many_stay() -> None:
    assert stay(versions(9, 8, 7, 6), Limits(versions=2)) == [3, 4]
    assert stay(versions(9, 8), Limits(versions=2)) == [1, 2]


def test_what_was_in_force_within_the_days_stays() -> None:
    """Version 2 was in force until 5 days ago, version 1 until 20 days ago."""
    assert stay(versions(30, 20, 5), Limits(days=10)) == [2, 3]
    assert stay(versions(30, 20, 5), Limits(days=20)) == [2, 3]  # its place was taken at that very moment
    assert stay(versions(30, 20, 5), Limits(days=20.01)) == [1, 2, 3]


def test_of_two_limits_the_narrower_one_decides() -> None:
    assert stay(versions(30, 20, 5), Limits(versions=1, days=100)) == [3]
    assert stay(versions(30, 20, 5), Limits(versions=3, days=10)) == [2, 3]


def test_the_only_version_stays_however_old() -> None:
    assert stay(versions(9000), Limits(versions=1, days=1)) == [1]


def test_gaps_in_the_numbers_are_nothing_special() -> None:
    found = [Dated(number, NOW - timedelta(days=100 - number)) for number in (3, 7, 9, 40)]
    assert stay(found, Limits(versions=2)) == [9, 40]


times = st.lists(st.floats(0, 1000), min_size=1, max_size=30).map(
    lambda days: versions(*sorted(days, reverse=True))
)
limits = st.builds(Limits, versions=st.integers(0, 40), days=st.floats(0, 1200))


@given(times, limits)
def test_a_version_goes_exactly_where_it_is_beyond_a_limit(found: list[Dated], given_limits: Limits) -> None:
    kept = stay(found, given_limits)
    assert found[-1].number in kept
    for place, one in enumerate(found[:-1]):
        until = found[place + 1].first_seen_at
        beyond_count = given_limits.versions and place < len(found) - given_limits.versions
        beyond_days = given_limits.days and until <= NOW - timedelta(days=given_limits.days)
        assert (one.number in kept) is not bool(beyond_count or beyond_days)


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=30).map(lambda days: versions(*days)), limits)
def test_whatever_clocks_do_nothing_goes_that_was_in_force_within_the_days(
    found: list[Dated], given_limits: Limits
) -> None:
    kept = stay(found, Limits(days=given_limits.days))
    assert found[-1].number in kept
    if given_limits.days:
        for one, after in itertools.pairwise(found):
            if after.first_seen_at > NOW - timedelta(days=given_limits.days):
                assert one.number in kept
    assert kept == [one.number for one in found[-len(kept) :]]


@given(times, limits)
def test_a_second_prune_finds_nothing(found: list[Dated], given_limits: Limits) -> None:
    kept = stay(found, given_limits)
    assert stay([one for one in found if one.number in kept], given_limits) == kept
