"""Against OpenSSH itself: what its own log counts is what we say that we did."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from netraven import Credential, Device, Status
from tests.acceptance import openssh, small_device
from tests.acceptance.installation import EVERYWHERE, Installation, credential
from tests.acceptance.ssh_keys import Key
from tests.acceptance.system import User

pytestmark = [pytest.mark.sshd, pytest.mark.xdist_group("sshd")]


@pytest.fixture
def device(script: Path) -> str:
    return f"ForceCommand {script}"


@pytest.fixture(params=["MaxAuthTries 1", "MaxAuthTries 6"])
async def sshd(
    request: pytest.FixtureRequest, tmp_path: Path, user: User, device: str
) -> AsyncIterator[openssh.Sshd]:
    """With the least that can be set, and with the default."""
    async with openssh.running(tmp_path / "sshd", user, request.param, device) as running:
        yield running


async def collect(installation: Installation, sshd: openssh.Sshd, *credentials: Credential) -> Status:
    await installation.stock("name,host,port,platform,tags\n", credentials)
    async with installation.open() as raven:
        r1 = Device("r1", "127.0.0.1", "cisco_iosxe", port=sshd.port, tags=EVERYWHERE)
        await raven.store.inventory.upsert_devices([r1])
        (outcome,) = (await raven.collect()).outcomes
        if outcome.status is Status.COLLECTED:
            capture = await raven.store.versions.current("r1", "running")
            assert capture is not None
            assert capture.text == small_device.CONFIG
    return outcome.status


async def verdicts(installation: Installation) -> list[tuple[str, str]]:
    return [(row["credential_name"], row["verdict"]) for row in await installation.attempts()]


async def test_a_wrong_password_is_one_failure_on_the_servers_side(
    installation: Installation, sshd: openssh.Sshd
) -> None:
    wrong = [credential(f"wrong-{n}", f"not it {n}", username=sshd.user, priority=n) for n in (1, 2, 3)]
    right = credential("right", sshd.password, username=sshd.user, priority=4)
    assert await collect(installation, sshd, *wrong, right) is Status.COLLECTED
    assert await verdicts(installation) == [*((w.name, "refused") for w in wrong), ("right", "accepted")]
    assert len(sshd.said(rf"Failed password for {sshd.user} ")) == 3
    assert len(sshd.said(rf"Accepted password for {sshd.user} ")) == 1
    assert len(sshd.said(r"Failed \w+")) == 3  # by no other method either


async def test_a_user_that_the_server_does_not_know(installation: Installation, sshd: openssh.Sshd) -> None:
    stranger = credential("stranger", "whatever", username="nobody-here", priority=1)
    right = credential("right", sshd.password, username=sshd.user, priority=2)
    assert await collect(installation, sshd, stranger, right) is Status.COLLECTED
    assert await verdicts(installation) == [("stranger", "refused"), ("right", "accepted")]
    assert len(sshd.said(r"Failed password for invalid user nobody-here ")) == 1


async def test_nothing_right(installation: Installation, sshd: openssh.Sshd) -> None:
    assert await collect(installation, sshd, credential("wrong", "no", username=sshd.user)) is Status.FAILED
    assert await verdicts(installation) == [("wrong", "refused")]
    assert len(sshd.said(r"Failed password")) == 1


async def test_private_keys(installation: Installation, tmp_path: Path, user: User, device: str) -> None:
    """One key that the server does not know, then the right one: one signature each at most."""
    known, unknown = Key.new(), Key.new()
    access = openssh.Access.key(known.public)
    async with openssh.running(tmp_path / "sshd", user, device, access=access) as sshd:
        credentials = [
            Credential("unknown", user.name, None, EVERYWHERE, 1, private_key=unknown.private),
            Credential("known", user.name, None, EVERYWHERE, 2, private_key=known.private),
        ]
        assert await collect(installation, sshd, *credentials) is Status.COLLECTED
        assert await verdicts(installation) == [("unknown", "refused"), ("known", "accepted")]
        assert len(sshd.said(r"Failed publickey")) == 1
        assert len(sshd.said(r"Accepted publickey")) == 1
        assert not sshd.said(r"(Failed|Accepted) password")


async def test_questions_by_pam_and_nothing_else(
    installation: Installation, tmp_path: Path, user: User, device: str
) -> None:
    """Keyboard-interactive: PAM asks, and judges each answer once."""
    access = openssh.KEYBOARD_INTERACTIVE
    async with openssh.running(tmp_path / "sshd", user, device, access=access) as sshd:
        wrong = credential("wrong", "not it", username=user.name, priority=1)
        right = credential("right", user.password, username=user.name, priority=2)
        assert await collect(installation, sshd, wrong, right) is Status.COLLECTED
        assert await verdicts(installation) == [("wrong", "refused"), ("right", "accepted")]
        assert len(sshd.said(r"Failed keyboard-interactive/pam for ")) == 1
        assert len(sshd.said(r"Accepted keyboard-interactive/pam for ")) == 1
        assert not sshd.said(r"(?:Failed|Accepted) password")
