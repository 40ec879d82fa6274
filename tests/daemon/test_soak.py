"""Days of a daemon's life in a minute; `python -m benchmarks.soak` is the month."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation
from tests.daemon.soak import Soak


@pytest.mark.slow
async def test_some_days_go_by(any_installation: Installation, tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    soak = Soak(
        any_installation, tmp_path, days=3, devices=12, grows_by=2, chance=random.Random(seed),
        events=("kill", "deploy", "rotate"),
    )  # fmt: skip
    await soak.run()
    assert len(soak.samples) == 3
