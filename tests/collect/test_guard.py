"""The guard among devices: fairness, limits, patience; in virtual time, with fake devices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from netraven.credentials.lockout import Policy
from netraven.errors import AuthNoVerdict
from netraven.model import Credential, Device, SkipReason, Status, Target, Verdict
from netraven.ports import Login, Session, Tunnel
from netraven.testing import FakeDevice, FakeTransport, MemoryStore
from tests.collect.rig import Rig
from tests.virtual_time import in_virtual_time, now

ALL = frozenset({"all"})
SVC = Credential("svc", "svc", "right", ALL)


class Service(FakeTransport):
    """Fake devices whose service takes ``seconds`` to answer, by realm; watches how many secrets wait for it."""

    def __init__(self, devices: Mapping[str, FakeDevice], seconds: Mapping[str, float]) -> None:
        super().__init__(devices)
        self.seconds = dict(seconds)
        self.connected = 0
        self.most_connected = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.done_at: dict[str, float] = {}

    @asynccontextmanager
    async def open(self, target: Target, login: Login, via: Tunnel | None = None) -> AsyncIterator[Session]:
        self.connected += 1
        self.most_connected = max(self.most_connected, self.connected)
        try:
            async with super().open(target, _Slow(self, login)) as session:
                self.done_at[target.device.name] = now()
                yield session
        finally:
            self.connected -= 1


class _Slow:
    """A login whose verdicts take their time."""

    def __init__(self, service: Service, login: Login) -> None:
        self._service, self._login = service, login
        self.username, self.wants_key = login.username, login.wants_key
        self.wants_password = login.wants_password
        self.refused_host_key, self.offer_seen = login.refused_host_key, login.offer_seen
        self.in_clear_text, self.unsent = login.in_clear_text, login.unsent
        self.new_host_key, self.another, self.cut = login.new_host_key, login.another, login.cut
        self.unsent = login.unsent

    async def secret(self):  # type: ignore[no-untyped-def]  # as the login's
        secret = await self._login.secret()
        service = self._service
        service.in_flight += 1
        service.most_in_flight = max(service.most_in_flight, service.in_flight)
        try:
            await asyncio.sleep(service.seconds[self.username])
        finally:
            service.in_flight -= 1
        return secret

    async def accepted(self) -> None:
        await self._login.accepted()

    async def rejected(self, failure):  # type: ignore[no-untyped-def]  # as the login's
        await self._login.rejected(failure)


def devices(number: int, *tags: str) -> list[Device]:
    return [
        Device(f"{tags[0]}{n:04}", "192.0.2.1", "cisco_iosxe", tags=frozenset(tags)) for n in range(number)
    ]


def central(**more: object) -> Policy:
    return replace(Policy(), **more)  # type: ignore[arg-type]  # fields by name


@in_virtual_time
async def test_a_slow_realm_keeps_nobody_of_another_one_waiting() -> None:
    slow, quick = devices(100, "a"), devices(100, "b")
    accepts = {"slow": "of slow", "quick": "of quick"}
    transport = Service({d.name: FakeDevice(accepts) for d in slow + quick}, {"slow": 5.0, "quick": 0.01})
    credentials = [
        Credential("slow", "slow", "of slow", frozenset({"a"}), realm="slow"),
        Credential("quick", "quick", "of quick", frozenset({"b"}), realm="quick"),
    ]
    rig = Rig(slow + quick, credentials, transport, concurrency=10, rules=lambda _: central())
    outcomes = await rig.run()
    assert {o.status for o in outcomes} == {Status.COLLECTED}
    assert max(at for name, at in transport.done_at.items() if name.startswith("b")) < 10.0
    assert max(transport.done_at.values()) > 100 * 5.0 / 3


@in_virtual_time
async def test_no_more_connect_than_permits_can_follow() -> None:
    """Servers hang up after 30 s: with a service that takes 2 s, only a few may wait connected."""
    fleet = devices(60, "all")
    transport = Service({d.name: FakeDevice({"svc": "right"}) for d in fleet}, {"svc": 2.0})
    rig = Rig(fleet, [SVC], transport, concurrency=60, rules=lambda _: central())
    outcomes = await rig.run()
    assert {o.status for o in outcomes} == {Status.COLLECTED}
    assert {o.attempts for o in outcomes} == {1}
    assert transport.most_in_flight == 3
    assert transport.most_connected < 40


@in_virtual_time
async def test_a_realms_limit_holds_over_its_accounts() -> None:
    fleet = devices(30, "all")
    users = ["a", "b", "c"]
    accepts = {user: f"of {user}" for user in users}
    transport = Service({d.name: FakeDevice(accepts) for d in fleet}, dict.fromkeys(users, 1.0))
    credentials = [Credential(u, u, f"of {u}", frozenset({"all"}), priority=n) for n, u in enumerate(users)]
    tagged = [replace(d, tags=frozenset({users[n % 3]})) for n, d in enumerate(fleet)]
    credentials = [replace(c, tags=frozenset({c.name})) for c in credentials]
    rules = central(most_in_flight=2)
    outcomes = await Rig(tagged, credentials, transport, concurrency=30, rules=lambda _: rules).run()
    assert {o.status for o in outcomes} == {Status.COLLECTED}
    assert transport.most_in_flight == 2


@in_virtual_time
async def test_a_local_realm_is_limited_only_if_told() -> None:
    fleet = devices(30, "all")
    for most, expected in ((30, 30), (4, 4)):
        transport = Service({d.name: FakeDevice({"svc": "right"}) for d in fleet}, {"svc": 1.0})
        rules = central(local=True, most_in_flight=most)
        await Rig(fleet, [SVC], transport, concurrency=30, rules=lambda _, rules=rules: rules).run()  # type: ignore[misc]  # a default binds
        assert transport.most_in_flight == expected


@in_virtual_time
async def test_a_device_of_a_local_realm_is_offered_no_more_of_one_user_than_it_bears() -> None:
    """Four passwords of admin, and a device that locks it after three (threshold 3, margin 1): two are offered."""
    tried = [Credential(f"c{n}", "admin", f"word {n}", ALL, priority=n, realm="local") for n in range(4)]
    transport = FakeTransport({"all0000": FakeDevice({"admin": "none of them"})})
    rules = central(local=True, threshold=3, margin=1)
    store = MemoryStore(devices(1, "all"), tried)
    (outcome,) = await Rig((), (), transport, store=store, rules=lambda _: rules).run()
    assert (outcome.status, outcome.reason) == (Status.SKIPPED, SkipReason.HELD)
    assert len(transport.attempts) == 2
    (again,) = await Rig((), (), transport, store=store, rules=lambda _: rules).run()
    assert len(transport.attempts) == 2, "the second run knows"
    assert again.attempts == 0


@in_virtual_time
async def test_a_realm_that_is_silent_is_paused_probed_and_goes_on() -> None:
    fleet = devices(40, "all")
    transport = Service({d.name: FakeDevice({"svc": "right"}) for d in fleet}, {"svc": 0.1})
    store = MemoryStore(fleet, [SVC])
    rules = central(window=60.0)
    await Rig((), (), transport, store=store, rules=lambda _: rules).run()
    well = dict(transport.devices)
    silent = FakeDevice({"svc": "right"}, fails=AuthNoVerdict("no answer"))
    transport.devices = dict.fromkeys(well, silent)
    rig = Rig((), (), transport, store=store, retries=1, rules=lambda _: rules)

    async def recovers() -> None:
        await asyncio.sleep(30.0)
        transport.devices = well

    outcomes, _ = await asyncio.gather(rig.run(), recovers())
    assert {o.status for o in outcomes} == {Status.COLLECTED}
    assert [line.message for line in store.lines if line.message.startswith("realm")][:1] == ["realm_paused"]
    assert store.metrics["svc"].success_rate == pytest.approx(1.0)
    unanswered = [a for a in transport.attempts if a.verdict is Verdict.NO_VERDICT]
    assert len(unanswered) <= 6


@in_virtual_time
async def test_a_run_does_not_wait_longer_than_its_patience() -> None:
    fleet = devices(20, "all")
    transport = Service({d.name: FakeDevice({"svc": "right"}) for d in fleet}, {"svc": 0.1})
    store = MemoryStore(fleet, [SVC])
    await Rig((), (), transport, store=store, rules=lambda _: central()).run()
    transport.devices = dict.fromkeys(
        transport.devices, FakeDevice({"svc": "right"}, fails=AuthNoVerdict("no answer"))
    )
    began = now()
    outcomes = await Rig((), (), transport, store=store, rules=lambda _: central()).run()
    assert len(outcomes) == 20
    assert {o.reason for o in outcomes} <= {SkipReason.REALM_PAUSED, "auth_no_verdict"}
    assert now() - began < 700.0
    assert sum(a.verdict is Verdict.NO_VERDICT for a in transport.attempts) <= 4


@in_virtual_time
async def test_silence_counts_at_a_local_device_as_a_refusal_does() -> None:
    """It may have counted what it did not answer: three tries at the most (threshold 5, margin 2), over all runs."""
    only = Credential("c", "admin", "right", ALL, realm="local")
    silent = FakeDevice({"admin": "right"}, fails=AuthNoVerdict("no answer"))
    transport = FakeTransport({"all0000": silent})
    store = MemoryStore(devices(1, "all"), [only])
    for _ in range(3):
        await Rig((), (), transport, store=store, retries=5, rules=lambda _: central(local=True)).run()
    assert len(transport.attempts) == 3


@in_virtual_time
async def test_passwords_that_were_tried_and_replaced_count_at_a_local_device() -> None:
    """An operator tries one password after the other: each is a new version, the device counts them all."""
    transport = FakeTransport({"all0000": FakeDevice({"admin": "none of them"})})
    store = MemoryStore(devices(1, "all"), [Credential("c", "admin", "word", ALL, realm="local")])
    for version in range(1, 7):
        (known,) = await store.credentials()
        store._credentials = {("c", version): replace(known, secret_version=version)}
        await Rig((), (), transport, store=store, rules=lambda _: central(local=True)).run()
    assert len(transport.attempts) == 3
