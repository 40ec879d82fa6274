"""Logging in with keys: alone, sealed, certified, held by an agent, and with a password behind them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from netraven.lab import AAA, Lab, LabAlgorithms, LabDevice
from netraven.model import Access, Secret
from netraven.transport.keys import OpenedKeys, UnusableKey, open_key, wrong_with_certificate
from netraven.transport.ssh import SshTransport
from tests.ssh_agents import ssh_agent
from tests.transport.rig import PATIENT, NotedLogin, Visit, collect, quiet, router, target, visit

PHRASE = "a passphrase"


def text(key: asyncssh.SSHKey, kind: str = "openssh", passphrase: str | None = None) -> str:
    return key.export_private_key(kind, passphrase=passphrase).decode()


def line(key: asyncssh.SSHKey) -> str:
    return key.export_public_key().decode().strip()


ED = asyncssh.generate_private_key("ssh-ed25519")
OTHER = asyncssh.generate_private_key("ssh-ed25519")


def keyed(*keys: asyncssh.SSHKey, auth: tuple[str, ...] = ("publickey",), **more: Any) -> LabDevice:
    lines = "\n".join(line(key) for key in keys)
    return router(auth=auth, authorized_keys={"netops": lines}, **more)


async def logged_in(device: LabDevice, secret: Secret, **access: bool) -> tuple[Visit, Lab]:
    lab = Lab([device])
    async with lab:
        goal = target(lab, access=Access(**access))  # type: ignore[arg-type]  # legacy only
        result = await visit(SshTransport(PATIENT), goal, NotedLogin(secret=secret))
        await quiet(lab)
    return result, lab


def offered(lab: Lab) -> list[tuple[str, str | None]]:
    return [(attempt.method, attempt.verdict) for attempt in lab.log.attempts()]


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384"])
@pytest.mark.parametrize("form", ["openssh", "pkcs8-pem"])
async def test_a_key_opens_a_device(kind: str, form: str) -> None:
    key = asyncssh.generate_private_key(kind)
    result, lab = await logged_in(keyed(key), Secret(private_key=text(key, form)))
    assert result.text
    assert result.told == ["secret", "accepted"]
    assert offered(lab) == [("publickey", "accepted")]


@pytest.mark.parametrize("form", ["openssh", "pkcs8-pem", "pkcs1-pem"])
async def test_a_sealed_key_opens_with_its_passphrase(form: str) -> None:
    key = asyncssh.generate_private_key("ssh-rsa")
    result, _ = await logged_in(keyed(key), Secret(private_key=text(key, form, PHRASE), passphrase=PHRASE))
    assert result.told == ["secret", "accepted"]


async def test_a_key_that_is_not_authorised_is_one_refusal() -> None:
    result, lab = await logged_in(keyed(OTHER), Secret(private_key=text(ED)))
    assert result.reason == "auth_refused"
    assert result.told == ["secret", "rejected auth_refused"]
    assert offered(lab) == [("publickey", "refused")]
    assert result.login.cuts == []


@pytest.mark.parametrize("auth", [("publickey", "password"), ("publickey", "keyboard-interactive")])
async def test_the_password_follows_a_key_that_is_not_taken_and_both_are_one_attempt(
    auth: tuple[str, ...],
) -> None:
    result, lab = await logged_in(keyed(OTHER, auth=auth), Secret("right", text(ED)))
    assert result.told == ["secret", "accepted"]
    assert offered(lab) == [("publickey", "refused"), (auth[1], "accepted")]


@pytest.mark.parametrize("auth", [("publickey", "password"), ("publickey", "keyboard-interactive")])
async def test_neither_is_taken_one_refusal_and_the_password_went_out_once(auth: tuple[str, ...]) -> None:
    aaa = AAA(threshold=5)
    lab = Lab([keyed(OTHER, auth=auth)], aaa=aaa)
    async with lab:
        login = NotedLogin(secret=Secret("wrong", text(ED)), more=["right"])
        result = await visit(SshTransport(PATIENT), target(lab), login)
        await quiet(lab)
    assert result.told == ["secret", "rejected auth_refused"], (
        "no other secret follows a key on its connection"
    )
    assert [method for method, _ in offered(lab)] == ["publickey", auth[1]]
    assert result.login.cuts == []


async def test_a_key_that_is_taken_needs_no_password() -> None:
    result, lab = await logged_in(keyed(ED, auth=("publickey", "password")), Secret("right", text(ED)))
    assert result.told == ["secret", "accepted"]
    assert offered(lab) == [("publickey", "accepted")]


async def test_a_device_without_keys_gets_the_password_alone() -> None:
    result, lab = await logged_in(router(), Secret("right", text(ED)))
    assert result.told == ["secret", "accepted"]
    assert offered(lab) == [("password", "accepted")]


async def test_a_device_that_takes_no_password_refuses_the_key() -> None:
    result, lab = await logged_in(keyed(OTHER), Secret("right", text(ED)))
    assert result.told == ["secret", "rejected auth_refused"]
    assert offered(lab) == [("publickey", "refused")]


async def test_a_certificate_goes_with_its_key() -> None:
    authority = asyncssh.generate_private_key("ssh-ed25519")
    for kind in ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"):
        key = asyncssh.generate_private_key(kind)
        certificate = authority.generate_user_certificate(key, "id", principals=["netops"])
        secret = Secret(private_key=text(key), certificate=certificate.export_certificate().decode())
        device = router(auth=("publickey",), authorized_keys={"netops": f"cert-authority {line(authority)}"})
        result, _ = await logged_in(device, secret)
        assert result.told == ["secret", "accepted"], kind


def test_what_is_wrong_with_a_key_is_said_without_it() -> None:
    sealed = text(ED, passphrase=PHRASE)
    certificate = (
        OTHER.generate_user_certificate(ED, "id", principals=["netops"]).export_certificate().decode()
    )
    for secret, said in (
        (Secret(private_key="nonsense"), "can be read"),
        (Secret(private_key=sealed), "needs a passphrase"),
        (Secret(private_key=sealed, passphrase="wrong-canary"), "not opened by its passphrase"),
        (Secret(private_key=text(OTHER), certificate=certificate), "does not belong to its certificate"),
        (Secret(private_key=text(ED), certificate="nonsense"), "certificate cannot be read"),
    ):
        with pytest.raises(UnusableKey, match=said) as caught:
            open_key(secret)
        assert "canary" not in str(caught.value)
        assert caught.value.__cause__ is None or "canary" not in str(caught.value.__cause__)


def test_certificates_that_will_not_do() -> None:
    from datetime import UTC, datetime

    now = datetime.now(UTC)

    def said(**more: object) -> str | None:
        made = OTHER.generate_user_certificate(ED, "id", **({"principals": ["netops"]} | more))  # type: ignore[arg-type]  # table-driven
        return wrong_with_certificate(made.export_certificate().decode(), "netops", now)

    assert said() is None
    assert "expired" in (said(valid_after="20200101", valid_before="20210101") or "")
    assert "names other users: root" in (said(principals=["root"]) or "")
    assert "not valid yet" in (said(valid_after="+1d", valid_before="+2d") or "")
    host = OTHER.generate_host_certificate(ED, "id", principals=["r1"]).export_certificate().decode()
    with pytest.raises(UnusableKey, match="for hosts"):
        wrong_with_certificate(host, "netops", now)


async def test_a_key_that_cannot_be_opened_is_no_attempt_and_ends_in_words() -> None:
    result, lab = await logged_in(keyed(ED), Secret(private_key=text(ED, passphrase=PHRASE), passphrase="x"))
    assert result.reason == "negotiation"
    assert "not opened by its passphrase" in result.detail
    assert result.told == ["secret", "unsent"]
    assert offered(lab) == []


async def test_a_sealed_key_is_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str | None] = []
    real = asyncssh.import_private_key

    def counting(data: str, passphrase: str | None = None) -> asyncssh.SSHKey:
        opened.append(passphrase)
        return real(data, passphrase)

    monkeypatch.setattr(asyncssh, "import_private_key", counting)
    keys = OpenedKeys()
    secret = Secret(private_key=text(ED, passphrase=PHRASE), passphrase=PHRASE)
    pairs = [await keys.of(secret) for _ in range(3)]
    assert len(opened) == 1
    assert len({id(pair) for pair in pairs}) == 3


async def test_rsa_by_sha_1_only_with_permission() -> None:
    key = asyncssh.generate_private_key("ssh-rsa")
    old = keyed(key, algorithms=LabAlgorithms(host_keys=("ssh-rsa",)))
    secret = Secret(private_key=text(key))
    assert (await logged_in(old, secret))[0].reason == "negotiation"
    result, _ = await logged_in(old, secret, legacy=True)
    assert result.told == ["secret", "accepted"]


# ---- an agent


@pytest.fixture
def agent() -> Iterator[str]:
    """OpenSSH's agent with two keys; its socket."""
    if shutil.which("ssh-agent") is None:
        pytest.skip("no ssh-agent here")
    for name, key in (("other", OTHER), ("mine", ED)):
        key.set_comment(f"{name}@lab")
    with ssh_agent(text(OTHER), text(ED)) as socket:
        yield socket


@pytest.mark.parametrize("by", ["comment", "fingerprint", "nothing"])
async def test_an_agent_signs(agent: str, by: str) -> None:
    name = {"comment": "mine@lab", "fingerprint": ED.get_fingerprint(), "nothing": ""}[by]
    lab = Lab([keyed(ED)])
    async with lab:
        result = await visit(
            SshTransport(PATIENT, agent_socket=agent), target(lab), NotedLogin(secret=Secret(agent=name))
        )
        assert result.text
        assert result.told == ["secret", "accepted"]
        await quiet(lab)
    assert len(offered(lab)) == (2 if not name else 1)


async def test_an_agent_that_has_gone_is_no_attempt(tmp_path: Path) -> None:
    lab = Lab([keyed(ED)])
    async with lab:
        result = await visit(
            SshTransport(PATIENT, agent_socket=str(tmp_path / "none")),
            target(lab),
            NotedLogin(secret=Secret(agent="")),
        )
        await quiet(lab)
    assert result.reason == "negotiation"
    assert "ssh agent" in result.detail
    assert result.told == ["secret", "unsent"]


async def test_a_key_that_the_agent_has_no_more_is_no_attempt(agent: str) -> None:
    lab = Lab([keyed(ED)])
    async with lab:
        login = NotedLogin(secret=Secret(agent="another@lab"))
        result = await visit(SshTransport(PATIENT, agent_socket=agent), target(lab), login)
        await quiet(lab)
    assert "does not hold the key" in result.detail
    assert result.told == ["secret", "unsent"]
    assert offered(lab) == []


async def test_passwords_are_offered_as_before() -> None:
    result, lab = await collect(router(), NotedLogin("wrong", more=["right"]))
    assert result.told == ["secret", "rejected auth_refused", "another", "accepted"] or result.text
    assert [method for method, _ in offered(lab)] == ["password", "password"]
