"""The device coroutine: one device in, one outcome out, everything in between on record."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from netraven.collect.access import AccessRules
from netraven.collect.admission import Admission, Withheld
from netraven.collect.breaker import Breaker
from netraven.collect.entrance import Entrance
from netraven.collect.guard import Guard
from netraven.collect.jump_hosts import Hold, JumpHosts, Way
from netraven.collect.later import Again, Deferred, Later, Parked, Put
from netraven.collect.login import Offer, Record, RecordedLogin
from netraven.collect.outage import Outage
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
    RecorderStopped,
    RowRefused,
    SessionLost,
    Unreachable,
)
from netraven.events import events
from netraven.model import (
    AUTO,
    JUMP_HOST,
    Capture,
    Choice,
    Credential,
    Device,
    DeviceFinished,
    DeviceLeft,
    Logged,
    Outcome,
    PlatformFound,
    RefusalConfirmed,
    SkipReason,
    Status,
    Target,
    Verdict,
    What,
    utcnow,
)
from netraven.ports import Clock, Secrets, Session, Strategy, Transport, Tunnel

_log = events("netraven.collect")

_NAMED = 10
"""How many devices a warning names."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how often. ``device_timeout``: seconds for one try at a device, all credentials together.

    ``patience``: seconds that the end of a run waits for what is kept back. ``outage``: while the database is away no
    try begins.
    """

    device_timeout: float = 300.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    patience: float = 600.0
    connect_timeout: float = 10.0
    """Where settings say nothing of the device."""
    breaker: Breaker = field(default_factory=Breaker)
    clock: Clock = time.monotonic
    outage: Outage = field(default_factory=Outage)


@dataclass(frozen=True, slots=True)
class Means:
    """What a collector works with: where secrets come from, in which order, under whose permits, over what."""

    credentials: CredentialIndex
    strategy: Strategy
    secrets: Secrets
    transport: Transport
    guard: Guard
    access: AccessRules = AccessRules()
    jump_hosts: JumpHosts = field(default_factory=JumpHosts)
    outputs: tuple[str, ...] | None = None
    """The kinds of output that this run collects, whatever settings say."""
    what: What = What.CONFIGURATION
    """What is done with a device."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a device gave."""

    captures: tuple[Capture, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    said: str | None = None
    """Its first words, where nothing else was asked of it."""


_LOOK_AGAIN = 0.25
"""Seconds after which a jump host whose login has to wait for a permit is looked at again."""
_HELD_UP = 30.0
"""Seconds that the devices behind a jump host wait for a credential of its that is kept back: they hold places of the
run, so that what would let it go may never come."""
_HELD_OPEN = 5.0
"""Seconds that a session is kept open while what the device gave is put on record."""
_GOODBYE = 10.0
"""Seconds within which a session is closed, whatever was left of the device's time."""
_IN_DOUBT = 3.0
"""Seconds after which a jump host's refusal stands, for the same reason."""


def _strange(failure: DeviceFailure) -> bool:
    """Whether a device may be of another platform than it was taken for; platforms may add to the user name."""
    return isinstance(failure, AuthRefused) or (failure.logged_in and not isinstance(failure, SessionLost))


class Collector:
    """Visits devices."""

    def __init__(self, *, means: Means, record: Record, limits: Limits) -> None:
        self.clock = limits.clock
        self.guard = means.guard
        self.patience = limits.patience
        self._outage = limits.outage
        self.entrance = Entrance(means.credentials, means.strategy, means.secrets, means.guard, record)
        self._means = means
        self._record = record
        self._run_id = record.run_id
        self.recorder = self._recorder = record.recorder
        self._retry = limits.retry
        self._breaker = limits.breaker
        self._connect_timeout = limits.connect_timeout
        self._device_timeout = limits.device_timeout
        self.guard.log_in = self.control
        self.guard.tell(confirmed=self._confirmed, noticed=self.notice)
        means.jump_hosts.let_through = self.let_through
        means.jump_hosts.noticed = self.notice
        self.on_notice: Callable[[str, Mapping[str, object]], None] = lambda _event, _data: None
        self._standing: dict[str, set[str]] = {}
        """Devices that something has to be said of once the run is over, by event."""

    def begin(self, target: Target) -> Visit:
        """A device's visit, with what settings say of the way to it."""
        target = self._reached(target)
        if self._breaker.is_open(target):
            target = replace(target, access=self._breaker.way_to(target, self._connect_timeout))
        visit = Visit(target, self.clock)
        if target.earlier:
            visit.resume(target.earlier)
        return visit

    def _reached(self, target: Target) -> Target:
        access = self._means.access.of(target.device)
        unseen = self._means.what is What.REACHABILITY and target.device.platform != JUMP_HOST
        if access.host_keys == "off" and not unseen:
            self._stands("host_keys_off", target.device)
        return replace(target, access=access)

    async def visit(self, visit: Visit) -> Outcome | Later:
        """Try the device once. Raises only what ends the run (``NetRavenError``) and cancellation."""
        await self._outage.up.wait()
        visit.entered = self.clock()
        result = await self._visit(visit)
        self.leave(visit)
        return result

    def leave(self, visit: Visit) -> None:
        """The session is closed: other runs may visit the device."""
        if visit.claimed:
            visit.claimed = False
            self._recorder.post(DeviceLeft(self._run_id, visit.device))

    async def _visit(self, visit: Visit) -> Outcome | Later:
        outages = self._outage.number
        try:
            try:
                gathered = await self._one_try(visit)
            finally:
                if visit.clear_text:
                    self._stands("telnet_clear_text", visit.device)
        except Put as put:
            return put.later
        except Withheld as why:
            visit.stage = "before"
            if not self.entrance.final and not why.final and why.seconds <= self.patience:
                return Deferred(visit)
            return await self._finish(visit, visit.outcome(Status.SKIPPED, why.reason, why.why))
        except DeviceFailure as failure:
            if visit.recording is not None:  # all was had, and then it hung up badly
                return await visit.recording
            return await self._failed(visit, failure, waited=self._outage.number != outages)
        if gathered is None:
            return await self._finish(
                visit, visit.outcome(Status.SKIPPED, SkipReason.NO_CREDENTIALS, self.entrance.why_none(visit))
            )
        if visit.recording is not None:
            return await visit.recording
        return await self._finish_well(visit, gathered)

    async def _failed(self, visit: Visit, failure: DeviceFailure, *, waited: bool) -> Outcome | Later:
        """``waited``: it may only have waited for the database, so no retry is spent on that."""
        if failure.retriable and waited:
            return Again(visit, 0.0)
        wait = None if self._breaker.is_open(visit.target) else self._retry.wait(failure, visit.tries)
        if wait is not None:
            visit.tries += 1
            _log.info(
                "device_retry", device=visit.device.name, error_type=failure.reason, wait_s=round(wait, 1)
            )
            return Again(visit, wait)
        if visit.device.platform == AUTO and visit.target.detected is not None and _strange(failure):
            self._recorder.post(PlatformFound(visit.device, None))
        outcome = visit.outcome(Status.FAILED, failure.reason, failure.detail)
        return await self._finish(visit, outcome, Gathered(failure.captured))

    async def _finish_well(self, visit: Visit, gathered: Gathered) -> Outcome:
        status = Status.COLLECTED if self._means.what is What.CONFIGURATION else Status.CHECKED
        return await self._finish(visit, visit.outcome(status, detail=gathered.said), gathered)

    async def control(self, target: Target, credential: Credential, admission: Admission) -> Verdict | None:
        """Log in and out, to ask whether the account is well; the verdict, None where nothing was sent."""
        secret = await self.entrance.reveal(credential)
        if secret is None:
            return None
        visit = admission.visit
        choice = Choice(credential, CONTROL_LOGIN)
        login = RecordedLogin(visit, Offer(choice, secret, admission), self._record)
        try:
            target = self._reached(target)
            via = None
            if target.access.jump and (via := self._means.jump_hosts.open_way_to(target)) is None:
                return None  # a control login waits for nothing that may itself wait for it
            async with asyncio.timeout(target.access.device_timeout or self._device_timeout):
                async with self._means.transport.open(target, login, via):
                    pass
        except Put:
            return None  # another run is in session with the device
        except (DeviceFailure, TimeoutError, Withheld) as failure:
            _log.info("control_login_failed", device=target.device.name, error=str(failure))
        except BaseException:
            login.abandon("interrupted")
            raise
        finally:
            self.leave(visit)
        if login.succeeded:
            return Verdict.ACCEPTED
        login.abandon(InternalFault.reason)
        if not visit.attempts:
            return None
        return Verdict.REFUSED if visit.refused else Verdict.NO_VERDICT

    def _confirmed(self, device: Device, credential: Credential) -> None:
        self._record.knowledge.learn(device, credential, Verdict.REFUSED)
        self._recorder.post(RefusalConfirmed(device, credential, utcnow()))

    def notice(self, event: str, data: Mapping[str, object]) -> None:
        """Put something into the run's log that a person should know, and tell whoever watches."""
        self._recorder.post(Logged(self._run_id, utcnow(), "warning", event, data=data))
        self.on_notice(event, data)

    def warn(self) -> None:
        """Say, once the run is over, what should not stay as it is: host keys that nobody looks at, telnet."""
        for event, devices in self._standing.items():
            names = sorted(devices)
            self.notice(event, {"count": len(names), "devices": names[:_NAMED]})

    def _stands(self, event: str, device: Device) -> None:
        self._standing.setdefault(event, set()).add(device.name)

    def interrupted(self, visit: Visit) -> Outcome:
        """The outcome of a device whose visit was cancelled; it is written without waiting.

        Where the device had come to its end and only the recording was being waited for, that end stands.
        """
        if visit.finished is not None:
            return visit.finished
        outcome = visit.outcome(Status.SKIPPED, SkipReason.INTERRUPTED, "the run was interrupted")
        self._recorder.post(DeviceFinished(self._run_id, outcome, what=self._record.what))
        return outcome

    async def closed(self, visit: Visit, why: str) -> Outcome:
        """The outcome of a device that the run has no time for any more; what it had come to already stands."""
        self.leave(visit)
        if visit.finished is not None:
            return visit.finished
        return await self._finish(visit, visit.outcome(Status.SKIPPED, SkipReason.WINDOW, why))

    async def _finish(self, visit: Visit, outcome: Outcome, gathered: Gathered = Gathered()) -> Outcome:
        visit.finished = outcome
        took = round((self.clock() - visit.entered) * 1000) if visit.entered else None
        entry = DeviceFinished(
            self._run_id, outcome, gathered.captures, gathered.facts, self._record.what, took
        )
        try:
            finished: Outcome = await self._recorder.record(entry)
        except RowRefused as error:
            _log.error("outcome_not_recorded", device=outcome.device.name, error=str(error))
            return await self._finish_without(visit, entry, error)
        return finished

    async def _finish_without(self, visit: Visit, entry: DeviceFinished, error: RowRefused) -> Outcome:
        """Where the credential has gone meanwhile, its name will do; what cannot be stored was not collected."""
        outcome = entry.outcome
        if outcome.credential is not None:
            outcome = replace(outcome, credential=replace(outcome.credential, id=None))
            with contextlib.suppress(RowRefused):
                finished: Outcome = await self._recorder.record(replace(entry, outcome=outcome))
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
            await self._recorder.record(DeviceFinished(self._run_id, lost, what=self._record.what))
        return lost

    async def _one_try(self, visit: Visit) -> Gathered | None:
        """What the device gave; None where no credential may be offered to it."""
        visit.stage = "before"
        try:
            if not visit.target.access.jump:
                return await self._in_time(visit, None)
            async with self._means.jump_hosts.way_to(visit.target) as way:
                return await self._in_time(visit, way)
        except (DeviceFailure, RecorderStopped, Withheld, Put):
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

    async def _in_time(self, visit: Visit, way: Way | None) -> Gathered | None:
        seconds = visit.target.access.device_timeout or self._device_timeout
        try:
            async with asyncio.timeout(seconds) as deadline:
                if self._means.what is What.REACHABILITY:
                    via = way.tunnel if way is not None else None
                    return Gathered(said=await self._means.transport.knock(visit.target, via))
                use = partial(self._log_in_and_capture, way=way, deadline=deadline)
                return await self.entrance.through(visit, use)
        except TimeoutError as error:
            raise self._out_of_time(visit, seconds) from error

    async def let_through(self, target: Target, via: Tunnel | None, hold: Hold) -> None:
        """Log in to a jump host, hand its tunnel to ``hold``, and close the connection when that returns."""
        visit = self.begin(target)
        loop = asyncio.get_running_loop()
        began = loop.time()
        doubtful_since: float | None = None
        try:
            while True:
                outages = self._outage.number
                try:
                    await self.entrance.through(visit, partial(self._log_in_and_hold, via=via, hold=hold))
                    break
                except DeviceFailure as failure:
                    if not failure.retriable or visit.stage == "session" or self._outage.number == outages:
                        raise
                    await self._outage.up.wait()
                except Withheld as why:
                    left = min(self.patience, _HELD_UP) - (loop.time() - began)
                    if why.final or why.seconds > left or left <= 0:
                        raise
                except Put as put:
                    if loop.time() - began > self.patience:
                        raise Unreachable("no permit came for its login") from None
                    if isinstance(put.later, Parked):
                        visit.called_by = put.later.account  # many devices wait for this one: it goes first
                    elif doubtful_since is None:
                        doubtful_since = loop.time()
                    elif loop.time() - doubtful_since > _IN_DOUBT:
                        self.guard.settle(visit)
                await asyncio.sleep(_LOOK_AGAIN)
        except RowRefused as error:
            raise InternalFault(f"what was about to happen could not be recorded: {error}") from error
        finally:
            self.guard.left(visit)
        if not visit.attempts and visit.stage == "before":
            raise Withheld(SkipReason.NO_CREDENTIALS, self.entrance.why_none(visit), final=True)

    def _out_of_time(self, visit: Visit, seconds: float) -> DeviceFailure:
        said = f"the device took longer than {seconds:g} s in all"
        if visit.stage == "session":
            return DialogueTimeout(said)
        return AuthNoVerdict(said) if visit.stage == "offered" else Unreachable(said)

    async def _log_in_and_capture(
        self, visit: Visit, offer: Offer, round_: Round, *, way: Way | None, deadline: asyncio.Timeout
    ) -> Gathered:
        async with self.entrance.logging_in(visit, offer, round_) as login, AsyncExitStack() as open_things:
            via = way.tunnel if way is not None else None
            opening = self._means.transport.open(visit.target, login, via)
            session = await open_things.enter_async_context(opening)
            visit.stage = "session"
            if way is not None:
                way.logged_in()
            login.offer.admission.close()
            gathered = await self._gather(visit, session, login)
            deadline.reschedule(None)
            await self._record_in_session(visit, gathered)
            deadline.reschedule(asyncio.get_running_loop().time() + _GOODBYE)
            return gathered

    async def _record_in_session(self, visit: Visit, gathered: Gathered) -> None:
        """Put what it gave on record before its session is closed, as long as that does not keep it open for long.

        A process that is killed then leaves a device either in session or done: none is visited twice that was not in
        session when it happened.
        """
        visit.recording = asyncio.create_task(self._finish_well(visit, gathered))
        try:
            await asyncio.wait([visit.recording], timeout=_HELD_OPEN)
        except asyncio.CancelledError:
            visit.recording.cancel()  # its entry is written all the same
            raise

    async def _log_in_and_hold(
        self, visit: Visit, offer: Offer, round_: Round, *, via: Tunnel | None, hold: Hold
    ) -> Gathered:
        async with (
            self.entrance.logging_in(visit, offer, round_) as login,
            self._means.transport.tunnel(visit.target, login, via) as tunnel,
        ):
            visit.stage = "session"
            login.offer.admission.close()
            await hold(tunnel)
        return Gathered()

    async def _gather(self, visit: Visit, session: Session, login: RecordedLogin) -> Gathered:
        enable = login.offer.secret.enable if login.succeeded else None
        captures: tuple[Capture, ...] = ()
        if self._means.what is What.CREDENTIALS:
            await session.prove(enable=enable)
        else:
            kinds = self._means.outputs or visit.target.access.outputs
            captures = tuple(await session.capture(enable=enable, kinds=kinds))
        if session.platform_found is not None and session.platform_found != visit.target.detected:
            self._recorder.post(PlatformFound(visit.device, session.platform_found))
        return Gathered(captures, session.facts(captures) if captures else {})
