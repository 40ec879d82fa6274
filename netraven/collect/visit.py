"""What is remembered of a device while a run is busy with it, across its retries."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from netraven.model import (
    Credential,
    Device,
    Earlier,
    Outcome,
    Pair,
    SkipReason,
    Status,
    Target,
    Verdict,
    utcnow,
)
from netraven.ports import Clock


@dataclass(slots=True)
class Visit:
    """One device in one run."""

    target: Target
    clock: Clock
    tries: int = 0
    """Retries made so far."""
    refused: dict[tuple[str, int], Credential] = field(default_factory=dict)
    """The secrets (name, version) that the device has refused in this run: never offered to it again."""
    doubts: set[tuple[str, int]] = field(default_factory=set)
    """Those of them that may yet turn out to have been the AAA service's fault."""
    unaccepted: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many secrets of each account the device refused, or did not answer, since it last accepted one."""
    lost_proven: bool = False
    """A secret that used to open the device was refused: what it refused earlier may fit now."""
    excused: bool = False
    """A verdict of this round was taken back: the service that gave it, or gave none, is unwell."""
    parked_at: tuple[str, str] | None = None
    """The account at whose desk the device waits outside."""
    called_by: tuple[str, str] | None = None
    """The account whose desk called the device in for this round: it is its turn there."""
    moves: int = 0
    """How often it left a desk; it may go to another, because its credentials are ranked anew when it is called."""
    offers: list[Credential] = field(default_factory=list)
    """The credential of every attempt, in order."""
    started_at: datetime = field(default_factory=utcnow)
    began: float = 0.0
    clear_text: bool = False
    """Whether it was talked to over telnet."""
    inside: bool = False
    """Whether the device is in session on the process's floor."""
    claimed: bool = False
    """Whether the device may be on record as in session with this run."""
    resumed: int = 0
    """How many of its attempts were made before this process took the run over."""
    entered: float = 0.0
    """When the present try began."""
    stage: Literal["before", "offered", "session"] = "before"
    """How far the present try has come: nothing offered, a secret without a verdict, logged in."""
    finished: Outcome | None = None
    """What the device came to, from the moment on at which it is being put on record."""
    recording: asyncio.Task[Outcome] | None = None
    """Puts what the device gave on record, begun while it was still in session."""

    def __post_init__(self) -> None:
        self.began = self.clock()

    @property
    def device(self) -> Device:
        return self.target.device

    @property
    def refused_credentials(self) -> Collection[Credential]:
        return self.refused.values()

    def pair(self, credential: Credential) -> Pair | None:
        """What is on record of this very secret at this device, from before the run."""
        for pair in self.target.history:
            if (pair.credential_id, pair.secret_version) == (credential.id, credential.secret_version):
                return pair
        return None

    def refuse(self, credential: Credential) -> None:
        """The device has said no."""
        self.refused[credential.key] = credential
        pair = self.pair(credential)
        self.lost_proven = self.lost_proven or (pair is not None and pair.proven)

    def resume(self, earlier: Iterable[Earlier]) -> None:
        """What another process offered to the device in this run counts as if it had been offered here."""
        for attempt in earlier:
            self.offers.append(attempt.credential)
            if attempt.verdict is Verdict.REFUSED:
                self.refused[attempt.credential.key] = attempt.credential
                pair = self.pair(attempt.credential)
                self.lost_proven = self.lost_proven or (pair is not None and pair.last_success is not None)
        self.resumed = len(self.offers)

    def excuse(self, credential: Credential) -> None:
        """What the device said of the secret does not count: its AAA service is unwell."""
        self.doubts.discard(credential.key)
        self.refused.pop(credential.key, None)
        self.excused = True

    @property
    def attempts(self) -> int:
        return len(self.offers)

    def offered(self, credential: Credential) -> None:
        self.offers.append(credential)

    def not_sent(self, credential: Credential) -> None:
        """The last attempt with it was none."""
        last = len(self.offers) - 1 - self.offers[::-1].index(credential)
        del self.offers[last]

    def outcome(
        self, status: Status, reason: str | SkipReason | None = None, detail: str | None = None
    ) -> Outcome:
        credentials = self._each_once()
        return Outcome(
            device=self.device,
            status=status,
            started_at=self.started_at,
            duration_ms=round((self.clock() - self.began) * 1000),
            reason=None if reason is None else str(reason),
            detail=detail,
            credential=credentials[-1] if credentials else None,
            attempts=self.attempts,
            retry_count=max(0, len(credentials) - 1),
        )

    def _each_once(self) -> list[Credential]:
        """The credentials that were offered, in the order of their first attempts."""
        found: list[Credential] = []
        for credential in self.offers:
            if all(credential.key != other.key for other in found):
                found.append(credential)
        return found
