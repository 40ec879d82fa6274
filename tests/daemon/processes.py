"""`netraven serve` as a process of its own, with a supervisor that listens."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from netraven.config import CollectSettings
from netraven.model import Order, Run, RunStatus, Selector
from tests.acceptance.installation import PATIENT, Installation
from tests.acceptance.processes import NETRAVEN, PATIENCE, ROOT, environment

SPOILT = ("Traceback", "was destroyed", "never retrieved", "never awaited", "unclosed ")
"""What no log of a daemon holds, however it ended."""
ENDED = set(RunStatus) - {RunStatus.QUEUED, RunStatus.RUNNING}


def configure(
    installation: Installation, more: str = "", *, collect: CollectSettings = PATIENT, **daemon: Any
) -> None:
    """Settings with a `[daemon]` section; ``more`` is put behind them."""
    installation.configure(collect)
    told = {"listen": "127.0.0.1:0", "drain": 10.0, **daemon}
    lines = [f"{key} = {json.dumps(value)}" for key, value in told.items()]
    with installation.file.open("a") as file:
        file.write("\n".join(["[daemon]", *lines, more, ""]))


class Serving:
    """A daemon that runs."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        log: Path,
        systemd: socket.socket,
        installation: Installation,
    ) -> None:
        self.process = process
        self._log = log
        self._systemd = systemd
        self._installation = installation
        self._heard: list[str] = []

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it has logged: each line is a JSON object."""
        whole = self._log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == name]

    @property
    def heard(self) -> list[str]:
        """What the supervisor was told so far."""
        while True:
            try:
                self._heard.append(self._systemd.recv(65536).decode())
            except BlockingIOError:
                return self._heard

    async def until(self, true: Callable[[], Any], *, dies: bool = False) -> Any:
        """Wait for something that is so at last; gives what it is. Fails where the daemon ends before."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not (found := true()):
                    assert dies or self.process.returncode is None, self._log.read_text()
                    await asyncio.sleep(0.02)
                return found
        except TimeoutError:
            raise AssertionError(f"that did not happen: {self._log.read_text()[-5000:]}") from None

    async def said(self, event: str, number: int = 1) -> dict[str, Any]:
        """The line that tells of an event, once it is there so many times."""
        await self.until(lambda: len(self.events(event)) >= number)
        return self.events(event)[number - 1]

    async def ended(self, run: Run) -> Run:
        """A run, once it has ended."""
        async with asyncio.timeout(PATIENCE):
            while True:
                async with self._installation.open() as raven:
                    found = await raven.store.runs.get(run.id)
                if found.status in ENDED:
                    return found
                assert self.process.returncode is None, self._log.read_text()
                await asyncio.sleep(0.1)

    @property
    def port(self) -> int:
        return int(self.events("listening")[0]["port"])

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body of an answer on its port."""
        url = f"http://127.0.0.1:{self.port}{path}"

        def fetch() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        return await asyncio.to_thread(fetch)

    async def becomes(self, path: str, status: int) -> None:
        """Ask until it answers so."""
        async with asyncio.timeout(PATIENCE):
            while (await self.get(path))[0] != status:  # noqa: ASYNC110 - another process has no event to wait for
                await asyncio.sleep(0.1)

    async def json(self, path: str) -> Any:
        return json.loads((await self.get(path))[1])

    async def metric(self, name: str, **labels: str) -> float | None:
        text = (await self.get("/metrics"))[1]
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == f"netraven_{name}" and sample.labels == labels:
                    return float(sample.value)
        return None

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self) -> int:
        """Its exit code, once it has ended by itself."""
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text()


@asynccontextmanager
async def serving(
    installation: Installation,
    *,
    name: str = "daemon",
    ready: bool = True,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Serving]:
    """A daemon that does not outlive the block. ``ready``: wait until it says that it is."""
    log = installation.folder / f"{name}.log"
    address = str(installation.folder / f"{name}.notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, log.open("wb") as written:
        Path(address).unlink(missing_ok=True)
        systemd.bind(address)
        systemd.setblocking(False)
        process = await asyncio.create_subprocess_exec(
            *NETRAVEN,
            "--config",
            str(installation.file),
            "serve",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=written,
            env={
                **environment(NOTIFY_SOCKET=address, PYTHONWARNINGS="default::ResourceWarning"),
                **(env or {}),
            },
            cwd=ROOT,
        )
        daemon = Serving(process, log, systemd, installation)
        try:
            if ready:
                await daemon.until(lambda: any("READY=1" in line for line in daemon.heard))
            yield daemon
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
    for spoilt in SPOILT:
        assert spoilt not in daemon.log, daemon.log


async def queued(installation: Installation, names: Sequence[str] = (), **more: Any) -> Run:
    """A run that waits for a daemon."""
    order = Order(selector=Selector(names=frozenset(names)), **{"concurrency": 50, **more})
    async with installation.open() as raven:
        return await raven.store.runs.queue(order)
