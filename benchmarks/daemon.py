"""What a daemon bears: killed again and again in the middle of a run, and a month of its life in minutes.

``python -m benchmarks.daemon survive --database postgresql --devices 2000 --kills 20``
``python -m benchmarks.daemon outage --devices 2000 --kills 3`` stops and starts PostgreSQL in place of the daemon
``python -m benchmarks.daemon soak --database postgresql --days 30 --devices 100``
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import signal
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from netraven.lab import fleet
from tests.acceptance.installation import Installation, credential
from tests.acceptance.processes import LabProcess
from tests.daemon.processes import configure
from tests.daemon.soak import Soak
from tests.daemon.survival import FORGETS_AFTER, LOCKS_AFTER, supervised, survive
from tests.databases import OwnServer, own_postgresql


@asynccontextmanager
async def _installed(database: str, folder: Path) -> AsyncIterator[tuple[Installation, OwnServer | None]]:
    if database == "sqlite":
        yield await Installation.create(folder / "netraven"), None
        return
    with own_postgresql() as server:
        yield await Installation.create(folder / "netraven", url=server.url), server


async def _survive(
    database: str, folder: Path, devices: int, kills: int, seed: int, *, outage: bool = False
) -> None:
    made = fleet(devices, shares={"first": 0.5, "second": 0.5}, config_size=8_192)
    async with (
        _installed(database, folder) as (installation, postgresql),
        LabProcess.running(
            folder / "lab", made.devices, locks_after=LOCKS_AFTER, forgets_after=FORGETS_AFTER
        ) as lab,
    ):
        logins = [credential(one.name, one.password, priority=place) for place, one in enumerate(made.logins)]
        await installation.stock(lab.csv, logins)
        told = f"[realms.default]\nwindow = {FORGETS_AFTER + 1}\n[jobs.all]\nconcurrency = 200"
        configure(installation, told, listen="")
        async with supervised(installation) as server:
            await server.until_serving()

            async def run_now() -> None:
                async with installation.open() as raven:
                    await raven.store.jobs.run_now("all")

            chance = random.Random(seed)
            strike = partial(_restart, postgresql) if outage and postgresql is not None else None
            told_of = await survive(
                lab,
                server,
                run_now,
                devices=devices,
                kills=kills,
                chance=chance,
                strike=strike,
                patience=1_800.0,
            )
    print(f"{database}: {devices} devices, seed {seed}: {told_of}")


async def _restart(server: OwnServer) -> None:
    await server.stop(signal.SIGQUIT)
    await asyncio.sleep(3)
    await server.start()


async def _soak(database: str, folder: Path, days: int, devices: int, seed: int, *, calm: bool) -> None:
    async with _installed(database, folder) as (installation, server):
        soak = Soak(
            installation,
            folder,
            days=days,
            devices=devices,
            grows_by=0 if calm else max(1, devices // 50),
            chance=random.Random(seed),
            restart_database=None if server is None else partial(_restart, server),
            quiet_last_days=days if calm else max(2, days // 4),
            watched=not calm,
        )
        began = time.monotonic()
        await soak.run()
    print(f"{database}: {days} days in {time.monotonic() - began:.0f} s, seed {seed}: {dict(soak.happened)}")
    for sample in soak.samples:
        print(
            f"  day {sample.day:2}: {sample.resident_kb / 1024:6.1f} MiB, {sample.files} files,"
            f" loop lag p99 {sample.lag_p99_ms} ms{', started anew' if sample.restarted else ''}"
        )
    calm = [sample for sample in soak.samples if not sample.restarted]
    lags = [sample.lag_p99_ms for sample in calm if sample.lag_p99_ms is not None]
    if lags:
        print(
            f"  loop lag p99, median of the days: {statistics.median(lags):.1f} ms, most {max(lags):.1f} ms"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.daemon", description=__doc__)
    parser.add_argument("what", choices=("survive", "outage", "soak"))
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--devices", type=int, default=None)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument(
        "--calm",
        action="store_true",
        help="nothing happens, the fleet stays, asyncio's debug mode is off: for memory",
    )
    parser.add_argument("--seed", type=int, default=None)
    told = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    seed = random.randrange(10**6) if told.seed is None else told.seed
    with tempfile.TemporaryDirectory(prefix="nr-", dir="/tmp") as name:
        if told.what == "survive":
            work = _survive(told.database, Path(name), told.devices or 2_000, told.kills, seed)
        elif told.what == "outage":
            work = _survive("postgresql", Path(name), told.devices or 2_000, told.kills, seed, outage=True)
        else:
            work = _soak(told.database, Path(name), told.days, told.devices or 100, seed, calm=told.calm)
        asyncio.run(work)


if __name__ == "__main__":
    main()
