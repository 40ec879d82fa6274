"""The referee: what really arrived on the wire, as the devices saw it."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Verdict = Literal["accepted", "refused", "unanswered", "expired"]
"""`unanswered`: the connection ended before the device said anything. `expired`: asked for a new password."""

Kind = Literal[
    "connect", "kex", "attempt", "verdict", "session", "command", "enable", "session_closed", "disconnect"
]  # fmt: skip


def secret_hash(password: str) -> str:
    """What stands for a password in the recorded file."""
    return hashlib.sha256(password.encode()).hexdigest()


@dataclass(slots=True, eq=False)
class Attempt:
    """One secret that reached one device. `verdict` is None until the device has answered."""

    number: int
    connection: int
    device: str
    username: str
    method: str
    offered_at: float
    password: str = field(repr=False)
    verdict: Verdict | None = None
    answered_at: float | None = None

    @property
    def secret(self) -> str:
        return secret_hash(self.password)


@dataclass(frozen=True, slots=True)
class Event:
    """`at` is the monotonic clock; `detail` the command, the user name or the verdict, as the kind asks."""

    at: float
    kind: Kind
    device: str
    connection: int
    detail: str = ""


class WireLog:
    """Counts always; keeps events and attempts unless `record` is False; appends JSON lines to `sink`.

    Each line is handed to the kernel at once, nothing is buffered here: an attempt's line before the device
    looks at the secret, a verdict's line right after the verdict was sent. A client may be killed any time,
    and the file still tells what it had offered. Passwords do not stand in it, only their hashes.
    """

    def __init__(self, *, record: bool = True, sink: str | Path | int | None = None) -> None:
        self.record = record
        self.events: list[Event] = []
        self._attempts: list[Attempt] = []
        self._counts: Counter[str] = Counter()
        self._numbers = 0
        self._own = isinstance(sink, str | Path)
        self._fd: int | None
        if isinstance(sink, str | Path):
            self._fd = os.open(sink, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        else:
            self._fd = sink

    def attempts(self, name: str | None = None) -> list[Attempt]:
        """Attempts in the order of their arrival, of one device or of all."""
        return [attempt for attempt in self._attempts if name is None or attempt.device == name]

    def secrets_seen(self, name: str) -> list[str]:
        """The passwords that one device was offered, in order, repeats included."""
        return [attempt.password for attempt in self.attempts(name)]

    def commands(self, name: str) -> list[str]:
        return [event.detail for event in self.events if event.kind == "command" and event.device == name]

    def counts(self) -> dict[str, int]:
        """How many of each kind of event (`connect`, `attempt`, ...), and of each verdict."""
        return dict(self._counts)

    def clear(self) -> None:
        """Forget what was recorded; attempts without a verdict are still answered, but no longer listed."""
        self.events.clear()
        self._attempts.clear()
        self._counts.clear()

    def event(self, kind: Kind, device: str, connection: int, detail: str = "", **more: Any) -> None:
        self._counts[kind] += 1
        if not self.record and self._fd is None:
            return
        at = time.monotonic()
        if self.record:
            self.events.append(Event(at, kind, device, connection, detail))
        if self._fd is not None:
            line = {"at": round(at, 6), "event": kind, "device": device, "connection": connection, **more}
            if detail and not more:
                line["detail"] = detail
            os.write(self._fd, json.dumps(line).encode() + b"\n")

    def attempt(self, device: str, connection: int, username: str, method: str, password: str) -> Attempt:
        """A secret has arrived; nothing was answered yet."""
        self._numbers += 1
        attempt = Attempt(self._numbers, connection, device, username, method, time.monotonic(), password)
        if self.record:
            self._attempts.append(attempt)
        if self._fd is None:
            self.event("attempt", device, connection, username)
        else:
            self.event(
                "attempt", device, connection, username,
                attempt=attempt.number, username=username, method=method, secret=attempt.secret,
            )  # fmt: skip
        return attempt

    def verdict(self, attempt: Attempt, verdict: Verdict) -> None:
        """The device has answered (or will never): the answer has been handed to the kernel."""
        attempt.verdict = verdict
        attempt.answered_at = time.monotonic()
        self._counts[verdict] += 1
        if self._fd is None:
            self.event("verdict", attempt.device, attempt.connection, verdict)
        else:
            self.event(
                "verdict", attempt.device, attempt.connection, verdict,
                attempt=attempt.number, username=attempt.username, verdict=verdict,
            )  # fmt: skip

    def close(self) -> None:
        if self._own and self._fd is not None:
            os.close(self._fd)
        self._fd = None
