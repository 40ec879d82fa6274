"""A month of a daemon's life in minutes: its clock is set from one due time to the next, its devices are the lab's.

What goes on meanwhile: it is killed in the middle of runs, stopped and started as for a deploy, its database restarts,
passwords are rotated and credentials follow a day later, devices die and come back, the fleet grows.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from netraven.lab import AAA, Ill, Lab, LabDevice, WireLog
from netraven.model import Secret
from tests.acceptance.installation import Installation, credential, devices_of
from tests.acceptance.processes import PATIENCE
from tests.daemon.processes import configure
from tests.daemon.simulated import Ahead
from tests.daemon.survival import LOCKS_AFTER, Server

USER, SPARE = "svc", "spare"
JOBS = {
    "nightly": {"cron": "30 2 * * *", "zone": "Europe/Berlin", "grace": "6h"},
    "doors": {"what": "reachability", "every": "12h", "grace": "6h"},
    "opens": {"what": "credentials", "cron": "0 12 * * 1", "zone": "America/New_York", "grace": "6h"},
    "late": {"what": "stale-report", "cron": "0 8 * * *", "grace": "6h"},
}


@dataclass(slots=True)
class Sample:
    """The daemon at the end of a day, when nothing runs."""

    day: int
    resident_kb: int
    files: int
    lag_p99_ms: float | None
    restarted: bool


@dataclass(slots=True)
class Soak:
    """One soak. ``restart_database`` stops the database for some seconds and starts it again.

    ``events``: what happens, one a day, in this order and then as it is drawn.
    """

    installation: Installation
    folder: Path
    days: int
    devices: int
    grows_by: int
    chance: random.Random
    restart_database: Callable[[], Awaitable[None]] | None = None
    events: Sequence[str] = ()
    watched: bool = True
    """Whether the daemon runs in Python's development mode, where asyncio and a process's resources are watched."""
    quiet_last_days: int = 0
    """The last so many days nothing happens, so that memory can be compared."""
    samples: list[Sample] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    _password: str = "first"
    _known: str = "first"

    async def run(self) -> None:
        most = self.devices + self.grows_by * self.days
        fleet = [
            LabDevice(
                f"r{n:04d}", {USER: self._password, SPARE: "spare-word"}, config_size=2_000, tags=("all",)
            )
            for n in range(most)
        ]
        ahead = Ahead(self.folder / "ahead")
        lab = Lab(fleet, aaa=AAA(LOCKS_AFTER), shared_host_keys=8, log=WireLog())
        async with lab:
            inventory = lab.csv().splitlines()
            await self._stock(inventory[: self.devices + 1])
            modes = ("-X", "dev", "-W", "error::ResourceWarning") if self.watched else ()
            words = ("-m", "tests.daemon.simulated", str(self.folder / "ahead"))
            server = Server(self.installation, program=(sys.executable, *modes, *words))
            await server.start()
            try:
                await self._wait_until(self._serves)
                for day in range(self.days):
                    await self._one_day(day, lab, server, ahead)
                    if self.grows_by:
                        upto = self.devices + self.grows_by * (day + 1) + 1
                        await self._add_devices(inventory[:1] + inventory[1:upto])
                code = await server.stop()
            finally:
                if server.alive:
                    await server.kill()
            assert code == 0, server.log.read_text()[-3000:]
            self._look(lab)
            assert lab.aaa is not None
            assert lab.aaa.lockouts == ()
            assert max(lab.aaa.worst_streak.values(), default=0) < LOCKS_AFTER
        await self._judge(server)

    async def _stock(self, inventory: Sequence[str]) -> None:
        logins = [credential(USER, self._password), credential(SPARE, "spare-word", priority=200)]
        await self.installation.stock("\n".join(inventory) + "\n", logins)
        lines: list[str] = []
        for name, told in JOBS.items():
            lines += [f"[jobs.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in told.items())]
        configure(self.installation, "\n".join(lines), listen="", drain=5.0)

    async def _add_devices(self, inventory: Sequence[str]) -> None:
        async with self.installation.open() as raven:
            await raven.store.inventory.upsert_devices(devices_of("\n".join(inventory) + "\n"))

    async def _one_day(self, day: int, lab: Lab, server: Server, ahead: Ahead) -> None:
        """To each due time of the day in turn; what happens meanwhile is drawn."""
        event = self._event(day)
        restarts = server.starts
        if self._known != self._password:
            await self._learn()
        if event == "rotate":
            self._password = f"word-{day}"
            lab.set_password(USER, self._password)
        if event in {"dead", "well"}:
            for device in self.chance.sample(lab.devices, max(1, len(lab.devices) // 10)):
                await lab.set_ill(device.name, Ill("port_closed") if event == "dead" else Ill())
        self.happened[event] += 1
        midnight = ahead.now() + timedelta(days=1)
        while (due := await self._next_due()) is not None and due < midnight:
            ahead.set(max(due - timedelta(seconds=0.5), ahead.now()))
            if event in {"kill", "deploy", "database"}:
                await self._disturb(event, lab, server)
                event = "nothing"
            await self._wait_until(lambda: self._idle(ahead))
        ahead.set(max(midnight, ahead.now()))
        self._look(lab)
        await self._sample(day, server, restarted=server.starts != restarts)

    def _event(self, day: int) -> str:
        if day >= self.days - self.quiet_last_days:
            return "nothing"
        if day < len(self.events):
            return self.events[day]
        return self.chance.choice(["kill", "deploy", "database", "rotate", "dead", "well", "nothing"])

    async def _disturb(self, event: str, lab: Lab, server: Server) -> None:
        """In the middle of what runs now."""
        before = lab.log.counts().get("connect", 0)
        deadline = time.monotonic() + 20
        while lab.log.counts().get("connect", 0) < before + 5 and time.monotonic() < deadline:  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0.01)
        if event == "kill":
            await server.kill()
            await server.start()
        elif event == "deploy":
            assert await server.stop() == 0
            await server.start()
        elif self.restart_database is not None:
            await self.restart_database()
        await self._wait_until(self._serves)

    async def _learn(self) -> None:
        async with self.installation.open() as raven:
            await raven.store.vault.update(USER, secret=Secret(password=self._password))
        self._known = self._password

    def _look(self, lab: Lab) -> None:
        """Take over what the lab has seen, so that its log does not grow for a month."""
        self.seen.update((attempt.device, attempt.username) for attempt in lab.log.attempts())
        lab.log.clear()

    async def _next_due(self) -> datetime | None:
        from sqlalchemy import func, select

        from netraven.storage.engine import Database
        from netraven.storage.schema import jobs

        async with await Database.open(self.installation.url) as database, database.reading() as connection:
            found: datetime | None = (
                await connection.execute(select(func.min(jobs.c.next_run_at)))
            ).scalar_one()
            return found

    async def _idle(self, ahead: Ahead) -> bool:
        active = "SELECT count(*) AS number FROM runs WHERE status IN ('queued', 'running')"
        if (await self.installation.rows(active))[0]["number"]:
            return False
        due = await self._next_due()
        return due is None or due > ahead.now()

    async def _serves(self) -> bool:
        rows = await self.installation.rows("SELECT owner FROM daemons")
        return bool(rows)

    async def _wait_until(self, true: Callable[[], Awaitable[bool]]) -> None:
        deadline = time.monotonic() + 3 * PATIENCE
        while True:
            try:
                if await true():
                    return
            except Exception:
                if time.monotonic() > deadline:
                    raise
            assert time.monotonic() < deadline, "that did not happen"
            await asyncio.sleep(0.1)

    async def _sample(self, day: int, server: Server, *, restarted: bool) -> None:
        process = Path(f"/proc/{server.pid}")
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        state = (await self.installation.rows("SELECT state FROM daemons"))[0]["state"]
        lag = (json.loads(state) if isinstance(state, str) else state).get("loop_lag_p99_ms")
        resident = int(status["VmRSS"].split()[0])
        self.samples.append(Sample(day, resident, len(list((process / "fd").iterdir())), lag, restarted))

    async def _judge(self, server: Server) -> None:
        rows: list[dict[str, Any]] = await self.installation.rows(
            "SELECT job_name, due_at, status, missed FROM runs ORDER BY id"
        )
        runs = [row for row in rows if row["due_at"] is not None]
        assert {row["status"] for row in runs} <= {"complete", "partial", "failed", "missed"}, runs
        each = Counter((row["job_name"], str(row["due_at"])) for row in runs)
        assert set(each.values()) == {1}, "a due time ran twice"
        nights = [row for row in runs if row["job_name"] == "nightly"]
        assert abs(len(nights) + sum(row["missed"] for row in nights) - self.days) <= 1
        ledger = Counter(
            (row["device_name"], row["credential_username"]) for row in await self.installation.attempts()
        )
        assert self.seen <= ledger, "the lab saw attempts that are not on record"
        assert not server.complaints(), server.complaints()[:10]
        pending = "SELECT count(*) AS number FROM credential_attempts WHERE verdict = 'pending'"
        assert (await self.installation.rows(pending))[0]["number"] == 0
        assert (await self.installation.rows("SELECT count(*) AS number FROM device_sessions"))[0][
            "number"
        ] == 0
