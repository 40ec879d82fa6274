"""HashiCorp Vault, asked by the real client over real HTTP."""

from __future__ import annotations

import asyncio
import importlib
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from netraven.credentials.source import VaultField
from netraven.errors import SecretUnreadable
from netraven.sources.reader import SourceReader
from netraven.sources.vault import VaultAccess, VaultSource
from tests.canaries import Canaries
from tests.sources.vault_server import VaultServer

CANARY = "c4n4ry-of-the-vault-t3st"
PLACE = VaultField("network/tacacs")


@pytest.fixture
def vault() -> Iterator[VaultServer]:
    server = VaultServer()
    server.secrets["secret/network/tacacs"] = {"password": CANARY, "user": "svc", "number": 5, "empty": ""}
    with server.running():
        yield server


def source(vault: VaultServer, **access: Any) -> VaultSource:
    return VaultSource(VaultAccess(vault.url, **access), {"VAULT_TOKEN": vault.token()})


async def test_a_field_is_read(vault: VaultServer) -> None:
    asking = source(vault)
    assert (await asking.read(PLACE)).password == CANARY
    assert (await asking.read(VaultField("network/tacacs", "user"))).password == "svc"
    assert vault.requests[0] == "GET /v1/secret/data/network/tacacs"


async def test_the_environment_fills_what_settings_leave_empty(vault: VaultServer) -> None:
    vault.namespace = "team"
    vault.secrets["network/tacacs"] = {"password": "of another mount"}
    environ = {"VAULT_ADDR": vault.url, "VAULT_TOKEN": vault.token(), "VAULT_NAMESPACE": "team"}
    assert (await VaultSource(VaultAccess(), environ).read(PLACE)).password == CANARY
    access = VaultAccess(mount="network")
    assert (await VaultSource(access, environ).read(VaultField("tacacs"))).password == "of another mount"


async def test_a_token_file_is_read_each_time(vault: VaultServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(vault.token() + "\n")
    asking = VaultSource(VaultAccess(vault.url, token_file=file), {})
    await asking.read(PLACE)
    vault.tokens.clear()
    with pytest.raises(SecretUnreadable, match="403"):
        await asking.read(PLACE)
    file.write_text(vault.token())
    assert (await asking.read(PLACE)).password == CANARY


async def test_approle_logs_in_once_and_again_when_its_token_has_ended(
    vault: VaultServer, tmp_path: Path
) -> None:
    (tmp_path / "id").write_text("the-secret-id\n")
    vault.roles["netraven"] = "the-secret-id"
    access = VaultAccess(vault.url, role_id="netraven", secret_id_file=tmp_path / "id")
    asking = VaultSource(access, {})
    await asyncio.gather(*(asking.read(PLACE) for _ in range(5)))
    login = "POST /v1/auth/approle/login"
    assert vault.requests.count(login) == 1
    vault.tokens.clear()
    assert (await asking.read(PLACE)).password == CANARY
    assert vault.requests.count(login) == 2


async def test_what_goes_wrong_is_said_with_what_to_do_and_without_token_or_secret(
    vault: VaultServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    logging.getLogger("urllib3").setLevel(1)
    token, secret_id, wrong_id = vault.token(), "secret-id-c4n4ry-here", "another-c4n4ry-secret-id"
    hunt = Canaries(
        {
            "token": token,
            "value": CANARY,
            "secret id": secret_id,
            "wrong id": wrong_id,
            "no token": "hvs.unknown-c4n4ry",
        }
    )
    (tmp_path / "wrong").write_text(wrong_id)
    (tmp_path / "two").write_text(f"{secret_id}\n{secret_id}\n")
    vault.roles["netraven"] = secret_id

    async def fails(said: str, place: VaultField = PLACE, *, token: str = token, **access: Any) -> None:
        asking = VaultSource(
            VaultAccess(**{"url": vault.url, **access}), {"VAULT_TOKEN": token} if token else {}
        )
        with pytest.raises(SecretUnreadable, match=said) as refused:
            await asking.read(place)
        hunt.hunt_exception(said, refused.value)
        hunt.hunt_objects(said, [asking])

    await fails("no Vault is set", url="")
    await fails("no way to log in to Vault", token="")
    await fails(r"denies reading secret/network/tacacs \(403\)", token="hvs.unknown-c4n4ry")
    await fails(r"nothing at secret/network/radius .*\(404\).*without `data/`", VaultField("network/radius"))
    await fails("nothing at other/network/tacacs", mount="other")
    await fails("has no field 'key'", VaultField("network/tacacs", "key"))
    await fails("is not a text", VaultField("network/tacacs", "number"))
    await fails("gives nothing", VaultField("network/tacacs", "empty"))
    await fails("token_file: cannot read .*absent", token_file=tmp_path / "absent")
    await fails("token_file, .*two, gives more than one line", token_file=tmp_path / "two")
    await fails(r"refuses the AppRole login \(400\)", role_id="netraven", secret_id_file=tmp_path / "wrong")
    await fails("secret_id_file: cannot read", role_id="netraven", secret_id_file=tmp_path / "absent")
    await fails("cannot be asked", url="http://[::1")
    vault.deleted.add("secret/network/tacacs")
    await fails("or it was deleted")
    vault.deleted.clear()
    vault.sealed = True
    await fails("is sealed, or not ready")
    vault.sealed = False
    vault.garbage = f"<html>{CANARY} {token}".encode()
    await fails("cannot be asked")
    vault.garbage = b""
    vault.delay = 3.0
    await fails("did not answer", timeout=0.3)
    vault.delay = 0.0
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        await fails("cannot be reached", url=f"http://127.0.0.1:{nobody.getsockname()[1]}")
    hunt.hunt("logs", "\n".join(f"{r.getMessage()} {vars(r)!r}" for r in caplog.records))
    assert hunt.hunted["logs"] > 500
    hunt.verdict()


async def test_without_hvac_it_says_what_to_install(
    vault: VaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = importlib.import_module

    def without(name: str) -> ModuleType:
        if name == "hvac":
            raise ImportError(name)
        return load(name)

    monkeypatch.setattr("netraven.sources.vault.importlib.import_module", without)
    with pytest.raises(SecretUnreadable, match=r"pip install 'netraven\[vault\]'"):
        await source(vault).read(PLACE)


async def test_a_slow_vault_does_not_hold_up_the_loop_and_is_asked_once(vault: VaultServer) -> None:
    await source(vault).read(PLACE)  # imports come first
    vault.requests.clear()
    vault.delay = 0.5
    sources = SourceReader({VaultField: source(vault)})
    asking = [asyncio.create_task(sources.read("vault:network/tacacs")) for _ in range(1000)]
    turns = 0
    while not all(task.done() for task in asking):
        await asyncio.sleep(0.01)
        turns += 1
    assert turns > 10
    assert {task.result().password for task in asking} == {CANARY}
    assert len(vault.requests) == 1
