"""Why a device is put aside for now, and what it waits for."""

from __future__ import annotations

from dataclasses import dataclass

from netraven.collect.visit import Visit


@dataclass(frozen=True, slots=True)
class Again:
    """The device is to be visited once more, ``wait`` seconds from now."""

    visit: Visit
    wait: float


@dataclass(frozen=True, slots=True)
class Parked:
    """The device waits outside, at the desk of ``account``."""

    visit: Visit
    account: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Doubtful:
    """What the device refused may have been the AAA service's fault: that is about to turn out."""

    visit: Visit


@dataclass(frozen=True, slots=True)
class Deferred:
    """What could open the device is kept back; it is looked at again before the run ends."""

    visit: Visit


Later = Again | Parked | Doubtful | Deferred


class Put(Exception):
    """The device is put aside for now."""

    def __init__(self, later: Again | Parked | Doubtful) -> None:
        super().__init__()
        self.later = later
