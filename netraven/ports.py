"""Every seam of NetRaven on one screen. Adapters stand behind these; ``app`` alone knows them by name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol, TypeVar

from netraven.errors import DatabaseError, DeviceFailure
from netraven.model import (
    Batch,
    Capture,
    Choice,
    Counts,
    Credential,
    CredentialMetrics,
    Delivery,
    Device,
    Entry,
    Exportable,
    Exported,
    Filed,
    HookStanding,
    HostKey,
    Job,
    JobStanding,
    Load,
    Order,
    Origin,
    Pair,
    Pause,
    Portion,
    Run,
    RunStatus,
    Secret,
    Selector,
    SkipReason,
    SshOffer,
    StoredVersion,
    Tally,
    Target,
    Version,
    Waiting,
)

Feature = tuple[str, str]
"""What devices have in common: ``("tag", "edge")``, ``("platform", "cisco_iosxe")``, both at once
``("tag on platform", "edge cisco_iosxe")``, ``("fleet", "")`` for all."""

T = TypeVar("T")


class Evidence(Protocol):
    """What is known when the credentials of one device are ranked. Reading it does no I/O."""

    now: datetime

    def pair(self, credential: Credential) -> Pair | None:
        """What this very secret version came to at this device; None where it was never judged there."""

    def metrics(self, credential: Credential) -> CredentialMetrics:
        """The credential's success rate and counters, as they stood when the run began."""

    def tally(self, credential: Credential, feature: Feature) -> Tally:
        """How this secret version fares at all devices that have ``feature``."""


class Strategy(Protocol):
    """Says in which order to offer credentials to a device, and why."""

    name: str

    async def rank(
        self, device: Device, candidates: Sequence[Credential], evidence: Evidence
    ) -> Sequence[Choice]:
        """Order ``candidates`` (all match the device); leaving one out means that it is not offered."""


class Secrets(Protocol):
    """Gives the secret of a credential when it is needed, and not before."""

    async def reveal(self, credential: Credential) -> Secret:
        """Raise ``SecretUnreadable`` where it cannot be had; that is this credential's trouble only."""


class Sources(Protocol):
    """Reads secrets that are kept elsewhere: in the environment, in files, by a command, in Vault."""

    async def read(self, source: str) -> Secret:
        """Password or private key, now or of a short while ago; never blocks the event loop.

        Raises ``SecretUnreadable``, which says what to do: the trouble of whatever has this source, and of nobody else.
        """


class Inventory(Protocol):
    """Where devices and credentials come from."""

    async def count(self, selector: Selector, *, collected_only: bool = False) -> int: ...

    def targets(
        self,
        selector: Selector,
        *,
        unfinished_in: int | None = None,
        share: float = 1.0,
        collected_only: bool = False,
    ) -> AsyncIterator[Target]:
        """Devices in the order of their names, read lazily: memory does not grow with the fleet.

        ``unfinished_in``: only those without an outcome in the run of this id. ``share``: about so many of them, evenly
        from the whole fleet and the same ones each time. ``collected_only``: without jump hosts.
        """

    async def credentials(self) -> Sequence[Credential]:
        """By name; previous secrets that are still kept follow as credentials of the same name and a lower version."""

    async def proven(self, credential: Credential) -> Sequence[Target]:
        """A few devices that this very secret opened the last time it was judged there, the latest first."""


class Ledger(Protocol):
    """Keeps what happened. The recorder is its only caller during a run."""

    async def commit(self, entries: Sequence[Entry], *, of: Batch | None = None) -> Sequence[Any]:
        """Make all entries durable in one transaction, or none (raise); answer each as its class says.

        ``of``: what they are of a run. The same batch again is not written twice; raises ``RunLost``, and writes
        nothing, where the run is another process's by now.
        """


class Reading(Protocol):
    """Calls what reads from a store; perhaps again, where that fails."""

    async def __call__(self, call: Callable[[], Awaitable[T]], /) -> T: ...


async def at_once(call: Callable[[], Awaitable[T]]) -> T:
    """Once, and what it raises is raised."""
    return await call()


class Runs(Protocol):
    """The runs themselves."""

    async def start(self, order: Order) -> Run:
        """A new run of this process; it has no targets before :meth:`begin`."""

    async def begin(self, run: Run, *, dead_after: int) -> Run:
        """Write down which devices are to be visited, and in which order; harmless where that was done.

        Those that could not be reached in the last ``dead_after`` runs come last; where the run has to be finished by
        some time, the slowest come first.
        """

    def targets_of(
        self, run: Run, *, resumed: bool = False, reading: Reading = at_once
    ) -> AsyncIterator[Target]:
        """Its targets that have no outcome yet, in that order; read lazily. ``reading`` calls what reads a page.

        ``resumed``: another process has had the run before, and what it offered to them comes with them.
        """

    async def counted(self, run: Run) -> Counts:
        """The outcomes of the run that are on record, in numbers."""

    async def skipped(self, run: Run, reason: SkipReason) -> int:
        """How many of its devices were skipped for this reason so far."""

    async def load(self, run: Run, *, dead_after: int, dead_seconds: float) -> Load:
        """What visits of those that have no outcome yet usually take; of a dead device so many seconds."""

    async def heartbeat(self, run: Run, counts: Counts | None = None, eta_at: datetime | None = None) -> bool:
        """Give a sign of life, with how far the run has come. False: another process has taken it over."""

    async def release(self, run: Run, counts: Counts) -> Run:
        """Put it back unfinished: a daemon goes on with it."""

    async def finish(self, run: Run, status: RunStatus, counts: Counts, error: str | None = None) -> Run: ...


class Jobs(Protocol):
    """Jobs, when they are due, and who runs them."""

    async def add(self, job: Job) -> JobStanding:
        """``InputError`` where there is one of this name, or it is none."""

    async def edit(self, job: Job) -> JobStanding:
        """Let the job of this name be so. It takes effect at once."""

    async def get(self, name: str) -> JobStanding: ...

    async def list(self) -> Sequence[JobStanding]:
        """By name, each with its last run."""

    async def enable(self, name: str) -> JobStanding: ...

    async def disable(self, name: str) -> JobStanding: ...

    async def remove(self, name: str) -> None: ...

    async def apply(self, wanted: Sequence[Job], origin: Origin = Origin.SETTINGS) -> Sequence[str]:
        """Let the jobs of ``origin`` be these and no others, all or nothing; the names of those that changed."""

    async def run_now(self, name: str) -> Run:
        """Queue a run by hand; ``InputError`` where the job has one that is queued or running."""

    async def due(self, now: datetime, limit: int) -> Sequence[JobStanding]:
        """Jobs that are to be claimed now, the longest due first; none that has a queued or running run."""

    async def next_at(self) -> datetime | None:
        """When the next job is to be claimed; None: none is due any more."""

    async def claim(self, standing: JobStanding, now: datetime) -> Run | None:
        """Queue the run that is due, or put on record that it was missed. Of several processes one succeeds."""


Unreadable = Callable[[Version, DatabaseError], None]
"""Told of a version whose text cannot be read, and why."""


class Versions(Protocol):
    """Configurations over time. What it gives is as it was captured: secrets and all.

    Reading a text raises ``DatabaseError`` where it is damaged or its key is missing.
    """

    async def history(self, device: str, kind: str, *, limit: int | None = None) -> Sequence[Version]:
        """The newest first."""

    async def current(self, device: str, kind: str) -> StoredVersion | None:
        """The newest version."""

    async def numbered(self, device: str, kind: str, number: int) -> StoredVersion | None: ...

    async def before(self, version: Version) -> StoredVersion | None:
        """The version that ``version`` took the place of."""

    async def at(self, device: str, kind: str, moment: datetime) -> StoredVersion | None:
        """The version in force at ``moment``: the newest of those first seen by then."""

    async def by_ids(self, ids: Sequence[int]) -> Sequence[StoredVersion]:
        """In that order; those that are gone are left out."""

    def changed_in(self, run: int) -> AsyncIterator[tuple[StoredVersion | None, StoredVersion]]:
        """What became new in a run, each with what it took the place of; by device and kind."""

    def all_at(
        self,
        selector: Selector,
        kind: str | None,
        moment: datetime | None = None,
        *,
        unreadable: Unreadable | None = None,
    ) -> AsyncIterator[StoredVersion]:
        """The version of each device in force at ``moment`` (None: now), by device; ``kind`` None: every kind.

        ``unreadable`` is told of a text that is damaged, and the others follow.
        """

    def every(
        self, selector: Selector, kind: str | None = None, *, unreadable: Unreadable | None = None
    ) -> AsyncIterator[StoredVersion]:
        """Every version, by device, kind and number. Read lazily: memory does not grow with the history."""

    async def kinds(self, device: str) -> Sequence[str]:
        """What has been captured of a device (``running`` ...), sorted."""


class Exports(Protocol):
    """Versions in the order in which they go into a git repository. Texts are as captured: secrets and all."""

    def waiting(self, exported: Exported, kinds: Sequence[str]) -> AsyncIterator[Portion]:
        """What a repository that holds ``exported`` lacks, in the order in which runs ended; imported versions at the
        moment they were first seen.

        Only of finished runs. A version that is older than one of the same device and kind that came before is left
        out; where it was imported, that is counted (``skipped``). Read lazily: memory does not grow with the history.
        Raises ``DatabaseError`` where the repository holds runs that are not on record.
        """

    async def counted(self, exported: Exported, kinds: Sequence[str]) -> Waiting:
        """How much that is."""

    def devices(self, kinds: Sequence[str]) -> AsyncIterator[Filed]:
        """The devices that there are versions of these kinds of."""

    async def last(self, device: str, kind: str, exported: Exported) -> Exportable | None:
        """The newest version of those that a repository that holds ``exported`` may have."""


class Outbox(Protocol):
    """Events that hooks have still to be told of. They are put there in the transaction that records what happened.

    What ``due`` gave is lent: nobody else is given it before it is delivered, postponed, given up or handed back, or
    the lease has ended, or the process has that holds it.
    """

    async def due(
        self, hook: str, now: datetime, limit: int, *, lease: float = 60.0, digest: bool = False
    ) -> Sequence[Delivery]:
        """What may be tried now: of each device the oldest that waits, so that order is kept; the oldest first.

        ``lease`` is in seconds. ``digest``: only ends of runs; what else happened in a run goes along with its end
        (``gathered``), and is delivered, postponed or given up with it.
        """

    async def gathered(self, delivery: Delivery, limit: int) -> Sequence[Delivery]:
        """Of the end of a run: what else this hook is to be told of it, in the order in which it happened."""

    async def delivered(self, delivery: Delivery, *, digest: bool = False) -> None: ...

    async def postpone(self, delivery: Delivery, until: datetime, error: str) -> None:
        """A try has failed; ``error`` holds no secret."""

    async def give_up(self, delivery: Delivery, error: str, *, digest: bool = False) -> None:
        """It will not be tried again; it stays on record until it is pruned."""

    async def hand_back(self, deliveries: Sequence[Delivery]) -> None:
        """They were not tried, or nobody knows how the try went: they are due as before."""

    async def expire(self, hook: str, before: datetime, error: str) -> int:
        """Give up what happened before that moment; how many. ``error`` is for what was never tried."""

    async def next_at(self, hook: str, *, digest: bool = False) -> datetime | None:
        """When something may be tried next, lent or not; None: nothing waits."""

    async def pauses(self) -> Mapping[str, Pause]:
        """Hooks that are not to be tried for a time, by name; also those whose time is over."""

    async def pause(self, hook: str, pause: Pause | None) -> None:
        """Note that the hook as a whole is not to be tried for a time, or may be again (None)."""

    async def standing(self) -> Sequence[HookStanding]:
        """Every hook of which there is anything on record, by name."""


class GuardBook(Protocol):
    """Where lockout guards keep what they know of accounts, and which of them drives an account at the moment.

    An account is (realm, username). States are JSON objects that only the guard reads. At any time at most one holder
    drives an account; it has to come back (``keep``) before its lease of ``lease`` seconds ends.
    """

    async def take(self, account: tuple[str, str], holder: str, lease: float) -> dict[str, Any] | None:
        """The account's state, now driven by ``holder``; None while another one drives it (the claim is noted).

        What a holder left behind that died or did not come back is folded into the state first: every attempt of its
        that has no verdict on record counts as refused.
        """

    async def keep(
        self, account: tuple[str, str], holder: str, state: dict[str, Any], lease: float | None
    ) -> bool:
        """Write the state; go on driving for ``lease`` seconds, or let go (None). False: it was lost meanwhile."""

    async def claimed(self, holder: str) -> Sequence[tuple[str, str]]:
        """The accounts driven by ``holder`` that others wait for."""

    async def pauses(self) -> Mapping[str, dict[str, Any]]:
        """Realms that are paused at the moment, by name."""

    async def pause(self, realm: str, state: dict[str, Any] | None) -> None:
        """Pause a realm, or end its pause (None)."""


class Session(Protocol):
    """An open, authenticated session with a device."""

    async def capture(self, *, enable: str | None, kinds: Sequence[str] | None = None) -> Sequence[Capture]:
        """Collect outputs of these ``kinds`` (None: what the platform says), in this order.

        Kinds that the platform does not have are left out. Raises a ``DeviceFailure`` with ``logged_in`` set, which
        carries what was complete by then (``captured``).
        """

    async def prove(self, *, enable: str | None) -> None:
        """Come as far as collecting does before its first output: to the prompt, and to the privileges it needs.

        Raises a ``DeviceFailure`` with ``logged_in`` set.
        """

    def facts(self, captures: Sequence[Capture]) -> Mapping[str, str]:
        """What the outputs tell of the device: ``version``, ``serial``, ``model``."""

    @property
    def platform_found(self) -> str | None:
        """The device's dialect, where it had to be found out; known once something was captured."""


class Tunnel(Protocol):
    """A logged-in connection to a jump host, through which others are opened. Only a transport looks inside."""

    @property
    def alive(self) -> bool: ...

    async def ended(self) -> None:
        """Returns once the connection has ended."""


class Login(Protocol):
    """One credential's way into one device, told by the transport as it happens on the wire.

    The calls come in this order: ``new_host_key`` where the device shows a key that is not on record yet and the
    policy accepts it; ``secret`` once, at the moment the device asks for it; then exactly one of ``accepted``,
    ``rejected`` and ``unsent``. Where the device asks for a password again after it refused one, ``another`` may hand
    over a further one of the same user, which is again accepted or rejected. Where the connection ends before a secret
    was handed over, none of them is called.
    """

    username: str
    wants_key: bool
    """Whether the secret has a private key, or the agent has it (public key authentication)."""
    wants_password: bool
    """Whether the secret has a password. With a key too, the key goes first; together they are one attempt."""

    async def new_host_key(self, key: HostKey) -> Sequence[HostKey]:
        """Remember the key before the secret is sent; returns what is on record now, which may be another's."""

    def refused_host_key(self, key: HostKey) -> None:
        """The device showed a key that was not let pass."""

    def offer_seen(self, offer: SshOffer) -> None:
        """What the device's SSH server offers, where it differs from what is on record."""

    def in_clear_text(self) -> None:
        """All that goes to and from the device can be read on the way, what ``secret`` hands over too."""

    async def secret(self) -> Secret:
        """Hand over the secret. May wait for a permit; returns once the attempt is on record."""

    async def unsent(self) -> None:
        """In place of a verdict: what was handed over cannot serve, and nothing of it has been sent."""

    async def accepted(self) -> None:
        """The device accepted the secret."""

    async def rejected(self, failure: DeviceFailure) -> None:
        """The device refused the secret (``AuthRefused``) or gave no verdict (``AuthNoVerdict``)."""

    async def another(self) -> Secret | None:
        """After ``rejected``, on the same connection: the same user's next password, None where there is none."""

    async def cut(self, tries: int) -> None:
        """The device ended the connection after so many refused secrets, without asking for a further one."""


class Transport(Protocol):
    """Opens sessions."""

    def open(
        self, target: Target, login: Login, via: Tunnel | None = None
    ) -> AbstractAsyncContextManager[Session]:
        """Connect and log in with exactly one attempt on the wire; raises ``DeviceFailure`` subclasses only.

        ``via``: through this jump host. Where it dies, the device is ``Unreachable``.
        """

    def tunnel(
        self, target: Target, login: Login, via: Tunnel | None = None
    ) -> AbstractAsyncContextManager[Tunnel]:
        """Connect and log in to a jump host, in the same way; no shell is opened."""

    async def knock(self, target: Target, via: Tunnel | None = None) -> str:
        """Connect, and wait for the device's first words, which are returned made harmless; nothing is sent.

        Raises ``Unreachable``, or ``Negotiation`` where somebody else answers.
        """


Clock = Callable[[], float]
"""Seconds on a monotonic scale (``time.monotonic``)."""

Sleep = Callable[[float], Awaitable[None]]
"""Waits that many seconds (``asyncio.sleep``)."""
