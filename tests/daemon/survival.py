"""`netraven serve` as a process of its own, started again after each end, as a supervisor does."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from netraven.errors import DatabaseError
from tests.acceptance.installation import Installation
from tests.acceptance.processes import NETRAVEN, PATIENCE, ROOT, LabProcess, environment

LOCKS_AFTER = 5
"""Refusals in a row at which the AAA service of these tests locks an account."""
FORGETS_AFTER = 4.0
"""Seconds without a refusal after which it has forgotten them."""


@dataclass(slots=True)
class Server:
    """The daemon of an installation. What it logs goes to a file, whoever reads it."""

    installation: Installation
    words: Sequence[str] = ()
    env: dict[str, str] = field(default_factory=dict)
    program: Sequence[str] = NETRAVEN
    process: asyncio.subprocess.Process | None = None
    starts: int = 0

    @property
    def log(self) -> Path:
        return self.installation.folder / "serve.log"

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.program, "--config", str(self.installation.file), "serve", *self.words,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment(**self.env), cwd=ROOT,
            )  # fmt: skip
        self.starts += 1

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def stop(self, number: signal.Signals = signal.SIGTERM, patience: float = PATIENCE) -> int:
        """Ask it to end; its exit code."""
        assert self.process is not None
        if self.alive:
            self.process.send_signal(number)
        async with asyncio.timeout(patience):
            return await self.process.wait()

    async def until_serving(self) -> None:
        """Until it says so for the last time that it was started."""
        deadline = time.monotonic() + PATIENCE
        while self.log.read_text().count('"event": "serving"') < self.starts:
            assert self.alive, self.log.read_text()[-2000:]
            assert time.monotonic() < deadline, self.log.read_text()[-2000:]
            await asyncio.sleep(0.05)

    def complaints(self) -> list[str]:
        """Lines of its log that no daemon should write, whatever happens to it."""
        bad = (
            "Traceback",
            "was destroyed",
            "never awaited",
            "never retrieved",
            "ResourceWarning",
            "unclosed",
        )
        return [line for line in self.log.read_text().splitlines() if any(word in line for word in bad)]


@asynccontextmanager
async def supervised(installation: Installation, *words: str, **env: str) -> AsyncIterator[Server]:
    server = Server(installation, words, env)
    await server.start()
    try:
        yield server
    finally:
        if server.alive:
            await server.kill()


@dataclass(frozen=True, slots=True)
class Survived:
    """What a run came to whose daemon was killed again and again."""

    kills: int
    seconds: float
    attempts: int
    in_session_at_kills: int
    twice: int
    """Devices that were collected more than once: only such that were in session at a kill."""
    worst_streak: int


async def survive(
    lab: LabProcess,
    server: Server,
    run_now: Callable[[], Any],
    *,
    devices: int,
    kills: int,
    chance: random.Random,
    strike: Callable[[], Awaitable[None]] | None = None,
    patience: float = 90.0,
) -> Survived:
    """Begin a run, kill the daemon at random moments of it, and hold what is on record against what the lab saw.

    ``run_now`` puts the run into the queue. The moments are spread over the run by the number of sessions that the lab
    has seen. ``strike`` is done at them in place of the kill: then no device may be collected twice.
    """
    installation = server.installation
    await run_now()
    began = time.monotonic()
    at: list[float] = []
    struck = 0
    moments = sorted(chance.sample(range(1, max(devices - 2, kills + 1)), kills))
    async with asyncio.timeout(patience):
        for moment in moments:
            while len(_finished(lab)) < moment:
                if not server.alive:
                    raise AssertionError(f"the daemon has ended: {server.log.read_text()[-2000:]}")
                if await _ended(installation):
                    break
                await asyncio.sleep(0.01)
            await asyncio.sleep(chance.random() * 0.3)
            if await _ended(installation):
                break
            struck += 1
            if strike is not None:
                await strike()
                continue
            at.append(time.monotonic())
            await server.kill()
            await server.start()
        while not await _ended(installation):
            assert server.alive, server.log.read_text()[-2000:]
            await asyncio.sleep(0.1)
    seconds = time.monotonic() - began
    await lab.until_left()
    (run,) = await installation.rows("SELECT * FROM runs")
    assert (run["status"], run["collected"], run["devices"]) == ("complete", devices, devices), run
    outcomes = await installation.rows("SELECT device_name, status FROM run_outcomes")
    assert Counter(row["status"] for row in outcomes) == {"collected": devices}
    assert len({row["device_name"] for row in outcomes}) == devices
    twice, in_session = _sessions(lab, at)
    ledger = await installation.attempts()
    _every_attempt_is_on_record(lab, ledger)
    assert {row["verdict"] for row in ledger} <= {"accepted", "refused", "no_verdict"}
    worst = worst_streak(lab)
    assert worst < LOCKS_AFTER, f"{worst} refusals in a row"
    assert not server.complaints()
    return Survived(struck, seconds, len(ledger), in_session, twice, worst)


async def _ended(installation: Installation) -> bool:
    try:
        rows = await installation.rows("SELECT status FROM runs")
    except DatabaseError:
        return False
    return bool(rows) and all(row["status"] not in ("queued", "running") for row in rows)


def _finished(lab: LabProcess) -> set[str]:
    return {event["device"] for event in lab.events if event["event"] == "session_closed"}


def _sessions(lab: LabProcess, kills: Sequence[float]) -> tuple[int, int]:
    """How many devices were in session more than once, and how many sessions a kill cut.

    Each further session of a device has to follow one that was open when the daemon was killed.
    """
    opened: dict[int, tuple[str, float]] = {}
    asked = {event["connection"] for event in lab.events if event["event"] == "command"}
    spans: dict[str, list[tuple[float, float, bool]]] = defaultdict(list)
    for event in lab.events:
        number = event["connection"]
        if event["event"] == "session":
            opened[number] = (event["device"], event["at"])
        elif event["event"] == "disconnect" and number in opened:
            device, since = opened.pop(number)
            spans[device].append((since, event["at"], number in asked))
    cut = twice = 0
    for device, sessions in spans.items():
        sessions.sort()
        for (_, until, _), (since, _, _) in pairwise(sessions):
            assert until <= since, f"{device} was in two sessions at once"
        collecting = [span for span in sessions if span[2]]  # others are control logins of the lockout guard
        struck = [any(since <= kill <= until for kill in kills) for since, until, _ in collecting]
        cut += sum(struck)
        twice += len(collecting) > 1
        assert all(struck[:-1]), f"{device} was collected again, and was not in session at a kill"
    return twice, cut


def _every_attempt_is_on_record(lab: LabProcess, ledger: Sequence[dict[str, Any]]) -> None:
    seen = Counter((attempt.device, attempt.username) for attempt in lab.attempts())
    kept = Counter((row["device_name"], row["credential_username"]) for row in ledger)
    assert seen <= kept, seen - kept
    judged = Counter((row["device_name"], row["credential_username"], row["verdict"]) for row in ledger)
    answered = Counter((attempt.device, attempt.username, attempt.verdict) for attempt in lab.attempts())
    for (device, username, verdict), number in judged.items():
        if verdict in ("accepted", "refused"):
            assert number <= answered[device, username, verdict], (device, username, verdict)


def worst_streak(lab: LabProcess, forgets_after: float = FORGETS_AFTER) -> int:
    """The most refusals in a row that an account came to, over all devices, as its AAA service counts them."""
    worst, streaks, last = 0, Counter[str](), dict[str, float]()
    for event in lab.events:
        if event["event"] != "verdict":
            continue
        user = event["username"]
        if event["verdict"] != "refused" or event["at"] - last.get(user, event["at"]) > forgets_after:
            streaks[user] = 0
        if event["verdict"] == "refused":
            streaks[user] += 1
            last[user] = event["at"]
        worst = max(worst, streaks[user])
    return worst
