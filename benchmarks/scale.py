"""CPU and memory with the size of the fleet, at the same number of sessions at once."""

from __future__ import annotations

import statistics

from benchmarks.bench import Bench
from benchmarks.process import Reading
from benchmarks.table import Answer, Budget, Row

_AT_ONCE = 200
_ROUNDS = 3


def measure(bench: Bench) -> Answer:
    """Small, large, small, large ...: two inventories of the same lab."""
    small, large = bench.sizes.fleets
    answer = Answer(f"CPU per device in a fleet of {large:,} and one of {small:,}", "ms")
    readings: dict[int, list[Reading]] = {small: [], large: []}
    with bench.lab(large) as fleet:
        homes = {count: bench.home(fleet, count) for count in (small, large)}
        for _ in range(min(_ROUNDS, bench.sizes.rounds)):
            for count, home in homes.items():
                reading = bench.measure(
                    answer, "netraven", fleet, home, devices=count, concurrency=_AT_ONCE, keep=False
                )
                if not reading.error:
                    readings[count].append(reading)
    ratios = [b.cpu_ms / a.cpu_ms for a, b in zip(readings[small], readings[large], strict=False)]
    answer.rows += [
        Row(f"{small:,} devices", [r.cpu_ms for r in readings[small]]),
        Row(
            f"{large:,} devices (ratio: to the small)",
            [r.cpu_ms for r in readings[large]],
            ratios,
            Budget(1.1),
        ),
    ]
    if readings[small] and readings[large]:
        first, last = (statistics.median(r.peak_kib for r in readings[count]) for count in (small, large))
        answer.notes.append(
            f"peak resident memory {first / 1024:.0f} MiB and {last / 1024:.0f} MiB: "
            f"{(last - first) / (large - small):.2f} KiB for each further device; {_AT_ONCE} at once"
        )
    return answer
