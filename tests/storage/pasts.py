"""Histories for tests: versions of devices, put on record as a run does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from netraven.lab.configurations import configuration
from netraven.model import Capture, Counts, Device, Run, RunStatus
from netraven.storage import schema
from netraven.storage.store import SqlStore
from tests.storage.facts import at, collected, start_run

DAY = 86_400.0


def edited(text: str, rng: random.Random) -> str:
    """Somebody was at the device: a few lines are new, changed or gone."""
    lines = text.split("\n")
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(2, len(lines) - 2)
        kind = rng.random()
        if kind < 0.5:
            lines.insert(place, f" description to {rng.choice(('ams', 'fra', 'osl'))}{rng.randrange(999)}")
        elif kind < 0.8:
            lines[place] = f" ip address 10.{rng.randrange(256)}.{rng.randrange(256)}.1 255.255.255.0"
        else:
            del lines[place]
    return "\n".join(lines)


def edits(number: int, *, name: str = "r1", size: int = 12 * 1024, seed: int = 1) -> list[str]:
    """A configuration and what became of it."""
    rng = random.Random(f"{seed}/{name}")
    texts = [configuration("cisco_iosxe", name, size=size)]
    while len(texts) < number:
        texts.append(edited(texts[-1], rng))
    return texts


async def remember(
    store: SqlStore, device: Device, texts: Sequence[str], *, kind: str = "running", first_day: float = 0
) -> None:
    """One version for each text, a day apart."""
    for place, text in enumerate(texts):
        run = await start_run(store)
        moment_of_it = at((first_day + place) * DAY)
        entry = collected(run, device, started_at=moment_of_it, duration_ms=0)
        await store.commit([replace(entry, captures=(Capture(text, kind),))])
        await end(store, run)


async def end(store: SqlStore, run: Run) -> None:
    await store.finish(run, RunStatus.COMPLETE, Counts())


async def texts_of(store: SqlStore, device: str, kind: str = "running") -> dict[int, str]:
    found = {}
    for version in await store.versions.history(device, kind):
        stored = await store.versions.numbered(device, kind, version.number)
        assert stored is not None
        found[version.number] = stored.text
    return dict(sorted(found.items()))


async def count(store: SqlStore, table: Any, *conditions: Any) -> int:
    async with store.database.reading() as connection:
        return int(
            (
                await connection.execute(select(func.count()).select_from(table).where(*conditions))
            ).scalar_one()
        )


async def bytes_stored(store: SqlStore) -> int:
    async with store.database.reading() as connection:
        total = select(func.sum(func.length(schema.blobs.c.data)))
        return int((await connection.execute(total)).scalar_one() or 0)


def moment(days: float) -> datetime:
    return at(days * DAY)
