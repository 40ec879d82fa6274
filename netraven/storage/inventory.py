"""Devices and what they are collected with, from a database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Row,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.errors import InputError
from netraven.model import JUMP_HOST, Credential, Device, Run, Selector, Target, Verdict, utcnow
from netraven.ports import Reading, at_once
from netraven.storage import host_key_rules, host_keys, kept, learned, pairs, tags, targets
from netraven.storage.engine import Database
from netraven.storage.sample import share_condition
from netraven.storage.schema import (
    credential_pairs,
    credential_tags,
    credentials,
    device_standing,
    device_tags,
    devices,
    run_targets,
)
from netraven.storage.schema import tags as tag_table
from netraven.storage.selecting import PAGE, selecting, slices, without_outcome
from netraven.storage.types import Id

T = TypeVar("T")

_FIELDS = ("name", "host", "port", "platform")
_INSERT = insert(devices).returning(devices.c.id, sort_by_parameter_order=True)
_GIVEN: dict[str, Any] = {name: bindparam(f"b_{name}") for name in ("host", "port", "platform")}
_ANOTHER = or_(*(devices.c[name] != given for name, given in _GIVEN.items()))
"""Another address or platform: what was learned may be of another device."""
_UPDATE = (
    update(devices)
    .where(devices.c.id == bindparam("b_id", type_=Id))
    .values(
        **_GIVEN,
        updated_at=bindparam("b_updated_at"),
        detected_platform=case((_ANOTHER, null()), else_=devices.c.detected_platform),
        tries_per_connection=case((_ANOTHER, null()), else_=devices.c.tries_per_connection),
    )
)


EVERY_DEVICE = Selector()


@dataclass(frozen=True, slots=True)
class Upserted:
    """What an import did, or would do."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0


class SqlInventory:
    """The inventory in a database (``ports.Inventory``)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, selector: Selector = EVERY_DEVICE, *, collected_only: bool = False) -> int:
        counted = 0
        async with self._database.reading() as connection:
            for conditions in selecting(selector):
                if collected_only:
                    conditions.append(devices.c.platform != JUMP_HOST)
                statement = select(func.count()).select_from(devices).where(*conditions)
                counted += (await connection.execute(statement)).scalar_one()
        return counted

    async def targets(
        self,
        selector: Selector = EVERY_DEVICE,
        *,
        unfinished_in: int | None = None,
        share: float = 1.0,
        collected_only: bool = False,
    ) -> AsyncIterator[Target]:
        """Devices in the order of their names, with what is on record of them, a page at a time.

        ``unfinished_in``: only those without an outcome in the run of this id; ``share``: about so many, evenly;
        ``collected_only``: without jump hosts. No transaction is open between pages: a device that is added or
        removed meanwhile may or may not be met.
        """
        for conditions in selecting(selector):
            if collected_only:
                conditions.append(devices.c.platform != JUMP_HOST)
            if share < 1.0:
                conditions.append(share_condition(devices.c.id, share))
            if unfinished_in is not None:
                conditions.append(without_outcome(unfinished_in))
            last = None
            while page := await self._page(conditions, last):
                for target in page:
                    yield target
                last = page[-1].device.name
                if len(page) < PAGE:
                    break

    async def targets_of(
        self, run: Run, *, resumed: bool = False, reading: Reading = at_once
    ) -> AsyncIterator[Target]:
        """The targets of a run that have no outcome in it yet, in the order in which they are to be visited.

        ``resumed``: with what was offered to them in this run before.
        """
        last = 0

        of_run = (
            select(devices, run_targets.c.seq, device_standing.c.dead_in_row, device_standing.c.duration_ms)
            .join(run_targets, run_targets.c.device_id == devices.c.id)
            .outerjoin(device_standing, device_standing.c.device_id == devices.c.id)
            .where(run_targets.c.run_id == run.id, without_outcome(run.id))
            .order_by(run_targets.c.seq)
            .limit(PAGE)
        )

        async def next_page() -> tuple[Sequence[Row[Any]], Sequence[Target]]:
            async with self._database.reading() as connection:
                rows = (await connection.execute(of_run.where(run_targets.c.seq > last))).all()
                found = await self._known(connection, rows)
                if resumed:
                    before = await targets.earlier(connection, run, [row.id for row in rows])
                    found = [replace(one, earlier=before.get(one.device.id or 0, ())) for one in found]
                return rows, found

        while True:
            rows, page = await reading(next_page)
            for target in page:
                yield target
            if len(rows) < PAGE:
                return
            last = rows[-1].seq

    async def _page(self, conditions: Sequence[ColumnElement[bool]], last: str | None) -> Sequence[Target]:
        statement = select(devices).where(*conditions).order_by(devices.c.name).limit(PAGE)
        if last is not None:
            statement = statement.where(devices.c.name > last)
        async with self._database.reading() as connection:
            return await self._known(connection, (await connection.execute(statement)).all())

    async def _known(self, connection: AsyncConnection, rows: Sequence[Row[Any]]) -> Sequence[Target]:
        """Devices with what is on record of them."""
        ids = [row.id for row in rows]
        if not ids:
            return []
        names = await tags.of_owners(connection, device_tags, ids)
        keys, revoked = await host_keys.of_devices(connection, ids)
        rules = await host_key_rules.all_of_them(connection)
        history = await pairs.of_devices(connection, ids)
        failures = await pairs.unaccepted(connection, ids, utcnow() - timedelta(days=1))
        return [
            Target(
                _device(row, names.get(row.id, frozenset())),
                keys.get(row.id, ()),
                history.get(row.id, ()),
                failures.get(row.id, ()),
                row.tries_per_connection,
                learned.offer_of(row.ssh_offer),
                row.detected_platform,
                rules.trust_in(row.host, row.port, revoked.get(row.id, ())),
                dead_in_row=row._mapping.get("dead_in_row") or 0,
                duration_ms=row._mapping.get("duration_ms"),
            )
            for row in rows
        ]

    async def proven(self, credential: Credential) -> Sequence[Target]:
        """A few devices that this very secret opened the last time it was judged there, the latest first."""
        pair = credential_pairs.c
        latest = (
            select(devices.c.name)
            .join(credential_pairs, pair.device_id == devices.c.id)
            .where(
                pair.credential_id == credential.id,
                pair.secret_version == credential.secret_version,
                pair.last_verdict == Verdict.ACCEPTED.value,
            )
            .order_by(pair.last_success.desc(), devices.c.id)
            .limit(5)
        )
        async with self._database.reading() as connection:
            names = (await connection.execute(latest)).scalars().all()
        found = {target.device.name: target for target in await self._page([devices.c.name.in_(names)], None)}
        return [found[name] for name in names if name in found]

    async def list(self, selector: Selector = EVERY_DEVICE, *, limit: int | None = None) -> Sequence[Device]:
        """Devices in the order of their names, the first ``limit`` of them."""
        found: list[Device] = []
        if limit == 0:
            return found
        async for target in self.targets(selector):
            found.append(target.device)
            if len(found) == limit:
                break
        return found

    async def get(self, name: str) -> Target:
        """The device of this name with its host keys; ``InputError`` where there is none."""
        page = await self._page([devices.c.name == name], None)
        if not page:
            raise InputError(f"no such device: {name!r}")
        return page[0]

    async def facts(self, name: str) -> Mapping[str, str]:
        """What outputs told of a device: ``version``, ``serial``, ``model``, those that are known."""
        async with self._database.reading() as connection:
            return await learned.facts_of(connection, name)

    async def offer_seen_at(self, name: str) -> datetime | None:
        """When the device's SSH server was looked at last and offered something else than before."""
        async with self._database.reading() as connection:
            statement = select(devices.c.ssh_offer_at).where(devices.c.name == name)
            return (await connection.execute(statement)).scalar_one_or_none()

    async def remove(self, name: str) -> None:
        """Remove a device with its versions, host keys and pairs; logs keep its name. ``InputError`` if unknown."""
        async with self._database.writing() as connection:
            if not (await connection.execute(delete(devices).where(devices.c.name == name))).rowcount:
                raise InputError(f"no such device: {name!r}")

    async def upsert_devices(self, rows: Iterable[Device], *, dry_run: bool = False) -> Upserted:
        """Add devices, or make those of the same name equal to the given ones, tags included; all or none.

        Each name at most once. With ``dry_run`` nothing is written and the counts say what would be.
        """
        done = Upserted()
        opened = self._database.reading() if dry_run else self._database.writing()
        async with opened as connection:
            for page in slices(list(rows), PAGE):
                added, changed = await _compare(connection, page)
                if not dry_run:
                    await _write(connection, added, changed)
                done = Upserted(
                    done.added + len(added),
                    done.changed + len(changed),
                    done.unchanged + len(page) - len(added) - len(changed),
                )
        return done

    async def known_tags(self) -> AbstractSet[str]:
        """Every tag that a device or a credential carries."""
        carried = [
            exists().where(table.c.tag_id == tag_table.c.id) for table in (device_tags, credential_tags)
        ]
        async with self._database.reading() as connection:
            statement = select(tag_table.c.name).where(carried[0] | carried[1])
            return frozenset((await connection.execute(statement)).scalars())

    async def missing(self, names: Iterable[str]) -> Sequence[str]:
        """Those of ``names`` that no device has, sorted."""
        unknown = set(names)
        async with self._database.reading() as connection:
            for page in slices(sorted(unknown), PAGE):
                statement = select(devices.c.name).where(devices.c.name.in_(page))
                unknown.difference_update((await connection.execute(statement)).scalars())
        return sorted(unknown)

    async def credentials(self) -> Sequence[Credential]:
        """Every credential in the order of their names, without its secret; see ``ports.Inventory``."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(*CREDENTIAL_COLUMNS).order_by(credentials.c.name))).all()
            names = await tags.of_owners(connection, credential_tags, [row.id for row in rows])
            previous: dict[int, list[Row[Any]]] = {}
            for row in await kept.unexpired(connection, utcnow(), "secret_version", "username"):
                previous.setdefault(row.id, []).append(row)
        found: list[Credential] = []
        for row in rows:
            current = credential_of(row, names.get(row.id, frozenset()))
            found.append(current)
            found.extend(
                replace(current, username=old.username, secret_version=old.secret_version, source=None)
                for old in previous.get(row.id, ())
            )
        return found


CREDENTIAL_COLUMNS = tuple(
    credentials.c[name]
    for name in ("id", "name", "username", "realm", "priority", "secret_version", "offered_when", "source")
)


def credential_of(row: Row[Any], names: AbstractSet[str]) -> Credential:
    """A credential of :data:`CREDENTIAL_COLUMNS` and its tags."""
    return Credential(
        name=row.name,
        username=row.username,
        tags=names,
        priority=row.priority,
        realm=row.realm,
        secret_version=row.secret_version,
        id=row.id,
        when=row.offered_when,
        source=row.source,
    )


def _device(row: Row[Any], names: AbstractSet[str]) -> Device:
    return Device(row.name, row.host, row.platform, row.port, names, row.id)


async def _compare(
    connection: AsyncConnection, page: Sequence[Device]
) -> tuple[Sequence[Device], Sequence[Device]]:
    """Which devices of a page are new, and which differ from the stored ones (these with their id)."""
    statement = select(devices).where(devices.c.name.in_([device.name for device in page]))
    rows = (await connection.execute(statement)).all()
    names = await tags.of_owners(connection, device_tags, [row.id for row in rows])
    stored = {row.name: _device(row, names.get(row.id, frozenset())) for row in rows}
    added = [device for device in page if device.name not in stored]
    changed = [
        replace(device, id=known.id)
        for device in page
        if (known := stored.get(device.name)) is not None and known != device
    ]
    return added, changed


async def _write(connection: AsyncConnection, added: Sequence[Device], changed: Sequence[Device]) -> None:
    now = utcnow()
    wanted: dict[int, AbstractSet[str]] = {}
    if added:
        rows = [
            {name: getattr(device, name) for name in _FIELDS} | {"created_at": now, "updated_at": now}
            for device in added
        ]
        ids = (await connection.execute(_INSERT, rows)).scalars().all()
        wanted.update((key, device.tags) for key, device in zip(ids, added, strict=True))
    if changed:
        rows = [
            {
                "b_id": device.id,
                "b_host": device.host,
                "b_port": device.port,
                "b_platform": device.platform,
                "b_updated_at": now,
            }
            for device in sorted(changed, key=lambda device: device.id or 0)
        ]
        await connection.execute(_UPDATE, rows)
        wanted.update((device.id or 0, device.tags) for device in changed)
    await tags.replace(connection, device_tags, wanted)
