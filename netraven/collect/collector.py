"""The device coroutine: one device in, one outcome out, everything in between on record."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from netraven.collect.login import RecordedLogin
from netraven.collect.recorder import Recorder
from netraven.collect.retry import RetryPolicy
from netraven.collect.visit import Visit
from netraven.credentials.evidence import Knowledge
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
    DeviceFinished,
    Logged,
    Outcome,
    Secret,
    SkipReason,
    Status,
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
class Limits:
    """How long and how often. ``device_timeout``: seconds for one try at a device, all credentials together."""

    device_timeout: float = 300.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    clock: Clock = time.monotonic


class Collector:
    """Visits devices."""

    def __init__(
        self,
        *,
        run_id: int,
        credentials: CredentialIndex,
        strategy: Strategy,
        secrets: Secrets,
        transport: Transport,
        recorder: Recorder,
        limits: Limits,
        knowledge: Knowledge,
    ) -> None:
        self.clock = limits.clock
        self._run_id = run_id
        self._credentials = credentials
        self._strategy = strategy
        self._secrets = secrets
        self._transport = transport
        self._recorder = recorder
        self._retry = limits.retry
        self._device_timeout = limits.device_timeout
        self._unreadable: set[str] = set()
        self._knowledge = knowledge

    async def visit(self, visit: Visit) -> Outcome | Again:
        """Try the device once. Raises only what ends the run (``NetRavenError``) and cancellation."""
        try:
            captures = await self._one_try(visit)
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
        except (DeviceFailure, RecorderStopped):
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
        tried = 0
        unusable: NoMethod | None = None
        said = ""
        for choice in await self._choices(visit):
            if choice.credential.name in visit.refused:
                continue
            secret = await self._reveal(choice.credential)
            if secret is None:
                continue
            tried += 1
            try:
                return await self._log_in_and_capture(visit, choice, secret)
            except AuthRefused as failure:
                said = "" if failure.detail == REFUSED else f"; {failure.detail}"
                _log.info("credential_refused", device=visit.device.name, credential=choice.credential.name)
            except NoMethod as failure:  # a key where passwords are wanted, or the other way round
                unusable = failure
        if not tried and not visit.refused:
            return None
        if unusable is not None and not visit.refused:
            raise unusable
        raise AuthRefused(f"credentials exhausted ({len(visit.refused)} offered){said}")

    async def _choices(self, visit: Visit) -> Sequence[Choice]:
        candidates = self._credentials.matching(visit.device)
        if not candidates:
            return ()
        return await self._strategy.rank(visit.device, candidates, self._knowledge.of(visit.target))

    async def _reveal(self, credential: Credential) -> Secret | None:
        """The secret, or None where it cannot be read: that is logged once and costs only this credential."""
        if credential.name in self._unreadable:
            return None
        try:
            return await self._secrets.reveal(credential)
        except SecretUnreadable as error:
            self._unreadable.add(credential.name)
            _log.error("secret_unreadable", credential=credential.name, error=str(error))
            data = {"credential": credential.name, "detail": str(error)}
            self._recorder.post(Logged(self._run_id, utcnow(), "error", "secret_unreadable", data=data))
            return None

    async def _log_in_and_capture(self, visit: Visit, choice: Choice, secret: Secret) -> Sequence[Capture]:
        login = RecordedLogin(visit, choice, secret, self._recorder, self._run_id, self.clock)
        try:
            async with self._transport.open(visit.target, login) as session:
                visit.stage = "session"
                return await session.capture(enable=secret.enable if login.succeeded else None)
        except asyncio.CancelledError:
            visit.stage = "session" if login.succeeded else "offered" if login.offered else "before"
            login.abandon("interrupted")
            raise
        except BaseException:
            login.abandon(InternalFault.reason)  # nothing stays open on record, whatever the transport did
            raise

    def _why_none(self, visit: Visit) -> str:
        matching = len(self._credentials.matching(visit.device))
        if not matching:
            return "no credential shares a tag with the device"
        return f"{matching} credential{'s' if matching > 1 else ''} match, none could be offered; see the log"
