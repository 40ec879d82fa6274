"""Wall time with devices that take their time over every command."""

from __future__ import annotations

from benchmarks.bench import Bench, compared
from benchmarks.table import Answer

_ROUNDS = 3
_TASKS, _THREADS = ("scrapli",), ("netmiko", "nornir", "libssh2")


def measure(bench: Bench) -> Answer:
    """NetRaven and other tools of one thread have every device in session at once, the others their threads."""
    sizes = bench.sizes
    title = f"Wall time, {sizes.devices} devices that think {sizes.think:g} s over each command"
    answer = Answer(title, "s")
    at_once = dict.fromkeys(_TASKS, sizes.devices) | dict.fromkeys(_THREADS, sizes.workers)
    with bench.lab(sizes.devices, think=sizes.think) as fleet:
        pairs = bench.alternate(answer, fleet, at_once, ours=sizes.devices, rounds=min(_ROUNDS, sizes.rounds))
    answer.rows += compared(pairs, "wall", {})
    answer.notes.append(
        f"at once: NetRaven and scrapli {sizes.devices}, tools in threads {sizes.workers}; how many commands a tool "
        "sends before the one that was asked for is its own affair and counts"
    )
    return answer
