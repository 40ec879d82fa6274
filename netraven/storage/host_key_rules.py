"""Host keys that speak of patterns of hosts: authorities that sign certificates, and keys that nobody may show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.model import HostKey, Trust
from netraven.model.hosts import host_matches
from netraven.storage.schema import host_key_rules

_ALL = select(host_key_rules).order_by(host_key_rules.c.id)


@dataclass(frozen=True, slots=True)
class Rules:
    """Every rule, as (patterns, key)."""

    authorities: Sequence[tuple[str, HostKey]] = ()
    revoked: Sequence[tuple[str, HostKey]] = ()

    def trust_in(self, host: str, port: int, revoked: tuple[HostKey, ...] = ()) -> Trust:
        """What holds for the host; ``revoked``: keys that are revoked for this very device."""
        if not self.authorities and not self.revoked and not revoked:
            return _NOTHING
        return Trust(
            tuple(
                key for patterns, key in self.authorities if host_matches(patterns, host, port, any_port=True)
            ),
            (
                *revoked,
                *(key for patterns, key in self.revoked if host_matches(patterns, host, port, any_port=True)),
            ),
        )


_NOTHING = Trust()


async def all_of_them(connection: AsyncConnection) -> Rules:
    authorities: list[tuple[str, HostKey]] = []
    revoked: list[tuple[str, HostKey]] = []
    for row in await connection.execute(_ALL):
        rules = authorities if row.kind == "authority" else revoked
        rules.append((row.patterns, HostKey(row.algorithm, row.key)))
    return Rules(authorities, revoked)
