"""OpenSSH's own server: several required methods, keys, host certificates, and only old algorithms."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from netraven.model import Access, Device, HostKey, Secret, Target, Trust
from netraven.transport.ssh import SshTransport
from tests.acceptance import openssh
from tests.acceptance.test_openssh import PASSWORD, device, user
from tests.transport.rig import PATIENT, NotedLogin, Visit, visit

__all__ = ["device", "user"]  # fixtures

pytestmark = [pytest.mark.sshd, pytest.mark.xdist_group("sshd")]

KEY = asyncssh.generate_private_key("ssh-ed25519")
OTHER = asyncssh.generate_private_key("ssh-ed25519")


def private(key: asyncssh.SSHKey) -> str:
    return key.export_private_key().decode()


@dataclass(frozen=True, slots=True)
class Door:
    """A server, and how to try it."""

    sshd: openssh.Sshd

    @property
    def target(self) -> Target:
        return Target(Device("r1", "127.0.0.1", "cisco_iosxe", self.sshd.port))

    async def try_(self, secret: Secret, goal: Target | None = None) -> Visit:
        login = NotedLogin(secret=secret, username=self.sshd.user)
        return await visit(SshTransport(PATIENT), goal or self.target, login)


@pytest.fixture
def authorised(tmp_path: Path) -> Iterator[str]:
    """Lines of sshd_config that let the key in."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="netraven-keys-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        file = folder / "keys"
        file.write_bytes(KEY.export_public_key())
        file.chmod(0o644)
        yield f"PubkeyAuthentication yes\nAuthorizedKeysFile {file}"


@asynccontextmanager
async def door(folder: Path, user: str, *options: str) -> AsyncIterator[Door]:
    async with openssh.running(folder / "sshd", user, PASSWORD, *options) as running:
        yield Door(running)


@pytest.mark.parametrize("methods", ["publickey,password", "password,publickey"])
async def test_a_server_that_requires_both(
    methods: str, tmp_path: Path, user: str, device: str, authorised: str
) -> None:
    async with door(tmp_path, user, device, authorised, f"AuthenticationMethods {methods}") as it:
        result = await it.try_(Secret(PASSWORD, private(KEY)))
        assert result.text
        assert result.told == ["secret", "accepted"]
        assert len(it.sshd.said("Failed password")) == 0

        wrong = await it.try_(Secret("not this", private(KEY)))
        assert wrong.told == ["secret", "rejected auth_refused"]
        assert len(it.sshd.said("Failed password")) == 1, "the password went out once"

        alone = await it.try_(Secret(PASSWORD))
        assert alone.reason in ("auth_refused", "negotiation")
        other_key = await it.try_(Secret(PASSWORD, private(OTHER)))
        assert other_key.told in (["secret", "rejected auth_refused"], [])


async def test_a_key_with_a_password_behind_it(
    tmp_path: Path, user: str, device: str, authorised: str
) -> None:
    async with door(tmp_path, user, device, authorised) as it:
        assert (await it.try_(Secret(PASSWORD, private(KEY)))).told == ["secret", "accepted"]
        assert it.sshd.said("Accepted publickey")
        assert (await it.try_(Secret(PASSWORD, private(OTHER)))).told == ["secret", "accepted"]
        assert it.sshd.said("Accepted password")
        assert (await it.try_(Secret("not this", private(OTHER)))).told == ["secret", "rejected auth_refused"]
        assert len(it.sshd.said("Failed password")) == 1


async def test_only_old_algorithms(tmp_path: Path, user: str, device: str, authorised: str) -> None:
    rsa = tmp_path / "rsa"
    rsa.touch(mode=0o600)
    asyncssh.generate_private_key("ssh-rsa").write_private_key(rsa)
    old = (
        f"HostKey {rsa}",
        "KexAlgorithms diffie-hellman-group14-sha1",
        "HostKeyAlgorithms ssh-rsa",
        "Ciphers aes128-cbc",
        "MACs hmac-sha1",
    )
    async with door(tmp_path, user, device, authorised, *old) as it:
        refused = await it.try_(Secret(PASSWORD))
        assert refused.reason == "negotiation"
        assert "legacy = true" in refused.detail
        allowed = replace(it.target, access=Access(legacy=True))
        first = await it.try_(Secret(PASSWORD), allowed)
        assert first.told == ["secret", "accepted"]
        before = len(it.sshd.said("Connection from"))
        again = await it.try_(Secret(PASSWORD), replace(allowed, offer=first.login.offers[0]))
        assert again.text == first.text
        assert len(it.sshd.said("Connection from")) == before + 1, "one handshake"


# ---- host certificates


async def certified(it: Door, **trust: tuple[HostKey, ...]) -> Visit:
    goal = replace(it.target, trust=Trust(**trust), access=Access(host_keys="strict"))
    return await it.try_(Secret(PASSWORD), goal)


def sign(folder: Path, authority: asyncssh.SSHKey, principal: str, **more: Any) -> str:
    """A host key with a certificate; lines of sshd_config."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    certificate = authority.generate_host_certificate(key, "id", principals=[principal], **more)
    file = folder / f"host-{principal}"
    file.touch(mode=0o600)
    key.write_private_key(file)
    certificate.write_certificate(f"{file}-cert.pub")
    return f"HostKey {file}\nHostCertificate {file}-cert.pub"


async def test_a_host_certificate_is_trusted_by_its_authority(tmp_path: Path, user: str, device: str) -> None:
    authority = asyncssh.generate_private_key("ssh-ed25519")
    signer = HostKey("ssh-ed25519", authority.public_data)
    for principal in ("127.0.0.1", "r1"):
        (tmp_path / principal).mkdir()
        async with door(tmp_path / principal, user, device, sign(tmp_path, authority, principal)) as it:
            result = await certified(it, authorities=(signer,))
            assert result.login.told == ["secret", "accepted"], "no key is put on record: the authority is"
            nobody = await certified(it)
            assert nobody.reason == "host_key_unknown"
            revoked = await certified(it, authorities=(signer,), revoked=(signer,))
            assert revoked.reason == "host_key_unknown"
            stranger = await certified(it, authorities=(HostKey("ssh-ed25519", OTHER.public_data),))
            assert stranger.reason == "host_key_unknown"


async def test_a_certificate_that_does_not_hold_lets_nothing_new_in(
    tmp_path: Path, user: str, device: str
) -> None:
    authority = asyncssh.generate_private_key("ssh-ed25519")
    signer = HostKey("ssh-ed25519", authority.public_data)
    for name, principal, more in (
        ("other", "r2", {}),
        ("old", "r1", {"valid_after": "20200101", "valid_before": "20210101"}),
    ):
        (tmp_path / name).mkdir()
        async with door(tmp_path / name, user, device, sign(tmp_path, authority, principal, **more)) as it:
            goal = replace(it.target, trust=Trust((signer,)))  # accept-new
            result = await it.try_(Secret(PASSWORD), goal)
            assert result.reason == "host_key_unknown"
            assert "certificate does not hold" in result.detail
            (shown,) = result.login.refused_keys
            accepted = await it.try_(Secret(PASSWORD), replace(goal, host_keys=(shown,)))
            assert accepted.told == ["secret", "accepted"]
