"""The desk of one account: who is on the way to a permit, who waits for one, and how many there may be."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from netraven.collect.admission import Admission, Withheld
from netraven.credentials.lockout import Account, Ask, Flight, Policy

WARM_ROOM = 32.0
"""Devices at a desk once a secret has succeeded; more as long as permits come quickly, fewer when they do not."""

AccountName = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A device that wants its permit: the answer is awaited by it, ``since`` is a moment's tick."""

    admission: Admission
    answer: asyncio.Future[Flight]
    since: float


@dataclass(eq=False)
class Desk:
    """One account as this guard sees it."""

    name: AccountName
    policy: Policy
    room: float = 0.0
    """How many devices may be on their way to a permit, or wait for one."""
    parked: int = 0
    """Devices that wait outside: they have not connected."""
    news: int = 0
    """Grows whenever one of those may have better luck."""
    account: Account | None = None
    """None while another guard drives it."""
    leaving: bool = False
    """Another guard waits for the account: nobody is admitted any more."""
    lease_ends: float = 0.0
    taken_at: float = 0.0
    come_back: float = 0.0
    """Not asked for again before this tick, so that the guard that waits for it is first."""
    admitted: int = 0
    waiting: deque[Waiting] = field(default_factory=deque)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the book has said whether the account is free."""
    taking: asyncio.Task[None] | None = None
    controlling: asyncio.Task[None] | None = None
    piled_up_at: float | None = None
    failing_since: float | None = None
    """When the first of the failures since the last success was sent, of secrets that work elsewhere."""

    def __post_init__(self) -> None:
        self.room = max(self.room, self.least_room)

    @property
    def realm(self) -> str:
        return self.name[0]

    @property
    def least_room(self) -> float:
        return float(self.policy.most_in_flight if self.policy.adaptive else self.policy.budget + 2)

    def works(self, ask: Ask) -> bool:
        """Whether the secret is known to open devices."""
        state = self.account.secrets.get(ask.secret) if self.account is not None else None
        return ask.known if state is None else state.proven

    def has_room(self, ask: Ask) -> bool:
        """Whether one more device may connect. Canaries too are several: the first ones may be dead."""
        return self.admitted < self.room or ask.fallback

    def warm_up(self) -> None:
        """A secret works: many may come."""
        self.room = max(self.room, WARM_ROOM)

    def measure(self, waited: float, grace: float) -> None:
        """Let more devices connect where permits follow at once, fewer where servers would lose patience."""
        if waited < 0.5 and self.admitted + 1 >= self.room:
            self.room += 0.5
        elif waited > grace / 6:
            self.room = max(self.least_room, self.room * 0.7)

    def turn_away(self, why: Withheld) -> None:
        """Whoever waits for a permit is told why there is none."""
        waiting, self.waiting = self.waiting, deque()
        for one in waiting:
            if not one.answer.done():
                one.answer.set_exception(Withheld(why.reason, why.why))
        self.news += 1
