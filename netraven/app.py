"""Where the parts are put together. The command line, the daemon and embedding programs all call what is here."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from netraven.assembly import (
    access_rules,
    courier,
    git_exporter,
    guard_standing,
    needs_key,
    policy_of,
    sources,
    sources_of,
    subscriptions,
    transport_for,
)
from netraven.collect.access import AccessRules
from netraven.collect.collector import Collector, Limits, Means
from netraven.collect.fleet import Fleet
from netraven.collect.guard import Guard, Patience
from netraven.collect.jump_hosts import JumpHosts, JumpLimits
from netraven.collect.login import Record
from netraven.collect.recorder import Recorder
from netraven.collect.retry import RetryPolicy
from netraven.config import (
    CollectSettings,
    JumpSettings,
    RealmSettings,
    SecretsSettings,
    Settings,
    VaultSettings,
    load_settings,
)
from netraven.credentials.evidence import Knowledge
from netraven.credentials.lockout import Policy
from netraven.credentials.matching import CredentialIndex
from netraven.credentials.plan import Plan, plan_run
from netraven.credentials.strategy import strategy_named
from netraven.errors import DatabaseError, InputError, NetRavenError, SettingsError
from netraven.model import (
    AUTO,
    Counts,
    Credential,
    Device,
    Logged,
    Outcome,
    Run,
    RunStatus,
    Selector,
    SkipReason,
    Status,
    Target,
    utcnow,
)
from netraven.outlets import Outlets
from netraven.platforms import Catalogue
from netraven.ports import Inventory, Ledger, Runs, Secrets, Transport
from netraven.storage.owner import current_owner

if TYPE_CHECKING:
    from netraven.git.after_run import Line
    from netraven.git.export import ExportReport, Progress
    from netraven.history.configurations import Configurations
    from netraven.storage.store import SqlStore

HEARTBEAT = 15.0
"""Seconds between two signs of life of a run; one that gives none for 90 s is taken for dead by other hosts."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """A finished run. ``outcomes`` in the order in which devices were finished."""

    run: Run
    outcomes: tuple[Outcome, ...]

    @property
    def failed_by_class(self) -> dict[str, int]:
        """How many devices failed or were skipped, by reason, most first."""
        reasons = Counter(o.reason for o in self.outcomes if o.reason is not None)
        return dict(reasons.most_common())


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


class NetRaven:
    """A collector with its store. Made by :meth:`open` or :meth:`in_memory`; one event loop each."""

    def __init__(
        self,
        *,
        store: Any,
        transport: Transport,
        settings: CollectSettings,
        realms: Mapping[str, RealmSettings],
        access: AccessRules = AccessRules(),
        jump: JumpSettings = JumpSettings(),
        platforms: Catalogue | None = None,
        outlets: Outlets = Outlets(),
    ) -> None:
        self._outlets = outlets
        self.platforms = platforms or Catalogue()
        """The platforms that ship, and the user's."""
        self._access = access
        self._jump = jump
        self._store = store
        self._transport = transport
        self._settings = settings
        self._realms = realms
        self._streams: set[asyncio.Task[Run]] = set()

    @classmethod
    @asynccontextmanager
    async def open(cls, config: str | Path | Settings | None = None) -> AsyncIterator[NetRaven]:
        """Open with a settings file (found as the command line finds it when None) and its database.

        Raises ``SettingsError``, ``DatabaseError``, and ``KeyringError`` once a secret is needed.
        """
        from netraven.storage.store import SqlStore

        settings = config if isinstance(config, Settings) else load_settings(config)
        platforms = Catalogue(settings.platforms_folder)
        async with SqlStore.open(
            settings.database_url,
            key_file=settings.key_file,
            sources=sources_of(settings),
            catalogue=platforms,
            encrypt=settings.history.encrypt,
            subscriptions=subscriptions(settings, platforms),
        ) as store:
            await store.runs.recover()
            raven = cls(
                store=store,
                transport=transport_for(settings.collect, platforms, agent=settings.ssh.agent_socket),
                settings=settings.collect,
                realms=settings.realms,
                access=access_rules(settings),
                jump=settings.jump,
                platforms=platforms,
                outlets=Outlets(
                    git=git_exporter(settings, store, platforms),
                    courier=partial(courier, settings, store, platforms) if settings.hooks else None,
                ),
            )
            try:
                yield raven
            finally:
                await raven._end_streams()

    @classmethod
    @asynccontextmanager
    async def in_memory(
        cls,
        devices: Iterable[Device],
        credentials: Iterable[Credential],
        *,
        settings: CollectSettings = CollectSettings(),
        realms: Mapping[str, RealmSettings] | None = None,
        access: AccessRules = AccessRules(),
        transport: Transport | None = None,
        platforms: Path | None = None,
    ) -> AsyncIterator[NetRaven]:
        """Without database: nothing outlives the object. ``platforms``: a folder of platform files of your own.

        ``access``: how devices are reached, where not straight over SSH with default timeouts.
        ``realms``: who judges the passwords of which realm; one that is not named is central, but for ``local``.
        Raises ``InputError`` for a platform that is not known, unless ``transport`` is what has to know it, and
        ``SettingsError`` for a realm whose settings do not fit together.
        """
        from netraven.storage.memory import MemoryStore

        devices = list(devices)
        catalogue = Catalogue(platforms)
        if transport is None:
            _check_platforms(devices, catalogue)
        for name, realm in (realms or {}).items():
            if problem := realm.problem():
                raise SettingsError(f"realm {name!r}: {problem}")
        store = MemoryStore(
            devices,
            credentials,
            sources=sources(SecretsSettings(), VaultSettings(), Path.cwd()),
            catalogue=catalogue,
        )
        raven = cls(
            store=store,
            transport=transport or transport_for(settings, catalogue),
            settings=settings,
            realms=realms or {},
            access=access,
            platforms=catalogue,
        )
        try:
            yield raven
        finally:
            await raven._end_streams()

    @property
    def store(self) -> SqlStore:
        """The store, for what is not a run: inventory, credentials, logs (with :meth:`in_memory`: its memory)."""
        store: SqlStore = self._store
        return store

    @property
    def configurations(self) -> Configurations:
        """What was collected, of any time, with marks in the place of secrets.

        Raises ``InputError`` with :meth:`in_memory`, which keeps the last outputs only, as they came.
        """
        from netraven.assembly import configurations

        versions = getattr(self._store, "versions", None)
        if versions is None:
            raise InputError("without a database no history is kept: open one with NetRaven.open")
        return configurations(self.store, self.platforms)

    async def collect(
        self,
        tags: Iterable[str] = (),
        names: Iterable[str] = (),
        *,
        concurrency: int | None = None,
        strategy: str | None = None,
        outputs: Iterable[str] = (),
        observer: Observer | None = None,
    ) -> RunReport:
        """Collect every device that carries one of ``tags`` and is one of ``names`` (each: all when empty).

        ``outputs``: kinds of output to collect, whatever settings say (``running``, ``version`` ...). Raises
        ``InputError`` for unknown tags, names or strategies and ``KeyringError`` where stored secrets have no
        key, both before anything is done; ``RecorderStopped`` when the run can no longer be recorded. When cancelled,
        sessions are closed, what was done is kept, and the run is marked interrupted.
        """
        outcomes: list[Outcome] = []
        run = await self.run(
            tags,
            names,
            concurrency=concurrency,
            strategy=strategy,
            outputs=outputs,
            observer=observer,
            on_outcome=outcomes.append,
        )
        return RunReport(run, tuple(outcomes))

    async def run(
        self,
        tags: Iterable[str] = (),
        names: Iterable[str] = (),
        *,
        concurrency: int | None = None,
        strategy: str | None = None,
        outputs: Iterable[str] = (),
        observer: Observer | None = None,
        on_outcome: Callable[[Outcome], None] = lambda _: None,
    ) -> Run:
        """The same without keeping the outcomes: memory does not grow with the fleet. ``on_outcome`` is told each."""
        outputs = tuple(outputs)
        self._check_outputs(outputs)
        async with self._outlets.telling():
            run = await self._run(
                _selector(tags, names),
                concurrency=self._settings.concurrency if concurrency is None else concurrency,
                strategy=strategy or self._settings.strategy,
                outputs=outputs,
                observer=observer,
                on_outcome=on_outcome,
            )
            await self._keep(await self._outlets.export(), run, observer)
        return run

    async def export_git(
        self, *, rebuild: bool = False, push: bool = True, progress: Progress | None = None
    ) -> ExportReport:
        """Bring the git repository of ``[git]`` settings up to what is on record; each run does so at its end.

        ``rebuild``: make it anew, with its history. ``progress`` is told how many versions of how many are written.
        Raises ``InputError`` where settings name no repository and ``GitError`` where it cannot be written; a push that
        failed is told in the report.
        """
        if self._outlets.git is None:
            raise InputError("git.path is not set: there is no repository to export to")
        return await self._outlets.git.export(rebuild=rebuild, send=push, progress=progress)

    async def plan(
        self,
        tags: Iterable[str] = (),
        names: Iterable[str] = (),
        *,
        strategy: str | None = None,
        sample: int | None = None,
    ) -> Plan:
        """What :meth:`collect` would do. Nothing is connected to, no secret is read and nothing is written.

        ``sample``: where there are many more devices, look at about so many and reckon the rest from them. Raises
        ``InputError`` for unknown tags, names or strategies.
        """
        selector = _selector(tags, names)
        chosen = strategy_named(strategy or self._settings.strategy)
        await self._check(selector)
        devices = await self._store.count(selector, collected_only=True)
        share = 1.0 if sample is None or devices <= 2 * sample else sample / devices
        hosts = {name: target async for name, target in self._jump_hosts()}
        plan = await plan_run(
            self._store.targets(selector, share=share, collected_only=True),
            await self._store.credentials(),
            strategy=chosen,
            knowledge=Knowledge(await self._store.learned()),
            standing=await guard_standing(self._store, self._realms),
            way=partial(self._way, hosts),
        )
        return plan if share == 1.0 else plan.scaled(devices)

    async def stream(
        self,
        tags: Iterable[str] = (),
        names: Iterable[str] = (),
        *,
        concurrency: int | None = None,
        strategy: str | None = None,
    ) -> AsyncGenerator[Outcome, None]:
        """The same, giving each outcome as soon as it is on record. Leaving the loop early ends the run."""
        outcomes: asyncio.Queue[Outcome | None] = asyncio.Queue()
        run = asyncio.create_task(
            self.run(tags, names, concurrency=concurrency, strategy=strategy, on_outcome=outcomes.put_nowait)
        )
        self._streams.add(run)
        run.add_done_callback(self._streams.discard)
        run.add_done_callback(lambda _: outcomes.put_nowait(None))
        try:
            while (outcome := await outcomes.get()) is not None:
                yield outcome
            await run
        finally:
            run.cancel()
            await asyncio.wait([run])

    async def _end_streams(self) -> None:
        """A stream that was left by `break` is closed when it is collected, perhaps after the store has gone."""
        streams = list(self._streams)
        for run in streams:
            run.cancel()
        if streams:
            await asyncio.wait(streams)

    async def _run(
        self,
        selector: Selector,
        *,
        concurrency: int,
        strategy: str,
        outputs: Iterable[str],
        observer: Observer | None,
        on_outcome: Callable[[Outcome], None],
    ) -> Run:
        if concurrency < 1 or concurrency != int(concurrency):
            raise InputError(f"concurrency must be a whole number of at least 1, not {concurrency!r}")
        chosen = strategy_named(strategy, refused_backoff=self._settings.refused_backoff)
        await self._check(selector)
        await self._store.prepare_run()
        credentials = await self._store.credentials()
        devices = await self._store.count(selector, collected_only=True)
        if needs_key(credentials) or (devices and self._store.encrypts):
            self._store.require_key()
        run = await self._store.start(selector, strategy=strategy, concurrency=concurrency, devices=devices)
        tally = _Tally(devices)
        status: RunStatus | None = None
        error: str | None = None
        try:
            knowledge = Knowledge(await self._store.learned())
            guard = Guard(
                self._store.guard_book,
                credentials,
                rules=self._rules,
                holder=f"{current_owner()}#{run.id}",
                knowledge=knowledge,
                find_proven=self._store.proven,
                patience=Patience(
                    max(self._settings.login_timeout, self._access.longest("login_timeout")),
                    self._settings.login_grace,
                ),
            )
            jump_hosts = JumpHosts(
                {name: t async for name, t in self._jump_hosts()}, self._access, self._jump_limits
            )
            async with Recorder(self._store) as recorder, self._alive(run), guard, jump_hosts:
                collector = Collector(
                    means=Means(
                        CredentialIndex(credentials),
                        chosen,
                        self._store,
                        self._transport,
                        guard,
                        self._access,
                        jump_hosts,
                        tuple(outputs) or None,
                    ),
                    record=Record(run.id, recorder, knowledge, time.monotonic),
                    limits=Limits(
                        self._settings.device_timeout,
                        RetryPolicy(self._settings.retries),
                        self._settings.patience,
                    ),
                )
                fleet = Fleet(collector, concurrency=concurrency)
                if observer is not None:
                    collector.on_notice = observer.noticed
                    observer.run_started(run, fleet)

                def finished(outcome: Outcome) -> None:
                    tally.add(outcome)
                    on_outcome(outcome)
                    if observer is not None:
                        observer.device_finished(outcome)

                run_log = _RunLog(recorder, run)
                run_log("run_started", devices=devices, credentials=len(credentials), strategy=strategy)
                try:
                    await fleet.run(
                        self._store.targets(selector, collected_only=True),
                        finished,
                        lambda: self._store.targets(selector, unfinished_in=run.id, collected_only=True),
                    )
                finally:
                    run_log.finished(collector, tally.counts)
            status = tally.status(credentials=bool(credentials))
        except asyncio.CancelledError:
            status = RunStatus.INTERRUPTED
            raise
        except BaseExceptionGroup as group:
            first = _first(group)
            status, error = RunStatus.INTERRUPTED, str(first)
            raise first from None
        except BaseException as failure:
            status, error = RunStatus.INTERRUPTED, str(failure)
            raise
        finally:
            run = await self._end(run, status or RunStatus.INTERRUPTED, tally.counts, error)
        return run

    async def _keep(self, lines: Iterable[Line], run: Run, observer: Observer | None) -> None:
        """Put lines into the run's log; what cannot be kept is only shown."""
        entries = [Logged(run.id, utcnow(), level, event, data=data) for level, event, data in lines]
        if observer is not None:
            for entry in entries:
                observer.noticed(entry.message, entry.data)
        if entries:
            with contextlib.suppress(DatabaseError):
                await self._store.commit(entries)

    async def _jump_hosts(self) -> AsyncIterator[tuple[str, Target]]:
        """The jump hosts that settings name, those that are in the inventory."""
        names = frozenset(self._access.jump_hosts())
        if names:
            async for target in self._store.targets(Selector(names=names)):
                yield target.device.name, target

    def _way(self, hosts: Mapping[str, Target], device: Device) -> Sequence[Target]:
        """The jump hosts on the way to a device, as far as there is one."""
        if not hosts:
            return ()
        try:
            chain = self._access.chain(device, {name: target.device for name, target in hosts.items()})
        except InputError:
            return ()
        return [hosts[name] for name in chain]

    @property
    def _jump_limits(self) -> JumpLimits:
        told = self._jump
        return JumpLimits(
            told.max_logins, told.max_sessions, told.retry_after, RetryPolicy(self._settings.retries)
        )

    def _rules(self, realm: str) -> Policy:
        return policy_of(self._realms, realm)

    async def _end(self, run: Run, status: RunStatus, counts: Counts, error: str | None) -> Run:
        """Mark the run as ended, whatever is being raised; a store that has failed leaves it to the next start."""
        try:
            return await asyncio.shield(self._store.finish(run, status, counts, error))
        except DatabaseError:
            if error is None:
                raise
            return run

    def _check_outputs(self, outputs: tuple[str, ...]) -> None:
        asked = {**self._access.outputs(), **dict.fromkeys(outputs, "")}
        if not asked:
            return
        known = self.platforms.kinds()
        for kind, where in asked.items():
            if kind not in known:
                said = f"{where}.outputs: " if where else ""
                raise InputError(
                    f"{said}no platform has an output of the kind {kind!r}. Known are: {', '.join(sorted(known))}"
                )

    async def _check(self, selector: Selector) -> None:
        if selector.tags and (unknown := sorted(selector.tags - await self._store.known_tags())):
            raise InputError(f"no device or credential carries the tag {', '.join(map(repr, unknown))}")
        if selector.names and (missing := await self._store.missing(selector.names)):
            raise InputError(f"no such device: {', '.join(map(repr, missing))}")

    @asynccontextmanager
    async def _alive(self, run: Run) -> AsyncIterator[None]:
        async def beat() -> None:
            while True:
                await asyncio.sleep(HEARTBEAT)
                with contextlib.suppress(NetRavenError):  # the recorder is who notices a lost database
                    await self._store.heartbeat(run)

        beating = asyncio.create_task(beat(), name="netraven-heartbeat")
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.wait([beating])


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
    """A run in numbers as it goes on."""

    def __init__(self, devices: int) -> None:
        self._devices = devices
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
        return Counts(
            devices=self._devices,
            collected=self._by_status[Status.COLLECTED],
            failed=self._by_status[Status.FAILED],
            skipped=self._by_status[Status.SKIPPED],
            attempts=self._attempts,
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


def _check_platforms(devices: Iterable[Device], catalogue: Catalogue) -> None:
    for device in devices:
        if device.platform == AUTO:
            continue
        try:
            catalogue.load(device.platform)
        except InputError as error:
            raise InputError(f"device {device.name!r}: {error}") from error


def _selector(tags: Iterable[str], names: Iterable[str]) -> Selector:
    """Raises ``TypeError`` for one string in place of several."""
    if isinstance(tags, str) or isinstance(names, str):
        raise TypeError("tags and names are collections of strings, not one string")
    return Selector(frozenset(tags), frozenset(names))
