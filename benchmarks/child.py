"""The process that a client runs in: `python -m benchmarks.child`, a job on stdin, a reading on stdout.

It imports the client, logs in to one device to warm up (unless told not to), and only then counts. Client CPU is user
and system time of the whole process, threads included, from that moment until the last device is done.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks.clients import CLIENTS, Collect
from benchmarks.lab import Host, hosts
from benchmarks.process import Job, Reading

SAMPLE = 0.02
"""Seconds between two looks at the memory of the process."""


async def measure(job: Job) -> Reading:
    """Run a client in this process."""
    fleet = hosts(Path(job.lab), job.devices)
    async with CLIENTS[job.client](job, fleet) as collect:
        if job.warm:
            first = await collect(fleet[:1])
            if first.collected != 1:
                raise RuntimeError(f"the first device: {', '.join(first.failed)}")
        alone = await _timed(collect, fleet[:1]) if job.alone else 0.0
        with _memory(job.sample) as memory:
            wall, cpu, waited = time.perf_counter(), time.process_time(), _waited()
            tally = await collect(fleet)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            waited = _waited() - waited
    return Reading(
        client=job.client,
        devices=job.devices,
        collected=tally.collected,
        attempts=tally.attempts,
        failed=dict(tally.failed),
        cpu=cpu,
        wall=wall,
        waited=waited,
        process_cpu=time.process_time(),
        alone=alone,
        idle_kib=memory["idle"],
        peak_kib=memory["peak"],
    )


async def _timed(collect: Collect, fleet: Sequence[Host]) -> float:
    start = time.perf_counter()
    await collect(fleet)
    return time.perf_counter() - start


@contextmanager
def _memory(sample: bool) -> Iterator[dict[str, int]]:
    """Resident memory before (``idle``) and at the highest (``peak``) of what happens inside, in KiB."""
    found = {"idle": _resident() if sample else 0, "peak": 0}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE):
            found["peak"] = max(found["peak"], _resident())

    watcher = threading.Thread(target=watch, daemon=True)
    if sample:
        watcher.start()
    try:
        yield found
    finally:
        done.set()
        if sample:
            watcher.join()
        else:
            found["peak"] = _highest()


def _resident() -> int:
    """KiB, from Linux's /proc."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


def _waited() -> float:
    """Seconds that the main thread was ready to run and its core was busy; 0.0 where the system does not tell."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


def _highest() -> int:
    """The most that was ever resident; `ru_maxrss` would also count the parent before this program was loaded."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def _many_files() -> None:
    """As many open files as the system lets us have: a session is one."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    _many_files()
    job = Job(**json.load(sys.stdin))
    reading = asyncio.run(measure(job))
    print(json.dumps(asdict(reading)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
