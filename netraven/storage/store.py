"""The whole database behind one object, as a run needs it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from netraven.credentials.evidence import Learned
from netraven.credentials.sealing import Keyring, load_keyring
from netraven.errors import KeyringError
from netraven.history.rulebook import RuleBook
from netraven.model import (
    Batch,
    Counts,
    Credential,
    Entry,
    Load,
    Order,
    Run,
    RunStatus,
    Secret,
    Selector,
    SkipReason,
    Subscription,
    Target,
    utcnow,
)
from netraven.platforms import Catalogue
from netraven.ports import Reading, Sources, at_once
from netraven.storage import tallies
from netraven.storage.acceptance import SqlAcceptance
from netraven.storage.archives import SqlArchives
from netraven.storage.credentials import SqlCredentials
from netraven.storage.daemons import SqlDaemons
from netraven.storage.engine import Database
from netraven.storage.exports import SqlExports
from netraven.storage.figures import SqlFigures
from netraven.storage.guard_book import SqlGuardBook
from netraven.storage.history_keys import HistoryKeys
from netraven.storage.importing import VersionImporter
from netraven.storage.inventory import SqlInventory
from netraven.storage.jobs import SqlJobs
from netraven.storage.key_records import SqlHostKeys
from netraven.storage.ledger import SqlLedger
from netraven.storage.logs import SqlLogs
from netraven.storage.outbox import SqlOutbox
from netraven.storage.packing import Packing
from netraven.storage.pruning import Pruning
from netraven.storage.resealing import Resealing
from netraven.storage.runs import SqlRuns
from netraven.storage.seals import Seals
from netraven.storage.snapshots import VersionWriter
from netraven.storage.standing import SqlStanding
from netraven.storage.turns import Turns
from netraven.storage.versions import SqlVersions


class SqlStore:
    """Stands behind ``Inventory``, ``Secrets``, ``Ledger`` and ``Runs`` at once; its parts are attributes.

    Without a usable key everything works but what needs a secret: that raises ``SecretUnreadable`` (reading) or
    ``KeyringError`` (storing), saying why there is no key.
    """

    def __init__(
        self,
        database: Database,
        seals: Seals | Keyring | None,
        *,
        sources: Sources | None = None,
        catalogue: Catalogue | None = None,
        encrypt: bool = True,
        subscriptions: Sequence[Subscription] = (),
    ) -> None:
        """``catalogue``: the platforms whose rules tell versions apart. ``encrypt``: whether configurations are.

        ``subscriptions``: what hooks want to be told of.
        """
        self.database = database
        self.on_commit: Callable[[Sequence[Entry]], None] = lambda _: None
        """Told of entries once they are durable."""
        self.inventory = SqlInventory(database)
        self.host_keys = SqlHostKeys(database)
        self.vault = SqlCredentials(database, seals, sources=sources)
        self.resealing = Resealing(database, self.vault.seals)
        self.acceptance = SqlAcceptance(database)
        self.history_keys = HistoryKeys(database, self.vault.seals, encrypt=encrypt)
        rules = RuleBook(catalogue)
        writer = VersionWriter(self.history_keys, rules)
        self.ledger = SqlLedger(database, writer, subscriptions=subscriptions)
        self.guard_book = SqlGuardBook(database)
        self.runs = SqlRuns(database, subscriptions=subscriptions)
        self.jobs = SqlJobs(database, subscriptions=subscriptions)
        self.outbox = SqlOutbox(database)
        self.daemons = SqlDaemons(database)
        self.standing = SqlStanding(database)
        self.figures = SqlFigures(database)
        self.logs = SqlLogs(database)
        self.versions = SqlVersions(database, self.history_keys)
        self.exports = SqlExports(database, self.history_keys)
        turns = Turns(database)
        self.pruning = Pruning(turns)
        self.packing = Packing(turns, self.history_keys)
        self.importing = VersionImporter(self.history_keys, rules)
        self.archives = SqlArchives(turns, self.history_keys, self.inventory, self.importing)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        key_file: Path | None = None,
        sources: Sources | None = None,
        catalogue: Catalogue | None = None,
        encrypt: bool = True,
        subscriptions: Sequence[Subscription] = (),
    ) -> AsyncIterator[SqlStore]:
        """Open the database at ``url`` and find its key; raise ``DatabaseError`` where it cannot be used as it is."""
        async with await Database.open(url) as database:
            yield cls.on(
                database,
                key_file=key_file,
                sources=sources,
                catalogue=catalogue,
                encrypt=encrypt,
                subscriptions=subscriptions,
            )

    @classmethod
    def on(
        cls,
        database: Database,
        *,
        key_file: Path | None = None,
        sources: Sources | None = None,
        catalogue: Catalogue | None = None,
        encrypt: bool = True,
        subscriptions: Sequence[Subscription] = (),
    ) -> SqlStore:
        """A store on a database that is open already; the key is looked for here."""
        keyring: Keyring | None = None
        no_key: str | None = None
        try:
            keyring = load_keyring(key_file, os.environ)
        except KeyringError as error:
            no_key = str(error)
        return cls(
            database,
            Seals(keyring, no_key=no_key, reload=lambda: load_keyring(key_file, os.environ)),
            sources=sources,
            catalogue=catalogue,
            encrypt=encrypt,
            subscriptions=subscriptions,
        )

    @property
    def encrypts(self) -> bool:
        """Whether what is collected is encrypted, which needs the key."""
        return self.history_keys.encrypt

    def tell_nobody(self) -> None:
        """What happens from here on goes on record, and no hook is told of it."""
        self.ledger.subscriptions = self.runs.subscriptions = self.jobs.subscriptions = ()

    # Inventory

    async def count(self, selector: Selector, *, collected_only: bool = False) -> int:
        return await self.inventory.count(selector, collected_only=collected_only)

    def targets(
        self,
        selector: Selector,
        *,
        unfinished_in: int | None = None,
        share: float = 1.0,
        collected_only: bool = False,
    ) -> AsyncIterator[Target]:
        return self.inventory.targets(
            selector, unfinished_in=unfinished_in, share=share, collected_only=collected_only
        )

    async def credentials(self) -> Sequence[Credential]:
        return await self.inventory.credentials()

    async def proven(self, credential: Credential) -> Sequence[Target]:
        return await self.inventory.proven(credential)

    async def learned(self) -> Learned:
        """What is on record of every credential: metrics, and tallies by tag and platform."""
        metrics = {r.credential.name: r.metrics for r in await self.vault.list()}
        async with self.database.reading() as connection:
            return Learned(metrics, await tallies.of_fleet(connection, utcnow()))

    async def known_tags(self) -> AbstractSet[str]:
        return await self.inventory.known_tags()

    async def missing(self, names: Iterable[str]) -> Sequence[str]:
        return await self.inventory.missing(names)

    # Secrets

    async def prepare_run(self) -> None:
        await self.vault.prepare_run()
        if self.encrypts:
            await self.history_keys.check()

    def require_key(self) -> None:
        self.vault.require_key()

    async def reveal(self, credential: Credential) -> Secret:
        return await self.vault.reveal(credential)

    # Ledger

    async def commit(self, entries: Sequence[Entry], *, of: Batch | None = None) -> Sequence[Any]:
        answers = await self.ledger.commit(entries, of=of)
        self.on_commit(entries)
        return answers

    # Runs

    def targets_of(
        self, run: Run, *, resumed: bool = False, reading: Reading = at_once
    ) -> AsyncIterator[Target]:
        return self.inventory.targets_of(run, resumed=resumed, reading=reading)

    async def start(self, order: Order) -> Run:
        return await self.runs.start(order)

    async def begin(self, run: Run, *, dead_after: int) -> Run:
        return await self.runs.begin(run, dead_after=dead_after)

    async def release(self, run: Run, counts: Counts) -> Run:
        return await self.runs.release(run, counts)

    async def counted(self, run: Run) -> Counts:
        return await self.runs.counted(run)

    async def skipped(self, run: Run, reason: SkipReason) -> int:
        return await self.runs.skipped(run, reason)

    async def load(self, run: Run, *, dead_after: int, dead_seconds: float) -> Load:
        return await self.runs.load(run, dead_after=dead_after, dead_seconds=dead_seconds)

    async def heartbeat(self, run: Run, counts: Counts | None = None, eta_at: datetime | None = None) -> bool:
        return await self.runs.heartbeat(run, counts, eta_at)

    async def finish(self, run: Run, status: RunStatus, counts: Counts, error: str | None = None) -> Run:
        return await self.runs.finish(run, status, counts, error)
