"""A client in a fresh process of its own, pinned to a core: how it is started and what it says it cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE" and "NETRAVEN" not in k}
"""Of clients and labs: this checkout, modules compiled once, nobody's settings."""
ENVIRONMENT |= {"PYTHONPATH": str(ROOT)}


class Cores(NamedTuple):
    """The cores that clients and labs are pinned to; None where the system cannot pin."""

    client: int | None
    lab: int | None

    def __str__(self) -> str:
        if self.client is None:
            return "not pinned: this system cannot"
        if self.client == self.lab:
            return f"client and lab share core {self.client}: figures are not comparable with others'"
        return f"client on core {self.client}, lab on core {self.lab}"


def _cores() -> Cores:
    if not hasattr(os, "sched_getaffinity"):
        return Cores(None, None)
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[-1])


CORES = _cores()


def pin(pid: int, core: int | None) -> None:
    """Keep a process, and what it starts from now on, on one core."""
    if core is not None:
        os.sched_setaffinity(pid, {core})


@dataclass(frozen=True, slots=True)
class Job:
    """What a client is to do: collect the first ``devices`` of the lab in ``lab``."""

    client: str
    lab: str
    devices: int
    concurrency: int
    home: str = ""
    """Folder with NetRaven's settings, key and database."""
    keep: bool = True
    """Whether the collected text is kept until the end, as a caller would; not where memory is measured."""
    alone: bool = False
    """Whether one device is timed by itself first."""
    warm: bool = True
    """Whether one device is collected before anything counts; not where a first run has to know nothing."""
    sample: bool = False
    """Whether the memory of the process is watched."""
    limit: float = 600.0
    """Seconds until the client is given up."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one client did and cost. Seconds, and KiB."""

    client: str
    devices: int
    collected: int = 0
    attempts: int | None = None
    failed: dict[str, int] = field(default_factory=dict)
    cpu: float = 0.0
    wall: float = 0.0
    process_cpu: float = 0.0
    """The whole process: start, imports and warm-up included."""
    alone: float = 0.0
    waited: float = 0.0
    """How long the main thread was ready to run while its core was busy: what spoils a wall time."""
    idle_kib: int = 0
    peak_kib: int = 0
    error: str = ""
    """Why there are no figures."""

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of CPU per device."""
        return self.cpu / self.devices * 1000

    @property
    def complete(self) -> bool:
        return not self.error and self.collected == self.devices


def run(job: Job) -> Reading:
    """Run a client and read its figures; never raises for what the client does."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as process:
        pin(process.pid, CORES.client)
        try:
            out, err = process.communicate(json.dumps(asdict(job)), timeout=job.limit)
        except subprocess.TimeoutExpired:
            process.kill()
            return Reading(job.client, job.devices, error=f"not done after {job.limit:g} s")
    last = out.strip().rpartition("\n")[2]
    if process.returncode or not last.startswith("{"):
        return Reading(job.client, job.devices, error=(err.strip().rpartition("\n")[2] or "died")[:200])
    return Reading(**json.loads(last))
