"""Against servers of other projects: dropbear's SSH, and FakeNOS's devices over paramiko."""

from __future__ import annotations

from pathlib import Path

import pytest

from netraven import Credential, Device, Outcome, Status
from tests.acceptance import dropbear, fake_devices, small_device
from tests.acceptance.installation import EVERYWHERE, Installation, credential
from tests.acceptance.ssh_keys import ECDSA, ED25519, RSA, Key
from tests.acceptance.system import User

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.xdist_group("servers")]


async def collect(
    installation: Installation, devices: list[Device], credentials: list[Credential]
) -> tuple[list[Outcome], dict[str, str]]:
    """What devices came to, in the order of their names, and the text of each one collected."""
    await installation.stock("name,host,port,platform,tags\n", credentials)
    texts: dict[str, str] = {}
    async with installation.open() as raven:
        await raven.store.inventory.upsert_devices(devices)
        outcomes = (await raven.collect()).outcomes
        for device in devices:
            capture = await raven.store.versions.current(device.name, "running")
            if capture is not None:
                texts[device.name] = capture.text
    return sorted(outcomes, key=lambda outcome: outcome.device.name), texts


async def test_dropbear_with_a_password(
    installation: Installation, tmp_path: Path, user: User, script: Path
) -> None:
    async with dropbear.running(tmp_path / "dropbear", user, str(script)) as server:
        r1 = Device("r1", "127.0.0.1", "cisco_iosxe", port=server.port, tags=EVERYWHERE)
        wrong = credential("wrong", "not it", username=user.name, priority=1)
        right = credential("right", user.password, username=user.name, priority=2)
        (outcome,), texts = await collect(installation, [r1], [wrong, right])
        assert len(server.said(r"Bad password attempt")) == 1
        assert len(server.said(r"Password auth succeeded")) == 1
    assert (outcome.status, outcome.retry_count) == (Status.COLLECTED, 1), outcome.detail
    assert texts == {"r1": small_device.CONFIG}


@pytest.mark.parametrize("kind", [RSA, ECDSA, ED25519], ids=lambda kind: kind[1])
async def test_dropbear_with_a_key(
    installation: Installation, tmp_path: Path, user: User, script: Path, kind: tuple[str, ...]
) -> None:
    """One that it does not know, then the right one."""
    known, unknown = Key.new(kind), Key.new(kind)
    authorized = (known.public,)
    async with dropbear.running(
        tmp_path / "dropbear", user, str(script), "-s", authorized=authorized
    ) as server:
        r1 = Device("r1", "127.0.0.1", "cisco_iosxe", port=server.port, tags=EVERYWHERE)
        credentials = [
            Credential("unknown", user.name, None, EVERYWHERE, 1, private_key=unknown.private),
            Credential("known", user.name, None, EVERYWHERE, 2, private_key=known.private),
        ]
        (outcome,), texts = await collect(installation, [r1], credentials)
        assert len(server.said(r"Pubkey auth succeeded")) == 1
        assert not server.said(r"[Pp]assword")
    assert (outcome.status, outcome.retry_count) == (Status.COLLECTED, 1), outcome.detail
    assert texts == {"r1": small_device.CONFIG}


async def test_devices_that_another_project_simulates(installation: Installation, tmp_path: Path) -> None:
    platforms = {"ios": "cisco_ios", "eos": "arista_eos"}
    async with fake_devices.running(tmp_path / "fakenos", platforms, "netops", "right") as ports:
        devices = [
            Device("ios", "127.0.0.1", "cisco_iosxe", port=ports["ios"], tags=EVERYWHERE),
            Device("eos", "127.0.0.1", "arista_eos", port=ports["eos"], tags=EVERYWHERE),
        ]
        wrong = credential("wrong", "not it", username="netops", priority=1)
        right = credential("right", "right", username="netops", priority=2)
        outcomes, texts = await collect(installation, devices, [wrong, right])
    assert [(o.status, o.retry_count) for o in outcomes] == [(Status.COLLECTED, 1)] * 2, [
        o.detail for o in outcomes
    ]
    for name in platforms:
        assert f"hostname {name}" in texts[name].splitlines()
        assert not texts[name].rstrip().endswith(("#", ">"))
