"""When to try again: decided from facts alone."""

from __future__ import annotations

import zlib

FIRST = 1.0
LONGEST = 600.0
LONGEST_ASKED = 3600.0
"""Seconds that a receiver may ask to be left alone; it is tried after that whatever it asks."""
_SPREAD = 0.25


def wait(failures: int, uid: str, asked: float | None = None) -> float:
    """Seconds until the next try after so many failures in a row: 1, 2, 4 ... 600, a quarter more or less.

    Which, ``uid`` decides: many that failed at once do not come back at once. ``asked``: what the receiver asked for,
    which is kept at least, up to an hour.
    """
    plain = min(LONGEST, FIRST * 2.0 ** min(max(failures, 1) - 1, 30))
    turn = zlib.crc32(f"{uid} {failures}".encode()) / 0xFFFFFFFF
    waits = plain * (1 - _SPREAD + 2 * _SPREAD * turn)
    return max(waits, min(asked, LONGEST_ASKED)) if asked is not None else waits
