"""Which adapters stand behind the ports, as settings say. ``app`` puts them together to runs.

Adapters are imported when they are chosen: sqlalchemy and asyncssh cost tenths of a second each.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from netraven.collect import moments
from netraven.collect.access import AccessRules
from netraven.collect.floor import FloorLimits
from netraven.config import (
    CollectSettings,
    HookSettings,
    RealmSettings,
    SecretsSettings,
    Settings,
    VaultSettings,
    realm_named,
)
from netraven.credentials.holds import Standing
from netraven.credentials.lockout import Policy
from netraven.errors import InputError, SecretUnreadable, SettingsError
from netraven.model import Access, Credential, EventKind, Subscription, Target
from netraven.platforms import Catalogue
from netraven.ports import Sources, Transport

if TYPE_CHECKING:
    from datetime import datetime

    from netraven.git.export import Exporter
    from netraven.git.taking_over import Progress, TakenOver
    from netraven.history.configurations import Configurations
    from netraven.notify.courier import Courier
    from netraven.notify.message import Way
    from netraven.storage.store import SqlStore
    from netraven.transport.ssh_scan import Look
    from netraven.transport.watch import Watch


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[SqlStore]:
    """The database alone, for what logs in to nothing. Runs whose process has died are marked as interrupted."""
    from netraven.storage.store import SqlStore

    catalogue = Catalogue(settings.platforms_folder)
    async with SqlStore.open(
        settings.database_url,
        key_file=settings.key_file,
        sources=sources_of(settings),
        catalogue=catalogue,
        encrypt=settings.history.encrypt,
        subscriptions=subscriptions(settings, catalogue),
    ) as store:
        set_defaults(store, settings)
        await store.runs.recover()
        yield store


def set_defaults(store: SqlStore, settings: Settings) -> None:
    """What runs of jobs have that say nothing of it."""
    from netraven.storage.jobs import Defaults

    store.jobs.defaults = Defaults(settings.collect.strategy, settings.collect.concurrency)


def configurations(store: SqlStore, catalogue: Catalogue) -> Configurations:
    """Stored configurations, as they may be shown."""

    from netraven.history.configurations import Configurations

    return Configurations(store.versions, catalogue, store.history_keys.marker)


def git_exporter(settings: Settings, store: SqlStore, catalogue: Catalogue) -> Exporter | None:
    """What exports to the git repository that settings name; None where they name none."""
    from netraven.git.export import Exporter, Target
    from netraven.history.layout import Layout

    told = settings.git
    path = settings.git_path
    if path is None:
        return None
    kinds = tuple(dict.fromkeys(told.kinds))
    target = Target(
        path=path.absolute(),
        layout=Layout(told.layout),
        per=told.commit,
        author=told.author,
        branch=told.branch,
        kinds=kinds,
        unheard_of=frozenset(kinds) - catalogue.kinds() if set(kinds) != {"running"} else frozenset(),
        raw=told.raw,
        remote=told.remote,
        push_timeout=told.timeout,
        folder=settings.folder.absolute(),
    )
    text = partial(configurations(store, catalogue).text, raw=told.raw, quiet=True)
    return Exporter(target, store.exports, text, environ=os.environ)


async def import_from_git(
    store: SqlStore,
    path: Path,
    *,
    layout: str = "auto",
    branch: str = "HEAD",
    kind: str = "running",
    dry_run: bool = False,
    progress: Progress = lambda _: None,
) -> TakenOver:
    """Take what a repository of Oxidized or RANCID holds over as history of the devices that the inventory has.

    Raises ``InputError`` where there is no repository, ``GitError`` where it cannot be read; what was stored by then
    stays, and the next import goes on from there.
    """
    from netraven.git.importing import Names, Source, find_repositories
    from netraven.git.taking_over import take_over
    from netraven.model import AUTO

    sources = [Source(one, os.environ, layout=layout, branch=branch) for one in find_repositories(path)]
    known: dict[str, tuple[int, str]] = {}
    async for target in store.inventory.targets():
        device = target.device
        spoken = (target.detected or "") if device.platform == AUTO else device.platform
        known[device.name] = (device.id or 0, spoken)

    async def add(device: str, versions: Sequence[tuple[datetime, str]]) -> int:
        key, platform = known[device]
        async with store.database.writing() as connection:
            texts = [(at, at, text) for at, text in versions]
            return (await store.importing.add(connection, key, kind, platform, texts)).added

    return await take_over(sources, Names(known), None if dry_run else add, progress)


def subscriptions(settings: Settings, catalogue: Catalogue) -> Sequence[Subscription]:
    """What hooks want to be told of. Raises ``SettingsError`` for a platform that is not known."""
    for name, told in settings.hooks.items():
        for platform in told.platforms:
            if platform not in catalogue:
                raise SettingsError(
                    f"{_where(settings)}hooks.{name}.platforms: {catalogue.unknown(platform)}"
                )
    return [
        Subscription(
            name,
            frozenset(EventKind(event) for event in told.events),
            frozenset(told.tags),
            frozenset(told.platforms),
        )
        for name, told in settings.hooks.items()
    ]


def courier(settings: Settings, store: SqlStore, catalogue: Catalogue) -> Courier:
    """Delivers what the store's outbox has. Raises ``SettingsError`` as :func:`hook_ways`."""
    from netraven.history.pattern import Pattern
    from netraven.notify.changes import Changes
    from netraven.notify.courier import Courier, Hook

    ways = hook_ways(settings)
    hooks = [
        Hook(
            name,
            ways[name],
            digest=told.type == "mail" and EventKind.RUN_FINISHED.value in told.events,
            diff=told.diff,
            pattern=Pattern(told.pattern, regex=True) if told.pattern else None,
            keep=timedelta(days=told.keep_days),
        )
        for name, told in settings.hooks.items()
    ]
    return Courier(hooks, store.outbox, Changes(store.versions, configurations(store, catalogue)))


def hook_ways(settings: Settings) -> Mapping[str, Way]:
    """How each hook is told, by name. Raises ``SettingsError`` for an address that cannot be used."""
    if not settings.hooks:
        return {}
    reader = sources_of(settings)
    return {name: _way(settings, name, told, reader) for name, told in settings.hooks.items()}


def _way(settings: Settings, name: str, told: HookSettings, reader: Sources) -> Way:
    from netraven.notify import mail, webhook
    from netraven.notify.command import CommandHook, environment

    def source(key: str) -> Callable[[], Awaitable[str]] | None:
        text = getattr(told, key)
        return partial(_read, reader, text, f"hooks.{name}.{key}") if text else None

    if told.type == "command":
        environ = environment(os.environ, _named_variables(settings))
        folder = settings.folder.absolute()
        return CommandHook(told.command, folder=folder, environ=environ, timeout=told.timeout)
    if told.type == "mail":
        with _naming(settings, f"hooks.{name}.smtp"):
            server = mail.server_of(told.smtp, told.security, told.username)
        for key, addresses in (("sender", [told.sender]), ("to", told.to)):
            with _naming(settings, f"hooks.{name}.{key}"):
                [mail.address_of(address) for address in addresses]
        return mail.Mail(server, told.sender, told.to, password=source("password"), timeout=told.timeout)
    url = source("url")
    if told.url.startswith(("https://", "http://")):
        with _naming(settings, f"hooks.{name}.url"):
            webhook.address_of(told.url)
        url = partial(_itself, told.url)
    assert url is not None  # noqa: S101 - a webhook without one is refused when settings are read
    return webhook.Webhook(url, source("secret"), timeout=told.timeout)


async def _itself(text: str) -> str:
    return text


async def _read(reader: Sources, source: str, key: str) -> str:
    try:
        secret = await reader.read(source)
    except SecretUnreadable as error:
        raise SecretUnreadable(f"{key}: {error}") from None
    if secret.password is None:
        raise SecretUnreadable(f"{key}: there is a private key where a word or an address is wanted")
    return secret.password.strip()


def _named_variables(settings: Settings) -> frozenset[str]:
    """Environment variables that settings name as places of secrets."""
    told = (getattr(hook, key) for hook in settings.hooks.values() for key in ("url", "secret", "password"))
    return frozenset(source.removeprefix("env:") for source in told if source.startswith("env:"))


@contextmanager
def _naming(settings: Settings, key: str) -> Iterator[None]:
    """Says in which setting it is that something is wrong."""
    try:
        yield
    except ValueError as error:
        raise SettingsError(f"{_where(settings)}{key}: {error}") from None


def _where(settings: Settings) -> str:
    return f"{settings.file}: " if settings.file is not None else ""


async def look_at_ssh(settings: Settings, target: Target) -> Look:
    """What the device's SSH server offers and which host key it shows, without logging in.

    Raises ``InputError`` for a device behind a jump host.
    """
    from netraven.transport.ssh_scan import look

    access = access_rules(settings).of(target.device)
    if access.jump:
        raise InputError(
            f"{target.device.name} is behind a jump host, and this looks only straight at devices"
        )
    seconds = access.connect_timeout or settings.collect.connect_timeout
    return await look(replace(target, access=access), seconds)


def needs_key(credentials: Iterable[Credential]) -> bool:
    """Whether a run cannot do without the key that opens stored secrets."""
    return any(credential.source is None for credential in credentials)


def policy_of(realms: Mapping[str, RealmSettings], realm: str) -> Policy:
    """What settings say of a realm, as the lockout guard reads it."""
    told = realm_named(realms, realm)
    return Policy(
        threshold=told.threshold,
        margin=told.margin,
        window=told.window,
        adaptive=told.mode == "adaptive",
        most_in_flight=told.max_logins_in_flight,
        local=told.scope == "local",
    )


async def guard_standing(store: Any, realms: Mapping[str, RealmSettings]) -> Standing:
    """How accounts and realms stand, as lockout guards last wrote it down."""
    book = store.guard_book
    rules = partial(policy_of, realms)
    return Standing(await book.states(), await book.pauses(), rules=rules, now=moments.now())


def access_rules(settings: Settings) -> AccessRules:
    """What settings say of the ways to devices."""
    defaults = Access(
        host_keys=cast("Any", settings.ssh.host_keys),
        source_address=settings.ssh.source_address or None,
        keepalive=settings.ssh.keepalive,
        outputs=settings.collect.outputs or None,
    )
    told = [{name: rule.told for name, rule in rules.items()} for rules in (settings.tags, settings.devices)]
    return AccessRules(defaults, *told)


def floor_limits(settings: Settings) -> FloorLimits:
    """What settings allow all runs of a process together."""
    return FloorLimits(
        settings.collect.concurrency,
        {name: told.max_sessions for name, told in settings.tags.items() if told.max_sessions is not None},
        settings.jump.max_logins,
        settings.jump.max_sessions,
    )


def transport_for(
    settings: CollectSettings, catalogue: Catalogue, *, agent: str = "", watch: Watch | None = None
) -> Transport:
    """``agent``: the ssh agent's socket, where not $SSH_AUTH_SOCK. ``watch``: told of every byte that passes through
    shells, secrets included.
    """
    from netraven.sources.agent import agent_socket
    from netraven.transport.deadlines import Deadlines
    from netraven.transport.dialects import Dialects
    from netraven.transport.reach import Reach
    from netraven.transport.ssh import SshTransport
    from netraven.transport.telnet import TelnetTransport

    deadlines = Deadlines(settings.connect_timeout, settings.login_timeout, settings.command_timeout)
    dialects = Dialects(catalogue)
    ssh = SshTransport(deadlines, dialects, agent_socket=agent_socket(agent, os.environ), watch=watch)
    return Reach(ssh, TelnetTransport(deadlines, dialects, watch=watch))


def sources_of(settings: Settings) -> Sources:
    return sources(settings.secrets, settings.vault, settings.folder, settings.ssh.agent_socket)


def sources(secrets: SecretsSettings, vault: VaultSettings, folder: Path, agent: str = "") -> Sources:
    """Every kind of source there is. Nothing is read, run or asked before somebody wants a secret."""
    from netraven.credentials.source import AgentKey, Command, EnvironmentVariable, SecretFile, VaultField
    from netraven.sources.agent import AgentSource
    from netraven.sources.command import CommandSource
    from netraven.sources.environment import EnvironmentSource
    from netraven.sources.file import FileSource
    from netraven.sources.reader import SourceReader
    from netraven.sources.vault import VaultAccess, VaultSource

    folder, timeout = folder.absolute(), secrets.command_timeout

    def file(name: str) -> Path | None:
        return folder / Path(name).expanduser() if name else None

    access = VaultAccess(
        vault.url,
        vault.mount,
        vault.namespace,
        file(vault.token_file),
        vault.role_id,
        file(vault.secret_id_file),
        vault.timeout,
    )
    return SourceReader(
        {
            EnvironmentVariable: EnvironmentSource(os.environ),
            SecretFile: FileSource(folder, os.environ, timeout=timeout),
            Command: CommandSource(folder, os.environ, timeout=timeout),
            VaultField: VaultSource(access, os.environ),
            AgentKey: AgentSource(agent, os.environ),
        },
        cache_seconds=secrets.cache_seconds,
    )
