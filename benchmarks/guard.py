"""What the lockout guard costs, how fast it lets logins through, and what it does with a fleet that it has to learn.

"No guard" is the same realm as `local`, where each device counts for itself: no permits, no desk, nothing to wait for.
"""

from __future__ import annotations

import sqlite3
import statistics
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.lab import USER, Fleet, multiplied
from benchmarks.process import Reading
from benchmarks.table import Answer, Budget, Row

NO_GUARD = "no guard"
WAYS = {
    NO_GUARD: '[realms.default]\nscope = "local"\n',
    "strict": '[realms.default]\nmode = "strict"\n',
    "adaptive": '[realms.default]\nmode = "adaptive"\n',
}
"""What settings say of the realm; the rest are defaults."""
FIRST, SECOND = "first run", "second run"

THRESHOLD = 5
"""Refusals in a row at which the lab's AAA service locks a user; what the default settings take it to be."""
ANSWER = 0.02
"""Seconds that it takes over a verdict."""
SHARES = {"a": 0.5, "b": 0.3, "c": 0.2}
ADDRESSES = 8
"""Devices that exist where all refuse: no more than a few are ever asked."""
_AT_ONCE = 200
_COLLECTS = 3
"""Rounds of what takes long."""


def measure(bench: Bench) -> Answer:
    answer = Answer("The lockout guard", "as each row says")
    _cost(bench, answer)
    _logins(bench, answer)
    _wrong(bench, answer)
    _mixed(bench, answer)
    return answer


# ---- on a fleet that one credential opens ----

Pairs = dict[str, list[tuple[Reading, Reading]]]
"""For each way of guarding: the run without a guard, and the guarded one after it."""


def _cost(bench: Bench, answer: Answer) -> None:
    sizes = bench.sizes
    how = {"devices": sizes.guarded, "concurrency": sizes.workers}
    with bench.lab(sizes.guarded) as fleet:
        for night, home in _nights(bench, answer, fleet, sizes.guarded).items():
            pairs = _alternate(bench, answer, fleet, home, ("strict", "adaptive"), **how)
            answer.rows += _rows(f"CPU per device, ms, {night}", pairs, lambda r: r.cpu_ms, Budget(1.05))
    answer.notes.append(
        f"CPU: {sizes.guarded} devices, {sizes.workers} at once, no AAA service; all ratios are to the run without a "
        "guard just before"
    )


def _logins(bench: Bench, answer: Answer) -> None:
    """One account, and a service that takes its time: permits are what a run waits for."""
    devices = bench.sizes.logins
    how = {"devices": devices, "concurrency": _AT_ONCE}
    with bench.lab(devices, aaa={"threshold": THRESHOLD, "answer_delay": ANSWER}) as fleet:
        for night, home in _nights(bench, answer, fleet, devices).items():
            ways = (
                ("strict", "adaptive") if night == SECOND else ("strict",)
            )  # what is not proven waits its turn
            pairs = _alternate(bench, answer, fleet, home, ways, **how)
            free, strict = zip(*pairs["strict"], strict=True) if pairs["strict"] else ((), ())
            answer.rows.append(
                Row(f"ms per login, {night}: strict", [_ms_each(r) for r in strict], budget=Budget(10))
            )
            answer.notes.append(
                f"logins per second, {night}: strict {_per_second(strict)}, no guard {_per_second(free)}"
            )
        adaptive = {"adaptive": pairs["adaptive"]}
    answer.rows += _rows(f"wall, s, {SECOND}", adaptive, lambda r: r.wall, Budget(1.1))
    answer.notes.append(
        f"logins: {devices:,} devices of one account, {_AT_ONCE} at once, a verdict takes {ANSWER * 1000:g} ms: at "
        f"most {3 / ANSWER:.0f} a second with three permits; {fleet.refusals} refusals, {fleet.lockouts} lockouts"
    )


def _nights(bench: Bench, answer: Answer, fleet: Fleet, devices: int) -> dict[str, Path]:
    """Folders as the first night finds them, and as it leaves them."""
    fresh, proven = bench.home(fleet, devices), bench.home(fleet, devices)
    bench.measure_at(answer, "netraven", fleet, proven, devices=devices, concurrency=_AT_ONCE, warm=False)
    return {FIRST: fresh, SECOND: proven}


def _alternate(
    bench: Bench, answer: Answer, fleet: Fleet, home: Path, ways: Sequence[str], **how: Any
) -> Pairs:
    """No guard, strict, no guard, adaptive ...: each on a copy of ``home``."""
    pairs: Pairs = {way: [] for way in ways}
    for _ in range(bench.sizes.rounds):
        for way, found in pairs.items():
            free, guarded = (
                bench.measure(answer, "netraven", fleet, home, WAYS[each], **how) for each in (NO_GUARD, way)
            )
            if not free.error and not guarded.error:
                found.append((free, guarded))
    return pairs


def _rows(title: str, pairs: Pairs, figure: Callable[[Reading], float], budget: Budget) -> list[Row]:
    rows = [Row(f"{title}: {NO_GUARD}", [figure(free) for found in pairs.values() for free, _ in found])]
    for way, found in pairs.items():
        values = [figure(guarded) for _, guarded in found]
        ratios = [figure(guarded) / figure(free) for free, guarded in found]
        rows.append(Row(f"{title}: {way}", values, ratios, budget))
    return rows


def _ms_each(reading: Reading) -> float:
    return reading.wall / reading.devices * 1000


def _per_second(readings: Sequence[Reading]) -> str:
    found = [reading.devices / reading.wall for reading in readings]
    return f"{statistics.median(found):.0f} ({min(found):.0f}..{max(found):.0f})" if found else "unknown"


# ---- on a fleet that refuses ----


def _wrong(bench: Bench, answer: Answer) -> None:
    """One password that no device accepts, in a small inventory and in a large one; a lab for each, to count."""
    small, large = bench.sizes.wrong
    found: dict[int, list[Reading]] = {small: [], large: []}
    refusals: list[int] = []
    lockouts: list[int] = []
    for _ in range(min(_COLLECTS, bench.sizes.rounds)):
        for devices, readings in found.items():
            with bench.lab(min(ADDRESSES, devices), aaa={"threshold": THRESHOLD}) as real:
                fleet = multiplied(real, bench.new_folder("inventory"), devices)
                home = bench.home(fleet, devices, {USER: "no device accepts this"})
                how: dict[str, Any] = {"devices": devices, "concurrency": _AT_ONCE, "warm": False}
                reading = bench.measure(answer, "netraven", fleet, home, keep=False, **how)
            refusals.append(real.refusals)
            lockouts.append(real.lockouts)
            if not reading.error:
                readings.append(reading)
    for devices, readings in found.items():
        label = f"wholly wrong, {devices:,} devices"
        answer.rows += [
            Row(f"{label}: CPU of the process, s", [r.process_cpu for r in readings]),
            Row(f"{label}: wall, s", [r.wall for r in readings]),
            Row(f"{label}: peak memory, MiB", [r.peak_kib / 1024 for r in readings]),
        ]
    answer.rows += [
        Row("wholly wrong: refusals", refusals, budget=Budget(4)),
        Row("wholly wrong: lockouts", lockouts, budget=Budget(0)),
    ]


@dataclass(slots=True)
class _Night:
    """What the runs of one night came to, round by round."""

    wall: list[float] = field(default_factory=list)
    attempts: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)
    controls: list[float] = field(default_factory=list)


def _mixed(bench: Bench, answer: Answer) -> None:
    """Three users, one tag, nothing known before; then the same fleet again."""
    devices = bench.sizes.mixed
    nights = {FIRST: _Night(), SECOND: _Night()}
    lockouts: list[int] = []
    for _ in range(min(_COLLECTS, bench.sizes.rounds)):
        with bench.lab(devices, shares=SHARES, aaa={"threshold": THRESHOLD}) as fleet:
            home = bench.home(fleet, devices)
            for number, night in enumerate(nights.values(), start=1):
                how: dict[str, Any] = {"devices": devices, "concurrency": _AT_ONCE, "warm": False}
                reading = bench.measure_at(answer, "netraven", fleet, home, **how)
                if reading.error:
                    answer.notes.append(f"mixed fleet: {reading.error}")
                    continue
                refused, controls = _on_record(home, number)
                night.wall.append(reading.wall)
                night.attempts.append((reading.attempts or 0) / devices)
                night.refusals.append(refused)
                night.controls.append(controls)
        lockouts.append(fleet.lockouts)
    for title, night in nights.items():
        label = f"mixed fleet of {devices:,}, {title}"
        answer.rows += [
            Row(f"{label}: wall, s", night.wall),
            Row(
                f"{label}: attempts per device",
                night.attempts,
                budget=Budget(1.01) if title == SECOND else None,
            ),
            Row(f"{label}: refusals", night.refusals),
            Row(f"{label}: control logins", night.controls),
        ]
    answer.rows.append(Row("mixed fleet: lockouts", lockouts, budget=Budget(0)))


def _on_record(home: Path, run: int) -> Sequence[int]:
    """Refusals and control logins of a run, from its ledger."""
    with closing(sqlite3.connect(home / "netraven.db")) as database:
        (found,) = database.execute(
            "SELECT count(*) FILTER (WHERE verdict = 'refused'), count(*) FILTER (WHERE reason LIKE 'control login%') "
            "FROM credential_attempts WHERE run_id = ?",
            (run,),
        )
    return found
