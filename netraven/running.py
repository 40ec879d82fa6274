"""One run, from its order to its end: the parts are put together, devices are visited, and what it came to is kept."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Protocol

from netraven.assembly import needs_key, policy_of
from netraven.collect.access import AccessRules
from netraven.collect.collector import Collector, Limits, Means
from netraven.collect.fleet import Fleet
from netraven.collect.guard import Guard, Patience
from netraven.collect.jump_hosts import JumpHosts, JumpLimits
from netraven.collect.login import Record
from netraven.collect.outage import LEAVING, Outage, Patient
from netraven.collect.recorder import Recorder
from netraven.collect.retry import RetryPolicy
from netraven.config import CollectSettings, JumpSettings, RealmSettings
from netraven.credentials.evidence import Knowledge
from netraven.credentials.matching import CredentialIndex
from netraven.credentials.strategy import strategy_named
from netraven.errors import DatabaseError, InputError, NetRavenError, RunLost
from netraven.model import (
    Counts,
    Logged,
    Order,
    Outcome,
    Run,
    RunStatus,
    Selector,
    SkipReason,
    Status,
    Target,
    utcnow,
)
from netraven.ports import Inventory, Ledger, Runs, Secrets, Transport
from netraven.storage.owner import current_owner

HEARTBEAT = 15.0
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

    def check(self, order: Order | Run) -> None:
        """Raises ``InputError`` for what no run can be made of."""
        if order.concurrency < 1 or order.concurrency != int(order.concurrency):
            raise InputError(f"concurrency must be a whole number of at least 1, not {order.concurrency!r}")
        strategy_named(order.strategy, refused_backoff=self.settings.refused_backoff)

    async def prepare(self, selector: Selector) -> None:
        """Make sure of what a run needs before it begins. Raises ``KeyringError`` where secrets have no key."""
        await self.store.prepare_run()
        devices = await self.store.count(selector, collected_only=True)
        if needs_key(await self.store.credentials()) or (devices and self.store.encrypts):
            self.store.require_key()

    async def execute(
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
        alone.
        """
        outage = Outage(math.inf if patient else 0.0, leaving=LEAVING, run=run.id)
        store = Patient(self.store, outage)
        tally = _Tally(run.counts)
        status: RunStatus | None = None
        failure: BaseException | None = None
        try:
            chosen = strategy_named(run.strategy, refused_backoff=self.settings.refused_backoff)
            credentials = await store.credentials()
            resumed = run.begun
            run = await store.begin(run, dead_after=_DEAD_AFTER)
            tally = _Tally(await store.counted(run) if resumed else run.counts)
            knowledge = Knowledge(await store.learned())
            guard = Guard(
                Patient(self.store.guard_book, outage),
                credentials,
                rules=partial(policy_of, self.realms),
                holder=f"{current_owner()}#{run.id}",
                knowledge=knowledge,
                find_proven=store.proven,
                patience=Patience(
                    max(self.settings.login_timeout, self.access.longest("login_timeout")),
                    self.settings.login_grace,
                ),
            )
            on_the_way = await outage.over(lambda: jump_hosts(self.store, self.access))
            hosts = JumpHosts(on_the_way, self.access, self._jump_limits)
            async with (
                Recorder(store, run=run) as recorder,
                _hurried(outage),
                self._alive(store, run, tally, recorder),
                guard,
                hosts,
                _hurried(outage),
            ):
                collector = Collector(
                    means=Means(
                        CredentialIndex(credentials),
                        chosen,
                        store,
                        self.transport,
                        guard,
                        self.access,
                        hosts,
                        run.outputs or None,
                    ),
                    record=Record(run.id, recorder, knowledge, time.monotonic),
                    limits=Limits(
                        self.settings.device_timeout,
                        RetryPolicy(self.settings.retries),
                        self.settings.patience,
                        outage=outage,
                    ),
                )
                fleet = Fleet(collector, concurrency=run.concurrency)
                if observer is not None:
                    collector.on_notice = observer.noticed
                    observer.run_started(run, fleet)

                def finished(outcome: Outcome) -> None:
                    tally.add(outcome)
                    on_outcome(outcome)
                    if observer is not None:
                        observer.device_finished(outcome)

                run_log = _RunLog(recorder, run)
                run_log(
                    "run_resumed" if resumed else "run_started",
                    devices=run.counts.devices,
                    credentials=len(credentials),
                    strategy=run.strategy,
                )

                def targets() -> AsyncIterator[Target]:
                    found: AsyncIterator[Target] = self.store.targets_of(run, reading=outage.over)
                    return found

                try:
                    await _until_stopped(recorder, fleet.run(targets(), finished, targets))
                finally:
                    run_log.finished(collector, tally.counts)
            status = tally.status(credentials=bool(credentials))
        except BaseExceptionGroup as group:
            failure = _first(group)
            raise failure from None
        except BaseException as raised:
            failure = raised
            raise
        finally:
            if status is None:
                outage.hurry()
            run = await self._end(store, run, status, tally.counts, failure, resumable=resumable)
        return run

    async def _end(
        self,
        store: Any,
        run: Run,
        status: RunStatus | None,
        counts: Counts,
        failure: BaseException | None,
        *,
        resumable: bool,
    ) -> Run:
        """Mark the run as ended, whatever is being raised; a store that has failed leaves it to the next start."""
        if isinstance(failure, RunLost):
            return run
        if status is None and resumable:
            ending = store.release(run, counts)
        else:
            error = None if failure is None or isinstance(failure, asyncio.CancelledError) else str(failure)
            ending = store.finish(run, status or RunStatus.INTERRUPTED, counts, error)
        try:
            ended: Run = await asyncio.shield(ending)
        except DatabaseError:
            if failure is None:
                raise
            return run
        return ended

    @property
    def _jump_limits(self) -> JumpLimits:
        told = self.jump
        return JumpLimits(
            told.max_logins, told.max_sessions, told.retry_after, RetryPolicy(self.settings.retries)
        )

    @asynccontextmanager
    async def _alive(self, store: Any, run: Run, tally: _Tally, recorder: Recorder) -> AsyncIterator[None]:
        async def beat() -> None:
            while True:
                await asyncio.sleep(HEARTBEAT)
                with contextlib.suppress(NetRavenError):  # the recorder is who notices a lost database
                    if not await store.heartbeat(run, tally.counts):
                        recorder.stop(RunLost(f"run {run.id} is not this process's any more"))
                        return

        beating = asyncio.create_task(beat(), name="netraven-heartbeat")
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.wait([beating])


_DEAD_AFTER = 3


@asynccontextmanager
async def _hurried(outage: Outage) -> AsyncIterator[None]:
    """What is cut short does not wait long for the database."""
    try:
        yield
    except BaseException:
        outage.hurry()
        raise


async def _until_stopped(recorder: Recorder, work: Coroutine[Any, Any, None]) -> None:
    """Do ``work``, and cancel it as soon as nothing can be recorded any more, whatever it is waiting for."""

    async def watch() -> None:
        if recorder.failed is not None:
            await asyncio.shield(recorder.failed)

    async with asyncio.TaskGroup() as both:
        watching = both.create_task(watch(), name="netraven-recorder-watch")
        await work
        watching.cancel()


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

    def finished(self, collector: Collector, counts: Counts) -> None:
        collector.warn()
        self("run_finished", **asdict(counts))


class _Tally:
    """A run in numbers as it goes on, beginning with what is on record of it."""

    def __init__(self, before: Counts) -> None:
        self._before = before
        self._by_status: Counter[Status] = Counter()
        self._attempts = 0
        self._without = 0
        """Devices that no credential could be offered to, whatever is held or not."""

    def add(self, outcome: Outcome) -> None:
        self._by_status[outcome.status] += 1
        self._attempts += outcome.attempts
        self._without += outcome.reason == SkipReason.NO_CREDENTIALS

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
