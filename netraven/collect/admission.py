"""A device's place at an account's desk: from before it connects until its verdict is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netraven.credentials.lockout import Ask, Flight
from netraven.model import Credential, SkipReason, Verdict

if TYPE_CHECKING:
    from netraven.collect.desk import Desk
    from netraven.collect.guard import Guard
    from netraven.collect.places import Places
    from netraven.collect.visit import Visit


class Withheld(Exception):
    """Nothing was sent: the guard keeps the secret back.

    ``reason`` is None where it is only for now: another credential goes first (``later``), or the device is to come
    again; or where this device has refused it not long ago (``refused``). ``seconds``: how long it holds; ``final``:
    nothing that can happen in this run ends it.
    """

    def __init__(
        self,
        reason: SkipReason | None,
        why: str = "",
        *,
        seconds: float = 0.0,
        later: bool = False,
        refused: bool = False,
        final: bool = False,
    ) -> None:
        super().__init__(why)
        self.reason = reason
        self.why = why
        self.seconds = seconds
        self.later = later
        self.refused = refused
        self.final = final


class Admission:
    """May connect, and asks for its permit once the device wants the secret.

    Exactly one of :meth:`accepted` and :meth:`failed` follows a permit; :meth:`close` in any case. Without a desk
    (``local`` realms, where each device counts for itself) only the realm's limit on logins in flight is waited for.
    """

    def __init__(
        self,
        guard: Guard,
        visit: Visit,
        credential: Credential,
        ask: Ask,
        desk: Desk | None,
        *,
        flight: Flight | None = None,
    ) -> None:
        self.visit = visit
        self.credential = credential
        self.ask = ask
        self.flight = flight
        self.opened = guard.now().tick
        self.sent = self.opened
        self._guard = guard
        self._desk = desk
        self._local: Places | None = None
        self._closed = False

    @property
    def control(self) -> bool:
        """Whether this login only asks how the account is."""
        return self.flight is not None and self.flight.control

    @property
    def alone(self) -> bool:
        """Whether this login holds up all others of its account: a control login, or a canary."""
        return self._desk is not None and (self.control or not self._desk.works(self.ask))

    async def permit(self) -> None:
        """Wait until the secret may be sent. Raises :class:`Withheld` where it may not."""
        if self._desk is None:
            places = self._guard.local_places(self.credential.realm)
            await places.acquire()
            self._local = places
        elif self.flight is None:
            self.flight = await self._guard.permit(self._desk, self)
        self.sent = self._guard.now().tick

    @property
    def stands(self) -> bool:
        """Whether the permit still holds: while its holder waits, the lease on the account may end."""
        return self._desk is None or self.flight is None or self._guard.stands(self._desk, self.flight)

    def accepted(self) -> None:
        self._give_back_place()
        if self._desk is not None:
            self._guard.accepted(self._desk, self)

    def failed(self, verdict: Verdict) -> bool:
        """The secret was refused or not answered. Whether its own fault is what it says: see ``Guard.failed``."""
        self._give_back_place()
        return self._desk is None or self._guard.failed(self._desk, self, verdict)

    def close(self) -> None:
        """The login is over, however it ended. Twice is harmless."""
        self._give_back_place()
        if not self._closed and self._desk is not None:
            self._closed = True
            self._guard.closed(self._desk, self)

    def _give_back_place(self) -> None:
        if self._local is not None:
            self._local.release()
            self._local = None
