"""Client CPU per device: one credential that opens everything, 8 KB configurations."""

from __future__ import annotations

from benchmarks.bench import Bench, Pair, compared
from benchmarks.process import Reading
from benchmarks.table import Answer, Budget

_BUDGETS = {"netmiko": Budget(0.6), "scrapli": Budget(0.75), "libssh2": Budget(2.5, goal=True)}
_OTHERS = ("netraven-memory", "netraven-again", "netmiko", "nornir", "scrapli", "asyncssh", "libssh2")


def measure(bench: Bench) -> Answer:
    sizes = bench.sizes
    answer = Answer(f"Client CPU per device, {sizes.devices} devices", "ms")
    with bench.lab(sizes.devices) as fleet:
        pairs = bench.alternate(
            answer, fleet, dict.fromkeys(_OTHERS, sizes.workers), ours=sizes.workers, rounds=sizes.rounds
        )
    answer.rows += compared(pairs, "cpu_ms", _BUDGETS)
    answer.notes += [
        f"{sizes.workers} at once; user and system time of the client's process while it collects, "
        "after imports and one device to warm up",
        f"whole process, imports and all, best of its runs: {_whole(pairs)}",
    ]
    return answer


def _whole(pairs: dict[str, list[Pair]]) -> str:
    """The figure that flatters nobody: from the start of the process to its end."""
    runs: dict[str, list[Reading]] = {}
    for reading in (reading for found in pairs.values() for pair in found for reading in pair):
        if not reading.error:
            runs.setdefault(reading.client, []).append(reading)
    return ", ".join(f"{client} {min(r.process_cpu for r in of):.2f} s" for client, of in runs.items())
