"""What all devices together say of secrets: added up by the database, faded by age.

A pair counts once, whatever the number of attempts that made it. The database gives one row for each secret and
platform, and one for each secret, tag and platform; the rest are sums of these. No pair comes to Python by itself: in
a fleet of 100,000 devices there are half a million of them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Case, Float, bindparam, case, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.credentials.evidence import EVERYWHERE, FADES_EVERY, WEIGHTS, Tallies, on_platform
from netraven.model import Tally, Verdict
from netraven.ports import Feature
from netraven.storage.schema import credential_pairs, credentials, device_tags, devices, tags
from netraven.storage.types import UtcDateTime

_NOTHING = literal(0.0, Float(53))
_PAIR = credential_pairs.c


def _weight() -> Case[float]:
    """``evidence.weight`` in SQL: a verdict younger than ``after_N`` has the Nth weight at least."""
    steps = [
        (_PAIR.last_verdict_at > bindparam(f"after_{week}", type_=UtcDateTime()), literal(counts, Float(53)))
        for week, counts in enumerate(WEIGHTS)
    ]
    return case(*steps, else_=_NOTHING)


_ACCEPTED, _REFUSED = (
    func.sum(case((_PAIR.last_verdict == verdict.value, _weight()), else_=_NOTHING)).label(verdict.value)
    for verdict in (Verdict.ACCEPTED, Verdict.REFUSED)
)
_SECRET = (_PAIR.credential_id, _PAIR.secret_version)
_JUDGED = credential_pairs.join(devices, devices.c.id == _PAIR.device_id)
_TAGGED = _JUDGED.join(device_tags, device_tags.c.device_id == _PAIR.device_id)
_BY_PLATFORM = (
    select(*_SECRET, devices.c.platform, _ACCEPTED, _REFUSED)
    .select_from(_JUDGED)
    .group_by(*_SECRET, devices.c.platform)
)
_BY_TAG = (
    select(*_SECRET, devices.c.platform, device_tags.c.tag_id, _ACCEPTED, _REFUSED)
    .select_from(_TAGGED)
    .group_by(*_SECRET, devices.c.platform, device_tags.c.tag_id)
)


async def of_fleet(connection: AsyncConnection, now: datetime) -> Tallies:
    """The tallies of every secret that a device has judged, as ``evidence.faded`` adds them up."""
    names, labels = [
        {row.id: row.name for row in await connection.execute(select(table.c.id, table.c.name))}
        for table in (credentials, tags)
    ]
    moments = {f"after_{week}": now - (week + 1) * FADES_EVERY for week in range(len(WEIGHTS))}
    sums = _Sums(names)
    for row in await connection.execute(_BY_PLATFORM, moments):
        sums.add(row, EVERYWHERE, ("platform", row.platform))
    for tagged in await connection.execute(_BY_TAG, moments):
        if tag := labels.get(tagged.tag_id):  # one that has come meanwhile can wait for the next run
            sums.add(tagged, ("tag", tag), on_platform(tag, tagged.platform))
    return sums.tallies


class _Sums:
    """Rows of sums, gathered by secret and feature."""

    def __init__(self, names: dict[int, str]) -> None:
        self._names = names
        self.tallies: Tallies = {}

    def add(self, row: Any, *features: Feature) -> None:
        name = self._names.get(row.credential_id)
        if name is None or not (row.accepted or row.refused):
            return  # as new as that, or all of it forgotten
        by_feature = self.tallies.setdefault((name, row.secret_version), {})
        for feature in features:
            old = by_feature.get(feature, Tally())
            by_feature[feature] = Tally(old.accepted + row.accepted, old.refused + row.refused)
