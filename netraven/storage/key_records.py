"""Host keys as a person looks after them: listed, accepted, forgotten, imported."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.errors import InputError
from netraven.model import Device, HostKey, Selector, utcnow
from netraven.storage.engine import Database
from netraven.storage.host_keys import REFUSED, REVOKED, TRUSTED
from netraven.storage.schema import device_tags, devices, host_key_rules, host_keys
from netraven.storage.schema import tags as tag_table

_PAGE = 1_000
_COLUMNS = (
    devices.c.name.label("device"),
    host_keys.c.id,
    host_keys.c.algorithm,
    host_keys.c.key,
    host_keys.c.state,
    host_keys.c.origin,
    host_keys.c.first_seen_at,
)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A host key on record. ``state``: trusted, refused (it waits), revoked. ``origin``: seen, accepted, imported."""

    device: str
    key: HostKey
    state: str
    origin: str
    first_seen_at: datetime


@dataclass(frozen=True, slots=True)
class Rule:
    """A key that speaks of a pattern of hosts. ``kind``: authority or revoked."""

    kind: str
    patterns: str
    key: HostKey


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did, or would do."""

    keys: int = 0
    rules: int = 0
    known: int = 0
    """Keys and rules that were on record already."""


class SqlHostKeys:
    """The host keys of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, selector: Selector, *, state: str | None = None) -> AsyncIterator[KeyRecord]:
        """By device name, the oldest key first; a page at a time."""
        wanted = _selected(selector)
        if state is not None:
            wanted.append(host_keys.c.state == state)
        last: Row[Any] | None = None
        while True:
            statement = _records(*wanted).limit(_PAGE)
            if last is not None:
                after = devices.c.name > last.device
                statement = statement.where(
                    after | ((devices.c.name == last.device) & (host_keys.c.id > last.id))
                )
            async with self._database.reading() as connection:
                rows = (await connection.execute(statement)).all()
            for row in rows:
                yield _record(row)
            if len(rows) < _PAGE:
                return
            last = rows[-1]

    async def of(self, device: Device) -> Sequence[KeyRecord]:
        """Every key of one device."""
        async with self._database.reading() as connection:
            return await _of(connection, device)

    async def accept(self, device: Device, key: HostKey, *, add: bool = False) -> Sequence[KeyRecord]:
        """Trust a key from now on; the trusted ones of the same algorithm that it replaced (``add``: none).

        Raises ``InputError`` for a key that is revoked.
        """
        async with self._database.writing() as connection:
            await _lock(connection, device)
            there = await _of(connection, device)
            same = next((record for record in there if record.key == key), None)
            if same is not None and same.state == REVOKED:
                raise InputError(f"the key {key.fingerprint} is revoked for {device.name}: forget it first")
            gone = [
                record
                for record in there
                if not add
                and record.state == TRUSTED
                and record.key.algorithm == key.algorithm
                and record.key != key
            ]
            doomed = [record.key.key for record in gone]
            await connection.execute(
                delete(host_keys).where(host_keys.c.device_id == device.id, host_keys.c.key.in_(doomed))
            )
            await connection.execute(
                delete(host_keys).where(
                    host_keys.c.device_id == device.id,
                    host_keys.c.state == REFUSED,
                    host_keys.c.key != key.key,
                )
            )
            await _trust(connection, device, key, "accepted", there)
        return gone

    async def forget(self, device: Device, algorithm: str | None = None) -> int:
        """Take a device's keys off the record, waiting and revoked ones included; how many there were."""
        conditions: list[ColumnElement[bool]] = [host_keys.c.device_id == device.id]
        if algorithm is not None:
            conditions.append(host_keys.c.algorithm == algorithm)
        async with self._database.writing() as connection:
            return (await connection.execute(delete(host_keys).where(*conditions))).rowcount

    async def rules(self) -> Sequence[tuple[int, Rule, datetime]]:
        """Authorities and revoked keys with their numbers, in the order in which they came, and when they did."""
        async with self._database.reading() as connection:
            rows = await connection.execute(select(host_key_rules).order_by(host_key_rules.c.id))
            return [
                (row.id, Rule(row.kind, row.patterns, HostKey(row.algorithm, row.key)), row.added_at)
                for row in rows
            ]

    async def forget_rules(self, numbers: Sequence[int]) -> None:
        """Take rules off the record, all or none. Raises ``InputError`` for a number that no rule has."""
        wanted = host_key_rules.c.id.in_(numbers)
        async with self._database.writing() as connection:
            there = set((await connection.execute(select(host_key_rules.c.id).where(wanted))).scalars())
            if missing := sorted(set(numbers) - there):
                raise InputError(f"no such rule: {', '.join(map(str, missing))}")
            await connection.execute(delete(host_key_rules).where(wanted))

    async def load(
        self, keys: Sequence[tuple[Device, HostKey]], rules: Sequence[Rule], *, dry_run: bool = False
    ) -> Imported:
        """Trust these keys as well and add these rules; all of it, or nothing. A key that is revoked stays so."""
        opened = self._database.reading() if dry_run else self._database.writing()
        async with opened as connection:
            there = await _states(connection, {device.id for device, _ in keys if device.id is not None})
            states = {pair: there.get((pair[0].id, pair[1].key)) for pair in dict.fromkeys(keys)}
            new_keys = [pair for pair, state in states.items() if state in (None, REFUSED)]
            ruled = {
                (row.kind, row.patterns, row.key) for row in await connection.execute(select(host_key_rules))
            }
            wanted = dict.fromkeys(rules)
            new_rules = [rule for rule in wanted if (rule.kind, rule.patterns, rule.key.key) not in ruled]
            if not dry_run:
                await _import(connection, [(*pair, states[pair] is not None) for pair in new_keys])
                if new_rules:
                    await connection.execute(insert(host_key_rules), [_rule_row(rule) for rule in new_rules])
        known = len(dict.fromkeys(keys)) + len(wanted) - len(new_keys) - len(new_rules)
        return Imported(len(new_keys), len(new_rules), known)


def _selected(selector: Selector) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if selector.names:
        conditions.append(devices.c.name.in_(sorted(selector.names)))
    if selector.tags:
        tagged = select(device_tags.c.device_id).join(tag_table, tag_table.c.id == device_tags.c.tag_id)
        conditions.append(devices.c.id.in_(tagged.where(tag_table.c.name.in_(sorted(selector.tags)))))
    return conditions


def _records(*conditions: ColumnElement[bool]) -> Select[Any]:
    joined = select(*_COLUMNS).join(devices, devices.c.id == host_keys.c.device_id)
    return joined.where(*conditions).order_by(devices.c.name, host_keys.c.id)


def _record(row: Row[Any]) -> KeyRecord:
    return KeyRecord(row.device, HostKey(row.algorithm, row.key), row.state, row.origin, row.first_seen_at)


async def _of(connection: AsyncConnection, device: Device) -> Sequence[KeyRecord]:
    rows = await connection.execute(_records(host_keys.c.device_id == device.id))
    return [_record(row) for row in rows]


async def _lock(connection: AsyncConnection, device: Device) -> None:
    """A run may be about to put a key of this device on record."""
    await connection.execute(
        select(devices.c.id).where(devices.c.id == device.id).with_for_update(key_share=True)
    )


async def _states(connection: AsyncConnection, ids: Iterable[int]) -> dict[tuple[int | None, bytes], str]:
    """What every key of these devices is on record as."""
    found: dict[tuple[int | None, bytes], str] = {}
    ordered = sorted(ids)
    for start in range(0, len(ordered), _PAGE):
        statement = select(host_keys.c.device_id, host_keys.c.key, host_keys.c.state)
        page = statement.where(host_keys.c.device_id.in_(ordered[start : start + _PAGE]))
        found.update({(row.device_id, row.key): row.state for row in await connection.execute(page)})
    return found


async def _import(connection: AsyncConnection, keys: Sequence[tuple[Device, HostKey, bool]]) -> None:
    """Trust keys, those that waited (True) among them; in one order, so that two imports do not wait for each other."""
    ordered = sorted(keys, key=lambda one: (one[0].id or 0, one[1].key))
    rows = [_key_row(device, key, "imported") for device, key, waited in ordered if not waited]
    for device, key, waited in ordered:
        if waited:
            await _let_pass(connection, device, key, "imported")
    if rows:
        await connection.execute(insert(host_keys), rows)


async def _trust(
    connection: AsyncConnection, device: Device, key: HostKey, origin: str, there: Sequence[KeyRecord]
) -> None:
    if any(record.key == key for record in there):
        await _let_pass(connection, device, key, origin)
    else:
        await connection.execute(insert(host_keys).values(_key_row(device, key, origin)))


async def _let_pass(connection: AsyncConnection, device: Device, key: HostKey, origin: str) -> None:
    changed = update(host_keys).where(host_keys.c.device_id == device.id, host_keys.c.key == key.key)
    await connection.execute(changed.values(state=TRUSTED, origin=origin))


def _key_row(device: Device, key: HostKey, origin: str) -> dict[str, Any]:
    return {
        "device_id": device.id,
        "algorithm": key.algorithm,
        "key": key.key,
        "fingerprint": key.fingerprint,
        "first_seen_at": utcnow(),
        "state": TRUSTED,
        "origin": origin,
    }


def _rule_row(rule: Rule) -> dict[str, Any]:
    return {
        "kind": rule.kind,
        "patterns": rule.patterns,
        "algorithm": rule.key.algorithm,
        "key": rule.key.key,
        "fingerprint": rule.key.fingerprint,
        "added_at": utcnow(),
    }
