"""When a run will be finished: from what visits usually take, and from the pace that it has."""

from __future__ import annotations

from netraven.model import Load

TRUSTED = 50
"""Once so many devices are done, the pace counts as much as what was known before."""
LEAST = 10
"""Where nothing was known before, nothing is said before so many devices are done, or half of them."""


def seconds_left(
    all_of_them: Load,
    done: Load,
    *,
    places: int,
    elapsed: float,
    in_session: int = 0,
    slowest_first: bool = False,
) -> float | None:
    """Seconds until everything is done; None where nothing can be said yet.

    ``places``: visits at once. ``elapsed``: seconds since the first of them began. ``in_session``: visits under way,
    which are taken for half done.
    """
    left = all_of_them.without(done)
    if not left.devices:
        return 0.0
    average = all_of_them.seconds / all_of_them.known if all_of_them.known else None
    paced = _at_this_pace(left, done, average, elapsed, min(in_session, left.devices))
    if average is None:
        return paced if done.devices >= min(LEAST, all_of_them.devices / 2) else None
    planned = left.work(average) / min(places, left.devices)
    if slowest_first:  # the slowest has been under way since the start
        planned = max(planned, all_of_them.longest - elapsed)
    if paced is None:
        return planned
    trust = done.devices / (done.devices + TRUSTED)
    return planned * (1 - trust) + paced * trust


def _at_this_pace(
    left: Load, done: Load, average: float | None, elapsed: float, in_session: int
) -> float | None:
    if not done.devices:
        return None
    half = in_session / 2
    if average:
        work, rest = done.work(average), left.work(average)
        begun = rest * half / left.devices
    else:
        work, rest, begun = float(done.devices), float(left.devices), half
    return None if work + begun <= 0 else elapsed * (rest - begun) / (work + begun)


def unfinished_at(left: int, seconds: float, window: float) -> int:
    """Devices that will be left when the window closes, of those that ``seconds`` are needed for."""
    if seconds <= window or seconds <= 0:
        return 0
    return min(left, max(1, round(left * (1 - max(0.0, window) / seconds))))
