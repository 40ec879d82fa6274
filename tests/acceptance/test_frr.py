"""A real network operating system: FRR's vtysh behind OpenSSH, and behind Debian's telnet server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from netraven import Device, NetRaven, Status
from netraven.config import AccessSettings
from tests.acceptance import openssh, telnetd
from tests.acceptance.installation import EVERYWHERE, Installation, credential

pytestmark = [pytest.mark.frr, pytest.mark.slow, pytest.mark.xdist_group("sshd")]

PASSWORD = "kept-for-the-test-only"
DAEMONS = Path("/usr/lib/frr")
CONFIG = """\
hostname {name}
!
interface lo
 description the router's own
exit
!
router bgp 64512
 bgp router-id 192.0.2.1
 no bgp ebgp-requires-policy
 neighbor 192.0.2.2 remote-as 64513
 neighbor 192.0.2.2 description transit, kept shut down
 neighbor 192.0.2.2 shutdown
exit
!
ip prefix-list own seq 5 permit 198.51.100.0/24
!
route-map out permit 10
 match ip address prefix-list own
exit
!
"""


@pytest.fixture(scope="module")
def router() -> Iterator[str]:
    """zebra and bgpd in a path space of their own; its name. No address is set: that would reach the host."""
    if os.geteuid() != 0:
        openssh.missing("FRR's daemons need root")
    openssh.program("vtysh", "frr")
    openssh.program("sshd", "openssh-server")
    name = f"nrt{os.getpid()}"
    run, etc = Path("/var/run/frr") / name, Path("/etc/frr") / name
    for folder in (run.parent, run, etc):
        folder.mkdir(mode=0o755, exist_ok=True)
        shutil.chown(folder, "frr", "frr")
    (etc / "vtysh.conf").write_text(f"service integrated-vtysh-config\nhostname {name}\n")
    (etc / "frr.conf").write_text(CONFIG.format(name=name))
    for file in etc.iterdir():
        shutil.chown(file, "frr", "frr")
        file.chmod(0o640)
    pids = []
    try:
        for daemon, more in (("zebra", ()), ("bgpd", ("-p", "0", "-n"))):
            pid_file = run / f"{daemon}.pid"
            words = (
                str(DAEMONS / daemon),
                "-d",
                "-N",
                name,
                "-A",
                "127.0.0.1",
                "-P",
                "0",
                *more,
                "-i",
                str(pid_file),
            )
            done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
            if done.returncode != 0:
                openssh.missing(f"FRR's {daemon} does not start here: {done.stderr.strip()}")
            deadline = time.monotonic() + openssh.PATIENCE
            while not pid_file.exists() or not pid_file.read_text().strip():
                assert time.monotonic() < deadline, f"{daemon} wrote no pid"
                time.sleep(0.05)
            pids.append(int(pid_file.read_text()))
        subprocess.run(("vtysh", "-N", name, "-b"), capture_output=True, timeout=30, check=True)
        yield name
    finally:
        for pid in reversed(pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        shutil.rmtree(etc, ignore_errors=True)
        deadline = time.monotonic() + 5
        while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.05)
        shutil.rmtree(run, ignore_errors=True)


async def test_the_running_configuration_of_a_real_router(
    installation: Installation, tmp_path: Path, router: str
) -> None:
    with openssh.temporary_user(PASSWORD, groups="frrvty,frr") as user:
        force = f"ForceCommand {openssh.program('vtysh', 'frr')} -N {router}"
        async with openssh.running(tmp_path / "sshd", user, PASSWORD, force) as sshd:
            wrong = credential("wrong", "not it", username=user, priority=1)
            right = credential("right", PASSWORD, username=user, priority=2)
            await installation.stock("name,host,port,platform,tags\n", [wrong, right])
            async with installation.open() as raven:
                device = Device(router, "127.0.0.1", "cumulus_vtysh", port=sshd.port, tags=EVERYWHERE)
                await raven.store.inventory.upsert_devices([device])
                (first,) = (await raven.collect()).outcomes
                (second,) = (await raven.collect()).outcomes
                capture = await raven.store.snapshots.latest(router)
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


async def test_the_same_router_over_telnet(installation: Installation, tmp_path: Path, router: str) -> None:
    shell = tmp_path / "shell"
    shell.write_text(f"#!/bin/sh\nexec {openssh.program('vtysh', 'frr')} -N {router}\n")
    shell.chmod(0o755)
    for folder in shell.parents[: len(shell.parents) - 2]:
        folder.chmod(folder.stat().st_mode | 0o011)
    with openssh.temporary_user(PASSWORD, groups="frrvty,frr") as user:
        openssh.run(openssh.program("usermod", "passwd"), "-s", str(shell), user)
        async with telnetd.running() as port:
            wrong = credential("wrong", "not it", username=user, priority=1)
            right = credential("right", PASSWORD, username=user, priority=2)
            await installation.stock("name,host,port,platform,tags\n", [wrong, right])
            by_telnet = {router: AccessSettings(transport="telnet")}
            async with NetRaven.open(replace(installation.settings, devices=by_telnet)) as raven:
                device = Device(router, "127.0.0.1", "cumulus_vtysh", port=port, tags=EVERYWHERE)
                await raven.store.inventory.upsert_devices([device])
                (first,) = (await raven.collect()).outcomes
                capture = await raven.store.snapshots.latest(router)
    assert (first.status, first.retry_count, first.attempts) == (Status.COLLECTED, 1, 2), first.detail
    assert capture is not None
    assert capture.text.splitlines()[-1] == "end"
    assert " description the router's own" in capture.text.splitlines()
