"""NetRaven and the lab as processes of their own, so that either can be killed and the other be asked."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from netraven.lab import LabDevice
from tests.acceptance.installation import Installation

ROOT = Path(__file__).parents[2]
NETRAVEN = (sys.executable, "-m", "netraven.cli")
PATIENCE = 60.0
"""Seconds after which a process, or what it was to do, counts as hung."""


def environment(**more: str) -> dict[str, str]:
    """Ours without NetRaven's own variables, so that nothing of the developer's settings gets in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NETRAVEN_")}
    return {**kept, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **more}


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command came to."""

    args: Sequence[str]
    code: int
    stdout: bytes
    stderr: bytes

    @property
    def out(self) -> str:
        return self.stdout.decode()

    @property
    def err(self) -> str:
        return self.stderr.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@dataclass(slots=True)
class Started:
    """A command that is running."""

    args: Sequence[str]
    process: asyncio.subprocess.Process
    sent: list[float] = field(default_factory=list)
    """When signals were sent, on the monotonic clock, which the lab's events are on too."""

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        self.sent.append(time.monotonic())
        self.process.send_signal(number)

    async def end(self) -> Ended:
        async with asyncio.timeout(PATIENCE):
            stdout, stderr = await self.process.communicate()
        assert self.process.returncode is not None
        return Ended(self.args, self.process.returncode, stdout, stderr)


class Command(Protocol):
    """A command in this very process, see the fixture ``command``."""

    async def __call__(self, *words: str, config: Path | None = None, stdin: str = "") -> Ended: ...


@asynccontextmanager
async def started(
    *args: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> AsyncIterator[Started]:
    """A process that does not outlive the block."""
    process = await asyncio.create_subprocess_exec(
        *args,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(env or environment()),
        cwd=cwd,
    )
    try:
        yield Started(args, process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def netraven(
    *args: str,
    stdin: str | bytes = b"",
    config: Path | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Run a command to its end."""
    named = ("--config", str(config)) if config is not None else ()
    words = (*named, *args)
    process = await asyncio.create_subprocess_exec(
        *NETRAVEN,
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(env or environment()),
        cwd=cwd or ROOT,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate(stdin.encode() if isinstance(stdin, str) else stdin)
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
        raise AssertionError(f"netraven {' '.join(args)} hangs: {err.decode()}") from None
    assert process.returncode is not None
    return Ended(words, process.returncode, out, err)


@asynccontextmanager
async def collecting(installation: Installation, *args: str) -> AsyncIterator[Started]:
    """`netraven collect` as a process of its own."""
    async with started(*NETRAVEN, "--config", str(installation.file), "collect", *args, cwd=ROOT) as process:
        yield process


@dataclass(frozen=True, slots=True)
class Seen:
    """An attempt as the lab put it into its file."""

    device: str
    username: str
    secret: str
    at: float
    verdict: str | None


class LabProcess:
    """A lab in a process of its own; what it saw is read from its file."""

    def __init__(self, process: asyncio.subprocess.Process, csv: str, record: Path) -> None:
        self.pid = process.pid
        self.csv = csv
        self._record = record
        self._read = 0
        self._partial = b""
        self._events: list[dict[str, Any]] = []

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        folder: Path,
        devices: Sequence[LabDevice],
        *,
        locks_after: int | None = None,
        forgets_after: float | None = None,
    ) -> AsyncIterator[LabProcess]:
        """``locks_after``: refusals in a row at which one AAA service for all of them locks an account, and
        ``forgets_after`` so many seconds without one forgets them.
        """
        folder.mkdir(parents=True, exist_ok=True)
        spec, record = folder / "spec.json", folder / "record.jsonl"
        told: dict[str, Any] = {"devices": [asdict(device) for device in devices]}
        if locks_after is not None:
            told["aaa"] = {"threshold": locks_after, "window": forgets_after}
        spec.write_text(json.dumps(told))
        args = ("-m", "netraven.lab", "--spec", str(spec), "--record", str(record), "--out", str(folder))
        async with started(
            sys.executable, *args, "--shared-host-keys", "8", env=environment(), cwd=ROOT
        ) as lab:
            assert lab.process.stdout is not None
            async with asyncio.timeout(PATIENCE):
                ready = json.loads(await lab.process.stdout.readline() or b'{"ready": false}')
            assert ready["ready"], (await lab.end()).err
            yield cls(lab.process, Path(ready["csv"]).read_text(), record)

    @property
    def events(self) -> list[dict[str, Any]]:
        """Everything that the lab has seen, in order."""
        if self._record.exists():
            with self._record.open("rb") as file:
                file.seek(self._read)
                new = file.read()
            self._read += len(new)
            *lines, self._partial = (self._partial + new).split(b"\n")
            self._events += [json.loads(line) for line in lines]
        return self._events

    def count(self, kind: str) -> int:
        return sum(event["event"] == kind for event in self.events)

    def attempts(self, since: int = 0) -> list[Seen]:
        """Attempts among the events from number ``since`` on, in the order of their arrival."""
        events = self.events[since:]
        verdicts = {event["attempt"]: event["verdict"] for event in events if event["event"] == "verdict"}
        return [
            Seen(e["device"], e["username"], e["secret"], e["at"], verdicts.get(e["attempt"]))
            for e in events
            if e["event"] == "attempt"
        ]

    async def until(self, true: Callable[[], bool], run: Started | None = None) -> None:
        """Wait until what the lab has seen makes ``true`` so; fails when ``run`` ends before."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not true():
                    if run is not None and run.process.returncode is not None:
                        ended = await run.end()
                        raise AssertionError(f"it has ended before that, with {ended.code}: {ended.err}")
                    await asyncio.sleep(0.005)
        except TimeoutError:
            counts = Counter(event["event"] for event in self.events)
            raise AssertionError(f"that did not happen; the lab has seen {dict(counts)}") from None

    async def until_left(self) -> None:
        """Wait until nobody is connected any more."""
        await self.until(lambda: self.count("connect") == self.count("disconnect"))
