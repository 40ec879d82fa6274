"""The repository on the disk: whether it is ours, what it holds, and how another takes its place."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from netraven.errors import GitError
from netraven.git.command import Git, harmless
from netraven.git.lock import NAME as LOCK
from netraven.model import Exported

TRAILER = "NetRaven-Export"
"""The line at the end of a commit that says what the repository holds. It moves with the branch, or not at all."""
_TRAILER = re.compile(rf"^{TRAILER}: (.*)$", re.MULTILINE)
_STATE = "netraven.json"
_SCRATCH = ".rebuilding"
_ABANDONED = 3600.0
"""Seconds after which a pack that is only half there is nobody's: an operator's own git may be packing."""
_LARGE_PACK = "512m"
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


@dataclass(frozen=True, slots=True)
class Head:
    """The last commit of the branch."""

    commit: str
    exported: Exported


@dataclass(frozen=True, slots=True)
class State:
    """What is kept beside the commits, and can be lost without harm."""

    raw: bool = False
    """Whether it was made to hold secrets in clear."""
    pushed: str = ""
    """The commit that the remote took last."""
    push_tried_at: datetime | None = None
    push_error: str = ""

    def to_json(self) -> dict[str, Any]:
        at = self.push_tried_at
        return {
            "raw": self.raw,
            "pushed": self.pushed,
            "push_tried_at": at.isoformat() if at else None,
            "push_error": self.push_error,
        }

    @classmethod
    def of_json(cls, data: Any) -> State:
        at = data["push_tried_at"]
        return cls(
            bool(data["raw"]),
            str(data["pushed"]),
            datetime.fromisoformat(at) if at else None,
            str(data["push_error"]),
        )


class Repository:
    """A bare repository that an export has made, or the place for one."""

    def __init__(self, git: Git, branch: str) -> None:
        self.git = git
        self.path = git.directory
        self.branch = branch
        self.ref = f"refs/heads/{branch}"

    def exists(self) -> bool:
        """Whether there is a repository of ours. Raises ``GitError`` where there is something else."""
        try:
            inside = {entry.name for entry in os.scandir(self.path)}
        except FileNotFoundError:
            return False
        except OSError as error:
            raise GitError(f"git.path: {self.path} cannot be read as a folder: {error.strerror}") from error
        if LOCK in inside:
            return "HEAD" in inside
        if inside:
            what = "a git repository that NetRaven did not make" if "HEAD" in inside else "other files"
            raise GitError(
                f"git.path: {self.path} holds {what}. Nothing was changed; name a folder that is empty or not there yet"
            )
        return False

    def make_room(self) -> None:
        """The folder, where there is none. The lock is in it."""
        try:
            self.path.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise GitError(f"git.path: {self.path} cannot be made: {error.strerror}") from error

    async def create(self, *, raw: bool) -> None:
        """Make the repository, or what is missing of one whose making was interrupted. The lock must be held."""
        if not (self.path / _STATE).exists():
            self.keep(State(raw=raw))
        said = await self.git.run("init", "--quiet", "--bare", "--template=", repository=True)
        if said.code:
            raise GitError(f"git.path: {self.path}: git init failed: {harmless(said.err)}")
        await self.point_to_branch()

    async def point_to_branch(self) -> None:
        """Who clones it gets the branch."""
        said = await self.git.run("symbolic-ref", "HEAD", self.ref)
        if said.code:
            raise GitError(f"git.path: {self.path}: git symbolic-ref failed: {harmless(said.err)}")

    async def head(self) -> Head | None:
        """What the branch holds; None where it has no commit. Raises ``GitError`` where the last one is not ours."""
        commit = await self.tip()
        if commit is None:
            return None
        said = await self.git.run("cat-file", "commit", commit)
        if said.code:
            raise self.damaged(said.err)
        body = said.out.decode("utf-8", "replace").partition("\n\n")[2]
        found = _TRAILER.findall(body)
        exported = Exported.read(found[-1]) if found else None
        if exported is None:
            raise GitError(
                f"the branch {self.branch} of {self.path} ends in the commit {commit[:12]}, which NetRaven did not "
                "make. Nothing was changed: take it off the branch, or name another one in git.branch"
            )
        return Head(commit, exported)

    async def tip(self) -> str | None:
        """The branch's last commit, whoever made it."""
        said = await self.git.run("rev-parse", "--verify", "--quiet", self.ref)
        if said.code == 1 and not said.err:
            return None
        if said.code:
            raise self.damaged(said.err)
        return said.out.decode().strip()

    async def refuse_strangers(self) -> None:
        """Raise ``GitError`` where a branch or tag beside ours ends in what somebody else made: a rebuild drops all."""
        said = await self.git.run("for-each-ref", "--format=%(refname)%00%(contents)%00", timeout=300)
        if said.code:
            raise self.damaged(said.err)
        words = said.out.decode("utf-8", "replace").split("\0")
        for ref, contents in zip(words[::2], words[1::2], strict=False):
            found = _TRAILER.findall(contents)
            if not found or Exported.read(found[-1]) is None:
                raise GitError(
                    f"{self.path} has {harmless(ref.strip())}, which NetRaven did not make and which a rebuild would "
                    "lose. Nothing was changed: move it to another repository, or delete it"
                )

    def damaged(self, said: str) -> GitError:
        return GitError(
            f"the git repository {self.path} is damaged: {harmless(said)}. `netraven git export --rebuild` makes it "
            "anew"
        )

    async def files(self) -> frozenset[str]:
        """The files of the branch."""
        said = await self.git.run("ls-tree", "-r", "-z", "--name-only", "--full-tree", self.ref, timeout=300)
        if said.code:
            raise self.damaged(said.err)
        return frozenset(said.out.decode("utf-8", "surrogateescape").split("\0")) - {""}

    def clear_stale(self) -> None:
        """What a git that was killed left in the way of the next one. The lock must be held: no other is at work."""
        for name in (f"{self.ref}.lock", "HEAD.lock", "config.lock", "packed-refs.lock"):
            # Where the folder of the lock is a file, another branch is in the way, and git says so.
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                (self.path / name).unlink()
        before = time.time() - _ABANDONED
        for pack in (self.path / "objects" / "pack").glob("tmp_*"):
            with contextlib.suppress(OSError):
                if pack.stat().st_mtime < before:
                    pack.unlink()

    async def tidy_up(self, timeout: float) -> None:  # noqa: ASYNC109 - git is stopped, and goes on next time
        """Let git pack what has become many packs; it does nothing where there is nothing to do."""
        large = f"gc.bigPackThreshold={_LARGE_PACK}"  # stays as it is: the time it takes does not grow with the history
        with contextlib.suppress(GitError):
            await self.git.run("-c", large, "gc", "--auto", "--quiet", timeout=timeout)

    # ---- beside the commits ----

    def state(self) -> State:
        try:
            return State.of_json(json.loads((self.path / _STATE).read_text("utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            return State()

    def keep(self, state: State) -> None:
        new = self.path / f"{_STATE}.new"
        try:
            new.write_text(json.dumps(state.to_json()) + "\n", "utf-8")
            new.replace(self.path / _STATE)
        except OSError as error:
            raise GitError(f"{self.path / _STATE} cannot be written: {error.strerror}") from error

    # ---- another in its place ----

    def scratch(self) -> Path:
        """An empty folder beside it, for a repository that is to take its place."""
        path = self.path.with_name(self.path.name + _SCRATCH)
        try:
            if path.exists():
                if not (path / LOCK).exists() and any(path.iterdir()):
                    raise GitError(f"{path} is in the way of a rebuild and was not made by NetRaven")
                shutil.rmtree(path)
            path.mkdir(mode=0o755)
        except OSError as error:
            raise GitError(
                f"{path} cannot be made: {error.strerror}. A rebuild needs the folder of git.path; or stop NetRaven, "
                f"empty {self.path} and export again"
            ) from error
        return path

    def take_over(self, other: Path) -> None:
        """``other`` takes its place in one step, with the settings and hooks that an operator put here."""
        for name in ("config", "hooks", "description"):
            ours = self.path / name
            if ours.is_dir():
                shutil.copytree(ours, other / name, dirs_exist_ok=True, symlinks=True)
            elif ours.is_file():
                shutil.copy2(ours, other / name)
        try:
            exchange(self.path, other)
        except OSError as error:
            raise GitError(
                f"{other} cannot take the place of {self.path}: {error.strerror}. Stop NetRaven, empty {self.path} and "
                "export again"
            ) from error

    async def throw_away(self, path: Path) -> None:
        await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)


def exchange(one: Path, other: Path) -> None:
    """Let two folders change places: at once where the system can (Linux), else there is neither for a moment."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is not None:
        done = renameat2(
            _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), ctypes.c_uint(_RENAME_EXCHANGE)
        )
        if done == 0:
            return
    aside = other.with_name(other.name + ".old")
    one.rename(aside)
    try:
        other.rename(one)
    except OSError:
        aside.rename(one)
        raise
    aside.rename(other)
