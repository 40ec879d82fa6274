"""Which process holds a run, and whether it still lives.

An owner is ``host/boot/pid/start``. On Linux ``boot`` is the kernel's boot id with the process namespace (two
containers of one host number their processes apart) and ``start`` the process's start time in clock ticks, so that a
process that was given the number of a dead one is told from it. Elsewhere both are empty and the number decides.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

_PROC = Path("/proc")


def current_owner() -> str:
    """This process."""
    pid = os.getpid()
    return f"{_host()}/{pid}/{_start(pid)}"


def lives(owner: str) -> bool | None:
    """Whether the process still runs; None where that cannot be seen from here (another host or boot)."""
    place, _, process = owner.rpartition("/")[0].rpartition("/")
    start = owner.rpartition("/")[2]
    if place != _host() or not process.isdecimal():
        return None
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's, but there
    return _start(int(process)) == start


def _host() -> str:
    return f"{socket.gethostname()}/{_read('sys/kernel/random/boot_id')}{_namespace()}"


def _namespace() -> str:
    try:
        return ":" + str((_PROC / "self/ns/pid").readlink()).strip("pid:[]")
    except OSError:
        return ""


def _start(pid: int) -> str:
    """The 22nd field of proc(5)'s ``stat``; the 2nd, the name, may itself hold spaces and parentheses."""
    fields = _read(f"{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def _read(path: str) -> str:
    try:
        return (_PROC / path).read_text().strip()
    except OSError:
        return ""
