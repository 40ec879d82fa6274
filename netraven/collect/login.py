"""One way into one device: what the transport tells of it becomes the record, under the guard's permits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from netraven.collect.admission import Admission, Withheld
from netraven.collect.later import Again, Put
from netraven.collect.recorder import Recorder
from netraven.collect.visit import Visit
from netraven.credentials.evidence import Knowledge
from netraven.errors import AuthRefused, DeviceFailure
from netraven.events import events
from netraven.model import (
    AttemptConcluded,
    AttemptStarted,
    AttemptWithdrawn,
    Choice,
    ConnectionCut,
    HostKey,
    HostKeyRefused,
    HostKeySeen,
    OfferSeen,
    Secret,
    SshOffer,
    Verdict,
    What,
    utcnow,
)
from netraven.ports import Clock

_log = events("netraven.collect")

ELSEWHERE = 3.0
"""Seconds after which a device is looked at again that another run is in session with."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A credential that may be offered, its secret, and the device's place at the guard's desk for it."""

    choice: Choice
    secret: Secret
    admission: Admission


@dataclass(frozen=True, slots=True)
class Record:
    """Where a run's logins are put down, and what learns from them."""

    run_id: int
    recorder: Recorder
    knowledge: Knowledge
    clock: Clock
    what: What = What.CONFIGURATION
    """What the run does with its devices."""
    session_seconds: float = 300.0
    """How long a session may take, where settings say nothing of the device."""


NextOffer = Callable[[Offer], Awaitable[Offer | None]]
"""The offer that may follow a refused one on the same connection."""


class RecordedLogin:
    """The ``ports.Login`` of a run. Nothing is sent that is not on record first, and has its permit."""

    def __init__(
        self, visit: Visit, offer: Offer, record: Record, next_offer: NextOffer | None = None
    ) -> None:
        self.username = offer.choice.credential.username
        self.wants_key = offer.secret.has_key
        self.wants_password = offer.secret.password is not None
        self.succeeded = False
        self.offer = offer
        """The one that is being made, or was made last."""
        self.offered = False
        """Whether a secret was handed over and not refused."""
        self._visit = visit
        self._record = record
        self._next_offer = next_offer
        self._attempt: int | None = None
        self._offered_at = 0.0

    async def new_host_key(self, key: HostKey) -> Sequence[HostKey]:
        on_record: Sequence[HostKey] = await self._record.recorder.record(
            HostKeySeen(self._visit.device, key)
        )
        self._visit.target = replace(self._visit.target, host_keys=tuple(on_record))
        return on_record

    def refused_host_key(self, key: HostKey) -> None:
        self._record.recorder.post(HostKeyRefused(self._visit.device, key, utcnow()))

    def offer_seen(self, offer: SshOffer) -> None:
        self._visit.target = replace(self._visit.target, offer=offer)
        self._record.recorder.post(OfferSeen(self._visit.device, offer, utcnow()))

    def in_clear_text(self) -> None:
        self._visit.clear_text = True

    async def secret(self) -> Secret:
        choice, credential = self.offer.choice, self.offer.choice.credential
        recorder = self._record.recorder
        started = AttemptStarted(
            self._record.run_id,
            self._visit.device,
            credential,
            utcnow(),
            choice.reason,
            self._visit.target.access.device_timeout or self._record.session_seconds,
        )
        alone = self.offer.admission.alone
        if alone:  # whoever holds up all others is on record when it is sent, and not while it waits
            await self.offer.admission.permit()
            started = replace(started, at=utcnow())
        self._visit.claimed = True  # from now on, whatever becomes of the answer
        attempt: int | None = await recorder.record(
            started,
            undo=lambda key: None if key is None else AttemptWithdrawn(key, credential),
            urgent=alone,
        )
        if attempt is None:
            self._visit.claimed = False
            _log.info("device_in_session_elsewhere", device=self._visit.device.name, wait_s=ELSEWHERE)
            raise Put(Again(self._visit, ELSEWHERE))
        try:
            if not alone:
                await self.offer.admission.permit()
            elif not self.offer.admission.stands:
                raise Withheld(None, "the permit ended while the attempt was being put on record")
            recorder.check()  # a run that has been lost meanwhile sends nothing
            if recorder.in_doubt:
                raise Put(Again(self._visit, 0.0))
        except BaseException:
            recorder.post(AttemptWithdrawn(attempt, credential))
            raise
        self._attempt = attempt
        self.offered = True
        self._visit.offered(credential)
        self._offered_at = self._record.clock()
        return self.offer.secret

    async def unsent(self) -> None:
        attempt, self._attempt = self._attempt, None
        credential = self.offer.choice.credential
        self.offered = False
        self._visit.not_sent(credential)
        if attempt is not None:
            self._record.recorder.post(AttemptWithdrawn(attempt, credential))

    async def another(self) -> Secret | None:
        if self._next_offer is None:
            return None
        following = await self._next_offer(self.offer)
        if following is None:
            return None
        self.offer = following
        return await self.secret()

    async def cut(self, tries: int) -> None:
        if self._visit.target.tries_per_connection != tries:
            self._visit.target = replace(self._visit.target, tries_per_connection=tries)
            self._record.recorder.post(ConnectionCut(self._visit.device, tries))

    async def accepted(self) -> None:
        self.succeeded = True
        self._visit.unaccepted.pop(self.offer.choice.credential.account, None)
        self.offer.admission.accepted()
        self._learn(Verdict.ACCEPTED)
        await self._record.recorder.record(self._concluded(Verdict.ACCEPTED, None))

    async def rejected(self, failure: DeviceFailure) -> None:
        verdict = Verdict.NO_VERDICT
        self._visit.unaccepted[self.offer.choice.credential.account] += 1
        if isinstance(failure, AuthRefused):
            verdict = Verdict.REFUSED
            self.offered = False
            self._visit.refuse(self.offer.choice.credential)  # known at once, however the recording goes
        teaches = self.offer.admission.failed(verdict)
        if teaches:
            self._learn(verdict)
        await self._record.recorder.record(self._concluded(verdict, failure.reason, teaches=teaches))

    def abandon(self, reason: str) -> None:
        """The device is given up in the middle of an attempt: its verdict will never be known."""
        if self._attempt is not None:
            self.offer.admission.failed(Verdict.NO_VERDICT)
            self._record.recorder.post(self._concluded(Verdict.NO_VERDICT, reason))

    def _learn(self, verdict: Verdict) -> None:
        self._record.knowledge.learn(self._visit.device, self.offer.choice.credential, verdict)

    def _concluded(
        self, verdict: Verdict, error_type: str | None, *, teaches: bool = True
    ) -> AttemptConcluded:
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            raise RuntimeError("a verdict without an attempt")
        return AttemptConcluded(
            attempt_id=attempt,
            device=self._visit.device,
            credential=self.offer.choice.credential,
            verdict=verdict,
            at=utcnow(),
            duration_ms=_ms(self._record.clock() - self._offered_at),
            error_type=error_type,
            teaches=teaches,
        )


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
