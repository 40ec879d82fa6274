"""One credential's way into one device: what the transport tells of it becomes the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from netraven.collect.recorder import Recorder
from netraven.collect.visit import Visit
from netraven.errors import AuthRefused, DeviceFailure
from netraven.model import (
    AttemptConcluded,
    AttemptStarted,
    AttemptWithdrawn,
    Choice,
    HostKey,
    HostKeySeen,
    Secret,
    Verdict,
    utcnow,
)
from netraven.ports import Clock


class RecordedLogin:
    """The ``ports.Login`` of a run. Nothing is sent that is not on record first.

    The lockout guard will stand in :meth:`secret`: what it makes wait, waits there.
    """

    def __init__(
        self, visit: Visit, choice: Choice, secret: Secret, recorder: Recorder, run_id: int, clock: Clock
    ) -> None:
        self.username = choice.credential.username
        self.wants_key = secret.private_key is not None
        self.succeeded = False
        self._visit = visit
        self._choice = choice
        self._secret = secret
        self._recorder = recorder
        self._run_id = run_id
        self._clock = clock
        self._attempt: int | None = None
        self._offered_at = 0.0
        self.offered = False
        """Whether the secret was handed over and not refused."""

    async def new_host_key(self, key: HostKey) -> Sequence[HostKey]:
        on_record: Sequence[HostKey] = await self._recorder.record(HostKeySeen(self._visit.device, key))
        self._visit.target = replace(self._visit.target, host_keys=tuple(on_record))
        return on_record

    async def secret(self) -> Secret:
        credential = self._choice.credential
        started = AttemptStarted(self._run_id, self._visit.device, credential, utcnow(), self._choice.reason)
        self._attempt = await self._recorder.record(
            started, undo=lambda attempt_id: AttemptWithdrawn(attempt_id, credential)
        )
        self.offered = True
        self._visit.offered(credential)
        self._offered_at = self._clock()
        return self._secret

    async def accepted(self) -> None:
        self.succeeded = True
        await self._recorder.record(self._concluded(Verdict.ACCEPTED, None))

    async def rejected(self, failure: DeviceFailure) -> None:
        verdict = Verdict.NO_VERDICT
        if isinstance(failure, AuthRefused):
            verdict = Verdict.REFUSED
            self.offered = False
            self._visit.refused.add(self._choice.credential.name)  # known at once, however the recording goes
        await self._recorder.record(self._concluded(verdict, failure.reason))

    def abandon(self, reason: str) -> None:
        """The device is given up in the middle of an attempt: its verdict will never be known."""
        if self._attempt is not None:
            self._recorder.post(self._concluded(Verdict.NO_VERDICT, reason))

    def _concluded(self, verdict: Verdict, error_type: str | None) -> AttemptConcluded:
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            raise RuntimeError("a verdict without an attempt")
        return AttemptConcluded(
            attempt_id=attempt,
            device=self._visit.device,
            credential=self._choice.credential,
            verdict=verdict,
            at=utcnow(),
            duration_ms=_ms(self._clock() - self._offered_at),
            error_type=error_type,
        )


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
