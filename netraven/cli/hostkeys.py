"""`netraven hostkey`."""

from __future__ import annotations

import base64
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netraven.cli.context import Context
from netraven.cli.screen import ROWS, Table, clock, console, counted, print_json, print_json_list, say, warn
from netraven.errors import InputError
from netraven.model import Device, HostKey, Selector, Target
from netraven.plain import plain_line

if TYPE_CHECKING:
    from netraven.storage.key_records import KeyRecord
    from netraven.storage.store import SqlStore

MOST_BYTES = 64 << 20
STATES = {
    "trusted": "trusted",
    "refused": "waits to be accepted",
    "revoked": "revoked",
}


async def show_all(
    context: Context,
    *,
    tags: list[str],
    names: list[str],
    state: str | None,
    limit: int | None,
    as_json: bool,
) -> int:
    selector = Selector(tags=frozenset(tags), names=frozenset(names))
    async with context.store() as store:
        await _check(store, selector)
        if as_json:
            shown = 0

            async def rows() -> Any:
                nonlocal shown
                async for record in store.host_keys.list(selector, state=state):
                    if limit is not None and shown == limit:
                        return
                    shown += 1
                    yield {"device": record.device, **_as_json(record)}

            await print_json_list(rows())
            return 0
        wanted = limit or ROWS
        found: list[KeyRecord] = []
        async for record in store.host_keys.list(selector, state=state):
            found.append(record)
            if len(found) > wanted:
                break
    if not found:
        say("no host keys")
        return 0
    table = Table(
        "device", "algorithm", "fingerprint", "state", "origin", "first seen (UTC)", spare=("origin",)
    )
    for record in found[:wanted]:
        table.add(
            record.device,
            record.key.algorithm,
            record.key.fingerprint,
            STATES[record.state],
            record.origin,
            clock(record.first_seen_at),
            style="bold red" if record.state == "refused" else "",
        )
    table.print(console())
    if len(found) > wanted:
        say(f"\nThe first {wanted:,}. --limit N shows more, --json all.")
    return 0


async def _check(store: SqlStore, selector: Selector) -> None:
    if selector.tags and (unknown := sorted(selector.tags - await store.known_tags())):
        raise InputError(f"no device or credential carries the tag {', '.join(map(repr, unknown))}")
    if selector.names and (missing := await store.missing(selector.names)):
        raise InputError(f"no such device: {', '.join(map(repr, missing))}")


def _as_json(record: KeyRecord) -> dict[str, Any]:
    return {
        "algorithm": record.key.algorithm,
        "fingerprint": record.key.fingerprint,
        "state": record.state,
        "origin": record.origin,
        "first_seen": record.first_seen_at,
    }


async def show_rules(context: Context, *, as_json: bool) -> int:
    async with context.store() as store:
        rules = await store.host_keys.rules()
    if as_json:
        document = [
            {
                "rule": number,
                "kind": rule.kind,
                "patterns": rule.patterns,
                "algorithm": rule.key.algorithm,
                "fingerprint": rule.key.fingerprint,
                "added": added,
            }
            for number, rule, added in rules
        ]
        print_json(document)
        return 0
    if not rules:
        say("no rules: no authority signs host keys, and no key is revoked for a pattern of hosts")
        return 0
    table = Table("rule", "kind", "hosts", "algorithm", "fingerprint", "added (UTC)", right=("rule",))
    for number, rule, added in rules:
        table.add(number, rule.kind, rule.patterns, rule.key.algorithm, rule.key.fingerprint, clock(added))
    table.print(console())
    return 0


async def forget_rules(context: Context, *, rules: list[int]) -> int:
    async with context.store() as store:
        await store.host_keys.forget_rules(rules)
    say(f"forgot {counted(len(set(rules)), 'rule')}")
    return 0


async def show(context: Context, *, device: str, known_hosts: bool, as_json: bool) -> int:
    async with context.store() as store:
        target = await store.inventory.get(device)
        records = [_as_ruled(record, target) for record in await store.host_keys.of(target.device)]
    if as_json:
        document = [
            {**_as_json(record), "known_hosts": _line(target.device, record.key)} for record in records
        ]
        print_json({"device": device, "keys": document, "authorities": _prints(target.trust.authorities)})
        return 0
    if known_hosts:
        for record in records:
            if record.state != "refused":
                mark = "@revoked " if record.state == "revoked" else ""
                say(mark + _line(target.device, record.key))
        return 0
    if not records and not target.trust.authorities:
        say(f"no host key of {plain_line(device)} is on record")
        return 0
    for record in records:
        say(
            f"{record.key.algorithm:20} {record.key.fingerprint}  {STATES[record.state]} ({record.origin}), "
            f"first seen {clock(record.first_seen_at)} UTC"
        )
    for key in target.trust.authorities:
        say(f"{key.algorithm:20} {key.fingerprint}  may sign its host certificates")
    return 0


def _as_ruled(record: KeyRecord, target: Target) -> KeyRecord:
    """A key that a rule for many hosts revokes is revoked for this one, whatever was said of it before."""
    return replace(record, state="revoked") if record.key in target.trust.revoked else record


def _prints(keys: Sequence[HostKey]) -> list[dict[str, str]]:
    return [{"algorithm": key.algorithm, "fingerprint": key.fingerprint} for key in keys]


def _line(device: Device, key: HostKey) -> str:
    """As it stands in known_hosts."""
    name = device.host if device.port == 22 else f"[{device.host}]:{device.port}"
    return f"{name} {key.algorithm} {base64.b64encode(key.key).decode()}"


async def accept(context: Context, *, device: str, fingerprint: str | None, add: bool, scan: bool) -> int:
    async with context.store() as store:
        target = await store.inventory.get(device)
        if scan:
            key = await _scanned(context, target)
        else:
            key = await _waiting(context, store, target, fingerprint)
        if fingerprint is not None and key.fingerprint != fingerprint:
            raise InputError(
                f"{device} shows {key.fingerprint} ({key.algorithm}), not {fingerprint}. Nothing was changed."
            )
        if key in target.trust.revoked:
            raise InputError(
                f"{key.fingerprint} is revoked for {device}: it is not let pass, whatever is accepted"
            )
        if fingerprint is None:
            _ask(device, target, key)
        replaced = await store.host_keys.accept(target.device, key, add=add)
    say(f"accepted {key.fingerprint} ({key.algorithm}) for {plain_line(device)}")
    for record in replaced:
        say(f"in place of {record.key.fingerprint}")
    others = [known for known in target.host_keys if known.algorithm != key.algorithm]
    if others:
        kinds = ", ".join(sorted({known.algorithm for known in others}))
        say(f"its other keys stay trusted: {plain_line(kinds)}; `hostkey forget --algorithm` takes one away")
    return 0


async def _waiting(context: Context, store: SqlStore, target: Target, fingerprint: str | None) -> HostKey:
    records = [r for r in await store.host_keys.of(target.device) if r.state == "refused"]
    chosen = [r for r in records if fingerprint in (None, r.key.fingerprint)]
    if chosen:
        return chosen[-1].key
    name = target.device.name
    if records:
        raise InputError(
            f"{name} showed {records[-1].key.fingerprint}, not {fingerprint}. Nothing was changed."
        )
    raise InputError(
        f"no key of {name} waits to be accepted. `{context.command('hostkey', 'accept', name, '--scan')}` fetches the "
        "one that it shows now"
    )


async def _scanned(context: Context, target: Target) -> HostKey:
    from netraven.assembly import look_at_ssh

    if context.access.of(target.device).transport == "telnet":
        raise InputError(f"{target.device.name} is reached over telnet, which has no host keys")
    found = await look_at_ssh(context.settings, target)
    if found.key is None:
        raise InputError(f"{target.device.name} showed no host key: {found.problem}")
    return found.key


def _ask(device: str, target: Target, key: HostKey) -> None:
    """A person on a terminal says yes; elsewhere the fingerprint has to be given."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError(
            f"{device} shows {key.fingerprint} ({key.algorithm}). Compare it with the device's own, then give it: "
            f"--fingerprint {key.fingerprint}"
        )
    for known in target.host_keys:
        say(f"on record  {known.fingerprint} ({known.algorithm})")
    say(f"shown      {key.fingerprint} ({key.algorithm})")
    if input("Is this the device's own key? [yes/no] ").strip().lower() not in ("y", "yes"):
        raise InputError("not accepted; nothing was changed")


async def forget(context: Context, *, device: str, algorithm: str | None) -> int:
    async with context.store() as store:
        target = await store.inventory.get(device)
        count = await store.host_keys.forget(target.device, algorithm)
    kind = "" if algorithm is None else f"{plain_line(algorithm)} "
    if not count:
        say(f"there is no {kind}host key of {plain_line(device)} on record")
        return 0
    rest = algorithm is None and context.access.of(target.device).host_keys == "accept-new"
    say(
        f"forgot {counted(count, f'{kind}host key')} of {plain_line(device)}"
        + ("; the next one that it shows is taken" if rest else "")
    )
    return 0


async def load(context: Context, *, file: str, dry_run: bool, as_json: bool) -> int:
    from netraven.inventory.known_hosts import Names, parse_known_hosts

    where = "stdin" if file == "-" else file
    found = parse_known_hosts(_read(file))
    if complaint := found.complaint():
        raise InputError(f"{where}:{complaint}\nNothing was changed.")
    async with context.store() as store:
        names = Names([target.device async for target in store.targets(Selector())])
        keys, rules, nobody = _placed(found.hosts, names)
        done = await store.host_keys.load(keys, rules, dry_run=dry_run)
    devices = len({device.name for device, _ in keys})
    if as_json:
        print_json(
            {
                "keys": done.keys,
                "rules": done.rules,
                "known": done.known,
                "devices": devices,
                "lines_for_no_device": nobody,
                "unknown_types": [{"line": n, "type": kind} for n, kind in found.unknown.items()],
                "dry_run": dry_run,
            }
        )
        return 0
    would = "would trust" if dry_run else "trusted"
    rules_said = counted(done.rules, "authority or revoked key", "authorities or revoked keys")
    say(
        f"keys for {counted(devices, 'device')}: {would} {done.keys:,}, {done.known:,} known already; "
        f"{'would add' if dry_run else 'added'} {rules_said}" + (" (nothing was written)" if dry_run else "")
    )
    if nobody:
        warn(f"{counted(len(nobody), 'line')} for no device of the inventory: {_some(nobody)}")
    for number, kind in list(found.unknown.items())[:10]:
        warn(f"line {number}: a key of the type {kind}, which NetRaven does not know, was passed over")
    return 0


def _some(lines: Sequence[int]) -> str:
    more = f" and {len(lines) - 10:,} more" if len(lines) > 10 else ""
    return f"line{'s' if len(lines) > 1 else ''} {', '.join(map(str, lines[:10]))}{more}"


def _placed(hosts: Sequence[Any], names: Any) -> tuple[list[tuple[Device, HostKey]], list[Any], list[int]]:
    """Keys by device, rules, and the lines that speak of no device.

    A rule keeps its patterns. Where it is for one hashed name, or names a device by its name in the inventory, it
    becomes one for that device's address.
    """
    from netraven.model.hosts import host_matches
    from netraven.storage.key_records import Rule

    keys: list[tuple[Device, HostKey]] = []
    rules: list[Rule] = []
    nobody: list[int] = []
    for host in hosts:
        devices = names.of(host)
        if not devices and (host.hashed or not host.marker):
            nobody.append(host.line)
            continue
        if not host.marker:
            keys += [(device, host.key) for device in devices]
            continue
        if not host.hashed:
            rules.append(Rule(host.marker, host.names, host.key))
            devices = [d for d in devices if not host_matches(host.names, d.host, d.port)]
        rules += [Rule(host.marker, _pattern(device), host.key) for device in devices]
    return keys, rules, nobody


def _pattern(device: Device) -> str:
    return device.host if device.port == 22 else f"[{device.host}]:{device.port}"


def _read(file: str) -> str:
    try:
        opened = (
            contextlib.nullcontext(sys.stdin.buffer) if file == "-" else Path(file).expanduser().open("rb")
        )
        with opened as source:
            data = source.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise InputError(f"{file}: is too large to be a list of host keys")
    return data.decode("utf-8", "replace")
