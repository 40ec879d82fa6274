"""Everything a run needs, in memory: for programs that embed NetRaven without a database, and for tests."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime
from typing import Any

from netraven.collect.standing import after
from netraven.credentials.evidence import Learned, faded, judged
from netraven.credentials.source import parse_source
from netraven.credentials.success_rate import fold
from netraven.errors import RowRefused, SecretUnreadable
from netraven.history.rulebook import RuleBook
from netraven.model import (
    JUMP_HOST,
    AttemptConcluded,
    AttemptStarted,
    AttemptWithdrawn,
    Batch,
    ConnectionCut,
    Counts,
    Credential,
    CredentialMetrics,
    Device,
    DeviceFinished,
    DeviceLeft,
    DeviceStanding,
    Entry,
    HostKey,
    HostKeyRefused,
    HostKeySeen,
    Load,
    Logged,
    OfferSeen,
    Order,
    Outcome,
    Pair,
    PlatformFound,
    RefusalConfirmed,
    Run,
    RunStatus,
    Secret,
    Selector,
    SkipReason,
    SshOffer,
    Target,
    Unaccepted,
    Verdict,
    utcnow,
)
from netraven.platforms import Catalogue
from netraven.ports import Reading, Sources, at_once
from netraven.storage.memory_guard_book import MemoryGuardBook
from netraven.storage.sample import in_share


class MemoryStore:
    """Stands behind ``Inventory``, ``Secrets``, ``Ledger`` and ``Runs`` at once. What it holds can be looked at.

    Devices and credentials are those given; credentials carry their secrets themselves, or have a source that
    ``sources`` read. Several of one name are versions of one secret.
    """

    def __init__(
        self,
        devices: Iterable[Device] = (),
        credentials: Iterable[Credential] = (),
        *,
        sources: Sources | None = None,
        catalogue: Catalogue | None = None,
    ) -> None:
        """Raises ``InputError`` for a malformed source. ``catalogue``: the platforms whose rules tell what changed."""
        self._rules = RuleBook(catalogue)
        self.devices = {
            d.name: replace(d, id=n) for n, d in enumerate(sorted(devices, key=lambda d: d.name), 1)
        }
        self._sources = sources
        self._credentials: dict[tuple[str, int], Credential] = {}
        ids: dict[str, int] = {}
        for credential in credentials:
            if credential.source is not None:
                parse_source(credential.source)
            number = ids.setdefault(credential.name, len(ids) + 1)
            self._credentials[credential.key] = replace(credential, id=number)
        self._ids = {credential.id for credential in self._credentials.values()}
        self.metrics = {name: CredentialMetrics() for name in ids}
        self.host_keys: dict[str, tuple[HostKey, ...]] = {}
        self.attempts: dict[int, tuple[AttemptStarted, AttemptConcluded | None]] = {}
        self.outcomes: list[Outcome] = []
        self._done: set[tuple[int, str]] = set()
        self.snapshots: dict[tuple[str, str], bytes] = {}
        self._comparable: dict[tuple[str, str], bytes] = {}
        self.runs: dict[int, Run] = {}
        self.lines: list[Logged] = []
        self.pairs: dict[str, dict[tuple[int, int], Pair]] = {}
        """What is on record of secrets, by device name and (credential id, secret version)."""
        self.unaccepted: dict[str, list[Unaccepted]] = {}
        self.tries_per_connection: dict[str, int] = {}
        self.refused_host_keys: dict[str, HostKey] = {}
        """The last key that was not let pass, by device name."""
        self.offers: dict[str, SshOffer] = {}
        self.detected: dict[str, str] = {}
        self.facts: dict[str, dict[str, str]] = {}
        self.standing = {name: DeviceStanding(name) for name in self.devices}
        """How devices went lately, by name."""
        self.guard_book = MemoryGuardBook()
        self.encrypts = False
        self._last_attempt = 0

    # Inventory

    async def count(self, selector: Selector, *, collected_only: bool = False) -> int:
        return sum(
            selector.selects(d) and not (collected_only and d.platform == JUMP_HOST)
            for d in self.devices.values()
        )

    async def targets(
        self,
        selector: Selector,
        *,
        unfinished_in: int | None = None,
        share: float = 1.0,
        collected_only: bool = False,
    ) -> AsyncIterator[Target]:
        for name, device in list(self.devices.items()):
            if (
                selector.selects(device)
                and (unfinished_in, name) not in self._done
                and in_share(device.id or 0, share)
                and not (collected_only and device.platform == JUMP_HOST)
            ):
                history = tuple(self.pairs.get(name, {}).values())
                yield Target(
                    device,
                    self.host_keys.get(name, ()),
                    history,
                    tuple(self.unaccepted.get(name, ())),
                    self.tries_per_connection.get(name),
                    self.offers.get(name),
                    self.detected.get(name),
                    dead_in_row=self.standing[name].dead_in_row,
                    duration_ms=self.standing[name].duration_ms,
                )

    async def credentials(self) -> Sequence[Credential]:
        return sorted(self._credentials.values(), key=lambda c: (c.name, -c.secret_version))

    async def proven(self, credential: Credential) -> Sequence[Target]:
        key = (credential.id or 0, credential.secret_version)
        found = [
            (pairs[key].last_verdict_at, name)
            for name, pairs in self.pairs.items()
            if key in pairs and pairs[key].proven
        ]
        names = frozenset(name for _, name in sorted(found, reverse=True)[:5])
        return [target async for target in self.targets(Selector(names=names))] if names else []

    async def learned(self) -> Learned:
        """Nothing but what was learned since the store was made."""
        names = {c.id: c.name for c in self._credentials.values()}
        on_record = (
            (self.devices[name], names[pair.credential_id], pair)
            for name, pairs in self.pairs.items()
            for pair in pairs.values()
            if pair.credential_id in names
        )
        return Learned(dict(self.metrics), faded(on_record, utcnow()))

    async def known_tags(self) -> frozenset[str]:
        return frozenset(t for tags in self._tag_sets() for t in tags)

    def _tag_sets(self) -> Iterable[AbstractSet[str]]:
        yield from (device.tags for device in self.devices.values())
        yield from (credential.tags for credential in self._credentials.values())

    async def missing(self, names: Iterable[str]) -> Sequence[str]:
        return sorted(set(names) - set(self.devices))

    # Secrets

    async def prepare_run(self) -> None:
        """Nothing is kept that could be over."""

    def require_key(self) -> None:
        """Secrets in memory are not sealed."""

    async def reveal(self, credential: Credential) -> Secret:
        known = self._credentials.get(credential.key)
        secret = Secret() if known is None else _secret_of(known)
        if known is not None and known.source is not None and self._sources is not None:
            try:
                secret = (await self._sources.read(known.source)).with_kept(secret)
            except SecretUnreadable as error:
                raise SecretUnreadable(f"credential {credential.name}: {error}") from None
        if not secret.opens_something:
            raise SecretUnreadable(f"credential {credential.name!r} has no secret")
        return secret

    # Runs

    async def start(self, order: Order) -> Run:
        run = Run(
            id=len(self.runs) + 1,
            started_at=utcnow(),
            status=RunStatus.RUNNING,
            selector=order.selector,
            strategy=order.strategy,
            concurrency=order.concurrency,
            what=order.what,
            outputs=order.outputs,
            priority=order.priority,
            finish_by=order.finish_by,
            options=order.options,
            begun=False,
        )
        self.runs[run.id] = run
        return run

    async def begin(self, run: Run, *, dead_after: int) -> Run:  # noqa: ARG002 - as the port has it
        """Devices come in the order in which they were given; nothing is known of them from before."""
        devices = await self.count(run.selector, collected_only=True) if run.what.visits else 0
        run = replace(run, counts=Counts(devices=devices), begun=True)
        self.runs[run.id] = run
        return run

    def targets_of(
        self,
        run: Run,
        *,
        resumed: bool = False,  # noqa: ARG002 - nobody else has had it
        reading: Reading = at_once,  # noqa: ARG002 - nothing of it can fail
    ) -> AsyncIterator[Target]:
        return self.targets(run.selector, unfinished_in=run.id, collected_only=True)

    async def counted(self, run: Run) -> Counts:
        return run.counts

    async def skipped(self, run: Run, reason: SkipReason) -> int:  # noqa: ARG002 - as the port has it
        """Nobody else has had the run before."""
        return 0

    async def load(self, run: Run, *, dead_after: int, dead_seconds: float) -> Load:
        load = Load()
        async for target in self.targets_of(run):
            usual = None if target.duration_ms is None else target.duration_ms / 1000
            load = load.with_one(dead_seconds if target.dead_in_row >= dead_after else usual)
        return load

    async def release(self, run: Run, counts: Counts) -> Run:
        """Nobody else could go on with it."""
        return await self.finish(run, RunStatus.INTERRUPTED, counts)

    async def heartbeat(self, *_: object) -> bool:
        """Nobody else can see a run in memory."""
        return True

    async def finish(self, run: Run, status: RunStatus, counts: Counts, error: str | None = None) -> Run:
        self.runs[run.id] = replace(run, status=status, counts=counts, error=error, finished_at=utcnow())
        return self.runs[run.id]

    # Ledger

    async def commit(
        self,
        entries: Sequence[Entry],
        *,
        of: Batch | None = None,  # noqa: ARG002 - no answer is lost here, and nobody else sees the run
    ) -> Sequence[Any]:
        for entry in entries:
            if not isinstance(entry, Logged) and not self._known(entry):
                raise RowRefused("the device or credential of an entry is not known")
        return [self._write(entry) for entry in entries]

    def _known(self, entry: Entry) -> bool:
        match entry:
            case AttemptStarted():
                return entry.device.name in self.devices and entry.credential.id in self._ids
            case AttemptConcluded() | AttemptWithdrawn():
                return entry.attempt_id in self.attempts
            case (
                HostKeySeen()
                | HostKeyRefused()
                | OfferSeen()
                | PlatformFound()
                | ConnectionCut()
                | DeviceLeft()
            ):
                return entry.device.name in self.devices
            case RefusalConfirmed():
                return entry.device.name in self.devices and entry.credential.id in self._ids
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
            case RefusalConfirmed():
                self._learn(entry.device, entry.credential, Verdict.REFUSED, entry.at)
            case ConnectionCut():
                self.tries_per_connection[entry.device.name] = entry.tries
            case HostKeySeen():
                return self.host_keys.setdefault(entry.device.name, (entry.key,))
            case HostKeyRefused():
                if entry.key not in self.host_keys.get(entry.device.name, ()):
                    self.refused_host_keys[entry.device.name] = entry.key
            case OfferSeen():
                self.offers[entry.device.name] = entry.offer
            case PlatformFound():
                self.detected.pop(entry.device.name, None)
                if entry.platform is not None:
                    self.detected[entry.device.name] = entry.platform
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
        if entry.verdict is not Verdict.ACCEPTED:
            credential = entry.credential
            failed = Unaccepted(credential.realm, credential.username, started.at)
            self.unaccepted.setdefault(entry.device.name, []).append(failed)
        if entry.teaches and entry.verdict is not Verdict.NO_VERDICT:
            self._learn(entry.device, entry.credential, entry.verdict, entry.at)

    def _learn(self, device: Device, credential: Credential, verdict: Verdict, at: datetime) -> None:
        metrics = self.metrics[credential.name]
        if verdict is Verdict.ACCEPTED:
            metrics = replace(metrics, successes=metrics.successes + 1, last_success=at)
        rate = fold([verdict]).apply(metrics.success_rate)
        self.metrics[credential.name] = replace(metrics, success_rate=rate)
        pairs = self.pairs.setdefault(device.name, {})
        key = (credential.id or 0, credential.secret_version)
        pairs[key] = judged(pairs.get(key), credential, verdict, at)

    def _finished(self, entry: DeviceFinished) -> Outcome:
        outcome = entry.outcome
        if entry.facts:
            self.facts.setdefault(outcome.device.name, {}).update(entry.facts)
        for capture in entry.captures:
            place = (outcome.device.name, capture.kind)
            platform = capture.platform or outcome.device.platform
            comparable = self._rules.digest(platform, capture.text)
            changed = self._comparable.get(place) != comparable
            self._comparable[place] = comparable
            self.snapshots[place] = capture.data
            digest = hashlib.sha256(capture.data).hexdigest()
            snapshot = outcome.snapshot or digest
            outcome = replace(outcome, snapshot=snapshot, changed=bool(outcome.changed) or changed)
        name = outcome.device.name
        self.standing[name] = after(self.standing[name], entry)
        self.outcomes.append(outcome)
        self._done.add((entry.run_id, outcome.device.name))
        return outcome


def _secret_of(credential: Credential) -> Secret:
    return Secret(
        credential.password,
        credential.private_key,
        credential.enable_password,
        credential.passphrase,
        credential.certificate,
        credential.agent,
    )
