"""Everything a run needs, in memory: for programs that embed NetRaven without a database, and for tests."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

from netraven.credentials.success_rate import fold
from netraven.errors import RowRefused, SecretUnreadable
from netraven.model import (
    AttemptConcluded,
    AttemptStarted,
    AttemptWithdrawn,
    Counts,
    Credential,
    CredentialMetrics,
    Device,
    DeviceFinished,
    Entry,
    HostKey,
    HostKeySeen,
    Logged,
    Outcome,
    Run,
    RunStatus,
    Secret,
    Selector,
    Target,
    Verdict,
    utcnow,
)


class MemoryStore:
    """Stands behind ``Inventory``, ``Secrets``, ``Ledger`` and ``Runs`` at once. What it holds can be looked at.

    Devices and credentials are those given; credentials carry their secrets themselves.
    """

    def __init__(self, devices: Iterable[Device] = (), credentials: Iterable[Credential] = ()) -> None:
        self.devices = {
            d.name: replace(d, id=n) for n, d in enumerate(sorted(devices, key=lambda d: d.name), 1)
        }
        self._credentials = {c.name: replace(c, id=n) for n, c in enumerate(credentials, 1)}
        self.metrics = {name: CredentialMetrics() for name in self._credentials}
        self.host_keys: dict[str, tuple[HostKey, ...]] = {}
        self.attempts: dict[int, tuple[AttemptStarted, AttemptConcluded | None]] = {}
        self.outcomes: list[Outcome] = []
        self._done: set[tuple[int, str]] = set()
        self.snapshots: dict[tuple[str, str], bytes] = {}
        self.runs: dict[int, Run] = {}
        self.lines: list[Logged] = []
        self._last_attempt = 0

    # Inventory

    async def count(self, selector: Selector) -> int:
        return sum(selector.selects(d) for d in self.devices.values())

    async def targets(self, selector: Selector) -> AsyncIterator[Target]:
        for device in list(self.devices.values()):
            if selector.selects(device):
                yield Target(device, self.host_keys.get(device.name, ()))

    async def credentials(self) -> Sequence[Credential]:
        return [self._credentials[name] for name in sorted(self._credentials)]

    async def known_tags(self) -> frozenset[str]:
        return frozenset(t for tags in self._tag_sets() for t in tags)

    def _tag_sets(self) -> Iterable[AbstractSet[str]]:
        yield from (device.tags for device in self.devices.values())
        yield from (credential.tags for credential in self._credentials.values())

    async def missing(self, names: Iterable[str]) -> Sequence[str]:
        return sorted(set(names) - set(self.devices))

    # Secrets

    def require_key(self) -> None:
        """Secrets in memory are not sealed."""

    async def reveal(self, credential: Credential) -> Secret:
        known = self._credentials.get(credential.name)
        if known is None or (known.password is None and known.private_key is None):
            raise SecretUnreadable(f"credential {credential.name!r} has no secret")
        return Secret(known.password, known.private_key, known.enable_password)

    # Runs

    async def start(self, selector: Selector, *, strategy: str, concurrency: int, devices: int) -> Run:
        run = Run(
            id=len(self.runs) + 1,
            started_at=utcnow(),
            status=RunStatus.RUNNING,
            selector=selector,
            strategy=strategy,
            concurrency=concurrency,
            counts=Counts(devices=devices),
        )
        self.runs[run.id] = run
        return run

    async def heartbeat(self, run: Run) -> None:
        """Nobody else can see a run in memory."""

    async def finish(self, run: Run, status: RunStatus, counts: Counts, error: str | None = None) -> Run:
        self.runs[run.id] = replace(run, status=status, counts=counts, error=error, finished_at=utcnow())
        return self.runs[run.id]

    # Ledger

    async def commit(self, entries: Sequence[Entry]) -> Sequence[Any]:
        for entry in entries:
            if not isinstance(entry, Logged) and not self._known(entry):
                raise RowRefused("the device or credential of an entry is not known")
        return [self._write(entry) for entry in entries]

    def _known(self, entry: Entry) -> bool:
        match entry:
            case AttemptStarted():
                return entry.device.name in self.devices and entry.credential.name in self._credentials
            case AttemptConcluded() | AttemptWithdrawn():
                return entry.attempt_id in self.attempts
            case HostKeySeen():
                return entry.device.name in self.devices
            case DeviceFinished():
                name = entry.outcome.device.name
                return name in self.devices and (entry.run_id, name) not in self._done
            case _:
                return True

    def _write(self, entry: Entry) -> Any:
        match entry:
            case AttemptStarted():
                return self._started(entry)
            case AttemptWithdrawn():
                del self.attempts[entry.attempt_id]
                metrics = self.metrics[entry.credential.name]
                self.metrics[entry.credential.name] = replace(metrics, attempts=metrics.attempts - 1)
            case AttemptConcluded():
                self._concluded(entry)
            case HostKeySeen():
                return self.host_keys.setdefault(entry.device.name, (entry.key,))
            case DeviceFinished():
                return self._finished(entry)
            case Logged():
                self.lines.append(entry)
        return None

    def _started(self, entry: AttemptStarted) -> int:
        self._last_attempt += 1
        self.attempts[self._last_attempt] = (entry, None)
        metrics = self.metrics[entry.credential.name]
        self.metrics[entry.credential.name] = replace(
            metrics, attempts=metrics.attempts + 1, last_used=max(metrics.last_used or entry.at, entry.at)
        )
        return self._last_attempt

    def _concluded(self, entry: AttemptConcluded) -> None:
        started, _ = self.attempts[entry.attempt_id]
        self.attempts[entry.attempt_id] = (started, entry)
        metrics = self.metrics[entry.credential.name]
        if entry.verdict is Verdict.ACCEPTED:
            metrics = replace(metrics, successes=metrics.successes + 1, last_success=entry.at)
        rate = fold([entry.verdict]).apply(metrics.success_rate)
        self.metrics[entry.credential.name] = replace(metrics, success_rate=rate)

    def _finished(self, entry: DeviceFinished) -> Outcome:
        outcome = entry.outcome
        for capture in entry.captures:
            place = (outcome.device.name, capture.kind)
            changed = self.snapshots.get(place) != capture.data
            self.snapshots[place] = capture.data
            digest = hashlib.sha256(capture.data).hexdigest()
            outcome = replace(outcome, snapshot=digest, changed=bool(outcome.changed) or changed)
        self.outcomes.append(outcome)
        self._done.add((entry.run_id, outcome.device.name))
        return outcome
