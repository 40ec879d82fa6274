"""Watches over realms: pauses one whose AAA service looks unwell, probes it, and says whose fault refusals were.

A refusal of a secret that works elsewhere is doubtful at first: the secret's fault (the device does not know it), or
the service's. The realm's next success settles that. Until then rates and pairs learn nothing from it, and its device
is not given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from netraven.collect.admission import Admission, Withheld
from netraven.collect.desk import AccountName, Desk
from netraven.collect.driving import Driving, Spawn
from netraven.collect.visit import Visit
from netraven.credentials.lockout import Account
from netraven.credentials.moments import MomentClock
from netraven.credentials.realm_health import Failure, Pause, RealmHealth
from netraven.events import events
from netraven.model import Credential, Device, SkipReason, Verdict
from netraven.ports import GuardBook

_log = events("netraven.collect")


FOLLOW = 1.0
"""Seconds between two looks at which realms other guards have paused."""


@dataclass(eq=False)
class _Doubt:
    """A refusal of a secret that opens other devices."""

    visit: Visit
    credential: Credential
    tick: float


@dataclass(eq=False)
class Realm:
    """One realm as this guard sees it."""

    name: str
    health: RealmHealth = field(default_factory=RealmHealth)
    doubts: list[_Doubt] = field(default_factory=list)
    suspects: dict[AccountName, str] = field(default_factory=dict)
    """The accounts whose failures led to the pause, and the secret that failed."""
    succeeded_at: dict[AccountName, float] = field(default_factory=dict)
    """When each account's last accepted secret was sent (a tick)."""
    nobody_to_ask: bool = False
    """No control login is possible: whoever comes next has to tell whether the realm is well."""
    asking: AccountName | None = None
    """The account that is being tried to that end."""
    probe: asyncio.Task[None] | None = None
    unwritten: bool = False
    """Whether the pause, or its end, is not on record yet."""

    @property
    def paused(self) -> bool:
        return self.health.pause is not None

    def withheld(self) -> Withheld:
        pause = self.health.pause
        why = pause.why if pause is not None else ""
        return Withheld(SkipReason.REALM_PAUSED, f"realm {self.name} looks unwell: {why}")

    def may_tell(self, name: AccountName) -> bool:
        """Whether a login by this account may show that the paused realm is well: none of its own has failed."""
        untouched = bool(self.suspects) and name not in self.suspects
        return self.asking is None and (self.nobody_to_ask or untouched)


class RealmWatch:
    """All realms of a guard.

    ``probe_with(desk, key)`` makes a control login with a secret: True accepted, False not, None nothing was sent.
    ``changed``, ``confirmed`` and ``noticed`` are the guard's.
    """

    def __init__(
        self,
        book: GuardBook,
        driving: Driving,
        credentials: Mapping[str, Credential],
        *,
        now: MomentClock,
        spawn: Spawn,
        desk_of: Callable[[AccountName], Desk],
        probe_with: Callable[[Desk, str], Awaitable[bool | None]],
    ) -> None:
        self.changed: Callable[[], None] = lambda: None
        self.confirmed: Callable[[Device, Credential], None] = lambda _device, _credential: None
        self.noticed: Callable[[str, Mapping[str, object]], None] = lambda _event, _data: None
        self._book = book
        self._driving = driving
        self._credentials = credentials
        self._now = now
        self._spawn = spawn
        self._desk_of = desk_of
        self._probe_with = probe_with
        self._realms: dict[str, Realm] = {}
        self._read_at = 0.0

    def realm(self, name: str) -> Realm:
        realm = self._realms.get(name)
        if realm is None:
            realm = self._realms[name] = Realm(name)
        return realm

    def secrets_of(self, name: AccountName) -> list[str]:
        """Every secret that could be offered for the account."""
        return [key for key, credential in self._credentials.items() if credential.account == name]

    # ---- verdicts

    def succeeded(self, desk: Desk, admission: Admission) -> None:
        """A login was accepted: the service is well, and was so since the secret was sent."""
        realm = self.realm(desk.realm)
        if realm.paused:
            if desk.name not in realm.suspects:
                self._blame(realm)
            self._resume(realm)
        realm.health.succeeded()
        realm.succeeded_at[desk.name] = admission.sent
        desk.failing_since = None
        self._settle(realm, before=admission.sent)

    def failed(self, desk: Desk, admission: Admission, verdict: Verdict, *, worked: bool) -> bool:
        """A login was not. Whether that teaches something of the secret, as far as can be said now.

        ``worked``: the secret was known to open devices.
        """
        realm, visit, now = self.realm(desk.realm), admission.visit, self._now()
        if realm.paused:  # known to be unwell: what it says is not held against the secret
            visit.excuse(admission.credential)
            return False
        if not worked:
            if (
                admission.ask.fallback
                and realm.health.ailing(now)
                and desk.account
                and desk.account.spent(now)
            ):
                realm.suspects[desk.name] = admission.ask.secret
                self._pause(realm)  # neither the secret that opened these devices nor its successor
            return not realm.paused
        if desk.failing_since is None:
            desk.failing_since = admission.sent
        proven = admission.ask.proven_here or admission.control
        realm.health.failed(Failure(visit.device.name, verdict, now, proven))
        doubtful = verdict is Verdict.REFUSED and not admission.control
        if doubtful:
            realm.doubts.append(_Doubt(visit, admission.credential, now.tick))
            visit.doubts.add(admission.credential.key)
        self._judge(desk, realm, admission)
        return not doubtful and not realm.paused

    def _judge(self, desk: Desk, realm: Realm, admission: Admission) -> None:
        """After a failure that should not have been one: is it the secret, or the service?"""
        account, now, key = desk.account, self._now(), admission.ask.secret
        if account is None:
            return
        successor = any(
            other != key and self._untried(account, other) for other in self.secrets_of(desk.name)
        )
        if admission.control:
            others = (tick for name, tick in realm.succeeded_at.items() if name != desk.name)
            well = desk.failing_since is not None and any(tick > desk.failing_since for tick in others)
            if successor or well:
                self._hold(account, key)
            else:
                realm.suspects[desk.name] = key
                self._pause(realm)
        elif realm.health.ailing(now) and not successor:
            realm.suspects[desk.name] = key
            self._pause(realm)

    @staticmethod
    def _untried(account: Account, key: str) -> bool:
        """Whether the secret may turn out to be the right one, and was not refused since it last was."""
        state = account.secrets.get(key)
        return account.in_play(key) and (state is None or not state.refused)

    def _hold(self, account: Account, key: str) -> None:
        account.hold(key, self._now())
        credential = self._credentials[key]
        _log.warning("credential_held", credential=credential.name, realm=credential.realm)
        self.noticed(
            "credential_held",
            {
                "credential": credential.name,
                "why": "refused by a device that it had opened",
                "seconds": round(account.secrets[key].remaining(self._now())),
            },
        )

    def _blame(self, realm: Realm) -> None:
        """Another account succeeds: the realm is well, and the secrets that failed are not."""
        for name, key in realm.suspects.items():
            account = self._desk_of(name).account
            if account is not None:
                self._hold(account, key)

    def _settle(self, realm: Realm, *, before: float, visit: Visit | None = None) -> None:
        """The service is well: refusals from before the login that shows it are their secrets' own."""
        settled = [doubt for doubt in realm.doubts if doubt.tick <= before and visit in (None, doubt.visit)]
        realm.doubts = [doubt for doubt in realm.doubts if doubt not in settled]
        for doubt in settled:
            doubt.visit.doubts.discard(doubt.credential.key)
            self.confirmed(doubt.visit.device, doubt.credential)

    def settle(self, visit: Visit | None = None) -> None:
        """Nothing more is coming that could tell: what is still doubtful was the secrets' own fault, unless the realm
        is known to be unwell. ``visit``: of this device only.
        """
        for realm in self._realms.values():
            if realm.paused:
                self._excuse(realm)
            else:
                self._settle(realm, before=self._now().tick, visit=visit)

    @staticmethod
    def _excuse(realm: Realm) -> None:
        """Not the credential's fault: the device is asked again."""
        for doubt in realm.doubts:
            doubt.visit.excuse(doubt.credential)
        realm.doubts.clear()

    # ---- pauses

    def _pause(self, realm: Realm) -> None:
        """Pause the realm, or go on doing so after a probe that failed."""
        first = not realm.paused
        pause = realm.health.begin(self._now(), at_least=self._earliest(realm))
        realm.unwritten = True
        self._excuse(realm)
        for desk in self._driving.of_realm(realm.name):
            desk.turn_away(realm.withheld())
        _log.warning("realm_paused" if first else "realm_still_paused", realm=realm.name, why=pause.why)
        self.noticed(
            "realm_paused",
            {"realm": realm.name, "why": pause.why, "until": pause.until, "tries": pause.tries},
        )
        self.changed()

    def _earliest(self, realm: Realm) -> float:
        """Seconds until some account of the realm can bear one more refusal."""
        now = self._now()
        waits = [
            desk.account.blocked(now) if desk.account.spent(now) else 0.0
            for desk in self._driving.of_realm(realm.name)
            if desk.account is not None
        ]
        return min(waits, default=0.0)

    def _resume(self, realm: Realm) -> None:
        realm.health.pause = None
        realm.health.succeeded()
        realm.suspects.clear()
        realm.nobody_to_ask = False
        realm.unwritten = True
        self.stir(realm)
        _log.warning("realm_resumed", realm=realm.name)
        self.noticed("realm_resumed", {"realm": realm.name})

    def stir(self, realm: Realm) -> None:
        """Devices that wait at the realm's desks may have better luck now."""
        for desk in self._driving.of_realm(realm.name):
            desk.news += 1
        self.changed()

    async def _probe(self, realm: Realm) -> None:
        """One login, to a device and with a secret that are known to work."""
        asked = spent = False
        try:
            for name in sorted({c.account for c in self._credentials.values() if c.realm == realm.name}):
                desk = self._desk_of(name)
                if desk.account is None:
                    await self._driving.take(desk)
                account = desk.account
                if account is None or account.flights or account.spent(self._now()):
                    spent = True
                    continue
                for key in self.secrets_of(name):
                    if await self._probe_with(desk, key) is not None:
                        asked = True
                        break
                if not realm.paused:
                    return  # it was accepted
            if not realm.paused:
                return
            if asked or spent:
                self._pause(realm)
            elif not realm.nobody_to_ask:
                realm.nobody_to_ask = True
                self.stir(realm)
        finally:
            realm.probe = None

    # ---- the record

    async def read(self) -> None:
        """Pauses that are on record when the guard begins."""
        for name, state in (await self._book.pauses()).items():
            self.realm(name).health.pause = Pause.from_json(state)

    async def write(self) -> None:
        for realm in self._realms.values():
            if realm.unwritten:
                pause, realm.unwritten = realm.health.pause, False
                try:
                    await self._book.pause(realm.name, None if pause is None else pause.to_json())
                except BaseException:
                    realm.unwritten = True
                    raise

    async def tend(self) -> None:
        """Write and follow pauses (other guards pause and resume realms too), probe what is due."""
        await self.write()
        if self._realms and self._now().tick - self._read_at >= FOLLOW:
            await self._follow()
        for realm in self._realms.values():
            pause = realm.health.pause
            if pause is not None and not pause.remaining(self._now()) and realm.probe is None:
                realm.probe = self._spawn(self._probe(realm))

    async def _follow(self) -> None:
        self._read_at = self._now().tick
        on_record = await self._book.pauses()
        for realm in self._realms.values():
            state = on_record.get(realm.name)
            if not realm.unwritten and (state is None) != (realm.health.pause is None):
                realm.health.pause = None if state is None else Pause.from_json(state)
                if realm.paused:
                    self._excuse(realm)
                self.stir(realm)

    # ---- the end of a run

    def closed_doors(self) -> frozenset[str]:
        """What keeps devices waiting and may end: paused realms, accounts that can bear no refusal, held secrets."""
        return frozenset(name for name, _ in self._closed())

    def wait_left(self) -> float | None:
        """Seconds until the first of them may open; None where nothing in this run can open any."""
        return min((max(0.05, seconds) for _, seconds in self._closed()), default=None)

    def _closed(self) -> list[tuple[str, float]]:
        now = self._now()
        found = [
            (f"realm {realm.name}", realm.health.pause.remaining(now))
            for realm in self._realms.values()
            if realm.health.pause is not None
        ]
        for desk in self._driving.desks.values():
            account = desk.account
            if account is None:
                continue
            if account.refusals and account.blocked(now):
                found.append((f"account {desk.name}", account.blocked(now)))
            found += [
                (f"secret {key}", state.remaining(now))
                for key, state in account.secrets.items()
                if state.worked and state.remaining(now)
            ]
        return found
