"""A real network operating system: FRR's vtysh behind OpenSSH."""

from __future__ import annotations

from pathlib import Path

import pytest

from netraven import Credential, Device, Status
from tests.acceptance import frr, openssh
from tests.acceptance.installation import EVERYWHERE, Installation, credential
from tests.acceptance.ssh_keys import ECDSA, ED25519, RSA, Key
from tests.acceptance.system import User

pytestmark = [pytest.mark.frr, pytest.mark.slow, pytest.mark.xdist_group("frr")]


async def test_the_running_configuration_of_a_real_router(
    installation: Installation, tmp_path: Path, router: str, router_user: User
) -> None:
    force = f"ForceCommand {frr.shell(router)}"
    async with openssh.running(tmp_path / "sshd", router_user, force) as sshd:
        wrong = credential("wrong", "not it", username=router_user.name, priority=1)
        right = credential("right", router_user.password, username=router_user.name, priority=2)
        await installation.stock("name,host,port,platform,tags\n", [wrong, right])
        async with installation.open() as raven:
            device = Device(router, "127.0.0.1", frr.PLATFORM, port=sshd.port, tags=EVERYWHERE)
            await raven.store.inventory.upsert_devices([device])
            (first,) = (await raven.collect()).outcomes
            (second,) = (await raven.collect()).outcomes
            capture = await raven.store.versions.current(router, "running")
        assert len(sshd.said(r"Failed password")) == 1, "the second run knows what opens the router"
    assert (first.status, first.retry_count, first.changed) == (Status.COLLECTED, 1, True), first.detail
    assert (second.status, second.retry_count, second.changed) == (Status.COLLECTED, 0, False)
    assert capture is not None
    lines = capture.text.splitlines()
    for line in (
        f"hostname {router}",
        " description the router's own",
        "router bgp 64512",
        " neighbor 192.0.2.2 description transit, kept shut down",
        "ip prefix-list own seq 5 permit 198.51.100.0/24",
        "route-map out permit 10",
        "end",
    ):
        assert line in lines, capture.text
    assert not any(router + "#" in line for line in lines)


@pytest.mark.parametrize("kind", [RSA, ECDSA, ED25519], ids=lambda kind: kind[1])
async def test_a_private_key_opens_it(
    installation: Installation, tmp_path: Path, router: str, router_user: User, kind: tuple[str, ...]
) -> None:
    key = Key.new(kind)
    access = openssh.Access.key(key.public)
    force = f"ForceCommand {frr.shell(router)}"
    async with openssh.running(tmp_path / "sshd", router_user, force, access=access) as sshd:
        with_key = Credential("key", router_user.name, None, EVERYWHERE, private_key=key.private)
        await installation.stock("name,host,port,platform,tags\n", [with_key])
        async with installation.open() as raven:
            device = Device(router, "127.0.0.1", frr.PLATFORM, port=sshd.port, tags=EVERYWHERE)
            await raven.store.inventory.upsert_devices([device])
            (outcome,) = (await raven.collect()).outcomes
            capture = await raven.store.versions.current(router, "running")
        assert len(sshd.said(r"Accepted publickey")) == 1
        assert not sshd.said(r"Failed \w+")
    assert (outcome.status, outcome.attempts) == (Status.COLLECTED, 1), outcome.detail
    assert capture is not None
    assert "router bgp 64512" in capture.text
