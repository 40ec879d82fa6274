"""`netraven demo`: a simulated fleet on loopback, collected by the same code as any other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from netraven.app import NetRaven
from netraven.cli.collect import run_and_watch
from netraven.cli.context import Context
from netraven.cli.demo_fleet import DemoFleet, demo_fleet
from netraven.cli.report import RunFacts, print_report
from netraven.cli.screen import counted, say, took
from netraven.cli.setup import SETTINGS
from netraven.config import CollectSettings, load_settings
from netraven.errors import InputError, NetRavenError
from netraven.inventory.csv import parse_devices
from netraven.model import Credential, RunStatus, Secret

_QUICK = CollectSettings(
    concurrency=40, connect_timeout=4.0, login_timeout=4.0, command_timeout=5.0, device_timeout=30.0
)
"""Nobody wants to wait for a device that is ill on purpose."""
_START = 60.0
"""Seconds that the simulated fleet may take to come up."""


async def demo(context: Context, *, devices: int, keep: str | None) -> int:
    if context.config is not None:
        raise InputError("the demo brings its own settings; it takes no --config")
    began = time.monotonic()
    folder = _folder(keep)
    made = demo_fleet(devices)
    say(f"1. A fleet: {counted(devices, 'simulated device')} on this machine, spoken to over real SSH.")
    sys.stdout.flush()
    async with _fleet(devices) as (csv, change_host_key):
        context.given = _settings(folder)
        code = await _collect(context, made, csv, change_host_key)
    say()
    spent = took(round((time.monotonic() - began) * 1000))
    say(f"That took {spent}. Devices that failed did so on purpose, and all of them are gone now;")
    say(f"what was collected stays in {folder}.")
    return code


async def _collect(context: Context, made: DemoFleet, csv: str, change_host_key: Any) -> int:
    from netraven.storage.migrate import create_and_upgrade

    folder = context.settings.folder
    await create_and_upgrade(context.settings.database_url)
    async with NetRaven.open(context.settings) as raven:
        await raven.store.inventory.upsert_devices(parse_devices(csv))
        for login in made.credentials:
            credential = Credential(
                login.name, login.username, tags=frozenset(login.tags), priority=login.priority
            )
            await raven.store.vault.add(credential, Secret(password=login.password))
        (folder / "devices.csv").write_text(csv, encoding="utf-8")
        say(
            "   Each opens with one of four credentials. Which one, NetRaven is not told: it has to find out."
        )
        say()
        for login in made.credentials:
            say(f"     {login.name:14} for devices tagged {', '.join(login.tags)}")
        say()
        say(
            f"2. One site first, {made.site}. A device is offered the credentials that share a tag with it, one secret"
        )
        say(
            "   at a time, by priority at first, until it accepts one. Behind a central AAA service a password that is"
        )
        say(
            "   tried everywhere at once locks its account: the lockout guard keeps far from that, whatever happens."
        )
        say()
        first = await _run(context, raven, made.site)
        if first.run.status is RunStatus.INTERRUPTED:
            return 130
        fallen = sum(1 for d in first.devices if d["retry_count"])
        say(
            f"   {first.run.counts.collected:,} of {counted(first.run.counts.devices, 'device')} collected, "
            f"{fallen:,} of them with the second credential or a later one."
        )
        say()
        say("   The same site once more. By now it is known what opens each device:")
        say()
        again = await _run(context, raven, made.site)
        if again.run.status is RunStatus.INTERRUPTED:
            return 130
        say(
            f"   {counted(again.run.counts.attempts, 'attempt')} for {counted(again.run.counts.devices, 'device')}."
        )
        await change_host_key(made.replaced)
        say()
        say(
            "3. Now all of them. Some are ill: nobody listens, a login hangs, a session drops, nothing opens them."
        )
        say(f"   And {made.replaced} was exchanged meanwhile: it shows another host key than a moment ago.")
        say("   A device that does not answer is never offered another password for it; only a refusal is.")
        say()
        facts = await _run(context, raven, None)
    print_report(context, facts, fleet_stays=False)
    return 130 if facts.run.status is RunStatus.INTERRUPTED else 0


async def _run(context: Context, raven: NetRaven, site: str | None) -> RunFacts:
    sys.stdout.flush()
    return await run_and_watch(
        context, raven, tags=[site] if site else (), concurrency=context.settings.collect.concurrency
    )


def _folder(keep: str | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="netraven-demo-"))
    folder = Path(keep).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"{folder} is not empty; the demo wants a folder of its own")
    except OSError as error:
        raise InputError(f"cannot use {folder}: {error.strerror}") from error
    return folder


def _settings(folder: Path) -> Any:
    """Settings, key and database of the demo alone: what the environment says of another installation is not heard."""
    from netraven.credentials.sealing import write_new_key_file

    file = folder / "netraven.toml"
    text = SETTINGS
    for name in ("concurrency", "connect_timeout", "login_timeout", "command_timeout", "device_timeout"):
        default, value = getattr(CollectSettings(), name), getattr(_QUICK, name)
        before = f"# {name} = {default}"
        if before not in text:
            raise AssertionError(f"the template lacks {name}")
        text = text.replace(before, f"{name} = {value}")
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror}") from error
    write_new_key_file(folder / "netraven.key")
    return load_settings(file, environ={})


@asynccontextmanager
async def _fleet(count: int) -> AsyncIterator[tuple[str, Any]]:
    """The devices in a process of their own: their inventory, and a way to give one another host key."""
    home = str(Path(__file__).resolve().parents[2])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # a folder `netraven` that happens to lie in the working directory is none of ours
        "-m",
        "netraven.cli.demo_fleet",
        str(count),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the demo, which ends the fleet itself
        limit=64 << 20,
    )
    stdin, stdout = process.stdin, process.stdout
    if stdin is None or stdout is None:
        raise RuntimeError("a process without its pipes")

    async def answer() -> dict[str, Any]:
        try:
            async with asyncio.timeout(_START):
                line = await stdout.readline()
        except TimeoutError as error:
            raise NetRavenError("the simulated fleet does not come up; is this machine very busy?") from error
        if not line:
            raise NetRavenError("the simulated fleet did not start; what it said stands above")
        found: dict[str, Any] = json.loads(line)
        return found

    async def change_host_key(name: str) -> None:
        stdin.write(f"{name}\n".encode())
        await answer()

    try:
        yield (await answer())["csv"], change_host_key
    finally:
        with contextlib.suppress(OSError):
            stdin.close()
        try:
            async with asyncio.timeout(3.0):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
