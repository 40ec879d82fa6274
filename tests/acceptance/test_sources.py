"""Secrets that are kept elsewhere, up to the devices that they open; keys that change while a run goes on."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from netraven import Credential, NetRaven
from netraven.config import CollectSettings
from netraven.credentials.sealing import load_keyring
from netraven.errors import InputError
from netraven.lab import Lab, LabDevice
from netraven.model import Secret
from tests.acceptance.installation import EVERYWHERE, TAG, Installation, credential, devices_of
from tests.acceptance.processes import LabProcess, collecting, netraven
from tests.acceptance.ssh_keys import Key
from tests.canaries import Canaries
from tests.sources.vault_server import VaultServer

EACH = 10
"""Devices for each credential."""


def device(name: str, user: str, password: str) -> LabDevice:
    return LabDevice(name, {user: password}, tags=(TAG,), config_size=500)


def sourced(name: str, source: str, priority: int = 100) -> Credential:
    return Credential(name, name, tags=EVERYWHERE, priority=priority, source=source)


def counting(folder: Path, name: str, code: str) -> str:
    """A source that runs a shell script, which notes that it was run."""
    script = folder / name
    script.write_text(f"#!/bin/sh\necho run >> {shlex.quote(str(folder / name))}.runs\n{code}\n")
    script.chmod(0o700)
    return f"command:./{name}"


def runs(folder: Path, name: str) -> int:
    return len((folder / f"{name}.runs").read_text().splitlines())


def vault_settings(installation: Installation, url: str) -> None:
    """Ask the Vault at ``url`` with the token of the file ``token``."""
    settings = installation.file.read_text()
    installation.file.write_text(f'{settings}[vault]\nurl = "{url}"\ntoken_file = "token"\n')


async def test_a_fleet_is_collected_with_secrets_from_everywhere(
    any_installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source is asked once for all devices, and those that do not answer cost nobody else anything."""
    installation = any_installation
    folder = installation.folder
    vault = VaultServer()
    vault.secrets["secret/network/vault"] = {"password": "of-the-vault"}
    monkeypatch.setenv("NETRAVEN_TEST_SECRET", "of-the-environment")
    (folder / "secret").write_text("of-the-file\n")
    (folder / "token").write_text(vault.token())
    sources = {
        "env": ("env:NETRAVEN_TEST_SECRET", "of-the-environment"),
        "file": ("file:secret", "of-the-file"),
        "command": (counting(folder, "good", "echo of-the-command"), "of-the-command"),
        "vault": ("vault:network/vault", "of-the-vault"),
    }
    broken = {
        "silent": counting(folder, "silent", "exit 0"),
        "fails": counting(folder, "fails", "echo something; exit 7"),
        "unset": "env:NETRAVEN_TEST_UNSET",
        "absent": "file:absent",
        "nothing": "vault:network/nothing",
    }
    devices = [
        device(f"{user}-{n}", user, secret) for user, (_, secret) in sources.items() for n in range(EACH)
    ]
    devices += [device(f"stored-{n}", "stored", "sealed-here") for n in range(EACH)]
    with vault.running():
        vault_settings(installation, vault.url)
        async with Lab(devices) as lab:
            await installation.stock(lab, [credential("stored", "sealed-here", priority=200)])
            async with installation.open(concurrency=100) as raven:
                for name, source in broken.items():
                    await raven.store.vault.add(sourced(name, source, 1), Secret())
                for name, (source, _) in sources.items():
                    await raven.store.vault.add(sourced(name, source), Secret())
                report = await raven.collect()
                again = await raven.collect()
    for run in (report, again):
        assert run.run.status == "complete"
        assert {
            (o.device.name.partition("-")[0], o.credential and o.credential.name) for o in run.outcomes
        } == {(name, name) for name in (*sources, "stored")}
    assert [runs(folder, name) for name in ("good", "silent", "fails")] == [1, 1, 1]
    assert sorted(vault.requests) == [
        "GET /v1/secret/data/network/nothing",
        "GET /v1/secret/data/network/vault",
    ]
    attempts = await installation.attempts()
    assert not {row["credential_name"] for row in attempts} & set(broken)
    async with installation.open() as raven:
        lines = [line async for line in raven.store.logs.job()]
    told = [line["data"] for line in lines if line["message"] == "secret_unreadable"]
    troubles = {data["credential"]: data["detail"] for data in told}
    assert set(troubles) == set(broken)
    assert "exit code 7" in troubles["fails"]


async def test_a_secret_that_its_source_changed_is_a_new_version(any_installation: Installation) -> None:
    installation = any_installation
    file = installation.folder / "secret"
    file.write_text("first-secret")
    async with Lab([device("r1", "tacacs", "second-secret")]) as lab:
        await installation.stock(lab, [])
        async with installation.open() as raven:
            await raven.store.vault.add(sourced("tacacs", "file:secret"), Secret())
            assert (await raven.collect()).run.status == "failed"
        file.write_text("second-secret")
        async with installation.open() as raven:
            assert (await raven.collect()).run.status == "complete"
    rows = await installation.rows("SELECT secret_version, verdict FROM credential_attempts ORDER BY id")
    assert [(row["secret_version"], row["verdict"]) for row in rows] == [(1, "refused"), (2, "accepted")]


async def test_a_key_that_its_passphrase_does_not_open_is_no_attempt(any_installation: Installation) -> None:
    """Nothing was sent: nothing counts against the account, and the next credential opens the devices."""
    installation = any_installation
    key = Key.new(passphrase="the passphrase")
    key.write(installation.folder / "key")
    devices = [
        LabDevice(
            f"r{n}",
            {"netops": "word"},
            tags=(TAG,),
            auth=("publickey", "password"),
            authorized_keys={"netops": key.public},
        )
        for n in range(6)
    ]
    async with Lab(devices) as lab:
        await installation.stock(lab, [credential("next", "word", username="netops", priority=200)])
        async with installation.open() as raven:
            await raven.store.vault.add(
                replace(sourced("sealed", "file:key", 1), username="netops"), Secret(passphrase="another one")
            )
            report = await raven.collect()
        assert {
            (o.status, o.attempts, o.retry_count, o.credential and o.credential.name) for o in report.outcomes
        } == {("collected", 1, 0, "next")}
        assert len(lab.log.attempts()) == 6
    assert {(row["credential_name"], row["verdict"]) for row in await installation.attempts()} == {
        ("next", "accepted")
    }
    assert (await installation.metrics())["sealed"].attempts == 0


async def test_in_memory_credentials_have_sources_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRAVEN_TEST_SECRET", "of-the-environment")
    async with Lab([device("r1", "tacacs", "of-the-environment")]) as lab:
        settings = CollectSettings(retries=0)
        credentials = [sourced("tacacs", "env:NETRAVEN_TEST_SECRET")]
        async with NetRaven.in_memory(devices_of(lab.csv()), credentials, settings=settings) as raven:
            assert (await raven.collect()).run.status == "complete"
        with pytest.raises(InputError, match="is no source"):
            async with NetRaven.in_memory(devices_of(lab.csv()), [sourced("x", "nothing")]):
                pass


@pytest.mark.slow
async def test_the_key_is_rotated_while_a_run_goes_on(any_installation: Installation, tmp_path: Path) -> None:
    """In processes of their own; the old key is gone before most secrets are opened for the first time."""
    installation = any_installation
    users = [f"user{n}" for n in range(6)]
    devices = [
        LabDevice(
            f"r{n:03}", {users[n % 6]: f"secret-of-{users[n % 6]}"}, tags=(TAG,), config_size=500, think=0.05
        )
        for n in range(48)
    ]
    old = load_keyring(installation.folder / "netraven.key", {}).active_id
    async with LabProcess.running(tmp_path / "lab", devices) as lab:
        credentials = [credential(user, f"secret-of-{user}", priority=n) for n, user in enumerate(users)]
        await installation.stock(lab.csv, credentials)
        async with collecting(installation, "--concurrency", "3", "--json") as run:
            await lab.until(lambda: lab.count("attempt") > 0, run)
            rotated = await netraven("secrets", "rotate", "--remove-old", config=installation.file)
            assert rotated.code == 0, rotated.err
            assert run.process.returncode is None
            again = await netraven("secrets", "rotate", config=installation.file)
            assert again.code == 0, again.err
            ended = await run.end()
        assert ended.code == 0, ended.err
        assert ended.json["counts"]["collected"] == 48
    assert old not in load_keyring(installation.folder / "netraven.key", {}).key_ids
    hunt = Canaries({user: f"secret-of-{user}" for user in users})
    hunt.hunt("what was said", rotated.stdout + rotated.stderr + again.stdout + again.stderr)
    hunt.verdict()
