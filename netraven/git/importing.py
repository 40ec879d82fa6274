"""The history that people have already: what git repositories of Oxidized and RANCID say, one commit after the other.

Both keep one text file for each device, and commit what has changed. How they lay them out was read in their sources
and documents; repositories are only read, along the first parents of a branch.

- Oxidized: ``NAME`` or ``GROUP/NAME`` in one repository, or one for each group (``GROUP.git`` beside each other).
  Output of other types is in ``NAME--TYPE`` or in a repository of that type, and is no configuration.
- RANCID: ``configs/NAME`` in a repository for each group, or ``GROUP/configs/NAME``.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from netraven.errors import GitError, InputError
from netraven.git.command import Git, harmless

LAYOUTS = ("auto", "oxidized", "rancid")
LARGEST = 64 * 1024 * 1024
"""Bytes of one file; what is larger is no configuration, and left out."""
SILENCE = 300.0
"""Seconds that git may take for its next word."""
_POINTER = b"gitdir: "
_LONGEST_POINTER = 8192
_CHUNK = 1024 * 1024
_FORMAT = "tformat:%x02%H %at"
_RANCID = re.compile(r"(?:.*/)?configs/([^/]+)")
_REGULAR = ("100644", "100755")


@dataclass(frozen=True, slots=True)
class ImportedVersion:
    """A file as a commit left it. ``device`` is its name in the repository."""

    device: str
    at: datetime
    """When the commit was authored: the moment of the capture, also where commits were written anew since. Of one path
    it only moves on, a second at least."""
    text: str = field(repr=False)
    path: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file that a commit added or changed."""

    at: datetime
    path: str
    blob: str


@dataclass(frozen=True, slots=True)
class _Last:
    """What a path had last. Grows with the number of files, not with their history."""

    blob: str
    digest: bytes
    at: datetime


def find_repositories(path: Path) -> list[Path]:
    """The git directories at a path: the repository there, or those beside each other in the folder.

    Raises ``InputError`` where there is none.
    """
    if not path.is_dir():
        raise InputError(f"{path}: there is no such folder")
    if (found := _git_directory(path)) is not None:
        return [found]
    inside = sorted(entry for entry in path.iterdir() if entry.is_dir())
    repositories = [found for entry in inside if (found := _git_directory(entry)) is not None]
    if not repositories:
        raise InputError(f"{path} is no git repository, and none is in it")
    return repositories


def _git_directory(path: Path) -> Path | None:
    """Of a clone, a bare repository, a further worktree or a submodule."""
    for candidate in (_pointed_to(path / ".git"), path):
        objects = (candidate / "objects").is_dir() or (candidate / "commondir").is_file()
        if (candidate / "HEAD").is_file() and objects:
            return candidate
    return None


def _pointed_to(path: Path) -> Path:
    """Where ``path`` is a file that names the git directory, as worktrees and submodules have it, that."""
    try:
        with path.open("rb") as file:
            words = file.read(_LONGEST_POINTER)
    except OSError:
        return path
    found = os.fsdecode(words.removeprefix(_POINTER).strip())
    return path.parent / found if words.startswith(_POINTER) and "\0" not in found else path


class Source:
    """One repository to read. ``branch``: where not what its HEAD says."""

    def __init__(
        self, directory: Path, environ: Mapping[str, str], *, layout: str = "auto", branch: str = "HEAD"
    ) -> None:
        self._git = Git(directory, environ)
        self._layout = layout
        self._branch = branch
        self.directory = directory
        self.name = directory.parent.name if directory.name == ".git" else directory.name
        self.too_large: set[str] = set()
        """Files of which :meth:`versions` left out something, by path."""

    async def files(self) -> Sequence[str]:
        """The files that the branch has now, by path; empty where it has no commit."""
        if not await self._has_commits():
            return []
        said = await self._git.run("ls-tree", "-r", "-z", "--name-only", self._branch, timeout=SILENCE)
        if said.code:
            raise GitError(f"{self.directory} cannot be read: {harmless(said.err)}")
        return [name for name in said.out.decode("utf-8", "surrogateescape").split("\0") if name]

    async def layout(self) -> str:
        """``oxidized`` or ``rancid``: what was told, or what it looks like."""
        if self._layout == "auto":
            looks = any(_RANCID.fullmatch(path) for path in await self.files())
            self._layout = "rancid" if looks else "oxidized"
        return self._layout

    async def versions(
        self, wanted: Callable[[str], bool] = lambda _: True
    ) -> AsyncIterator[ImportedVersion]:
        """Every version of every file that is a configuration, oldest first. ``wanted`` is asked of each name.

        One text is in memory at a time. A file that a commit left as it was before makes none.
        """
        layout = await self.layout()
        if not await self._has_commits():
            return
        last: dict[str, _Last] = {}
        async with self._git.open("cat-file", "--batch") as objects:
            async for entry in self._entries():
                name = device_in(entry.path, layout)
                if name is None or not wanted(name):
                    continue
                before = last.get(entry.path)
                if before is not None and before.blob == entry.blob:
                    continue
                data = await self._read(objects, entry)
                if data is None:
                    self.too_large.add(entry.path)
                    continue
                text = configuration_in(data.decode("utf-8", "surrogateescape"), layout)
                digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
                at = entry.at if before is None else max(entry.at, before.at + timedelta(seconds=1))
                if (
                    before is not None and before.digest == digest
                ):  # only what stands before the configuration is new
                    last[entry.path] = _Last(entry.blob, digest, before.at)
                    continue
                last[entry.path] = _Last(entry.blob, digest, at)
                if text.strip():
                    yield ImportedVersion(name, at, text, entry.path)

    async def _has_commits(self) -> bool:
        commit = f"{self._branch}^{{commit}}"
        there = await self._git.run("rev-parse", "--verify", "--quiet", "--end-of-options", commit)
        if there.code and self._branch != "HEAD":
            raise InputError(f"{self.directory} has no branch {self._branch!r}")
        return there.code == 0

    async def _entries(self) -> AsyncIterator[_Entry]:
        words = ("log", "--reverse", "--raw", "-z", "--no-renames", "--no-abbrev", "--root", "-m", "--first-parent",
                 "--no-show-signature", "--no-ext-diff", f"--format={_FORMAT}", self._branch, "--")  # fmt: skip
        async with self._git.open(*words) as log:
            assert log.stdout is not None  # noqa: S101 - it was opened as a pipe
            at = datetime.min.replace(tzinfo=UTC)
            token = await _token(log.stdout)
            while token is not None:
                text = token.lstrip(b"\n")
                if text.startswith(b"\x02"):
                    seconds = int(text[1:].split()[1])
                    at = datetime.fromtimestamp(min(max(0, seconds), _LAST), UTC)
                elif text.startswith(b":"):
                    path = await _token(log.stdout)
                    mode, blob = text.split()[1].decode(), text.split()[3].decode()
                    if path is not None and mode in _REGULAR:
                        yield _Entry(at, path.decode("utf-8", "surrogateescape"), blob)
                token = await _token(log.stdout)
            assert log.stderr is not None  # noqa: S101 - it was opened as a pipe
            said = await log.stderr.read(4096)
            if await log.wait():
                raise GitError(f"{self.directory} is damaged: {harmless(said.decode('utf-8', 'replace'))}")

    async def _read(self, objects: asyncio.subprocess.Process, entry: _Entry) -> bytes | None:
        """None for what is too large."""
        assert objects.stdin is not None  # noqa: S101 - it was opened as a pipe
        assert objects.stdout is not None  # noqa: S101 - the same
        try:
            async with asyncio.timeout(SILENCE):
                objects.stdin.write(entry.blob.encode() + b"\n")
                await objects.stdin.drain()
                words = (await objects.stdout.readline()).split()
                if len(words) != 3 or words[1] != b"blob":
                    raise GitError(f"{self.directory} is damaged: {harmless(entry.path)} cannot be read")
                size = int(words[2])
                if size <= LARGEST:
                    return (await objects.stdout.readexactly(size + 1))[:-1]
                for start in range(0, size + 1, _CHUNK):
                    await objects.stdout.readexactly(min(_CHUNK, size + 1 - start))
                return None
        except TimeoutError:
            raise GitError(f"git said nothing for {SILENCE:g} s") from None
        except (ConnectionError, asyncio.IncompleteReadError):
            raise GitError(f"{self.directory} is damaged: {harmless(entry.path)} cannot be read") from None


_LAST = 253_402_300_799
"""The last second of the year 9999."""


async def _token(stream: asyncio.StreamReader) -> bytes | None:
    """Up to the next zero byte; None at the end."""
    try:
        async with asyncio.timeout(SILENCE):
            return (await stream.readuntil(b"\0"))[:-1]
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError:
        raise GitError("a path in the repository is longer than a megabyte") from None
    except TimeoutError:
        raise GitError(f"git said nothing for {SILENCE:g} s") from None


# ---- what the files are ----


def device_in(path: str, layout: str) -> str | None:
    """The name of the device whose configuration a file is; None for what is none."""
    if layout == "rancid":
        match = _RANCID.fullmatch(path)
        name = match[1] if match else ""
        return None if not name or name.startswith(".") or name.endswith((".new", ".raw")) else name
    name = path.rpartition("/")[2]
    return None if not name or name.startswith(".") or "--" in name else name


_HEADER = re.compile(r"(\S{0,3}?) ?RANCID-CONTENT-TYPE:.*")
_REGISTER = re.compile(r"config-register 0x[0-9A-Fa-f]+\s*")


def configuration_in(text: str, layout: str) -> str:
    """The text without what RANCID puts before a configuration: its comments about hardware and files."""
    if layout != "rancid":
        return text
    lines = text.splitlines(keepends=True)
    match = _HEADER.fullmatch(lines[0].rstrip("\r\n")) if lines else None
    if match is None:
        return text
    comment = match[1]
    place = 1
    while place < len(lines) and (_is_comment(lines[place], comment) or _REGISTER.fullmatch(lines[place])):
        place += 1
    return "".join(lines[place:])


def _is_comment(line: str, comment: str) -> bool:
    return not line.strip() or (bool(comment) and line.startswith(comment))


class Names:
    """Which device of the inventory a name in a repository means."""

    def __init__(self, devices: Iterable[str]) -> None:
        self._exact = frozenset(devices)
        self._folded: dict[str, set[str]] = {}
        self._short: dict[str, set[str]] = {}
        for name in self._exact:
            self._folded.setdefault(name.casefold(), set()).add(name)
            self._short.setdefault(_short(name), set()).add(name)

    def find(self, name: str) -> Sequence[str]:
        """One where it is clear: the same name; the same but for upper and lower case; the same without the domain.

        None where the inventory has none; several where it is not clear which.
        """
        if name in self._exact:
            return [name]
        if found := self._folded.get(name.casefold()):
            return sorted(found)
        short = _short(name)
        return sorted(
            known
            for known in self._short.get(short, ())
            if short in (known.casefold(), name.casefold())  # two different domains are two devices
        )


def _short(name: str) -> str:
    if re.fullmatch(r"[0-9.]+|.*:.*", name):  # an address has no domain
        return name.casefold()
    return name.casefold().partition(".")[0]
