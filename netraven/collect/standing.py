"""How devices go, from outcome to outcome: what a run takes down of them for the next ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from netraven.errors import InternalFault, Unreachable
from netraven.model import DeviceFinished, DeviceStanding, Outcome, SkipReason, Status, What

OLD, NEW = 0.7, 0.3
"""What the usual duration and the last one weigh in the next."""


def dead_in_row(before: int, outcome: Outcome) -> int:
    """How many runs in a row could not reach a device, after this one.

    What says nothing of the device (it was not tried, or a fault of ours was met) changes nothing.
    """
    if outcome.attempts:
        return 0
    if outcome.status is Status.SKIPPED or outcome.reason == InternalFault.reason:
        return before
    return before + 1 if outcome.reason == Unreachable.reason else 0


def usual_ms(before: int | None, now: int | None) -> int | None:
    """What a visit usually takes, after one that went well and took so long (None: it did not go well)."""
    if before is None or now is None:
        return before if now is None else now
    return round(OLD * before + NEW * now)


def tried(entry: DeviceFinished) -> bool:
    """Whether the entry tells how the device's configuration could be collected."""
    return entry.what is What.CONFIGURATION and entry.outcome.reason != SkipReason.INTERRUPTED


def duration_ms(entry: DeviceFinished) -> int | None:
    """What the visit took, where it went well and is one of those that are reckoned with."""
    return entry.took_ms if tried(entry) and entry.outcome.status is Status.COLLECTED else None


def after(before: DeviceStanding, entry: DeviceFinished) -> DeviceStanding:
    """How the device stands after this outcome."""
    outcome = entry.outcome
    now = replace(before, dead_in_row=dead_in_row(before.dead_in_row, outcome))
    if not tried(entry):
        return now
    at = outcome.started_at + timedelta(milliseconds=outcome.duration_ms)
    return replace(
        now,
        tried_at=at,
        reason=outcome.reason,
        collected_at=at if outcome.status is Status.COLLECTED else before.collected_at,
        duration_ms=usual_ms(before.duration_ms, duration_ms(entry)),
    )
