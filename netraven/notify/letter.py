"""A message as a mail: what a person reads in the morning. Pure: nothing is sent here.

Text of devices is made harmless, and the whole has an end: long differences are cut, and the mail says where the rest
is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from netraven.model import Event, EventKind, What
from netraven.notify.message import ChangedOutput, Message
from netraven.notify.payload import LONGEST_DIFF, cut
from netraven.plain import plain, plain_line

LONGEST = 512 * 1024
"""Characters of differences in one mail; mail servers commonly take ten megabytes and more."""
MOST_NAMED = 200
"""Devices that are listed under one heading."""

_HEADINGS = {
    EventKind.CHANGED: "Changed",
    EventKind.FIRST_SEEN: "Seen for the first time",
    EventKind.FAILED: "Failed, and had not the time before",
    EventKind.FAILED_AGAIN: "Failed again",
    EventKind.RECOVERED: "Back again",
}
_WORDS = {
    EventKind.CHANGED: "changed",
    EventKind.FIRST_SEEN: "was seen for the first time",
    EventKind.FAILED: "could not be collected",
    EventKind.FAILED_AGAIN: "could not be collected again",
    EventKind.RECOVERED: "is back again",
}
_OTHER_WORDS = {
    (What.REACHABILITY, EventKind.FAILED): "could not be reached",
    (What.REACHABILITY, EventKind.FAILED_AGAIN): "could not be reached again",
    (What.REACHABILITY, EventKind.RECOVERED): "is reachable again",
    (What.CREDENTIALS, EventKind.FAILED): "did not open",
    (What.CREDENTIALS, EventKind.FAILED_AGAIN): "did not open again",
    (What.CREDENTIALS, EventKind.RECOVERED): "opens again",
}
_WELL = {What.REACHABILITY: "reachable", What.CREDENTIALS: "opened"}
_IN_SUBJECTS = {
    EventKind.CHANGED: "changed",
    EventKind.FIRST_SEEN: "new",
    EventKind.FAILED: "failed",
    EventKind.FAILED_AGAIN: "failed again",
    EventKind.RECOVERED: "back",
}


@dataclass(frozen=True, slots=True)
class Letter:
    subject: str
    text: str


def letter(message: Message) -> Letter:
    event = message.event
    if event is None:
        return Letter(
            "NetRaven: a test",
            f"This is a test of the hook {plain_line(message.hook)}, sent at {_clock(message.at)}.\n",
        )
    if event.kind is EventKind.RUN_FINISHED:
        return _of_run(message, event)
    if event.kind is EventKind.STALE:
        return Letter(f"NetRaven: {_stale_in_short(event)}", "\n".join(_stale(event)) + "\n")
    return _of_device(message, event)


def _of_device(message: Message, event: Event) -> Letter:
    device = plain_line(event.device or "", 100)
    words = _OTHER_WORDS.get((_what(event), event.kind), _WORDS[event.kind])
    subject = f"NetRaven: {device} {words}"
    lines = [f"{device} {words} ({_about(event)}), in run {event.run} at {_clock(event.at)}."]
    if why := _why(event):
        lines.append(why)
    return Letter(subject, "\n".join([*lines, "", *_differences([message])]).rstrip() + "\n")


def _of_run(message: Message, event: Event) -> Letter:
    what = _what(event)
    stale = [p.event for p in message.parts if p.event is not None and p.event.kind is EventKind.STALE]
    parts = {kind: [p for p in message.parts if p.event and p.event.kind is kind] for kind in _HEADINGS}
    said = [_stale_in_short(one) for one in stale]
    said += [f"{len(found):,} {_IN_SUBJECTS[kind]}" for kind, found in parts.items() if found]
    status = plain_line(str(event.data.get("status", "")).replace("_", " "))
    subject = f"NetRaven: run {event.run}: {', '.join(said) or status}"
    counts = event.data.get("counts") or {}
    lines = [f"Run {event.run}{_ABOUT.get(what, '')} ended at {_clock(event.at)}: {status}."]
    if what.visits:
        numbers = {name: int(counts.get(name, 0)) for name in ("devices", "collected", "failed", "skipped")}
        template = "{devices:,} devices: {collected:,} {well}, {failed:,} failed, {skipped:,} skipped."
        lines.append(template.format(**numbers, well=_WELL.get(what, "collected")))
    if error := event.data.get("error"):
        lines.append(plain_line(str(error)))
    failed = len(parts[EventKind.FAILED]) + len(parts[EventKind.FAILED_AGAIN])
    untold = 0 if message.more else int(counts.get("failed", 0)) - failed
    if not message.parts and untold <= 0 and what.visits:
        lines += ["", "There is nothing to tell of single devices."]
    for one in stale:
        lines += ["", *_stale(one)]
    for kind, found in parts.items():
        lines += _listed(_HEADINGS[kind], found)
    if untold > 0:
        lines += ["", f"Failed, and not asked for by this hook: {untold:,} (netraven run show {event.run})"]
    if message.more:
        lines += ["", f"There is more than this mail has room for: netraven run show {event.run}"]
    return Letter(subject, "\n".join([*lines, "", *_differences(parts[EventKind.CHANGED])]).rstrip() + "\n")


_ABOUT = {
    What.REACHABILITY: " (a check of reachability)",
    What.CREDENTIALS: " (a check of credentials)",
    What.STALE: " (a report of stale devices)",
    What.PRUNE: " (a prune)",
}


def _what(event: Event) -> What:
    try:
        return What(event.data.get("what", What.CONFIGURATION))
    except ValueError:  # of a later version
        return What.CONFIGURATION


def _stale_in_short(event: Event) -> str:
    number = int(event.data.get("count", 0))
    return f"{number:,} {'device' if number == 1 else 'devices'} not collected within {_span(event)}"


def _span(event: Event) -> str:
    """Hours, or days where they say it as well."""
    hours = float(event.data.get("older_than_s", 0)) / 3600
    return f"{hours / 24:g} days" if hours >= 48 and hours % 24 == 0 else f"{hours:g} h"


def _stale(event: Event) -> Iterator[str]:
    """A plain table, for it is read in any window."""
    yield f"{_stale_in_short(event)}:"
    yield ""
    devices = list(event.data.get("devices") or ())[:MOST_NAMED]
    rows = [("device", "platform", "collected (UTC)", "tried (UTC)", "reason")]
    rows += [
        (
            plain_line(str(one.get("name") or ""), 100),
            plain_line(str(one.get("platform") or ""), 40),
            _day(one.get("collected_at")),
            _day(one.get("tried_at")),
            plain_line(str(one.get("reason") or ""), 60),
        )
        for one in devices
    ]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
    if (more := int(event.data.get("count", 0)) - len(devices)) > 0:
        yield f"and {more:,} more: netraven report stale"


def _day(stamp: object) -> str:
    if not stamp:
        return "never"
    try:
        return datetime.fromisoformat(str(stamp)).astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return plain_line(str(stamp), 30)


def _listed(heading: str, found: Sequence[Message]) -> Iterator[str]:
    if not found:
        return
    yield from ("", f"{heading} ({len(found):,})")
    for part in found[:MOST_NAMED]:
        if part.event is not None:
            told = _why(part.event) or ", ".join(_in_short(change) for change in part.changes)
            yield f"  {plain_line(part.event.device or '', 100)} ({_about(part.event)})" + (
                told and f": {told}"
            )
    if len(found) > MOST_NAMED:
        yield f"  and {len(found) - MOST_NAMED:,} more"


def _differences(messages: Iterable[Message]) -> Iterator[str]:
    room = LONGEST
    missing = 0
    for message in messages:
        device = plain_line(message.event.device or "" if message.event else "", 100)
        for change in message.changes:
            if change.problem:
                yield from ("", f"{device}: {plain_line(change.problem)}")
            if not change.diff:
                continue
            text, left_out = cut(plain(change.diff), min(LONGEST_DIFF, room))
            if not text:
                missing += 1
                continue
            room -= len(text)
            yield from ("", f"--- {device}: {_in_short(change)} " + "-" * 20, text.rstrip("\n"))
            if left_out:
                rest = f"netraven config diff {device} {change.previous} {change.number}"
                yield f"[{left_out:,} more lines: {rest} --kind {change.kind}]"
    if missing:
        yield from ("", f"[{missing:,} more differences are left out: this mail is long enough]")


def _in_short(change: ChangedOutput) -> str:
    if change.number is None:
        return "a new version"
    if change.previous is None:
        return f"{change.kind} version {change.number}"
    return f"{change.kind} {change.previous} -> {change.number}, +{change.added} -{change.removed}"


def _about(event: Event) -> str:
    tags = ", ".join(sorted(event.tags))
    return plain_line("; ".join(part for part in (event.platform, tags) if part), 200) or "no platform"


def _why(event: Event) -> str:
    reason, detail = event.data.get("reason"), event.data.get("detail")
    return plain_line(": ".join(str(part) for part in (reason, detail) if part))


def _clock(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
