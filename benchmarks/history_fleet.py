"""A fleet with a past: configurations that change as people change them, in a database and in a git repository."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

START = datetime(2026, 1, 1, tzinfo=UTC)
BYTES = 12_000
_GROUPS = 100
_PLATFORM = "cisco_iosxe"

Batch = list[tuple[int, str]]
"""What is new in one run: devices by number, and their texts."""


@dataclass(frozen=True, slots=True)
class Past:
    """``devices`` x ``versions``. The first run sees every device first, each later one finds some of them changed."""

    devices: int
    versions: int
    seed: int = 0

    @property
    def changes(self) -> int:
        """Devices that change in a run."""
        return max(1, self.devices // 100)

    @property
    def runs(self) -> int:
        return 1 + (self.versions - 1) * self.devices // self.changes

    def name(self, device: int) -> str:
        return f"r{device:05d}"

    def group(self, device: int) -> str:
        return f"site{device % _GROUPS:02d}"

    def at(self, run: int) -> datetime:
        return START + timedelta(minutes=30 * run)

    def __iter__(self) -> Iterator[Batch]:
        """The runs, in order. The same ones each time."""
        from netraven.lab.configurations import configuration

        rng = random.Random(self.seed)
        texts = [
            configuration(_PLATFORM, self.name(n), seed=self.seed, size=BYTES).splitlines(keepends=True)
            for n in range(self.devices)
        ]
        yield [(n, "".join(lines)) for n, lines in enumerate(texts)]
        order = list(range(self.devices))
        for _ in range(self.versions - 1):
            rng.shuffle(order)
            for start in range(0, self.devices, self.changes):
                batch = []
                for device in order[start : start + self.changes]:
                    _edit(texts[device], rng)
                    batch.append((device, "".join(texts[device])))
                yield batch


def _edit(lines: list[str], rng: random.Random) -> None:
    """One to three things that people do to a configuration."""
    for _ in range(rng.randrange(1, 4)):
        place = rng.choice([n for n, line in enumerate(lines) if line.startswith(" description ")])
        kind = rng.randrange(5)
        if kind == 0:
            lines[place] = f" description moved {rng.randrange(10_000)} on request {rng.randrange(100_000)}\n"
        elif kind == 1:
            lines.insert(place + 1, f" switchport access vlan {rng.randrange(2, 4000)}\n")
        elif kind == 2 and len(lines) > 200:
            del lines[place + 1]
        elif kind == 3:
            at = next((n for n, line in enumerate(lines) if line.startswith(" 999 deny")), len(lines) - 1)
            lines.insert(at, f" {rng.randrange(70, 998)} permit ip host 10.0.{rng.randrange(256)}.9 any\n")
        else:
            lines.insert(len(lines) - 1, f"ntp server 10.9.{rng.randrange(256)}.{rng.randrange(256)}\n")


async def into_database(past: Past, store: Any, progress: Callable[[int], None]) -> None:
    """Stored as runs store it, a transaction for each run."""
    import hashlib

    from sqlalchemy import insert

    from netraven.history.rulebook import RuleBook
    from netraven.model import Device, RunStatus
    from netraven.storage.schema import runs
    from netraven.storage.snapshots import Taken, VersionWriter

    devices = [
        Device(past.name(n), f"192.0.2.{n % 250}", _PLATFORM, 22, frozenset({past.group(n)}))
        for n in range(past.devices)
    ]
    await store.inventory.upsert_devices(devices)
    ids = {device.name: device.id for device in await store.inventory.list()}
    writer = VersionWriter(store.history_keys, RuleBook())
    for run, batch in enumerate(past, 1):
        at = past.at(run)
        taken = []
        for device, text in batch:
            data = text.encode()
            sha256 = hashlib.sha256(data).digest()
            taken.append(Taken(ids[past.name(device)], "running", _PLATFORM, sha256, data, run, at))
        row = {
            "id": run, "started_at": at, "finished_at": at, "status": RunStatus.COMPLETE.value, "selector": {"tags": [], "names": []},
            "strategy": "priority", "concurrency": 1, "owner": "", "heartbeat_at": at,
        }  # fmt: skip
        async with store.database.writing() as connection:
            await connection.execute(insert(runs).values(row))
            for start in range(0, len(taken), 500):
                await writer.store(connection, taken[start : start + 500])
        if run % 100 == 0:
            progress(run)


def into_git(past: Past, folder: Path, progress: Callable[[int], None]) -> None:
    """The same as a repository of plain files in a folder for each site, a commit for each run."""
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(folder)], check=True)
    importing = subprocess.Popen(
        ["git", "-C", str(folder), "fast-import", "--quiet", "--depth=50"], stdin=subprocess.PIPE
    )
    assert importing.stdin is not None
    write = importing.stdin.write
    for run, batch in enumerate(past, 1):
        at = int(past.at(run).timestamp())
        message = f"run {run}".encode()
        write(b"commit refs/heads/main\n")
        write(b"mark :%d\ncommitter bench <bench@localhost> %d +0000\n" % (run, at))
        write(b"data %d\n%s\n" % (len(message), message))
        for device, text in batch:
            data = text.encode()
            path = f"{past.group(device)}/{past.name(device)}".encode()
            write(b"M 100644 inline %s\ndata %d\n%s\n" % (path, len(data), data))
        if run % 100 == 0:
            progress(run)
    importing.stdin.close()
    if importing.wait():
        sys.exit("git fast-import failed")
