"""A collector with everything around it in memory, and a transport that a test can slow down and break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from netraven.collect.collector import Collector, Limits, Means
from netraven.collect.fleet import Fleet
from netraven.collect.guard import Guard
from netraven.collect.login import Record
from netraven.collect.outage import Outage, Patient
from netraven.collect.recorder import Recorder
from netraven.collect.retry import RetryPolicy
from netraven.credentials.evidence import Knowledge
from netraven.credentials.lockout import Policy
from netraven.credentials.matching import CredentialIndex
from netraven.credentials.moments import Moment
from netraven.credentials.strategy import PriorityStrategy
from netraven.errors import DeviceFailure
from netraven.model import Capture, Credential, Device, Order, Outcome, Selector, Target
from netraven.ports import Login, Secrets, Session, Strategy, Transport, Tunnel
from netraven.testing import FakeDevice, FakeTransport, MemoryStore
from tests.virtual_time import now

RIGHT = {"svc": "right"}
SVC = Credential("svc", "svc", "right", frozenset({"all"}), priority=10)
SPARE = Credential("spare", "spare", "right too", frozenset({"all"}), priority=20)


def device(name: str = "r1", *tags: str) -> Device:
    return Device(name, "192.0.2.1", "cisco_iosxe", tags=frozenset(tags or {"all"}))


def idle_guard() -> Guard:
    """A guard with nothing to guard."""
    return Guard(
        MemoryStore().guard_book,
        (),
        rules=lambda _realm: Policy(local=True),
        holder="idle",
        knowledge=Knowledge(),
        find_proven=MemoryStore().proven,
    )


class WatchedTransport(FakeTransport):
    """Knows when which credential came to which device, and how many were in session at once.

    ``seconds``: how long a capture takes. ``in_turn``: what each device suffers from at its first connection, its
    second and so on (None: nothing); after the last one it is as its ``FakeDevice`` says.
    """

    def __init__(
        self,
        devices: Mapping[str, FakeDevice],
        *,
        seconds: float = 0.0,
        in_turn: Mapping[str, Sequence[DeviceFailure | None]] | None = None,
    ) -> None:
        super().__init__(devices)
        self.seconds = seconds
        self.opened: list[tuple[float, str, str]] = []
        self.open_now = 0
        self.peak = 0
        self._in_turn = {name: list(ills) for name, ills in (in_turn or {}).items()}
        self._well = dict(devices)

    @asynccontextmanager
    async def open(self, target: Target, login: Login, via: Tunnel | None = None) -> AsyncIterator[Session]:
        name = target.device.name
        if ills := self._in_turn.get(name):
            self.devices[name] = replace(self._well[name], fails=ills.pop(0))
        elif name in self._in_turn:
            self.devices[name] = self._well[name]
        self.opened.append((now(), name, login.username))
        self.open_now += 1
        self.peak = max(self.peak, self.open_now)
        try:
            async with super().open(target, login) as session:
                yield _Slow(session, self.seconds)
        finally:
            self.open_now -= 1


class _Slow:
    platform_found: str | None = None

    def __init__(self, session: Session, seconds: float) -> None:
        self._session, self._seconds = session, seconds
        self.facts = session.facts
        self.prove = session.prove

    async def capture(self, *, enable: str | None, kinds: Sequence[str] | None = None) -> Sequence[Capture]:
        await asyncio.sleep(self._seconds)
        return await self._session.capture(enable=enable, kinds=kinds)


class Rig:
    """Runs devices through a real collector, recorder and fleet."""

    def __init__(
        self,
        devices: Iterable[Device],
        credentials: Iterable[Credential],
        transport: Transport,
        *,
        retries: int = 0,
        device_timeout: float = 300.0,
        concurrency: int = 10,
        strategy: Strategy | None = None,
        store: MemoryStore | None = None,
        secrets: Secrets | None = None,
        rules: Callable[[str], Policy] = lambda _realm: Policy(local=True),
        outage: Outage | None = None,
    ) -> None:
        self.store = store or MemoryStore(devices, credentials)
        self.outcomes: list[Outcome] = []
        self.fleet: Fleet
        self._transport = transport
        self._limits = (device_timeout, RetryPolicy(retries))
        self._concurrency = concurrency
        self._strategy = strategy or PriorityStrategy()
        self._secrets = secrets or self.store
        self.rules = rules
        self._outage = outage or Outage()

    async def run(self, targets: AsyncIterator[Target] | None = None) -> list[Outcome]:
        loop = asyncio.get_running_loop()
        timeout, retry = self._limits
        run = await self.store.start(Order(strategy="priority", concurrency=1))
        async with Recorder(Patient(self.store, self._outage)) as recorder:
            credentials = await self.store.credentials()
            knowledge = Knowledge(await self.store.learned())
            guard = Guard(
                Patient(self.store.guard_book, self._outage),
                credentials,
                rules=self.rules,
                holder="rig",
                knowledge=knowledge,
                find_proven=self.store.proven,
                now=lambda: Moment(loop.time(), loop.time(), "virtual"),
            )
            async with guard:
                collector = Collector(
                    means=Means(
                        CredentialIndex(credentials),
                        self._strategy,
                        Patient(self._secrets, self._outage),
                        self._transport,
                        guard,
                    ),
                    record=Record(run.id, recorder, knowledge, loop.time),
                    limits=Limits(timeout, retry, clock=loop.time, outage=self._outage),
                )
                self.fleet = Fleet(collector, concurrency=self._concurrency)
                await self.fleet.run(
                    targets or self.store.targets(Selector()),
                    self.outcomes.append,
                    lambda: self.store.targets(Selector(), unfinished_in=run.id),
                )
        return self.outcomes

    @property
    def verdicts(self) -> list[tuple[str, str, str | None]]:
        """Credential, verdict and class of every attempt on record, in order."""
        return [
            (
                started.credential.name,
                "open" if concluded is None else concluded.verdict.value,
                None if concluded is None else concluded.error_type,
            )
            for _, (started, concluded) in sorted(self.store.attempts.items())
        ]
