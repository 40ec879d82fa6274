"""This machine's clocks as the lockout guard reads them."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path

from netraven.credentials.moments import Moment

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while the machine sleeps


@lru_cache(maxsize=1)
def _boot() -> str:
    """Names this boot; empty where the system does not tell, and the time of day has to do."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def now() -> Moment:
    return Moment(time.time(), time.clock_gettime(_SINCE_BOOT), _boot())
