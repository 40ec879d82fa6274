"""Which devices accept which version of a credential's secret: read from the pairs on record, a page at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select

from netraven.model import Credential, Verdict
from netraven.storage.engine import Database
from netraven.storage.schema import credential_pairs, credential_tags, device_tags, devices
from netraven.storage.selecting import PAGE
from netraven.storage.types import padded

_PAIR = credential_pairs.c
_COLUMNS = ("secret_version", "last_verdict", "last_verdict_at", "last_success")
_JUDGED = _PAIR.last_verdict.in_([Verdict.ACCEPTED.value, Verdict.REFUSED.value])


@dataclass(frozen=True, slots=True)
class VersionAcceptance:
    """How many devices accepted a version the last time that they judged it, and how many refused it."""

    version: int
    accepted: int = 0
    refused: int = 0
    last_success: datetime | None = None


@dataclass(frozen=True, slots=True)
class DeviceAcceptance:
    """What one device said of one version."""

    device: str
    version: int
    last_verdict: Verdict
    last_verdict_at: datetime
    last_success: datetime | None


class SqlAcceptance:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def versions(self, credential: Credential) -> Sequence[VersionAcceptance]:
        """Every version that a device has judged, and the current one; the newest first."""
        statement = (
            select(_PAIR.secret_version, _PAIR.last_verdict, func.count(), func.max(_PAIR.last_success))
            .where(_PAIR.credential_id == credential.id, _JUDGED)
            .group_by(_PAIR.secret_version, _PAIR.last_verdict)
        )
        counts: dict[int, dict[str, int]] = {credential.secret_version: {}}
        last: dict[int, datetime] = {}
        async with self._database.reading() as connection:
            for version, verdict, count, success in await connection.execute(statement):
                counts.setdefault(version, {})[verdict] = count
                if success is not None:
                    last[version] = max(last.get(version, success), success)
        return [
            VersionAcceptance(
                version,
                counts[version].get(Verdict.ACCEPTED.value, 0),
                counts[version].get(Verdict.REFUSED.value, 0),
                last.get(version),
            )
            for version in sorted(counts, reverse=True)
        ]

    async def devices(self, credential: Credential) -> AsyncIterator[DeviceAcceptance]:
        """By the name of the device, its newest version first."""
        judged = select(_PAIR.device_id).where(
            _PAIR.device_id == devices.c.id, _PAIR.credential_id == credential.id, _JUDGED
        )
        async for page in self._pages(judged.exists()):
            names = dict(page)
            statement = (
                select(_PAIR.device_id, *(_PAIR[name] for name in _COLUMNS))
                .where(_PAIR.device_id.in_(padded(names)), _PAIR.credential_id == credential.id, _JUDGED)
                .order_by(_PAIR.secret_version.desc())
            )
            found: dict[int, list[DeviceAcceptance]] = {}
            async with self._database.reading() as connection:
                for key, version, verdict, at, success in await connection.execute(statement):
                    row = DeviceAcceptance(names[key], version, Verdict(verdict), at, success)
                    found.setdefault(key, []).append(row)
            for key, _ in page:
                for row in found.get(key, ()):
                    yield row

    async def count_not_proven(self, credential: Credential) -> int:
        """Devices that share a tag with the credential and have not accepted its current version the last time."""
        statement = select(func.count()).select_from(devices).where(*_not_proven(credential))
        async with self._database.reading() as connection:
            return int((await connection.execute(statement)).scalar_one())

    async def not_proven(self, credential: Credential) -> AsyncIterator[str]:
        """Their names, in order."""
        async for page in self._pages(*_not_proven(credential)):
            for _, name in page:
                yield name

    async def _pages(self, *conditions: ColumnElement[bool]) -> AsyncIterator[Sequence[tuple[int, str]]]:
        """Ids and names of devices along the index of names: what a page costs does not grow with the fleet."""
        statement = (
            select(devices.c.id, devices.c.name).where(*conditions).order_by(devices.c.name).limit(PAGE)
        )
        last: str | None = None
        while True:
            async with self._database.reading() as connection:
                found = await connection.execute(
                    statement if last is None else statement.where(devices.c.name > last)
                )
                page = [(row.id, row.name) for row in found]
            if page:
                yield page
            if len(page) < PAGE:
                return
            last = page[-1][1]


def _not_proven(credential: Credential) -> list[ColumnElement[bool]]:
    matching = (
        select(device_tags.c.device_id)
        .join(credential_tags, credential_tags.c.tag_id == device_tags.c.tag_id)
        .where(device_tags.c.device_id == devices.c.id, credential_tags.c.credential_id == credential.id)
    )
    proven = select(_PAIR.device_id).where(
        _PAIR.device_id == devices.c.id,
        _PAIR.credential_id == credential.id,
        _PAIR.secret_version == credential.secret_version,
        _PAIR.last_verdict == Verdict.ACCEPTED.value,
    )
    return [matching.exists(), ~proven.exists()]
