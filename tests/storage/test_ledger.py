"""What a run puts on record, and what the store answers."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Table, select

from netraven.errors import RowRefused
from netraven.model import (
    AttemptConcluded,
    AttemptStarted,
    AttemptWithdrawn,
    Capture,
    CredentialMetrics,
    Device,
    DeviceFinished,
    HostKey,
    HostKeySeen,
    Logged,
    Outcome,
    SkipReason,
    Status,
    Verdict,
)
from netraven.storage import schema
from netraven.storage.store import SqlStore
from netraven.storage.types import NaiveTime
from tests.storage.facts import START, add_credential, add_device, at, collected, failed, start_run, try_once


async def rows(store: SqlStore, table: Table) -> list[dict[str, Any]]:
    async with store.database.reading() as connection:
        order = table.primary_key.columns.values()
        return [dict(row) for row in (await connection.execute(select(table).order_by(*order))).mappings()]


async def metrics(store: SqlStore, name: str = "tacacs") -> CredentialMetrics:
    return (await store.vault.get(name)).metrics


async def test_an_attempt_is_pending_until_its_verdict(store: SqlStore) -> None:
    device, credential = await add_device(store), await add_credential(store, realm="hq")
    run = await start_run(store)
    (key,) = await store.commit([AttemptStarted(run.id, device, credential, at(1), "priority 100")])
    (pending,) = await rows(store, schema.credential_attempts)
    assert pending == {
        "id": key,
        "run_id": run.id,
        "device_id": device.id,
        "device_name": "r1",
        "credential_id": credential.id,
        "credential_name": "tacacs",
        "credential_username": "svc",
        "realm": "hq",
        "secret_version": 1,
        "reason": "priority 100",
        "verdict": "pending",
        "error_type": None,
        "started_at": at(1),
        "concluded_at": None,
        "duration_ms": None,
    }
    assert await metrics(store) == CredentialMetrics(None, 1, 0, at(1), None)

    await store.commit([AttemptConcluded(key, device, credential, Verdict.ACCEPTED, at(2), 950)])
    (concluded,) = await rows(store, schema.credential_attempts)
    assert concluded == pending | {"verdict": "accepted", "concluded_at": at(2), "duration_ms": 950}
    assert await metrics(store) == CredentialMetrics(1.0, 1, 1, at(1), at(2))


async def test_ids_come_in_the_order_of_the_entries(store: SqlStore) -> None:
    device, credential = await add_device(store), await add_credential(store)
    run = await start_run(store)
    entries = [AttemptStarted(run.id, device, credential, at(n), f"reason {n}") for n in range(20)]
    first = await store.commit(entries[:1])
    keys = [*first, *await store.commit(entries[1:])]
    stored = {row["id"]: row["reason"] for row in await rows(store, schema.credential_attempts)}
    assert [stored[key] for key in keys] == [entry.reason for entry in entries]


async def test_a_withdrawn_attempt_never_was(store: SqlStore) -> None:
    device, credential = await add_device(store), await add_credential(store)
    run = await start_run(store)
    (key,) = await store.commit([AttemptStarted(run.id, device, credential, START, "x")])
    assert await store.commit([AttemptWithdrawn(key, credential)]) == [None]
    assert await rows(store, schema.credential_attempts) == []
    assert (await metrics(store)).attempts == 0


async def test_one_batch_folds_as_many_single_entries_would(store: SqlStore) -> None:
    device = await add_device(store)
    together, apart = await add_credential(store, "together"), await add_credential(store, "apart")
    run = await start_run(store)
    verdicts = [Verdict.REFUSED, Verdict.ACCEPTED, Verdict.NO_VERDICT, Verdict.ACCEPTED, Verdict.REFUSED]
    keys = await store.commit([AttemptStarted(run.id, device, together, at(n), "") for n in range(5)])
    await store.commit(
        [
            AttemptConcluded(key, device, together, verdict, at(10 + n), 1)
            for n, (key, verdict) in enumerate(zip(keys, verdicts, strict=True))
        ]
    )
    for n, verdict in enumerate(verdicts):
        (key,) = await store.commit([AttemptStarted(run.id, device, apart, at(n), "")])
        await store.commit([AttemptConcluded(key, device, apart, verdict, at(10 + n), 1)])

    one, other = await metrics(store, "together"), await metrics(store, "apart")
    assert one.success_rate == pytest.approx(((0.0 * 0.9 + 0.1) * 0.9 + 0.1) * 0.9)
    assert other.success_rate == pytest.approx(one.success_rate)
    assert replace(one, success_rate=None) == replace(other, success_rate=None)
    assert (one.attempts, one.successes, one.last_used, one.last_success) == (5, 2, at(4), at(13))
    first, second = await rows(store, schema.credential_pairs)
    assert first | {"credential_id": 0} == second | {"credential_id": 0}
    assert (first["last_verdict"], first["failures_in_row"], first["attempts"]) == ("refused", 1, 5)


async def test_no_verdict_teaches_nothing(store: SqlStore) -> None:
    device, credential = await add_device(store), await add_credential(store)
    run = await start_run(store)
    await try_once(store, run, device, credential, Verdict.REFUSED)
    before = await metrics(store)
    await try_once(store, run, device, credential, Verdict.NO_VERDICT, 5)
    after = await metrics(store)
    assert (after.success_rate, after.successes, after.attempts) == (before.success_rate, 0, 2)
    (pair,) = await rows(store, schema.credential_pairs)
    assert (pair["last_verdict"], pair["last_verdict_at"], pair["failures_in_row"]) == ("refused", at(1), 1)


async def test_pairs_remember_failures_in_a_row_by_secret_version(store: SqlStore) -> None:
    device, credential = await add_device(store), await add_credential(store)
    run = await start_run(store)
    for n in range(3):
        await try_once(store, run, device, credential, Verdict.REFUSED, n)
    (pair,) = await rows(store, schema.credential_pairs)
    assert (pair["failures_in_row"], pair["last_success"]) == (3, None)
    await try_once(store, run, device, credential, Verdict.ACCEPTED, 10)
    await try_once(store, run, device, credential, Verdict.REFUSED, 20)
    (pair,) = await rows(store, schema.credential_pairs)
    assert (pair["failures_in_row"], pair["last_success"], pair["attempts"]) == (1, at(11), 5)
    await try_once(store, run, device, replace(credential, secret_version=2), Verdict.REFUSED, 30)
    assert [row["secret_version"] for row in await rows(store, schema.credential_pairs)] == [1, 2]


async def test_only_the_first_host_key_is_taken(store: SqlStore) -> None:
    one, other = await add_device(store, "r1"), await add_device(store, "r2")
    first, second = HostKey("ssh-ed25519", b"first"), HostKey("ssh-ed25519", b"second")
    assert await store.commit([HostKeySeen(one, first), HostKeySeen(one, second)]) == [(first,), (first,)]
    assert await store.commit([HostKeySeen(one, second), HostKeySeen(other, second)]) == [(first,), (second,)]
    assert (await store.inventory.get("r1")).host_keys == (first,)
    (row, _) = await rows(store, schema.host_keys)
    assert row["fingerprint"] == first.fingerprint


async def test_an_outcome_makes_one_connection_log(store: SqlStore) -> None:
    device, credential = await add_device(store), await add_credential(store)
    run = await start_run(store)
    entry = collected(run, device, credential, "hostname r1\n", attempts=3, retry_count=2)
    (outcome,) = await store.commit([entry])
    assert outcome == replace(entry.outcome, snapshot=outcome.snapshot, changed=True)
    assert [row async for row in store.logs.connections()] == [
        {
            "timestamp": START,
            "device": "r1",
            "run": run.id,
            "successful": True,
            "duration_ms": 400,
            "error_type": None,
            "error_message": None,
            "credential_id": credential.id,
            "credential": "tacacs",
            "credential_username": "svc",
            "retry_count": 2,
            "what": "configuration",
        }
    ]
    assert [row async for row in store.logs.job()] == []
    assert await store.logs.outcomes(run.id) == [
        {
            "name": "r1",
            "status": "collected",
            "reason": None,
            "detail": None,
            "credential": "tacacs",
            "attempts": 3,
            "retry_count": 2,
            "duration_ms": 400,
            "snapshot": outcome.snapshot,
            "changed": True,
        }
    ]


async def test_a_failure_is_readable_in_the_job_log(store: SqlStore) -> None:
    device, credential = await add_device(store), await add_credential(store)
    run = await start_run(store)
    await store.commit(
        [failed(run, device, credential), Logged(run.id, at(9), "info", "run_paused", data={"n": 1})]
    )
    (connection,) = [row async for row in store.logs.connections()]
    assert (connection["successful"], connection["error_type"]) == (False, "unreachable")
    assert connection["error_message"] == "no route"
    first, second = [row async for row in store.logs.job()]
    assert (first["level"], first["message"], first["device"]) == ("warning", "device_failed", "r1")
    assert first["data"] == {"error_type": "unreachable", "detail": "no route", "credential": "tacacs"}
    assert (second["message"], second["device"], second["data"]) == ("run_paused", None, {"n": 1})


async def test_a_device_that_nothing_was_tried_on_has_no_connection(store: SqlStore) -> None:
    device = await add_device(store)
    run = await start_run(store)
    skipped = Outcome(device, Status.SKIPPED, START, 0, SkipReason.NO_CREDENTIALS)
    await store.commit([DeviceFinished(run.id, skipped)])
    assert [row async for row in store.logs.connections()] == []
    assert [row["status"] for row in await store.logs.outcomes(run.id)] == ["skipped"]


async def test_a_bad_row_undoes_its_batch_and_is_named_when_alone(store: SqlStore) -> None:
    kept, gone = await add_device(store, "r1"), await add_device(store, "r2")
    credential = await add_credential(store)
    run = await start_run(store)
    await store.inventory.remove("r2")
    good = AttemptStarted(run.id, kept, credential, START, "")
    bad = AttemptStarted(run.id, gone, credential, START, "")
    with pytest.raises(RowRefused):
        await store.commit([good, bad, good])
    assert await rows(store, schema.credential_attempts) == []
    assert (await metrics(store)).attempts == 0
    with pytest.raises(RowRefused, match="device r2 is no longer in the inventory"):
        await store.commit([bad])
    assert len(await store.commit([good, good])) == 2


async def test_other_bad_rows_are_named_too(store: SqlStore) -> None:
    device, credential = await add_device(store), await add_credential(store)
    run = await start_run(store)
    await store.commit([collected(run, device, credential)])
    with pytest.raises(RowRefused, match=f"device r1 has an outcome in run {run.id} already"):
        await store.commit([collected(run, device, credential)])
    with pytest.raises(RowRefused, match="run 4711 no longer exists"):
        await store.commit([Logged(4711, START, "info", "x")])
    with pytest.raises(RowRefused, match="not in the inventory"):
        await store.commit([collected(run, Device("r9", "h", "p"), text="x")])
    await store.vault.remove("tacacs")
    with pytest.raises(RowRefused, match="credential tacacs no longer exists"):
        await store.commit([AttemptStarted(run.id, device, credential, START, "")])


@pytest.mark.parametrize("fields", [{"attempts": 2**70}, {"detail": "half a pair \ud800"}])
async def test_a_value_that_no_column_takes_is_refused_without_quoting_it(
    store: SqlStore, fields: dict[str, Any]
) -> None:
    device = await add_device(store)
    run = await start_run(store)
    with pytest.raises(RowRefused) as caught:
        await store.commit([failed(run, device, **fields)])
    assert "half a pair" not in str(caught.value)
    assert await rows(store, schema.run_outcomes) == []


async def test_a_time_without_a_zone_is_refused(store: SqlStore) -> None:
    device, credential = await add_device(store), await add_credential(store)
    run = await start_run(store)
    with pytest.raises(NaiveTime):
        await store.commit([AttemptStarted(run.id, device, credential, datetime(2026, 1, 1), "")])  # noqa: DTZ001 - naive on purpose
    assert await rows(store, schema.credential_attempts) == []


async def test_history_outlives_device_and_credential(store: SqlStore) -> None:
    device, credential = await add_device(store), await add_credential(store)
    run = await start_run(store)
    await try_once(store, run, device, credential, Verdict.ACCEPTED)
    await store.commit([collected(run, device, credential, "hostname r1\n")])
    await store.vault.remove("tacacs")
    await store.inventory.remove("r1")
    (log,) = [row async for row in store.logs.connections()]
    assert (log["device"], log["credential_id"], log["credential"]) == ("r1", None, "tacacs")
    assert log["credential_username"] == "svc"
    (attempt,) = [row async for row in store.logs.attempts()]
    assert (attempt["device"], attempt["credential_username"]) == ("r1", "svc")
    assert await rows(store, schema.credential_pairs) == []
    assert await rows(store, schema.snapshots) == []


class TestSnapshots:
    async def test_an_unchanged_configuration_only_moves_its_last_sight(self, store: SqlStore) -> None:
        device = await add_device(store)
        answers: list[Outcome] = []
        for n in range(3):
            run = await start_run(store)
            answers += await store.commit(
                [collected(run, device, text="hostname r1\n", started_at=at(n * 60))]
            )
        assert [answer.changed for answer in answers] == [True, False, False]
        (version,) = await rows(store, schema.snapshots)
        assert (version["first_seen_at"], version["last_seen_at"]) == (at(0.4), at(120.4))
        stored = await store.versions.current("r1", "running")
        assert stored is not None
        assert (stored.text, stored.version.sha256) == ("hostname r1\n", answers[0].snapshot)

    async def test_going_back_is_a_new_version_and_content_is_kept_once(self, store: SqlStore) -> None:
        one, other = await add_device(store, "r1"), await add_device(store, "r2")
        for text in ("a\n", "b\n", "a\n"):
            run = await start_run(store)
            await store.commit([collected(run, device, text=text) for device in (one, other)])
        assert len(await rows(store, schema.snapshots)) == 6
        assert len(await rows(store, schema.blobs)) == 2
        history = await store.versions.history("r1", "running")
        assert [(version.number, version.sha256[:4]) for version in history] == [
            (3, "8742"),
            (2, "0263"),
            (1, "8742"),
        ]

    async def test_kinds_have_versions_of_their_own(self, store: SqlStore) -> None:
        device = await add_device(store)
        run = await start_run(store)
        captures = (Capture("running\n"), Capture("startup\n", "startup"))
        entry = replace(collected(run, device), captures=captures)
        (outcome,) = await store.commit([entry])
        running = await store.versions.current("r1", "running")
        startup = await store.versions.current("r1", "startup")
        assert running is not None
        assert startup is not None
        assert (running.text, startup.text) == ("running\n", "startup\n")
        assert outcome.snapshot == running.version.sha256
        assert await store.versions.kinds("r1") == ["running", "startup"]

    async def test_any_bytes_and_any_size_come_back_as_they_were(self, store: SqlStore) -> None:
        device = await add_device(store)
        text = "caf\udce9 \x00 ü\n" * 40_000
        run = await start_run(store)
        (outcome,) = await store.commit([collected(run, device, text=text)])
        stored = await store.versions.current("r1", "running")
        assert stored is not None
        assert (stored.text, stored.version.sha256) == (text, outcome.snapshot)
