"""The lockout guard of a run: hands out permits to send secrets, one desk for each account.

The rules are ``credentials.lockout``; here is what waits. At any moment one guard drives an account, whoever else
shares the database: it holds the account's state in memory, decides without asking anybody, and writes down what it
knows while it drives and when it lets go (``ports.GuardBook``).

A device passes a desk in three steps: it is admitted (before it connects, so that no more devices connect than permits
can follow), it asks for a permit (when it wants the secret), and it gives the permit back with the verdict.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType

from netraven.collect import moments
from netraven.collect.admission import Admission, Withheld
from netraven.collect.desk import AccountName, Desk, Waiting
from netraven.collect.driving import TEND, Driving
from netraven.collect.floor import Floor
from netraven.collect.places import Places
from netraven.collect.realm_watch import RealmWatch
from netraven.collect.visit import Visit
from netraven.credentials.evidence import Knowledge
from netraven.credentials.holds import secret_key
from netraven.credentials.lockout import LAST_COLD, Ask, Decision, Flight, May, Policy
from netraven.credentials.moments import MomentClock
from netraven.errors import DatabaseError
from netraven.events import events
from netraven.model import Credential, Device, SkipReason, Target, Verdict
from netraven.ports import GuardBook

_log = events("netraven.collect")

SUCCESSOR = 1.0
"""Seconds that a pile-up waits for a device to offer the account's other secret before a control login is made."""
TARGETS = 3
"""Devices that a control login is tried at, where nothing could be sent to the first ones."""

RECENT = 16
"""Devices that a secret opened lately, of those the free ones are asked first: who is in session is not disturbed."""
IN_SESSION = 10.0
"""Seconds that a control login waits for a device that is in session."""

LogIn = Callable[[Target, Credential, Admission], Awaitable[Verdict | None]]
"""Logs in and out; the verdict, None where nothing was sent."""
FindProven = Callable[[Credential], Awaitable[Sequence[Target]]]
"""Devices that this very secret opened, the latest first."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. ``login``: the longest that a permit is out. ``grace``: how long servers wait for a login; OpenSSH and
    Cisco wait 120 unless told, hardening guides ask for 30 to 60.
    """

    login: float = 20.0
    grace: float = 30.0


class Guard:
    """Permits for the secrets of one run. An async context manager.

    ``rules``: what is known of a realm. ``floor``: what this run shares with others of the process.
    """

    def __init__(  # noqa: PLR0913 - its parts, each by name
        self,
        book: GuardBook,
        credentials: Iterable[Credential],
        *,
        rules: Callable[[str], Policy],
        holder: str,
        knowledge: Knowledge,
        find_proven: FindProven,
        patience: Patience = Patience(),
        now: MomentClock = moments.now,
        floor: Floor | None = None,
    ) -> None:
        self.now = now
        self._floor = floor or Floor()
        self._grace = patience.grace
        self.log_in: LogIn | None = None
        self._rules = rules
        self._knowledge = knowledge
        self._find_proven = find_proven
        self._credentials = {secret_key(c): c for c in credentials}
        self._proven: dict[str, deque[Target]] = {}
        self._tending: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._changed: Callable[[], None] = lambda: None
        self._driving = Driving(
            book,
            holder,
            login_seconds=patience.login,
            now=now,
            spawn=self._spawn,
            rivals=self._secrets_of,
        )
        self._realms = RealmWatch(
            book,
            self._driving,
            self._credentials,
            now=now,
            spawn=self._spawn,
            desk_of=lambda name: self._driving.desk(name, rules(name[0])),
            probe_with=self._control,
        )

    def _secrets_of(self, name: AccountName) -> list[str]:
        """Every secret that could be offered for the account."""
        return [key for key, credential in self._credentials.items() if credential.account == name]

    def tell(
        self,
        *,
        changed: Callable[[], None] | None = None,
        confirmed: Callable[[Device, Credential], None] | None = None,
        noticed: Callable[[str, Mapping[str, object]], None] | None = None,
    ) -> None:
        """Who is told what: ``changed``, when a device that had to wait may be worth another look; ``confirmed``,
        when a doubtful refusal turns out to be the secret's own; ``noticed``, what a person should know.
        """
        if changed is not None:
            self._changed = self._driving.changed = self._realms.changed = changed
        if confirmed is not None:
            self._realms.confirmed = confirmed
        if noticed is not None:
            self._realms.noticed = noticed

    # ---- life

    async def __aenter__(self) -> Guard:
        await self._realms.read()
        self._tending = asyncio.create_task(self._tend(), name="netraven-guard")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        tasks = [task for task in (self._tending, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        with contextlib.suppress(DatabaseError):  # a pause that is not on record is found out again
            await self._realms.write()
        await self._driving.close()

    async def _tend(self) -> None:
        failing = False
        while True:
            await asyncio.sleep(TEND)
            try:
                await self._driving.tend()
                await self._realms.tend()
                failing = False
            except DatabaseError as error:  # the recorder is who notices a lost database
                if not failing:
                    failing = True
                    _log.error("guard_not_kept", error=str(error))
            except Exception:  # noqa: BLE001 - leases have to be renewed whatever else goes wrong
                _log.exception("guard_not_kept")
            for desk in self._driving.desks.values():
                self._pump(desk)

    # ---- admission

    def consider(
        self, visit: Visit, credential: Credential, *, alternatives: bool, alone: bool
    ) -> Admission | AccountName:
        """Let the device connect with this credential, or name the account whose desk it has to wait at.

        ``alternatives``: others could go first. ``alone``: there is no other that has not been tried. Raises
        :class:`Withheld` where the secret is not to be offered to this device now.
        """
        try:
            place = self._place(visit, credential, alternatives=alternatives, alone=alone)
        except Withheld:
            self.left(visit)
            raise
        if place != visit.parked_at:
            self.left(visit)
        return place

    def left(self, visit: Visit) -> None:
        """The device does not wait outside any more: the next one is called."""
        if visit.parked_at is not None:
            self._driving.desks[visit.parked_at].news += 1
            visit.parked_at = None
            visit.moves += 1
            self._changed()

    def _place(
        self, visit: Visit, credential: Credential, *, alternatives: bool, alone: bool
    ) -> Admission | AccountName:
        policy = self._rules(credential.realm)
        ask = self._ask(visit, credential, alternatives=alternatives, alone=alone)
        if policy.local:
            self._check_local(visit, credential, policy)
            return Admission(self, visit, credential, ask, None)
        realm, desk = self._realms.realm(credential.realm), self._driving.desk(credential.account, policy)
        if realm.paused and not realm.may_tell(desk.name):
            raise realm.withheld()
        if desk.account is None or desk.leaving or self._driving.lapsing(desk):
            self._driving.want(desk)
            return desk.name
        decision = desk.account.decide(ask, self.now())
        if decision.may in (May.HELD, May.LATER):
            raise self._withheld(desk, ask, decision)
        others_first = desk.parked > 0 and visit.called_by != desk.name and not ask.fallback
        if others_first or not desk.has_room(ask):
            return desk.name
        if realm.paused:
            realm.asking = desk.name
        desk.admitted += 1
        return Admission(self, visit, credential, ask, desk)

    async def opening(self, name: AccountName) -> bool:
        """Wait while the book is asked for the account for the first time; False where it has answered before."""
        desk = self._driving.desks[name]
        if desk.asked.is_set():
            return False
        await desk.asked.wait()
        return True

    def must_wait(self, visit: Visit, name: AccountName) -> bool:
        """Whether a device that has credentials of this account only waits outside, whatever they are."""
        desk = self._driving.desks.get(name)
        return desk is not None and desk.parked > 0 and visit.called_by != name and not visit.refused

    def parked(self, name: AccountName, change: int) -> None:
        """So many more devices wait outside, at the account's desk."""
        self._driving.desks[name].parked += change

    def news(self, name: AccountName) -> int:
        """A number that grows whenever a device that waits outside may have better luck."""
        desk = self._driving.desks[name]
        self._driving.want(desk)
        return desk.news

    def local_places(self, realm: str) -> Places:
        """How many secrets of a realm without a common budget may be on their way."""
        return self._floor.local_places(realm, self._rules(realm).most_in_flight)

    def settle(self, visit: Visit | None = None) -> None:
        """Nothing more is coming that could tell: what is still doubtful was the secrets' own fault. ``visit``: of
        this device only.
        """
        self._realms.settle(visit)

    def closed_doors(self) -> frozenset[str]:
        """What keeps devices waiting and may open again."""
        return self._realms.closed_doors()

    def wait_left(self) -> float | None:
        """Seconds until the first of them may; None where nothing in this run can open any."""
        return self._realms.wait_left()

    def _ask(self, visit: Visit, credential: Credential, *, alternatives: bool, alone: bool) -> Ask:
        pair = visit.pair(credential)
        refused = [other for other in visit.refused_credentials if other.key != credential.key]
        return Ask(
            secret=secret_key(credential),
            proven_here=pair is not None and pair.proven,
            known=self._knowledge.opens_something(credential),
            alternatives=alternatives,
            last_hope=alone and any(self._knowledge.opens_something(other) for other in refused),
            fallback=any(other.account == credential.account for other in refused),
        )

    def _check_local(self, visit: Visit, credential: Credential, policy: Policy) -> None:
        """Each device counts for itself: never the same refused secret twice within the window, nor too many."""
        if not (visit.target.history or visit.target.unaccepted or visit.unaccepted):
            return
        now, account = self._knowledge.of(visit.target).now, credential.account

        def within(at: datetime) -> bool:
            return (now - at).total_seconds() < policy.window

        own = {c.id for c in self._credentials.values() if c.account == account}
        opened = [p.last_success for p in visit.target.history if p.credential_id in own and p.last_success]
        if any(
            (pair.credential_id, pair.secret_version) == (credential.id, credential.secret_version)
            and not pair.proven
            and within(pair.last_verdict_at)
            for pair in visit.target.history
        ):
            raise Withheld(None, refused=True)
        last = max(opened, default=None)
        recent = visit.unaccepted[account] + sum(
            (failed.realm, failed.username) == account
            and within(failed.at)
            and (last is None or failed.at > last)
            for failed in visit.target.unaccepted
        )
        if recent >= policy.budget:
            raise Withheld(
                SkipReason.HELD,
                f"{recent} secrets of user {credential.username} were not accepted here, the device locks it at "
                f"{policy.threshold}",
                seconds=policy.window,
                final=True,
            )

    def _withheld(self, desk: Desk, ask: Ask, decision: Decision) -> Withheld:
        if decision.may is May.LATER:
            return Withheld(None, later=True)
        name = self._credentials[ask.secret].name
        state = desk.account.secrets.get(ask.secret) if desk.account is not None else None
        cold = state is not None and not state.worked and state.refused >= LAST_COLD
        return Withheld(
            SkipReason.HELD,
            f"credential {name} is held: {decision.why}",
            seconds=0.0 if cold else decision.seconds,
            final=cold and not self._may_open_yet(ask.secret),
        )

    def _may_open_yet(self, key: str) -> bool:
        """Whether a secret that opened nothing so far may turn out to be what is left at devices that others refuse."""
        return any(
            other != key and self._knowledge.opens_something(credential)
            for other, credential in self._credentials.items()
        )

    # ---- permits

    async def permit(self, desk: Desk, admission: Admission) -> Flight:
        """Wait for a permit, no longer than the device is going to wait for its login."""
        waiting = Waiting(admission, asyncio.get_running_loop().create_future(), self.now().tick)
        desk.waiting.append(waiting)
        self._pump(desk)
        left = max(0.1, self._grace * 0.8 - (waiting.since - admission.opened))
        try:
            async with asyncio.timeout(left):
                flight = await waiting.answer
        except TimeoutError:
            self._take_back(desk, waiting)
            raise Withheld(None, "no permit came before the device would have hung up") from None
        except asyncio.CancelledError:
            self._take_back(desk, waiting)
            raise
        desk.measure(self.now().tick - waiting.since, self._grace)
        return flight

    def stands(self, desk: Desk, flight: Flight) -> bool:
        """Whether a secret may still be sent under a permit that was given some time ago."""
        account = desk.account
        flying = account is not None and account.flights.get(flight.number) is flight
        return flying and not self._driving.lapsing(desk)

    def _take_back(self, desk: Desk, gone: Waiting) -> None:
        """Whoever asked has gone; a permit that was just given to it is given back."""
        desk.waiting = deque(one for one in desk.waiting if one is not gone)
        answer = gone.answer
        if answer.done() and not answer.cancelled() and answer.exception() is None:
            self._landed(desk, answer.result())
        answer.cancel()

    def _landed(self, desk: Desk, flight: Flight, verdict: Verdict | None = None) -> None:
        """A permit is given back: with a verdict, or unused. Twice is harmless."""
        if flight.landed:
            return
        flight.landed = True
        self._floor.flights[desk.realm] -= 1
        if desk.account is not None:  # else another guard drives it, and has counted this one already
            if verdict is None:
                desk.account.withdraw(flight)
            else:
                desk.account.conclude(flight, verdict, self.now())

    def accepted(self, desk: Desk, admission: Admission) -> None:
        """The service accepted the secret: its count for the account is back at nothing."""
        if admission.flight is None:
            return
        if not desk.works(admission.ask):  # no canary any more: many may come
            desk.news += 1
            desk.warm_up()
        self._landed(desk, admission.flight, Verdict.ACCEPTED)
        if admission.ask.fallback:
            self._superseded(desk, admission)
        targets = self._proven.setdefault(admission.ask.secret, deque(maxlen=RECENT))
        targets.appendleft(admission.visit.target)
        self._realms.succeeded(desk, admission)
        self._pump_realm(desk)

    def failed(self, desk: Desk, admission: Admission, verdict: Verdict) -> bool:
        """Refused, or not answered. False: whether that was the secret's fault remains to be seen."""
        if admission.flight is None:
            return True
        worked = desk.works(admission.ask)
        self._landed(desk, admission.flight, verdict)
        teaches = self._realms.failed(desk, admission, verdict, worked=worked)
        desk.news += 1
        self._pump_realm(desk)
        self._changed()
        return teaches

    def closed(self, desk: Desk, admission: Admission) -> None:
        """The login is over."""
        realm = self._realms.realm(desk.realm)
        if realm.asking == desk.name:
            realm.asking = None
            self._realms.stir(realm)
        if not admission.control:
            desk.admitted -= 1
        if admission.flight is not None:
            self._landed(desk, admission.flight)
        desk.news += 1
        self._pump(desk)
        self._changed()

    def _pump_realm(self, desk: Desk) -> None:
        """A permit came back: the account's next one, and the next of accounts that the realm's limit kept waiting."""
        self._pump(desk)
        if self._floor.flights[desk.realm] + 1 >= desk.policy.most_in_flight:
            for other in self._driving.of_realm(desk.realm):
                if other is not desk:
                    self._pump(other)

    def _pump(self, desk: Desk) -> None:
        """Grant what may be granted, in the order in which devices asked."""
        account = desk.account
        if account is None or not desk.waiting or self._driving.lapsing(desk):
            return
        now, control, flights = self.now(), "", self._floor.flights
        kept: deque[Waiting] = deque()
        in_vain: set[Ask] = set()  # grants only make it fuller: who asks the same has the same answer
        while desk.waiting:
            waiting = desk.waiting.popleft()
            if waiting.answer.done():
                continue
            ask = waiting.admission.ask
            if ask in in_vain:
                kept.append(waiting)
                continue
            decision = account.decide(ask, now)
            if decision.may is May.GRANT and flights[desk.realm] < desk.policy.most_in_flight:
                waiting.answer.set_result(account.grant(ask))
                flights[desk.realm] += 1
                desk.piled_up_at = None
            elif decision.may in (May.HELD, May.LATER):
                waiting.answer.set_exception(self._withheld(desk, ask, decision))
            else:
                control = control or decision.secret
                in_vain.add(ask)
                kept.append(waiting)
        desk.waiting = kept
        if control and desk.controlling is None and not self._closing:
            self._soon_control(desk, control, now.tick)

    # ---- control logins

    def _soon_control(self, desk: Desk, key: str, tick: float) -> None:
        account = desk.account
        if account is None:
            return
        if desk.piled_up_at is None:
            desk.piled_up_at = tick
        left = 0.0
        if account.awaits_successor():
            left = max(0.0, SUCCESSOR - (tick - desk.piled_up_at))
        desk.controlling = self._spawn(self._control_later(desk, key, left))

    async def _control_later(self, desk: Desk, key: str, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
            account = desk.account
            if account is None or account.flights or not account.refusals:
                return
            if await self._control(desk, key) is None and desk.account is not None:
                desk.account.controlled = True  # there is nobody to ask
        finally:
            desk.controlling, desk.piled_up_at = None, None
            desk.news += 1
            self._pump(desk)
            self._changed()

    async def _proven_targets(self, key: str, credential: Credential) -> Sequence[Target]:
        """Where a control login may be made: what the secret opened in this run, then what it opened before."""
        recent = list(self._proven.get(key, ()))
        known = {target.device.name for target in recent}
        if sum(not self._in_session(target) for target in recent) < TARGETS:
            recent += [t for t in await self._find_proven(credential) if t.device.name not in known]
        return sorted(recent, key=self._in_session)[:TARGETS]

    def _in_session(self, target: Target) -> bool:
        return target.device.name in self._floor.in_session

    async def _control(self, desk: Desk, key: str) -> bool | None:
        """Log in to a device that this very secret opened. None where nothing could be sent."""
        credential = self._credentials.get(key)
        if credential is None or self.log_in is None:
            return None
        for target in await self._proven_targets(key, credential):
            if self._in_session(
                target
            ):  # it may be there because it waits for a permit, which waits for this login
                desk.turn_away(Withheld(None, "a control login goes first"))
            if not await self._floor.enter_in_time(target.device, IN_SESSION):
                continue
            try:
                if desk.account is None or self._driving.lapsing(desk):
                    return None
                ask = Ask(key, proven_here=True, known=True)
                flight = desk.account.grant_control(ask, self.now())
                if flight is None:
                    return None
                verdict = await self._control_at(desk, target, ask, flight)
            finally:
                self._floor.leave(target.device)
            if verdict is not None:
                return verdict is Verdict.ACCEPTED
        return None

    async def _control_at(self, desk: Desk, target: Target, ask: Ask, flight: Flight) -> Verdict | None:
        credential, log_in = self._credentials[ask.secret], self.log_in
        if log_in is None:
            return None
        self._floor.flights[desk.realm] += 1
        admission = Admission(self, Visit(target, time.monotonic), credential, ask, desk, flight=flight)
        try:
            return await log_in(target, credential, admission)
        finally:
            admission.close()

    def _superseded(self, desk: Desk, admission: Admission) -> None:
        """A device took another secret of the account than the one that it has just refused: so will others."""
        if desk.account is None:
            return
        for other in admission.visit.refused_credentials:
            key = secret_key(other)
            state = desk.account.secrets.get(key)
            if other.account == desk.name and state is not None and state.proven and state.refused > 1:
                state.proven = False
                _log.info("secret_superseded", credential=other.name, version=other.secret_version)

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("guard_task_failed", error=f"{type(error).__name__}: {error}")
