"""`netraven credential`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Literal

from netraven.cli.context import Context
from netraven.cli.screen import Table, clock, console, counted, percent, print_json, say, warn
from netraven.cli.secret_input import check_given, given, parts_of_key, password_from_prompt, source_of
from netraven.credentials.source import parse_source
from netraven.errors import InputError
from netraven.inventory.names import wrong_with_name, wrong_with_tag
from netraven.model import Credential, Secret, Selector, utcnow
from netraven.plain import plain_line

if TYPE_CHECKING:
    from netraven.credentials.holds import Forgotten, Hold
    from netraven.storage.store import SqlStore


def add(
    context: Context,
    *,
    name: str,
    username: str,
    tags: list[str] | None,
    priority: int | None,
    realm: str | None,
    password_stdin: bool,
    password_env: str | None,
    private_key: str | None,
    agent: str | None,
    passphrase_env: str | None,
    certificate: str | None,
    source: str | None,
    enable_password_env: str | None,
    when: Literal["always", "aaa-down"] | None,
) -> int:
    source = source_of(source, agent, password=password_stdin or password_env is not None)
    _check_words(name=name, username=username, realm=realm, tags=tags, source=source)
    context.run(_name_is_free(context, name))
    secret = given(password_stdin, password_env, private_key, enable_password_env)
    secret = replace(secret, **parts_of_key(passphrase_env, certificate))
    if source is None and not secret.opens_something:
        secret = replace(secret, password=password_from_prompt())
    check_given(secret, username, private_key, source)
    credential = Credential(
        name=name,
        username=username,
        tags=frozenset(tags or ()),
        priority=100 if priority is None else priority,
        realm=realm or "default",
        source=source,
        when=when or "always",
    )
    context.run(store_new(context, credential, secret))
    return 0


async def store_new(context: Context, credential: Credential, secret: Secret) -> None:
    async with context.store() as store:
        await store.vault.add(credential, secret)
        known = await _device_tags(store, credential.tags)
    say(f"added credential {plain_line(credential.name)}")
    _warn_about_tags(credential, known)


def update(
    context: Context,
    *,
    name: str,
    username: str | None,
    tags: list[str] | None,
    priority: int | None,
    realm: str | None,
    password_stdin: bool,
    password_env: str | None,
    private_key: str | None,
    agent: str | None,
    passphrase_env: str | None,
    certificate: str | None,
    source: str | None,
    enable_password_env: str | None,
    when: Literal["always", "aaa-down"] | None,
    ask: bool,
    keep_previous: int | None,
) -> int:
    source = source_of(source, agent, password=password_stdin or password_env is not None)
    _check_words(name=name, username=username, realm=realm, tags=tags, source=source)
    before = context.run(_known(context, name))
    if ask and (password_stdin or password_env or private_key or source):
        raise InputError(
            "--ask, --password-stdin, --password-env, --private-key, --agent and --source exclude each other"
        )
    secret = given(password_stdin, password_env, private_key, enable_password_env)
    if ask:
        secret = replace(secret, password=password_from_prompt())
    if secret.password is not None and secret.private_key is None:
        secret = replace(secret, private_key="", passphrase="", certificate="")
    elif secret.private_key is not None and secret.password is None:
        secret = replace(secret, password="")
    secret = replace(secret, **parts_of_key(passphrase_env, certificate))
    if secret.private_key:
        check_given(secret, username or before.username, private_key, source)
    elif (passphrase_env or certificate) and (source or before.source) is None:
        raise InputError(
            "--passphrase-env and --certificate belong to a key: give --private-key FILE as well"
        )
    changes: dict[str, Any] = {"username": username, "realm": realm, "priority": priority, "source": source}
    changes["when"] = when
    changes |= {"tags": None if tags is None else frozenset(tags)}
    changes |= {"secret": secret if secret != Secret() else None}
    if keep_previous is not None:
        changes["keep_until"] = utcnow() + timedelta(days=keep_previous)
    if all(value is None for value in changes.values()):
        raise InputError("nothing to change was given")
    context.run(_store_changed(context, name, changes))
    return 0


async def _store_changed(context: Context, name: str, changes: Mapping[str, Any]) -> None:
    async with context.store() as store:
        before = (await store.vault.get(name)).credential
        changed = await store.vault.update(name, **changes)
        known = await _device_tags(store, changed.tags)
    anew = changed.secret_version != before.secret_version
    keep_until = changes.get("keep_until")
    say(
        f"changed credential {plain_line(name)}"
        + (f", secret version {changed.secret_version}" if anew else "")
        + (
            f"; version {before.secret_version} is kept until {clock(keep_until)} UTC"
            if anew and keep_until and keep_until > utcnow()
            else ""
        )
    )
    if changes["tags"] is not None:
        _warn_about_tags(changed, known)


def _check_words(
    *,
    name: str,
    username: str | None,
    realm: str | None,
    tags: Sequence[str] | None,
    source: str | None,
) -> None:
    for what, text in (("name", name), ("username", username), ("realm", realm)):
        if text is not None and (wrong := wrong_with_name(text)):
            raise InputError(f"the {what} {wrong}")
    for tag in tags or ():
        if wrong := wrong_with_tag(tag):
            raise InputError(f"tag {tag!r} {wrong}")
    if source is not None:
        parse_source(source)


async def _name_is_free(context: Context, name: str) -> None:
    async with context.store() as store:
        if any(record.credential.name == name for record in await store.vault.list()):
            raise InputError(f"a credential named {name} exists already; `credential update` changes it")


async def _known(context: Context, name: str) -> Credential:
    async with context.store() as store:
        return (await store.vault.get(name)).credential


async def _device_tags(store: SqlStore, tags: AbstractSet[str]) -> AbstractSet[str]:
    """Those of ``tags`` that a device carries."""
    return frozenset([tag for tag in tags if await store.count(Selector(tags=frozenset({tag})))])


def _warn_about_tags(credential: Credential, carried: AbstractSet[str]) -> None:
    name = plain_line(credential.name)
    if not credential.tags:
        warn(
            f"{name} has no tags: it matches no device and is never offered. `credential update` gives it some"
        )
    elif idle := sorted(credential.tags - carried):
        warn(
            f"no device carries {'the tag' if len(idle) == 1 else 'any of the tags'} {', '.join(map(repr, idle))} yet"
        )


async def show_all(context: Context, *, as_json: bool) -> int:
    from netraven.assembly import guard_standing

    async with context.store() as store:
        records = await store.vault.list()
        standing = await guard_standing(store, context.settings.realms)
    holds = standing.holds(record.credential for record in records)
    if as_json:
        print_json(
            [
                {
                    "name": record.credential.name,
                    "username": record.credential.username,
                    "realm": record.credential.realm,
                    "priority": record.credential.priority,
                    "tags": sorted(record.credential.tags),
                    "success_rate": record.metrics.success_rate,
                    "attempts": record.metrics.attempts,
                    "successes": record.metrics.successes,
                    "last_used": record.metrics.last_used,
                    "last_success": record.metrics.last_success,
                    "held_until": hold.until if hold else None,
                    "hold_reason": hold.why if hold else None,
                    "source": record.credential.source,
                    "when": record.credential.when,
                }
                for record in records
                for hold in (holds.get(record.credential.key),)
            ]
        )
        return 0
    if not records:
        say("no credentials")
        return 0
    numbers = ("priority", "attempts", "accepted", "success rate")
    table = Table(
        "name", "username", "realm", "priority", "tags", "source", "attempts", "accepted", "success rate",
        "last accepted (UTC)", *(("held until (UTC)",) if holds else ()),
        right=numbers, spare=("realm", "attempts", "accepted", "last accepted (UTC)", "source"),
    )  # fmt: skip
    for record in records:
        credential, metrics = record.credential, record.metrics
        hold = holds.get(credential.key)
        table.add(
            credential.name,
            credential.username,
            credential.realm,
            credential.priority,
            (", ".join(sorted(credential.tags)) or "none")
            + ("; only while AAA is down" if credential.when == "aaa-down" else ""),
            _read_at(credential.source),
            metrics.attempts,
            metrics.successes,
            percent(metrics.success_rate),
            clock(metrics.last_success),
            *((clock(hold.until) if hold else "",) if holds else ()),
            style="yellow" if hold else "",
        )
    table.print(console())
    print_holds(context, {record.credential.name: holds.get(record.credential.key) for record in records})
    return 0


def print_holds(context: Context, holds: Mapping[str, Hold | None]) -> None:
    """Why credentials are held, one line for each reason, and what a person can do about it."""
    by_reason: dict[str, list[str]] = {}
    for name, hold in holds.items():
        if hold is not None:
            by_reason.setdefault(hold.why, []).append(name)
    if not by_reason:
        return
    say()
    for why, names in by_reason.items():
        said = "is held" if len(names) == 1 else "are held"
        say(f"{plain_line(', '.join(names))} {said}, nothing is sent: {plain_line(why)}.")
    first = next(iter(by_reason.values()))[0]
    say("\nOnce the account is known to be well at the service that judges it, this lifts a hold by hand:")
    say(f"  {plain_line(context.command('credential', 'release', first), 1000)}")


async def release(context: Context, *, name: str) -> int:
    from netraven.assembly import guard_standing

    async with context.store() as store:
        credential = (await store.vault.get(name)).credential
        standing = await guard_standing(store, context.settings.realms)
        if standing.rules(credential.realm).local:
            say(
                f"nothing to release: in realm {plain_line(credential.realm)} each device counts refusals for itself"
            )
            return 0
        state, forgotten = standing.release(credential.account)
        if not forgotten:
            say(f"nothing is held of {_account(credential)}, and no refusal is on record")
            return 0
        if not await store.guard_book.change(credential.account, state):
            raise InputError(
                f"{_account(credential)} is in use: another process offers its secrets at the moment, and counts for "
                "itself. Nothing was released; stop that run, or wait for its end, and then release"
            )
        if forgotten.pause is not None:
            await store.guard_book.pause(credential.realm, None)
    _say_forgotten(credential, forgotten)
    return 0


def _say_forgotten(credential: Credential, forgotten: Forgotten) -> None:
    account = _account(credential)
    if forgotten.refusals:
        say(
            f"forgot {counted(forgotten.refusals, 'refusal')} of {account}; be sure that the service which judges it "
            "has forgotten them too"
        )
    if forgotten.held:
        say(f"ended the hold of {counted(forgotten.held, 'secret')} of {account}")
    if forgotten.pause is not None:
        say(
            f"ended the pause of realm {plain_line(credential.realm)} ({plain_line(forgotten.pause)}); the next login "
            "shows whether it is well"
        )


def _account(credential: Credential) -> str:
    return f"{plain_line(credential.username)} in realm {plain_line(credential.realm)}"


async def remove(context: Context, *, name: str) -> int:
    async with context.store() as store:
        await store.vault.remove(name)
    say(f"removed credential {plain_line(name)}")
    return 0


async def match(context: Context, *, device: str, strategy: str | None, as_json: bool) -> int:
    from netraven.credentials.evidence import Knowledge
    from netraven.credentials.matching import CredentialIndex
    from netraven.credentials.strategy import strategy_named

    settings = context.settings.collect
    chosen = strategy_named(strategy or settings.strategy, refused_backoff=settings.refused_backoff)
    async with context.store() as store:
        target = await store.inventory.get(device)
        knowledge = Knowledge(await store.learned())
        credentials = await store.credentials()
        unreadable = await store.vault.unreadable()
    found = target.device
    candidates = CredentialIndex(credentials).matching(found)
    current = {c.name: c.secret_version for c in reversed(credentials)}  # the current one comes first
    order = await chosen.rank(found, candidates, knowledge.of(target)) if candidates else ()
    if as_json:
        print_json(
            [
                {
                    "place": place,
                    "credential": choice.credential.name,
                    "version": choice.credential.secret_version,
                    "username": choice.credential.username,
                    "tags": sorted(choice.credential.tags & found.tags),
                    "reason": choice.reason,
                    "not_before": choice.not_before,
                    "unreadable": unreadable.get(choice.credential.key),
                    "previous": choice.credential.secret_version < current[choice.credential.name],
                    "source": choice.credential.source,
                }
                for place, choice in enumerate(order, 1)
            ]
        )
        return 0
    if not order:
        tags = ", ".join(sorted(found.tags))
        say(
            f"No credential shares a tag with {plain_line(device)} "
            + (f"(its tags: {plain_line(tags)})." if tags else "(it has no tags).")
        )
        return 0
    columns = ("", "credential", "username", "shared tags", "reason")
    table = Table(*columns, right=("",), spare=("username", "shared tags"))
    marked: dict[str, list[str]] = {}
    for place, choice in enumerate(order, 1):
        name, reason = choice.credential.name, choice.reason
        if choice.credential.secret_version < current[name]:
            reason += f"; the previous secret, version {choice.credential.secret_version}"
        if choice.credential.when == "aaa-down":
            reason = "break-glass: only while its device's AAA gives no verdict"
        if (source := choice.credential.source) is not None:
            reason += f"; secret from {_read_at(source)}"
        if (why := unreadable.get(choice.credential.key)) is not None:
            marked.setdefault(why, []).append(name)
            reason += "; not offered: its secret cannot be read"
        elif choice.not_before is not None:
            reason += f"; not offered before {choice.not_before.astimezone(UTC):%Y-%m-%d %H:%M}"
        shared = ", ".join(sorted(choice.credential.tags & found.tags))
        table.add(f"{place}.", name, choice.credential.username, shared, reason)
    table.print(console())
    for why, names in marked.items():
        say(f"\nThe secret of {plain_line(', '.join(names))} cannot be read: {plain_line(why, 1000)}")
    offered = len(order) - sum(map(len, marked.values()))
    ends = "the first that is accepted ends it" if offered else "none can be offered"
    say(f"\n{counted(len(order), 'credential')}, strategy {chosen.name}; {ends}.")
    return 0


def _read_at(source: str | None) -> str:
    """Where a secret is read, as a person is told."""
    return "agent: any of its keys" if source == "agent:" else source or "stored"
