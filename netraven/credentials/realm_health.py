"""Is the AAA service of a realm well? Decided from verdicts on secrets that are known to be right.

A password that opened a device yesterday and is refused by several devices in a row says more about the service than
about the password: an overloaded TACACS+ or RADIUS server answers with failures, or not at all. The realm is then
paused and probed, and what its devices said meanwhile is not held against the credential.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from netraven.credentials.moments import Moment
from netraven.model import Verdict

ENOUGH = 3
"""Devices whose proven login failed, since the realm's last success, at which the realm is taken to be unwell."""
MOMENTS = 60.0
"""Seconds within which they have to fail."""
FIRST_PAUSE = 5.0
"""Seconds until the first probe; each pause after a failed probe is twice as long."""
LONGEST_PAUSE = 300.0


@dataclass(frozen=True, slots=True)
class Pause:
    """No login before ``until`` (seconds since 1970); the first one afterwards is a probe. ``tries``: failed probes."""

    since: Moment
    until: float
    why: str
    tries: int = 0

    def remaining(self, now: Moment) -> float:
        """Seconds left."""
        return max(0.0, (self.until - self.since.wall) - now.since(self.since))

    def to_json(self) -> dict[str, Any]:
        return {"since": self.since.to_json(), "until": self.until, "why": self.why, "tries": self.tries}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Pause:
        return cls(
            Moment.from_json(data["since"]), float(data["until"]), str(data["why"]), int(data["tries"])
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """A login that should have succeeded. ``proven``: this secret had opened this very device before."""

    device: str
    verdict: Verdict
    at: Moment
    proven: bool


@dataclass(slots=True)
class RealmHealth:
    """What a guard has seen of one realm since the realm's last success."""

    failures: list[Failure] = field(default_factory=list)
    pause: Pause | None = None

    def succeeded(self) -> None:
        self.failures.clear()

    def failed(self, failure: Failure) -> None:
        self.failures.append(failure)
        del self.failures[:-100]

    def ailing(self, now: Moment) -> bool:
        """Whether so many proven logins failed within moments that the realm is to be paused."""
        recent = {f.device for f in self.failures if f.proven and now.since(f.at) <= MOMENTS}
        return len(recent) >= ENOUGH

    def begin(self, now: Moment, *, at_least: float = 0.0) -> Pause:
        """Pause the realm, or go on pausing it after a failed probe.

        ``at_least`` so many seconds, because no account has a login to spare before that.
        """
        tries, why = (0, self._said(now)) if self.pause is None else (self.pause.tries + 1, self.pause.why)
        seconds = max(at_least, min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(tries, 10)))
        self.pause = Pause(now, now.wall + seconds, why, tries)
        return self.pause

    def _said(self, now: Moment) -> str:
        """``3 proven logins refused in 6 s``."""
        recent = [f for f in self.failures if now.since(f.at) <= MOMENTS]
        refused = sum(f.verdict is Verdict.REFUSED for f in recent)
        counts = ((refused, "refused"), (len(recent) - refused, "unanswered"))
        what = " and ".join(f"{number} {said}" for number, said in counts if number)
        kind = "proven logins" if all(f.proven for f in recent) else "logins with a proven credential"
        first, _, rest = what.partition(" ")
        seconds = now.since(recent[0].at) if recent else 0.0
        return f"{first} {kind} {rest} in {max(1, round(seconds))} s"
