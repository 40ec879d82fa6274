"""The simulated fleet that every client logs in to: one process, on a core of its own."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.process import CORES, ENVIRONMENT, pin

USER = "bench"
"""The one login that opens every device."""


@dataclass(frozen=True, slots=True)
class Host:
    """One simulated device, as a client finds it in the lab's inventory."""

    name: str
    host: str
    port: int
    tags: tuple[str, ...]


@dataclass(slots=True)
class Fleet:
    """A running lab. ``said`` is what it reports once it has ended: sessions at its peak, what it counted, its CPU."""

    folder: Path
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def peak_sessions(self) -> int:
        return int(self.said.get("peak_sessions", 0))

    @property
    def cpu(self) -> float:
        """Seconds that the lab itself has spent since it was ready."""
        return float(self.said.get("cpu_seconds", 0.0))


@contextmanager
def lab(folder: Path, devices: int, *, think: float = 0.0) -> Iterator[Fleet]:
    """``devices`` of one dialect behind one listener, each with its own address, all with the same host key."""
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "netraven.lab", "--devices", str(devices), "--shares", f"{USER}=1.0"]
    command += ["--dialects", "cisco_iosxe", "--think", str(think), "--out", str(folder)]
    if sys.platform == "linux":
        command += ["--addressing", "address", "--one-listener"]
    command += ["--shared-host-keys", "1"]
    fleet = Fleet(folder)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=ENVIRONMENT
    ) as process:
        assert process.stdout is not None
        pin(process.pid, CORES.lab)
        try:
            if not json.loads(process.stdout.readline() or "{}").get("ready"):
                raise RuntimeError("the lab did not start; what it said stands above")
            yield fleet
        finally:
            process.terminate()
            last = process.stdout.readline()
    fleet.said = json.loads(last or "{}")


def hosts(folder: Path, count: int) -> list[Host]:
    """The first ``count`` devices of a lab's inventory."""
    with (folder / "devices.csv").open(newline="") as file:
        rows = [row for row, _ in zip(csv.DictReader(file), range(count), strict=False)]
    return [Host(r["name"], r["host"], int(r["port"]), tuple(r["tags"].split(";"))) for r in rows]


def password(folder: Path) -> str:
    (login,) = json.loads((folder / "logins.json").read_text())
    return str(login["password"])
