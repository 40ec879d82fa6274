"""`python -m netraven.lab`: a lab in a process of its own, for benchmarks and tests that kill the client."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
import tempfile
import textwrap
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args

from netraven.lab.aaa import AAA
from netraven.lab.dialects import DIALECTS
from netraven.lab.fleet import Fleet, fleet
from netraven.lab.lab import Lab
from netraven.lab.model import IllKind, LabDevice
from netraven.lab.wirelog import WireLog

_EPILOG = """\
The line that it prints when ready names two files: `csv` is the inventory, as `netraven device import` takes it;
`logins` (logins.json) holds the logins of a generated fleet: user, made-up password, and tags for the credential.
Ctrl-C ends it.

Devices that are old, ill or speak telnet are listed in a --spec file. Each has at least a name and the passwords that
open it:
  {{"devices": [{{"name": "r1", "accepts": {{"svc": "any password"}}, "tags": ["edge"],
                "ill": {{"kind": "hung_login", "times": 1}}}},
               {{"name": "t1", "accepts": {{"svc": "any password"}}, "telnet": true}},
               {{"name": "o1", "accepts": {{"svc": "any password"}},
                "algorithms": {{"kex": ["diffie-hellman-group1-sha1"], "macs": ["hmac-sha1"]}}}}]}}
Further keys: {keys}.
`times` limits an illness to the first connections. Kinds of it:
{kinds}
"""


_SHOWN = {"name", "accepts", "tags", "ill", "telnet", "algorithms"}
"""Keys of a device that the example has."""


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m netraven.lab",
        description="Simulated devices on loopback, SSH or telnet. Prints a JSON line when ready, and one at the end.",
        epilog=_EPILOG.format(
            keys=textwrap.fill(", ".join(sorted({f.name for f in fields(LabDevice)} - _SHOWN)), 100).replace(
                "\n", "\n  "
            ),
            kinds=textwrap.fill(
                ", ".join(get_args(IllKind)), 76, initial_indent="  ", subsequent_indent="  "
            ),
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--devices", type=int, default=10, metavar="N", help="size of a generated fleet (default 10)")
    add(
        "--spec",
        type=Path,
        metavar="FILE",
        help='JSON: {"devices": [...]} or {"fleet": {...}}, and {"aaa": {...}}',
    )
    add("--shares", default="", metavar="a=0.7,b=0.3", help="which user opens which share of the fleet")
    add("--dialects", default=",".join(DIALECTS), help="dialects of the fleet, in turn")
    add("--addressing", choices=("port", "address"), default="port")
    add("--one-listener", action="store_true", help="one wildcard socket for all addresses (large fleets)")
    add("--shared-host-keys", type=int, metavar="N", help="so many keys for the whole fleet")
    add("--think", type=float, default=0.0, metavar="S", help="seconds that each command takes")
    add("--config-size", type=int, default=8192, metavar="BYTES")
    add(
        "--aaa-threshold",
        type=int,
        metavar="T",
        help="a central AAA server that locks after T refusals in a row",
    )
    add("--seed", type=int, default=0)
    add("--record", type=Path, metavar="FILE", help="append every event as a JSON line")
    add(
        "--out", type=Path, metavar="DIR", help="where devices.csv and logins.json go (default: a new folder)"
    )
    return parser.parse_args(argv)


def fleet_of(options: argparse.Namespace, spec: dict[str, Any]) -> Fleet:
    if "devices" in spec:
        return Fleet(tuple(LabDevice.from_json(entry) for entry in spec["devices"]), ())
    chosen: dict[str, Any] = {
        "count": options.devices,
        "seed": options.seed,
        "think": options.think,
        "config_size": options.config_size,
        "dialects": options.dialects.split(","),
    }
    if options.shares:
        chosen["shares"] = {
            name: float(share) for name, share in (p.split("=") for p in options.shares.split(","))
        }
    return fleet(**(chosen | spec.get("fleet", {})))


def written(made: Fleet, lab: Lab, folder: Path) -> dict[str, str]:
    """Put the inventory and the logins (with their made-up passwords) where the client finds them."""
    folder.mkdir(parents=True, exist_ok=True)
    inventory, logins = folder / "devices.csv", folder / "logins.json"
    inventory.write_text(lab.csv())
    logins.touch(0o600)
    logins.write_text(json.dumps([asdict(login) for login in made.logins], indent=1))
    return {"csv": str(inventory), "logins": str(logins)}


def say(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def serve(options: argparse.Namespace) -> None:
    spec = json.loads(options.spec.read_text()) if options.spec else {}
    made = fleet_of(options, spec)
    aaa = AAA(options.aaa_threshold) if options.aaa_threshold else None
    if "aaa" in spec:
        aaa = AAA(**spec["aaa"])
    lab = Lab(
        made.devices,
        addressing=options.addressing,
        aaa=aaa,
        seed=options.seed,
        log=WireLog(record=False, sink=options.record),
        shared_host_keys=options.shared_host_keys,
        one_listener=options.one_listener,
    )
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with lab:
        files = written(made, lab, options.out or Path(tempfile.mkdtemp(prefix="netraven-lab-")))
        say(ready=True, pid=os.getpid(), devices=len(made.devices), **files)
        before = time.process_time()
        await stop.wait()
        spent = time.process_time() - before
    say(
        ready=False,
        counts=lab.log.counts(),
        peak_sessions=lab.peak_sessions,
        cpu_seconds=round(spent, 3),
        refusals=aaa.refusals if aaa else None,
        lockouts=list(aaa.lockouts) if aaa else None,
    )


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    with contextlib.suppress(ValueError, OSError):  # a socket per device and per session
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        asyncio.run(serve(options))
    except (ValueError, TypeError, OSError) as error:
        sys.stderr.write(f"netraven.lab: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
