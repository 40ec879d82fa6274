"""`netraven plan`, and the line with which `collect` begins: what would happen, and what it could cost at worst."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.text import Text

from netraven.app import NetRaven
from netraven.cli.context import Context
from netraven.cli.report import print_numbers
from netraven.cli.screen import ROWS, Table, clock, console, counted, print_json
from netraven.cli.slips import warn_of_slips
from netraven.credentials.plan import AccountPlan, Plan, Unoffered
from netraven.model import Credential, SkipReason
from netraven.plain import plain_line

SHOWN = 5
"""Devices that a report names for one reason."""

_WHY = {
    SkipReason.NO_CREDENTIALS: "no credential can be offered to them at all",
    SkipReason.HELD: "everything that could open them is held, see below",
    SkipReason.REALM_PAUSED: "the AAA service of their credentials looks unwell",
    SkipReason.REFUSED_BEFORE: "they refused all that matches, not long ago",
}


async def plan(
    context: Context, *, tags: list[str], names: list[str], strategy: str | None, as_json: bool
) -> int:
    async with NetRaven.open(context.settings) as raven:
        made = await raven.plan(tags, names, strategy=strategy)
        await warn_of_slips(context, raven.store)
    if as_json:
        print_json(document(made))
    else:
        _print(context, made, whole=not tags and not names)
    return 0 if made.offerable == made.devices else 1


def document(plan: Plan) -> dict[str, Any]:
    return {
        "strategy": plan.strategy,
        "devices": plan.devices,
        "offerable": plan.offerable,
        "expected_attempts": round(plan.expected_attempts, 1),
        "first_offers": [
            {**_named(first.credential), "devices": first.devices} for first in plan.first_offers
        ],
        "accounts": [_account(account) for account in plan.accounts],
        "held": [
            {
                **_named(held.credential),
                "held_until": held.hold.until,
                "hold_reason": held.hold.why,
                "devices": held.devices,
            }
            for held in plan.held
        ],
        "not_offered": {
            reason.value: {"devices": left.devices, "names": list(left.names)}
            for reason, left in plan.unoffered.items()
        },
        "unmatched_credentials": list(plan.unmatched),
    }


def _named(credential: Credential) -> dict[str, Any]:
    return {
        "credential": credential.name,
        "secret_version": credential.secret_version,
        "username": credential.username,
        "realm": credential.realm,
    }


def _account(account: AccountPlan) -> dict[str, Any]:
    policy = account.policy
    return {
        "realm": account.realm,
        "username": account.username,
        "credentials": list(account.credentials),
        "scope": "local" if policy.local else "central",
        "mode": "adaptive" if policy.adaptive else "strict",
        "worst_case_refusals": account.offers,
        "most_refusals_in_a_row": account.most_in_a_row,
        "max_logins_in_flight": policy.most_in_flight,
        "threshold": policy.threshold,
        "refusals_on_record": account.on_record,
        "held_until": account.held_until,
        "hold_reason": account.hold_reason,
    }


# ---- for a person ----


def _print(context: Context, plan: Plan, *, whole: bool) -> None:
    """``whole``: the plan is for the whole inventory, so that a credential without a device is worth a word."""
    where = console()
    devices = counted(plan.devices, "device")
    _line(where, Text(f"Plan for {devices}, strategy {plan.strategy}; nothing was sent.", style="bold"))
    _numbers(where, plan)
    if plan.first_offers:
        _first_offers(where, plan)
    if plan.accounts:
        _accounts(where, plan)
    _held(where, context, plan)
    if whole and plan.unmatched:
        names = ", ".join(plain_line(name) for name in plan.unmatched[:ROWS])
        more = f" and {len(plan.unmatched) - ROWS:,} more" if len(plan.unmatched) > ROWS else ""
        _line(where, f"\nCredentials that match no device, and are never offered: {names}{more}")
    _look_further(where, context, plan)


def _line(where: Console, text: Text | str = "") -> None:
    where.print(text, soft_wrap=not where.is_terminal)


def _numbers(where: Console, plan: Plan) -> None:
    attempts = f"about {counted(round(plan.expected_attempts), 'attempt')}"
    rows = [("devices", plan.devices, "", ""), ("are offered", plan.offerable, attempts, "green")]
    if not plan.offerable:
        rows.pop()
    rows += [
        (reason.value, left.devices, f"{_WHY[reason]}: {_some(left)}", "yellow")
        for reason, left in plan.unoffered.items()
        if left.devices
    ]
    _line(where)
    print_numbers(where, rows)


def _names(credentials: Iterable[Credential]) -> dict[tuple[str, int], str]:
    """What to call each; where a previous secret stands beside the present one, the version tells them apart."""
    keys = [credential.key for credential in credentials]
    often = Counter(name for name, _ in keys)
    return {
        (name, version): f"{name}, version {version}" if often[name] > 1 else name for name, version in keys
    }


def _some(left: Unoffered) -> str:
    names = ", ".join(plain_line(name) for name in left.names[:SHOWN])
    return names if left.devices <= SHOWN else f"{names} and {left.devices - SHOWN:,} more"


def _first_offers(where: Console, plan: Plan) -> None:
    _line(where)
    table = Table("first offer", "username", "realm", "devices", right=("devices",), spare=("username",))
    names = _names(first.credential for first in plan.first_offers)
    for first in plan.first_offers[:ROWS]:
        credential = first.credential
        table.add(names[credential.key], credential.username, credential.realm, f"{first.devices:,}")
    table.print(where)
    if len(plan.first_offers) > ROWS:
        _line(where, f"The first {ROWS} of {len(plan.first_offers):,}. --json has all.")


def _accounts(where: Console, plan: Plan) -> None:
    _line(where)
    held = any(account.held_until for account in plan.accounts)
    numbers = ("unguarded", "in a row", "locks at", "on record")
    table = Table(
        "account", "realm", *numbers, *(("held until (UTC)",) if held else ()), right=numbers, spare=("on record",)
    )  # fmt: skip
    for account in plan.accounts[:ROWS]:
        most = account.most_in_a_row
        until = (clock(account.held_until) if account.held_until else "",) if held else ()
        table.add(
            account.username,
            account.realm,
            f"{account.offers:,}",
            f"{account.policy.most_in_flight:,} at once" if most is None else most,
            account.policy.threshold,
            account.on_record,
            *until,
            style="yellow" if account.held_until or most is None else "",
        )
    table.print(where)
    if len(plan.accounts) > ROWS:
        _line(where, f"The first {ROWS} of {len(plan.accounts):,}. --json has all.")
    _legend(where, plan)


def _legend(where: Console, plan: Plan) -> None:
    said = [
        "unguarded: refusals, if every device refused everything and nothing held the run back",
        "in a row: what the lockout guard lets happen before it holds the account, refusals on record included",
    ]
    if any(account.policy.local for account in plan.accounts):
        said.append("in realms whose devices count for themselves, all of it is for one device")
    if any(account.most_in_a_row is None for account in plan.accounts):
        said.append(
            "at once: the realm is adaptive, so all secrets in flight can be refused together when a password has "
            "just been changed"
        )
    for text in said:
        _line(where, Text(f"  {text}", style="dim"))


def _held(where: Console, context: Context, plan: Plan) -> None:
    if not plan.held:
        return
    _line(where)
    table = Table("held", "until (UTC)", "devices", "reason", right=("devices",), spare=("devices",))
    names = _names(held.credential for held in plan.held)
    for held in plan.held[:ROWS]:
        hold = held.hold
        table.add(
            names[held.credential.key], clock(hold.until), f"{held.devices:,}", hold.why, style="yellow"
        )
    table.print(where)
    release = context.command("credential", "release", plan.held[0].credential.name)
    _line(where, "\nOnce the account is known to be well at the service that judges it:")
    where.print(Text(f"  {plain_line(release, 1000)}"), soft_wrap=True)


def _look_further(where: Console, context: Context, plan: Plan) -> None:
    lost = {reason: left.names[0] for reason, left in plan.unoffered.items() if left.names}
    commands = [
        context.command("credential", "match", name)
        for reason, name in lost.items()
        if reason in (SkipReason.NO_CREDENTIALS, SkipReason.REFUSED_BEFORE)
    ]
    if plan.held:
        commands.append(context.command("credential", "list"))
    if not plan.devices:
        commands.append(context.command("device", "import", "FILE"))
    if not commands:
        return
    _line(where, "\nTo look further:")
    for command in commands:
        where.print(Text(f"  {plain_line(command, 1000)}"), soft_wrap=True)


# ---- in one line ----


def one_line(plan: Plan) -> str:
    """``500 devices: 480 first offer tacacs, 20 local; about 512 attempts; at most 4 refusals in a row ...``."""
    if not plan.devices:
        return "no devices"
    by_sample = f", by a sample of {plan.sample:,}" if plan.sample is not None else ""
    parts = [f"{counted(plan.devices, 'device')}{by_sample}: {_firsts(plan)}"]
    if plan.offerable:
        parts.append(f"about {counted(round(plan.expected_attempts), 'attempt')}")
    if idle := sum(left.devices for left in plan.unoffered.values()):
        parts.append(f"{idle:,} to which nothing can be offered now")
    if plan.held:
        names = _names(held.credential for held in plan.held)
        first = ", ".join(plain_line(name) for name in list(names.values())[:3])
        parts.append(f"held: {first}{_more(len(plan.held) - 3)}")
    if risk := _risk(plan):
        parts.append(risk)
    return "; ".join(parts)


def _firsts(plan: Plan) -> str:
    if not plan.first_offers:
        return "nothing can be offered"
    names = _names(first.credential for first in plan.first_offers)
    said = [f"{first.devices:,} {plain_line(names[first.credential.key])}" for first in plan.first_offers[:3]]
    number, _, name = said[0].partition(" ")
    said[0] = f"{number} first offer {name}"
    rest = sum(first.devices for first in plan.first_offers[3:])
    return ", ".join(said) + (f", {rest:,} others" if rest else "")


def _risk(plan: Plan) -> str:
    """What could happen to the account that most devices are offered first."""
    if not plan.first_offers:
        return ""
    used = [account for account in plan.accounts if account.offers]
    first = plan.first_offers[0].credential.account
    account = next(account for account in used if (account.realm, account.username) == first)
    who = f"{plain_line(account.username)} in realm {plain_line(account.realm)}"
    locks = f"(locks at {account.policy.threshold})"
    most = account.most_in_a_row
    if most is None:
        said = f"up to {account.policy.most_in_flight:,} logins at once for {who} {locks}"
    else:
        each = " at each device" if account.policy.local else ""
        said = f"at most {counted(most, 'refusal')} in a row for {who}{each} {locks}"
    others = len(used) - 1
    return f"{said}, and {counted(others, 'other account')}" if others else said


def _more(number: int) -> str:
    return f" and {number:,} more" if number > 0 else ""
