"""What is said of a run, by what it does: that something was collected, is reachable, or opens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from netraven.cli.screen import counted, size
from netraven.model import RunStatus, What
from netraven.schedule.durations import span_text


@dataclass(frozen=True, slots=True)
class Kind:
    well: str
    """Of a device that went well, and the row of numbers."""
    unwell: str
    """The heading over devices that did not."""
    headlines: Mapping[RunStatus, str]


_ALWAYS = {
    RunStatus.QUEUED: "waits for a daemon (netraven serve)",
    RunStatus.RUNNING: "is still going on",
    RunStatus.MISSED: "its time went by without a run",
}
_KINDS = {
    What.CONFIGURATION: Kind(
        "collected",
        "not collected",
        _ALWAYS
        | {
            RunStatus.COMPLETE: "everything was collected",
            RunStatus.PARTIAL: "not everything was collected",
            RunStatus.FAILED: "nothing was collected",
            RunStatus.INTERRUPTED: "was interrupted; what was collected is kept",
            RunStatus.NO_DEVICES: "there was no device to collect",
            RunStatus.NO_CREDENTIALS: "no device has a credential that matches",
        },
    ),
    What.REACHABILITY: Kind(
        "reachable",
        "not reachable",
        _ALWAYS
        | {
            RunStatus.COMPLETE: "every device is reachable",
            RunStatus.PARTIAL: "not every device is reachable",
            RunStatus.FAILED: "no device is reachable",
            RunStatus.INTERRUPTED: "was interrupted; what was found out is on record",
            RunStatus.NO_DEVICES: "there was no device to reach",
        },
    ),
    What.CREDENTIALS: Kind(
        "opened",
        "did not open",
        _ALWAYS
        | {
            RunStatus.COMPLETE: "every device opens",
            RunStatus.PARTIAL: "not every device opens",
            RunStatus.FAILED: "no device opens",
            RunStatus.INTERRUPTED: "was interrupted; what was found out is on record",
            RunStatus.NO_DEVICES: "there was no device to open",
            RunStatus.NO_CREDENTIALS: "no device has a credential that matches",
        },
    ),
    What.STALE: Kind(
        "reported",
        "not reported",
        _ALWAYS
        | {
            RunStatus.COMPLETE: "the report of devices that were not collected for long",
            RunStatus.FAILED: "there is no report",
            RunStatus.INTERRUPTED: "was interrupted; there is no report",
        },
    ),
    What.PRUNE: Kind(
        "pruned",
        "not pruned",
        _ALWAYS
        | {
            RunStatus.COMPLETE: "what retention lets go was taken away",
            RunStatus.PARTIAL: "not all that retention lets go was taken away",
            RunStatus.FAILED: "nothing was taken away",
            RunStatus.INTERRUPTED: "was interrupted; what was taken away is gone",
        },
    ),
}


def kind_of(what: What) -> Kind:
    return _KINDS[what]


def headline(what: What, status: RunStatus) -> str:
    return kind_of(what).headlines.get(status, status.value.replace("_", " "))


def well(what: object) -> str:
    """The word for a device that went well in such a run."""
    return kind_of(What(str(what))).well


def said_of_chore(what: What, done: Mapping[str, Any]) -> Iterator[str]:
    """What a run without devices came to, from its log."""
    if what is What.STALE:
        span, number = span_text(float(done.get("older_than_s", 0))), int(done.get("count", 0))
        names = [str(name) for name in done.get("devices") or ()]
        if not number:
            yield f"none: each of its devices was collected within {span}, and nobody is told"
            return
        more = f" and {number - len(names):,} more" if number > len(names) else ""
        yield f"{counted(number, 'device')} not collected within {span}: {', '.join(names)}{more}"
        return
    if done.get("cut_short"):
        yield from (f"{int(number):,} {about}" for about, number in dict(done.get("so_far") or {}).items())
        return
    versions, devices, texts, stored = (
        int(done.get(name, 0)) for name in ("versions", "devices", "texts", "bytes")
    )
    yield (
        f"gone: {counted(versions, 'version')} of {counted(devices, 'device')}, "
        f"{counted(texts, 'text')} ({size(stored)} as stored)"
    )
    for log, number in dict(done.get("logs") or {}).items():
        if number:
            yield f"gone: {int(number):,} rows of {log}"
    if packed := done.get("packed"):
        yield f"made small: {counted(int(packed.get('texts', 0)), 'text')}"
