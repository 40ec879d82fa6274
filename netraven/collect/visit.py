"""What is remembered of a device while a run is busy with it, across its retries."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from netraven.model import Credential, Device, Outcome, SkipReason, Status, Target, utcnow
from netraven.ports import Clock


@dataclass(slots=True)
class Visit:
    """One device in one run."""

    target: Target
    clock: Clock
    tries: int = 0
    """Retries made so far."""
    attempts: int = 0
    refused: set[str] = field(default_factory=set)
    """Names of the credentials that the device has refused in this run: never offered to it again."""
    credentials: list[Credential] = field(default_factory=list)
    """Those that were offered, each once, in order."""
    started_at: datetime = field(default_factory=utcnow)
    began: float = 0.0
    stage: Literal["before", "offered", "session"] = "before"
    """How far the present try has come: nothing offered, a secret without a verdict, logged in."""
    finished: Outcome | None = None
    """What the device came to, from the moment on at which it is being put on record."""

    def __post_init__(self) -> None:
        self.began = self.clock()

    @property
    def device(self) -> Device:
        return self.target.device

    def offered(self, credential: Credential) -> None:
        self.attempts += 1
        if credential not in self.credentials:
            self.credentials.append(credential)

    def outcome(
        self, status: Status, reason: str | SkipReason | None = None, detail: str | None = None
    ) -> Outcome:
        return Outcome(
            device=self.device,
            status=status,
            started_at=self.started_at,
            duration_ms=round((self.clock() - self.began) * 1000),
            reason=None if reason is None else str(reason),
            detail=detail,
            credential=self.credentials[-1] if self.credentials else None,
            attempts=self.attempts,
            retry_count=max(0, len(self.credentials) - 1),
        )
