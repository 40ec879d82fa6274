"""A message as JSON: the body of a webhook, and what a command reads on its standard input.

Every key is always there, so that a receiver needs no cases. No digest of a text is: whoever has the text with its
secrets as marks could try guesses at them against it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from netraven.model import Event, EventKind, What
from netraven.notify.message import ChangedOutput, Message

LONGEST_DIFF = 64 * 1024
"""Characters of the differences of one output; what is longer is cut between two lines."""


def body(message: Message) -> bytes:
    """ASCII; the same bytes for the same message."""
    return json.dumps(document(message), ensure_ascii=True, separators=(",", ":")).encode("ascii")


def document(message: Message) -> dict[str, Any]:
    event = message.event
    if event is None:
        return _document(message, "test")
    device = None
    if event.device is not None:
        device = {"name": event.device, "platform": event.platform, "tags": sorted(event.tags)}
    return _document(
        message,
        event.kind.value,
        run=event.run,
        device=device,
        versions=[_version(change) for change in message.changes],
        reason=event.data.get("reason"),
        detail=event.data.get("detail"),
        status=event.data.get("status"),
        counts=event.data.get("counts"),
        what=event.data.get("what", What.CONFIGURATION.value),
        stale=_stale(event) if event.kind is EventKind.STALE else None,
    )


def _document(message: Message, kind: str, **fields: Any) -> dict[str, Any]:
    nothing: dict[str, Any] = {
        "run": None, "device": None, "versions": [], "reason": None, "detail": None, "status": None, "counts": None,
        "what": None, "stale": None,
    }  # fmt: skip
    first = {"id": message.uid, "type": kind, "timestamp": stamp(message.at), "hook": message.hook}
    return first | nothing | fields


def _stale(event: Event) -> dict[str, Any]:
    return {name: event.data.get(name) for name in ("older_than_s", "count", "devices")}


def _version(change: ChangedOutput) -> dict[str, Any]:
    diff, left_out = cut(whole(change.diff), LONGEST_DIFF)
    return {
        "kind": change.kind or None,
        "version": change.number,
        "previous": change.previous,
        "added": change.added,
        "removed": change.removed,
        "diff": diff or None,
        "diff_truncated": left_out > 0,
        "problem": change.problem or None,
    }


def cut(text: str, limit: int) -> tuple[str, int]:
    """At most ``limit`` characters of whole lines, and how many lines are missing."""
    if len(text) <= limit:
        return text, 0
    end = text.rfind("\n", 0, limit) + 1
    return text[:end], len(text[end:].splitlines())


def whole(text: str) -> str:
    """With the bytes of a device that are no UTF-8 written out (``\\x9b``): JSON cannot carry them."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def stamp(at: datetime) -> str:
    """``2026-11-22T20:07:39.853Z``."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
