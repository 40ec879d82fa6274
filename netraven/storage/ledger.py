"""The ledger: whatever happened, in batches, each in one transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.errors import RowRefused
from netraven.model import (
    AttemptConcluded,
    AttemptStarted,
    AttemptWithdrawn,
    Batch,
    ConnectionCut,
    Credential,
    Device,
    DeviceFinished,
    DeviceLeft,
    Entry,
    HostKeyRefused,
    HostKeySeen,
    Logged,
    OfferSeen,
    PlatformFound,
    RefusalConfirmed,
    Subscription,
)
from netraven.storage import (
    attempts,
    device_sessions,
    device_standing,
    fence,
    happenings,
    host_keys,
    learned,
    outcomes,
    snapshots,
)
from netraven.storage.engine import Database
from netraven.storage.faults import Undone
from netraven.storage.owner import current_owner
from netraven.storage.schema import credentials, devices, run_outcomes, runs
from netraven.storage.snapshots import Taken, VersionWriter

E = TypeVar("E", bound=Entry)

_TRIES = 5
"""How often a transaction that PostgreSQL undid for the sake of another is made."""


class SqlLedger:
    """Keeps what happened in a database (``ports.Ledger``).

    A batch is written kind by kind, with one statement for each kind of row, so that its cost hardly grows with its
    length: hand over what has piled up, not entry by entry.
    """

    def __init__(
        self,
        database: Database,
        versions: VersionWriter,
        *,
        subscriptions: Sequence[Subscription] = (),
        owner: str | None = None,
    ) -> None:
        """``subscriptions``: what hooks want to be told of. ``owner`` is this process unless a test says otherwise."""
        self._database = database
        self._versions = versions
        self.subscriptions = subscriptions
        self._owner = owner or current_owner()

    async def commit(self, entries: Sequence[Entry], *, of: Batch | None = None) -> Sequence[Any]:
        """Make all ``entries`` durable in one transaction, or none; answer each as its class says.

        ``of``: what they are of a run that this process holds. The same batch again is answered from what is on record;
        raises ``RunLost`` where the run is not held any more.

        Raises ``RowRefused`` (a ``DatabaseError``) where an entry does not fit the database, for instance because its
        device was removed meanwhile. Which entry, the message says when there was only one: commit the halves of a
        refused batch until the bad one stands alone.
        """
        try:
            for _ in range(_TRIES - 1):
                with contextlib.suppress(Undone):
                    return await self._commit(entries, of)
            return await self._commit(entries, of)
        except RowRefused as error:
            if len(entries) != 1:
                raise
            raise RowRefused(f"{await self._what_is_wrong(entries[0]) or error}") from error

    async def _commit(self, entries: Sequence[Entry], of: Batch | None) -> Sequence[Any]:
        batch = _Sorted(entries)
        captures = [
            await snapshots.take(entry, outcomes.finished_at(entry.outcome)) for entry in batch.finished
        ]
        async with self._database.writing() as connection:
            if of is not None and await fence.written_before(connection, of, self._owner):
                return await fence.answers(connection, entries)
            await batch.write(connection, self._versions, captures, self.subscriptions)
        return batch.answers

    async def _what_is_wrong(self, entry: Entry) -> str | None:
        """What an entry that the database refused speaks of and does not find, or finds there already."""
        device, credential, run_id = _subjects(entry)
        async with self._database.reading() as connection:

            async def missing(column: Any, key: int | None) -> bool:
                if key is None:
                    return False
                return (await connection.execute(select(column).where(column == key))).first() is None

            if device is not None and await missing(devices.c.id, device.id):
                return f"device {device.name} is no longer in the inventory"
            if credential is not None and await missing(credentials.c.id, credential.id):
                return f"credential {credential.name} no longer exists"
            if await missing(runs.c.id, run_id):
                return f"run {run_id} no longer exists"
            if isinstance(entry, DeviceFinished):
                known = select(run_outcomes.c.id).where(
                    run_outcomes.c.run_id == run_id, run_outcomes.c.device_name == entry.outcome.device.name
                )
                if (await connection.execute(known)).first() is not None:
                    return f"device {entry.outcome.device.name} has an outcome in run {run_id} already"
        return None


class _Sorted:
    """Entries sorted by kind, and the answers in the order in which the entries came."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.answers: list[Any] = [None] * len(entries)
        self._places: dict[type, list[int]] = {}
        self._entries = entries
        for place, entry in enumerate(entries):
            self._places.setdefault(type(entry), []).append(place)
        self.finished = self._of(DeviceFinished)

    def _of(self, kind: type[E]) -> list[E]:
        return [self._entries[place] for place in self._places.get(kind, ())]  # type: ignore[misc]  # sorted by type above

    def _answer(self, kind: type[Entry], values: Sequence[Any]) -> None:
        for place, value in zip(self._places[kind], values, strict=True):
            self.answers[place] = value

    def _left_again(self) -> list[DeviceLeft]:
        """Devices that were left after an attempt of the same batch: nobody has waited for that attempt."""
        last = {self._entries[p].device.id: p for p in self._places.get(AttemptStarted, ())}  # type: ignore[union-attr]  # sorted by type
        places = self._places.get(DeviceLeft, ())
        return [
            one for p, one in zip(places, self._of(DeviceLeft), strict=True) if p > last.get(one.device.id, p)
        ]

    async def write(
        self,
        connection: AsyncConnection,
        versions: VersionWriter,
        captures: Sequence[Sequence[Taken]],
        subscriptions: Sequence[Subscription],
    ) -> None:
        """Write every kind, in the one order that all collectors keep; a kind that the batch lacks costs nothing."""
        lessons = attempts.Lessons()
        if seen := self._of(HostKeySeen):
            self._answer(HostKeySeen, await host_keys.remember(connection, seen))
        if refused := self._of(HostKeyRefused):
            await host_keys.refuse(connection, refused)
        if offers := self._of(OfferSeen):
            await learned.offers(connection, offers)
        if found := self._of(PlatformFound):
            await learned.platforms(connection, found)
        await self._enter(connection, lessons)
        if withdrawn := self._of(AttemptWithdrawn):
            await attempts.withdraw(connection, withdrawn)
            for withdrawal in withdrawn:
                lessons.withdrawn(withdrawal)
        if concluded := self._of(AttemptConcluded):
            await attempts.conclude(connection, concluded)
            for conclusion in concluded:
                lessons.concluded(conclusion)
        confirmed = self._of(RefusalConfirmed)
        for confirmation in confirmed:
            lessons.confirmed(confirmation)
        await attempts.remember_pairs(connection, concluded, confirmed)
        if cut := self._of(ConnectionCut):
            await learned.cuts(connection, cut)
        if self.finished:
            await self._finish(connection, versions, captures, subscriptions)
        if logged := self._of(Logged):
            await outcomes.log(connection, logged)
        await lessons.write(connection)

    async def _enter(self, connection: AsyncConnection, lessons: attempts.Lessons) -> None:
        """Devices that are left, and attempts that begin."""
        left = self._of(DeviceLeft)
        if left:  # before anybody enters: it may be the same device that comes again
            await device_sessions.release(connection, left)
        started = self._of(AttemptStarted)
        if not started:
            return
        keys = await attempts.start(connection, started)
        self._answer(AttemptStarted, keys)
        for start, key in zip(started, keys, strict=True):
            if key is not None:
                lessons.started(start)
        if left and (again := self._left_again()):
            await device_sessions.release(connection, again)

    async def _finish(
        self,
        connection: AsyncConnection,
        versions: VersionWriter,
        captures: Sequence[Sequence[Taken]],
        subscriptions: Sequence[Subscription],
    ) -> None:
        before = await happenings.standing(connection, subscriptions, self.finished)
        answers = await outcomes.finish(connection, versions, self.finished, captures)
        self._answer(DeviceFinished, answers)
        finished = [(e.run_id, outcome) for e, outcome in zip(self.finished, answers, strict=True)]
        await happenings.of_devices(connection, subscriptions, finished, before)
        await learned.facts(connection, self.finished)
        await device_standing.note(connection, self.finished)


def _subjects(entry: Entry) -> tuple[Device | None, Credential | None, int | None]:
    """The device, the credential and the run that an entry speaks of."""
    match entry:
        case HostKeySeen() | HostKeyRefused() | OfferSeen() | PlatformFound() | ConnectionCut():
            return entry.device, None, None
        case AttemptStarted():
            return entry.device, entry.credential, entry.run_id
        case AttemptWithdrawn():
            return None, entry.credential, None
        case AttemptConcluded() | RefusalConfirmed():
            return entry.device, entry.credential, None
        case DeviceLeft():
            return entry.device, None, entry.run_id
        case DeviceFinished():
            return entry.outcome.device, entry.outcome.credential, entry.run_id
        case Logged():
            return None, None, entry.run_id
