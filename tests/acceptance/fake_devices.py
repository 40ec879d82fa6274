"""FakeNOS in a process of its own: devices that another project simulates, with paramiko's SSH."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.acceptance.processes import ROOT
from tests.acceptance.system import Daemon, free_port, missing

PROGRAM = ROOT / ".venv-fakenos" / "bin" / "fakenos"


@asynccontextmanager
async def running(
    folder: Path, devices: Mapping[str, str], username: str, password: str
) -> AsyncIterator[Mapping[str, int]]:
    """``devices``: FakeNOS's platforms by name; yields their ports by name."""
    if not PROGRAM.exists():
        missing("no FakeNOS here: `make needs` makes an environment for it")
    folder.mkdir()
    ports = {name: free_port() for name in devices}
    inventory = folder / "inventory.yaml"  # JSON is YAML
    inventory.write_text(
        json.dumps(
            {
                "default": {"username": username, "password": password},
                "hosts": {name: {"port": ports[name], "platform": devices[name]} for name in devices},
            }
        )
    )
    last = f"Device {list(devices)[-1]} is running"
    async with Daemon.running(
        str(PROGRAM), "-i", str(inventory), log=folder / "fakenos.log", ready=last
    ) as daemon:
        assert daemon.process.returncode is None
        yield ports
