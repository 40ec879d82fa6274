"""Tags, as devices and credentials share them."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Any

from sqlalchemy import Column, Table, bindparam, delete, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.storage.schema import tags
from netraven.storage.types import Id, padded


async def of_owners(
    connection: AsyncConnection, table: Table, ids: Iterable[int]
) -> dict[int, AbstractSet[str]]:
    """The tag names by owner id; an owner without tags is not in it. ``table``: device_tags or credential_tags."""
    owner = _owner(table)
    statement = (
        select(owner, tags.c.name)
        .join(tags, tags.c.id == table.c.tag_id)
        .where(owner.in_(bindparam("ids", expanding=True)))
    )
    names: dict[int, set[str]] = {}
    for key, name in await connection.execute(statement, {"ids": padded(ids)}):
        names.setdefault(key, set()).add(name)
    return {key: frozenset(found) for key, found in names.items()}


async def replace(connection: AsyncConnection, table: Table, wanted: dict[int, AbstractSet[str]]) -> None:
    """Give each owner exactly the tags that it is wanted to have; unknown tags are made."""
    if not wanted:
        return
    owner = _owner(table)
    ids = await _ids(connection, {name for names in wanted.values() for name in names})
    await connection.execute(
        delete(table).where(owner == bindparam("b_owner", type_=Id)),
        [{"b_owner": key} for key in sorted(wanted)],
    )
    rows = [{owner.name: key, "tag_id": ids[name]} for key in sorted(wanted) for name in sorted(wanted[key])]
    if rows:
        await connection.execute(insert(table), rows)


async def _ids(connection: AsyncConnection, names: Iterable[str]) -> dict[str, int]:
    ordered = sorted(names)
    if not ordered:
        return {}
    builder = sqlite if connection.dialect.name == "sqlite" else postgresql
    make = builder.insert(tags).on_conflict_do_nothing(index_elements=[tags.c.name])
    await connection.execute(make, [{"name": name} for name in ordered])
    known = {row.name: row.id for row in await connection.execute(select(tags.c.name, tags.c.id))}
    return {name: known[name] for name in ordered}


def _owner(table: Table) -> Column[Any]:
    return next(column for column in table.c if column.name != "tag_id")
