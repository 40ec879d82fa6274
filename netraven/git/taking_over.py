"""Which of what a repository holds becomes whose history, and in which portions it is stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from netraven.git.importing import ImportedVersion, Names, Source, device_in

VERSIONS = 500
CHARACTERS = 16 * 1024 * 1024
"""What is kept in memory before it is stored."""

Add = Callable[[str, Sequence[tuple[datetime, str]]], Awaitable[int]]
"""Stores versions of a device, each with the moment it was seen; how many of them were new."""
Progress = Callable[[int], None]
"""Told how many versions were read."""


@dataclass(slots=True)
class TakenOver:
    """What came of an import."""

    repositories: list[str] = field(default_factory=list)
    layout: str = ""
    read: int = 0
    """Versions in the repositories, of devices that the inventory has."""
    added: int = 0
    """Those that were not on record yet."""
    devices: dict[str, int] = field(default_factory=dict)
    """Versions that were read, by device."""
    unknown: set[str] = field(default_factory=set)
    """Names that no device of the inventory has."""
    unclear: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Names that could mean several devices, and which; or devices that several files could be of, and which."""
    too_large: set[str] = field(default_factory=set)
    """Files of which something is larger than any configuration, and was left out."""


class _Store:
    """Gathers versions by device, so that few portions are stored."""

    def __init__(self, add: Add | None, done: TakenOver) -> None:
        self._add = add
        self._done = done
        self._waiting: dict[str, list[tuple[datetime, str]]] = {}
        self._versions = 0
        self._characters = 0

    async def take(self, device: str, version: ImportedVersion) -> None:
        if self._add is None:
            return
        self._waiting.setdefault(device, []).append((version.at, version.text))
        self._versions += 1
        self._characters += len(version.text)
        if self._versions >= VERSIONS or self._characters >= CHARACTERS:
            await self.flush()

    async def flush(self) -> None:
        for device, versions in sorted(self._waiting.items()):
            if self._add is not None:
                self._done.added += await self._add(device, versions)
        self._waiting, self._versions, self._characters = {}, 0, 0


async def take_over(
    sources: Sequence[Source], names: Names, add: Add | None, progress: Progress = lambda _: None
) -> TakenOver:
    """Read repositories and store what is of devices in the inventory; ``add`` None: store nothing, only count.

    Names that mean no device, or not clearly one, are left out and told. What is stored stays when it is interrupted,
    and doing it again adds nothing twice.
    """
    done = TakenOver(repositories=[str(source.directory) for source in sources])
    shared = await _shared(sources, names)
    done.unclear.update(shared)
    store = _Store(add, done)

    def wanted(name: str) -> bool:
        found = names.find(name)
        if not found:
            done.unknown.add(name)
        elif len(found) > 1:
            done.unclear[name] = tuple(found)
        return len(found) == 1 and found[0] not in shared

    for source in sources:
        done.layout = await source.layout()
        async for version in source.versions(wanted):
            (device,) = names.find(version.device)
            done.read += 1
            done.devices[device] = done.devices.get(device, 0) + 1
            await store.take(device, version)
            progress(done.read)
        done.too_large |= source.too_large
    await store.flush()
    return done


async def _shared(sources: Sequence[Source], names: Names) -> Mapping[str, tuple[str, ...]]:
    """Devices that several of the files that are there now could be of: nobody can say which is the right one."""
    files: dict[str, list[str]] = {}
    for source in sources:
        layout = await source.layout()
        for path in await source.files():
            name = device_in(path, layout)
            found = names.find(name) if name is not None else ()
            if len(found) == 1:
                shown = f"{source.name}: {path}" if len(sources) > 1 else path
                files.setdefault(found[0], []).append(shown)
    return {device: tuple(paths) for device, paths in files.items() if len(paths) > 1}
