"""What every store does for a run: in memory, on SQLite, on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from netraven.credentials.evidence import Knowledge
from netraven.credentials.sealing import Keyring
from netraven.errors import DatabaseError, RowRefused, SecretUnreadable
from netraven.model import (
    AttemptConcluded,
    AttemptStarted,
    AttemptWithdrawn,
    Capture,
    Counts,
    Credential,
    CredentialMetrics,
    Device,
    DeviceFinished,
    Entry,
    HostKey,
    HostKeySeen,
    Logged,
    Order,
    Outcome,
    Run,
    RunStatus,
    Secret,
    Selector,
    Status,
    Tally,
    Target,
    Verdict,
    What,
    utcnow,
)
from netraven.ports import Feature
from netraven.storage.engine import Database
from netraven.storage.memory import MemoryStore
from netraven.storage.runs import SILENCE, SqlRuns
from netraven.storage.sample import in_share
from netraven.storage.store import SqlStore

START = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
DEVICES = [
    Device("r10", "192.0.2.10", "cisco_iosxe", 22, frozenset({"edge"})),
    Device("r2", "192.0.2.2", "arista_eos", 2222, frozenset({"core", "edge"})),
    Device("a1", "2001:db8::1", "juniper_junos", 22, frozenset({"core"})),
    Device("z9", "host.example", "cisco_nxos", 22, frozenset()),
]
CREDENTIALS = [
    Credential("tacacs", "svc", "first", frozenset({"edge", "core"}), 10, enable_password="enable me"),
    Credential("local", "admin", "second", frozenset({"spare"}), 20, realm="local"),
    Credential("key", "robot", None, frozenset({"edge"}), private_key="a private key"),
]
KEY, OTHER_KEY = HostKey("ssh-ed25519", b"one"), HostKey("ssh-ed25519", b"two")
Store = MemoryStore | SqlStore


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def store(backend: str, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """A store with :data:`DEVICES` and :data:`CREDENTIALS`."""
    if backend == "memory":
        yield MemoryStore(DEVICES, CREDENTIALS)
        return
    async with await Database.open(request.getfixturevalue("database_url")) as database:
        sql = SqlStore(database, Keyring.generate())
        await sql.inventory.upsert_devices(DEVICES)
        for c in CREDENTIALS:
            await sql.vault.add(c, Secret(c.password, c.private_key, c.enable_password))
        yield sql


async def names(store: Store, selector: Selector) -> list[str]:
    return [target.device.name async for target in store.targets(selector)]


async def test_a_share_of_the_devices(store: Store) -> None:
    """Part of them, in the same order, and the same ones each time."""
    everyone = [t.device async for t in store.targets(Selector())]
    for share in (0.0, 0.3, 0.7, 1.0):
        part = [t.device.name async for t in store.targets(Selector(), share=share)]
        assert part == [d.name for d in everyone if share == 1.0 or in_share(d.id or 0, share)]


async def target(store: Store, name: str = "r2") -> Target:
    (found,) = [t async for t in store.targets(Selector(names=frozenset({name})))]
    return found


async def credential(store: Store, name: str = "tacacs") -> Credential:
    (found,) = [c for c in await store.credentials() if c.name == name]
    return found


async def a_run(store: Store) -> Run:
    return await store.start(Order(strategy="priority", concurrency=5))


async def metrics(store: Store, name: str = "tacacs") -> CredentialMetrics:
    if isinstance(store, MemoryStore):
        return store.metrics[name]
    return next(r.metrics for r in await store.vault.list() if r.credential.name == name)


async def started(store: Store, run: Run, seconds: float = 0.0) -> AttemptStarted:
    device = (await target(store)).device
    return AttemptStarted(run.id, device, await credential(store), START + timedelta(seconds=seconds), "why")


def concluded(start: AttemptStarted, key: int, verdict: Verdict, seconds: float = 1.0) -> AttemptConcluded:
    return AttemptConcluded(
        key, start.device, start.credential, verdict, START + timedelta(seconds=seconds), 900, None
    )


# ---- Inventory


async def test_devices_are_selected_and_come_by_name(store: Store) -> None:
    for tags, chosen, found in [
        ((), (), ["a1", "r10", "r2", "z9"]),
        (("edge",), (), ["r10", "r2"]),
        (("edge", "core"), (), ["a1", "r10", "r2"]),
        ((), ("z9", "r2"), ["r2", "z9"]),
        (("core",), ("r2", "r10"), ["r2"]),
        (("nothing",), (), []),
        ((), ("nobody",), []),
    ]:
        selector = Selector(frozenset(tags), frozenset(chosen))
        assert await names(store, selector) == found
        assert await store.count(selector) == len(found)


async def test_devices_and_credentials_come_back_as_they_were_stored(store: Store) -> None:
    by_name = {t.device.name: t.device async for t in store.targets(Selector())}
    assert by_name == {d.name: d for d in DEVICES}
    assert all(d.id is not None for d in by_name.values())
    assert sorted(await store.credentials(), key=lambda c: c.name) == sorted(
        CREDENTIALS, key=lambda c: c.name
    )
    assert all(c.id is not None for c in await store.credentials())


async def test_tags_are_those_of_devices_and_credentials(store: Store) -> None:
    assert await store.known_tags() == {"edge", "core", "spare"}


async def test_names_that_are_missing(store: Store) -> None:
    assert list(await store.missing(["r2", "y", "x", "x"])) == ["x", "y"]
    assert list(await store.missing([])) == []


# ---- Secrets


async def test_a_secret_is_revealed_whole(store: Store) -> None:
    assert await store.reveal(await credential(store)) == Secret("first", None, "enable me")
    assert await store.reveal(await credential(store, "key")) == Secret(None, "a private key", None)


async def test_the_secret_of_an_unknown_credential_is_unreadable(store: Store) -> None:
    with pytest.raises(SecretUnreadable):
        await store.reveal(Credential("ghost", "svc", id=999))


# ---- Ledger


async def test_a_host_key_is_remembered_once_and_the_first_one_stays(store: Store) -> None:
    device = (await target(store)).device
    (answer,) = await store.commit([HostKeySeen(device, KEY)])
    assert tuple(answer) == (KEY,)
    answers = await store.commit([HostKeySeen(device, OTHER_KEY), HostKeySeen(device, KEY)])
    assert [tuple(a) for a in answers] == [(KEY,), (KEY,)]
    assert (await target(store)).host_keys == (KEY,)
    assert (await target(store, "r10")).host_keys == ()


async def test_attempts_get_ids_of_their_own(store: Store) -> None:
    run = await a_run(store)
    keys = [
        *await store.commit([await started(store, run)] * 2),
        *await store.commit([await started(store, run)]),
    ]
    assert len(set(keys)) == 3
    assert all(type(key) is int for key in keys)


async def test_an_attempt_counts_when_it_starts_and_moves_the_rate_with_its_verdict(store: Store) -> None:
    run = await a_run(store)
    start = await started(store, run)
    (key,) = await store.commit([start])
    assert await metrics(store) == CredentialMetrics(attempts=1, last_used=START)
    await store.commit([concluded(start, key, Verdict.ACCEPTED)])
    now = await metrics(store)
    assert (now.success_rate, now.attempts, now.successes) == (1.0, 1, 1)
    assert now.last_success == START + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("verdicts", "rate"),
    [
        ("N", None),
        ("RA", 0.1),
        ("ARNA", 0.91),
        ("NNA", 1.0),
    ],
)
@pytest.mark.parametrize("together", [True, False])
async def test_the_rate_follows_the_formula_in_one_batch_or_many(
    store: Store, verdicts: str, rate: float | None, together: bool
) -> None:
    run = await a_run(store)
    start = await started(store, run)
    meaning = {"A": Verdict.ACCEPTED, "R": Verdict.REFUSED, "N": Verdict.NO_VERDICT}
    keys = await store.commit([start] * len(verdicts))
    entries = [
        concluded(start, key, meaning[v], n) for n, (key, v) in enumerate(zip(keys, verdicts, strict=True))
    ]
    for batch in [entries] if together else [[entry] for entry in entries]:
        await store.commit(batch)
    now = await metrics(store)
    assert now.success_rate == (None if rate is None else pytest.approx(rate))
    assert (now.attempts, now.successes) == (len(verdicts), verdicts.count("A"))


async def test_a_withdrawn_attempt_was_none(store: Store) -> None:
    run = await a_run(store)
    start = await started(store, run)
    first, second = await store.commit([start, start])
    await store.commit([AttemptWithdrawn(first, start.credential)])
    await store.commit([concluded(start, second, Verdict.REFUSED)])
    now = await metrics(store)
    assert (now.attempts, now.success_rate) == (1, 0.0)


async def test_an_outcome_is_filled_in_with_its_snapshot(store: Store) -> None:
    device, chosen = (await target(store)).device, await credential(store)

    async def finish(text: str) -> Outcome:
        run = await a_run(store)
        outcome = Outcome(device, Status.COLLECTED, START, 400, credential=chosen, attempts=1)
        (answer,) = await store.commit([DeviceFinished(run.id, outcome, (Capture(text),))])
        assert replace(answer, snapshot=None, changed=None) == outcome
        assert isinstance(answer, Outcome)
        return answer

    first, same, other = await finish("a\n"), await finish("a\n"), await finish("b\n")
    assert (first.changed, same.changed, other.changed) == (True, False, True)
    assert first.snapshot == same.snapshot
    assert other.snapshot not in (None, first.snapshot)


async def test_a_failure_has_no_snapshot(store: Store) -> None:
    run, device = await a_run(store), (await target(store)).device
    outcome = Outcome(device, Status.FAILED, START, 1, "unreachable", "no route")
    (answer,) = await store.commit([DeviceFinished(run.id, outcome)])
    assert answer == outcome


async def test_a_batch_of_everything_is_answered_in_its_order(store: Store) -> None:
    run, device = await a_run(store), (await target(store)).device
    finished = DeviceFinished(run.id, Outcome(device, Status.FAILED, START, 1, "unreachable", "x"))
    line = Logged(run.id, START, "info", "hello", device.name, {"n": 1})
    answers = await store.commit([line, finished, await started(store, run), HostKeySeen(device, KEY)])
    assert [type(a) for a in answers[:3]] == [type(None), Outcome, int]
    assert tuple(answers[3]) == (KEY,)


async def test_nothing_to_write(store: Store) -> None:
    assert list(await store.commit([])) == []


async def test_an_entry_about_an_unknown_device_is_refused_with_its_whole_batch(store: Store) -> None:
    run = await a_run(store)
    good = await started(store, run)
    ghost = Device("ghost", "192.0.2.99", "cisco_iosxe", id=999)
    bad: list[Entry] = [
        replace(good, device=ghost),
        HostKeySeen(ghost, KEY),
        DeviceFinished(run.id, Outcome(ghost, Status.FAILED, START, 1, "unreachable", "x")),
    ]
    for entry in bad:
        with pytest.raises(RowRefused) as caught:
            await store.commit([good, entry])
        assert isinstance(caught.value, DatabaseError)
    assert (await metrics(store)).attempts == 0


async def test_an_entry_about_an_unknown_credential_is_refused(store: Store) -> None:
    start = replace(await started(store, await a_run(store)), credential=Credential("ghost", "svc", id=999))
    with pytest.raises(RowRefused):
        await store.commit([start])


# ---- Evidence


async def judge(
    store: Store, name: str, verdicts: str, *, age: timedelta = timedelta(0), by: str = "tacacs"
) -> None:
    """Let the device accept (A), refuse (R) or leave unanswered (N) a credential, ``age`` ago."""
    device, chosen = (await target(store, name)).device, await credential(store, by)
    at = utcnow() - age
    meaning = {"A": Verdict.ACCEPTED, "R": Verdict.REFUSED, "N": Verdict.NO_VERDICT}
    start = AttemptStarted((await a_run(store)).id, device, chosen, at, "why")
    for letter in verdicts:
        (key,) = await store.commit([start])
        await store.commit([AttemptConcluded(key, device, chosen, meaning[letter], at, 1)])


async def tallies(store: Store, name: str = "tacacs", version: int = 1) -> dict[Feature, Tally]:
    return dict((await store.learned()).tallies.get((name, version), {}))


async def test_nothing_is_known_at_first(store: Store) -> None:
    assert (await store.learned()).tallies == {}
    assert (await store.learned()).metrics["tacacs"] == CredentialMetrics()


async def test_each_device_counts_once_for_all_that_it_has_in_common_with_others(store: Store) -> None:
    await judge(store, "r2", "RRA")
    await judge(store, "r10", "ARRN")
    await judge(store, "a1", "N")
    await judge(store, "z9", "A", by="local")
    assert await tallies(store) == {
        ("fleet", ""): Tally(1, 1),
        ("platform", "arista_eos"): Tally(1, 0),
        ("platform", "cisco_iosxe"): Tally(0, 1),
        ("tag", "edge"): Tally(1, 1),
        ("tag", "core"): Tally(1, 0),
        ("tag on platform", "edge arista_eos"): Tally(1, 0),
        ("tag on platform", "core arista_eos"): Tally(1, 0),
        ("tag on platform", "edge cisco_iosxe"): Tally(0, 1),
    }
    assert await tallies(store, "local") == {
        ("fleet", ""): Tally(1, 0),
        ("platform", "cisco_nxos"): Tally(1, 0),
    }


@pytest.mark.parametrize(
    ("days", "counts"),
    [
        (0, 1.0),
        (6.9, 1.0),
        (7.1, 0.5 ** (7 / 30)),
        (30.1, 0.5 ** (28 / 30)),
        (62.9, 0.5 ** (56 / 30)),
        (183, 0),
    ],
)
async def test_a_verdict_fades_to_half_in_a_month(store: Store, days: float, counts: float) -> None:
    await judge(store, "r2", "A", age=timedelta(days=days))
    await judge(store, "r10", "R", age=timedelta(days=days))
    found = await tallies(store)
    if not counts:
        assert found == {}
        return
    fleet, core = found["fleet", ""], found["tag", "core"]
    assert [fleet.accepted, fleet.refused, core.accepted] == pytest.approx([counts] * 3)
    assert core.refused == 0


async def test_each_version_of_a_secret_has_its_own(store: Store) -> None:
    await judge(store, "r2", "A")
    device, new = (await target(store)).device, replace(await credential(store), secret_version=2)
    start = AttemptStarted((await a_run(store)).id, device, new, utcnow(), "why")
    (key,) = await store.commit([start])
    await store.commit([AttemptConcluded(key, device, new, Verdict.REFUSED, utcnow(), 1)])
    assert (await tallies(store))["fleet", ""] == Tally(1.0, 0.0)
    assert (await tallies(store, version=2))["fleet", ""] == Tally(0.0, 1.0)


async def test_only_the_last_verdict_of_a_pair_counts_and_from_its_own_time(store: Store) -> None:
    await judge(store, "r2", "A", age=timedelta(days=100))
    await judge(store, "r2", "R", age=timedelta(days=1))
    assert (await tallies(store))["fleet", ""] == Tally(0.0, 1.0)


async def test_a_run_starts_with_what_is_on_record_and_adds_to_it(store: Store) -> None:
    await judge(store, "r2", "A", age=timedelta(days=29))
    knowledge = Knowledge(await store.learned())
    chosen = await credential(store)
    knowledge.learn((await target(store, "r10")).device, chosen, Verdict.ACCEPTED)
    knowledge.learn((await target(store, "a1")).device, chosen, Verdict.NO_VERDICT)
    evidence = knowledge.of(await target(store, "a1"))
    assert evidence.tally(chosen, ("tag", "edge")).accepted == pytest.approx(1 + 0.5 ** (28 / 30))
    assert evidence.tally(chosen, ("tag", "core")).accepted == pytest.approx(0.5 ** (28 / 30))


# ---- Runs


async def to_visit(store: Store, run: Run) -> list[str]:
    return [target.device.name async for target in store.targets_of(run)]


async def finish_device(store: Store, run: Run, name: str, status: Status = Status.COLLECTED) -> None:
    reason = None if status in (Status.COLLECTED, Status.CHECKED) else "unreachable"
    outcome = Outcome((await target(store, name)).device, status, START, 1, reason)
    await store.commit([DeviceFinished(run.id, outcome)])


async def test_a_run_from_its_start_to_its_end(store: Store) -> None:
    selector = Selector(frozenset({"edge"}), frozenset({"r2"}))
    run = await store.start(Order(selector=selector, strategy="priority", concurrency=7))
    assert (run.status, run.selector, run.strategy, run.concurrency) == (
        RunStatus.RUNNING,
        selector,
        "priority",
        7,
    )
    assert (run.counts, run.begun) == (Counts(), False)
    assert run.finished_at is None
    assert run.started_at.tzinfo is not None
    begun = await store.begin(run, dead_after=3)
    assert (begun.id, begun.status, begun.begun) == (run.id, RunStatus.RUNNING, True)
    assert begun.counts == Counts(devices=1)
    assert begun.started_at >= run.started_at
    assert await store.heartbeat(begun)
    assert await store.heartbeat(begun, Counts(1, 0, 0, 0, 1), START)
    counts = Counts(1, 1, 0, 0, 2)
    done = await store.finish(begun, RunStatus.COMPLETE, counts, None)
    assert (done.id, done.status, done.counts, done.error) == (run.id, RunStatus.COMPLETE, counts, None)
    assert done.finished_at is not None
    assert done.finished_at >= run.started_at


@pytest.mark.parametrize("what", list(What))
async def test_a_run_is_what_its_order_says(store: Store, what: What) -> None:
    by = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
    order = Order(
        what, Selector(platforms=frozenset({"cisco_nxos"})), "priority", 3, ("version",), 50, finish_by=by
    )
    run = await store.start(order)
    for name in ("what", "selector", "strategy", "concurrency", "outputs", "priority", "finish_by"):
        assert getattr(run, name) == getattr(order, name), name


async def test_a_run_visits_what_its_selector_fits_and_has_no_outcome_yet(store: Store) -> None:
    run = await store.begin(
        await store.start(Order(selector=Selector(frozenset({"edge", "core"})))), dead_after=3
    )
    assert run.counts == Counts(devices=3)
    assert await to_visit(store, run) == ["a1", "r10", "r2"]
    await finish_device(store, run, "r10")
    assert await to_visit(store, run) == ["a1", "r2"]
    other = await store.begin(await store.start(Order()), dead_after=3)
    assert await to_visit(store, other) == ["a1", "r10", "r2", "z9"], "what another run did does not count"
    again = await store.begin(run, dead_after=3)
    assert again.counts.devices == 3
    assert await to_visit(store, again) == ["a1", "r2"], "its targets are written once"
    for name in ("a1", "r2"):
        await finish_device(store, run, name, Status.SKIPPED)
    assert await to_visit(store, run) == []


async def test_nothing_to_visit(store: Store) -> None:
    run = await store.begin(await store.start(Order(selector=Selector(frozenset({"nothing"})))), dead_after=3)
    assert (run.begun, run.counts) == (True, Counts())
    assert await to_visit(store, run) == []


async def test_a_run_that_is_let_go_is_put_back_or_ends(store: Store) -> None:
    run = await store.begin(await store.start(Order()), dead_after=3)
    await finish_device(store, run, "a1")
    counts = Counts(4, 1)
    let_go = await store.release(run, counts)
    assert (let_go.id, let_go.counts) == (run.id, counts)
    if isinstance(store, MemoryStore):  # nobody else could go on with it
        assert let_go.status is RunStatus.INTERRUPTED
        return
    assert let_go.status is RunStatus.QUEUED
    assert [r.id for r in await store.runs.queued(10)] == [run.id]
    assert not await store.heartbeat(run), "it is nobody's now"
    taken = await store.runs.claim(let_go)
    assert taken is not None
    assert (taken.id, taken.status, taken.begun, taken.counts) == (run.id, RunStatus.RUNNING, True, counts)
    assert await store.runs.claim(let_go) is None, "only one process takes it"
    assert await store.heartbeat(taken)
    assert await to_visit(store, taken) == ["r10", "r2", "z9"]
    assert await store.counted(taken) == counts


@pytest.mark.parametrize(
    "backend", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True
)
@pytest.mark.parametrize("job", [None, 7])
async def test_a_run_whose_process_died_ends_unless_a_job_wants_it(store: SqlStore, job: int | None) -> None:
    """What is in memory dies with its process."""
    elsewhere = SqlRuns(store.database, owner="otherhost/boot/1/1")
    order = Order(job_id=job, job=None if job is None else "nightly")
    run = await elsewhere.begin(await elsewhere.start(order), dead_after=3)
    await finish_device(store, run, "a1", Status.CHECKED)
    await finish_device(store, run, "r10", Status.FAILED)
    assert await store.runs.recover(now=utcnow()) == [], "it may yet live"
    assert [r.id for r in await store.runs.active()] == [run.id]
    (found,) = await store.runs.recover(now=utcnow() + 2 * SILENCE)
    assert found.counts == Counts(4, 1, 1)
    if job is None:
        assert (found.status, (await store.runs.get(run.id)).status) == (RunStatus.INTERRUPTED,) * 2
        assert await store.runs.active() == []
        return
    assert found.status is RunStatus.QUEUED
    assert not await elsewhere.heartbeat(run), "should it live after all, it learns that it lost the run"
    taken = await store.runs.claim(found)
    assert taken is not None
    assert await to_visit(store, taken) == ["r2", "z9"]
    assert await store.runs.recover(now=utcnow()) == [], "it is of this process now"


async def test_runs_are_told_apart(store: Store) -> None:
    first, second = await a_run(store), await a_run(store)
    assert first.id < second.id
    ended = await store.finish(first, RunStatus.INTERRUPTED, Counts(4), "the disk is full")
    assert (ended.id, ended.error) == (first.id, "the disk is full")


async def test_what_a_device_did_not_accept_of_late_comes_with_it(store: Store) -> None:
    """Refused or unanswered, whatever became of the credential; a local device counts them for itself."""
    device, chosen = (await target(store)).device, await credential(store)
    run = await a_run(store)
    for verdict in (Verdict.REFUSED, Verdict.ACCEPTED, Verdict.NO_VERDICT):
        start = AttemptStarted(run.id, device, chosen, utcnow(), "why")
        (key,) = await store.commit([start])
        await store.commit([AttemptConcluded(key, device, chosen, verdict, utcnow(), 1)])
    found = (await target(store)).unaccepted
    assert [(one.realm, one.username) for one in found] == [(chosen.realm, chosen.username)] * 2
    assert (await target(store, "r10")).unaccepted == ()
