"""The way into a device: which credential, may it be offered, what came of it; the same for whatever is done inside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from netraven.collect.admission import Withheld
from netraven.collect.guard import Guard
from netraven.collect.later import Doubtful, Parked, Put
from netraven.collect.login import NextOffer, Offer, Record, RecordedLogin
from netraven.collect.round import Round
from netraven.collect.visit import Visit
from netraven.credentials.matching import CredentialIndex
from netraven.errors import AuthNoVerdict, AuthRefused, InternalFault, NoMethod, SecretUnreadable
from netraven.events import events
from netraven.model import Choice, Credential, Logged, Secret, SkipReason, utcnow
from netraven.ports import Secrets, Strategy

_log = events("netraven.collect")
T = TypeVar("T")

REFUSED = "the device refused the secret"
"""What a refusal says when there is nothing more to say."""

Use = Callable[[Visit, Offer, Round], Awaitable[T]]
"""What is done with an offer: log in with it, and then what there is to do."""


class Entrance:
    """Lets a run into devices."""

    def __init__(
        self,
        credentials: CredentialIndex,
        strategy: Strategy,
        secrets: Secrets,
        guard: Guard,
        record: Record,
    ) -> None:
        self.final = False
        """Nothing is waited for any more: what is still kept back becomes the device's outcome."""
        self._credentials = credentials
        self._strategy = strategy
        self._secrets = secrets
        self._guard = guard
        self._record = record
        self._unreadable: set[tuple[str, int]] = set()

    async def through(self, visit: Visit, use: Use[T]) -> T | None:
        """Offer one credential after the other, in the strategy's order and under the guard, and ``use`` what opens.

        None where no credential may be offered at all. Raises ``DeviceFailure``, :class:`Put` and ``Withheld``.
        """
        visit.excused = False
        choices = await self._choices(visit)
        round_ = Round(visit, choices, utcnow())
        while (choice := round_.next()) is not None:
            try:
                offer = await self._offer(visit, choice, round_)
                if offer is not None:
                    return await use(visit, offer, round_)
            except Withheld as why:
                if (
                    why.reason is None and not why.later and not why.refused
                ):  # no permit in time: it asks again
                    raise Put(Parked(visit, choice.credential.account)) from None
                round_.keep_back(choice, why)
            except AuthRefused as failure:
                round_.said = "" if failure.detail == REFUSED else f"; {failure.detail}"
            except AuthNoVerdict as failure:
                if not round_.only_break_glass(failure) and not visit.excused:
                    raise
            except NoMethod as failure:  # a key where passwords are wanted, or the other way round
                round_.unusable = failure
        self._nothing_left(visit, round_, any_choice=bool(choices))
        return None

    def _nothing_left(self, visit: Visit, round_: Round, *, any_choice: bool) -> None:
        """Every choice was made, or is kept back; returns where there was none, else says by an exception."""
        if visit.excused:
            raise Withheld(
                SkipReason.REALM_PAUSED, "the AAA service that judges the device's secrets looks unwell"
            )
        if round_.no_verdict is not None:
            raise round_.no_verdict
        if visit.doubts and not self.final:
            raise Put(Doubtful(visit))
        if round_.withheld:
            raise min(round_.withheld, key=lambda why: (why.final, why.seconds))
        before = len(round_.backed_off) + round_.refused_before
        if not any_choice or not (visit.refused or round_.unusable or before):
            return
        if round_.unusable is not None and not visit.refused:
            raise round_.unusable
        if before and not visit.refused:
            until = min((c.not_before for c in round_.backed_off if c.not_before is not None), default=None)
            when = "" if until is None else f" before {until:%Y-%m-%d %H:%M} UTC"
            raise Withheld(
                SkipReason.REFUSED_BEFORE,
                f"refused every credential that matches, not long ago; not offered again{when} unless it is changed",
                final=True,
            )
        raise AuthRefused(f"credentials exhausted ({len(visit.refused)} offered){round_.said}")

    async def _choices(self, visit: Visit) -> Sequence[Choice]:
        candidates = self._credentials.matching(visit.device)
        if not candidates:
            return ()
        accounts = {candidate.account for candidate in candidates}
        if len(accounts) == 1 and self._guard.must_wait(visit, candidates[0].account):
            raise Put(Parked(visit, candidates[0].account))
        evidence = self._record.knowledge.of(visit.target)
        choices = await self._strategy.rank(visit.device, candidates, evidence)
        allowed = {candidate.key for candidate in candidates}
        return [choice for choice in choices if choice.credential.key in allowed]

    async def _offer(self, visit: Visit, choice: Choice, round_: Round) -> Offer | None:
        """The offer with its place at the desk; None where the secret cannot be read. Raises ``Withheld``."""
        secret = await self.reveal(choice.credential)
        if secret is None:
            return None
        how = {"alternatives": round_.alternatives, "alone": round_.alone}
        place = self._guard.consider(visit, choice.credential, **how)
        if isinstance(place, tuple) and await self._guard.opening(place):
            place = self._guard.consider(visit, choice.credential, **how)
        if isinstance(place, tuple):
            raise Put(Parked(visit, place))
        return Offer(choice, secret, place)

    def _next_on_connection(self, visit: Visit, round_: Round) -> NextOffer:
        """What may follow on the same connection: the same user's next password, if nothing keeps it back."""
        tries = 1

        async def following(refused: Offer) -> Offer | None:
            nonlocal tries
            most = visit.target.tries_per_connection
            if most is not None and tries >= most:
                return None
            choice = round_.next_for(refused.choice.credential)
            if choice is None:
                return None
            try:
                offer = await self._offer(visit, choice, round_)
            except (Withheld, Put):
                offer = None
            if offer is None or offer.secret.password is None or offer.secret.has_key:
                if offer is not None:
                    offer.admission.close()
                round_.put_back(choice)
                return None
            refused.admission.close()
            tries += 1
            return offer

        return following

    async def reveal(self, credential: Credential) -> Secret | None:
        """The secret, or None where it cannot be read: that is logged once and costs only this credential."""
        if credential.key in self._unreadable:
            return None
        try:
            return await self._secrets.reveal(credential)
        except SecretUnreadable as error:
            if credential.key in self._unreadable:  # other devices asked at the same time
                return None
            self._unreadable.add(credential.key)
            _log.error("secret_unreadable", credential=credential.name, error=str(error))
            data = {"credential": credential.name, "detail": str(error)}
            self._record.recorder.post(
                Logged(self._record.run_id, utcnow(), "error", "secret_unreadable", data=data)
            )
            return None

    @asynccontextmanager
    async def logging_in(self, visit: Visit, offer: Offer, round_: Round) -> AsyncIterator[RecordedLogin]:
        """A login with everything that can come of it put on record, and its place at the desk given back."""
        login = RecordedLogin(visit, offer, self._record, self._next_on_connection(visit, round_))
        try:
            yield login
        except asyncio.CancelledError:
            visit.stage = "session" if login.succeeded else "offered" if login.offered else "before"
            login.abandon("interrupted")
            raise
        except AuthRefused:
            _log.info(
                "credential_refused", device=visit.device.name, credential=login.offer.choice.credential.name
            )
            raise
        except BaseException:
            login.abandon(InternalFault.reason)  # nothing stays open on record, whatever the transport did
            raise
        finally:
            login.offer.admission.close()

    def why_none(self, visit: Visit) -> str:
        matching = len(self._credentials.matching(visit.device))
        if not matching:
            return "no credential shares a tag with the device"
        return f"{matching} credential{'s' if matching > 1 else ''} match, none could be offered; see the log"
