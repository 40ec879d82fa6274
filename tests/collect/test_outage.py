"""A run that may wait for its database: nothing is lost, nothing is written twice, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from netraven.collect.admission import Admission
from netraven.collect.guard import Guard
from netraven.collect.later import Put
from netraven.collect.login import Offer, Record, RecordedLogin
from netraven.collect.outage import LONGEST_PAUSE, Outage, Patient
from netraven.collect.recorder import HELD, Recorder
from netraven.collect.visit import Visit
from netraven.credentials.evidence import Knowledge
from netraven.credentials.lockout import Policy
from netraven.errors import DatabaseError, RecorderStopped, RowRefused, RunLost, Unreachable
from netraven.model import (
    AttemptStarted,
    Batch,
    Choice,
    Entry,
    Order,
    Secret,
    Selector,
    Status,
    Target,
    Verdict,
)
from netraven.ports import Login, Session, Tunnel
from netraven.storage.memory_guard_book import MemoryGuardBook
from netraven.testing import FakeDevice, MemoryStore
from tests.collect.ledgers import NotedLedger, line
from tests.collect.rig import RIGHT, SPARE, SVC, Rig, WatchedTransport, device
from tests.collect.test_recorder import everyone
from tests.virtual_time import in_virtual_time, now, settled

GONE = DatabaseError("the server cannot be reached")


def patient(**options: Any) -> Outage:
    return Outage(math.inf, **options)


class Away:
    """A call that fails between two moments of the loop's clock."""

    def __init__(self, since: float, until: float, *, answer: str = "here") -> None:
        self.since, self.until, self.answer = since, until, answer
        self.calls: list[float] = []

    async def __call__(self) -> str:
        self.calls.append(now())
        if self.since <= now() < self.until:
            raise GONE
        return self.answer


class AwayLedger(NotedLedger):
    """Cannot be reached between two moments; notes which batch each transaction was."""

    def __init__(self, since: float, until: float, **options: Any) -> None:
        super().__init__(**options)
        self.since, self.until = since, until
        self.batches: list[Batch | None] = []

    async def commit(self, entries: Sequence[Entry], *, of: Batch | None = None) -> Sequence[Any]:
        self.batches.append(of)
        if self.since <= now() < self.until:
            raise GONE
        return await super().commit(entries)


# ---- one call


@in_virtual_time
async def test_a_call_is_made_again_until_the_database_is_back() -> None:
    outage, call = patient(), Away(0, 60)
    assert await outage.over(call) == "here"
    assert 60 <= now() <= 60 + LONGEST_PAUSE
    gaps = [later - earlier for earlier, later in zip(call.calls, call.calls[1:], strict=False)]
    assert gaps[0] <= 0.2
    assert max(gaps) <= LONGEST_PAUSE
    assert len(call.calls) < 30


@in_virtual_time
async def test_without_patience_a_lost_database_is_told_at_once() -> None:
    call = Away(0, 60)
    with pytest.raises(DatabaseError, match="cannot be reached"):
        await Outage().over(call)
    assert (len(call.calls), now()) == (1, 0)


@in_virtual_time
async def test_patience_ends() -> None:
    with pytest.raises(DatabaseError, match="cannot be reached"):
        await Outage(30.0).over(Away(0, 1000))
    assert now() == pytest.approx(30, abs=0.1)


@in_virtual_time
async def test_what_the_database_will_not_take_is_not_waited_for() -> None:
    async def refuse() -> None:
        raise RowRefused("no such device")

    outage = patient()
    with pytest.raises(RowRefused):
        await outage.over(refuse)
    assert outage.up.is_set()
    assert now() == 0


def ours(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Without what asyncio says where another test has made it talkative."""
    return [record for record in caplog.records if record.name.startswith("netraven")]


@in_virtual_time
async def test_it_is_said_once_that_it_is_lost_and_once_that_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "netraven.collect")
    outage = patient(run=7)
    calls = [Away(0, 50) for _ in range(200)]
    await asyncio.gather(*(outage.over(call) for call in calls))
    records = ours(caplog)
    said = [(record.message, vars(record)["run"]) for record in records]
    assert said == [("database_lost", 7), ("database_back", 7)]
    assert vars(records[1])["seconds"] >= 50
    assert now() < 51 + LONGEST_PAUSE  # one that gets through calls the others
    assert outage.number == 1


@in_virtual_time
async def test_a_database_that_is_read_and_not_written_is_lost_as_long(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A full disk, a standby: what reads goes well all the time, and says nothing of the others."""
    caplog.set_level(logging.INFO, "netraven.collect")
    outage = patient()
    writing = asyncio.create_task(outage.over(Away(0, 50)))
    short = asyncio.create_task(outage.over(Away(0, 5)))
    await asyncio.sleep(1)
    for _ in range(40):
        assert await outage.over(Away(0, 0)) == "here"
        assert not outage.up.is_set()
        await asyncio.sleep(1)
    assert short.done()
    await writing
    assert outage.up.is_set()
    assert [record.message for record in ours(caplog)] == ["database_lost", "database_back"]


@in_virtual_time
async def test_a_caller_that_goes_leaves_nobody_waiting() -> None:
    outage = patient()
    call = asyncio.create_task(outage.over(Away(0, math.inf)))
    await asyncio.sleep(3)
    assert not outage.up.is_set()
    call.cancel()
    await asyncio.wait([call])
    assert outage.up.is_set()


@in_virtual_time
async def test_whoever_is_in_a_hurry_waits_so_long_and_no_longer() -> None:
    outage = patient(leaving=10.0)

    async def never() -> None:
        await asyncio.Event().wait()

    waiting = [asyncio.create_task(outage.over(call)) for call in (Away(0, math.inf), never)]
    await asyncio.sleep(100)
    outage.hurry()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [DatabaseError, DatabaseError]
    assert now() == pytest.approx(110, abs=0.5)
    with pytest.raises(DatabaseError):
        await outage.over(never)
    assert now() == pytest.approx(110, abs=0.5)


# ---- the recorder


@in_virtual_time
async def test_what_waits_to_be_recorded_is_kept_until_it_can_be() -> None:
    ledger = AwayLedger(1.0, 300.0)
    outage = patient()
    async with Recorder(Patient(ledger, outage), max_batch=10) as recorder:
        await recorder.record(line("before"))
        await asyncio.sleep(2)
        waiting = asyncio.create_task(everyone(recorder, [str(n) for n in range(95)]))
        await asyncio.sleep(100)
        assert not outage.up.is_set()
        assert not waiting.done()
        answers = await waiting
    assert all(type(answer) is int for answer in answers)
    assert ledger.written == ["before", *(str(n) for n in range(95))]
    assert now() < 300 + LONGEST_PAUSE + 1


@in_virtual_time
async def test_the_queue_does_not_grow_while_the_database_is_away() -> None:
    ledger = AwayLedger(0.0, 300.0)
    async with Recorder(Patient(ledger, patient()), max_batch=5, max_waiting=20) as recorder:
        waiting = [asyncio.create_task(recorder.record(line(str(n)))) for n in range(500)]
        await asyncio.sleep(200)
        assert len(recorder._waiting) <= 20
        await asyncio.gather(*waiting)
    assert sorted(map(int, ledger.written)) == list(range(500))


@in_virtual_time
async def test_leaving_a_run_while_the_database_is_away_takes_so_long_and_no_longer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ledger, outage = AwayLedger(0.0, math.inf), patient(leaving=10.0)
    answers: list[Any] = []

    async def run() -> None:
        async with Recorder(Patient(ledger, outage)) as recorder:
            waiting = asyncio.create_task(everyone(recorder, [str(n) for n in range(20)]))
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                outage.hurry()
                raise
            finally:
                waiting.add_done_callback(lambda done: answers.extend(done.result()))

    running = asyncio.create_task(run())
    await asyncio.sleep(100)
    running.cancel()
    await asyncio.wait([running])
    await settled()
    assert running.cancelled()
    assert now() == pytest.approx(110, abs=0.5)
    assert [type(answer) for answer in answers] == [RecorderStopped] * 20
    (given_up,) = [r for r in caplog.records if r.message == "entries_not_recorded"]
    assert vars(given_up)["entries"] == 20


@in_virtual_time
async def test_a_batch_keeps_its_number_until_it_is_written_and_no_two_have_the_same() -> None:
    ledger = AwayLedger(1.0, 30.0, refuses=lambda text: text in {"3", "11"})
    run = await MemoryStore().start(Order(strategy="priority", concurrency=1))
    async with Recorder(Patient(ledger, patient()), run=run, max_batch=16) as recorder:
        await recorder.record(line("0"))
        await asyncio.sleep(1)
        await everyone(recorder, [str(n) for n in range(1, 40)])
    numbers = [of.number for of in ledger.batches if of is not None]
    assert len(numbers) == len(ledger.batches)
    assert numbers == sorted(numbers)
    assert numbers.count(2) > 3  # as often as it was tried while the database was away
    assert [n for n in range(1, numbers[-1] + 1) if numbers.count(n) != 1] == [2]
    assert sorted(map(int, ledger.written)) == sorted({*range(40)} - {3, 11})


@in_virtual_time
async def test_the_numbers_of_a_run_that_is_resumed_go_on() -> None:
    ledger = AwayLedger(0, 0)
    run = await MemoryStore().start(Order(strategy="priority", concurrency=1))
    async with Recorder(ledger, run=replace(run, batch=41)) as recorder:
        await recorder.record(line("a"))
    assert ledger.batches == [Batch(run.id, 42)]


@in_virtual_time
async def test_a_run_that_was_lost_says_so_to_everybody() -> None:
    ledger = NotedLedger(fails=(0, RunLost("run 1 is not this process's any more")))
    async with Recorder(Patient(ledger, patient())) as recorder:
        answers = await everyone(recorder, ["a", "b"])
        assert [type(answer) for answer in answers] == [RunLost, RunLost]
        with pytest.raises(RunLost):
            recorder.check()
    assert ledger.tried == 1


@in_virtual_time
async def test_a_recorder_that_is_stopped_writes_nothing_more() -> None:
    ledger = NotedLedger(duration=5.0)
    async with Recorder(ledger) as recorder:
        waiting = asyncio.create_task(everyone(recorder, ["a"]))
        await asyncio.sleep(1)
        recorder.stop(RunLost("another process has it"))
        assert [type(answer) for answer in await waiting] == [RunLost]
        with pytest.raises(RunLost):
            await recorder.record(line("b"))
        recorder.post(line("c"))
    assert now() < 2
    assert ledger.written == []


# ---- devices


class AwayStore(MemoryStore):
    """Whose ledger cannot be reached between two moments, as far as entries of some kind are concerned."""

    away = (0.0, 0.0)
    kind: type = object

    async def commit(self, entries: Sequence[Entry], *, of: Batch | None = None) -> Sequence[Any]:
        if self.away[0] <= now() < self.away[1] and any(isinstance(entry, self.kind) for entry in entries):
            raise GONE
        return await super().commit(entries, of=of)


def rig(names: Sequence[str], transport: WatchedTransport, **options: Any) -> tuple[Rig, AwayStore]:
    store = AwayStore([device(name) for name in names], [SVC, SPARE])
    return Rig((), (), transport, store=store, outage=patient(), **options), store


@in_virtual_time
async def test_no_visit_begins_while_the_database_is_away() -> None:
    names = [f"r{n}" for n in range(40)]
    transport = WatchedTransport({name: FakeDevice(RIGHT) for name in names}, seconds=1.0)
    run, store = rig(names, transport, concurrency=5)
    store.away = (2.5, 500.0)
    outcomes = await run.run()
    assert {outcome.status for outcome in outcomes} == {Status.COLLECTED}
    assert sorted(outcome.device.name for outcome in outcomes) == sorted(names)
    assert sorted(outcome.device.name for outcome in store.outcomes) == sorted(names)
    during = [name for at, name, _ in transport.opened if 2.5 < at < 500]
    assert len(during) <= 10  # those whose visit had begun, and those that began before anybody noticed
    assert all(outcome.attempts == 1 for outcome in outcomes)
    assert len(transport.opened) == len(names)


@in_virtual_time
async def test_a_device_that_waited_too_long_for_the_record_is_tried_again_without_a_retry() -> None:
    transport = WatchedTransport({"r1": FakeDevice(RIGHT)}, seconds=1.0)
    run, store = rig(["r1"], transport, device_timeout=10.0, retries=0)
    store.away = (0.0, 300.0)
    (outcome,) = await run.run()
    assert (outcome.status, outcome.attempts) == (Status.COLLECTED, 1)
    assert len(transport.opened) == 2  # it was given up in the outage, and visited once more after it
    assert run.verdicts == [("svc", "accepted", None)]


@in_virtual_time
async def test_a_verdict_is_not_lost_however_long_the_database_is_away() -> None:
    transport = WatchedTransport({"r1": FakeDevice({"spare": "right too"})}, seconds=30.0)
    run, store = rig(["r1"], transport, device_timeout=10.0, retries=1)
    running = asyncio.create_task(run.run())
    store.away = (0.06, 300.0)  # the first attempt is on record by then
    (outcome,) = await running
    assert outcome.status is Status.FAILED  # each capture takes longer than the device is given
    refused = [row for row in run.verdicts if row[1] == Verdict.REFUSED.value]
    assert len(refused) == 1
    assert "open" not in {verdict for _, verdict, _ in run.verdicts}


@in_virtual_time
async def test_a_device_that_is_unreachable_all_the_same_spends_its_retries() -> None:
    dead = Unreachable("no answer")
    transport = WatchedTransport({"r1": FakeDevice(RIGHT), "r2": FakeDevice(RIGHT, fails=dead)}, seconds=1.0)
    run, store = rig(["r1", "r2"], transport, retries=2)
    store.away = (0.0, 100.0)
    outcomes = {outcome.device.name: outcome for outcome in await run.run()}
    assert outcomes["r1"].status is Status.COLLECTED
    assert outcomes["r2"].reason == "unreachable"
    assert sum(name == "r2" for _, name, _ in transport.opened) <= 4


# ---- the guard


class AwayBook(MemoryGuardBook):
    """Cannot be reached between two moments; another guard has the account between two others."""

    def __init__(self, away: tuple[float, float], others: tuple[float, float] = (0.0, 0.0)) -> None:
        super().__init__()
        self.away, self.others = away, others
        self.asked = 0

    def _look(self) -> None:
        self.asked += 1
        if self.away[0] <= now() < self.away[1]:
            raise GONE
        if self.others[0] <= now() < self.others[1]:
            self._holders[ACCOUNT] = "another"
        elif self._holders.get(ACCOUNT) == "another":
            del self._holders[ACCOUNT]

    async def take(self, account: tuple[str, str], holder: str, lease: float) -> dict[str, Any] | None:
        self._look()
        return await super().take(account, holder, lease)

    async def keep(
        self, account: tuple[str, str], holder: str, state: dict[str, Any], lease: float | None
    ) -> bool:
        self._look()
        return await super().keep(account, holder, state, lease)

    async def claimed(self, holder: str) -> Sequence[tuple[str, str]]:
        self._look()
        return await super().claimed(holder)


ACCOUNT = SVC.account


class Sending(WatchedTransport):
    """Knows when secrets were sent."""

    def __init__(self, devices: dict[str, FakeDevice], **options: Any) -> None:
        super().__init__(devices, **options)
        self.sent: list[float] = []

    @asynccontextmanager
    async def open(self, target: Target, login: Login, via: Tunnel | None = None) -> AsyncIterator[Session]:
        secret = login.secret

        async def noted() -> Secret:
            handed_over = await secret()
            self.sent.append(now())
            return handed_over

        login.secret = noted  # type: ignore[method-assign]  # to look on
        async with super().open(target, login, via) as session:
            yield session


def guarded(number: int, ledger: tuple[float, float], book: AwayBook, **options: Any) -> tuple[Rig, Sending]:
    names = [f"r{n}" for n in range(number)]
    transport = Sending({name: FakeDevice(RIGHT) for name in names}, seconds=1.0)
    run, store = rig(names, transport, rules=lambda _: Policy(), **options)
    store.away, store.guard_book, store.kind = ledger, book, AttemptStarted
    return run, transport


@in_virtual_time
async def test_an_account_whose_lease_ended_meanwhile_is_driven_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "netraven.collect")
    book = AwayBook((3.0, 300.0))
    run, transport = guarded(40, (3.0, 300.0), book, concurrency=5, device_timeout=30.0)
    outcomes = await run.run()
    assert {outcome.status for outcome in outcomes} == {Status.COLLECTED}
    assert len(transport.sent) == len(run.store.attempts)
    assert "open" not in {verdict for _, verdict, _ in run.verdicts}
    assert book.asked < 4 * 60 + 300 / LONGEST_PAUSE * 2 + 100  # not four times a second while it is away
    told = [r.message for r in caplog.records if r.message in {"guard_not_kept", "account_not_taken"}]
    assert told == []
    assert [r.message for r in caplog.records].count("database_lost") == 1


class SlowBook(AwayBook):
    """Takes its time to write."""

    async def keep(
        self, account: tuple[str, str], holder: str, state: dict[str, Any], lease: float | None
    ) -> bool:
        await asyncio.sleep(0.5)
        return await super().keep(account, holder, state, lease)


@in_virtual_time
async def test_devices_that_came_while_the_lease_was_short_are_called_once_it_is_renewed() -> None:
    """The database is back, the lease is not renewed yet: devices are sent outside, where nobody else calls them."""
    run, transport = guarded(40, (3.0, 50.0), SlowBook((3.0, 50.0)), concurrency=5)
    async with asyncio.timeout(1000):
        outcomes = await run.run()
    assert {outcome.status for outcome in outcomes} == {Status.COLLECTED}
    assert len(transport.sent) == len(run.store.attempts)


@in_virtual_time
async def test_nothing_is_sent_under_a_permit_that_ended_while_it_was_put_on_record() -> None:
    """The first secret of an account holds its permit while it is put on record: meanwhile the account may go."""
    book = AwayBook((0.01, 100.0), others=(50.0, 150.0))
    run, transport = guarded(1, (0.0, 100.0), book)
    (outcome,) = await run.run()
    assert (outcome.status, outcome.attempts) == (Status.COLLECTED, 1)
    assert transport.sent
    assert min(transport.sent) >= 150
    assert run.verdicts == [("svc", "accepted", None)]


@in_virtual_time
async def test_an_account_that_another_guard_took_meanwhile_is_waited_for() -> None:
    book = AwayBook((3.0, 100.0), others=(80.0, 160.0))
    run, transport = guarded(20, (3.0, 100.0), book, concurrency=5)
    outcomes = await run.run()
    assert {outcome.status for outcome in outcomes} == {Status.COLLECTED}
    assert not [at for at in transport.sent if 100 < at < 160]
    assert len(transport.sent) == len(run.store.attempts)


# ---- a run that is another process's


class LostMeanwhile:
    """A place at a desk; the run is lost while its permit is waited for."""

    alone = False

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def permit(self) -> None:
        self._recorder.stop(RunLost("another process has it"))


@in_virtual_time
async def test_a_run_that_is_lost_while_a_permit_is_waited_for_sends_nothing() -> None:
    store = MemoryStore([device("r1")], [SVC])
    run = await store.start(Order(strategy="priority", concurrency=1))
    (target,) = [target async for target in store.targets(Selector())]
    (credential,) = await store.credentials()
    async with Recorder(store, run=run) as recorder:
        offer = Offer(Choice(credential, "why"), Secret("right"), cast(Admission, LostMeanwhile(recorder)))
        visit = Visit(target, now)
        login = RecordedLogin(visit, offer, Record(run.id, recorder, Knowledge(), now))
        with pytest.raises(RunLost):
            await login.secret()
    assert visit.attempts == 0


class FrozenMeanwhile(MemoryStore):
    """Commits, and the process stands still before it hears of it."""

    frozen = 0.0

    async def commit(self, entries: Sequence[Entry], *, of: Batch | None = None) -> Sequence[Any]:
        answers = await super().commit(entries, of=of)
        await asyncio.sleep(self.frozen)
        return answers


@in_virtual_time
@pytest.mark.parametrize(("frozen", "sends"), [(HELD - 5, True), (HELD + 5, False)])
async def test_a_process_that_stood_still_sends_nothing_before_it_knows_that_the_run_is_its_own(
    frozen: float, sends: bool
) -> None:
    """In a realm without a common budget no lease keeps it from that."""
    store = FrozenMeanwhile([device("r1")], [SVC])
    run = await store.start(Order(strategy="priority", concurrency=1))
    (target,) = [target async for target in store.targets(Selector())]
    (credential,) = await store.credentials()
    guard = Guard(
        store.guard_book, [SVC], rules=lambda _: Policy(local=True), holder="me#1",
        knowledge=Knowledge(), find_proven=store.proven,
    )  # fmt: skip
    async with Recorder(store, run=run) as recorder:
        for seconds, may in ((frozen, sends), (0.0, True)):
            store.frozen = seconds
            visit = Visit(target, now)
            place = guard.consider(visit, credential, alternatives=False, alone=True)
            assert isinstance(place, Admission)
            offer = Offer(Choice(credential, "why"), Secret("right"), place)
            login = RecordedLogin(visit, offer, Record(run.id, recorder, Knowledge(), now))
            if may:
                assert (await login.secret()).password == "right"
                login.abandon("interrupted")
            else:
                with pytest.raises(Put):
                    await login.secret()
                assert visit.attempts == 0
            place.close()
            store.frozen = 0.0
