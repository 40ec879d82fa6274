"""Thousands of slow devices, all in session at once in one process with its database."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.process import Reading
from benchmarks.table import Answer, Budget, Row

_SHARE = 1.2
"""Of the CPU time spent: what the wall may be longer than one device's own time."""


def measure(bench: Bench) -> Answer:
    sizes = bench.sizes
    answer = Answer(
        f"{sizes.storm:,} devices that think {sizes.storm_think:g} s over each command, all at once", "s"
    )
    readings: list[Reading] = []
    for _ in range(min(3, sizes.rounds)):
        with bench.lab(sizes.storm, think=sizes.storm_think) as fleet:
            home = bench.home(fleet, sizes.storm)
            reading = bench.measure(
                answer, "netraven", fleet, home, devices=sizes.storm, concurrency=sizes.storm, alone=True
            )
        if reading.error:
            answer.notes.append(reading.error)
            continue
        readings.append(reading)
        answer.raw[-1] |= {"peak_sessions": fleet.peak_sessions, "lab_cpu": fleet.cpu}
        answer.notes.append(
            f"collected {reading.collected:,}, attempts {reading.attempts:,}, in session at once "
            f"{fleet.peak_sessions:,}; the lab spent {fleet.cpu:.1f} s of CPU on its core; the client waited "
            f"{reading.waited:.1f} s for its own"
        )
    allowed = [r.alone + _SHARE * r.cpu for r in readings]
    answer.rows += [
        Row("one device by itself", [r.alone for r in readings]),
        Row("CPU spent on all", [r.cpu for r in readings]),
        Row("allowed: one device + 1.2 x CPU", allowed),
        Row(
            "wall (ratio: of what is allowed)",
            [r.wall for r in readings],
            [r.wall / limit for r, limit in zip(readings, allowed, strict=True)],
            Budget(1.0),
        ),
    ]
    return answer
