"""Memory per open session: what a process has resident with all sessions open, over what it had when idle."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.clients import TITLES, installed
from benchmarks.process import Reading
from benchmarks.table import Answer, Budget, Row

_KIB = Budget(64)


def measure(bench: Bench) -> Answer:
    """A lab for each run: it tells how many sessions were open at once."""
    sizes = bench.sizes
    answer = Answer("Memory per open session", "KiB")
    jobs = [(client, count) for count in sizes.sessions for client in ("netraven", "scrapli")]
    for client, count in [*jobs, ("netmiko", sizes.threads)]:
        label = f"{TITLES[client]}, {count:,} sessions"
        if not installed(client):
            answer.rows.append(Row(label, note="not installed"))
            continue
        reading, peak = _open(bench, answer, client, count)
        budget = _KIB if client == "netraven" else None
        if reading.error:
            answer.rows.append(Row(label, budget=budget, note=reading.error))
            continue
        each = (reading.peak_kib - reading.idle_kib) / count
        note = "" if peak == count else f"only {peak:,} were open at once"
        answer.rows.append(Row(label, [each], budget=budget, note=note))
    answer.notes.append(
        "(peak - idle) / sessions; idle is after imports and one device; the collected text is not kept by any client"
    )
    return answer


def _open(bench: Bench, answer: Answer, client: str, count: int) -> tuple[Reading, int]:
    """Devices think long enough for all sessions to be open before the first is done."""
    with bench.lab(count, think=max(0.3, count / 250)) as fleet:
        home = bench.home(fleet, count) if client == "netraven" else None
        reading = bench.measure(
            answer, client, fleet, home, devices=count, concurrency=count, keep=False, sample=True
        )
    return reading, fleet.peak_sessions
