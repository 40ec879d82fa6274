"""Against OpenSSH itself: what its own log counts is what we say that we did."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from netraven import Credential, Device, Status
from tests.acceptance import openssh
from tests.acceptance.installation import EVERYWHERE, Installation, credential
from tests.acceptance.test_canaries import private_key

pytestmark = [pytest.mark.sshd, pytest.mark.xdist_group("sshd")]

PASSWORD = "kept-for-the-test-only"
CONFIG = "hostname r1\n!\ninterface Loopback0\n description from behind OpenSSH\nend\n"
DEVICE = """\
printf 'r1#'
while read -r line; do
  case "$line" in
    "show running-config") cat {config} ;;
    exit) exit ;;
  esac
  printf 'r1#'
done
"""


@pytest.fixture(scope="module")
def user() -> Iterator[str]:
    openssh.program("sshd", "openssh-server")
    with openssh.temporary_user(PASSWORD) as name:
        yield name


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A script that speaks a little IOS, where another user can read it."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="netraven-sshd-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "config").write_text(CONFIG)
        (folder / "device.sh").write_text(DEVICE.format(config=folder / "config"))
        for file in folder.iterdir():
            file.chmod(0o644)
        yield f"ForceCommand /bin/sh {folder / 'device.sh'}"


@pytest.fixture(params=["MaxAuthTries 1", "MaxAuthTries 6"])
async def sshd(
    request: pytest.FixtureRequest, tmp_path: Path, user: str, device: str
) -> AsyncIterator[openssh.Sshd]:
    """With the least that can be set, and with the default."""
    async with openssh.running(tmp_path / "sshd", user, PASSWORD, request.param, device) as running:
        yield running


async def collect(installation: Installation, sshd: openssh.Sshd, *credentials: Credential) -> Status:
    await installation.stock("name,host,port,platform,tags\n", credentials)
    async with installation.open() as raven:
        r1 = Device("r1", "127.0.0.1", "cisco_iosxe", port=sshd.port, tags=EVERYWHERE)
        await raven.store.inventory.upsert_devices([r1])
        (outcome,) = (await raven.collect()).outcomes
        if outcome.status is Status.COLLECTED:
            capture = await raven.store.snapshots.latest("r1")
            assert capture is not None
            assert capture.text == CONFIG
    return outcome.status


async def verdicts(installation: Installation) -> list[tuple[str, str]]:
    return [(row["credential_name"], row["verdict"]) for row in await installation.attempts()]


async def test_a_wrong_password_is_one_failure_on_the_servers_side(
    installation: Installation, sshd: openssh.Sshd
) -> None:
    wrong = [credential(f"wrong-{n}", f"not it {n}", username=sshd.user, priority=n) for n in (1, 2, 3)]
    right = credential("right", PASSWORD, username=sshd.user, priority=4)
    assert await collect(installation, sshd, *wrong, right) is Status.COLLECTED
    assert await verdicts(installation) == [*((w.name, "refused") for w in wrong), ("right", "accepted")]
    assert len(sshd.said(rf"Failed password for {sshd.user} ")) == 3
    assert len(sshd.said(rf"Accepted password for {sshd.user} ")) == 1
    assert len(sshd.said(r"Failed \w+")) == 3  # by no other method either


async def test_a_user_that_the_server_does_not_know(installation: Installation, sshd: openssh.Sshd) -> None:
    stranger = credential("stranger", "whatever", username="nobody-here", priority=1)
    right = credential("right", PASSWORD, username=sshd.user, priority=2)
    assert await collect(installation, sshd, stranger, right) is Status.COLLECTED
    assert await verdicts(installation) == [("stranger", "refused"), ("right", "accepted")]
    assert len(sshd.said(r"Failed password for invalid user nobody-here ")) == 1


async def test_nothing_right(installation: Installation, sshd: openssh.Sshd) -> None:
    assert await collect(installation, sshd, credential("wrong", "no", username=sshd.user)) is Status.FAILED
    assert await verdicts(installation) == [("wrong", "refused")]
    assert len(sshd.said(r"Failed password")) == 1


async def test_private_keys(installation: Installation, tmp_path: Path, user: str, device: str) -> None:
    """One key that the server does not know, then the right one: one signature each at most."""
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_ssh_private_key,
    )

    known, unknown = private_key()[0], private_key()[0]
    public = load_ssh_private_key(known.encode(), None).public_key()
    authorized = Path(device.rsplit(maxsplit=1)[-1]).with_name("authorized_keys")
    authorized.write_bytes(public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n")
    options = (device, "PubkeyAuthentication yes", f"AuthorizedKeysFile {authorized}")
    async with openssh.running(tmp_path / "sshd", user, PASSWORD, *options) as sshd:
        credentials = [
            Credential("unknown", user, None, EVERYWHERE, 1, private_key=unknown),
            Credential("known", user, None, EVERYWHERE, 2, private_key=known),
        ]
        assert await collect(installation, sshd, *credentials) is Status.COLLECTED
        assert await verdicts(installation) == [("unknown", "refused"), ("known", "accepted")]
        assert len(sshd.said(r"Failed publickey")) == 1
        assert len(sshd.said(r"Accepted publickey")) == 1
        assert not sshd.said(r"(Failed|Accepted) password")
