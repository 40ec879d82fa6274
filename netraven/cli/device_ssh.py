"""`netraven device ssh` and `netraven device ssh-report`: what SSH servers offer, and what of it is weak."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.text import Text

from netraven.cli.context import Context
from netraven.cli.hostkeys import STATES
from netraven.cli.screen import ROWS, Table, clock, console, counted, note, print_json, say, warn
from netraven.errors import InputError
from netraven.model import JUMP_HOST, OfferSeen, Selector, SshOffer, Target, utcnow
from netraven.plain import plain_line

if TYPE_CHECKING:
    from netraven.storage.key_records import KeyRecord
    from netraven.transport.ssh_scan import Look

_LABEL = 13


async def show(context: Context, *, device: str, stored: bool, as_json: bool) -> int:
    from dataclasses import replace

    from netraven.assembly import look_at_ssh
    from netraven.transport.ssh_scan import Look

    async with context.store() as store:
        target = await store.inventory.get(device)
        target = replace(target, access=context.access.of(target.device))
        seen_at = await store.inventory.offer_seen_at(device)
        if target.access.transport == "telnet" and not stored:
            raise InputError(
                f'{device} is reached over telnet (transport = "telnet"): there is no SSH to look at. '
                "--stored shows what was seen before"
            )
        if target.access.jump and not stored:
            warn(
                f"{plain_line(device)} is behind a jump host: this is what was seen when it was collected last"
            )
            stored = True
        if stored:
            look = Look(target.offer, problem=None if target.offer else "nothing was seen of it yet")
        else:
            look = await look_at_ssh(context.settings, target)
            seen_at = utcnow()
            if look.offer is not None and look.offer != target.offer:
                await store.commit([OfferSeen(target.device, look.offer, seen_at)])
        records = await store.host_keys.of(target.device)
    if look.offer is None and not as_json:
        note(f"error: {plain_line(device)}: {plain_line(look.problem or '', 1000)}")
        return 1
    if as_json:
        print_json(_document(target, look, records, seen_at, stored=stored))
    else:
        _print(target, look, records, seen_at if stored else None)
    return 0 if look.problem is None else 1


def _document(
    target: Target, look: Look, records: list[KeyRecord] | Any, seen_at: Any, *, stored: bool
) -> dict[str, Any]:
    from netraven.transport.ssh_algorithms import algorithms_of, only_weak, weak

    offer = look.offer
    return {
        "device": target.device.name,
        "stored": stored,
        "seen_at": seen_at if offer else None,
        "offer": asdict(offer) if offer else None,
        "weak": [asdict(weakness) for weakness in weak(offer)] if offer else [],
        "only_weak": list(only_weak(offer)) if offer else [],
        "legacy_allowed": target.access.legacy,
        "profile": asdict(algorithms_of(_as_seen(target, offer))),
        "shown_key": {"algorithm": look.key.algorithm, "fingerprint": look.key.fingerprint}
        if look.key
        else None,
        "host_keys": [
            {"algorithm": r.key.algorithm, "fingerprint": r.key.fingerprint, "state": r.state}
            for r in records
        ],
        "problem": look.problem,
    }


def _as_seen(target: Target, offer: SshOffer | None) -> Target:
    from dataclasses import replace

    return replace(target, offer=offer or target.offer)


def _print(target: Target, look: Look, records: Any, seen_at: Any) -> None:
    from netraven.transport.ssh_algorithms import CATEGORIES, algorithms_of, only_weak, weak, why_weak

    where, offer = console(), look.offer
    if offer is None:
        return
    when = f"  (as seen {clock(seen_at)} UTC)" if seen_at is not None else ""
    say(f"{'server':{_LABEL}} {plain_line(offer.version)}{when}")
    if look.key is not None:
        known = next((STATES[r.state] for r in records if r.key == look.key), "not on record")
        by = ", with a certificate" if look.certified else ""
        say(f"{'host key':{_LABEL}} {look.key.fingerprint} ({look.key.algorithm}{by}): {known}")
    for record in records:
        if record.key != look.key:
            say(
                f"{'on record':{_LABEL}} {record.key.fingerprint} ({record.key.algorithm}): {STATES[record.state]}"
            )
    say()
    profile = algorithms_of(_as_seen(target, offer))
    for category, name in CATEGORIES:
        line = Text(f"{name:{_LABEL}} ")
        for number, algorithm in enumerate(getattr(offer, category)):
            line.append(", " if number else "")
            line.append(plain_line(algorithm), style="red" if why_weak(algorithm) else "")
            line.append(" (weak)" if why_weak(algorithm) else "", style="red")
        where.print(line, soft_wrap=True)
    weaknesses = weak(offer)
    if weaknesses:
        say()
        for why in dict.fromkeys(weakness.why for weakness in weaknesses):
            names = ", ".join(w.algorithm for w in weaknesses if w.why == why)
            say(f"weak: {plain_line(names, 1000)}: {why}")
    if categories := only_weak(offer):
        say(f"it has nothing better than weak ones for: {', '.join(categories)}")
    say()
    for category, name in CATEGORIES:
        say(f"{'NetRaven: ' + name:{_LABEL + 10}} {', '.join(getattr(profile, category))}")
    if look.problem is not None:
        say()
        warn(plain_line(look.problem, 1000))


async def report(context: Context, *, tags: list[str], limit: int | None, as_json: bool) -> int:
    from netraven.transport.ssh_algorithms import only_weak, weak

    selector = Selector(tags=frozenset(tags))
    rows: list[dict[str, Any]] = []
    unseen: list[str] = []
    seen = 0
    async with context.store() as store:
        if unknown := sorted(selector.tags - await store.known_tags()):
            raise InputError(f"no device or credential carries the tag {', '.join(map(repr, unknown))}")
        async for target in store.targets(selector):
            access = context.access.of(target.device)
            if access.transport == "telnet":
                continue
            if target.offer is None:
                unseen.append(target.device.name)
                continue
            seen += 1
            if found := weak(target.offer):
                rows.append(
                    {
                        "device": target.device.name,
                        "jump_host": target.device.platform == JUMP_HOST,
                        "version": target.offer.version,
                        "only_weak": list(only_weak(target.offer)),
                        "weak": [w.algorithm for w in found],
                        "legacy_allowed": access.legacy,
                    }
                )
    rows.sort(key=lambda row: (not row["only_weak"], row["device"]))
    if as_json:
        print_json({"devices_seen": seen, "weak": rows, "not_seen": unseen})
        return 0
    _print_report(rows, seen, unseen, limit or ROWS)
    return 0


def _print_report(rows: list[dict[str, Any]], seen: int, unseen: list[str], limit: int) -> None:
    only = sum(1 for row in rows if row["only_weak"])
    say(
        f"{counted(seen, 'device')} seen: {only:,} can do nothing but weak SSH in some part, "
        f"{len(rows) - only:,} offer weak algorithms beside strong ones"
    )
    if rows:
        say()
        table = Table("device", "nothing but weak", "weak algorithms", "legacy", "server", spare=("server",))
        for row in rows[:limit]:
            table.add(
                row["device"],
                ", ".join(row["only_weak"]),
                ", ".join(row["weak"]),
                "allowed" if row["legacy_allowed"] else "",
                row["version"],
                style="red" if row["only_weak"] else "",
            )
        table.print(console())
    if len(rows) > limit:
        say(f"\nThe first {limit:,} of {len(rows):,}. --limit N shows more, --json all.")
    if unseen:
        names = ", ".join(unseen[:10]) + (f" and {len(unseen) - 10:,} more" if len(unseen) > 10 else "")
        say(f"\nNot yet seen: {plain_line(names, 1000)}. A run looks at each; `device ssh DEVICE` does now.")
