"""FRR, a real router, as processes of ours."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.acceptance.system import PATIENCE, alive, missing, needs_root, program, unique_name

PLATFORM = "cumulus_vtysh"
GROUPS = "frrvty,frr"
"""A user who may use vtysh is in both."""
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


def shell(router: str) -> str:
    """What a user of the router is given instead of a shell."""
    return f"{program('vtysh', 'frr')} -N {router}"


@contextmanager
def running() -> Iterator[str]:
    """zebra and bgpd in a path space of their own; its name. No address is set: that would reach the host."""
    needs_root("start FRR's daemons")
    program("vtysh", "frr")
    name = unique_name()
    run, etc = Path("/var/run/frr") / name, Path("/etc/frr") / name
    for folder in (run.parent, run, etc):
        folder.mkdir(mode=0o755, exist_ok=True)
        shutil.chown(folder, "frr", "frr")
    (etc / "vtysh.conf").write_text(f"service integrated-vtysh-config\nhostname {name}\n")
    (etc / "frr.conf").write_text(CONFIG.format(name=name))
    for file in etc.iterdir():
        shutil.chown(file, "frr", "frr")
        file.chmod(0o640)
    pids: list[int] = []
    try:
        pids.append(_start("zebra", name, run))
        pids.append(_start("bgpd", name, run, "-p", "0", "-n"))
        subprocess.run(("vtysh", "-N", name, "-b"), capture_output=True, timeout=30, check=True)
        yield name
    finally:
        for pid in reversed(pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        shutil.rmtree(etc, ignore_errors=True)
        deadline = time.monotonic() + 5
        while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.05)
        shutil.rmtree(run, ignore_errors=True)


def _start(daemon: str, name: str, folder: Path, *more: str) -> int:
    """The daemon goes to the background by itself; its pid."""
    pid_file = folder / f"{daemon}.pid"
    words = (
        *(str(DAEMONS / daemon), "-d", "-N", name, "-A", "127.0.0.1", "-P", "0"),
        *(*more, "-i", str(pid_file)),
    )
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        missing(f"FRR's {daemon} does not start here: {done.stderr.strip()}")
    deadline = time.monotonic() + PATIENCE
    while not pid_file.exists() or not pid_file.read_text().strip():
        assert time.monotonic() < deadline, f"{daemon} wrote no pid"
        time.sleep(0.05)
    return int(pid_file.read_text())
