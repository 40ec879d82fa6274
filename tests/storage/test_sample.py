"""A sample of the fleet is fair, however its inventory is ordered."""

from __future__ import annotations

import pytest

from netraven.storage.sample import in_share


@pytest.mark.parametrize("period", [1, 2, 3, 4, 5, 7, 8, 10, 16, 64, 200])
@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
def test_every_kind_of_device_has_its_share(period: int, share: float) -> None:
    fleet = range(1, 100_001)
    for kind in range(period):
        ids = [n for n in fleet if n % period == kind]
        found = sum(in_share(n, share) for n in ids)
        assert found == pytest.approx(len(ids) * share, rel=0.15, abs=3)
