"""Secrets stay where they belong: unique ones are hunted through everything that comes out of NetRaven."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from netraven import Credential, NetRavenError, Settings
from netraven.config import DatabaseSettings
from netraven.credentials.sealing import Keyring, load_keyring
from netraven.lab import Ill, Lab, LabDevice
from netraven.model import Secret
from netraven.storage.store import SqlStore
from netraven.storage.urls import locate
from tests.acceptance.installation import EVERYWHERE, TAG, Installation
from tests.acceptance.processes import NETRAVEN, ROOT, Command, LabProcess, environment, netraven, started
from tests.archive.pasts import unpacked
from tests.canaries import Canaries, Sighting, forms
from tests.sources.vault_server import VaultServer


def canary(what: str) -> str:
    """With characters that every quoting treats in its own way."""
    return f"{what}~{uuid.uuid4().hex}"


def private_key() -> tuple[str, bytes]:
    """An OpenSSH key as a file has it, and its 32 secret bytes."""
    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    return text, key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())


def sealed_key(passphrase: str) -> tuple[str, bytes, str]:
    """A key under a passphrase, its 32 secret bytes, and a certificate of it."""
    key = Ed25519PrivateKey.generate()
    form = BestAvailableEncryption(passphrase.encode())
    text = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, form).decode()
    public = asyncssh.import_public_key(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    authority = asyncssh.generate_private_key("ssh-ed25519")
    certificate = authority.generate_user_certificate(public, "id", principals=["netops"])
    return (
        text,
        key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()),
        certificate.export_certificate().decode(),
    )


def keys_of(installation: Path) -> dict[str, str | bytes]:
    """The keyring's key, as the file has it and raw."""
    text = next(
        line for line in (installation / "netraven.key").read_text().splitlines() if not line.startswith("#")
    )
    return {"keyring text": text, "keyring key": base64.b64decode(text)}


@pytest.mark.parametrize("form", ["itself", "hex", "HEX", "base64", "base64url", "JSON", "percent", "utf-16"])
def test_the_hunter_finds_what_is_there(form: str) -> None:
    """A hunt that finds nothing in a place full of secrets would prove nothing."""
    secret = 'pass"word/ä+%' + uuid.uuid4().hex
    for name, needle in forms(secret.encode()):
        if name == form:
            hunt = Canaries({"it": secret})
            hunt.hunt("there", b"before " + needle + b" after")
            assert Sighting("it", form, "there") in hunt.sightings
    for before in (b"", b"1", b"12", b"123"):
        hunt = Canaries({"it": secret})
        hunt.hunt("base64", base64.b64encode(before + secret.encode() + b"tail"))
        assert hunt.sightings, before
    hunt = Canaries({"it": secret})
    hunt.hunt("elsewhere", "nothing of the kind")
    hunt.verdict()


def sick_fleet(password: str, enable: str, community: str) -> list[LabDevice]:
    """Every way of ending a conversation in which a secret has been spoken."""
    accepts = {"netops": password}
    kinds = (
        "none", "refuses", "slow", "hung_login", "close_at_login", "disconnect_at_login", "kbdint_retry",
        "expired_password", "close_after_login", "hung_after_login", "command_error", "drop_mid_output",
        "evil_output", "port_closed", "hung_in_kex",
    )  # fmt: skip
    return [
        *(LabDevice(kind.replace("_", "-"), accepts, ill=Ill(kind), tags=(TAG,)) for kind in kinds),  # type: ignore[arg-type]  # a list of kinds
        LabDevice("asks", accepts, auth=("keyboard-interactive",), tags=(TAG,)),
        LabDevice("enables", accepts, enable_password=enable, tags=(TAG,)),
        LabDevice("enable-wrong", accepts, enable_password="another", tags=(TAG,)),
        LabDevice(
            "holds",
            accepts,
            config=f"hostname holds\nsnmp-server community {community} RO\nend\n",
            tags=(TAG,),
        ),
    ]


IMPATIENT = {
    f"NETRAVEN_COLLECT__{name}": value
    for name, value in (
        ("RETRIES", "0"),
        ("CONNECT_TIMEOUT", "5"),
        ("LOGIN_TIMEOUT", "3"),
        ("COMMAND_TIMEOUT", "3"),
    )
}
READING = (
    "credential list", "credential match none", "device list", "device show none", "run list", "run show 1",
    "log connections", "log attempts", "log job", "config show none", "db check",
    "hostkey list", "hostkey show none", "device ssh none --stored", "device ssh-report", "config history none",
    "config diff none",
    "hook list", "job list", "job apply", "status", "report stale",
)  # fmt: skip
LOOKING_BACK = (
    "config show holds", "config diff holds 1 1", "config diff --run 1", "config diff --run 1 --side-by-side",
    "config search snmp-server", "config search snmp-server --history", "config search .* --regex --device holds",
    "prune --dry-run", "prune", "history export sealed.zst --force", "history export marked.zst --redacted --force",
    "history import sealed.zst",
)  # fmt: skip
"""What tells of a configuration with a secret in it."""
FAILING = (
    "credential add netops --username x --password-env CANARY_PASSWORD",  # the name is taken
    "credential add other --username x --password-env CANARY_PASSWORD --private-key nothing",
    "credential add other --username x --private-key spoilt.pem",
    "credential add other --username x --private-key sealed.pem",
    "credential add other --username x --private-key sealed.pem --passphrase-env CANARY_PASSWORD",
    "credential add other --username x --private-key key.pem --certificate sealed-cert.pub",
    "credential add other --username x --password canary",  # never as an argument
    "credential update nobody --password-env CANARY_PASSWORD",
    "credential match nobody",
    "collect --tag nowhere",
    "run show 99",
    "config show nobody",
    "history import marked.zst",
    "history import key.pem",
    "run retry 99",
    "job run nobody",
    "job add other --cron canary",
    "job edit seen --strategy canary",
    "hook test nobody",
    "hook forget nobody",
)


TOLD = """
[hooks.told]
type = "command"
command = ["/bin/sh", "-c", "cat >> told.jsonl"]
events = ["first-seen", "changed", "failed", "failed-again", "recovered", "run-finished", "stale-devices"]
timeout = 60.0
"""
"""Leaves what hooks are told beside the settings, where files are hunted through."""


@pytest.mark.slow
async def test_commands_show_no_secret(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command at debug level, with and without --json, as it succeeds and as it fails."""
    password, enable, refused = canary("password"), canary("enable"), canary("refused")
    community = canary("community")
    key_text, key_bytes = private_key()
    home, work = tmp_path / "home", tmp_path / "work"
    work.mkdir()
    (work / "key.pem").write_text(key_text)
    (work / "spoilt.pem").write_text(key_text[:120] + key_text[140:])
    passphrase = canary("passphrase")
    sealed_text, sealed_bytes, certificate = sealed_key(passphrase)
    (work / "sealed.pem").write_text(sealed_text)
    (work / "sealed-cert.pub").write_text(certificate)
    outside = environment(NETRAVEN_LOG__LEVEL="debug", **IMPATIENT)  # what processes get: no secret
    monkeypatch.chdir(work)
    for name, value in {
        **outside,
        "CANARY_PASSWORD": password,
        "CANARY_ENABLE": enable,
        "CANARY_PASSPHRASE": passphrase,
    }.items():
        monkeypatch.setenv(name, value)
    settings = home / "netraven.toml"

    first = await netraven("init", str(home), cwd=work, env=outside)
    assert first.code == 0, first.err
    hunt = Canaries(
        {
            "password": password, "refused password": refused, "enable secret": enable,
            "private key": key_text, "private key bytes": key_bytes, **keys_of(home), "passphrase": passphrase,
            "sealed key": sealed_text, "sealed key bytes": sealed_bytes, "certificate": certificate,
            "secret in a configuration": community,
        }
    )  # fmt: skip
    hunt.hunt("init", first.stdout + first.stderr)
    with settings.open("a") as file:
        file.write(TOLD)

    async def run(line: str, *, stdin: str = "", code: int = 0) -> None:
        ended = await command(*line.split(), stdin=stdin, config=settings)
        hunt.hunt(f"{line}: stdout", ended.stdout)
        hunt.hunt(f"{line}: stderr", ended.stderr)
        assert ended.code == code, (line, ended.err)

    async with LabProcess.running(tmp_path / "lab", sick_fleet(password, enable, community)) as lab:
        (work / "devices.csv").write_text(lab.csv)
        await run("device import devices.csv")
        add = f"credential add {{}} --username netops --tags {TAG} --priority {{}} "
        await run(add.format("first", 1) + "--password-stdin", stdin="another one\n")
        await run("credential update first --password-stdin", stdin=refused + "\n")
        await run(
            add.format("netops", 2) + "--password-env CANARY_PASSWORD --enable-password-env CANARY_ENABLE"
        )
        await run(add.format("key", 3) + "--private-key key.pem")
        await run(
            add.format("sealed", 4)
            + "--private-key sealed.pem --passphrase-env CANARY_PASSPHRASE --certificate sealed-cert.pub "
            + "--password-env CANARY_PASSWORD"
        )
        words = ("--config", str(settings), "collect", "--json")
        async with started(*NETRAVEN, *words, cwd=ROOT, env=outside) as collect:
            await lab.until(lambda: lab.count("attempt") > 8, collect)
            hunt.hunt_processes(collect.pid)
            ended = await collect.end()
        assert ended.code == 1, ended.err
        hunt.hunt("collect --json: stdout", ended.stdout)
        hunt.hunt("collect --json: stderr", ended.stderr)
        assert lab.count("attempt") > 20  # the secrets did travel
        await run("collect --device none --device enables --device enable-wrong", code=1)
        await run("run retry 2", code=1)
        await run("job add seen --device holds --every 6h")
        await run("job run seen")
        for what in ("credentials", "reachability"):
            await run(f"check {what}", code=1)
            await run(f"check {what} --json", code=1)

    for line in ("job show seen", *READING, *LOOKING_BACK):
        await run(line)
        await run(f"{line} --json")
    await run(f"config search {community}", code=1)  # it cannot be guessed at
    for archive in ("sealed.zst", "marked.zst"):
        hunt.hunt(archive, unpacked(work / archive))
    assert b"<redacted:" in unpacked(work / "marked.zst")
    for line in FAILING:
        await run(line, code=2)
    for key in (password, "!" * 44, base64.b64encode(password.encode()).decode()):  # none of these is a key
        monkeypatch.setenv("NETRAVEN_KEY", key)
        ended = await command("collect", "--device", "none", config=settings)
        hunt.hunt("a key that is none", ended.stdout + ended.stderr)
        assert ended.code != 0

    # at rest: settings, database, write-ahead log, and whatever else was left behind
    hunt.hunt_files(home, but=[home / "netraven.key"])
    assert {"file netraven.db", "file netraven.toml", "process cmdline"} <= set(hunt.hunted)
    assert '"name":"holds"' in (home / "told.jsonl").read_text()  # hooks were told of it
    hunt.verdict()


SOURCED = "credential add {name} --username {user} --tags {tag} --priority {priority}"


@pytest.mark.slow
async def test_secrets_of_sources_are_shown_nowhere(
    installation: Installation,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What sources give, what they say when they fail, and what Vault is asked with; with libraries logging all."""
    folder, settings = installation.folder, installation.file
    kinds = ("env", "file", "command", "vault", "approle", "noisy", "double")
    values = {kind: canary(kind) for kind in kinds}
    secret_id, wrong_id = canary("secret-id"), canary("wrong-secret-id")
    vault = VaultServer()
    token, unknown = vault.token(), canary("unknown-token")
    vault.roles["netraven"] = secret_id
    vault.secrets["secret/it"] = {"password": values["vault"], "lines": f"{values['vault']}\nx", "number": 7}
    for name, content in (
        ("held", values["file"]), ("printed", values["command"]), ("token", token), ("secret-id", secret_id),
    ):  # fmt: skip
        (folder / name).write_text(content + "\n")
    (folder / "noisy").write_text(
        f"#!/bin/sh\necho '{values['noisy']}'; echo '{values['noisy']}' >&2; exit 1\n"
    )
    (folder / "double").write_text(f"#!/bin/sh\necho '{values['double']}'; echo '{values['double']}'\n")
    for script in ("noisy", "double"):
        (folder / script).chmod(0o700)
    allowed = [
        folder / name for name in ("held", "printed", "token", "secret-id", "noisy", "double", "netraven.key")
    ]
    hunt = Canaries(
        {**values, "token": token, "secret id": secret_id, "wrong id": wrong_id, "unknown token": unknown,
         **keys_of(folder)}
    )  # fmt: skip
    monkeypatch.setenv("CANARY_SOURCE", values["env"])
    monkeypatch.setenv("NETRAVEN_LOG__LEVEL", "debug")
    for name, value in IMPATIENT.items():
        monkeypatch.setenv(name, value)
    for name in ("hvac", "urllib3", "requests", "asyncio", "netraven"):
        logging.getLogger(name).setLevel(1)
    written = settings.read_text()

    def ask(**vault_keys: str) -> None:
        lines = [f"{name} = {json.dumps(value)}" for name, value in {"url": vault.url, **vault_keys}.items()]
        settings.write_text(written + "[vault]\n" + "\n".join(lines) + "\n")

    async def run(*words: str, code: int) -> None:
        ended = await command(*words, config=settings)
        hunt.hunt(f"{words}: stdout", ended.stdout)
        hunt.hunt(f"{words}: stderr", ended.stderr)
        assert ended.code == code, (words, ended.err)

    sources = {
        "env": "env:CANARY_SOURCE", "file": "file:held", "command": "command:cat printed", "vault": "vault:it",
        "noisy": "command:./noisy", "double": "command:./double", "absent": "vault:nothing",
        "lines": "vault:it#lines", "number": "vault:it#number",
    }  # fmt: skip
    devices = [
        LabDevice(kind, {kind: values[kind]}, tags=(TAG,), config_size=400)
        for kind in ("env", "file", "command", "vault")
    ]
    with vault.running():
        ask(token_file="token")
        async with Lab([*devices, LabDevice("refuses", {"nobody": "else"}, tags=(TAG,))]) as lab:
            await installation.stock(lab, [])
            ask(token_file="token")
            for priority, (name, source) in enumerate(sources.items()):
                words = SOURCED.format(name=name, user=name, tag=TAG, priority=priority).split()
                await run(*words, "--source", source, code=0)
            await run("collect", "--json", code=1)
            accepted = {attempt.username for attempt in lab.log.attempts() if attempt.verdict == "accepted"}
            assert accepted == {"env", "file", "command", "vault"}  # the secrets did travel
            for line in READING:
                for more in ((), ("--json",)):
                    await run(
                        *line.replace(" none", " refuses").split(),
                        *more,
                        code=0 if "config" not in line else 2,
                    )
            (folder / "token").write_text(unknown)
            await run("collect", "--device", "vault", code=1)
            ask(role_id="netraven", secret_id_file="secret-id")
            await run("collect", "--device", "vault", code=0)
            (folder / "secret-id").write_text(wrong_id)
            await run("collect", "--device", "vault", code=1)
            vault.sealed = True
            await run("collect", "--device", "vault", code=1)
    await run("credential", "update", "env", "--source", f"vault:{'x' * 5000}", code=2)
    hunt.hunt("logs", "\n".join(f"{record.getMessage()} {vars(record)!r}" for record in caplog.records))
    hunt.hunt_files(folder, but=allowed)
    assert "file netraven.db" in hunt.hunted
    hunt.verdict()


async def test_what_is_kept_in_memory_shows_no_secret(
    installation: Installation, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """An embedding program that logs everything, at every level and of every library, and prints every object."""
    password, enable, garbage = canary("password"), canary("enable"), canary("garbage")
    key_text, key_bytes = private_key()
    passphrase = canary("passphrase")
    sealed_text, sealed_bytes, certificate = sealed_key(passphrase)
    keyring = load_keyring(installation.folder / "netraven.key", {})
    hunt = Canaries(
        {
            "password": password, "enable secret": enable, "spoilt key": garbage, "passphrase": passphrase,
            "sealed key": sealed_text, "sealed key bytes": sealed_bytes, "certificate": certificate,
            "private key": key_text, "private key bytes": key_bytes, **keys_of(installation.folder),
        }
    )  # fmt: skip
    caplog.set_level(1)
    for name in ("asyncssh", "aiosqlite", "sqlalchemy", "scrapli", "asyncio", "netraven", "alembic"):
        logging.getLogger(name).setLevel(1)
        caplog.set_level(1, logger=name)
    well = LabDevice("well", accepts={"netops": password})
    keys_only = LabDevice("keys-only", accepts={"netops": password}, auth=("publickey",))
    enables = LabDevice("enables", accepts={"netops": password}, enable_password=enable)
    wrong = LabDevice("wrong", accepts={"netops": password}, enable_password="another")
    refuses = LabDevice("refuses", accepts={}, ill=Ill("refuses"))
    evil = LabDevice("evil", accepts={"netops": password}, ill=Ill("evil_output"))
    credentials = [
        Credential("netops", "netops", password, EVERYWHERE, 1, enable_password=enable),
        Credential("key", "keyuser", None, EVERYWHERE, 2, private_key=key_text),
        Credential(
            "sealed",
            "keyuser",
            None,
            EVERYWHERE,
            2,
            private_key=sealed_text,
            passphrase=passphrase,
            certificate=certificate,
        ),
        Credential("mistyped", "keyuser", None, EVERYWHERE, 2, private_key=sealed_text, passphrase=garbage),
        Credential(
            "spoilt", "keyuser", None, EVERYWHERE, 3, private_key=f"-----BEGIN {garbage}\n{garbage}\n"
        ),
    ]
    async with Lab([well, enables, wrong, refuses, evil, keys_only]) as lab:
        await installation.stock(lab, credentials)
        async with installation.open(login_timeout=5.0) as raven:
            report = await raven.collect()
            hunt.hunt_objects(
                "objects",
                [
                    raven, raven.store, raven.store.vault, raven.store.database, report, report.run, keyring,
                    installation.settings, *report.outcomes, *credentials, *await raven.store.credentials(),
                    *await raven.store.vault.list(), Secret(password, key_text, enable), locate(installation.url),
                    Secret(password, sealed_text, enable, passphrase, certificate),
                    vars(raven), vars(raven.store), vars(raven.store.vault),
                ],
            )  # fmt: skip
            secret = await raven.store.vault.reveal(
                next(c for c in await raven.store.credentials() if c.name == "netops")
            )
            assert secret.password == password
            hunt.hunt_objects("objects", [secret])
            # exceptions, with all that hangs on them
            with pytest.raises(NetRavenError) as taken:
                await raven.store.vault.add(credentials[0], Secret(password, key_text, enable))
            hunt.hunt_exception("a name that is taken", taken.value)
        hunt.hunt_objects("the lab", [*lab.devices, *lab.log.attempts(), *lab.log.events])
    assert {o.device.name: o.status.value for o in report.outcomes}["well"] == "collected"

    elsewhere = installation.folder / "other.key"
    elsewhere.write_text(Keyring.generate().to_text())
    elsewhere.chmod(0o600)
    async with SqlStore.open(installation.url, key_file=elsewhere) as store:
        for stored in await store.credentials():
            with pytest.raises(NetRavenError) as unreadable:
                await store.vault.reveal(stored)
            hunt.hunt_exception("a secret under another key", unreadable.value)

    hunt.hunt("logs", "\n".join(f"{record.getMessage()} {vars(record)!r}" for record in caplog.records))
    hunt.hunt("formatted logs", caplog.text)
    out = capfd.readouterr()
    hunt.hunt("output", out.out + out.err)
    hunt.hunt_files(installation.folder, but=[installation.folder / "netraven.key"])
    assert hunt.hunted["logs"] > 10_000
    hunt.verdict()


@contextlib.asynccontextmanager
async def role(url: str, password: str) -> AsyncIterator[str]:
    """A user of the database at ``url`` with this password; the URL that it logs in with."""
    import asyncpg

    name = f"canary_{uuid.uuid4().hex[:8]}"
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        await connection.execute(f"GRANT ALL ON SCHEMA public TO {name}")
        try:
            scheme, rest = url.split("://", 1)
            yield f"{scheme}://{name}:{password}@{rest.rpartition('@')[2] if '@' in rest else rest}"
        finally:
            await connection.execute(f"DROP OWNED BY {name} CASCADE")
            await connection.execute(f"DROP ROLE {name}")
    finally:
        await connection.close()


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_the_database_password_is_shown_nowhere(
    empty_url: str, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a URL that works, in one that leads nowhere, and in one that cannot be read."""
    password, word = canary("database"), canary("password")
    hunt = Canaries({"database password": password, "password": word})
    outside = environment()
    monkeypatch.setenv("NETRAVEN_LOG__LEVEL", "debug")
    monkeypatch.setenv("CANARY_PASSWORD", word)
    home = tmp_path / "home"
    home.mkdir()
    settings = home / "netraven.toml"

    async def run(line: str, code: int = 0) -> None:
        named = None if line.startswith("init") else settings
        ended = await command(*line.split(), config=named)
        hunt.hunt(line, ended.stdout + ended.stderr)
        assert ended.code == code, (line, ended.err)

    async with role(empty_url, password) as url:
        settings.write_text(f"[database]\nurl = {json.dumps(url)}\n")
        await run(f"init {home}")
        await run(f"credential add netops --username netops --tags {TAG} --password-env CANARY_PASSWORD")
        device = LabDevice("r1", accepts={"netops": word}, tags=(TAG,), think=0.2)
        async with LabProcess.running(tmp_path / "lab", [device]) as lab:
            (home / "devices.csv").write_text(lab.csv)
            await run(f"device import {home / 'devices.csv'}")
            words = ("--config", str(settings), "collect")
            async with started(*NETRAVEN, *words, cwd=ROOT, env=outside) as collect:
                await lab.until(lambda: lab.count("attempt") > 0, collect)
                hunt.hunt_processes(collect.pid)
                ended = await collect.end()
            assert ended.code == 0, ended.err
            hunt.hunt("collect", ended.stdout + ended.stderr)
        for line in ("db check", "db upgrade", "run list", "run show 1", "log attempts", "credential list"):
            await run(line)
        async with SqlStore.open(url, key_file=home / "netraven.key") as store:
            parts = [store, store.database, store.database.location, store.vault]
            hunt.hunt_objects("objects", [*parts, Settings(DatabaseSettings(url))])

    spoilt = [
        url,  # its user is gone by now
        f"postgresql://user:{password}@127.0.0.1:1/nothing",
        f"postgresql://user:{password}@no-such-host.invalid/nothing",
        f"postgresql://user:{password}@[::1/nothing",
        f"postgresql://user:{password}@127.0.0.1:port/nothing",
        f"postgresql://user:{password}/more@127.0.0.1/nothing",  # a slash that should have been written as %2F
        f"postgresql://user:{password}@127.0.0.1:1/nothing?connect_timeout=soon",
        f"mysql://user:{password}@127.0.0.1/nothing",
        f"postgresql:/user:{password}@127.0.0.1/nothing",
        f"user:{password}@127.0.0.1/nothing",
        f"host=127.0.0.1 password={password}",
    ]
    for broken in spoilt:
        settings.write_text(f"[database]\nurl = {json.dumps(broken)}\n")
        for line in ("db check", "db upgrade", "collect"):
            await run(line, code=2)
        with pytest.raises(NetRavenError) as refused:
            async with SqlStore.open(broken):
                pass
        hunt.hunt_exception("a database that cannot be opened", refused.value)
    settings.write_text(f"[database]\nurl = [{json.dumps(url)}]\n")
    await run("run list", code=2)
    hunt.hunt_files(home, but=[settings, home / "netraven.key"])
    hunt.verdict()
