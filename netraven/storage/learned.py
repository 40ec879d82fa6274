"""What runs learn of devices: what their SSH servers offer, their dialect, their facts, when they cut a connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.model import ConnectionCut, DeviceFinished, OfferSeen, PlatformFound, SshOffer
from netraven.storage.outcomes import finished_at
from netraven.storage.schema import device_facts, devices
from netraven.storage.types import Id

_DEVICE = update(devices).where(devices.c.id == bindparam("b_id", type_=Id))
_CUT = _DEVICE.values(tries_per_connection=bindparam("b_tries"))
_OFFER = _DEVICE.values(ssh_offer=bindparam("b_offer"), ssh_offer_at=bindparam("b_at"))
_PLATFORM = _DEVICE.values(detected_platform=bindparam("b_platform"))


def _newer(statement: sqlite.Insert | postgresql.Insert) -> sqlite.Insert | postgresql.Insert:
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["device_id", "name"], set_={"value": new.value, "seen_at": new.seen_at}
    )


_FACTS_SQLITE = _newer(sqlite.insert(device_facts))
_FACTS_POSTGRESQL = _newer(postgresql.insert(device_facts))


async def cuts(connection: AsyncConnection, entries: Sequence[ConnectionCut]) -> None:
    """How many secrets devices took before they cut the connection; the last word counts."""
    await _each(connection, _CUT, {e.device.id: {"b_tries": e.tries} for e in entries})


async def offers(connection: AsyncConnection, entries: Sequence[OfferSeen]) -> None:
    rows = {e.device.id: {"b_offer": asdict(e.offer), "b_at": e.at} for e in entries}
    await _each(connection, _OFFER, rows)


async def platforms(connection: AsyncConnection, entries: Sequence[PlatformFound]) -> None:
    await _each(connection, _PLATFORM, {e.device.id: {"b_platform": e.platform} for e in entries})


async def facts(connection: AsyncConnection, entries: Sequence[DeviceFinished]) -> None:
    rows = {
        (entry.outcome.device.id, name): {
            "device_id": entry.outcome.device.id,
            "name": name,
            "value": value,
            "seen_at": finished_at(entry.outcome),
        }
        for entry in entries
        if entry.outcome.device.id is not None
        for name, value in entry.facts.items()
    }
    if rows:
        statement = _FACTS_SQLITE if connection.dialect.name == "sqlite" else _FACTS_POSTGRESQL
        await connection.execute(statement, [rows[key] for key in sorted(rows)])


async def facts_of(connection: AsyncConnection, device: str) -> Mapping[str, str]:
    """A device's facts by name."""
    statement = (
        select(device_facts.c.name, device_facts.c.value)
        .join(devices, devices.c.id == device_facts.c.device_id)
        .where(devices.c.name == device)
        .order_by(device_facts.c.name)
    )
    return {row.name: row.value for row in await connection.execute(statement)}


def offer_of(stored: Mapping[str, Any] | None) -> SshOffer | None:
    """The offer as it was put on record."""
    if stored is None:
        return None
    lists = {name: tuple(stored[name]) for name in ("kex", "host_keys", "ciphers", "macs")}
    return SshOffer(stored["version"], **lists)


async def _each(connection: AsyncConnection, statement: Any, values: Mapping[int | None, Any]) -> None:
    rows = [{"b_id": key, **row} for key, row in values.items() if key is not None]
    if rows:
        await connection.execute(statement, sorted(rows, key=lambda row: row["b_id"]))
