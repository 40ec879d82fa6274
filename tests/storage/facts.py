"""Facts that the tests of the store share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from netraven.model import (
    AttemptConcluded,
    AttemptStarted,
    Capture,
    Credential,
    Device,
    DeviceFinished,
    Order,
    Outcome,
    Run,
    Secret,
    Status,
    Verdict,
)
from netraven.storage.store import SqlStore

START = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


async def add_device(store: SqlStore, name: str = "r1", **fields: Any) -> Device:
    fields = {"host": "192.0.2.1", "platform": "cisco_iosxe", "tags": {"edge"}} | fields
    await store.inventory.upsert_devices([Device(name, **fields)])
    return (await store.inventory.get(name)).device


async def add_credential(store: SqlStore, name: str = "tacacs", **fields: Any) -> Credential:
    fields = {"username": "svc", "tags": {"edge"}} | fields
    return await store.vault.add(Credential(name, **fields), Secret(password="only-a-test"))


async def start_run(store: SqlStore, devices: int = 1) -> Run:
    return await store.start(Order(strategy="priority", concurrency=10))


async def try_once(
    store: SqlStore, run: Run, device: Device, credential: Credential, verdict: Verdict, seconds: float = 0
) -> int:
    """One attempt with its verdict; its id."""
    started = AttemptStarted(run.id, device, credential, at(seconds), "priority 100")
    (key,) = await store.commit([started])
    error_type = None if verdict is Verdict.ACCEPTED else "auth_refused"
    await store.commit([AttemptConcluded(key, device, credential, verdict, at(seconds + 1), 900, error_type)])
    return int(key)


def collected(
    run: Run, device: Device, credential: Credential | None = None, text: str = "", **fields: Any
) -> DeviceFinished:
    given: dict[str, Any] = {"started_at": START, "duration_ms": 400, "attempts": 1} | fields
    outcome = Outcome(device, Status.COLLECTED, credential=credential, **given)
    return DeviceFinished(run.id, outcome, (Capture(text),) if text else ())


def failed(run: Run, device: Device, credential: Credential | None = None, **fields: Any) -> DeviceFinished:
    given: dict[str, Any] = {
        "started_at": START,
        "duration_ms": 400,
        "reason": "unreachable",
        "detail": "no route",
    } | fields
    return DeviceFinished(run.id, Outcome(device, Status.FAILED, credential=credential, **given))
