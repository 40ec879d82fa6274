"""`netraven serve` from its start to its end: one process that runs jobs on schedules for months.

It says what it does to systemd, to Prometheus and to the database; it ends when it is asked to, and puts back what was
not finished. A lost database pauses it; only what a person has to mend ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from netraven.assembly import floor_limits
from netraven.collect.floor import Floor
from netraven.config import Settings
from netraven.daemon.afterwards import Exporting, Telling
from netraven.daemon.figures import Refresher
from netraven.daemon.http import Address, Views, address_of, answering
from netraven.daemon.loop_lag import LoopLag
from netraven.daemon.metrics import Metrics
from netraven.daemon.outfit import Outfit
from netraven.daemon.shift import Shift
from netraven.daemon.supervisor import Supervisor, Watchdog
from netraven.errors import DatabaseError, DatabaseUnfit, NetRavenError
from netraven.events import events
from netraven.model import DaemonSeen, Run, RunStatus
from netraven.schedule.scheduler import Scheduler
from netraven.storage.engine import Database
from netraven.storage.jobs import SqlJobs

HEARTBEAT = 5.0
"""Seconds between two signs of life in the database; 90 without one is taken for dead by daemons on other hosts."""
STILL = 150.0
"""Seconds without progress after which the scheduler counts as standing still. A database whose host has gone takes a
minute to be noticed."""
GOODBYE = 10.0
"""Seconds in which hooks are still told of what happened, at the end."""
_AGAIN = (0.5, 1.0, 2.0, 5.0)
"""Seconds between tries to open the database; the last one again and again."""

T = TypeVar("T")
log = events("netraven.daemon")


@dataclass(frozen=True, slots=True)
class Start:
    """What a daemon is given."""

    settings: Settings
    reload: Callable[[], Settings]
    """Reads the settings again; raises ``SettingsError``."""
    version: str
    environ: Mapping[str, str]
    on_reload: Callable[[Settings], None] = lambda _: None
    """Told of settings that were taken over, by whoever owns the process: logging is theirs."""


class Daemon:
    """One `netraven serve`."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._settings = start.settings
        self._floor = Floor(floor_limits(start.settings))
        self._address = _address(start.settings)
        self._metrics = Metrics(start.version)
        self._lag = LoopLag(self._metrics.lag.observe)
        self._supervisor = Supervisor(start.environ)
        self._watchdog = Watchdog(self._supervisor)
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._reload = asyncio.Event()
        self._outfit: Outfit | None = None
        self._jobs: SqlJobs | None = None
        """What the scheduler claims from, for as long as it runs."""
        self._shift: Shift | None = None
        self._refresher: Refresher | None = None
        self._unwritable: str | None = None
        """Why the last sign of life could not be put on record."""
        self._reload_error: str | None = None
        self._progress_at = time.monotonic()
        self._waits_for = "starting"
        """Why nothing is done yet; empty once it is serving."""

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises ``NetRavenError`` for what a person has to mend."""
        async with AsyncExitStack() as stack:
            stack.callback(self._supervisor.close)
            stack.enter_context(self._signals())
            if self._address is not None:
                views = Views(self._not_alive, self._not_ready, self._exposition)
                port = await stack.enter_async_context(answering(self._address, views))
                log.info("listening", host=self._address.host, port=port)
            opened = await self._unless_stopping(self._open())
            if opened is None:
                return
            database, outfit, me = opened
            stack.push_async_callback(database.close)
            self._outfit = outfit
            self._metrics.reloaded.set_to_current_time()
            try:
                await self._serve(outfit, me)
            finally:
                with contextlib.suppress(DatabaseError):
                    await outfit.store.daemons.leave(self._me)
                log.info("stopped")

    # ---- starting

    async def _open(self) -> tuple[Database, Outfit, DaemonSeen]:
        """The database, this daemon on record in it. One that does not answer is waited for."""
        told = self._settings.daemon
        ends_at = time.monotonic() + told.start_patience
        tries = 0
        while True:
            try:
                return await self._open_once()
            except DatabaseUnfit:
                raise
            except DatabaseError as error:
                if time.monotonic() >= ends_at:
                    raise
                if not tries:
                    log.warning("database_not_there", error=str(error), patience=told.start_patience)
                self._waits_for = f"waiting for the database: {error}"
                self._supervisor.status(self._waits_for)
            pause = _AGAIN[min(tries, len(_AGAIN) - 1)]
            self._supervisor.extend(pause + 90)
            tries += 1
            self._progress()
            await asyncio.sleep(pause)

    async def _open_once(self) -> tuple[Database, Outfit, DaemonSeen]:
        settings = self._settings
        database = await Database.open(settings.database_url)
        try:
            outfit = Outfit.of(settings, database, self._floor)
            self._me = await outfit.store.daemons.register(self._state(), several=settings.daemon.several)
            try:
                await _apply_jobs(outfit)
            except BaseException:
                with contextlib.suppress(DatabaseError):
                    await outfit.store.daemons.leave(self._me)
                raise
        except BaseException:
            await database.close()
            raise
        return database, outfit, self._me

    async def _unless_stopping(self, work: Awaitable[T]) -> T | None:
        """What ``work`` comes to, None where the daemon was asked to stop before."""
        working = asyncio.ensure_future(work)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            for task in (working, stopping):
                task.cancel()
            await asyncio.wait([working, stopping])

    # ---- serving

    async def _serve(self, outfit: Outfit, me: DaemonSeen) -> None:
        exporting, telling = Exporting(self._in_force), Telling(self._in_force)
        shift = self._shift = Shift(self._in_force, self._metrics, ended=exporting.ended)
        refresher = self._refresher = Refresher(lambda: self._in_force().look(), self._metrics)
        outfit.store.on_commit = self._metrics.committed
        self._jobs = outfit.store.jobs
        scheduler = Scheduler(outfit.store.jobs, on_fired=self._fired, progress=self._progress)
        await refresher.refresh()
        self._waits_for = ""
        self._supervisor.ready(self._status())
        log.info("serving", database=outfit.store.database.shown, daemon=me.id)
        try:
            async with asyncio.TaskGroup() as group:
                background = [
                    group.create_task(work, name=f"netraven-{name}")
                    for name, work in (
                        ("scheduler", scheduler.run()),
                        ("shift", shift.run()),
                        ("heartbeat", self._beat()),
                        ("watchdog", self._watchdog.run()),
                        ("refresher", _kept("refresher", refresher.run)),
                        ("hooks", _kept("hooks", telling.run)),
                        ("exports", _kept("exports", exporting.run)),
                        ("loop-lag", _kept("loop-lag", self._lag.run)),
                        ("reloads", _kept("reloads", partial(self._reloads, telling))),
                    )
                ]
                await self._stopping.wait()
                scheduler.stop()
                await self._drain(shift, exporting)
                for task in background:
                    task.cancel()
        except BaseExceptionGroup as group:
            raise _worst(group) from None
        finally:
            await shift.cut()
        await telling.last_word(0.0 if self._hurry.is_set() else GOODBYE)

    async def _drain(self, shift: Shift, exporting: Exporting) -> None:
        """End what goes on, in the time that settings give; what is left of runs goes back to the queue."""
        seconds = self._in_force().settings.daemon.drain
        self._metrics.draining.set(1)
        self._supervisor.stopping(f"ending {_counted(len(shift.watches), 'run')}, {seconds:g} s at the most")
        self._supervisor.extend(seconds + GOODBYE + 20)
        log.info("draining", runs=len(shift.watches), seconds=seconds)
        shift.stop()
        async with self._lively():
            began = time.monotonic()
            await shift.drained(seconds, self._hurry)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(1.0, seconds - (time.monotonic() - began))):
                    if not self._hurry.is_set():
                        await exporting.finished()

    @asynccontextmanager
    async def _lively(self) -> AsyncIterator[None]:
        """The scheduler has ended, and what follows has a deadline of its own: not what the watchdog is for."""

        async def beat() -> None:
            while True:
                self._progress()
                await asyncio.sleep(1.0)

        beating = asyncio.create_task(beat(), name="netraven-draining")
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.wait([beating])

    def _in_force(self) -> Outfit:
        if self._outfit is None:
            raise RuntimeError("nothing is in force before the database is open")
        return self._outfit

    def _progress(self) -> None:
        """Of the scheduler: the watchdog hangs on it."""
        self._progress_at = time.monotonic()
        self._watchdog.progress()

    def _fired(self, run: Run) -> None:
        """A due time was taken up, or found missed."""
        self._metrics.runs_missed.inc(run.missed + (run.status is RunStatus.MISSED))

    async def _beat(self) -> None:
        """Signs of life in the database and for systemd."""
        while True:
            await asyncio.sleep(HEARTBEAT)
            self._supervisor.status(self._status())
            try:
                await self._sign()
            except DatabaseError as error:
                if self._unwritable is None:
                    log.warning("database_lost", error=str(error))
                self._unwritable = str(error)
            else:
                if self._unwritable is not None:
                    log.warning("database_back")
                self._unwritable = None

    async def _sign(self) -> None:
        """A sign of life in the database. Raises ``InputError`` where another daemon serves it by now."""
        store = self._in_force().store
        if not await store.daemons.heartbeat(self._me, self._state()):
            log.warning("taken_for_dead", daemon=self._me.id)
            several = self._in_force().settings.daemon.several
            self._me = await store.daemons.register(self._state(), several=several)

    # ---- settings that change

    async def _reloads(self, telling: Telling) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            self._supervisor.reloading()
            try:
                await self._read_again()
            except NetRavenError as error:
                self._reload_error = str(error)
                self._metrics.reload_well.set(0)
                log.error("settings_wrong", error=str(error), in_force="the old ones")  # noqa: TRY400 - a person's slip has no traceback
            else:
                telling.renew()
            self._supervisor.ready(self._status())

    async def _read_again(self) -> None:
        """Raises ``NetRavenError`` where anything is wrong: then nothing has changed."""
        old = self._in_force()
        settings = await asyncio.to_thread(self._start.reload)
        _address(settings)
        outfit = Outfit.of(settings, old.store.database, self._floor)
        await _apply_jobs(outfit)
        outfit.store.on_commit = self._metrics.committed
        self._outfit, self._settings = outfit, settings
        self._floor.change(floor_limits(settings))
        if self._jobs is not None:
            self._jobs.defaults = outfit.store.jobs.defaults
            self._jobs.subscriptions = outfit.store.jobs.subscriptions
        self._start.on_reload(settings)
        self._reload_error = None
        self._metrics.reload_well.set(1)
        self._metrics.reloaded.set_to_current_time()
        told, before = settings.daemon, old.settings.daemon
        needs = [
            key
            for key, changed in (
                ("database.url", settings.database_url != old.settings.database_url),
                (
                    "daemon.listen",
                    (told.listen, told.listen_anywhere) != (before.listen, before.listen_anywhere),
                ),
                ("daemon.several", told.several != before.several),
            )
            if changed
        ]
        log.info("settings_read", file=str(settings.file))
        if needs:
            log.warning("restart_needed", settings=needs)

    # ---- what is seen of it

    def _state(self) -> dict[str, Any]:
        watches = self._shift.watches if self._shift is not None else []
        fleets = [watch.fleet for watch in watches if watch.fleet is not None]
        return {
            "version": self._start.version,
            "pid": os.getpid(),
            "sessions": sum(fleet.in_session for fleet in fleets),
            "waiting": sum(fleet.waiting for fleet in fleets),
            "queue": sum(fleet.recorder.waiting for fleet in fleets),
            "writer_lag_s": round(max((fleet.recorder.lag for fleet in fleets), default=0.0), 3),
            "loop_lag_p99_ms": round(self._lag.p99 * 1000, 1),
            "runs": {str(watch.run.id): watch.state for watch in watches},
            "reload_error": self._reload_error,
            "draining": self._stopping.is_set(),
        }

    def _status(self) -> str:
        """One line for `systemctl status`."""
        state = self._state()
        parts = [f"{_counted(len(state['runs']), 'run')}, {_counted(state['sessions'], 'session')}"]
        if (problem := self._problem) is not None:
            parts.append(problem)
        if self._reload_error is not None:
            parts.append(f"settings not taken over: {self._reload_error}")
        return "; ".join(parts)

    def _not_alive(self) -> list[str]:
        still = time.monotonic() - self._progress_at
        return [f"the scheduler has made no progress for {still:.0f} s"] if still > STILL else []

    def _not_ready(self) -> list[str]:
        reasons = [self._waits_for] if self._waits_for else []
        if self._stopping.is_set():
            reasons.append("stopping")
        if (problem := self._problem) is not None:
            reasons.append(problem)
        return reasons

    @property
    def _problem(self) -> str | None:
        """Why the database cannot be used, as far as that was seen."""
        unread = self._refresher.problem if self._refresher is not None else None
        return self._unwritable or unread

    def _exposition(self) -> tuple[str, bytes]:
        state, metrics = self._state(), self._metrics
        metrics.sessions.set(state["sessions"])
        metrics.waiting.set(state["waiting"])
        metrics.recorder_queue.set(state["queue"])
        metrics.recorder_lag.set(state["writer_lag_s"])
        metrics.lag_p99.set(self._lag.p99)
        metrics.scheduler_seconds.set(time.monotonic() - self._progress_at)
        return metrics.exposition()

    # ---- signals

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        handlers = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._reload.set}
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        """Asked once: drain. Asked again: at once."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()


async def _apply_jobs(outfit: Outfit) -> None:
    """Let the jobs of the settings be on record, all or none. Raises ``InputError``."""
    if changed := await outfit.store.jobs.apply(list(outfit.settings.jobs.values())):
        log.info("jobs_applied", changed=list(changed))


def _address(settings: Settings) -> Address | None:
    """Raises ``SettingsError``."""
    return address_of(settings.daemon.listen, anywhere=settings.daemon.listen_anywhere)


async def _kept(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Work that collecting does not depend on: a fault in it is logged, and it is begun again."""
    while True:
        try:
            await work()
            return
        except Exception:
            log.exception("fault", what=name)
        await asyncio.sleep(_AGAIN[-1])


def _worst(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception that a person should see: ours before any other."""
    flat = [_worst(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions]
    return next((error for error in flat if isinstance(error, NetRavenError)), flat[0])


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
