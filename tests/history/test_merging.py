"""Versions from elsewhere between those that are there."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from netraven.history.merging import Merged, Seen, merge

START = datetime(2026, 11, 22, tzinfo=UTC)


def seen(
    day: float, text: str, *, last: float | None = None, number: int | None = None, id: int | None = None
) -> Seen:
    """``text``: what makes it comparable is all but a part after ``#``."""
    first = START + timedelta(days=day)
    until = START + timedelta(days=day if last is None else last)
    return Seen(first, until, text.encode(), text.split("#", maxsplit=1)[0].encode(), number, id)


def there(*versions: tuple[float, str]) -> list[Seen]:
    return [seen(day, text, number=n, id=100 + n) for n, (day, text) in enumerate(versions, 1)]


def shape(merged: list[Merged]) -> list[tuple[int, str, bool]]:
    return [(one.number, one.seen.sha256.decode(), one.seen.id is not None) for one in merged]


def test_older_ones_come_before_and_push_the_numbers_up() -> None:
    merged = merge(there((5, "c"), (6, "d")), [seen(2, "b"), seen(1, "a")])
    assert shape(merged) == [(1, "a", False), (2, "b", False), (3, "c", True), (4, "d", True)]


def test_numbers_that_retention_left_free_are_used() -> None:
    kept = [seen(5, "c", number=7, id=1), seen(6, "d", number=8, id=2)]
    assert shape(merge(kept, [seen(1, "a"), seen(2, "b")])) == [
        (1, "a", False),
        (2, "b", False),
        (7, "c", True),
        (8, "d", True),
    ]


def test_a_number_from_elsewhere_is_kept_where_it_is_free() -> None:
    assert shape(merge([], [seen(1, "a", number=3), seen(2, "b", number=9)])) == [
        (3, "a", False),
        (9, "b", False),
    ]


def test_what_equals_the_one_before_it_lengthens_its_time() -> None:
    (one, two) = merge(there((1, "a"), (9, "b")), [seen(3, "a#later", last=4)])
    assert (one.seen.id, one.seen.last_seen_at) == (101, START + timedelta(days=4))
    assert two.seen.first_seen_at == START + timedelta(days=9)


def test_what_equals_the_one_after_it_is_its_beginning() -> None:
    (one, two) = merge(there((1, "a"), (9, "b")), [seen(7, "b#earlier")])
    assert two.seen.id == 102
    assert two.seen.first_seen_at == START + timedelta(days=7)
    assert two.seen.sha256 == b"b"
    assert one.seen.last_seen_at == START + timedelta(days=1)


def test_what_is_there_is_never_put_together() -> None:
    assert len(merge(there((1, "a"), (2, "a#")), [seen(3, "c")])) == 3


def test_between_equal_neighbours_of_an_exact_history_both_stay() -> None:
    incoming = [seen(1, "a#1"), seen(2, "a#2")]
    assert len(merge([], incoming)) == 1
    assert len(merge([], incoming, exact=True)) == 2


def test_an_exact_history_keeps_its_order_whatever_the_clock_did() -> None:
    went_back = [seen(9, "a", number=1), seen(2, "b", number=2), seen(3, "c", number=3)]
    assert shape(merge([], went_back, exact=True)) == [(1, "a", False), (2, "b", False), (3, "c", False)]
    one = there((9, "a"))
    assert shape(merge(one, went_back, exact=True)) == [(1, "a", True), (2, "b", False), (3, "c", False)]
    assert shape(merge([], went_back)) == [(2, "b", False), (3, "c", False), (4, "a", False)]


def test_what_comes_in_parts_is_placed_and_told_apart_as_if_it_came_at_once() -> None:
    first, second = seen(9, "a#1"), seen(2, "a#2")
    second = replace(second, placed_at=first.first_seen_at, follows=first.key)
    merged = merge([replace(first, id=1, number=1)], [second], exact=True)
    assert shape(merged) == [(1, "a#1", True), (2, "a#2", False)]


def test_what_is_known_was_seen_as_late_as_anybody_saw_it() -> None:
    (one,) = merge(there((1, "a")), [seen(1, "a", last=9)], exact=True)
    assert one.seen.last_seen_at == START + timedelta(days=9)
    (one,) = merge(there((1, "a")), [seen(1, "a", last=0)], exact=True)
    assert one.seen.last_seen_at == START + timedelta(days=1)


texts = st.sampled_from(["a", "a#1", "b", "b#1", "c"])
dated = st.lists(st.tuples(st.integers(0, 20), texts), max_size=12)


def stored(merged: list[Merged]) -> list[Seen]:
    """As they are read back."""
    return [
        Seen(
            one.seen.first_seen_at,
            one.seen.last_seen_at,
            one.seen.sha256,
            one.seen.comparable,
            one.number,
            one.seen.id if one.seen.id is not None else 1000 + place,
        )
        for place, one in enumerate(merged)
    ]


@given(dated, dated, st.booleans())
def test_merging_twice_adds_nothing_and_nothing_is_lost(
    before: list[tuple[int, str]], incoming: list[tuple[int, str]], exact: bool
) -> None:
    have = there(*sorted(dict(before).items()))
    if exact:  # no two versions of one history have the same moment
        incoming = list(dict(incoming).items())
        if before:  # a clock that went back, in a history beside another one: there they are, once or twice
            incoming.sort()
    arriving = [seen(day, text) for day, text in incoming]
    merged = merge(have, arriving, exact=exact)
    numbers = [one.number for one in merged]
    assert numbers == sorted(set(numbers))
    kept = [one.seen.id for one in merged if one.seen.id is not None]
    assert kept == [one.id for one in have]
    moments = [one.seen.first_seen_at for one in merged]
    places = [one.seen.place for one in merged if one.seen.id is None]
    assert places == sorted(p for p in places if p is not None) if exact else moments == sorted(moments)
    again = merge(stored(merged), arriving, exact=exact)
    assert [one.seen.id for one in again] == [one.id for one in stored(merged)]
    assert [one.number for one in again] == numbers
