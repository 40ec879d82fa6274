"""A central authentication server that counts refusals and locks accounts, as a directory behind TACACS+."""

from __future__ import annotations

import time
from collections import Counter
from typing import Literal

Mode = Literal["normal", "silent", "refuse_all"]


class AAA:
    """Judges every login of the fleet.

    `central` counts refusals in a row per user name over the whole fleet, otherwise per device and user name.
    At `threshold` the account is locked: everything is refused from then on, until `unlock`. With `window` refusals
    are forgotten once so many seconds went by without another; an account that is locked stays it. `mode` may be
    changed while the lab runs: `silent` answers nothing, `refuse_all` refuses and counts right passwords too.
    """

    def __init__(
        self,
        threshold: int,
        *,
        central: bool = True,
        answer_delay: float = 0.0,
        window: float | None = None,
    ) -> None:
        self.threshold = threshold
        self.window = window
        self._refused_at: dict[str, float] = {}
        self.central = central
        self.answer_delay = answer_delay
        self.mode: Mode = "normal"
        self.refusals = 0
        self.refused_by_user: Counter[str] = Counter()
        self.worst_streak: Counter[str] = Counter()
        """The most refusals in a row that each user name ever came to."""
        self._streak: Counter[str] = Counter()
        self._locked: set[str] = set()
        self._lockouts: list[str] = []

    @property
    def lockouts(self) -> tuple[str, ...]:
        """The accounts that were locked, in order; `user`, or `user@device` for counts per device."""
        return tuple(self._lockouts)

    def locked(self, username: str, device: str = "") -> bool:
        return self._account(username, device) in self._locked

    def unlock(self, username: str, device: str = "") -> None:
        account = self._account(username, device)
        self._locked.discard(account)
        self._streak[account] = 0

    def judge(self, device: str, username: str, right: bool) -> bool:
        """The verdict on one password. The count moves now, whenever the answer is sent."""
        account = self._account(username, device)
        if right and self.mode != "refuse_all" and account not in self._locked:
            self._streak[account] = 0
            return True
        now = time.monotonic()
        if self.window is not None and now - self._refused_at.get(account, now) > self.window:
            self._streak[account] = 0
        self._refused_at[account] = now
        self.refusals += 1
        self.refused_by_user[username] += 1
        self._streak[account] += 1
        self.worst_streak[username] = max(self.worst_streak[username], self._streak[account])
        if self._streak[account] >= self.threshold and account not in self._locked:
            self._locked.add(account)
            self._lockouts.append(account)
        return False

    def _account(self, username: str, device: str) -> str:
        return username if self.central else f"{username}@{device}"
