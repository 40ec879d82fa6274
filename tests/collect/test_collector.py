"""One device in, one outcome out, and what each failure permits on the way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from netraven.errors import (
    FAILURES,
    AuthNoVerdict,
    AuthRefused,
    DatabaseError,
    DeviceFailure,
    PrivilegeRefused,
    RowRefused,
    SecretUnreadable,
    SessionLost,
    Unreachable,
)
from netraven.model import (
    AttemptStarted,
    Batch,
    Choice,
    Credential,
    Device,
    DeviceFinished,
    HostKey,
    Outcome,
    Secret,
    Status,
)
from netraven.ports import Evidence
from netraven.testing import FakeDevice, MemoryStore
from tests.collect.rig import RIGHT, SPARE, SVC, Rig, WatchedTransport, device
from tests.virtual_time import in_virtual_time

BOTH = {"svc": "right", "spare": "right too"}
ONLY_SPARE = {"spare": "right too"}

# What each failure permits, as the design has it: next credential, again later, moves the rate, in the budget.
TABLE = {
    "auth_refused": (True, False, True, True),
    "auth_no_verdict": (False, True, False, True),
    "unreachable": (False, True, False, False),
    "host_key_changed": (False, False, False, False),
    "host_key_unknown": (False, False, False, False),
    "negotiation": (False, False, False, False),
    "privilege_refused": (False, False, False, False),
    "session_lost": (False, True, False, False),
    "dialogue_timeout": (False, True, False, False),
    "command_rejected": (False, False, False, False),
    "output_incomplete": (False, False, False, False),
    "output_too_long": (False, False, False, False),
    "platform_unknown": (False, False, False, False),
    "internal": (False, False, False, False),
}
LOGGED_IN = {
    "privilege_refused",
    "session_lost",
    "dialogue_timeout",
    "command_rejected",
    "output_incomplete",
} | {
    "output_too_long",
    "platform_unknown",
}


def ill(kind: type[DeviceFailure]) -> FakeDevice:
    """A device that would accept both credentials but for this."""
    if kind is AuthRefused:
        return FakeDevice(ONLY_SPARE)
    return FakeDevice(BOTH, fails=kind("it is ill"))


def test_the_table_of_the_design() -> None:
    assert {
        f.reason: (f.tries_next_credential, f.retriable, f.moves_success_rate, f.spends_budget)
        for f in FAILURES
    } == TABLE
    assert {f.reason for f in FAILURES if f.logged_in} == LOGGED_IN


@pytest.mark.parametrize("kind", FAILURES, ids=lambda f: f.reason)
def test_a_failure_permits_what_its_class_says(kind: type[DeviceFailure]) -> None:
    @in_virtual_time
    async def run() -> None:
        transport = WatchedTransport({"r1": ill(kind)})
        rig = Rig([device()], [SVC, SPARE], transport, retries=2)
        (outcome,) = await rig.run()

        offered_by = [username for _, _, username in transport.opened]
        if kind.tries_next_credential:
            assert offered_by == ["svc", "spare"]
            assert outcome.status is Status.COLLECTED
            assert outcome.credential == SPARE
        else:
            assert offered_by == ["svc"] * (3 if kind.retriable else 1)
            assert (outcome.status, outcome.reason, outcome.detail) == (
                Status.FAILED,
                kind.reason,
                "it is ill",
            )

        rate = rig.store.metrics["svc"].success_rate
        if kind.moves_success_rate:
            assert rate == 0.0
        else:
            assert rate == (1.0 if kind.logged_in else None)

        counted = [v for name, v, _ in rig.verdicts if name == "svc" and v != "accepted"]
        assert bool(counted) == kind.spends_budget
        assert len(transport.attempts) == outcome.attempts == len(rig.verdicts)
        assert not any(v == "open" for _, v, _ in rig.verdicts)

    run()


@pytest.mark.parametrize("kind", [f for f in FAILURES if f.logged_in], ids=lambda f: f.reason)
def test_a_credential_that_logged_in_has_succeeded_whatever_comes_next(kind: type[DeviceFailure]) -> None:
    @in_virtual_time
    async def run() -> None:
        rig = Rig([device()], [SVC], WatchedTransport({"r1": ill(kind)}))
        (outcome,) = await rig.run()
        assert outcome.credential == SVC
        assert rig.verdicts == [("svc", "accepted", None)]
        assert rig.store.metrics["svc"].successes == 1

    run()


# ---- credentials, one after another


def credentials(count: int) -> list[Credential]:
    return [
        Credential(f"c{n}", f"user{n}", f"secret{n}", frozenset({"all"}), priority=n)
        for n in range(1, count + 1)
    ]


@pytest.mark.parametrize("opens", [1, 2, 3, 4])
def test_retry_count_is_the_number_of_further_credentials(opens: int) -> None:
    @in_virtual_time
    async def run() -> None:
        transport = WatchedTransport({"r1": FakeDevice({f"user{opens}": f"secret{opens}"})})
        (outcome,) = await Rig([device()], credentials(4), transport).run()
        assert (outcome.attempts, outcome.retry_count) == (opens, opens - 1)
        assert outcome.credential is not None
        assert outcome.credential.name == f"c{opens}"

    run()


@in_virtual_time
async def test_nothing_left_to_offer() -> None:
    transport = WatchedTransport({"r1": FakeDevice({})})
    rig = Rig([device()], credentials(3), transport, retries=3)
    (outcome,) = await rig.run()
    assert (outcome.status, outcome.reason) == (Status.FAILED, "auth_refused")
    assert outcome.detail == "credentials exhausted (3 offered)"
    assert (outcome.attempts, outcome.retry_count) == (3, 2)
    assert rig.verdicts == [(f"c{n}", "refused", "auth_refused") for n in (1, 2, 3)]
    assert [a.username for a in transport.attempts] == ["user1", "user2", "user3"]


@in_virtual_time
async def test_after_a_retry_a_refused_credential_is_not_offered_again_but_one_without_verdict_is() -> None:
    transport = WatchedTransport(
        {"r1": FakeDevice({"user2": "secret2"})}, in_turn={"r1": [None, AuthNoVerdict("cut")]}
    )
    rig = Rig([device()], credentials(3), transport, retries=1)
    (outcome,) = await rig.run()
    assert [a.username for a in transport.attempts] == ["user1", "user2", "user2"]
    assert outcome.status is Status.COLLECTED
    assert (outcome.attempts, outcome.retry_count) == (3, 1), (
        "attempts count secrets, retry_count credentials"
    )
    assert [v for _, v, _ in rig.verdicts] == ["refused", "no_verdict", "accepted"]


@in_virtual_time
async def test_a_session_that_was_lost_is_tried_again_with_the_credential_that_opened_it() -> None:
    transport = WatchedTransport(
        {"r1": FakeDevice({"user2": "secret2"})}, in_turn={"r1": [None, SessionLost("gone")]}
    )
    (outcome,) = await Rig([device()], credentials(2), transport, retries=1).run()
    assert [a.username for a in transport.attempts] == ["user1", "user2", "user2"]
    assert (outcome.status, outcome.retry_count) == (Status.COLLECTED, 1)


@in_virtual_time
async def test_the_order_is_the_strategys_and_what_it_leaves_out_is_not_offered() -> None:
    class Backwards:
        name = "backwards"

        async def rank(
            self, device: Device, candidates: Sequence[Credential], evidence: Evidence
        ) -> Sequence[Choice]:
            ordered = sorted(candidates, key=lambda c: -c.priority)
            return [Choice(c, f"{device.name} likes it") for c in ordered if c.name != "c2"]

    transport = WatchedTransport({"r1": FakeDevice({})})
    rig = Rig([device()], credentials(3), transport, strategy=Backwards())
    await rig.run()
    assert [a.username for a in transport.attempts] == ["user3", "user1"]
    assert [started.reason for started, _ in rig.store.attempts.values()] == ["r1 likes it"] * 2


@in_virtual_time
async def test_a_device_without_credentials_is_skipped_and_never_called() -> None:
    transport = WatchedTransport({"r1": FakeDevice(RIGHT)})
    (outcome,) = await Rig([device("r1", "lonely")], [SVC], transport, retries=3).run()
    assert (outcome.status, outcome.reason) == (Status.SKIPPED, "no_credentials")
    assert outcome.detail == "no credential shares a tag with the device"
    assert (outcome.attempts, outcome.retry_count, outcome.credential) == (0, 0, None)
    assert transport.opened == []


# ---- secrets


class Vault:
    """Some secrets cannot be read."""

    def __init__(self, store: MemoryStore, *unreadable: str) -> None:
        self._store, self._unreadable = store, unreadable
        self.asked: list[str] = []

    async def reveal(self, credential: Credential) -> Secret:
        self.asked.append(credential.name)
        if credential.name in self._unreadable:
            raise SecretUnreadable(f"the secret of {credential.name} was sealed with another key")
        return await self._store.reveal(credential)


@in_virtual_time
async def test_an_unreadable_secret_costs_that_credential_only(caplog: pytest.LogCaptureFixture) -> None:
    devices = [device(f"r{n}") for n in range(5)]
    transport = WatchedTransport({d.name: FakeDevice(BOTH) for d in devices})
    store = MemoryStore(devices, [SVC, SPARE])
    vault = Vault(store, "svc")
    with caplog.at_level(logging.ERROR):
        outcomes = await Rig(devices, [], transport, store=store, secrets=vault, concurrency=1).run()
    assert {(o.status, o.attempts, o.retry_count) for o in outcomes} == {(Status.COLLECTED, 1, 0)}
    assert {a.username for a in transport.attempts} == {"spare"}
    assert store.metrics["svc"].attempts == 0
    assert vault.asked.count("svc") == 1, "what cannot be read is asked for once a run"
    assert [r.getMessage() for r in caplog.records].count("secret_unreadable") == 1


@in_virtual_time
async def test_no_readable_secret_is_no_credential() -> None:
    store = MemoryStore([device()], [SVC, SPARE])
    transport = WatchedTransport({"r1": FakeDevice(BOTH)})
    rig = Rig([], [], transport, store=store, secrets=Vault(store, "svc", "spare"))
    (outcome,) = await rig.run()
    assert (outcome.status, outcome.reason) == (Status.SKIPPED, "no_credentials")
    assert outcome.detail == "2 credentials match, none could be offered; see the log"
    assert transport.opened == []


@in_virtual_time
async def test_a_secret_is_asked_for_only_when_its_turn_comes() -> None:
    store = MemoryStore([device()], credentials(3))
    vault = Vault(store)
    await Rig(
        [], [], WatchedTransport({"r1": FakeDevice({"user1": "secret1"})}), store=store, secrets=vault
    ).run()
    assert vault.asked == ["c1"]


# ---- the device's own deadline


class HangsAt(WatchedTransport):
    """Says nothing any more from a stage on."""

    def __init__(self, stage: str) -> None:
        super().__init__({"r1": FakeDevice(RIGHT)})
        self.stage = stage

    @asynccontextmanager
    async def open(self, target: Any, login: Any, via: Any = None) -> Any:
        if self.stage == "connect":
            await asyncio.sleep(1e6)
        await login.new_host_key(HostKey("ssh-ed25519", b"k"))
        await login.secret()
        if self.stage == "verdict":
            await asyncio.sleep(1e6)
        await login.accepted()
        yield self

    async def capture(self, *, enable: str | None, kinds: Sequence[str] | None = None) -> Any:
        await asyncio.sleep(1e6)


@pytest.mark.parametrize(
    ("stage", "reason", "verdict"),
    [
        ("connect", "unreachable", None),
        ("verdict", "auth_no_verdict", "no_verdict"),
        ("session", "dialogue_timeout", "accepted"),
    ],
)
def test_out_of_time_is_classed_by_how_far_it_had_come(stage: str, reason: str, verdict: str | None) -> None:
    @in_virtual_time
    async def run() -> None:
        rig = Rig([device()], [SVC, SPARE], HangsAt(stage), device_timeout=30.0)
        (outcome,) = await rig.run()
        assert (outcome.status, outcome.reason) == (Status.FAILED, reason)
        assert outcome.detail == "the device took longer than 30 s in all"
        assert outcome.duration_ms == pytest.approx(30_000, abs=100)
        assert [v for _, v, _ in rig.verdicts] == ([] if verdict is None else [verdict])
        assert rig.store.metrics["spare"].attempts == 0, "a silent device is no reason for another credential"

    run()


@in_virtual_time
async def test_the_deadline_covers_all_credentials_of_one_try_and_starts_anew_with_the_next() -> None:
    class Slow(WatchedTransport):
        @asynccontextmanager
        async def open(self, target: Any, login: Any, via: Any = None) -> Any:
            await asyncio.sleep(12)
            async with super().open(target, login) as session:
                yield session

    transport = Slow({"r1": FakeDevice({"user3": "secret3"})})
    rig = Rig([device()], credentials(3), transport, device_timeout=30.0, retries=1)
    (outcome,) = await rig.run()
    assert outcome.status is Status.COLLECTED, "the second try had only the third credential left to offer"
    assert [a.username for a in transport.attempts] == ["user1", "user2", "user3"]


def test_out_of_time_in_the_middle_of_recording_a_refusal_does_not_forget_it() -> None:
    """Whenever the deadline strikes, no secret that was refused is offered to the device again."""
    for step in range(40):

        @in_virtual_time
        async def run(deadline: float = 0.005 + step / 400) -> None:
            transport = WatchedTransport({"r1": FakeDevice({"user3": "secret3"})})
            rig = Rig([device()], credentials(3), transport, device_timeout=deadline, retries=4)
            await rig.run()
            refused = [a.username for a in transport.attempts if a.verdict == "refused"]
            assert len(refused) == len(set(refused)), f"offered again after {deadline} s"
            assert not any(v == "open" for _, v, _ in rig.verdicts)

        run()


@in_virtual_time
async def test_a_lost_session_in_the_first_try_does_not_colour_the_second() -> None:
    class ThenHangs(HangsAt):
        tries = 0

        @asynccontextmanager
        async def open(self, target: Any, login: Any, via: Any = None) -> Any:
            self.tries += 1
            self.stage = "session" if self.tries == 1 else "connect"
            async with super().open(target, login) as session:
                yield session

        async def capture(self, *, enable: str | None, kinds: Sequence[str] | None = None) -> Any:
            raise SessionLost("gone")

    (outcome,) = await Rig([device()], [SVC], ThenHangs("session"), device_timeout=30, retries=1).run()
    assert outcome.reason == "unreachable"


# ---- the record


@in_virtual_time
async def test_what_was_captured_is_stored_and_the_outcome_says_so() -> None:
    store = MemoryStore([device()], [SVC])
    transport = WatchedTransport({"r1": FakeDevice(RIGHT, config="hostname r1\n")})
    (first,) = await Rig([], [], transport, store=store).run()
    (second,) = await Rig([], [], transport, store=store).run()
    assert store.snapshots[("r1", "running")] == b"hostname r1\n"
    assert (first.changed, second.changed) == (True, False)
    assert first.snapshot == second.snapshot is not None


@in_virtual_time
async def test_an_attempt_is_on_record_before_the_secret_is_handed_over() -> None:
    store = MemoryStore([device()], [SVC])
    seen: list[int] = []

    class Looks(WatchedTransport):
        @asynccontextmanager
        async def open(self, target: Any, login: Any, via: Any = None) -> Any:
            assert store.attempts == {}
            await login.secret()
            seen.append(len(store.attempts))
            await login.accepted()
            yield self

        async def capture(self, *, enable: str | None, kinds: Sequence[str] | None = None) -> Any:
            return ()

    await Rig([], [], Looks({}), store=store).run()
    assert seen == [1]


@in_virtual_time
async def test_an_attempt_that_ends_in_a_fault_of_ours_does_not_stay_open() -> None:
    class Faulty(WatchedTransport):
        @asynccontextmanager
        async def open(self, target: Any, login: Any, via: Any = None) -> Any:
            await login.secret()
            if not self.attempts:
                raise ValueError("the private key is malformed")
            yield self

    rig = Rig([device()], [SVC], Faulty({}))
    (outcome,) = await rig.run()
    assert outcome.reason == "internal"
    assert rig.verdicts == [("svc", "no_verdict", "internal")]
    assert rig.store.metrics["svc"].success_rate is None


def refuses(kind: type[Any], error: Exception) -> type[MemoryStore]:
    class Refusing(MemoryStore):
        async def commit(self, entries: Sequence[Any], *, of: Batch | None = None) -> Sequence[Any]:
            if any(isinstance(entry, kind) for entry in entries):
                raise error
            return await super().commit(entries, of=of)

    return Refusing


@in_virtual_time
async def test_a_device_that_was_removed_meanwhile_costs_itself_only_and_gets_no_secret() -> None:
    store = refuses(AttemptStarted, RowRefused("device r1 is no longer in the inventory"))([device()], [SVC])
    transport = WatchedTransport({"r1": FakeDevice(RIGHT)})
    (outcome,) = await Rig([], [], transport, store=store).run()
    assert outcome.reason == "internal"
    assert "no longer in the inventory" in (outcome.detail or "")
    assert transport.attempts == []


@in_virtual_time
async def test_what_could_not_be_stored_was_not_collected() -> None:
    store = refuses(DeviceFinished, RowRefused("no"))([device()], [SVC])
    (outcome,) = await Rig([], [], WatchedTransport({"r1": FakeDevice(RIGHT)}), store=store).run()
    assert (outcome.status, outcome.reason) == (Status.FAILED, "internal")
    assert outcome.detail == "what it came to could not be recorded: no"


@in_virtual_time
async def test_no_secret_leaves_when_nothing_can_be_recorded() -> None:
    store = refuses(AttemptStarted, DatabaseError("the disk is full"))([device()], [SVC])
    transport = WatchedTransport({"r1": FakeDevice(RIGHT)})
    with pytest.raises(ExceptionGroup, match="unhandled"):
        await Rig([], [], transport, store=store).run()
    assert transport.attempts == []


@in_virtual_time
async def test_no_secret_in_what_is_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    canary = "kanarienvogel"
    secret = Credential("svc", "svc", canary, frozenset({"all"}), enable_password=canary)
    devices = [device(f"r{n}") for n in range(3)]
    transport = WatchedTransport(
        {
            "r0": FakeDevice({}),
            "r1": FakeDevice({"svc": canary}, fails=PrivilegeRefused("no")),
            "r2": FakeDevice({"svc": canary}, fails=Unreachable("away")),
        }
    )
    rig = Rig(devices, [secret], transport)
    with caplog.at_level(logging.DEBUG):
        outcomes = await rig.run()
    said = repr((outcomes, transport.attempts, rig.store.attempts, rig.store.outcomes, caplog.records))
    assert canary not in said + "".join(str(vars(record)) for record in caplog.records)


@in_virtual_time
async def test_durations_are_of_the_given_clock() -> None:
    transport = WatchedTransport({"r1": FakeDevice(RIGHT)}, seconds=2.5)
    (outcome,) = await Rig([device()], [SVC], transport).run()
    assert isinstance(outcome, Outcome)
    assert outcome.duration_ms == pytest.approx(2_500, abs=200)
