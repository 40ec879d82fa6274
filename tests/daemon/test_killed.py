"""`kill -9` of the daemon at random moments: the run goes on, each device is collected once, nothing is lost."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from netraven.lab import fleet
from tests.acceptance.installation import Installation, credential
from tests.acceptance.processes import LabProcess
from tests.daemon.processes import configure
from tests.daemon.survival import FORGETS_AFTER, LOCKS_AFTER, supervised, survive

DEVICES, KILLS = 80, 4


@pytest.mark.slow
async def test_a_killed_daemon_loses_nothing(any_installation: Installation, tmp_path: Path) -> None:
    installation = any_installation
    made = fleet(DEVICES, shares={"first": 0.5, "second": 0.5}, config_size=1_000, think=0.05)
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    async with LabProcess.running(
        tmp_path / "lab", made.devices, locks_after=LOCKS_AFTER, forgets_after=FORGETS_AFTER
    ) as lab:
        logins = [credential(one.name, one.password, priority=place) for place, one in enumerate(made.logins)]
        await installation.stock(lab.csv, logins)
        configure(
            installation,
            "[realms.default]\nwindow = 5.0\n[jobs.all]\nconcurrency = 12",
            listen="",
        )
        async with supervised(installation) as server:
            await server.until_serving()

            async def run_now() -> None:
                async with installation.open() as raven:
                    await raven.store.jobs.run_now("all")

            survived = await survive(
                lab, server, run_now, devices=DEVICES, kills=KILLS, chance=random.Random(seed)
            )
    assert survived.kills >= 2
