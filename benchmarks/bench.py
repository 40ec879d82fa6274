"""What every question works with: sizes, a folder, and runs that follow each other on the same lab."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks import clients
from benchmarks.lab import Fleet, hosts, lab, logins
from benchmarks.process import Job, Reading, run
from benchmarks.table import Answer, Budget, Row


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. The defaults are a full run, of about half an hour."""

    rounds: int = 5
    devices: int = 300
    """Questions ``cpu`` and ``slow``."""
    workers: int = 50
    """Threads, or tasks, of tools that bound what they do at once."""
    think: float = 1.0
    """Seconds per command in ``slow``."""
    sessions: tuple[int, ...] = (1_000, 4_000)
    threads: int = 300
    """Sessions of Netmiko in ``memory``: a thread each."""
    storm: int = 4_000
    storm_think: float = 3.0
    fleets: tuple[int, int] = (1_000, 20_000)
    attempts: int = 20_000
    callers: tuple[int, ...] = (200, 1_000)
    simulated: int = 2_000
    """Devices of each fleet in ``strategies``."""
    seeds: int = 30
    """Fleets of each shape there."""
    guarded: int = 400
    """Devices that what the guard costs is measured on."""
    logins: int = 1_000
    """Devices behind one AAA service that takes its time."""
    wrong: tuple[int, int] = (1_000, 100_000)
    """Devices that all refuse the only password."""
    mixed: int = 2_000
    """Devices that three users share."""
    history: tuple[int, int] = (10_000, 100)
    """Devices and versions of each, and ..."""
    asked: int = 1_000
    """... how often each question is put to them."""
    jobs: int = 10_000
    looks: int = 1_000
    """Of the scheduler, a second apart."""


QUICK = Sizes(
    rounds=1,
    devices=12,
    workers=6,
    think=0.1,
    sessions=(20,),
    threads=10,
    storm=30,
    storm_think=0.2,
    fleets=(10, 30),
    attempts=200,
    callers=(20,),
    simulated=100,
    seeds=2,
    guarded=12,
    logins=20,
    wrong=(25, 60),
    mixed=30,
    history=(20, 5),
    asked=10,
    jobs=150,
    looks=40,
)


Pair = tuple[Reading, Reading]
"""NetRaven's run, and that of the peer right after it."""


class Bench:
    """One run of the benchmarks."""

    def __init__(self, sizes: Sizes, folder: Path) -> None:
        self.sizes = sizes
        self.folder = folder
        self._numbers = count()

    def new_folder(self, name: str) -> Path:
        return self.folder / f"{next(self._numbers)}-{name}"

    @contextmanager
    def lab(self, devices: int, **how: Any) -> Iterator[Fleet]:
        with lab(self.new_folder("lab"), devices, **how) as fleet:
            yield fleet

    def home(self, fleet: Fleet, devices: int, users: Mapping[str, str] | None = None) -> Path:
        """A folder as a user has it before the first run; every run of NetRaven gets a copy.

        ``users``: with their passwords, those of the lab unless told.
        """
        home = self.new_folder("home")
        known = logins(fleet.folder) if users is None else users
        asyncio.run(clients.prepare(home, known, hosts(fleet.folder, devices)))
        return home

    def measure(
        self,
        answer: Answer,
        client: str,
        fleet: Fleet,
        home: Path | None = None,
        settings: str = "",
        **how: Any,
    ) -> Reading:
        """Run ``client`` once, on a fresh copy of ``home``, and put what it said among the raw figures.

        ``settings``: what the copy's settings file has besides.
        """
        own = self.new_folder("copy")
        if home is not None:
            shutil.copytree(home, own)
            with (own / "netraven.toml").open("a") as file:
                file.write(settings)
        reading = self.measure_at(answer, client, fleet, own, **how)
        shutil.rmtree(own, ignore_errors=True)
        return reading

    def measure_at(self, answer: Answer, client: str, fleet: Fleet, home: Path, **how: Any) -> Reading:
        """The same in ``home`` itself: what the run leaves there is the next one's past."""
        reading = run(Job(client=client, lab=str(fleet.folder), home=str(home), **how))
        answer.raw.append({"at": round(time.time(), 1), **asdict(reading)})
        told = reading.error or f"{reading.collected} of {reading.devices} in {reading.wall:.1f} s"
        print(f"    {client}: {told}", file=sys.stderr, flush=True)
        if not reading.error and not reading.complete:
            worst = max(reading.failed.items(), key=lambda item: item[1], default=("nothing said", 0))
            answer.notes.append(
                f"{client}: {reading.collected} of {reading.devices} collected; {worst[1]} x {worst[0]}"
            )
        return reading

    def alternate(
        self, answer: Answer, fleet: Fleet, at_once: dict[str, int], *, ours: int, rounds: int
    ) -> dict[str, list[Pair]]:
        """NetRaven, peer, NetRaven, peer ...: the machine's speed drifts, and ratios should not.

        ``at_once``: how many sessions each peer may have, ``ours``: how many NetRaven. Peers that are not installed
        come back with an empty list.
        """
        devices = self.sizes.devices
        home = self.home(fleet, devices)
        pairs: dict[str, list[Pair]] = {peer: [] for peer in at_once}
        for _ in range(rounds):
            for peer, found in pairs.items():
                if clients.installed(peer):
                    first = self.measure(answer, "netraven", fleet, home, devices=devices, concurrency=ours)
                    how = {"devices": devices, "concurrency": at_once[peer]}
                    found.append((first, self.measure(answer, peer, fleet, home, **how)))
        return pairs


def compared(pairs: dict[str, list[Pair]], figure: str, budgets: Mapping[str, Budget]) -> Iterator[Row]:
    """NetRaven's row, then one for each peer: its own figures, and NetRaven's against them, pair by pair."""
    ours = [first for found in pairs.values() for first, _ in found]
    yield Row(
        clients.TITLES["netraven"],
        [getattr(first, figure) for first in ours if not first.error],
        note=_errors(ours),
    )
    for peer, found in pairs.items():
        title, budget = clients.TITLES[peer], budgets.get(peer)
        whole = [pair for pair in found if not any(reading.error for reading in pair)]
        values = [getattr(second, figure) for _, second in whole]
        ratios = [getattr(first, figure) / getattr(second, figure) for first, second in whole]
        note = _errors([second for _, second in found]) if found else "not installed"
        yield Row(title, values, ratios, budget, note)


def _errors(readings: Sequence[Reading]) -> str:
    return next((reading.error for reading in readings if reading.error), "")
