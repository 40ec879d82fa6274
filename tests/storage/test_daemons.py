"""One daemon for each database, or several that know of each other."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import update

from netraven.errors import InputError
from netraven.model import utcnow
from netraven.storage import daemons as module
from netraven.storage.daemons import SqlDaemons
from netraven.storage.engine import Database
from netraven.storage.owner import current_owner
from netraven.storage.schema import daemons

ELSEWHERE = "elsewhere/boot/77/5"
DEAD = f"{current_owner().rpartition('/')[0].rpartition('/')[0]}/{2**22 + 1}/1"
"""A process of this host whose number is larger than any."""


async def age(database: Database, seconds: float) -> None:
    async with database.writing() as connection:
        await connection.execute(update(daemons).values(heartbeat_at=utcnow() - timedelta(seconds=seconds)))


async def test_one_registers_and_the_next_one_hears_who_serves(database: Database) -> None:
    first = await SqlDaemons(database).register({"version": "1"})
    with pytest.raises(InputError, match=r"is served already: process \d+ on .*, since .* UTC") as refused:
        await SqlDaemons(database, owner=ELSEWHERE).register({})
    hint = "one daemon only" if database.is_sqlite else "daemon.several = true"
    assert hint in str(refused.value)
    assert [one.owner for one in await SqlDaemons(database).living()] == [current_owner()]
    await SqlDaemons(database).leave(first)
    assert await SqlDaemons(database).living() == []
    await SqlDaemons(database, owner=ELSEWHERE).register({})


async def test_several_are_for_postgresql_alone(database: Database) -> None:
    await SqlDaemons(database).register({}, several=True)
    another = SqlDaemons(database, owner=ELSEWHERE).register({}, several=True)
    if database.is_sqlite:
        with pytest.raises(InputError, match="one daemon only"):
            await another
    else:
        await another
        assert len(await SqlDaemons(database).living()) == 2
        with pytest.raises(InputError, match="is served already"):
            await SqlDaemons(database, owner="third/boot/1/1").register({}, several=False)


async def test_a_process_serves_a_database_once(database: Database) -> None:
    await SqlDaemons(database).register({}, several=True)
    with pytest.raises(InputError, match="is served already"):
        await SqlDaemons(database).register({}, several=True)


async def test_two_that_begin_at_once_are_not_both_let_in(database: Database) -> None:
    begun = [SqlDaemons(database, owner=f"host{n}/boot/1/1").register({}) for n in range(5)]
    found = await asyncio.gather(*begun, return_exceptions=True)
    assert sum(isinstance(one, InputError) for one in found) == 4


async def test_the_dead_are_forgotten(database: Database) -> None:
    killed = await SqlDaemons(database, owner=DEAD).register({})
    assert await SqlDaemons(database).living() == []
    mine = await SqlDaemons(database).register({})
    assert not await SqlDaemons(database).heartbeat(killed, {})
    assert await SqlDaemons(database).heartbeat(mine, {"sessions": 3})
    assert [one.state for one in await SqlDaemons(database).living()] == [{"sessions": 3}]


async def test_a_daemon_of_another_host_is_judged_by_its_silence(database: Database) -> None:
    await SqlDaemons(database, owner=ELSEWHERE).register({})
    await age(database, module.SILENCE.total_seconds() - 20)
    with pytest.raises(InputError, match=r"its last sign of life [67]\d s ago"):
        await SqlDaemons(database).register({})
    await age(database, module.SILENCE.total_seconds() + 20)
    await SqlDaemons(database).register({})
    assert len(await SqlDaemons(database).living()) == 1
