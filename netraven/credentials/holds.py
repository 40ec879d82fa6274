"""What is held at the moment, until when and why: read from what lockout guards have left on record.

For people and for plans. The guard itself does not ask here: it drives the account and decides for each device. What is
said here holds for an ordinary offer; a last canary, where the account still bears one, is not counted on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from netraven.credentials.lockout import Account, Ask, May, Policy
from netraven.credentials.moments import Moment
from netraven.credentials.realm_health import Pause
from netraven.model import Credential

AccountName = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing is sent before ``until`` (UTC). ``why`` in a few words."""

    until: datetime
    why: str
    paused: bool = False
    """It is the realm that is paused, with all of its accounts."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a release made the guard forget."""

    refusals: int = 0
    held: int = 0
    """Secrets whose hold ended."""
    pause: str | None = None
    """Why the realm was paused, where it was."""

    def __bool__(self) -> bool:
        return bool(self.refusals or self.held or self.pause is not None)


class Standing:
    """How accounts and realms stand at one moment.

    ``states``: accounts as ``Account.dump`` left them; ``pauses``: realms that are paused, as ``Pause.to_json``.
    """

    def __init__(
        self,
        states: Mapping[AccountName, Mapping[str, Any]],
        pauses: Mapping[str, dict[str, Any]],
        *,
        rules: Callable[[str], Policy],
        now: Moment,
    ) -> None:
        self.rules = rules
        self._now = now
        self._states = states
        self._pauses = {realm: Pause.from_json(state) for realm, state in pauses.items()}
        self._accounts: dict[AccountName, Account] = {}

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self._now.wall, UTC)

    def holds(self, credentials: Iterable[Credential]) -> dict[tuple[str, int], Hold]:
        """What is held of ``credentials``, by name and secret version."""
        found = ((credential.key, self.hold(credential)) for credential in credentials)
        return {key: hold for key, hold in found if hold is not None}

    def hold(self, credential: Credential) -> Hold | None:
        """Why the credential is offered to nobody now; None where it may be. Where devices count, nothing is held.

        A pause that has run out is none: the next run begins with a probe.
        """
        if self.rules(credential.realm).local:
            return None
        pause = self._pauses.get(credential.realm)
        if pause is not None and (left := pause.remaining(self._now)) > 0:
            return Hold(self._after(left), f"realm {credential.realm} looks unwell: {pause.why}", paused=True)
        account = self.account(credential.account)
        decision = account.decide(Ask(secret_key(credential)), self._now)
        if decision.may is not May.HELD:
            return None
        spent = account.blocked(self._now) if account.spent(self._now) else 0.0
        return Hold(self._after(max(decision.seconds, spent)), decision.why)

    def refusals(self, name: AccountName) -> int:
        """Refusals in a row that the account's service may still remember."""
        account = self.account(name)
        account.spent(self._now)  # forgets what is too old
        return len(account.refusals)

    def account(self, name: AccountName) -> Account:
        """The account's state. What was in flight is not taken for refused: another guard may be about to hear."""
        if name not in self._accounts:
            state = {key: value for key, value in self._states.get(name, {}).items() if key != "since"}
            self._accounts[name] = Account.load(state | {"in_flight": 0}, self.rules(name[0]), self._now)
        return self._accounts[name]

    def release(self, name: AccountName) -> tuple[dict[str, Any], Forgotten]:
        """The account's state without its refusals and holds, and what it forgot by that."""
        refusals = self.refusals(name)
        account = self.account(name)
        held = sum(1 for secret in account.secrets.values() if secret.remaining(self._now) > 0)
        pause = self._pauses.get(name[0])
        account.release()
        return account.dump(), Forgotten(refusals, held, None if pause is None else pause.why)

    def _after(self, seconds: float) -> datetime:
        return self.at + timedelta(seconds=seconds)


def secret_key(credential: Credential) -> str:
    """Names a secret version in an account's state; ids are never used again."""
    return f"{credential.id if credential.id is not None else credential.name}:{credential.secret_version}"
