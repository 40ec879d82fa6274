"""Simulated SSH devices on loopback: for `netraven demo`, for tests as the referee, for benchmarks."""

from netraven.lab.aaa import AAA
from netraven.lab.configurations import configuration
from netraven.lab.dialects import DIALECTS
from netraven.lab.fleet import Fleet, LabLogin, fleet
from netraven.lab.lab import Lab
from netraven.lab.model import WELL, Ill, LabAlgorithms, LabDevice
from netraven.lab.wirelog import Attempt, Event, WireLog, secret_hash

__all__ = [
    "AAA",
    "DIALECTS",
    "WELL",
    "Attempt",
    "Event",
    "Fleet",
    "Ill",
    "Lab",
    "LabAlgorithms",
    "LabDevice",
    "LabLogin",
    "WireLog",
    "configuration",
    "fleet",
    "secret_hash",
]
