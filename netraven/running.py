"""One run, from its order to its end: the parts are put together, devices are visited, and what it came to is kept."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from netraven import chores
from netraven.assembly import needs_key, policy_of
from netraven.collect.access import AccessRules
from netraven.collect.breaker import Breaker
from netraven.collect.collector import Collector, Limits, Means
from netraven.collect.fleet import Fleet, Terms
from netraven.collect.floor import Floor
from netraven.collect.guard import Guard, Patience
from netraven.collect.jump_hosts import JumpHosts, JumpLimits
from netraven.collect.login import Record
from netraven.collect.outage import LEAVING, Outage, Patient
from netraven.collect.pace import Pace
from netraven.collect.recorder import Recorder
from netraven.collect.retry import RetryPolicy
from netraven.config import CollectSettings, JumpSettings, RealmSettings, RetentionSettings
from netraven.credentials.evidence import Knowledge
from netraven.credentials.matching import CredentialIndex
from netraven.credentials.strategy import strategy_named
from netraven.errors import DatabaseError, InputError, NetRavenError, RunLost
from netraven.model import (
    Counts,
    Credential,
    Load,
    Logged,
    Order,
    Outcome,
    Run,
    RunStatus,
    Selector,
    SkipReason,
    Status,
    Target,
    What,
    utcnow,
)
from netraven.ports import Inventory, Ledger, Runs, Secrets, Transport
from netraven.storage.owner import current_owner

_A_MOMENT = 10.0
HEARTBEAT = 5.0
"""Seconds between two signs of life of a run; one that gives none for 90 s is taken for dead by other hosts."""


class Observer(Protocol):
    """Watches a run while it goes on; its methods are called in the event loop and must not block."""

    def run_started(self, run: Run, fleet: Fleet) -> None: ...

    def device_finished(self, outcome: Outcome) -> None: ...

    def noticed(self, event: str, data: Mapping[str, object]) -> None:
        """The lockout guard did something that a person should know; the run's log has it under the same name."""


class Store(Inventory, Secrets, Ledger, Runs, Protocol):
    """What a run needs of a store."""

    encrypts: bool
    """Whether what is collected is encrypted, which needs the key."""


@dataclass(frozen=True, slots=True)
class Running:
    """What runs are made of. Several may go on at once."""

    store: Any
    transport: Transport
    settings: CollectSettings
    realms: Mapping[str, RealmSettings]
    access: AccessRules
    jump: JumpSettings
    retention: RetentionSettings = RetentionSettings()
    floor: Floor = field(default_factory=Floor)
    """What these runs share with others of the process."""

    def check(self, order: Order | Run) -> None:
        """Raises ``InputError`` for what no run can be made of."""
        if order.concurrency < 1 or order.concurrency != int(order.concurrency):
            raise InputError(f"concurrency must be a whole number of at least 1, not {order.concurrency!r}")
        strategy_named(order.strategy, refused_backoff=self.settings.refused_backoff)

    async def prepare(self, selector: Selector, what: What = What.CONFIGURATION) -> None:
        """Make sure of what a run needs before it begins. Raises ``KeyringError`` where secrets have no key.

        Whoever only knocks needs secrets for jump hosts alone, and none where there are none.
        """
        if not what.visits:
            return
        await self.store.prepare_run()
        stores = what is What.CONFIGURATION and self.store.encrypts
        stores = stores and await self.store.count(selector, collected_only=True) > 0
        offers = what.logs_in or bool(await jump_hosts(self.store, self.access))
        if stores or (offers and needs_key(await self.store.credentials())):
            self.store.require_key()

    async def execute(  # noqa: PLR0915 - a run from its beginning to its end, in that order
        self,
        run: Run,
        *,
        observer: Observer | None = None,
        on_outcome: Callable[[Outcome], None] = lambda _: None,
        resumable: bool = False,
        patient: bool = False,
    ) -> Run:
        """Visit the run's targets that have no outcome yet; returns the run as it ended.

        ``resumable``: where it is cancelled, or what happens cannot be recorded any more, it is put back with what is
        left to do, and else marked as interrupted. ``patient``: while the database is away the run waits for it, and
        does not end. Raises what ended it; ``RunLost`` where the run is another process's by now, which then is left
        alone. A run that visits no device is a chore (``netraven.chores``), which nobody observes.
        """
        if not run.what.visits:
            return await chores.do(run, self.store, self.retention, resumable=resumable)
        outage = Outage(math.inf if patient else 0.0, leaving=LEAVING, run=run.id)
        store = Patient(self.store, outage)
        tally = _Tally(run.counts)
        status: RunStatus | None = None
        failure: BaseException | None = None
        try:
            credentials = await store.credentials()
            resumed = run.begun
            run = await store.begin(run, dead_after=self.settings.dead_after)
            load = await self._load(store, run)
            tally = await _on_record(store, run) if resumed else _Tally(run.counts)
            knowledge = Knowledge(await store.learned())
            guard = self._guard(run, store, outage, credentials, knowledge)
            on_the_way = await outage.over(lambda: jump_hosts(self.store, self.access))
            hosts = JumpHosts(on_the_way, self.access, self._jump_limits, self.floor)
            async with (
                Recorder(store, run=run) as recorder,
                _hurried(outage),
                guard,
                hosts,
                _hurried(outage),
            ):
                means = Means(
                    CredentialIndex(credentials),
                    strategy_named(run.strategy, refused_backoff=self.settings.refused_backoff),
                    store,
                    self.transport,
                    guard,
                    self.access,
                    hosts,
                    run.outputs or None,
                    run.what,
                )
                record = Record(
                    run.id, recorder, knowledge, time.monotonic, run.what, self.settings.device_timeout
                )
                patience = self._patience(credentials, resumed=resumed)
                collector = Collector(means=means, record=record, limits=self._limits(outage, patience))
                fleet = Fleet(
                    collector,
                    concurrency=run.concurrency,
                    floor=self.floor,
                    terms=self._terms(run, resumable=resumable),
                )
                tell = [tally.add, on_outcome]
                if observer is not None:
                    collector.on_notice = observer.noticed
                    observer.run_started(run, fleet)
                    tell.append(observer.device_finished)

                def finished(outcome: Outcome) -> None:
                    for told in tell:
                        told(outcome)

                run_log = _RunLog(recorder, run)
                run_log(
                    "run_resumed" if resumed else "run_started",
                    devices=run.counts.devices,
                    credentials=len(credentials),
                    strategy=run.strategy,
                    what=run.what.value,
                )

                targets = partial(self.store.targets_of, run, resumed=resumed, reading=outage.over)
                pace = Pace(
                    load,
                    fleet,
                    self.floor,
                    finish_by=run.finish_by,
                    late=partial(_late, collector),
                    clock=time.monotonic,
                )
                visited = False
                async with self._alive(store, run, tally, recorder, pace):
                    try:
                        visited = await _until_stopped(recorder, fleet.run(targets(), finished, targets))
                    finally:
                        run_log.finished(collector, tally.counts, visited=visited)
            if visited:
                status = tally.status(credentials=bool(credentials) or not run.what.logs_in)
        except BaseExceptionGroup as group:
            failure = _first(group)
            raise failure from None
        except BaseException as raised:
            failure = raised
            raise
        finally:
            if status is None:
                outage.hurry()
            run = await self._end(store, run, status, tally, failure, resumable=resumable)
        return run

    def _guard(
        self,
        run: Run,
        store: Any,
        outage: Outage,
        credentials: Sequence[Credential],
        knowledge: Knowledge,
    ) -> Guard:
        told = self.settings
        longest = max(told.login_timeout, self.access.longest("login_timeout"))
        return Guard(
            Patient(self.store.guard_book, outage),
            credentials,
            rules=partial(policy_of, self.realms),
            holder=f"{current_owner()}#{run.id}",
            knowledge=knowledge,
            find_proven=store.proven,
            patience=Patience(longest, told.login_grace),
            floor=self.floor,
        )

    def _patience(self, credentials: Sequence[Credential], *, resumed: bool) -> float:
        """Seconds that the end of the run waits for what is kept back.

        Secrets that were in flight when a run was cut short count as refused, so its account may be closed until the
        AAA service has forgotten them: whoever goes on with the run waits for that.
        """
        windows = [policy_of(self.realms, one.realm).window for one in credentials] if resumed else []
        return max([self.settings.patience, *(window + _A_MOMENT for window in windows)])

    def _limits(self, outage: Outage, patience: float) -> Limits:
        told = self.settings
        return Limits(
            told.device_timeout,
            RetryPolicy(told.retries),
            patience,
            told.connect_timeout,
            self._breaker,
            outage=outage,
        )

    async def _load(self, store: Any, run: Run) -> Load:
        """What is left of the run, and how long it usually takes."""
        if run.what is What.CONFIGURATION:
            told = {"dead_after": self.settings.dead_after, "dead_seconds": self._breaker.connect_timeout}
            load: Load = await store.load(run, **told)
            return load
        counts = await store.counted(run)  # what is known of collecting says nothing of a check
        return Load(run.counts.devices - counts.collected - counts.failed - counts.skipped)

    def _terms(self, run: Run, *, resumable: bool) -> Terms:
        terms = Terms(run.priority, resumable=resumable)
        if run.what is What.CONFIGURATION:
            terms = replace(terms, usual=self._breaker.usual_seconds)
        if run.finish_by is None:
            return terms
        left = (run.finish_by - utcnow()).total_seconds()
        return replace(terms, closes_at=asyncio.get_running_loop().time() + left, closes=run.finish_by)

    @property
    def _breaker(self) -> Breaker:
        return Breaker(self.settings.dead_after, self.settings.dead_connect_timeout)

    async def _end(
        self,
        store: Any,
        run: Run,
        status: RunStatus | None,
        tally: _Tally,
        failure: BaseException | None,
        *,
        resumable: bool,
    ) -> Run:
        """Mark the run as ended, whatever is being raised; a store that has failed leaves it to the next start."""
        if isinstance(failure, RunLost):
            return run
        if status is None and resumable:
            ending = store.release(run, tally.counts)
        else:
            error = tally.why(run)
            if failure is not None and not isinstance(failure, asyncio.CancelledError):
                error = str(failure)
            ending = store.finish(run, status or RunStatus.INTERRUPTED, tally.counts, error)
        try:
            ended: Run = await asyncio.shield(ending)
        except DatabaseError:
            if failure is None:
                raise
            return run
        return ended

    @property
    def _jump_limits(self) -> JumpLimits:
        return JumpLimits(self.jump.retry_after, RetryPolicy(self.settings.retries))

    @asynccontextmanager
    async def _alive(
        self, store: Any, run: Run, tally: _Tally, recorder: Recorder, pace: Pace
    ) -> AsyncIterator[None]:
        async def beat() -> None:
            while True:
                eta_at = pace.look()
                asked = asyncio.get_running_loop().time()
                with contextlib.suppress(NetRavenError):  # the recorder is who notices a lost database
                    if not await store.heartbeat(run, tally.counts, eta_at):
                        recorder.stop(RunLost(f"run {run.id} is not this process's any more"))
                        return
                    recorder.held(asked)
                await asyncio.sleep(HEARTBEAT)

        beating = asyncio.create_task(beat(), name="netraven-heartbeat")
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.wait([beating])


def _late(collector: Collector, data: Mapping[str, object]) -> None:
    collector.notice("run_will_be_late", data)


async def _on_record(store: Any, run: Run) -> _Tally:
    """What another process has left of a run."""
    return _Tally(await store.counted(run), await store.skipped(run, SkipReason.NO_CREDENTIALS))


@asynccontextmanager
async def _hurried(outage: Outage) -> AsyncIterator[None]:
    """What is cut short does not wait long for the database."""
    try:
        yield
    except BaseException:
        outage.hurry()
        raise


async def _until_stopped(recorder: Recorder, work: Coroutine[Any, Any, bool]) -> bool:
    """Do ``work``, and cancel it as soon as nothing can be recorded any more, whatever it is waiting for."""

    async def watch() -> None:
        if recorder.failed is not None:
            await asyncio.shield(recorder.failed)

    async with asyncio.TaskGroup() as both:
        watching = both.create_task(watch(), name="netraven-recorder-watch")
        done = await work
        watching.cancel()
    return done


async def jump_hosts(store: Any, access: AccessRules) -> Mapping[str, Target]:
    """The jump hosts that settings name, those that are in the inventory."""
    names = frozenset(access.jump_hosts())
    if not names:
        return {}
    return {target.device.name: target async for target in store.targets(Selector(names=names))}


class _RunLog:
    """Lines of the run's own log that are not about one device."""

    def __init__(self, recorder: Recorder, run: Run) -> None:
        self._recorder = recorder
        self._run = run

    def __call__(self, message: str, **data: Any) -> None:
        self._recorder.post(Logged(self._run.id, utcnow(), "info", message, data=data))

    def finished(self, collector: Collector, counts: Counts, *, visited: bool) -> None:
        collector.warn()
        self("run_finished" if visited else "run_stopped", **asdict(counts))


class _Tally:
    """A run in numbers as it goes on, beginning with what is on record of it."""

    def __init__(self, before: Counts, without_credentials: int = 0) -> None:
        self._before = before
        self._by_status: Counter[Status] = Counter()
        self._attempts = 0
        self._without = without_credentials
        """Devices that no credential could be offered to, whatever is held or not."""
        self._closed = 0
        """Devices that there was no time for."""

    def add(self, outcome: Outcome) -> None:
        self._by_status[outcome.status] += 1
        self._attempts += outcome.attempts
        self._without += outcome.reason == SkipReason.NO_CREDENTIALS
        self._closed += outcome.reason == SkipReason.WINDOW

    @property
    def counts(self) -> Counts:
        well = self._by_status[Status.COLLECTED] + self._by_status[Status.CHECKED]
        return Counts(
            devices=self._before.devices,
            collected=self._before.collected + well,
            failed=self._before.failed + self._by_status[Status.FAILED],
            skipped=self._before.skipped + self._by_status[Status.SKIPPED],
            attempts=self._before.attempts + self._attempts,
        )

    def why(self, run: Run) -> str | None:
        """Why the run has not got through, where that lies in the run."""
        if not self._closed or run.finish_by is None:
            return None
        devices = f"{self._closed} device{'s' if self._closed > 1 else ''}"
        return f"it had to be finished by {run.finish_by:%Y-%m-%d %H:%M} UTC, and there was no time for {devices}"

    def status(self, *, credentials: bool) -> RunStatus:
        counts = self.counts
        if not counts.devices:
            return RunStatus.NO_DEVICES
        if not credentials or self._without == counts.devices:
            return RunStatus.NO_CREDENTIALS
        if counts.collected == counts.devices:
            return RunStatus.COMPLETE
        return RunStatus.PARTIAL if counts.collected else RunStatus.FAILED


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception that a person should see of a group: ours before any other."""
    flat = list(_flatten(group))
    return next((e for e in flat if isinstance(e, NetRavenError)), flat[0])


def _flatten(group: BaseExceptionGroup[BaseException]) -> Iterable[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flatten(error)
        else:
            yield error
