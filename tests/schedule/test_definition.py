"""Jobs as tables: read, written, and refused with a reason that names the key."""

from __future__ import annotations

import datetime as dt
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netraven.errors import InputError
from netraven.model import Job, Schedule, Selector, What
from netraven.schedule.definition import KEYS, job_of, read_job, table_of
from netraven.schedule.durations import seconds_of, span_text
from tests.schedule.oracle import utc

NOW = utc(2026, 3, 1)


def test_every_key() -> None:
    text = """
        what = "configuration"
        tags = ["edge", "core"]
        names = ["r*", "sw?"]
        platforms = ["cisco_iosxe"]
        not_tags = ["lab"]
        not_names = ["*-old"]
        not_platforms = ["jump_host"]
        outputs = ["running", "version"]
        cron = "30 2 * * 1-5"
        zone = "Europe/Berlin"
        jitter = "10m"
        grace = "2h"
        start_after = "01:00"
        finish_by = 05:00:00
        strategy = "last-good"
        concurrency = 50
        priority = 10
        enabled = false
    """
    job = job_of("nightly", tomllib.loads(text), now=NOW)
    assert job == Job(
        name="nightly",
        what=What.CONFIGURATION,
        selector=Selector(
            tags=frozenset({"edge", "core"}),
            patterns=frozenset({"r*", "sw?"}),
            platforms=frozenset({"cisco_iosxe"}),
            without_tags=frozenset({"lab"}),
            without_patterns=frozenset({"*-old"}),
            without_platforms=frozenset({"jump_host"}),
        ),
        schedule=Schedule(
            cron="30 2 * * 1-5",
            zone="Europe/Berlin",
            jitter=600.0,
            grace=7200.0,
            start_after="01:00",
            finish_by="05:00",
        ),
        outputs=("running", "version"),
        strategy="last-good",
        concurrency=50,
        priority=10,
        enabled=False,
    )
    assert read_job("nightly", table_of(job)) == job
    assert set(table_of(job)) | {"every", "at", "older_than", "what"} == set(KEYS)
    assert (
        job_of("stale", {"what": "stale-report", "every": "1d", "older_than": "2d"}, now=NOW).older_than
        == 172_800
    )


def test_nothing_told_is_everything_by_hand() -> None:
    assert job_of("j", {}, now=NOW) == Job("j")
    assert job_of("j", {"every": None, "tags": []}, now=NOW) == Job("j")
    assert table_of(Job("j")) == {}


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-12-01T02:00", utc(2026, 12, 1, 1)),  # what the clock in Berlin shows
        ("2026-12-01T02:00:00Z", utc(2026, 12, 1, 2)),
        ("2026-12-01T02:00:00-05:00", utc(2026, 12, 1, 7)),
        ("2027-03-28T02:30", utc(2027, 3, 28, 1)),  # skipped: right after it
        ("2026-10-25 02:30", utc(2026, 10, 25, 0, 30)),  # shown twice: the first time
        (tomllib.loads("at = 2026-12-01T02:00:00")["at"], utc(2026, 12, 1, 1)),
        (dt.datetime(2026, 12, 1, 2, tzinfo=dt.UTC), utc(2026, 12, 1, 2)),
        ("2020-01-01T00:00Z", utc(2020, 1, 1)),  # over, and still no mistake: settings are applied again
    ],
)
def test_once(value: Any, moment: dt.datetime) -> None:
    job = job_of("j", {"at": value, "zone": "Europe/Berlin"}, now=NOW)
    assert job.schedule.at == moment
    assert read_job("j", table_of(job)) == job


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"corn": "0 2 * * *"}, "corn", "did you mean 'cron'?"),
    ({"\x1b[2J": 1}, r"\x1b[2J", "no such key"),
    ({"what": "configurations"}, "what", "did you mean 'configuration'?"),
    ({"what": 3}, "what", "must be a text, not 3"),
    ({"cron": "0 0 30 2 *"}, "cron", "its months have no day 30"),
    ({"cron": "0 0 31 4,6,9 *"}, "cron", "have no day 31"),
    ({"cron": "61 0 * * *"}, "cron", "minute '61' cannot be; it takes 0-59"),
    ({"cron": "0 0 * * FUN"}, "cron", "day-of-week 'FUN'"),
    ({"cron": "0 2 * *"}, "cron", "five fields"),
    ({"cron": "0 0 2 * * *"}, "cron", "five fields"),
    ({"cron": ""}, "cron", "must be a text"),
    ({"cron": "9" * 5000 + " 2 * * *"}, "cron", "five fields"),
    ({"cron": "\u0663 2 * * *"}, "cron", "minute"),
    ({"cron": "@dayly"}, "cron", "did you mean @daily?"),
    ({"cron": "@reboot"}, "cron", "@"),
    ({"cron": "0 0 * 2 MON#5"}, "cron", "not due within five years"),
    ({"cron": "0 2 * * *", "zone": "europe/berlin"}, "zone", "did you mean 'Europe/Berlin'?"),
    ({"cron": "0 2 * * *", "zone": "../../etc/passwd"}, "zone", "IANA name"),
    ({"cron": "0 2 * * *", "zone": "America"}, "zone", "no time zone 'America'"),
    ({"cron": "0 2 * * *", "zone": "localtime"}, "zone", "no time zone"),
    ({"cron": "0 2 * * *", "zone": "right/UTC"}, "zone", "no time zone"),
    ({"cron": "0 2 * * *", "zone": "UTC\x00"}, "zone", "no time zone"),
    ({"cron": "0 2 * * *", "every": "1h"}, "every", "cron and every exclude each other"),
    ({"every": "1h", "at": "2030-01-01T00:00Z"}, "at", "every and at exclude each other"),
    ({"every": "5x"}, "every", "no span of time"),
    ({"every": True}, "every", "no span of time"),
    ({"every": float("nan")}, "every", "no span of time"),
    ({"every": "0s"}, "every", "from 1s to 366d"),
    ({"every": -5}, "every", "from 1s to 366d"),
    ({"every": "1" * 400}, "every", "no span of time"),
    ({"at": "tomorrow"}, "at", "no moment"),
    ({"at": dt.date(2026, 12, 1)}, "at", "no moment"),
    ({"at": "9999-12-31T23:59Z"}, "at", "no moment of these centuries"),
    ({"jitter": "5m"}, "jitter", "belongs to a schedule"),
    ({"start_after": "01:00"}, "start_after", "belongs to a schedule"),
    ({"every": "1h", "jitter": "2d"}, "jitter", "from 0s to 1d"),
    ({"every": "1h", "start_after": "25:00"}, "start_after", "no time of day"),
    ({"every": "1h", "start_after": "1am"}, "start_after", "no time of day"),
    ({"every": "1h", "finish_by": dt.time(1, 2, 3)}, "finish_by", "no time of day"),
    ({"every": "1h", "start_after": "02:00", "finish_by": "2:00"}, "finish_by", "never opens"),
    (
        {"cron": "0 3 * * *", "start_after": "04:00", "finish_by": "05:00"},
        "start_after",
        "between 04:00 and 05:00",
    ),
    (
        # Due once a year, right after the change of clocks: nobody means that.
        {"cron": "30 2 * * *", "zone": "Europe/Berlin", "start_after": "03:00", "finish_by": "04:00"},
        "start_after",
        "widen the window",
    ),
    ({"every": "1d", "start_after": "12:00", "finish_by": "13:00"}, "start_after", "widen the window"),
    ({"at": "2030-01-01T02:00Z", "start_after": "04:00"}, "start_after", "at 2030-01-01 02:00"),
    ({"tags": "edge"}, "tags", 'a list of texts, such as ["one", "two"]'),
    ({"tags": [""]}, "tags", "must not be empty"),
    ({"names": [7]}, "names", "must be a text"),
    ({"names": ["a\x07"]}, "names", "control characters"),
    ({"what": "prune", "tags": ["edge"]}, "tags", "has no use for it"),
    ({"what": "reachability", "strategy": "priority"}, "strategy", "has no use for it"),
    ({"older_than": "1d"}, "older_than", "only: stale-report"),
    ({"concurrency": 0}, "concurrency", "whole number from 1"),
    ({"concurrency": 1.5}, "concurrency", "whole number"),
    ({"priority": True}, "priority", "whole number"),
    ({"enabled": "yes"}, "enabled", "true or false"),
]


@pytest.mark.parametrize(
    ("table", "key", "why"), REFUSED, ids=[f"{n}-{r[1]!a}" for n, r in enumerate(REFUSED)]
)
def test_a_mistake_names_the_job_the_key_and_what_to_do(table: dict[str, Any], key: str, why: str) -> None:
    with pytest.raises(InputError) as raised:
        job_of("nightly", table, now=NOW)
    message = str(raised.value)
    assert message.startswith(f"job 'nightly': {key}: ")
    assert why in message
    assert len(message) < 400
    assert message.isprintable()


@pytest.mark.parametrize("name", ["", " x", "-x", "a\nb", "x" * 101, "\x1b[31m"])
def test_names(name: str) -> None:
    with pytest.raises(InputError, match="a job's name must not") as raised:
        job_of(name, {}, now=NOW)
    assert str(raised.value).isprintable()


def test_only_what_a_table_can_say_is_written() -> None:
    with pytest.raises(InputError, match="patterns of their names"):
        table_of(Job("j", selector=Selector(names=frozenset({"r1"}))))


words = st.lists(st.text("abcz*?-é", min_size=1, max_size=6).filter(lambda t: t == t.strip()), max_size=3)
spans = st.one_of(st.integers(60, 86_400).map(float), st.floats(60, 86_400).map(lambda s: round(s, 6)))
jobs = st.builds(
    Job,
    name=st.text("abc-é", min_size=1, max_size=9).filter(lambda t: not t.startswith("-")),
    selector=st.builds(
        Selector,
        tags=words.map(frozenset),
        patterns=words.map(frozenset),
        without_platforms=words.map(frozenset),
    ),
    schedule=st.one_of(
        st.just(Schedule()),
        st.builds(Schedule, every=spans, jitter=spans, grace=spans, finish_by=st.just("03:10")),
        st.builds(Schedule, cron=st.just("5 4 * * *"), zone=st.sampled_from(("UTC", "Asia/Kathmandu"))),
        st.builds(
            Schedule,
            at=st.integers(10**9, 7 * 10**9).map(lambda seconds: dt.datetime.fromtimestamp(seconds, dt.UTC)),
        ),
    ),
    outputs=words.map(lambda w: tuple(dict.fromkeys(w))),
    concurrency=st.one_of(st.none(), st.integers(1, 1000)),
    priority=st.integers(0, 1000),
    enabled=st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(job=jobs)
def test_a_job_comes_back_from_its_table(job: Job) -> None:
    import json

    assert job_of(job.name, json.loads(json.dumps(table_of(job))), now=NOW) == job


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", 5400.0),
        ("6h", 21600.0),
        ("1d12h", 129600.0),
        ("1d 12h", 129600.0),
        ("30", 30.0),
        ("1.5H", 5400.0),
    ],
)
def test_spans(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds
    assert seconds_of(span_text(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "h", "5 6", "1d-2h", "-1h", "1e5", "inf", "٣h", "1h!", "1" * 40])
def test_what_is_no_span(text: str) -> None:
    assert seconds_of(text) is None
