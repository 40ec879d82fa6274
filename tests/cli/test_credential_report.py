"""Which devices accept which version."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from netraven.assembly import open_store
from netraven.config import load_settings
from netraven.model import Verdict
from netraven.storage.store import SqlStore
from tests.cli.conftest import Command
from tests.storage.facts import add_device, start_run, try_once


def facts(home: Path, devices: int, accepted: int, refused: int) -> None:
    """``accepted`` devices take version 2, the next ``refused`` ones refuse it and took version 1 before."""

    async def write(store: SqlStore) -> None:
        credentials = {c.secret_version: c for c in await store.credentials()}
        run = await start_run(store)
        for number in range(devices):
            device = await add_device(store, f"r{number:03}")
            if number < accepted:
                await try_once(store, run, device, credentials[2], Verdict.ACCEPTED, seconds=number)
            elif number < accepted + refused:
                await try_once(store, run, device, credentials[1], Verdict.ACCEPTED, seconds=number)
                await try_once(store, run, device, credentials[2], Verdict.REFUSED, seconds=number)

    async def opened() -> None:
        async with open_store(load_settings(home / "netraven.toml", environ={})) as store:
            await write(store)

    asyncio.run(opened())


@pytest.fixture
def rotated(home: Path, nr: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A credential of which the previous secret is kept."""
    monkeypatch.setenv("P", "one-c4n4ry")
    words = ("--username", "svc", "--tags", "edge", "--realm", "hq", "--password-env", "P")
    assert nr("credential", "add", "tacacs", *words).code == 0
    monkeypatch.setenv("P", "two-c4n4ry")
    said = nr("credential", "update", "tacacs", "--password-env", "P", "--keep-previous")
    assert "secret version 2; version 1 is kept until" in said.out
    return home


def test_the_report(rotated: Path, nr: Command) -> None:
    facts(rotated, devices=60, accepted=40, refused=5)
    said = nr("credential", "report", "tacacs")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0] == "credential tacacs, user svc, realm hq"
    assert lines[1].startswith("  version 2: 40 of 60 devices, last proven ")
    assert lines[1].endswith("ago, refused by 5 devices")
    assert lines[2].startswith("  version 1: 5 devices, last proven ")
    assert "Not yet proven with version 2: r040, r041" in said.out
    assert "and 10 more" in said.out
    assert "limit" not in said.out  # 50 lines fit
    short = nr("credential", "report", "tacacs", "--limit", "3").out
    assert "The first 3 lines" in short
    assert "r002" in short
    assert "r003" not in short


def test_the_document(rotated: Path, nr: Command) -> None:
    facts(rotated, devices=4, accepted=2, refused=1)
    found = nr("credential", "report", "tacacs", "--json").json
    assert {key: found[key] for key in ("name", "username", "realm", "version")} == {
        "name": "tacacs",
        "username": "svc",
        "realm": "hq",
        "version": 2,
    }
    assert [(v["version"], v["accepted"], v["refused"]) for v in found["versions"]] == [(2, 2, 1), (1, 1, 0)]
    assert found["versions"][0]["last_success"] == "2026-11-22T03:00:02.000Z"
    assert [(d["device"], d["version"], d["last_verdict"]) for d in found["devices"]] == [
        ("r000", 2, "accepted"),
        ("r001", 2, "accepted"),
        ("r002", 2, "refused"),
        ("r002", 1, "accepted"),
    ]
    assert found["devices"][2]["last_success"] is None
    assert found["not_proven"] == ["r002", "r003"]


def test_of_a_credential_that_nobody_has_seen(
    home: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nr("credential", "report", "nobody").code == 2
    assert nr("credential", "add", "c", "--username", "u", "--source", "env:P").code == 0
    assert "version 1: 0 of 0 devices, never proven" in nr("credential", "report", "c").out
    found = nr("credential", "report", "c", "--json").json
    assert (found["devices"], found["not_proven"]) == ([], [])
    assert found["versions"] == [{"version": 1, "accepted": 0, "refused": 0, "last_success": None}]
