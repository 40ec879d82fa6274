"""Which accounts this guard drives: taking them over, keeping them, and letting other guards have them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine

from netraven.collect.admission import Withheld
from netraven.collect.desk import AccountName, Desk
from netraven.credentials.lockout import Account, Policy
from netraven.credentials.moments import MomentClock
from netraven.errors import DatabaseError
from netraven.events import events
from netraven.ports import GuardBook

_log = events("netraven.collect")

TEND = 0.25
"""Seconds between two looks at who else waits for an account."""
SLICE = 1.0
"""Seconds that a guard drives an account at least before it lets another one have it."""
RENEW = 5.0
"""Seconds between two times that an account's state is written down while it is driven."""
SLACK = 5.0
"""Seconds of its lease that are left when the last permit could come back."""

Spawn = Callable[[Coroutine[object, object, None]], asyncio.Task[None]]


class Driving:
    """The desks of a guard, and the leases on their accounts.

    ``changed`` is called when an account was taken over. ``login_seconds``: the longest that a permit is out; nothing
    is sent whose verdict could come after the lease.
    """

    def __init__(
        self,
        book: GuardBook,
        holder: str,
        *,
        login_seconds: float,
        now: MomentClock,
        spawn: Spawn,
        rivals: Callable[[AccountName], list[str]],
    ) -> None:
        self.desks: dict[AccountName, Desk] = {}
        self.changed: Callable[[], None] = lambda: None
        self._book = book
        self._holder = holder
        self._lease = login_seconds + 40.0
        self._login_seconds = login_seconds
        self._now = now
        self._spawn = spawn
        self._rivals = rivals
        self._closing = False
        self._failing = False

    def desk(self, name: AccountName, policy: Policy) -> Desk:
        desk = self.desks.get(name)
        if desk is None:
            desk = self.desks[name] = Desk(name, policy)
        return desk

    def of_realm(self, realm: str) -> list[Desk]:
        return [desk for desk in self.desks.values() if desk.realm == realm]

    def lapsing(self, desk: Desk) -> bool:
        """Whether the lease could end before a secret that is sent now has its verdict."""
        return self._now().tick + self._login_seconds + SLACK > desk.lease_ends

    def want(self, desk: Desk) -> None:
        """Take the account over as soon as nobody else drives it."""
        if desk.account is None and desk.taking is None and not self._closing:
            desk.taking = self._spawn(self._keep_asking(desk))

    async def _keep_asking(self, desk: Desk) -> None:
        try:
            await asyncio.sleep(max(0.0, desk.come_back - self._now().tick))
            while desk.account is None:
                await self.take(desk)
                desk.asked.set()
                if desk.account is None:
                    await asyncio.sleep(TEND)
        finally:
            desk.asked.set()
            desk.taking = None

    async def take(self, desk: Desk) -> None:
        """Ask for the account once."""
        asked = self._now().tick
        try:
            state = await self._book.take(desk.name, self._holder, self._lease)
        except DatabaseError as error:  # the recorder is who notices a lost database
            if not self._failing:
                self._failing = True
                _log.error("account_not_taken", realm=desk.realm, error=str(error))
            return
        self._failing = False
        if state is None or self._closing or desk.account is not None:
            return
        desk.account = Account.load(state, desk.policy, self._now())
        desk.account.rivals = frozenset(self._rivals(desk.name))
        if any(secret.proven for secret in desk.account.secrets.values()):
            desk.warm_up()
        desk.leaving, desk.taken_at, desk.lease_ends = False, asked, asked + self._lease
        desk.news += 1
        self.changed()

    async def tend(self) -> None:
        """Hand over what others wait for, renew the leases on the rest. Raises ``DatabaseError``."""
        driven = [desk for desk in self.desks.values() if desk.account is not None]
        if not driven:
            return
        claimed = set(await self._book.claimed(self._holder))
        for desk in driven:
            since = self._now().tick - desk.taken_at
            desk.leaving = desk.leaving or (desk.name in claimed and since >= SLICE)
            if desk.leaving:
                await self._hand_over(desk)
            if desk.account is not None and desk.lease_ends - self._now().tick < self._lease - RENEW:
                await self._renew(desk)

    async def _hand_over(self, desk: Desk) -> None:
        account = desk.account
        if account is None or desk.admitted or desk.controlling is not None or account.flights:
            return  # whoever is at the desk is served first
        await self._book.keep(desk.name, self._holder, account.dump(), None)
        desk.account, desk.leaving = None, False
        desk.come_back = self._now().tick + 3 * TEND

    async def _renew(self, desk: Desk) -> None:
        asked, account = self._now().tick, desk.account
        if account is None:
            return
        if await self._book.keep(desk.name, self._holder, account.dump(), self._lease):
            lapsed = self.lapsing(desk)
            desk.lease_ends = asked + self._lease
            if lapsed:  # devices that came meanwhile wait outside, and nothing else calls them
                desk.news += 1
                self.changed()
            return
        _log.error("account_lost", realm=desk.realm)
        desk.account = None
        desk.turn_away(Withheld(None, "another process took the account over"))

    async def close(self) -> None:
        """Let go of everything; what cannot be written, leases and the ledger make up for."""
        self._closing = True
        with contextlib.suppress(DatabaseError):
            for desk in self.desks.values():
                if desk.account is not None:
                    await self._book.keep(desk.name, self._holder, desk.account.dump(), None)
                desk.account = None
