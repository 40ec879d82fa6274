"""Where the parts are put together. The command line, the daemon and embedding programs all call what is here."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netraven.assembly import (
    access_rules,
    courier,
    floor_limits,
    git_exporter,
    guard_standing,
    set_defaults,
    sources,
    sources_of,
    subscriptions,
    transport_for,
)
from netraven.collect.access import AccessRules
from netraven.collect.floor import Floor, FloorLimits
from netraven.config import (
    CollectSettings,
    JumpSettings,
    RealmSettings,
    RetentionSettings,
    SecretsSettings,
    Settings,
    VaultSettings,
    load_settings,
)
from netraven.credentials.evidence import Knowledge
from netraven.credentials.plan import Plan, plan_run
from netraven.credentials.strategy import strategy_named
from netraven.errors import DatabaseError, InputError, NetRavenError, SettingsError
from netraven.model import (
    AUTO,
    Credential,
    Device,
    Job,
    JobStanding,
    Logged,
    Order,
    Outcome,
    Run,
    RunStatus,
    Selector,
    Target,
    What,
    utcnow,
)
from netraven.outlets import Outlets
from netraven.platforms import Catalogue
from netraven.ports import Transport
from netraven.running import Observer, Running, jump_hosts

if TYPE_CHECKING:
    from netraven.git.after_run import Line
    from netraven.git.export import ExportReport, Progress
    from netraven.history.configurations import Configurations
    from netraven.storage.store import SqlStore


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


class NetRaven:
    """A collector with its store. Made by :meth:`open` or :meth:`in_memory`; one event loop each."""

    def __init__(  # noqa: PLR0913 - its parts, each by name
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
        floor: Floor | None = None,
    ) -> None:
        """``floor``: what its runs share when several go on at once."""
        self._floor = floor or Floor(
            FloorLimits(settings.concurrency, {}, jump.max_logins, jump.max_sessions)
        )
        self._outlets = outlets
        self.platforms = platforms or Catalogue()
        """The platforms that ship, and the user's."""
        self._access = access
        self._jump = jump
        self._store = store
        self._transport = transport
        self._settings = settings
        self._realms = realms
        self._retention = RetentionSettings()
        """What the prune of a job lets go; only :meth:`open` has settings of it."""
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
            set_defaults(store, settings)
            await store.runs.recover()
            raven = cls(
                store=store,
                transport=transport_for(settings.collect, platforms, agent=settings.ssh.agent_socket),
                settings=settings.collect,
                realms=settings.realms,
                access=access_rules(settings),
                jump=settings.jump,
                platforms=platforms,
                floor=Floor(floor_limits(settings)),
                outlets=Outlets(
                    git=git_exporter(settings, store, platforms),
                    courier=partial(courier, settings, store, platforms) if settings.hooks else None,
                ),
            )
            raven._retention = settings.retention
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
        what: What = What.CONFIGURATION,
    ) -> Run:
        """The same without keeping the outcomes: memory does not grow with the fleet. ``on_outcome`` is told each.

        ``what``: a check in place of collecting; a device that is well then has the status ``checked``.
        """
        if not what.visits:
            raise InputError(f"{what.value} visits no device: it is a job's, or a command of its own")
        outputs = tuple(outputs)
        self._check_outputs(outputs)
        order = Order(
            what=what,
            selector=_selector(tags, names),
            concurrency=self._settings.concurrency if concurrency is None else concurrency,
            strategy=strategy or self._settings.strategy,
            outputs=outputs,
        )
        async with self._outlets.telling():
            running = self._running
            await self._check(order.selector)
            running.check(order)
            await running.prepare(order.selector, what)
            with self._floor.at_least(order.concurrency):
                run = await running.execute(
                    await self._store.start(order), observer=observer, on_outcome=on_outcome
                )
            await self._keep(await self._outlets.export(), run, observer)
        return run

    async def run_job(
        self,
        name: str,
        *,
        observer: Observer | None = None,
        on_outcome: Callable[[Outcome], None] = lambda _: None,
    ) -> Run:
        """Run a job now and here, whatever its schedule says; one that waits, begun or not, is gone on with.

        When cancelled it is put back with what is left: a daemon goes on with it, or this method called again. Raises
        ``InputError`` where there is no such job, where a run of it goes on, and for what :meth:`run` does.
        """
        store = self._store_with_jobs()
        standing = await store.jobs.get(name)
        await self._ready(self._order_of(standing.job))
        async with self._outlets.telling():
            run = await self._claimed(standing)
            run = await self._running.execute(run, observer=observer, on_outcome=on_outcome, resumable=True)
            await self._keep(await self._outlets.export(), run, observer)
        return run

    async def run_jobs(self, *, max_runs: int = 8, observer: Observer | None = None) -> None:
        """Run jobs as they fall due, and runs that wait in the queue, ``max_runs`` at once, until it is cancelled.

        What runs then is put back with what is left: the next daemon, or the next call, goes on with it. A run waits
        for a database that is lost. Several programs may do this on one PostgreSQL: each due time is run once. Jobs are
        those on record (``raven.store.jobs``). Raises ``InputError`` with :meth:`in_memory`.
        """
        from netraven.standing_by import stand_by

        store = self._store_with_jobs()

        async def execute(run: Run) -> Run:
            try:
                self._running.check(run)
                await self._running.prepare(run.selector, run.what)
            except DatabaseError:
                return await store.runs.release(run, run.counts)
            except NetRavenError as error:  # it is not taken again each second
                return await store.runs.finish(run, RunStatus.INTERRUPTED, run.counts, str(error))
            run = await self._running.execute(run, observer=observer, resumable=True, patient=True)
            await self._keep(await self._outlets.export(), run, observer)
            return run

        async with self._outlets.telling():
            await stand_by(store, execute, max_runs=max_runs)

    async def retry(
        self,
        run_id: int,
        *,
        concurrency: int | None = None,
        observer: Observer | None = None,
        on_outcome: Callable[[Outcome], None] = lambda _: None,
    ) -> Run:
        """A new run of the same kind over the devices of a run that were not collected in it.

        Raises ``InputError`` where there is no such run, where it has not ended, and where nothing is left of it.
        """
        order = await self._again(await self._store_with_jobs().runs.get(run_id))
        if concurrency is not None:
            order = replace(order, concurrency=concurrency)
        await self._ready(order)
        async with self._outlets.telling():
            run = await self._store.start(order)
            run = await self._running.execute(run, observer=observer, on_outcome=on_outcome)
            await self._keep(await self._outlets.export(), run, observer)
        return run

    def _store_with_jobs(self) -> SqlStore:
        if getattr(self._store, "jobs", None) is None:
            raise InputError(
                "without a database there are no jobs, and no past runs: open one with NetRaven.open"
            )
        return self.store

    def _order_of(self, job: Job) -> Order:
        return Order(
            what=job.what,
            selector=job.selector,
            strategy=job.strategy or self._settings.strategy,
            concurrency=job.concurrency or self._settings.concurrency,
            outputs=job.outputs,
        )

    async def _claimed(self, standing: JobStanding) -> Run:
        """A run of the job, held by this process."""
        store = self._store_with_jobs()
        waiting = standing.last_run
        if waiting is None or waiting.status is not RunStatus.QUEUED:
            waiting = await store.jobs.run_now(standing.job.name)
        run = await store.runs.claim(waiting)
        if run is None:
            raise InputError(
                f"run {waiting.id} of job {standing.job.name!r} was taken by another process meanwhile"
            )
        return run

    async def _again(self, run: Run) -> Order:
        if run.status in (RunStatus.QUEUED, RunStatus.RUNNING):
            raise InputError(f"run {run.id} has not ended: what is left of it is known then")
        if not run.what.visits:
            raise InputError(
                f"run {run.id} was no run over devices ({run.what.value}): there is nothing to retry"
            )
        if run.status is RunStatus.MISSED:
            raise InputError(f"run {run.id} was missed, it had no devices: run its job instead")
        selector = Selector(retry_of=run.id)
        if not await self._store.count(selector, collected_only=True):
            raise InputError(
                f"run {run.id} has nothing to retry: no device is left that was not collected in it"
            )
        return Order(
            what=run.what,
            selector=selector,
            strategy=run.strategy,
            concurrency=run.concurrency,
            outputs=run.outputs,
            retry_of=run.id,
            options=run.options,
        )

    async def _ready(self, order: Order) -> None:
        """Make sure, before anything is on record, that such a run can be made."""
        self._check_outputs(order.outputs)
        self._running.check(order)
        await self._running.prepare(order.selector, order.what)

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
        hosts = await jump_hosts(self._store, self._access)
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

    @property
    def _running(self) -> Running:
        return Running(
            self._store,
            self._transport,
            self._settings,
            self._realms,
            self._access,
            self._jump,
            self._retention,
            floor=self._floor,
        )

    async def _keep(self, lines: Iterable[Line], run: Run, observer: Observer | None) -> None:
        """Put lines into the run's log; what cannot be kept is only shown."""
        entries = [Logged(run.id, utcnow(), level, event, data=data) for level, event, data in lines]
        if observer is not None:
            for entry in entries:
                observer.noticed(entry.message, entry.data)
        if entries:
            with contextlib.suppress(DatabaseError):
                await self._store.commit(entries)

    def _way(self, hosts: Mapping[str, Target], device: Device) -> Sequence[Target]:
        """The jump hosts on the way to a device, as far as there is one."""
        if not hosts:
            return ()
        try:
            chain = self._access.chain(device, {name: target.device for name, target in hosts.items()})
        except InputError:
            return ()
        return [hosts[name] for name in chain]

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
