"""Which adapters stand behind the ports, as settings say. ``app`` puts them together to runs.

Adapters are imported when they are chosen: sqlalchemy and asyncssh cost tenths of a second each.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from netraven.collect import moments
from netraven.collect.access import AccessRules
from netraven.config import (
    CollectSettings,
    RealmSettings,
    SecretsSettings,
    Settings,
    VaultSettings,
    realm_named,
)
from netraven.credentials.holds import Standing
from netraven.credentials.lockout import Policy
from netraven.errors import InputError
from netraven.model import Access, Credential, Target
from netraven.platforms import Catalogue
from netraven.ports import Sources, Transport

if TYPE_CHECKING:
    from datetime import datetime

    from netraven.git.export import Exporter
    from netraven.git.taking_over import Progress, TakenOver
    from netraven.history.configurations import Configurations
    from netraven.storage.store import SqlStore
    from netraven.transport.ssh_scan import Look
    from netraven.transport.watch import Watch


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[SqlStore]:
    """The database alone, for what logs in to nothing. Runs whose process has died are marked as interrupted."""
    from netraven.storage.store import SqlStore

    async with SqlStore.open(
        settings.database_url,
        key_file=settings.key_file,
        sources=sources_of(settings),
        catalogue=Catalogue(settings.platforms_folder),
        encrypt=settings.history.encrypt,
    ) as store:
        await store.runs.recover()
        yield store


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
    target = Target(
        path=path.absolute(),
        layout=Layout(told.layout),
        per=told.commit,
        author=told.author,
        branch=told.branch,
        kinds=tuple(dict.fromkeys(told.kinds)),
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
