"""A job as a table, as it is in settings files and on record; and what is wrong with one.

Every mistake is an ``InputError`` that names the job and the key and says what to do. Whether there are such
strategies, outputs, tags and platforms is for the caller to say: that is not known here.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any, NoReturn

from netraven.errors import InputError
from netraven.model import Job, Schedule, Selector, What, utcnow
from netraven.plain import plain_line
from netraven.schedule.cron import Cron
from netraven.schedule.due import HORIZON, Due, next_due
from netraven.schedule.durations import seconds_of, span_text
from netraven.schedule.zones import moment_of, zone_named

KEYS = (
    "what",
    "tags",
    "names",
    "platforms",
    "not_tags",
    "not_names",
    "not_platforms",
    "outputs",
    "cron",
    "zone",
    "every",
    "at",
    "jitter",
    "grace",
    "start_after",
    "finish_by",
    "strategy",
    "concurrency",
    "priority",
    "enabled",
    "older_than",
)
"""Everything that a job may say of itself."""

_WHENS = ("cron", "every", "at")
_DAY = 86_400.0
_YEAR = 366 * _DAY
_SELECTING = ("tags", "names", "platforms", "not_tags", "not_names", "not_platforms")
_ONLY_FOR: dict[str, tuple[What, ...]] = {
    "outputs": (What.CONFIGURATION,),
    "strategy": (What.CONFIGURATION, What.CREDENTIALS),
    "older_than": (What.STALE,),
    "concurrency": (What.CONFIGURATION, What.REACHABILITY, What.CREDENTIALS),
    **{key: tuple(what for what in What if what is not What.PRUNE) for key in _SELECTING},
}
_LONGEST_NAME = 100
_LONGEST_WORD = 255


def job_of(name: str, table: Mapping[str, Any], *, now: datetime | None = None) -> Job:
    """The job that ``table`` describes. A key that is absent or None has its default.

    A schedule that has no due time within five years from ``now`` on (the present) is an error.
    """
    job = read_job(name, table)
    _check_schedule(job, now or utcnow())
    return job


def read_job(name: str, table: Mapping[str, Any]) -> Job:
    """The same for a table that has passed :func:`job_of` before: its due times are not looked for."""
    if wrong := _wrong_with_name(name):
        raise InputError(f"job {plain_line(name, 60)!r}: a job's name {wrong}")
    return _Table(name, table).job()


def table_of(job: Job) -> dict[str, Any]:
    """The table that :func:`job_of` makes ``job`` of: what differs from the defaults, in the order of :data:`KEYS`.

    All of it is text, numbers, lists and booleans, as JSON and TOML have them.
    """
    schedule, selector = job.schedule, job.selector
    if selector.names or selector.retry_of is not None:
        raise InputError(
            f"job {job.name!r}: a job selects devices by patterns of their names, tags and platforms"
        )
    full = {
        "what": job.what.value,
        "tags": sorted(selector.tags),
        "names": sorted(selector.patterns),
        "platforms": sorted(selector.platforms),
        "not_tags": sorted(selector.without_tags),
        "not_names": sorted(selector.without_patterns),
        "not_platforms": sorted(selector.without_platforms),
        "outputs": list(job.outputs),
        "cron": schedule.cron,
        "zone": schedule.zone,
        "every": None if schedule.every is None else span_text(schedule.every),
        "at": None if schedule.at is None else schedule.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "jitter": span_text(schedule.jitter),
        "grace": span_text(schedule.grace),
        "start_after": schedule.start_after,
        "finish_by": schedule.finish_by,
        "strategy": job.strategy,
        "concurrency": job.concurrency,
        "priority": job.priority,
        "enabled": job.enabled,
        "older_than": span_text(job.older_than),
    }
    return {key: value for key, value in full.items() if value != _DEFAULTS.get(key)}


_DEFAULTS: dict[str, Any] = {
    **{key: [] for key in (*_SELECTING, "outputs")},
    "what": What.CONFIGURATION.value,
    "zone": "UTC",
    "jitter": span_text(0.0),
    "grace": span_text(3600.0),
    "priority": 100,
    "enabled": True,
    "older_than": span_text(_DAY),
}


class _Table:
    """One job's keys and values, each read in its own way."""

    def __init__(self, name: str, table: Mapping[str, Any]) -> None:
        self._name = name
        for key in table:
            if key not in KEYS:
                self._fail(plain_line(str(key), 60), f"there is no such key{_closest(str(key), KEYS)}")
        self._table = {key: value for key, value in table.items() if value is not None}

    def job(self) -> Job:
        what = self._what()
        for key, whats in _ONLY_FOR.items():
            if key in self._table and what not in whats:
                allowed = ", ".join(w.value for w in whats)
                self._fail(key, f"a job for {what.value} has no use for it (only: {allowed}); take it out")
        return Job(
            name=self._name,
            what=what,
            selector=Selector(
                tags=frozenset(self._words("tags")),
                patterns=frozenset(self._words("names")),
                platforms=frozenset(self._words("platforms")),
                without_tags=frozenset(self._words("not_tags")),
                without_patterns=frozenset(self._words("not_names")),
                without_platforms=frozenset(self._words("not_platforms")),
            ),
            schedule=self._schedule(),
            outputs=self._words("outputs"),
            strategy=self._text("strategy"),
            concurrency=self._number("concurrency", None, least=1, most=100_000),
            priority=self._number("priority", 100, least=0, most=1_000_000) or 0,
            enabled=self._flag("enabled", default=True),
            older_than=self._span("older_than", default=_DAY, least=60.0, most=10 * _YEAR),
        )

    def _what(self) -> What:
        text = self._text("what") or What.CONFIGURATION.value
        known = [what.value for what in What]
        if text not in known:
            self._fail("what", f"there is no {text!r}{_closest(text, known)}")
        return What(text)

    def _schedule(self) -> Schedule:
        told = [key for key in _WHENS if key in self._table]
        if len(told) > 1:
            self._fail(told[1], f"{' and '.join(told)} exclude each other: give one of them")
        if not told:
            for key in ("jitter", "grace", "start_after"):
                if key in self._table:
                    self._fail(key, f"it belongs to a schedule: give {', '.join(_WHENS)} too, or take it out")
        zone = self._zone()
        schedule = Schedule(
            cron=self._cron(zone),
            zone=zone,
            every=self._span("every", least=1.0, most=_YEAR) if "every" in self._table else None,
            at=self._at(),
            jitter=self._span("jitter", default=0.0, least=0.0, most=_DAY),
            grace=self._span("grace", default=3600.0, least=0.0, most=_YEAR),
            start_after=self._time("start_after"),
            finish_by=self._time("finish_by"),
        )
        if schedule.start_after is not None and schedule.start_after == schedule.finish_by:
            self._fail(
                "finish_by", "it is the same as start_after: the window never opens; give another time"
            )
        return schedule

    def _cron(self, zone: str) -> str | None:
        text = self._text("cron")
        if text is not None:
            try:
                Cron(text, zone_named(zone))
            except InputError as error:
                self._fail("cron", str(error), error)
        return text

    def _zone(self) -> str:
        text = self._text("zone") or "UTC"
        try:
            zone_named(text)
        except InputError as error:
            self._fail("zone", str(error), error)
        return text

    def _at(self) -> datetime | None:
        value = self._table.get("at")
        if value is None:
            return None
        moment = value
        if isinstance(value, str):
            try:
                moment = datetime.fromisoformat(value.strip())
            except ValueError as error:
                self._fail("at", f"{plain_line(value, 60)!r} is no moment{_LIKE}", error)
        if not isinstance(moment, datetime) or not 1971 <= moment.year < 2500:
            self._fail("at", f"{plain_line(str(value), 60)!r} is no moment of these centuries{_LIKE}")
        if moment.tzinfo is None:  # what the wall clock of its zone shows
            return moment_of(moment, zone_named(self._zone()))
        return moment.astimezone(UTC)

    def _time(self, key: str) -> str | None:
        value = self._table.get(key)
        if value is None:
            return None
        if isinstance(value, time):
            value = (
                value.isoformat("minutes") if value == value.replace(second=0, microsecond=0) else str(value)
            )
        parts = value.split(":") if isinstance(value, str) else []
        fits = len(parts) == 2 and all(
            part.isascii() and part.isdecimal() and len(part) <= 2 for part in parts
        )
        if not fits or int(parts[0]) > 23 or int(parts[1]) > 59:
            self._fail(key, f"{plain_line(str(value), 60)!r} is no time of day: give one such as '22:30'")
        return f"{int(parts[0]):02}:{int(parts[1]):02}"

    def _span(self, key: str, *, least: float, most: float, default: float = 0.0) -> float:
        value = self._table.get(key, default)
        seconds: float | None = None
        if isinstance(value, str):
            seconds = seconds_of(value)
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            seconds = float(value)
        if seconds is None:
            shown = plain_line(str(value), 60)
            self._fail(key, f"{shown!r} is no span of time: give one such as '90m', '6h', '1d' or seconds")
        if not least <= seconds <= most:
            self._fail(
                key,
                f"it must be from {span_text(least)} to {span_text(most)}, not {plain_line(str(value), 60)}",
            )
        return round(seconds, 6)

    def _number(self, key: str, default: int | None, *, least: int, most: int) -> int | None:
        value = self._table.get(key, default)
        if value is None:
            return None
        if type(value) is not int or not least <= value <= most:
            shown = plain_line(repr(value), 60)
            self._fail(key, f"it must be a whole number from {least} to {most}, not {shown}")
        return value

    def _flag(self, key: str, *, default: bool) -> bool:
        value = self._table.get(key, default)
        if not isinstance(value, bool):
            self._fail(key, f"it must be true or false, not {plain_line(repr(value), 60)}")
        return value

    def _text(self, key: str) -> str | None:
        value = self._table.get(key)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            self._fail(key, f"it must be a text, not {plain_line(repr(value), 60)}")
        return None if value is None else value.strip()

    def _words(self, key: str) -> tuple[str, ...]:
        value = self._table.get(key, ())
        if not isinstance(value, list | tuple):
            self._fail(
                key, f'it must be a list of texts, such as ["one", "two"], not {plain_line(repr(value), 60)}'
            )
        for word in value:
            if not isinstance(word, str) or _wrong_with(word, _LONGEST_WORD):
                wrong = _wrong_with(word, _LONGEST_WORD) if isinstance(word, str) else "must be a text"
                self._fail(key, f"{plain_line(repr(word), 60)}: each {wrong}")
        return tuple(dict.fromkeys(value))

    def _fail(self, key: str, why: str, cause: Exception | None = None) -> NoReturn:
        raise InputError(f"job {self._name!r}: {key}: {why}") from cause


_LIKE = ": give one such as '2026-12-01T02:00' (in the job's zone) or '2026-12-01T02:00:00Z'"
_SECOND = timedelta(seconds=1)


def _check_schedule(job: Job, now: datetime) -> None:
    """Raise ``InputError`` where the schedule has no due time. One ``at`` in the past is none, and stays allowed."""
    schedule = job.schedule
    if schedule.at is not None:
        never = next_due(job, schedule.at - _SECOND) is None
    elif schedule.every is not None:
        never = _far(next_due(job, now), now)
    elif schedule.cron is not None:
        # Right after a change of clocks even '30 2' is due at 03:00: once a year is no schedule.
        everywhere = replace(job, schedule=replace(schedule, zone="UTC"))
        never = _far(next_due(job, now), now) or _far(next_due(everywhere, now), now)
    else:
        return
    if never:
        raise InputError(f"job {job.name!r}: {_never(schedule)}")


def _far(due: Due | None, now: datetime) -> bool:
    return due is None or due.due_at - now > HORIZON


def _never(schedule: Schedule) -> str:
    key = next(key for key in _WHENS if getattr(schedule, key) is not None)
    value = f"{key} {schedule.cron!r}"
    if schedule.every is not None:
        value = f"every {span_text(schedule.every)}"
    elif schedule.at is not None:
        value = f"at {schedule.at.astimezone(zone_named(schedule.zone)):%Y-%m-%d %H:%M}"
    if schedule.start_after is None:
        return f"{key}: {value} is not due within five years: give one that is"
    late = " (with the jitter added)" if schedule.jitter else ""
    until = schedule.finish_by or "midnight"
    return (
        f"start_after: no due time of {value}{late} is between {schedule.start_after} and {until} "
        f"({schedule.zone}): widen the window or move the schedule into it"
    )


def _wrong_with_name(text: str) -> str | None:
    return _wrong_with(text, _LONGEST_NAME) or ("must not start with '-'" if text.startswith("-") else None)


def _wrong_with(text: str, longest: int) -> str | None:
    if not text:
        return "must not be empty"
    if len(text) > longest:
        return f"must not be longer than {longest} characters"
    if text != text.strip():
        return "must not start or end with a space"
    if not text.isprintable():
        return "must not contain control characters"
    return None


def _closest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(word[:100], known, n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else f". Known are: {', '.join(known)}"
