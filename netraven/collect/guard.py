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
from dataclasses import dataclass, field
from types import TracebackType

from netraven.collect import moments
from netraven.collect.admission import Admission, Withheld
from netraven.collect.visit import Visit
from netraven.credentials.evidence import Knowledge
from netraven.credentials.lockout import LAST_COLD, Account, Ask, Decision, Flight, May, Policy
from netraven.credentials.moments import MomentClock
from netraven.credentials.realm_health import Failure, Pause, RealmHealth
from netraven.errors import DatabaseError
from netraven.events import events
from netraven.model import Credential, Device, SkipReason, Target, Verdict
from netraven.ports import GuardBook

_log = events("netraven.collect")

TEND = 0.25
"""Seconds between two looks at who else waits for an account."""
SLICE = 1.0
"""Seconds that a guard drives an account at least before it lets another one have it."""
GRACE = 30.0
"""Seconds that an SSH server is taken to wait for a login: OpenSSH and Cisco wait 120 unless told, hardening guides
ask for 30 to 60."""
WARM_ROOM = 32.0
"""Devices at a desk once a secret has succeeded; more as long as permits come quickly, fewer when they do not."""
SUCCESSOR = 1.0
"""Seconds that a pile-up waits for a device to offer the account's other secret before a control login is made."""
TARGETS = 3
"""Devices that a control login is tried at, where nothing could be sent to the first ones."""

AccountName = tuple[str, str]
LogIn = Callable[[Target, Credential, Admission], Awaitable[Verdict | None]]
"""Logs in and out; the verdict, None where nothing was sent."""
FindProven = Callable[[Credential], Awaitable[Sequence[Target]]]
"""Devices that this very secret opened, the latest first."""


@dataclass(eq=False)
class Desk:
    """One account as this guard sees it."""

    name: AccountName
    policy: Policy
    room: float
    """How many devices may be on their way to a permit, or wait for one."""
    parked: int = 0
    news: int = 0
    account: Account | None = None
    """None while another guard drives it."""
    leaving: bool = False
    lease_ends: float = 0.0
    taken_at: float = 0.0
    admitted: int = 0
    by_secret: dict[str, int] = field(default_factory=dict)
    waiting: deque[tuple[Admission, asyncio.Future[Flight], float]] = field(default_factory=deque)
    taking: asyncio.Task[None] | None = None
    controlling: asyncio.Task[None] | None = None
    piled_up_at: float | None = None


@dataclass(eq=False)
class _Doubt:
    """A refusal of a secret that opens other devices: the secret's fault or the service's, that is not known yet."""

    visit: Visit
    credential: Credential
    tick: float


@dataclass(eq=False)
class _Realm:
    name: str
    health: RealmHealth = field(default_factory=RealmHealth)
    doubts: list[_Doubt] = field(default_factory=list)
    suspects: dict[AccountName, str] = field(default_factory=dict)
    """The accounts whose failures led to the pause, and the secret that failed."""
    asking: AccountName | None = None
    """The other account that is being tried, to see whether the realm is well."""
    in_flight: int = 0
    probe: asyncio.Task[None] | None = None
    unwritten: bool = False
    """Whether the pause, or its end, is not on record yet."""


class Guard:
    """Permits for the secrets of one run. An async context manager.

    ``rules``: what is known of a realm. ``login_seconds``: the longest that a permit is out. ``changed`` is called when
    a device that had to wait may be worth another look, ``confirmed`` when a doubtful refusal turns out to be the
    secret's own, ``noticed`` with what a person should know.
    """

    def __init__(
        self,
        book: GuardBook,
        credentials: Iterable[Credential],
        *,
        rules: Callable[[str], Policy],
        holder: str,
        knowledge: Knowledge,
        find_proven: FindProven,
        login_seconds: float = 20.0,
        now: MomentClock = moments.now,
    ) -> None:
        self.now = now
        self.changed: Callable[[], None] = lambda: None
        self.confirmed: Callable[[Device, Credential], None] = lambda _device, _credential: None
        self.noticed: Callable[[str, Mapping[str, object]], None] = lambda _event, _data: None
        self.log_in: LogIn | None = None
        self._book = book
        self._rules = rules
        self._holder = holder
        self._knowledge = knowledge
        self._find_proven = find_proven
        self._lease = login_seconds + 40.0
        self._login_seconds = login_seconds
        self._credentials = {secret_key(c): c for c in credentials}
        self._desks: dict[AccountName, Desk] = {}
        self._realms: dict[str, _Realm] = {}
        self._proven: dict[str, deque[Target]] = {}
        self._tending: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    # ---- life

    async def __aenter__(self) -> Guard:
        for realm, state in (await self._book.pauses()).items():
            self._realm(realm).health.pause = Pause.from_json(state)
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
        with contextlib.suppress(DatabaseError):  # leases end by themselves, and the ledger knows the rest
            await self._write_pauses()
            for desk in self._desks.values():
                if desk.account is not None:
                    await self._book.keep(desk.name, self._holder, desk.account.dump(), None)
                desk.account = None

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
            self._desks[visit.parked_at].news += 1
            visit.parked_at = None
            visit.moves += 1
            self.changed()

    def _place(
        self, visit: Visit, credential: Credential, *, alternatives: bool, alone: bool
    ) -> Admission | AccountName:
        policy = self._rules(credential.realm)
        ask = self._ask(visit, credential, alternatives=alternatives, alone=alone)
        if policy.local:
            self._check_local(visit, credential, policy)
            return Admission(self, visit, credential, ask, None)
        realm = self._realm(credential.realm)
        desk = self._desk(credential.account, policy)
        if realm.health.pause is not None and not self._may_tell(realm, desk):
            raise self._paused(realm)
        if desk.account is None or desk.leaving or self._lapsing(desk):
            self._want(desk)
            return desk.name
        decision = desk.account.decide(ask, self.now())
        if decision.may in (May.HELD, May.LATER):
            raise self._withheld(desk, ask, decision)
        others_first = desk.parked > 0 and visit.called_by != desk.name and not ask.fallback
        if others_first or not self._has_room(desk, ask):
            return desk.name
        if realm.health.pause is not None:
            realm.asking = desk.name
        desk.admitted += 1
        desk.by_secret[ask.secret] = desk.by_secret.get(ask.secret, 0) + 1
        return Admission(self, visit, credential, ask, desk)

    def parked(self, name: AccountName, change: int) -> None:
        """So many more devices wait outside, at the account's desk."""
        self._desks[name].parked += change

    def news(self, name: AccountName) -> int:
        """A number that grows whenever a device that waits outside may have better luck."""
        desk = self._desks[name]
        if desk.account is None:
            self._want(desk)
        return desk.news

    @staticmethod
    def works(desk: Desk, ask: Ask) -> bool:
        """Whether the secret is known to open devices."""
        state = desk.account.secrets.get(ask.secret) if desk.account is not None else None
        return ask.known if state is None else state.proven

    def _has_room(self, desk: Desk, ask: Ask) -> bool:
        if not self.works(desk, ask) and desk.by_secret.get(ask.secret):
            return False  # a canary is on its way
        return desk.admitted < desk.room or ask.fallback

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

    @staticmethod
    def _may_tell(realm: _Realm, desk: Desk) -> bool:
        """Whether a login by this account may show that a paused realm is well: none of its own has failed there."""
        return bool(realm.suspects) and desk.name not in realm.suspects and realm.asking is None

    def _check_local(self, visit: Visit, credential: Credential, policy: Policy) -> None:
        """Each device counts for itself: never the same refused secret twice within the window, nor too many."""
        now = self._knowledge.of(visit.target).now
        recent = 0
        for pair in visit.target.history:
            owner = self._credentials.get(f"{pair.credential_id}:{pair.secret_version}")
            age = (now - pair.last_verdict_at).total_seconds()
            if owner is None or pair.proven or age >= policy.window or owner.account != credential.account:
                continue
            if owner.key == credential.key:
                raise Withheld(None, refused=True)
            recent += owner.key not in visit.refused
        recent += sum(other.account == credential.account for other in visit.refused_credentials)
        if recent >= policy.budget:
            raise Withheld(
                SkipReason.HELD,
                f"{recent} secrets of user {credential.username} were refused here, the device locks it at "
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

    @staticmethod
    def _paused(realm: _Realm) -> Withheld:
        pause = realm.health.pause
        why = pause.why if pause is not None else ""
        return Withheld(SkipReason.REALM_PAUSED, f"realm {realm.name} looks unwell: {why}")

    # ---- permits

    async def permit(self, desk: Desk, admission: Admission) -> Flight:
        """Wait for a permit, no longer than the device is going to wait for its login."""
        answer: asyncio.Future[Flight] = asyncio.get_running_loop().create_future()
        asked = self.now().tick
        desk.waiting.append((admission, answer, asked))
        self._pump(desk)
        left = max(0.1, GRACE * 0.8 - (asked - admission.opened))
        try:
            async with asyncio.timeout(left):
                flight = await answer
        except TimeoutError:
            self._take_back(desk, answer)
            raise Withheld(None, "no permit came before the device would have hung up") from None
        except asyncio.CancelledError:
            self._take_back(desk, answer)
            raise
        waited = self.now().tick - asked
        if waited < 0.5 and desk.admitted + 1 >= desk.room:
            desk.room += 0.5
        elif waited > GRACE / 6:
            desk.room = max(self._least_room(desk.policy), desk.room * 0.7)
        return flight

    def _take_back(self, desk: Desk, answer: asyncio.Future[Flight]) -> None:
        """Whoever asked has gone; a permit that was just given to it is given back."""
        desk.waiting = deque(item for item in desk.waiting if item[1] is not answer)
        if answer.done() and not answer.cancelled() and answer.exception() is None:
            self._landed(desk, answer.result())
        answer.cancel()

    def _landed(self, desk: Desk, flight: Flight, verdict: Verdict | None = None) -> None:
        """A permit is given back: with a verdict, or unused."""
        if desk.account is not None and desk.account.flights.get(flight.number) is flight:
            realm = self._realm(desk.name[0])
            realm.in_flight -= 1
            if verdict is None:
                desk.account.withdraw(flight)
            else:
                desk.account.conclude(flight, verdict, self.now())

    def accepted(self, desk: Desk, admission: Admission) -> None:
        """The service accepted the secret: it is well, and its count for the account is back at nothing."""
        if desk.account is None or admission.flight is None:
            return
        state = desk.account.secrets.get(admission.ask.secret)
        if state is None or not state.proven:  # no canary any more: many may come
            desk.news += 1
            desk.room = max(desk.room, WARM_ROOM)
        self._landed(desk, admission.flight, Verdict.ACCEPTED)
        if admission.ask.fallback:
            self._superseded(desk, admission)
        targets = self._proven.setdefault(admission.ask.secret, deque(maxlen=TARGETS))
        targets.appendleft(admission.visit.target)
        realm = self._realm(desk.name[0])
        if realm.health.pause is not None:
            if desk.name not in realm.suspects:
                self._blame(realm)
            self._resume(realm)
        realm.health.succeeded()
        self._settle_doubts(realm, before=admission.sent)
        self._pump_realm(desk)

    def failed(self, desk: Desk, admission: Admission, verdict: Verdict) -> bool:
        """Refused, or not answered. False: whether that was the secret's fault remains to be seen."""
        if desk.account is None or admission.flight is None:
            return True
        now, account = self.now(), desk.account
        state = account.secrets.get(admission.ask.secret)
        proven = state is not None and state.proven
        self._landed(desk, admission.flight, verdict)
        realm = self._realm(desk.name[0])
        teaches = True
        if realm.health.pause is not None:  # known to be unwell: what it says is not held against the secret
            admission.visit.excuse(admission.credential)
            teaches = False
        elif proven:
            here = admission.ask.proven_here or admission.control
            realm.health.failed(Failure(admission.visit.device.name, verdict, now, here))
            if verdict is Verdict.REFUSED and not admission.control:
                doubt = _Doubt(admission.visit, admission.credential, now.tick)
                realm.doubts.append(doubt)
                admission.visit.doubts.add(admission.credential.key)
                teaches = False
            self._judge(desk, realm, admission)
            teaches = teaches and realm.health.pause is None
        desk.news += 1
        self._pump_realm(desk)
        self.changed()
        return teaches

    def _blame(self, realm: _Realm) -> None:
        """Another account succeeds: the realm is well, and the secrets that failed are not."""
        for name, key in realm.suspects.items():
            account = self._desks[name].account
            if account is not None:
                account.hold(key, self.now())
                self._say_held(key, account)

    def closed(self, desk: Desk, admission: Admission) -> None:
        realm = self._realm(desk.name[0])
        if realm.asking == desk.name:
            realm.asking = None
            self._stir(realm.name)
        if not admission.control:
            desk.admitted -= 1
            desk.by_secret[admission.ask.secret] -= 1
        if admission.flight is not None:
            self._landed(desk, admission.flight)
        desk.news += 1
        self._pump(desk)
        self.changed()

    def _pump_realm(self, desk: Desk) -> None:
        """A permit came back: the account's next one, and the next of accounts that the realm's limit kept waiting."""
        self._pump(desk)
        if self._realm(desk.name[0]).in_flight + 1 >= desk.policy.most_in_flight:
            for other in self._desks.values():
                if other is not desk and other.name[0] == desk.name[0]:
                    self._pump(other)

    def _pump(self, desk: Desk) -> None:
        """Grant what may be granted, in the order in which devices asked."""
        account = desk.account
        if account is None or not desk.waiting:
            return
        if self._lapsing(desk):
            return  # nothing is sent that another guard could already be counting against
        now, control, realm = self.now(), "", self._realm(desk.name[0])
        kept: deque[tuple[Admission, asyncio.Future[Flight], float]] = deque()
        while desk.waiting:
            admission, answer, asked = desk.waiting.popleft()
            if answer.done():
                continue
            decision = account.decide(admission.ask, now)
            if decision.may is May.GRANT and realm.in_flight < desk.policy.most_in_flight:
                answer.set_result(account.grant(admission.ask))
                realm.in_flight += 1
                desk.piled_up_at = None
            elif decision.may in (May.HELD, May.LATER):
                answer.set_exception(self._withheld(desk, admission.ask, decision))
            else:
                control = control or decision.secret
                kept.append((admission, answer, asked))
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
        if len(account.refusals) < account.policy.budget:  # kept for the account's other secret
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
            self.changed()

    async def _control(self, desk: Desk, key: str) -> bool | None:
        """Log in to a device that this very secret opened. None where nothing could be sent."""
        credential = self._credentials.get(key)
        if credential is None or self.log_in is None:
            return None
        recent = list(self._proven.get(key, ()))
        for target in recent or (await self._find_proven(credential))[:TARGETS]:
            if desk.account is None or self._lapsing(desk):
                return None
            ask = Ask(key, proven_here=True, known=True)
            flight = desk.account.grant_control(ask, self.now())
            if flight is None:
                return None
            self._realm(desk.name[0]).in_flight += 1
            visit = Visit(target, time.monotonic)
            admission = Admission(self, visit, credential, ask, desk, flight=flight)
            try:
                verdict = await self.log_in(target, credential, admission)
            finally:
                admission.close()
            if verdict is not None:
                return verdict is Verdict.ACCEPTED
        return None

    # ---- what verdicts mean beyond their account

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

    def _judge(self, desk: Desk, realm: _Realm, admission: Admission) -> None:
        """After a failure that should not have been one: is it the secret, or the service?"""
        account, now = desk.account, self.now()
        if account is None or realm.health.pause is not None:
            return
        key = admission.ask.secret
        rivals = any(other != key and account.in_play(other) for other in self._rivals(desk.name))
        well = len(realm.health.failures) < len(account.refusals)  # another account succeeded meanwhile
        if admission.control:
            if rivals or well:
                account.hold(key, now)
                self._say_held(key, account)
            else:
                realm.suspects[desk.name] = key
                self._pause(realm)
        elif realm.health.ailing(now) and not rivals:
            realm.suspects[desk.name] = key
            self._pause(realm)

    def _say_held(self, key: str, account: Account) -> None:
        credential = self._credentials[key]
        _log.warning("credential_held", credential=credential.name, realm=credential.realm)
        self.noticed(
            "credential_held",
            {
                "credential": credential.name,
                "why": "refused by a device that it had opened",
                "seconds": round(account.secrets[key].remaining(self.now())),
            },
        )

    def _settle_doubts(self, realm: _Realm, *, before: float) -> None:
        """The service is well: refusals from before the login that shows it are their secrets' own."""
        settled = [doubt for doubt in realm.doubts if doubt.tick <= before]
        realm.doubts = [doubt for doubt in realm.doubts if doubt.tick > before]
        for doubt in settled:
            doubt.visit.doubts.discard(doubt.credential.key)
            self.confirmed(doubt.visit.device, doubt.credential)

    def settle(self) -> None:
        """Nothing more is coming that could tell: what is still doubtful was the secrets' own fault."""
        for realm in self._realms.values():
            if realm.health.pause is None:
                self._settle_doubts(realm, before=self.now().tick)

    # ---- pauses

    def _pause(self, realm: _Realm) -> None:
        now = self.now()
        first = realm.health.pause is None
        pause = realm.health.begin(now, at_least=self._earliest(realm))
        realm.unwritten = True
        for doubt in realm.doubts:  # not the credential's fault: the device is asked again
            doubt.visit.excuse(doubt.credential)
        realm.doubts.clear()
        for desk in self._desks.values():
            if desk.name[0] == realm.name:
                self._turn_away(desk, self._paused(realm))
                desk.news += 1
        _log.warning("realm_paused" if first else "realm_still_paused", realm=realm.name, why=pause.why)
        self.noticed(
            "realm_paused",
            {"realm": realm.name, "why": pause.why, "until": pause.until, "tries": pause.tries},
        )
        self.changed()

    def _earliest(self, realm: _Realm) -> float:
        """Seconds until some account of the realm can bear one more refusal."""
        now = self.now()
        waits = [
            desk.account.blocked(now) if desk.account.spent(now) else 0.0
            for desk in self._desks.values()
            if desk.name[0] == realm.name and desk.account is not None
        ]
        return min(waits, default=0.0)

    def _turn_away(self, desk: Desk, why: Withheld) -> None:
        waiting, desk.waiting = desk.waiting, deque()
        for _, answer, _ in waiting:
            if not answer.done():
                answer.set_exception(Withheld(why.reason, why.why))

    async def _write_pauses(self) -> None:
        for realm in self._realms.values():
            if realm.unwritten:
                realm.unwritten = False
                pause = realm.health.pause
                await self._book.pause(realm.name, None if pause is None else pause.to_json())

    async def _probe(self, realm: _Realm) -> None:
        """One login, to a device and with a secret that are known to work."""
        try:
            for name in self._accounts_of(realm.name):
                desk = self._desk(name, self._rules(realm.name))
                if desk.account is None:
                    await self._take(desk)
                account = desk.account
                if account is None or account.flights or account.spent(self.now()):
                    continue
                for key in self._rivals(name):
                    if await self._control(desk, key) is not None:
                        break
                if realm.health.pause is None:
                    return  # it was accepted
            if realm.health.pause is not None:
                self._pause(realm)
        finally:
            realm.probe = None

    def _resume(self, realm: _Realm) -> None:
        realm.health.pause = None
        realm.health.succeeded()
        realm.suspects.clear()
        realm.unwritten = True
        self._stir(realm.name)
        _log.warning("realm_resumed", realm=realm.name)
        self.noticed("realm_resumed", {"realm": realm.name})
        self.changed()

    def _stir(self, realm: str) -> None:
        for desk in self._desks.values():
            desk.news += desk.name[0] == realm

    def closed_doors(self) -> frozenset[str]:
        """What keeps devices waiting and may end: paused realms, accounts that can bear no refusal, held secrets."""
        now = self.now()
        closed = {f"realm {r.name}" for r in self._realms.values() if r.health.pause is not None}
        for desk in self._desks.values():
            if desk.account is None:
                continue
            if desk.account.refusals and desk.account.blocked(now):
                closed.add(f"account {desk.name}")
            for key, state in desk.account.secrets.items():
                if state.worked and state.remaining(now):
                    closed.add(f"secret {key}")
        return frozenset(closed)

    def wait_left(self) -> float | None:
        """Seconds until something that is kept back may go on; None where nothing in this run can change it."""
        now = self.now()
        waits = [
            max(0.05, realm.health.pause.remaining(now))
            for realm in self._realms.values()
            if realm.health.pause is not None
        ]
        waits += [
            max(0.05, desk.account.blocked(now))
            for desk in self._desks.values()
            if desk.account is not None and desk.account.refusals
        ]
        waits += [
            max(0.05, state.remaining(now))
            for desk in self._desks.values()
            if desk.account is not None
            for state in desk.account.secrets.values()
            if state.worked and state.remaining(now)
        ]
        return min(waits, default=None)

    # ---- driving accounts

    def _desk(self, name: AccountName, policy: Policy) -> Desk:
        desk = self._desks.get(name)
        if desk is None:
            desk = self._desks[name] = Desk(name, policy, self._least_room(policy))
        return desk

    @staticmethod
    def _least_room(policy: Policy) -> float:
        return float(policy.most_in_flight if policy.adaptive else policy.budget + 2)

    def _realm(self, name: str) -> _Realm:
        realm = self._realms.get(name)
        if realm is None:
            realm = self._realms[name] = _Realm(name)
        return realm

    def _rivals(self, name: AccountName) -> list[str]:
        return [key for key, credential in self._credentials.items() if credential.account == name]

    def _accounts_of(self, realm: str) -> list[AccountName]:
        return sorted({c.account for c in self._credentials.values() if c.realm == realm})

    def _lapsing(self, desk: Desk) -> bool:
        """Whether the lease could end before a secret that is sent now has its verdict."""
        return self.now().tick + self._login_seconds + 5.0 > desk.lease_ends

    def _want(self, desk: Desk) -> None:
        if desk.account is None and desk.taking is None and not self._closing:
            desk.taking = self._spawn(self._keep_asking(desk))

    async def _keep_asking(self, desk: Desk) -> None:
        try:
            while desk.account is None:
                await self._take(desk)
                if desk.account is None:
                    await asyncio.sleep(TEND)
        finally:
            desk.taking = None

    async def _take(self, desk: Desk) -> None:
        asked = self.now()
        try:
            state = await self._book.take(desk.name, self._holder, self._lease)
        except DatabaseError as error:  # the recorder is who notices a lost database
            _log.error("account_not_taken", realm=desk.name[0], error=str(error))
            return
        if state is None or self._closing or desk.account is not None:
            return
        desk.account = Account.load(state, desk.policy, self.now())
        desk.account.rivals = frozenset(self._rivals(desk.name))
        if any(secret.proven for secret in desk.account.secrets.values()):
            desk.room = max(desk.room, WARM_ROOM)
        desk.leaving, desk.taken_at, desk.lease_ends = False, asked.tick, asked.tick + self._lease
        desk.news += 1
        self.changed()

    async def _tend(self) -> None:
        """Renew leases, hand accounts over to guards that wait for them, follow and probe paused realms."""
        while True:
            await asyncio.sleep(TEND)
            try:
                await self._hand_over()
                await self._renew()
                await self._follow_pauses()
            except DatabaseError as error:
                _log.error("guard_not_kept", error=str(error))
            for desk in self._desks.values():
                self._pump(desk)
            for realm in self._realms.values():
                pause = realm.health.pause
                if pause is not None and not pause.remaining(self.now()) and realm.probe is None:
                    realm.probe = self._spawn(self._probe(realm))

    async def _hand_over(self) -> None:
        driven = [desk for desk in self._desks.values() if desk.account is not None]
        if not driven:
            return
        claimed = set(await self._book.claimed(self._holder))
        for desk in driven:
            since = self.now().tick - desk.taken_at
            desk.leaving = desk.leaving or (desk.name in claimed and since >= SLICE)
            account = desk.account
            if not desk.leaving or account is None or desk.admitted or desk.controlling or account.flights:
                continue
            desk.account = None
            await self._book.keep(desk.name, self._holder, account.dump(), None)
            desk.leaving = False
            await asyncio.sleep(0)
        self.changed()

    async def _renew(self) -> None:
        for desk in list(self._desks.values()):
            if desk.account is None or desk.lease_ends - self.now().tick > self._lease - 5.0:
                continue
            asked = self.now().tick
            if await self._book.keep(desk.name, self._holder, desk.account.dump(), self._lease):
                desk.lease_ends = asked + self._lease
            else:
                _log.error("account_lost", realm=desk.name[0])
                desk.account = None
                self._turn_away(desk, Withheld(None, "another process took the account over"))

    async def _follow_pauses(self) -> None:
        """Other guards pause and resume realms too."""
        await self._write_pauses()
        if not self._realms:
            return
        on_record = await self._book.pauses()
        for realm in self._realms.values():
            state = on_record.get(realm.name)
            if realm.unwritten or (state is None) == (realm.health.pause is None):
                continue
            realm.health.pause = None if state is None else Pause.from_json(state)
            self._stir(realm.name)
            self.changed()

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("guard_task_failed", error=f"{type(error).__name__}: {error}")


def secret_key(credential: Credential) -> str:
    """Names a secret version in an account's state; ids are never used again."""
    return f"{credential.id if credential.id is not None else credential.name}:{credential.secret_version}"
