"""How long ago, in words."""

from __future__ import annotations

from datetime import datetime

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


def ago(then: datetime, now: datetime) -> str:
    """As in "just now", "5 min ago", "3 h ago", "2 d ago": rounded down, hours up to two days.

    What lies ahead (a clock was set back) is just now.
    """
    seconds = (now - then).total_seconds()
    if seconds < _MINUTE:
        return "just now"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f} min ago"
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR:.0f} h ago"
    return f"{seconds // _DAY:.0f} d ago"
