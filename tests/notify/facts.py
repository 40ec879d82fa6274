"""Messages that the tests of hooks share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from netraven.model import Event, EventKind
from netraven.notify.message import ChangedOutput, Message

AT = datetime(2026, 11, 22, 3, 0, 7, 853_999, tzinfo=UTC)
UID = "0f6d4c3e9b1a4d5f8a7b6c5d4e3f2a1b"
DIFF = "--- running 4\n+++ running 5\n@@ -1,2 +1,2 @@ interface Vlan1\n hostname r1\n-mtu 1500\n+mtu 9000\n"


def event(kind: EventKind = EventKind.CHANGED, device: str | None = "r1", **fields: Any) -> Event:
    given: dict[str, Any] = {"platform": "cisco_iosxe", "tags": frozenset({"lab", "edge"})} | fields
    return Event(kind, AT, 7, device, **given)


def changed(**fields: Any) -> Message:
    return message(event(), changes=(change(**fields),))


def change(**fields: Any) -> ChangedOutput:
    given: dict[str, Any] = {
        "kind": "running",
        "number": 5,
        "previous": 4,
        "added": 1,
        "removed": 1,
        "diff": DIFF,
    }
    return ChangedOutput(**(given | fields))


def message(what: Event | None, uid: str = UID, **fields: Any) -> Message:
    return Message(uid, "chat", AT, what, **fields)


def failure(kind: EventKind = EventKind.FAILED, device: str = "r2") -> Message:
    return message(
        event(kind, device, data={"reason": "unreachable", "detail": "no route"}), uid=f"of-{device}"
    )


def end(*parts: Message, **fields: Any) -> Message:
    counts = {"devices": 3, "collected": 2, "failed": 1, "skipped": 0, "attempts": 4}
    data = {"status": "partial", "counts": counts, "error": None}
    return message(
        event(EventKind.RUN_FINISHED, None, data=data, platform="", tags=frozenset()), parts=parts, **fields
    )
