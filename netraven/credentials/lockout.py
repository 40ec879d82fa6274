"""May this secret be sent now? The lockout guard's rules for one account, as a state machine without I/O.

An AAA service counts refusals in a row for each (realm, username) and locks the account at its threshold T. The guard
keeps *refusals since the last success + secrets in flight without a verdict* below T at every moment, and at most at
the budget B = T - margin but for one last canary. Nothing here waits, sends or writes: facts and a moment go in, a
decision comes out, so that every interleaving can be tested.

What a success proves. The service's count is back at 0 once it has accepted a login, but a refusal that overlapped with
that login may have been counted after it. So a success clears only refusals that were known before it was sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from netraven.credentials.moments import Moment
from netraven.model import Verdict

CONTROL_LOGIN = "control login: refusals have piled up, is the account well?"
"""The reason that stands on record with a control login."""
CANARIES = 2
"""Refusals of a secret that never succeeded, after which devices that have another credential try that one first."""
LAST_COLD = 3
"""Refusals after which a secret that never succeeded is held."""
LONGEST_HOLD = 86_400.0
"""Seconds; each hold of the same secret is twice as long as the one before, up to this."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is known of the service that judges the account's secrets. ``window`` in seconds.

    ``local``: there is none, each device judges and counts for itself. ``most_in_flight``: secrets without a verdict
    at once in the whole realm, which the guard sees to.
    """

    threshold: int = 5
    margin: int = 2
    window: float = 3600.0
    adaptive: bool = False
    most_in_flight: int = 100
    local: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.margin < self.threshold or self.window <= 0 or self.most_in_flight < 1:
            raise ValueError("a policy needs threshold > margin > 0, a window and a login in flight")

    @property
    def budget(self) -> int:
        return self.threshold - self.margin


@dataclass(frozen=True, slots=True)
class Ask:
    """A device that could be offered ``secret`` now, and what speaks for it."""

    secret: str
    proven_here: bool = False
    """This very secret opened this very device the last time that it was judged there."""
    known: bool = False
    """It is on record that this secret opened some device."""
    alternatives: bool = False
    """The device has other credentials left that could be tried first."""
    last_hope: bool = False
    """It is all that the device has left, and it has refused others that open devices elsewhere: it takes this one, or
    none."""
    fallback: bool = False
    """The device has refused another secret of this account: perhaps this is that one's successor."""


class May(StrEnum):
    """``GRANT``: send it. ``WAIT``: a verdict in flight decides. ``LATER``: another credential first. ``HELD``: not
    until the hold ends. ``CONTROL``: a control login has to say first whether the account is well.
    """

    GRANT = "grant"
    WAIT = "wait"
    LATER = "later"
    HELD = "held"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Decision:
    """``why`` and ``seconds`` (how long it holds) belong to ``HELD``, ``secret`` (whose it is) to ``CONTROL``."""

    may: May
    why: str = ""
    seconds: float = 0.0
    secret: str = ""


_GRANT, _WAIT, _LATER = (Decision(may) for may in (May.GRANT, May.WAIT, May.LATER))


@dataclass(slots=True, eq=False)
class Flight:
    """A secret that is on its way and has no verdict yet. ``landed``: its permit was given back."""

    number: int
    seq: int
    ask: Ask
    control: bool = False
    landed: bool = False


@dataclass(slots=True)
class SecretState:
    """What the guard knows of one secret version. ``refused`` counts since its last success.

    ``proven``: it is taken to work. ``worked``: it did at some time.
    """

    proven: bool = False
    refused: int = 0
    worked: bool = False
    held_since: Moment | None = None
    hold: float = 0.0
    holds: int = 0

    def remaining(self, now: Moment) -> float:
        """Seconds until the hold ends."""
        return 0.0 if self.held_since is None else max(0.0, self.hold - now.since(self.held_since))


@dataclass(frozen=True, slots=True)
class Refusal:
    """``unexpected``: by a device that the secret had opened the last time."""

    seq: int
    at: Moment
    unexpected: bool = False


@dataclass(slots=True)
class Account:
    """One account's state. Every method takes the present moment; times never come from anywhere else."""

    policy: Policy
    refusals: list[Refusal] = field(default_factory=list)
    flights: dict[int, Flight] = field(default_factory=dict)
    secrets: dict[str, SecretState] = field(default_factory=dict)
    rivals: frozenset[str] = frozenset()
    """Every secret that could be offered for this account: with two or more, one may be the other's successor."""
    seq: int = 0
    controlled: bool = False
    """Whether the refusals on record have been answered by a control login already."""

    # ---- deciding

    def decide(self, ask: Ask, now: Moment) -> Decision:
        """Whether ``ask`` may be granted at this moment."""
        self._forget(now)
        secret = self._secret(ask)
        refused, flying = len(self.refusals), len(self.flights)
        if (left := secret.remaining(now)) > 0 and (secret.worked or not ask.last_hope):
            return Decision(May.HELD, f"refused {secret.refused} times in a row", left)
        if self.spent(now):
            return self._full(now)
        if not secret.proven and not (ask.proven_here and not ask.alternatives):
            return self._cold(secret, ask, now)
        if self.policy.adaptive and ask.proven_here and not refused:
            return _GRANT
        if refused + flying < self._limit(ask):
            return _GRANT
        if flying:
            return _WAIT
        return self._piled_up(ask, now)

    def _cold(self, secret: SecretState, ask: Ask, now: Moment) -> Decision:
        """A secret that never succeeded: one canary at a time, and few of them."""
        if any(flight.ask.secret == ask.secret for flight in self.flights.values()):
            return _WAIT
        if secret.refused >= CANARIES and ask.alternatives:
            return _LATER
        if secret.refused >= LAST_COLD and not secret.worked and not ask.last_hope:
            return Decision(
                May.HELD, f"refused by {secret.refused} devices, accepted by none", self.policy.window
            )
        if len(self.refusals) + len(self.flights) < self.policy.budget:
            return _GRANT
        if self.flights:
            return _WAIT
        return self._piled_up(ask, now)

    def _limit(self, ask: Ask) -> int:
        """Refusals and flights up to which a proven secret is sent.

        Where the account has another secret that may be its successor, one of the budget is kept for finding that
        out: at a rotation all that are in flight are refused together.
        """
        rivals = [key for key in self.rivals if self.in_play(key)]
        spare = len(rivals) > 1 and not ask.fallback
        return max(1, self.policy.budget - spare)

    def in_play(self, key: str) -> bool:
        """Whether a secret may still turn out to be the right one."""
        secret = self.secrets.get(key)
        return secret is None or (secret.held_since is None and (secret.proven or secret.refused < CANARIES))

    def _piled_up(self, ask: Ask, now: Moment) -> Decision:
        """Nothing is in flight and the refusals have used the budget up, or all of it that this ask may use."""
        secret = self._secret(ask)
        successor = (ask.fallback or not secret.worked) and not secret.refused
        if successor and len(self.refusals) <= self.policy.budget and self._changed():
            return _GRANT
        if not self.controlled and (key := self._control_secret(ask)) is not None:
            return Decision(May.CONTROL, secret=key)
        budget = self.policy.budget
        if len(self.refusals) < budget:
            return _GRANT
        if len(self.refusals) == budget and (ask.fallback or ask.last_hope):
            return _GRANT  # the one last canary
        return self._full(now)

    def _changed(self) -> bool:
        """Whether the secret that piled up was most likely replaced: each device that refused it had accepted it."""
        return len(self.refusals) > 1 and all(refusal.unexpected for refusal in self.refusals)

    def awaits_successor(self) -> bool:
        """Whether the account's other secret is likely to tell more than a control login."""
        rivals = sum(self.in_play(key) for key in self.rivals)
        return rivals > 1 and (len(self.refusals) < self.policy.budget or self._changed())

    def _full(self, now: Moment) -> Decision:
        why = f"{len(self.refusals)} refusals in a row, the account is locked at {self.policy.threshold}"
        return Decision(May.HELD, why, self.blocked(now))

    def blocked(self, now: Moment) -> float:
        """Seconds until the service has forgotten the refusals."""
        if not self.refusals:
            return 0.0
        return max(0.0, self.policy.window - now.since(self.refusals[-1].at))

    def spent(self, now: Moment) -> bool:
        """Whether not even one last canary, or a control login, fits any more."""
        self._forget(now)
        refused = len(self.refusals)
        return refused > self.policy.budget or refused + 1 >= self.policy.threshold

    def _control_secret(self, ask: Ask) -> str | None:
        """The proven secret that was refused most: the one that a control login has to ask about."""
        proven = [(state.refused, key) for key, state in self.secrets.items() if state.proven]
        if ask.secret not in self.secrets and ask.known:
            proven.append((0, ask.secret))
        return max(proven)[1] if proven else None

    # ---- what happens

    def grant(self, ask: Ask, *, control: bool = False) -> Flight:
        """Count an attempt, before it is made."""
        self.secrets[ask.secret] = self._secret(ask)
        self.seq += 1
        flight = Flight(self.seq, self.seq, ask, control)
        self.flights[flight.number] = flight
        self.controlled = self.controlled or control
        return flight

    def grant_control(self, ask: Ask, now: Moment) -> Flight | None:
        """Count a control login, where one fits: alone, and below the threshold."""
        self._forget(now)
        if self.flights or self.spent(now):
            return None
        return self.grant(ask, control=True)

    def withdraw(self, flight: Flight) -> None:
        """The secret was not sent after all."""
        if self.flights.get(flight.number) is flight:
            del self.flights[flight.number]

    def conclude(self, flight: Flight, verdict: Verdict, now: Moment) -> None:
        """A verdict, or none: that counts as if refused, but says nothing of the secret."""
        if self.flights.get(flight.number) is not flight:
            return
        del self.flights[flight.number]
        secret = self._secret(flight.ask)
        if verdict is Verdict.ACCEPTED:
            self.refusals = [refusal for refusal in self.refusals if refusal.seq > flight.seq]
            self.controlled = self.controlled and bool(self.refusals)
            self.secrets[flight.ask.secret] = SecretState(proven=True, worked=True)
            return
        self.seq += 1
        self.refusals.append(Refusal(self.seq, now, flight.ask.proven_here))
        if verdict is Verdict.REFUSED:
            secret.refused += 1
            if secret.proven and secret.refused >= CANARIES:
                self._give_others_a_chance(flight.ask.secret)
            if not secret.worked and secret.refused >= LAST_COLD:
                self.hold(flight.ask.secret, now)

    def _give_others_a_chance(self, failing: str) -> None:
        """A secret that worked fails: what was refused while it worked may be right by now."""
        for key, state in self.secrets.items():
            if key != failing and not state.proven and state.held_since is None:
                state.refused = 0

    def hold(self, key: str, now: Moment) -> None:
        """Keep a secret back: for the service's window, twice as long each time, until it succeeds somewhere."""
        secret = self.secrets.setdefault(key, SecretState())
        secret.proven = False
        secret.refused = max(secret.refused, LAST_COLD)
        secret.held_since = now
        secret.hold = max(self.policy.window, min(LONGEST_HOLD, self.policy.window * 2**secret.holds))
        secret.holds = min(secret.holds + 1, 30)

    def release(self) -> None:
        """A person says that the account is well: every hold ends and no refusal counts any more."""
        self.refusals.clear()
        self.controlled = False
        for secret in self.secrets.values():
            secret.held_since, secret.holds, secret.refused = None, 0, 0

    def _secret(self, ask: Ask) -> SecretState:
        state = self.secrets.get(ask.secret)
        return SecretState(proven=ask.known, worked=ask.known) if state is None else state

    def _forget(self, now: Moment) -> None:
        """What the service has forgotten, and holds that have ended: those secrets get one canary again.

        One that is in flight may have been refused within the window already, and the window have begun anew.
        """
        if self.refusals and not self.flights and not self.blocked(now):
            self.refusals.clear()
            self.controlled = False
        for secret in self.secrets.values():
            if secret.held_since is not None and not secret.remaining(now):
                secret.held_since = None
                secret.refused = min(secret.refused, CANARIES)

    # ---- keeping

    def dump(self) -> dict[str, Any]:
        """As JSON; what is in flight counts as refused once somebody else reads it."""
        return {
            "version": 1,
            "seq": self.seq,
            "refusals": [[r.seq, r.at.to_json(), r.unexpected] for r in self.refusals],
            "in_flight": len(self.flights),
            "controlled": self.controlled,
            "secrets": {
                key: {
                    "proven": state.proven,
                    "refused": state.refused,
                    "worked": state.worked,
                    "held_since": None if state.held_since is None else state.held_since.to_json(),
                    "hold": state.hold,
                    "holds": state.holds,
                }
                for key, state in self.secrets.items()
            },
        }

    @classmethod
    def load(cls, data: Mapping[str, Any], policy: Policy, now: Moment) -> Account:
        """The account as :meth:`dump` left it.

        ``since``, where a guard did not come back, is what the ledger has of its attempts after it last wrote: those
        take the place of what was in flight, and one without a verdict counts as refused at this moment.
        """
        account = cls(policy)
        account.seq = int(data.get("seq", 0))
        account.controlled = bool(data.get("controlled", False))
        account.refusals = [
            Refusal(int(seq), Moment.from_json(at), bool(unexpected))
            for seq, at, unexpected in data.get("refusals", ())
        ]
        for key, saved in data.get("secrets", {}).items():
            held = saved["held_since"]
            account.secrets[key] = SecretState(
                bool(saved["proven"]),
                int(saved["refused"]),
                bool(saved["worked"]),
                None if held is None else Moment.from_json(held),
                float(saved["hold"]),
                int(saved["holds"]),
            )
        if "since" in data:
            account._replay(data["since"], now)
        else:
            account._count(int(data.get("in_flight", 0)), now)
        return account

    def _replay(self, attempts: Iterable[Mapping[str, Any]], now: Moment) -> None:
        attempts = list(attempts)
        cleared = max((a["started"] for a in attempts if a["verdict"] == Verdict.ACCEPTED), default=None)
        if cleared is not None:
            self.refusals = [refusal for refusal in self.refusals if refusal.at.wall >= cleared]
            self.controlled = False
        for attempt in attempts:
            ended = attempt["concluded"]
            if attempt["verdict"] == Verdict.ACCEPTED:
                self.secrets[attempt["secret"]] = SecretState(proven=True, worked=True)
            elif attempt["verdict"] == Verdict.REFUSED:
                self.secrets.setdefault(attempt["secret"], SecretState()).refused += 1
                self._count(cleared is None or ended is None or ended >= cleared, now)
        # Attempts are on record while they wait for their permit; of those, no more than the budget were let out.
        unheard = [a for a in attempts if a["verdict"] not in (Verdict.ACCEPTED, Verdict.REFUSED)]
        room = self.policy.budget - len(self.refusals)
        if room <= 0:  # past the budget only a control login or a last canary can have been out, alone
            room = any(a.get("control") or not self._worked(a["secret"]) for a in unheard)
        self._count(min(len(unheard), room), now)

    def _worked(self, key: str) -> bool:
        state = self.secrets.get(key)
        return state is not None and state.worked

    def _count(self, number: int, now: Moment) -> None:
        """So many attempts count as refused; more than fit under the threshold change nothing further."""
        for _ in range(min(number, self.policy.threshold)):
            self.seq += 1
            self.refusals.append(Refusal(self.seq, now))
