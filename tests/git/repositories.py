"""Real git repositories, looked at by git itself, and a history in a database to fill them with."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from netraven.assembly import configurations
from netraven.git.export import Exporter, Target
from netraven.history.layout import Layout
from netraven.model import Capture, Counts, Device, Run, RunStatus
from netraven.platforms import Catalogue
from netraven.storage.store import SqlStore
from tests.storage.facts import START, at, collected, start_run

OPERATOR = {
    "GIT_AUTHOR_NAME": "Op",
    "GIT_AUTHOR_EMAIL": "op@example.net",
    "GIT_COMMITTER_NAME": "Op",
    "GIT_COMMITTER_EMAIL": "op@example.net",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
}


def git(directory: Path, *words: str, **more: str) -> str:
    """Git as an operator types it."""
    said = subprocess.run(
        ["git", *words],
        cwd=directory,
        env={"PATH": os.environ["PATH"], **OPERATOR, **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout


def blob(path: Path, name: str) -> bytes:
    """What git has for ``main:FILE`` or an object, byte by byte."""
    return subprocess.run(["git", "cat-file", "blob", name], cwd=path, capture_output=True, check=True).stdout


def every_object(path: Path) -> bytes:
    words = ["git", "cat-file", "--batch-all-objects", "--batch"]
    return subprocess.run(words, cwd=path, capture_output=True, check=True).stdout


def commits(path: Path, branch: str = "main") -> list[str]:
    """Ids, the oldest first."""
    return git(path, "rev-list", "--reverse", branch).split()


def subjects(path: Path, branch: str = "main") -> list[str]:
    return git(path, "log", "--reverse", "--format=%s", branch).splitlines()


def tree(path: Path, ref: str = "main") -> dict[str, str]:
    """The text of every file."""
    names = [name for name in git(path, "ls-tree", "-r", "-z", "--name-only", ref).split("\0") if name]
    return {name: git(path, "cat-file", "blob", f"{ref}:{name}") for name in names}


def sound(path: Path) -> None:
    git(path, "fsck", "--strict", "--full")


class History:
    """Runs at given minutes, and what they brought."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.minute = 0

    async def device(
        self, name: str, *, platform: str = "cisco_iosxe", tags: Sequence[str] = ("edge",)
    ) -> Device:
        await self.store.inventory.upsert_devices([Device(name, "192.0.2.1", platform, tags=frozenset(tags))])
        return (await self.store.inventory.get(name)).device

    async def begin(self) -> Run:
        return await start_run(self.store)

    async def bring(self, run: Run, texts: dict[str, str], *, kind: str = "running") -> None:
        self.minute += 1
        entries = []
        for name, text in texts.items():
            device = (await self.store.inventory.get(name)).device
            entry = collected(run, device, started_at=at(self.minute * 60))
            entries.append(replace(entry, captures=(Capture(text, kind),)))
        await self.store.commit(entries)

    async def end(self, run: Run) -> None:
        await self.store.finish(run, RunStatus.COMPLETE, Counts(devices=1, collected=1))

    async def run(self, texts: dict[str, str], *, kind: str = "running") -> Run:
        run = await self.begin()
        await self.bring(run, texts, kind=kind)
        await self.end(run)
        return run


def exporter(
    store: SqlStore,
    path: Path,
    *,
    layout: str = "{name}",
    now: datetime = START,
    environ: dict[str, str] | None = None,
    platforms: Path | None = None,
    **settings: Any,
) -> Exporter:
    target = Target(path=path, layout=Layout(layout), folder=path.parent, **settings)
    shown = configurations(store, Catalogue(platforms))

    async def text(stored: Any) -> str:
        return await shown.text(stored, raw=target.raw, quiet=True)

    given = {**os.environ, **OPERATOR} if environ is None else environ
    return Exporter(target, store.exports, text, environ=given, now=lambda: now)
