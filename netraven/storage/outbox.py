"""The outbox (``ports.Outbox``): one row for each event and hook, gone once it is delivered.

Order: of the rows of one hook and device that wait, only the oldest is ever lent, so one that cannot be delivered holds
back those after it and no others. A row that is lent says by whom (``owner``) and until when: two processes do not
deliver the same at once, and what a process that died had taken is lent anew, under the same uid.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import Select

from netraven.model import Delivery, Event, EventKind, HookStanding, Pause
from netraven.storage.engine import Database
from netraven.storage.owner import current_owner, lives
from netraven.storage.schema import hook_deliveries, hook_pauses

_WAITING = "waiting"
_GIVEN_UP = "given-up"
_END = EventKind.RUN_FINISHED.value

_d = hook_deliveries.c
_earlier = hook_deliveries.alias("earlier")


class SqlOutbox:
    """What hooks have still to be told, in a database. Each one lends under a name of its own."""

    def __init__(self, database: Database, *, owner: str | None = None) -> None:
        """``owner`` is this process unless a test says otherwise."""
        self._database = database
        self._holder = f"{owner or current_owner()}#{uuid.uuid4().hex[:12]}"
        self._looked_for_dead = False

    async def due(
        self, hook: str, now: datetime, limit: int, *, lease: float = 60.0, digest: bool = False
    ) -> Sequence[Delivery]:
        if not self._looked_for_dead:
            await self._take_over(now)
            self._looked_for_dead = True
        wanted = _due(hook, now, digest=digest).limit(limit)
        async with self._database.reading() as connection:
            if (await connection.execute(wanted.limit(1))).first() is None:
                return []
        async with self._database.writing() as connection:
            locked = wanted.with_for_update(of=hook_deliveries, skip_locked=True)
            rows = (await connection.execute(locked)).all()
            if rows:
                claim = update(hook_deliveries).where(_d.id.in_([row.id for row in rows]))
                until = now + timedelta(seconds=lease)
                await connection.execute(claim.values(holder=self._holder, lease_until=until))
        return [_delivery(row) for row in sorted(rows, key=lambda row: row.id)]

    async def gathered(self, delivery: Delivery, limit: int) -> Sequence[Delivery]:
        rows = select(hook_deliveries).where(_with(delivery), _d.id != delivery.id)
        async with self._database.reading() as connection:
            found = (await connection.execute(rows.order_by(_d.id).limit(limit))).all()
        return [_delivery(row) for row in found]

    async def delivered(self, delivery: Delivery, *, digest: bool = False) -> None:
        gone = _with(delivery) if digest else _d.id == delivery.id
        async with self._database.writing() as connection:
            await connection.execute(delete(hook_deliveries).where(gone))

    async def postpone(self, delivery: Delivery, until: datetime, error: str) -> None:
        later = {
            "next_try_at": until,
            "tries": _d.tries + 1,
            "last_error": error,
            "holder": None,
            "lease_until": None,
        }
        async with self._database.writing() as connection:
            mine = update(hook_deliveries).where(_d.id == delivery.id, _d.state == _WAITING)
            await connection.execute(mine.values(later))

    async def give_up(self, delivery: Delivery, error: str, *, digest: bool = False) -> None:
        which = _with(delivery) if digest else _d.id == delivery.id
        values = {"state": _GIVEN_UP, "last_error": error, "holder": None, "lease_until": None}
        async with self._database.writing() as connection:
            mine = update(hook_deliveries).where(_d.id == delivery.id)
            await connection.execute(mine.values(tries=_d.tries + 1))
            await connection.execute(update(hook_deliveries).where(which).values(values))

    async def hand_back(self, deliveries: Sequence[Delivery]) -> None:
        ids = [delivery.id for delivery in deliveries]
        if not ids:
            return
        async with self._database.writing() as connection:
            mine = update(hook_deliveries).where(_d.id.in_(ids), _d.holder == self._holder)
            await connection.execute(mine.values(holder=None, lease_until=None))

    async def expire(self, hook: str, before: datetime, error: str) -> int:
        old = (_d.hook == hook) & (_d.state == _WAITING) & (_d.happened_at < before)
        async with self._database.reading() as connection:
            if (await connection.execute(select(_d.id).where(old).limit(1))).first() is None:
                return 0
        values = {"state": _GIVEN_UP, "last_error": func.coalesce(_d.last_error, error), "holder": None}
        async with self._database.writing() as connection:
            return (await connection.execute(update(hook_deliveries).where(old).values(values))).rowcount

    async def next_at(self, hook: str, *, digest: bool = False) -> datetime | None:
        wanted = _first_of_each(hook, digest=digest).with_only_columns(_d.next_try_at).limit(1)
        async with self._database.reading() as connection:
            return (await connection.execute(wanted)).scalar_one_or_none()

    async def pauses(self) -> Mapping[str, Pause]:
        async with self._database.reading() as connection:
            rows = await connection.execute(select(hook_pauses))
            return {row.hook: Pause(row.until, row.failures, row.error) for row in rows}

    async def pause(self, hook: str, pause: Pause | None) -> None:
        async with self._database.writing() as connection:
            if pause is None:
                await connection.execute(delete(hook_pauses).where(hook_pauses.c.hook == hook))
                return
            dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
            values = {"until": pause.until, "failures": pause.failures, "error": pause.error}
            row = dialect.insert(hook_pauses).values(hook=hook, **values)
            await connection.execute(row.on_conflict_do_update(index_elements=["hook"], set_=values))

    async def standing(self) -> Sequence[HookStanding]:
        last = hook_deliveries.alias("last")
        waiting, given_up = _d.state == _WAITING, _d.state == _GIVEN_UP
        numbers = select(
            _d.hook,
            func.count().filter(waiting).label("waiting"),
            func.count().filter(given_up).label("given_up"),
            func.min(_d.happened_at).filter(waiting).label("oldest"),
            select(last.c.last_error)
            .where(last.c.hook == _d.hook, last.c.last_error.is_not(None))
            .order_by(last.c.next_try_at.desc(), last.c.id.desc())
            .limit(1)
            .scalar_subquery()
            .label("last_error"),
        ).group_by(_d.hook)
        async with self._database.reading() as connection:
            rows = {row.hook: row for row in await connection.execute(numbers)}
        paused = await self.pauses()
        found = {
            row.hook: HookStanding(row.hook, row.waiting, row.given_up, row.oldest, row.last_error)
            for row in rows.values()
        }
        for hook, pause in paused.items():
            found[hook] = replace(found.get(hook, HookStanding(hook)), last_error=pause.error, pause=pause)
        return [found[hook] for hook in sorted(found)]

    # ---- for commands

    async def hurry(self, hook: str, now: datetime) -> None:
        """What waits for a later try is due at once: somebody has mended the receiver."""
        later = (_d.hook == hook) & (_d.state == _WAITING) & (_d.next_try_at > now)
        async with self._database.writing() as connection:
            await connection.execute(update(hook_deliveries).where(later).values(next_try_at=now))
            await connection.execute(delete(hook_pauses).where(hook_pauses.c.hook == hook))

    async def forget(self, hook: str) -> int:
        """Drop everything that this hook was to be told; how many."""
        async with self._database.writing() as connection:
            await connection.execute(delete(hook_pauses).where(hook_pauses.c.hook == hook))
            return (await connection.execute(delete(hook_deliveries).where(_d.hook == hook))).rowcount

    async def _take_over(self, now: datetime) -> None:
        """What was lent to processes that have ended is free again, whatever their leases say."""
        lent = select(_d.holder).where(_d.holder.is_not(None), _d.lease_until > now).distinct()
        async with self._database.reading() as connection:
            holders = (await connection.execute(lent)).scalars().all()
        dead = [holder for holder in holders if lives(holder.rpartition("#")[0]) is False]
        if dead:
            async with self._database.writing() as connection:
                theirs = update(hook_deliveries).where(_d.holder.in_(dead))
                await connection.execute(theirs.values(holder=None, lease_until=None))


def _first_of_each(hook: str, *, digest: bool) -> Select[Any]:
    """Of each device the oldest that waits."""
    held_back = (
        select(_earlier.c.id)
        .where(
            _earlier.c.hook == hook,
            _earlier.c.device_name == _d.device_name,
            _earlier.c.id < _d.id,
            _earlier.c.state == _WAITING,
        )
        .exists()
    )
    wanted = select(hook_deliveries).where(_d.hook == hook, _d.state == _WAITING, ~held_back)
    if digest:
        wanted = wanted.where(_d.event == _END)
    return wanted.order_by(_d.next_try_at, _d.id)


def _due(hook: str, now: datetime, *, digest: bool) -> Select[Any]:
    free = _d.lease_until.is_(None) | (_d.lease_until <= now)
    return _first_of_each(hook, digest=digest).where(_d.next_try_at <= now, free)


def _with(delivery: Delivery) -> ColumnElement[bool]:
    """The end of a run and what goes along with it."""
    return (_d.hook == delivery.hook) & (_d.run_id == delivery.event.run) & (_d.state == _WAITING)


def _delivery(row: Row[Any]) -> Delivery:
    event = Event(
        EventKind(row.event),
        row.happened_at,
        row.run_id,
        row.device_name or None,
        row.device_id,
        row.platform,
        frozenset(row.tags),
        tuple(row.versions),
        dict(row.data),
    )
    return Delivery(row.id, row.uid, row.hook, event, row.tries, row.happened_at, row.last_error)
