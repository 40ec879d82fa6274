"""One round over a device's credentials: which is next, and what it means that none is left."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime

from netraven.collect.admission import Withheld
from netraven.collect.visit import Visit
from netraven.errors import AuthNoVerdict, NoMethod
from netraven.model import Choice, Credential, SkipReason

MOST_MOVES = 3
"""After so many changes of desk a device stays where it waits, whatever else is learned meanwhile."""


class Round:
    """The choices of one try at a device, in the order in which they are to be made.

    First those that may be offered now; then those that the guard wanted last; then, where a secret that used to open
    the device was refused, those that the device refused earlier; break-glass credentials only while AAA is down.
    """

    def __init__(self, visit: Visit, choices: Iterable[Choice], now: datetime) -> None:
        self._visit = visit
        self._ready: deque[Choice] = deque()
        self._later: deque[Choice] = deque()
        self._backed_off: deque[Choice] = deque()
        self._glass: deque[Choice] = deque()
        self._last_chance = False
        seen: set[tuple[str, int]] = set()
        settled = visit.parked_at if visit.moves >= MOST_MOVES else None
        for choice in sorted(choices, key=lambda choice: choice.credential.account != settled):
            if choice.credential.key in visit.refused or choice.credential.key in seen:
                continue  # each secret once, whatever a strategy says
            seen.add(choice.credential.key)
            if choice.credential.when == "aaa-down":
                self._glass.append(choice)
            elif choice.not_before is not None and choice.not_before > now:
                self._backed_off.append(choice)
            else:
                self._ready.append(choice)
        self.withheld: list[Withheld] = []
        self.refused_before = 0
        """How many the device refused not long ago, where it counts for itself."""
        self.unusable: NoMethod | None = None
        self.no_verdict: AuthNoVerdict | None = None
        self.said = ""
        """What the device added to its last refusal."""

    @property
    def backed_off(self) -> tuple[Choice, ...]:
        """What the device refused not long ago, and is not offered now."""
        return tuple(self._backed_off)

    @property
    def alternatives(self) -> bool:
        """Whether there is another credential that could go first."""
        return bool(self._ready or self._later) and not self._last_chance

    @property
    def alone(self) -> bool:
        """Whether the choice that was given last is all that is left."""
        return not self._ready and not self._later

    def next(self) -> Choice | None:
        if not self._ready and self._later:
            self._ready, self._later, self._last_chance = self._later, deque(), True
        if not self._ready and self._backed_off and self._visit.lost_proven:
            self._ready, self._backed_off = self._backed_off, deque()
        if not self._ready and self._glass and self._aaa_is_down:
            self._ready, self._glass = self._glass, deque()
        return self._ready.popleft() if self._ready else None

    def next_for(self, credential: Credential) -> Choice | None:
        """The next choice, if it is another password of the same user: it can go on the same connection."""
        if self._ready and self._ready[0].credential.account == credential.account:
            return self._ready.popleft()
        return None

    def put_back(self, choice: Choice) -> None:
        self._ready.appendleft(choice)

    def keep_back(self, choice: Choice, why: Withheld) -> None:
        """The guard keeps it back."""
        if not self._last_chance and (why.later or why.reason is SkipReason.HELD):
            self._later.append(choice)  # it may be all that is left in the end, and be let through for that
        elif why.reason is not None:
            self.withheld.append(why)
        self.refused_before += why.refused

    def only_break_glass(self, failure: AuthNoVerdict) -> bool:
        """The device's AAA gave no verdict. Whether there is a credential for just that."""
        self.no_verdict = failure
        self._ready.clear()
        self._later.clear()
        self._backed_off.clear()
        return bool(self._glass)

    @property
    def _aaa_is_down(self) -> bool:
        return self.no_verdict is not None or any(
            why.reason is SkipReason.REALM_PAUSED for why in self.withheld
        )
