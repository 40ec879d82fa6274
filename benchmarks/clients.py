"""How each tool does the same job: log in, switch paging off, `show running-config`, keep the text.

A client is an async context manager: what it does before it yields is not measured, what it yields collects devices.
Peers are used as their own documentation shows, with their defaults; only host key checking is off, as they have no
store for keys. Every import is local: a peer that is not installed costs its own row.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.lab import USER, Host, password
from benchmarks.process import Job

if TYPE_CHECKING:
    from netraven.model import Outcome

SHOW = "show running-config"


class Tally:
    """What a client brings home."""

    def __init__(self, *, keep: bool) -> None:
        self.collected = 0
        self.failed: Counter[str] = Counter()
        self.attempts: int | None = None
        self._keep = keep
        self._texts: list[str] = []

    def add(self, text: str) -> None:
        """A device's configuration; one that is cut short counts as a failure."""
        if "\nend" not in text[-80:]:
            self.failed["the configuration has no end"] += 1
            return
        self.collected += 1
        if self._keep:
            self._texts.append(text)


Collect = Callable[[Sequence[Host]], Awaitable[Tally]]
Client = Callable[[Job, Sequence[Host]], AbstractAsyncContextManager[Collect]]


# ---- NetRaven ----


async def prepare(home: Path, users: Mapping[str, str], fleet: Sequence[Host]) -> None:
    """What a user does once: settings, key, database, the inventory, and a credential for each user.

    ``users``: their passwords. Every credential matches every device.
    """
    from netraven.credentials.sealing import write_new_key_file
    from netraven.model import Credential, Device, Secret
    from netraven.storage.migrate import create_and_upgrade
    from netraven.storage.store import SqlStore

    home.mkdir(parents=True)
    (home / "netraven.toml").write_text('[database]\nurl = "sqlite+aiosqlite:///netraven.db"\n')
    write_new_key_file(home / "netraven.key")
    url = f"sqlite+aiosqlite:///{home / 'netraven.db'}"
    await create_and_upgrade(url)
    async with SqlStore.open(url, key_file=home / "netraven.key") as store:
        tags = frozenset(tag for host in fleet for tag in host.tags)
        for user, secret in users.items():
            await store.vault.add(Credential(user, user, tags=tags), Secret(secret))
        devices = (Device(h.name, h.host, "cisco_iosxe", h.port, frozenset(h.tags)) for h in fleet)
        await store.inventory.upsert_devices(devices)


@asynccontextmanager
async def netraven(job: Job, fleet: Sequence[Host]) -> AsyncIterator[Collect]:
    """Everything on, as `netraven collect` has it: SQLite, sealed secrets, ledger, snapshots, host keys, logs."""
    from netraven import NetRaven

    _quiet()
    async with NetRaven.open(Path(job.home) / "netraven.toml") as raven:
        yield _netraven(raven, job)


@asynccontextmanager
async def netraven_again(job: Job, fleet: Sequence[Host]) -> AsyncIterator[Collect]:
    """The second night: every host key is known, no configuration has changed."""
    async with netraven(job, fleet) as collect:
        await collect(fleet)
        yield collect


@asynccontextmanager
async def netraven_memory(job: Job, fleet: Sequence[Host]) -> AsyncIterator[Collect]:
    from netraven import Credential, Device, NetRaven

    _quiet()
    devices = [Device(h.name, h.host, "cisco_iosxe", h.port, frozenset(h.tags)) for h in fleet]
    tags = frozenset(tag for host in fleet for tag in host.tags)
    login = Credential(USER, USER, password(Path(job.lab)), tags)
    async with NetRaven.in_memory(devices, [login]) as raven:
        yield _netraven(raven, job)


def _netraven(raven: Any, job: Job) -> Collect:
    async def collect(fleet: Sequence[Host]) -> Tally:
        tally = Tally(keep=job.keep)
        names = {fleet[0].name} if len(fleet) == 1 else ()

        def finished(outcome: Outcome) -> None:
            if outcome.reason is not None:
                tally.failed[f"{outcome.reason}: {outcome.detail}"] += 1

        run = await raven.run(names=names, concurrency=job.concurrency, on_outcome=finished)
        tally.collected, tally.attempts = run.counts.collected, run.counts.attempts
        return tally

    return collect


def _quiet() -> None:
    """The command's own log level; nothing is formatted that is not shown."""
    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        cache_logger_on_first_use=True,
    )


# ---- peers in threads ----


def _in_threads(job: Job, one: Callable[[Host], str]) -> Collect:
    def safely(host: Host) -> str | Exception:
        try:
            return one(host)
        except Exception as error:
            return error

    def all_of(fleet: Sequence[Host]) -> Tally:
        tally = Tally(keep=job.keep)
        with ThreadPoolExecutor(job.concurrency) as pool:
            for result in pool.map(safely, fleet):
                _count(tally, result)
        return tally

    async def collect(fleet: Sequence[Host]) -> Tally:
        return await asyncio.to_thread(all_of, fleet)

    return collect


def _count(tally: Tally, result: str | Exception) -> None:
    if isinstance(result, str):
        tally.add(result)
    else:
        tally.failed[f"{type(result).__name__}: {str(result).strip().partition(chr(10))[0]}"] += 1


@asynccontextmanager
async def netmiko(job: Job, fleet: Sequence[Host]) -> AsyncIterator[Collect]:
    from netmiko import ConnectHandler

    login = {"device_type": "cisco_xe", "username": USER, "password": password(Path(job.lab))}

    def one(host: Host) -> str:
        with ConnectHandler(host=host.host, port=host.port, **login) as connection:
            return str(connection.send_command(SHOW))

    yield _in_threads(job, one)


@asynccontextmanager
async def nornir(job: Job, fleet: Sequence[Host]) -> AsyncIterator[Collect]:
    from nornir.core import Nornir
    from nornir.core.configuration import Config
    from nornir.core.inventory import ConnectionOptions, Defaults, Groups, Hosts, Inventory
    from nornir.core.inventory import Host as NornirHost
    from nornir.core.plugins.connections import ConnectionPluginRegister
    from nornir.core.task import Result, Task
    from nornir.plugins.runners import ThreadedRunner
    from nornir_netmiko.tasks import netmiko_send_command

    ConnectionPluginRegister.auto_register()
    secret = password(Path(job.lab))

    def entry(host: Host) -> NornirHost:
        options = {"netmiko": ConnectionOptions(platform="cisco_xe")}
        return NornirHost(
            host.name, host.host, host.port, USER, secret, "cisco_xe", connection_options=options
        )

    def task(task: Task) -> Result:
        try:
            return Result(task.host, task.run(netmiko_send_command, command_string=SHOW)[0].result)
        finally:
            task.host.close_connections()

    def all_of(fleet: Sequence[Host]) -> Tally:
        inventory = Inventory(Hosts({h.name: entry(h) for h in fleet}), Groups(), Defaults())
        for host in inventory.hosts.values():
            host.defaults = inventory.defaults
        tool = Nornir(inventory=inventory, config=Config(), runner=ThreadedRunner(job.concurrency))
        tally = Tally(keep=job.keep)
        for answers in tool.run(task).values():
            _count(tally, answers[0].exception or answers[0].result)
        return tally

    async def collect(fleet: Sequence[Host]) -> Tally:
        return await asyncio.to_thread(all_of, fleet)

    yield collect


@asynccontextmanager
async def libssh2(job: Job, fleet: Sequence[Host]) -> AsyncIterator[Collect]:
    from ssh2.session import Session

    secret = password(Path(job.lab))

    def until_prompt(channel: Any, prompt: bytes) -> bytes:
        output = b""
        while not output.endswith(prompt):
            size, chunk = channel.read(65536)
            if size <= 0:
                raise ConnectionError("the device closed the session")
            output += chunk
        return output

    def one(host: Host) -> str:
        prompt = f"{host.name}#".encode()
        with socket.create_connection((host.host, host.port), timeout=30) as wire:
            wire.settimeout(None)  # libssh2 waits by itself, on a blocking socket
            session = Session()
            session.handshake(wire)
            session.userauth_password(USER, secret)
            channel = session.open_session()
            channel.pty()
            channel.shell()
            until_prompt(channel, prompt)
            channel.write("terminal length 0\n")
            until_prompt(channel, prompt)
            channel.write(f"{SHOW}\n")
            output = until_prompt(channel, prompt)
            session.disconnect()
            del channel, session  # says its last words now, not on a socket that has become another thread's
        return _without_prompt(output.decode())

    yield _in_threads(job, one)


# ---- peers in an event loop ----


def _in_tasks(job: Job, one: Callable[[Host], Awaitable[str]]) -> Collect:
    async def collect(fleet: Sequence[Host]) -> Tally:
        places = asyncio.Semaphore(job.concurrency)
        tally = Tally(keep=job.keep)

        async def safely(host: Host) -> None:
            async with places:
                try:
                    result: str | Exception = await one(host)
                except Exception as error:
                    result = error
                _count(tally, result)

        await asyncio.gather(*map(safely, fleet))
        return tally

    return collect


@asynccontextmanager
async def scrapli(job: Job, fleet: Sequence[Host]) -> AsyncIterator[Collect]:
    from scrapli import AsyncScrapli

    login: dict[str, Any] = {"auth_username": USER, "auth_password": password(Path(job.lab))}
    login |= {"platform": "cisco_iosxe", "transport": "asyncssh", "auth_strict_key": False}

    async def one(host: Host) -> str:
        async with AsyncScrapli(host=host.host, port=host.port, **login) as connection:
            return str((await connection.send_command(SHOW)).result)

    yield _in_tasks(job, one)


@asynccontextmanager
async def asyncssh(job: Job, fleet: Sequence[Host]) -> AsyncIterator[Collect]:
    import asyncssh as library

    secret = password(Path(job.lab))

    async def one(host: Host) -> str:
        prompt = f"{host.name}#"
        async with library.connect(
            host.host, host.port, username=USER, password=secret, known_hosts=None
        ) as connection:
            shell = await connection.create_process(term_type="vt100")
            await shell.stdout.readuntil(prompt)
            shell.stdin.write("terminal length 0\n")
            await shell.stdout.readuntil(prompt)
            shell.stdin.write(f"{SHOW}\n")
            output = await shell.stdout.readuntil(prompt)
        return _without_prompt(str(output))

    yield _in_tasks(job, one)


def _without_prompt(output: str) -> str:
    return re.sub(r"\r?\n[^\n]*$", "", output).replace("\r\n", "\n")


CLIENTS: dict[str, Client] = {
    "netraven": netraven,
    "netraven-again": netraven_again,
    "netraven-memory": netraven_memory,
    "netmiko": netmiko,
    "nornir": nornir,
    "scrapli": scrapli,
    "asyncssh": asyncssh,
    "libssh2": libssh2,
}
NEEDS = {"netmiko": "netmiko", "nornir": "nornir_netmiko", "libssh2": "ssh2"}
"""The module without which a client cannot run; the other clients need what NetRaven itself needs."""

TITLES = {
    "netraven": "NetRaven, everything on, SQLite",
    "netraven-again": "NetRaven, the second run",
    "netraven-memory": "NetRaven in memory",
    "netmiko": "Netmiko, threads",
    "nornir": "Nornir with Netmiko",
    "scrapli": "scrapli over asyncssh",
    "asyncssh": "asyncssh, bare",
    "libssh2": "libssh2, bare, threads",
}


def installed(client: str) -> bool:
    return find_spec(NEEDS.get(client, "netraven")) is not None
