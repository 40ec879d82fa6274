"""How it all stands: what the database says of daemons, runs, jobs, devices, accounts and hooks at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from netraven.assembly import guard_standing
from netraven.cli.jobs import run_document
from netraven.config import Settings
from netraven.model import DaemonSeen, Figures, HookStanding, JobStanding, Run, RunStatus, utcnow

if TYPE_CHECKING:
    from netraven.storage.store import SqlStore

LAST = 50
"""Among so many of the newest runs the last one by hand is looked for."""


@dataclass(frozen=True, slots=True)
class Held:
    """A credential that is offered to nobody at the moment."""

    credential: str
    until: datetime
    why: str
    paused: bool
    """With all others of its realm."""


@dataclass(frozen=True, slots=True)
class Short:
    """An account that bears few more refusals."""

    realm: str
    username: str
    left: int


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A run that goes on, as far as its daemon and the database tell."""

    run: Run
    done: int
    in_session: int | None = None
    eta_at: datetime | None = None

    @property
    def late(self) -> bool:
        """Whether it is expected to be cut."""
        return self.eta_at is not None and self.run.finish_by is not None and self.eta_at > self.run.finish_by

    @property
    def name(self) -> str:
        return f"job {self.run.job}" if self.run.job is not None else f"run {self.run.id}"


@dataclass(frozen=True, slots=True)
class Standing:
    """One look."""

    at: datetime
    database: str
    daemons: Sequence[DaemonSeen] = ()
    running: Sequence[UnderWay] = ()
    queued: Sequence[Run] = ()
    jobs: Sequence[JobStanding] = ()
    by_hand: Run | None = None
    """The last run without a job that has ended."""
    figures: Figures = field(default_factory=Figures)
    held: Sequence[Held] = ()
    short: Sequence[Short] = ()
    hooks: Sequence[HookStanding] = ()

    @classmethod
    async def read(cls, store: SqlStore, settings: Settings) -> Standing:
        at = utcnow()
        daemons = await store.daemons.living()
        active = await store.runs.active()
        told = _told(daemons)
        guard = await guard_standing(store, settings.realms)
        credentials = await store.credentials()
        holds = guard.holds(credentials)
        held = [(c, holds[c.key]) for c in credentials if c.key in holds]
        short: dict[tuple[str, str], Short] = {}
        for credential in credentials:
            rules, refusals = guard.rules(credential.realm), guard.refusals(credential.account)
            left = rules.budget - refusals
            if not rules.local and refusals and left <= 1 and credential.key not in holds:
                short[credential.account] = Short(*credential.account, max(0, left))
        return cls(
            at=at,
            database=store.database.shown,
            daemons=daemons,
            running=[_under_way(run, told) for run in active if run.status is RunStatus.RUNNING],
            queued=[run for run in active if run.status is RunStatus.QUEUED],
            jobs=await store.jobs.list(),
            by_hand=await _last_by_hand(store),
            figures=await store.figures.read(at),
            held=[Held(c.name, hold.until, hold.why, hold.paused) for c, hold in held],
            short=list(short.values()),
            hooks=[one for one in await store.outbox.standing() if one.hook in settings.hooks],
        )

    @property
    def coming(self) -> list[tuple[JobStanding, datetime]]:
        """Jobs that are due, with the time at which they are run, the first one first."""
        found = [
            (one, one.next_run_at) for one in self.jobs if one.job.enabled and one.next_run_at is not None
        ]
        return sorted(found, key=lambda pair: (pair[1], pair[0].job.name))

    def document(self, unwell: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "at": self.at,
            "database": self.database,
            "daemons": [_daemon(one) for one in self.daemons],
            "running": [
                {
                    **run_document(one.run),
                    "eta_at": one.eta_at,
                    "done": one.done,
                    "in_session": one.in_session,
                    "late": one.late,
                }
                for one in self.running
            ],
            "queued": [run_document(run) for run in self.queued],
            "next": [
                {
                    "job": one.job.name,
                    "what": one.job.what.value,
                    "due_at": one.due_at,
                    "next_run_at": at,
                    "zone": one.job.schedule.zone,
                }
                for one, at in self.coming
            ],
            "devices": dict(self.figures.devices),
            "unwell": list(unwell),
        }


async def _last_by_hand(store: SqlStore) -> Run | None:
    runs = await store.runs.list(limit=LAST)
    ended = (run for run in reversed(runs) if run.job is None and run.finished_at is not None)
    return next(ended, None)


def _told(daemons: Sequence[DaemonSeen]) -> dict[int, Mapping[str, Any]]:
    """What daemons say of their runs, by number. They write it, and another version may write it otherwise."""
    told: dict[int, Mapping[str, Any]] = {}
    for daemon in daemons:
        runs = daemon.state.get("runs")
        for number, state in runs.items() if isinstance(runs, Mapping) else ():
            if str(number).isdecimal() and isinstance(state, Mapping):
                told[int(number)] = state
    return told


def _under_way(run: Run, told: Mapping[int, Mapping[str, Any]]) -> UnderWay:
    state = told.get(run.id, {})
    counts = run.counts
    done = counts.collected + counts.failed + counts.skipped
    said, in_session = state.get("done"), state.get("in_session")
    return UnderWay(
        run,
        max(done, said) if isinstance(said, int) else done,
        in_session if isinstance(in_session, int) else None,
        _moment(state.get("eta_at")) or run.eta_at,
    )


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


_OF_A_DAEMON = (
    "version",
    "pid",
    "sessions",
    "waiting",
    "queue",
    "writer_lag_s",
    "loop_lag_p99_ms",
    "draining",
    "reload_error",
)


def _daemon(one: DaemonSeen) -> dict[str, Any]:
    told = {key: one.state.get(key) for key in _OF_A_DAEMON}
    return {"host": one.host, "started_at": one.started_at, "heartbeat_at": one.heartbeat_at, **told}
