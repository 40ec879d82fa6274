"""`netraven device`."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netraven.cli.context import Context
from netraven.cli.kinds import well
from netraven.cli.notices import unchecked as said_unchecked
from netraven.cli.screen import (
    ROWS,
    Table,
    clock,
    console,
    counted,
    print_json,
    print_json_list,
    say,
    stamp,
    took,
    warn,
)
from netraven.errors import InputError
from netraven.model import Access, Device, Selector
from netraven.plain import plain_line

if TYPE_CHECKING:
    from netraven.storage.store import SqlStore

MOST_BYTES = 256 << 20


async def import_file(context: Context, *, file: str, dry_run: bool) -> int:
    from netraven.inventory.csv import decode, parse_devices
    from netraven.platforms import Catalogue

    try:
        found = parse_devices(decode(_read(file)), Catalogue(context.settings.platforms_folder))
    except InputError as error:
        where, lines = "stdin" if file == "-" else file, str(error)
        between = "" if lines.startswith("\n") else " "
        raise InputError(f"{where}:{between}{lines}\nNothing was changed.") from error
    async with context.store() as store:
        done = await store.inventory.upsert_devices(found, dry_run=dry_run)
        unmatched = _unmatched(found, [c.tags for c in await store.credentials()])
    say(
        f"{'would add' if dry_run else 'added'} {done.added:,}, "
        f"{'would change' if dry_run else 'changed'} {done.changed:,}, unchanged {done.unchanged:,}"
        + (" (nothing was written)" if dry_run else "")
    )
    if unmatched:
        warn(
            f"{counted(unmatched, 'device')} of the file cannot be collected yet: no credential shares a tag"
        )
    return 0


def _read(file: str) -> bytes:
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb") as source:
            data = source.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise InputError("is too large to be a list of devices")
    return data


def _unmatched(devices: list[Device], credential_tags: list[AbstractSet[str]]) -> int:
    """How many devices no credential matches; none are counted before there is a first credential."""
    covered = frozenset().union(*credential_tags)
    return sum(covered.isdisjoint(device.tags) for device in devices) if covered else 0


async def show_all(context: Context, *, tag: list[str], limit: int | None, as_json: bool) -> int:
    selector = Selector(tags=frozenset(tag))
    async with context.store() as store:
        if unknown := sorted(selector.tags - await store.known_tags()):
            raise InputError(f"no device or credential carries the tag {', '.join(map(repr, unknown))}")
        if as_json:
            shown = 0

            async def rows() -> Any:
                nonlocal shown
                async for target in store.targets(selector):
                    if limit is not None and shown == limit:
                        return
                    shown += 1
                    off = context.access.of(target.device).host_keys == "off"
                    yield {**_as_json(target.device), "host_keys_off": off}

            await print_json_list(rows())
            return 0
        wanted = limit or ROWS
        devices = await store.inventory.list(selector, limit=wanted)
        unchecked = await _unchecked(context, store, selector)
        count = await store.count(selector)
    if not devices:
        say("no devices")
        return 0
    table = Table(
        "name", "host", "port", "platform", "tags", right=("port",), spare=("port", "host", "platform")
    )
    for device in devices:
        table.add(device.name, device.host, device.port, device.platform, ", ".join(sorted(device.tags)))
    table.print(console())
    if count > len(devices):
        say(f"\nThe first {len(devices):,} of {count:,} devices. --limit N shows more, --json all.")
    else:
        say(f"\n{counted(count, 'device')}")
    if unchecked:
        warn(said_unchecked(len(unchecked), unchecked[:10]))
    return 0


async def _unchecked(context: Context, store: SqlStore, selector: Selector) -> list[str]:
    """The devices whose host keys are not looked at; without such a setting no device is read for it."""
    if not context.access.ever("host_keys", "off"):
        return []
    names = [target.device async for target in store.targets(selector)]
    return [device.name for device in names if context.access.of(device).host_keys == "off"]


def _as_json(device: Device) -> dict[str, Any]:
    return {
        "name": device.name,
        "host": device.host,
        "port": device.port,
        "platform": device.platform,
        "tags": sorted(device.tags),
    }


async def show(context: Context, *, name: str, as_json: bool) -> int:
    from netraven.storage.logs import LogFilter

    async with context.store() as store:
        target = await store.inventory.get(name)
        last = [row async for row in store.logs.connections(LogFilter(device=name, limit=1))]
        latest = next(iter(await store.versions.history(name, "running", limit=1)), None)
        known = await store.inventory.facts(name)
    device, access = target.device, context.access.of(target.device)
    off = access.host_keys == "off"
    if as_json:
        print_json(
            {
                **_as_json(device),
                "host_keys_off": off,
                "host_keys": [
                    {"algorithm": k.algorithm, "fingerprint": k.fingerprint} for k in target.host_keys
                ],
                "detected_platform": target.detected,
                "facts": dict(known),
                "access": told(access),
                "last_connection": last[0] if last else None,
                "configuration": {"sha256": latest.sha256, "last_seen": stamp(latest.last_seen_at)}
                if latest
                else None,
            }
        )
        return 0
    facts: list[tuple[str, object]] = [
        ("name", device.name),
        ("address", f"{device.host} port {device.port}"),
        ("platform", f"{device.platform} (found: {target.detected})" if target.detected else device.platform),
        *known.items(),
        *_telnet(access, device),
        ("tags", ", ".join(sorted(device.tags)) or "none: no credential matches it"),
        *(("reached", f"{key} = {_as_written(value)}") for key, value in told(access).items()),
        *(("host key", f"{key.algorithm} {key.fingerprint}") for key in target.host_keys),
    ]
    if last:
        row = last[0]
        how = well(row["what"]) if row["successful"] else f"{row['error_type']}: {row['error_message']}"
        facts.append(
            ("last run", f"{row['run']}, {clock(row['timestamp'])} UTC, {took(row['duration_ms'])}: {how}")
        )
    if latest:
        facts.append(("config", f"unchanged since {clock(latest.first_seen_at)} UTC, {latest.sha256[:12]}"))
    if off:
        facts.append(("WARNING", said_unchecked(1, [device.name])))
    for label, value in facts:
        say(f"{label:9} {plain_line(str(value))}")
    return 0


def told(access: Access) -> dict[str, Any]:
    """In which points a device is reached otherwise than a device that nothing is said of."""
    usual = Access()
    return {key: value for key, value in asdict(access).items() if value != getattr(usual, key)}


def _as_written(value: object) -> str:
    """As it stands in the settings: TOML and JSON write these alike."""
    return json.dumps(value, ensure_ascii=False)


def _telnet(access: Access, device: Device) -> list[tuple[str, object]]:
    """What is said of telnet, where the device may be reached over it."""
    from netraven.collect.access import telnet_port

    if access.transport == "ssh":
        return []
    port = telnet_port(access, device)
    if access.transport == "telnet":
        return [("telnet", f"port {port}: passwords and configurations go in clear text")]
    return [("telnet", f"port {port} where no SSH server answers: passwords then go in clear text")]


async def remove(context: Context, *, names: list[str]) -> int:
    async with context.store() as store:
        if missing := await store.missing(names):
            raise InputError(f"no such device: {', '.join(map(repr, missing))}. Nothing was removed.")
        for name in dict.fromkeys(names):
            await store.inventory.remove(name)
    say(f"removed {counted(len(set(names)), 'device')}")
    return 0


async def forget_host_key(context: Context, *, name: str) -> int:
    from netraven.cli.hostkeys import forget

    return await forget(context, device=name, algorithm=None)
