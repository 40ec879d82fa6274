"""Keys in all their forms, against OpenSSH: one attempt each, in the ledger and in its own log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.acceptance import openssh, small_device, ssh_keys
from tests.acceptance.at_the_prompt import Operator
from tests.acceptance.ssh_keys import ECDSA, ED25519, RSA, Authority, Key
from tests.acceptance.system import User

pytestmark = [pytest.mark.sshd, pytest.mark.slow, pytest.mark.xdist_group("keys")]


@asynccontextmanager
async def asking(
    operator: Operator, tmp_path: Path, user: User, script: Path, access: openssh.Access
) -> AsyncIterator[openssh.Sshd]:
    """An sshd, known as the device r1."""
    async with openssh.running(tmp_path / "sshd", user, f"ForceCommand {script}", access=access) as sshd:
        await operator.device("r1", sshd.port, "cisco_iosxe", "fleet")
        yield sshd


@pytest.mark.parametrize(
    ("access", "method"),
    [
        (openssh.Access.key_and_password, "password"),
        (openssh.Access.key_and_questions, "keyboard-interactive/pam"),
    ],
    ids=["password", "questions"],
)
async def test_a_key_and_then_a_password_are_one_attempt(
    operator: Operator,
    tmp_path: Path,
    user: User,
    script: Path,
    access: Callable[[str], openssh.Access],
    method: str,
) -> None:
    key = Key.new()
    file = str(key.write(tmp_path / "key"))
    async with asking(operator, tmp_path, user, script, access(key.public)) as sshd:
        words = ("--private-key", file, "--password-env", "WORD")
        await operator.credential(
            "half", user.name, "fleet", *words, "--priority", "1", env={"WORD": "not it"}
        )
        await operator.credential(
            "both", user.name, "fleet", *words, "--priority", "2", env={"WORD": user.password}
        )
        outcome = (await operator.collect())["r1"]
        assert (outcome["status"], outcome["retry_count"]) == ("collected", 1), outcome
        assert await operator.attempts() == [("half", "refused"), ("both", "accepted")]
        assert len(sshd.said(rf"Failed {method} for")) == 1
        assert len(sshd.said(rf"Accepted {method} for")) == 1
        assert not sshd.said(r"Failed publickey")
        assert await operator.text("r1") == small_device.CONFIG


async def test_a_key_alone_is_refused_where_a_password_is_wanted_as_well(
    operator: Operator, tmp_path: Path, user: User, script: Path
) -> None:
    key = Key.new()
    access = openssh.Access.key_and_password(key.public)
    async with asking(operator, tmp_path, user, script, access) as sshd:
        file = str(key.write(tmp_path / "key"))
        await operator.credential("key", user.name, "fleet", "--private-key", file)
        outcome = (await operator.collect())["r1"]
        assert outcome["status"] == "failed"
        assert not sshd.said(r"(?:Failed|Accepted) password")


@pytest.mark.parametrize("kind", [RSA, ECDSA, ED25519], ids=lambda kind: kind[1])
async def test_a_certificate_opens_what_trusts_its_authority(
    operator: Operator, tmp_path: Path, user: User, script: Path, kind: tuple[str, ...]
) -> None:
    key, authority = Key.new(kind), Authority.new()
    certificate = tmp_path / "key-cert.pub"
    certificate.write_text(authority.certify_user(key.public, user.name))
    access = openssh.Access.certificate(authority)
    async with asking(operator, tmp_path, user, script, access) as sshd:
        file = str(key.write(tmp_path / "key"))
        await operator.credential("bare", user.name, "fleet", "--private-key", file, "--priority", "1")
        await operator.credential(
            "certified", user.name, "fleet", "--private-key", file, "--certificate", str(certificate)
        )
        outcome = (await operator.collect())["r1"]
        assert (outcome["status"], outcome["credential"]) == ("collected", "certified"), outcome
        assert await operator.attempts() == [("bare", "refused"), ("certified", "accepted")]
        assert len(sshd.said(r"Accepted publickey for \S+ .*-CERT ")) == 1


async def test_an_expired_certificate_is_refused(
    operator: Operator, tmp_path: Path, user: User, script: Path
) -> None:
    key, authority = Key.new(), Authority.new()
    certificate = tmp_path / "key-cert.pub"
    certificate.write_text(authority.certify_user(key.public, user.name, valid="-2h:-1h"))
    async with asking(operator, tmp_path, user, script, openssh.Access.certificate(authority)) as sshd:
        file = str(key.write(tmp_path / "key"))
        await operator.credential(
            "expired", user.name, "fleet", "--private-key", file, "--certificate", str(certificate)
        )
        outcome = (await operator.collect())["r1"]
        assert outcome["status"] == "failed"
        assert not sshd.said(r"Accepted")


async def test_the_keys_of_an_agent(operator: Operator, tmp_path: Path, user: User, script: Path) -> None:
    """The second of two opens it. The key itself never comes to NetRaven."""
    other, known = Key.new(RSA), Key.new()
    access = openssh.Access.key(known.public)
    async with asking(operator, tmp_path, user, script, access) as sshd:
        with ssh_keys.agent(other, known) as socket:
            agent = {"SSH_AUTH_SOCK": socket}
            await operator.credential("agent", user.name, "fleet", "--agent", env=agent)
            outcome = (await operator.collect(env=agent))["r1"]
        assert outcome["status"] == "collected", outcome
        assert len(sshd.said(r"Accepted publickey")) == 1
        assert await operator.attempts() == [("agent", "accepted")]


async def test_without_an_agent_nothing_is_offered(
    operator: Operator, tmp_path: Path, user: User, script: Path
) -> None:
    async with asking(operator, tmp_path, user, script, openssh.Access.key(Key.new().public)) as sshd:
        gone = {"SSH_AUTH_SOCK": str(tmp_path / "no-agent")}
        await operator.credential("agent", user.name, "fleet", "--agent", env=gone)
        outcome = (await operator.collect(env=gone))["r1"]
        assert (outcome["status"], outcome["reason"]) == ("skipped", "no_credentials")
        assert not sshd.said(r"(?:Failed|Accepted) ")


@pytest.mark.parametrize("kind", [RSA, ECDSA, ED25519], ids=lambda kind: kind[1])
async def test_a_key_with_a_passphrase(
    operator: Operator, tmp_path: Path, user: User, script: Path, kind: tuple[str, ...]
) -> None:
    key = Key.new(kind, passphrase="the passphrase")
    file = str(key.write(tmp_path / "key"))
    async with asking(operator, tmp_path, user, script, openssh.Access.key(key.public)) as sshd:
        add = ("credential", "add", "key", "--username", user.name, "--tags", "fleet", "--private-key", file)
        for words, env in (
            ((), {}),
            (("--passphrase-env", "PHRASE"), {"PHRASE": "another one"}),
        ):
            refused = await operator.netraven(*add, *words, env=env)
            assert refused.code == 2, "a key that cannot be opened is refused when it is given"
            assert "passphrase" in refused.err
            assert "another one" not in refused.err
        added = await operator.netraven(*add, "--passphrase-env", "PHRASE", env={"PHRASE": "the passphrase"})
        assert added.code == 0, added.err
        outcome = (await operator.collect())["r1"]
        assert outcome["status"] == "collected", outcome
        assert len(sshd.said(r"Accepted publickey")) == 1
