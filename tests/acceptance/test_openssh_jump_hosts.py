"""Through OpenSSH as a jump host, with the limits that it comes with."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from netraven.lab import Lab, LabDevice
from tests.acceptance import frr, openssh
from tests.acceptance.at_the_prompt import Operator
from tests.acceptance.ssh_keys import Key
from tests.acceptance.system import User

pytestmark = [pytest.mark.sshd, pytest.mark.slow, pytest.mark.xdist_group("jump_hosts")]


async def jump_host(operator: Operator, name: str, sshd: openssh.Sshd) -> None:
    """As a device, with a credential that is for nothing else."""
    await operator.device(name, sshd.port, "jump_host", f"{name}-only")
    await operator.password(name, sshd.user, f"{name}-only", sshd.password)


@pytest.mark.frr
@pytest.mark.parametrize("chain", [("inner",), ("outer", "inner")], ids=["one", "two"])
async def test_a_real_router_with_a_key_behind_jump_hosts(
    operator: Operator, tmp_path: Path, router: str, router_user: User, user: User, chain: tuple[str, ...]
) -> None:
    key = Key.new()
    force = f"ForceCommand {frr.shell(router)}"
    access = openssh.Access.key(key.public)
    async with (
        openssh.running(tmp_path / "router", router_user, force, access=access) as target,
        openssh.running(tmp_path / "outer", user, openssh.TELLS_WHERE_TO) as outer,
        openssh.running(tmp_path / "inner", user, openssh.TELLS_WHERE_TO) as inner,
    ):
        servers = {"outer": outer, "inner": inner}
        for name in chain:
            await jump_host(operator, name, servers[name])
        operator.settings(f"[tags.site]\njump = {json.dumps(chain)}")
        await operator.device(router, target.port, frr.PLATFORM, "site")
        file = str(key.write(tmp_path / "key"))
        await operator.credential("router", router_user.name, "site", "--private-key", file)
        for _ in range(2):
            outcome = (await operator.collect("--tag", "site"))[router]
            assert (outcome["status"], outcome["attempts"]) == ("collected", 1), outcome
        assert "router bgp 64512" in await operator.text(router)
        assert inner.forwarded == [("127.0.0.1", target.port)] * 2
        assert outer.forwarded == ([("127.0.0.1", inner.port)] * 2 if len(chain) == 2 else [])
        assert outer.connections == (2 if len(chain) == 2 else 0)
        assert len(target.said(r"Accepted publickey")) == 2
        # each secret goes to the one that it is for, and to nobody else
        assert not any(server.said(r"Failed \w+") for server in (outer, inner, target))


async def test_sixty_devices_behind_one_jump_host_with_its_default_limits(
    operator: Operator, tmp_path: Path, user: User
) -> None:
    """MaxStartups 10:30:100, MaxSessions 10: one connection carries them all."""
    devices = [LabDevice(f"r{n}", accepts={"netops": "word"}, tags=("fleet",)) for n in range(60)]
    async with Lab(devices) as lab, openssh.running(tmp_path / "jump", user, openssh.TELLS_WHERE_TO) as jump:
        await jump_host(operator, "jump", jump)
        operator.settings('[tags.fleet]\njump = ["jump"]')
        await operator.devices(lab.csv())
        await operator.password("netops", "netops", "fleet", "word")
        outcomes = await operator.collect("--tag", "fleet")
        assert {name: o["status"] for name, o in outcomes.items()} == {d.name: "collected" for d in devices}
        assert len(lab.log.attempts()) == 60
        assert len(jump.forwarded) == 60
        assert jump.connections == 1
        assert not jump.said(r"(?i)MaxStartups|no more sessions|refused")


async def test_a_jump_host_that_dies_fails_its_devices_and_no_others(
    operator: Operator, tmp_path: Path, user: User
) -> None:
    behind = [LabDevice(f"behind{n}", accepts={"netops": "word"}, tags=("site",), think=3) for n in range(5)]
    beside = [LabDevice(f"beside{n}", accepts={"netops": "word"}, tags=("near",), think=1) for n in range(5)]
    async with (
        Lab([*behind, *beside]) as lab,
        openssh.running(tmp_path / "jump", user, openssh.TELLS_WHERE_TO) as jump,
    ):
        await jump_host(operator, "jump", jump)
        operator.settings('[tags.site]\njump = ["jump"]')
        await operator.devices(lab.csv())
        await operator.password("netops", "netops", "site,near", "word")
        collecting = asyncio.create_task(operator.collect("--tag", "site", "--tag", "near"))
        names = {device.name for device in behind}
        async with asyncio.timeout(60):
            while {e.device for e in lab.log.events if e.kind == "session"} & names != names:
                assert not collecting.done(), await collecting
                await asyncio.sleep(0.05)
        jump.daemon.kill()
        outcomes = await collecting
    assert {outcomes[d.name]["status"] for d in beside} == {"collected"}
    assert {(outcomes[d.name]["status"], outcomes[d.name]["reason"]) for d in behind} == {
        ("failed", "unreachable")
    }
    assert all("jump" in outcomes[d.name]["detail"] for d in behind)


async def test_a_jump_host_that_refuses_its_own_credential_is_asked_once(
    operator: Operator, tmp_path: Path, user: User
) -> None:
    """Twenty devices wait for it; its account is not locked for them."""
    devices = [LabDevice(f"r{n}", accepts={"netops": "word"}, tags=("fleet",)) for n in range(20)]
    async with Lab(devices) as lab, openssh.running(tmp_path / "jump", user) as jump:
        await operator.device("jump", jump.port, "jump_host", "jump-only")
        await operator.password("jump", user.name, "jump-only", "not it")
        operator.settings('[tags.fleet]\njump = ["jump"]')
        await operator.devices(lab.csv())
        await operator.password("netops", "netops", "fleet", "word")
        outcomes = await operator.collect("--tag", "fleet")
        assert {(o["status"], o["attempts"]) for o in outcomes.values()} == {("failed", 0)}
        assert len(jump.said(r"Failed password")) == 1
        assert not lab.log.attempts()
