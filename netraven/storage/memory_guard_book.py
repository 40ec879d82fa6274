"""The guard book in memory (``ports.GuardBook``): for guards of one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Account = tuple[str, str]


class MemoryGuardBook:
    """Remembers accounts as long as the object lives. Holders are of this process, so none of them can die alone."""

    def __init__(self) -> None:
        self.accounts: dict[Account, dict[str, Any]] = {}
        self.paused: dict[str, dict[str, Any]] = {}
        self._holders: dict[Account, str] = {}
        self._claims: set[Account] = set()

    async def take(self, account: Account, holder: str, lease: float) -> dict[str, Any] | None:  # noqa: ARG002 - leases end with the process here
        if self._holders.get(account, holder) != holder:
            self._claims.add(account)
            return None
        self._holders[account] = holder
        self._claims.discard(account)
        return self.accounts.get(account, {})

    async def keep(self, account: Account, holder: str, state: dict[str, Any], lease: float | None) -> bool:
        if self._holders.get(account) != holder:
            return False
        self.accounts[account] = state
        if lease is None:
            del self._holders[account]
        return True

    async def claimed(self, holder: str) -> Sequence[Account]:
        return [account for account in self._claims if self._holders.get(account) == holder]

    async def pauses(self) -> Mapping[str, dict[str, Any]]:
        return dict(self.paused)

    async def pause(self, realm: str, state: dict[str, Any] | None) -> None:
        if state is None:
            self.paused.pop(realm, None)
        else:
            self.paused[realm] = state

    async def states(self) -> Mapping[Account, dict[str, Any]]:
        """Every account's state as it was last written."""
        return dict(self.accounts)
