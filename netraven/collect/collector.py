"""The device coroutine: one device in, one outcome out, everything in between on record."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from netraven.collect.access import AccessRules
from netraven.collect.admission import Admission, Withheld
from netraven.collect.guard import Guard
from netraven.collect.login import NextOffer, Offer, Record, RecordedLogin
from netraven.collect.retry import RetryPolicy
from netraven.collect.round import Round
from netraven.collect.visit import Visit
from netraven.credentials.lockout import CONTROL_LOGIN
from netraven.credentials.matching import CredentialIndex
from netraven.errors import (
    AuthNoVerdict,
    AuthRefused,
    DeviceFailure,
    DialogueTimeout,
    InternalFault,
    NetRavenError,
    NoMethod,
    RecorderStopped,
    RowRefused,
    SecretUnreadable,
    Unreachable,
)
from netraven.events import events
from netraven.model import (
    Capture,
    Choice,
    Credential,
    Device,
    DeviceFinished,
    Logged,
    Outcome,
    RefusalConfirmed,
    Secret,
    SkipReason,
    Status,
    Target,
    Verdict,
    utcnow,
)
from netraven.ports import Clock, Secrets, Strategy, Transport

_log = events("netraven.collect")

REFUSED = "the device refused the secret"
"""What a refusal says when there is nothing more to say."""


@dataclass(frozen=True, slots=True)
class Again:
    """The device is to be visited once more, ``wait`` seconds from now."""

    visit: Visit
    wait: float


@dataclass(frozen=True, slots=True)
class Parked:
    """The device waits outside, at the desk of ``account``."""

    visit: Visit
    account: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Doubtful:
    """What the device refused may have been the AAA service's fault: that is about to turn out."""

    visit: Visit


@dataclass(frozen=True, slots=True)
class Deferred:
    """What could open the device is kept back; it is looked at again before the run ends."""

    visit: Visit


Later = Again | Parked | Doubtful | Deferred


class _Put(Exception):
    def __init__(self, later: Parked | Doubtful) -> None:
        super().__init__()
        self.later = later


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how often. ``device_timeout``: seconds for one try at a device, all credentials together.

    ``patience``: seconds that the end of a run waits for what is kept back.
    """

    device_timeout: float = 300.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    patience: float = 600.0
    clock: Clock = time.monotonic


@dataclass(frozen=True, slots=True)
class Means:
    """What a collector works with: where secrets come from, in which order, under whose permits, over what."""

    credentials: CredentialIndex
    strategy: Strategy
    secrets: Secrets
    transport: Transport
    guard: Guard
    access: AccessRules = AccessRules()


class Collector:
    """Visits devices."""

    def __init__(self, *, means: Means, record: Record, limits: Limits) -> None:
        self.clock = limits.clock
        self.guard = means.guard
        self.patience = limits.patience
        self.final = False
        """Nothing is waited for any more: what is still kept back becomes the device's outcome."""
        self._means = means
        self._record = record
        self._run_id = record.run_id
        self._recorder = record.recorder
        self._retry = limits.retry
        self._device_timeout = limits.device_timeout
        self._unreadable: set[tuple[str, int]] = set()
        self.guard.log_in = self.control
        self.guard.tell(confirmed=self._confirmed, noticed=self._noticed)
        self._unchecked: set[str] = set()
        """Devices whose host key is not looked at."""
        self.on_notice: Callable[[str, Mapping[str, object]], None] = lambda _event, _data: None

    def begin(self, target: Target) -> Visit:
        """A device's visit, with what settings say of the way to it."""
        return Visit(self._reached(target), self.clock)

    def _reached(self, target: Target) -> Target:
        access = self._means.access.of(target.device)
        if access.host_keys == "off":
            self._unchecked.add(target.device.name)
        return replace(target, access=access)

    def tell_unchecked(self) -> None:
        """Once a run: which devices were logged in to whoever answered in their place."""
        if self._unchecked:
            names = sorted(self._unchecked)
            self._noticed("host_keys_off", {"count": len(names), "devices": names[:10]})

    async def visit(self, visit: Visit) -> Outcome | Later:
        """Try the device once. Raises only what ends the run (``NetRavenError``) and cancellation."""
        try:
            captures = await self._one_try(visit)
        except _Put as put:
            return put.later
        except Withheld as why:
            visit.stage = "before"
            if not self.final and not why.final and why.seconds <= self.patience:
                return Deferred(visit)
            return await self._finish(visit, visit.outcome(Status.SKIPPED, why.reason, why.why))
        except DeviceFailure as failure:
            wait = self._retry.wait(failure, visit.tries)
            if wait is not None:
                visit.tries += 1
                _log.info(
                    "device_retry", device=visit.device.name, error_type=failure.reason, wait_s=round(wait, 1)
                )
                return Again(visit, wait)
            return await self._finish(visit, visit.outcome(Status.FAILED, failure.reason, failure.detail))
        if captures is None:
            return await self._finish(
                visit, visit.outcome(Status.SKIPPED, SkipReason.NO_CREDENTIALS, self._why_none(visit))
            )
        return await self._finish(visit, visit.outcome(Status.COLLECTED), captures)

    async def control(self, target: Target, credential: Credential, admission: Admission) -> Verdict | None:
        """Log in and out, to ask whether the account is well; the verdict, None where nothing was sent."""
        secret = await self._reveal(credential)
        if secret is None:
            return None
        visit = admission.visit
        choice = Choice(credential, CONTROL_LOGIN)
        login = RecordedLogin(visit, Offer(choice, secret, admission), self._record)
        try:
            async with asyncio.timeout(self._device_timeout):
                async with self._means.transport.open(target, login):
                    pass
        except (DeviceFailure, TimeoutError) as failure:
            _log.info("control_login_failed", device=target.device.name, error=str(failure))
        except BaseException:
            login.abandon("interrupted")
            raise
        if login.succeeded:
            return Verdict.ACCEPTED
        login.abandon(InternalFault.reason)
        if not visit.attempts:
            return None
        return Verdict.REFUSED if visit.refused else Verdict.NO_VERDICT

    def _confirmed(self, device: Device, credential: Credential) -> None:
        self._record.knowledge.learn(device, credential, Verdict.REFUSED)
        self._recorder.post(RefusalConfirmed(device, credential, utcnow()))

    def _noticed(self, event: str, data: Mapping[str, object]) -> None:
        self._recorder.post(Logged(self._run_id, utcnow(), "warning", event, data=data))
        self.on_notice(event, data)

    def interrupted(self, visit: Visit) -> Outcome:
        """The outcome of a device whose visit was cancelled; it is written without waiting.

        Where the device had come to its end and only the recording was being waited for, that end stands.
        """
        if visit.finished is not None:
            return visit.finished
        outcome = visit.outcome(Status.SKIPPED, SkipReason.INTERRUPTED, "the run was interrupted")
        self._recorder.post(DeviceFinished(self._run_id, outcome))
        return outcome

    async def _finish(self, visit: Visit, outcome: Outcome, captures: Sequence[Capture] = ()) -> Outcome:
        visit.finished = outcome
        try:
            finished: Outcome = await self._recorder.record(
                DeviceFinished(self._run_id, outcome, tuple(captures))
            )
        except RowRefused as error:
            _log.error("outcome_not_recorded", device=outcome.device.name, error=str(error))
            return await self._finish_without(visit, outcome, captures, error)
        return finished

    async def _finish_without(
        self, visit: Visit, outcome: Outcome, captures: Sequence[Capture], error: RowRefused
    ) -> Outcome:
        """Where the credential has gone meanwhile, its name will do; what cannot be stored was not collected."""
        if outcome.credential is not None:
            outcome = replace(outcome, credential=replace(outcome.credential, id=None))
            with contextlib.suppress(RowRefused):
                finished: Outcome = await self._recorder.record(
                    DeviceFinished(self._run_id, outcome, tuple(captures))
                )
                return finished
        lost = replace(
            outcome,
            status=Status.FAILED,
            reason=InternalFault.reason,
            detail=f"what it came to could not be recorded: {error}",
            device=replace(outcome.device, id=None),
        )
        visit.finished = lost
        with contextlib.suppress(RowRefused):
            await self._recorder.record(DeviceFinished(self._run_id, lost))
        return lost

    async def _one_try(self, visit: Visit) -> Sequence[Capture] | None:
        """What the device gave; None where no credential may be offered to it."""
        visit.stage = "before"
        try:
            async with asyncio.timeout(self._device_timeout):
                return await self._next_credentials(visit)
        except TimeoutError as error:
            raise self._out_of_time(visit) from error
        except (DeviceFailure, RecorderStopped, Withheld, _Put):
            raise
        except RowRefused as error:
            raise InternalFault(f"what was about to happen could not be recorded: {error}") from error
        except NetRavenError:
            raise
        except Exception as error:
            _log.exception("internal_fault", device=visit.device.name)
            raise InternalFault(
                f"a fault of NetRaven: {type(error).__name__}; the log has it in full"
            ) from error

    def _out_of_time(self, visit: Visit) -> DeviceFailure:
        said = f"the device took longer than {self._device_timeout:g} s in all"
        if visit.stage == "session":
            return DialogueTimeout(said)
        return AuthNoVerdict(said) if visit.stage == "offered" else Unreachable(said)

    async def _next_credentials(self, visit: Visit) -> Sequence[Capture] | None:
        visit.excused = False
        choices = await self._choices(visit)
        round_ = Round(visit, choices, utcnow())
        while (choice := round_.next()) is not None:
            try:
                offer = await self._offer(visit, choice, round_)
                if offer is not None:
                    return await self._log_in_and_capture(visit, offer, round_)
            except Withheld as why:
                if (
                    why.reason is None and not why.later and not why.refused
                ):  # no permit in time: it asks again
                    raise _Put(Parked(visit, choice.credential.account)) from None
                round_.keep_back(choice, why)
            except AuthRefused as failure:
                round_.said = "" if failure.detail == REFUSED else f"; {failure.detail}"
            except AuthNoVerdict as failure:
                if not round_.only_break_glass(failure) and not visit.excused:
                    raise
            except NoMethod as failure:  # a key where passwords are wanted, or the other way round
                round_.unusable = failure
        self._nothing_left(visit, round_, any_choice=bool(choices))
        return None

    def _nothing_left(self, visit: Visit, round_: Round, *, any_choice: bool) -> None:
        """Every choice was made, or is kept back; returns where there was none, else says by an exception."""
        if visit.excused:
            raise Withheld(
                SkipReason.REALM_PAUSED, "the AAA service that judges the device's secrets looks unwell"
            )
        if round_.no_verdict is not None:
            raise round_.no_verdict
        if visit.doubts and not self.final:
            raise _Put(Doubtful(visit))
        if round_.withheld:
            raise min(round_.withheld, key=lambda why: (why.final, why.seconds))
        before = len(round_.backed_off) + round_.refused_before
        if not any_choice or not (visit.refused or round_.unusable or before):
            return
        if round_.unusable is not None and not visit.refused:
            raise round_.unusable
        if before and not visit.refused:
            until = min((c.not_before for c in round_.backed_off if c.not_before is not None), default=None)
            when = "" if until is None else f" before {until:%Y-%m-%d %H:%M} UTC"
            raise Withheld(
                SkipReason.REFUSED_BEFORE,
                f"refused every credential that matches, not long ago; not offered again{when} unless it is changed",
                final=True,
            )
        raise AuthRefused(f"credentials exhausted ({len(visit.refused)} offered){round_.said}")

    async def _choices(self, visit: Visit) -> Sequence[Choice]:
        candidates = self._means.credentials.matching(visit.device)
        if not candidates:
            return ()
        accounts = {candidate.account for candidate in candidates}
        if len(accounts) == 1 and self.guard.must_wait(visit, candidates[0].account):
            raise _Put(Parked(visit, candidates[0].account))
        evidence = self._record.knowledge.of(visit.target)
        choices = await self._means.strategy.rank(visit.device, candidates, evidence)
        allowed = {candidate.key for candidate in candidates}
        return [choice for choice in choices if choice.credential.key in allowed]

    async def _offer(self, visit: Visit, choice: Choice, round_: Round) -> Offer | None:
        """The offer with its place at the desk; None where the secret cannot be read. Raises ``Withheld``."""
        secret = await self._reveal(choice.credential)
        if secret is None:
            return None
        how = {"alternatives": round_.alternatives, "alone": round_.alone}
        place = self.guard.consider(visit, choice.credential, **how)
        if isinstance(place, tuple) and await self.guard.opening(place):
            place = self.guard.consider(visit, choice.credential, **how)
        if isinstance(place, tuple):
            raise _Put(Parked(visit, place))
        return Offer(choice, secret, place)

    def _next_on_connection(self, visit: Visit, round_: Round) -> NextOffer:
        """What may follow on the same connection: the same user's next password, if nothing keeps it back."""
        tries = 1

        async def following(refused: Offer) -> Offer | None:
            nonlocal tries
            most = visit.target.tries_per_connection
            if most is not None and tries >= most:
                return None
            choice = round_.next_for(refused.choice.credential)
            if choice is None:
                return None
            try:
                offer = await self._offer(visit, choice, round_)
            except (Withheld, _Put):
                offer = None
            if offer is None or offer.secret.password is None or offer.secret.has_key:
                if offer is not None:
                    offer.admission.close()
                round_.put_back(choice)
                return None
            refused.admission.close()
            tries += 1
            return offer

        return following

    async def _reveal(self, credential: Credential) -> Secret | None:
        """The secret, or None where it cannot be read: that is logged once and costs only this credential."""
        if credential.key in self._unreadable:
            return None
        try:
            return await self._means.secrets.reveal(credential)
        except SecretUnreadable as error:
            self._unreadable.add(credential.key)
            _log.error("secret_unreadable", credential=credential.name, error=str(error))
            data = {"credential": credential.name, "detail": str(error)}
            self._recorder.post(Logged(self._run_id, utcnow(), "error", "secret_unreadable", data=data))
            return None

    async def _log_in_and_capture(self, visit: Visit, offer: Offer, round_: Round) -> Sequence[Capture]:
        login = RecordedLogin(visit, offer, self._record, self._next_on_connection(visit, round_))
        try:
            async with self._means.transport.open(visit.target, login) as session:
                visit.stage = "session"
                login.offer.admission.close()
                return await session.capture(enable=login.offer.secret.enable if login.succeeded else None)
        except asyncio.CancelledError:
            visit.stage = "session" if login.succeeded else "offered" if login.offered else "before"
            login.abandon("interrupted")
            raise
        except AuthRefused:
            _log.info(
                "credential_refused", device=visit.device.name, credential=login.offer.choice.credential.name
            )
            raise
        except BaseException:
            login.abandon(InternalFault.reason)  # nothing stays open on record, whatever the transport did
            raise
        finally:
            login.offer.admission.close()

    def _why_none(self, visit: Visit) -> str:
        matching = len(self._means.credentials.matching(visit.device))
        if not matching:
            return "no credential shares a tag with the device"
        return f"{matching} credential{'s' if matching > 1 else ''} match, none could be offered; see the log"
