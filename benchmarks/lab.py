"""The simulated fleet that every client logs in to: one process, on a core of its own."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.process import CORES, ENVIRONMENT, pin

USER = "bench"
"""The one login that opens every device, unless a question has the fleet shared out."""


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

    @property
    def refusals(self) -> int:
        """Passwords that its AAA service refused."""
        return int(self.said.get("refusals") or 0)

    @property
    def lockouts(self) -> int:
        """Accounts that its AAA service locked."""
        return len(self.said.get("lockouts") or ())


@contextmanager
def lab(
    folder: Path,
    devices: int,
    *,
    think: float = 0.0,
    shares: Mapping[str, float] | None = None,
    aaa: Mapping[str, Any] | None = None,
) -> Iterator[Fleet]:
    """``devices`` of one dialect behind one listener, each with its own address, all with the same host key.

    ``shares``: which user opens which share of them. ``aaa``: the service that judges their logins, as
    ``netraven.lab.AAA`` takes it; without one, each device judges by itself.
    """
    folder.mkdir(parents=True)
    shared_out = ",".join(f"{user}={share}" for user, share in (shares or {USER: 1.0}).items())
    command = [sys.executable, "-m", "netraven.lab", "--devices", str(devices), "--shares", shared_out]
    command += ["--dialects", "cisco_iosxe", "--think", str(think), "--out", str(folder)]
    if aaa is not None:
        spec = folder / "spec.json"
        spec.write_text(json.dumps({"aaa": dict(aaa)}))
        command += ["--spec", str(spec)]
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


def multiplied(fleet: Fleet, folder: Path, count: int) -> Fleet:
    """``count`` names for the devices of a running lab: an inventory that is larger than what answers to it."""
    with (fleet.folder / "devices.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    folder.mkdir(parents=True)
    with (folder / "devices.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for number in range(count):
            row = rows[number % len(rows)]
            writer.writerow(row | {"name": f"{row['name']}-{number:06}"})
    (folder / "logins.json").write_text((fleet.folder / "logins.json").read_text())
    return Fleet(folder)


def logins(folder: Path) -> dict[str, str]:
    """The users of a lab, each with its password."""
    return {
        login["username"]: login["password"] for login in json.loads((folder / "logins.json").read_text())
    }


def password(folder: Path) -> str:
    """That of the one user."""
    (secret,) = logins(folder).values()
    return secret
