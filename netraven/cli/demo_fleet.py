"""The demo's simulated fleet, in a process of its own: `python -m netraven.cli.demo_fleet N`.

Prints one JSON line when it is ready. Each line on stdin is the name of a device that is to show another host key
from then on, and is answered with a line. The end of stdin ends it, so it cannot outlive the demo.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from dataclasses import dataclass, field, replace

from netraven.lab import Ill, Lab, LabDevice, WireLog, fleet

SEED = 7
_THINK = 0.25
"""Seconds that a command takes: devices are not the quickest."""

_SHARES = {"netops": 0.55, "tacacs-backup": 0.2, "site-admin": 0.15, "factory": 0.1}
_ROLES = {
    "netops": ("core", "dist", "edge", "access"),
    "tacacs-backup": ("core", "dist", "edge"),
    "site-admin": ("edge", "access"),
    "factory": ("access", "dist"),
}


@dataclass(frozen=True, slots=True)
class DemoCredential:
    name: str
    username: str
    tags: tuple[str, ...]
    priority: int
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DemoFleet:
    """``site``: where the demo begins. ``replaced``: a healthy device there that shows another key later."""

    devices: tuple[LabDevice, ...]
    credentials: tuple[DemoCredential, ...]
    site: str
    replaced: str
    lonely: str | None


_ILLS = (
    Ill("port_closed"),
    Ill("hung_login"),
    Ill("drop_mid_output"),
    Ill("command_error"),
    Ill("refuses"),
    Ill("hung_after_login"),
    Ill("port_closed"),
    Ill("hung_before_banner"),
    Ill("close_at_login"),
    Ill("evil_output"),
)
"""One device each, as far as the fleet is large enough; the last one is collected all the same."""
_WELL_FOR_ONE_ILL = 12


def demo_fleet(count: int) -> DemoFleet:
    """The same fleet for the same ``count``."""
    made = fleet(count, seed=SEED, shares=_SHARES, think=_THINK)
    passwords = {login.username: login.password for login in made.logins}
    devices = [_with_role(device, place) for place, device in enumerate(made.devices)]
    sizes = Counter(device.tags[0] for device in devices)
    site = min(sorted(sizes), key=lambda name: abs(count // 8 - sizes[name]))
    elsewhere = [place for place, device in enumerate(devices) if device.tags[0] != site]
    sick = elsewhere[:: max(1, len(elsewhere) // len(_ILLS))][: min(len(_ILLS), count // _WELL_FOR_ONE_ILL)]
    for place, ill in zip(sick, _ILLS, strict=False):
        devices[place] = replace(devices[place], ill=ill)
    lonely = (
        next((place for place in reversed(elsewhere) if place not in sick), None) if count >= 20 else None
    )
    if lonely is not None:
        devices[lonely] = replace(devices[lonely], tags=(devices[lonely].tags[0], "lab-bench"))
    return DemoFleet(
        devices=tuple(devices),
        credentials=tuple(
            DemoCredential(name, name, _ROLES[name], 10 * (place + 1), passwords[name])
            for place, name in enumerate(_SHARES)
        ),
        site=site,
        replaced=next(d.name for d in devices if d.tags[0] == site),
        lonely=None if lonely is None else devices[lonely].name,
    )


def _with_role(device: LabDevice, place: int) -> LabDevice:
    """A role that the one login which the device accepts is offered to."""
    roles = _ROLES[next(iter(device.accepts))]
    role = roles[place % len(roles)]
    site, _, number = device.name.partition("-")[0], *device.name.rpartition("-")[1:]
    return replace(device, name=f"{site}-{role}-{number}", tags=(site, role))


async def serve(count: int) -> None:
    made = demo_fleet(count)
    async with Lab(made.devices, seed=SEED, log=WireLog(record=False)) as lab:
        print(json.dumps({"csv": lab.csv()}), flush=True)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := (await reader.readline()).decode().strip():
            lab.change_host_key(line)
            print(json.dumps({"changed": line}), flush=True)


def main() -> None:
    import contextlib
    import resource

    with contextlib.suppress(ValueError, OSError):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
