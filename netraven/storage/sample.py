"""Which devices stand for the fleet where not all of it is read.

Multiples of a number near the golden section of 2^16 spread evenly over that range, whatever pattern the ids have: an
import that lists edge and core routers in turn must not make the sample one of edge routers.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement

_STEP = 40503
_RANGE = 65536


def in_share(device_id: int, share: float) -> bool:
    """Whether the device belongs to that share of the fleet."""
    return device_id * _STEP % _RANGE < int(share * _RANGE)


def share_condition(device_id: ColumnElement[int], share: float) -> ColumnElement[bool]:
    """The same as a condition."""
    return device_id * _STEP % _RANGE < int(share * _RANGE)
