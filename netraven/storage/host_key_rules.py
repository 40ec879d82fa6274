"""Host keys that speak of patterns of hosts: authorities that sign certificates, and keys that nobody may show."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from netraven.model import HostKey, Trust
from netraven.model.hosts import host_matches, is_plain
from netraven.storage.schema import host_key_rules

_ALL = select(host_key_rules).order_by(host_key_rules.c.id)


class Rules:
    """Every rule, as (patterns, key). Those that name hosts outright are looked up, however many there are."""

    def __init__(
        self, authorities: Sequence[tuple[str, HostKey]] = (), revoked: Sequence[tuple[str, HostKey]] = ()
    ) -> None:
        self._authorities, self._revoked = _Named(authorities), _Named(revoked)

    def trust_in(self, host: str, port: int, revoked: tuple[HostKey, ...] = ()) -> Trust:
        """What holds for the host; ``revoked``: keys that are revoked for this very device."""
        if not self._authorities and not self._revoked and not revoked:
            return _NOTHING
        return Trust(self._authorities.of(host, port), (*revoked, *self._revoked.of(host, port)))


class _Named:
    """Keys by who they are for."""

    def __init__(self, rules: Sequence[tuple[str, HostKey]]) -> None:
        self._patterns = [rule for rule in rules if not is_plain(rule[0])]
        self._by_name: dict[str, list[HostKey]] = {}
        for names, key in rules:
            if is_plain(names):
                for name in {word.strip().lower() for word in names.split(",")}:
                    self._by_name.setdefault(name, []).append(key)

    def __bool__(self) -> bool:
        return bool(self._patterns or self._by_name)

    def of(self, host: str, port: int) -> tuple[HostKey, ...]:
        name = host.lower()
        found = dict.fromkeys(
            (*self._by_name.get(name, ()), *self._by_name.get(f"[{name}]:{port}", ()) * (port != 22))
        )
        found |= dict.fromkeys(
            key for patterns, key in self._patterns if host_matches(patterns, host, port, any_port=True)
        )
        return tuple(found)


_NOTHING = Trust()


async def all_of_them(connection: AsyncConnection) -> Rules:
    authorities: list[tuple[str, HostKey]] = []
    revoked: list[tuple[str, HostKey]] = []
    for row in await connection.execute(_ALL):
        rules = authorities if row.kind == "authority" else revoked
        rules.append((row.patterns, HostKey(row.algorithm, row.key)))
    return Rules(authorities, revoked)
