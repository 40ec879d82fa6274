"""Spans of time as people write them: ``90m``, ``1d12h``, or seconds as a number."""

from __future__ import annotations

import math
import re

_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_SPAN = re.compile(r"\s*(?:\d{1,9}(?:\.\d{1,6})?\s*[wdhms]\s*)+", re.IGNORECASE | re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([wdhms])", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(r"\s*\d{1,12}(?:\.\d{1,6})?\s*", re.ASCII)


def seconds_of(text: str) -> float | None:
    """The seconds that ``text`` says; None where it says none."""
    if _NUMBER.fullmatch(text):
        return float(text)
    if not _SPAN.fullmatch(text):
        return None
    return math.fsum(float(number) * _SECONDS[unit.lower()] for number, unit in _PART.findall(text))


def span_text(seconds: float) -> str:
    """The same the other way: in the largest unit that says it exactly."""
    for unit, size in _SECONDS.items():
        if seconds and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"
