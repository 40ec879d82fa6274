"""The export: from versions in the database to commits in a repository.

What a repository holds is written in its last commit (``Exported``), so both move together whatever is killed when; an
export begins where the last one got to. What it writes follows from the database alone: a repository that was lost is
made again with the same commits.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from netraven.errors import GitError, InputError
from netraven.events import events
from netraven.git import messages
from netraven.git.command import Git, without_userinfo
from netraven.git.fast_import import Change, FastImport, fast_import
from netraven.git.lock import locked
from netraven.git.push import Pushed, push
from netraven.git.repository import Repository, State
from netraven.history.layout import Layout, look_alikes
from netraven.model import Exportable, Exported, Portion, StoredVersion, Waiting, utcnow
from netraven.ports import Exports

log = events("netraven.git")

CHECKPOINT_VERSIONS = 5_000
CHECKPOINT_SECONDS = 20.0
"""After so many versions, or so long, what was written so far is made to stay."""
_SOME = 5


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be exported, and where to: the ``[git]`` settings."""

    path: Path
    layout: Layout = field(default_factory=Layout)
    per: str = "run"
    """A commit for each ``run`` or each ``device``."""
    author: str = "NetRaven <netraven@localhost>"
    branch: str = "main"
    kinds: tuple[str, ...] = ("running",)
    unheard_of: frozenset[str] = frozenset()
    """Of these, what no platform has. Where nothing of the kind was imported either, it is a slip of the pen."""
    raw: bool = False
    remote: str = field(default="", repr=False)
    push_timeout: float = 300.0
    folder: Path = Path()
    """What a relative path of a remote is relative to."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export did."""

    path: Path
    branch: str
    commits: int = 0
    versions: int = 0
    removed: int = 0
    """Files of devices that are gone, or that are elsewhere now."""
    skipped: int = 0
    """Imported versions that are older than what was there; a rebuild has them in their place."""
    problems: tuple[str, ...] = ()
    """Versions that could not be exported, and other things that a person should know."""
    head: str = ""
    pushed: Pushed | None = None
    """None: there is no remote, or it has it all already."""


@dataclass(frozen=True, slots=True)
class RepositoryStatus:
    path: Path
    branch: str
    exists: bool
    head: str
    exported: Exported
    waiting: Waiting
    remote: str
    """Without what a URL says of users."""
    pushed: bool
    """Whether the remote has taken the last commit."""
    push_tried_at: datetime | None
    push_error: str


Progress = Callable[[int, int], None]
"""Told how many versions of how many are written."""


@dataclass(slots=True)
class _Done:
    """What has been done so far."""

    commits: int = 0
    versions: int = 0
    removed: int = 0
    problems: list[str] = field(default_factory=list)


class Exporter:
    """Exports to one repository. ``text`` gives a version's text as it may be seen."""

    def __init__(
        self,
        target: Target,
        versions: Exports,
        text: Callable[[StoredVersion], Awaitable[str]],
        *,
        environ: Mapping[str, str],
        now: Callable[[], datetime] = utcnow,
    ) -> None:
        self._target = target
        self._versions = versions
        self._text = text
        self._environ = environ
        self._now = now

    async def export(
        self,
        *,
        rebuild: bool = False,
        send: bool = True,
        patience: float = 60.0,
        progress: Progress | None = None,
    ) -> ExportReport:
        """Bring the repository up to what is on record, and push it (``send``) where there is a remote.

        ``rebuild``: make it anew from the whole history and put it in the place of what is there. ``patience``: seconds
        to wait for another export. Raises ``InputError`` for a kind of output that there is none of, ``GitError`` and
        ``DatabaseError``; what was exported before is intact then.
        A push that fails is told in the report.
        """
        await self._check_kinds()
        async with self._opened(patience) as (repository, lock):
            if rebuild:
                done = await self._rebuild(repository, progress)
            else:
                done = await self._bring_up(repository, lock, progress)
            if done.commits:
                await repository.tidy_up(self._target.push_timeout)
            head = await repository.head()
        pushed = await self.push_if_needed(head.commit) if send and head else None
        return ExportReport(
            self._target.path,
            self._target.branch,
            done.commits,
            done.versions,
            done.removed,
            head.exported.skipped if head else 0,
            tuple(done.problems),
            head.commit if head else "",
            pushed,
        )

    async def push_if_needed(self, commit: str) -> Pushed | None:
        """Push; None where there is no remote, or where it has taken this very commit before, or nothing to push."""
        if not commit or not self._target.remote or self._repository().state().pushed == commit:
            return None
        return await self._push(self._repository(), commit)

    async def push(self) -> Pushed:
        """Push what is there. Raises ``GitError`` where there is nothing, ``InputError`` where there is no remote."""
        if not self._target.remote:
            raise InputError("git.remote is not set: there is nowhere to push to")
        repository = self._repository()
        head = await repository.head() if repository.exists() else None
        if head is None:
            raise GitError(f"{self._target.path} has nothing to push yet: `netraven git export` comes first")
        return await self._push(repository, head.commit)

    async def status(self) -> RepositoryStatus:
        """How the repository stands. Changes nothing; raises ``GitError`` where the path holds something else."""
        repository = self._repository()
        await repository.git.version()
        exists = repository.exists()
        head = await repository.head() if exists else None
        exported = head.exported if head else Exported()
        state = repository.state() if exists else State()
        return RepositoryStatus(
            self._target.path,
            self._target.branch,
            exists,
            head.commit if head else "",
            exported,
            await self._versions.counted(exported, self._target.kinds),
            without_userinfo(self._target.remote),
            head is not None and state.pushed == head.commit,
            state.push_tried_at,
            state.push_error,
        )

    async def _check_kinds(self) -> None:
        """A kind written wrongly would take all files out of the repository."""
        for kind in sorted(self._target.unheard_of):
            if not (await self._versions.counted(Exported(), [kind])).versions:
                raise InputError(
                    f"git.kinds: no platform has an output of the kind {kind!r}, and none is on record. The "
                    "repository was left as it is"
                )

    # ---- the repository ----

    def _repository(self, path: Path | None = None) -> Repository:
        git = Git(path or self._target.path, self._environ, folder=self._target.folder)
        return Repository(git, self._target.branch)

    @asynccontextmanager
    async def _opened(self, patience: float) -> AsyncIterator[tuple[Repository, int]]:
        """The repository, made where there is none, and its lock."""
        repository = self._repository()
        await repository.git.version()
        repository.exists()  # raises where something else is there, before anything is written
        repository.make_room()
        async with locked(repository.path, patience=patience) as lock:
            yield repository, lock

    async def _bring_up(self, repository: Repository, lock: int, progress: Progress | None) -> _Done:
        repository.clear_stale()
        await repository.create(raw=self._target.raw)
        if repository.state().raw != self._target.raw:
            holds = "secrets in clear" if not self._target.raw else "secrets as marks"
            raise GitError(
                f"{repository.path} was made to hold {holds}, and git.raw says otherwise now: its commits would stay "
                "as they are. `netraven git export --rebuild` makes it anew"
            )
        return await self._write(repository, lock, progress)

    async def _rebuild(self, repository: Repository, progress: Progress | None) -> _Done:
        if repository.exists():
            try:
                await repository.head()
            except GitError:
                if await self._readable(repository):
                    raise  # commits of somebody else's are on the branch
            else:
                await repository.refuse_strangers()
        other = self._repository(repository.scratch())
        async with AsyncExitStack() as stack:
            stack.push_async_callback(repository.throw_away, other.path)
            inner = await stack.enter_async_context(locked(other.path, patience=0))
            await other.create(raw=self._target.raw)
            done = await self._write(other, inner, progress)
            repository.take_over(other.path)
        return done

    @staticmethod
    async def _readable(repository: Repository) -> bool:
        try:
            commit = await repository.tip()
        except GitError:
            return False
        if commit is None:
            return False
        return (await repository.git.run("cat-file", "-e", f"{commit}^{{tree}}")).code == 0

    async def _push(self, repository: Repository, commit: str) -> Pushed:
        told = self._target
        pushed = await push(repository.git, told.remote, told.branch, commit, timeout=told.push_timeout)
        if pushed.error:
            log.info("git_push_failed", remote=pushed.remote, error=pushed.error)
        state = dataclasses.replace(repository.state(), push_tried_at=self._now(), push_error=pushed.error)
        repository.keep(state if pushed.error else dataclasses.replace(state, pushed=commit))
        return pushed

    # ---- what goes into it ----

    async def _write(self, repository: Repository, lock: int, progress: Progress | None) -> _Done:
        await repository.point_to_branch()
        head = await repository.head()
        before = head.exported if head else Exported()
        done = _Done()
        expected = (await self._versions.counted(before, self._target.kinds)).versions if progress else 0
        writer = _Writer(self._target, self._text, done)
        portions = self._versions.waiting(before, self._target.kinds)
        first = await anext(portions, None)
        if first is not None:
            async with fast_import(
                repository.git,
                self._target.branch,
                self._target.author,
                goes_on=head is not None,
                keep=[lock],
            ) as stream:
                await writer.add(stream, first)
                async for portion in portions:
                    if progress is not None:
                        progress(done.versions, expected)
                    await writer.add(stream, portion)
                await stream.finish()
            if progress is not None:
                progress(done.versions, expected)
        if writer.reached is not None and writer.reached.skipped > before.skipped:
            new = writer.reached.skipped - before.skipped
            are = "s are" if new > 1 else " is"
            done.problems.append(
                f"{new:,} imported version{are} older than what the repository holds already: "
                "`netraven git export --rebuild` puts them in their place"
            )
        await self._set_right(repository, lock, done)
        return done

    async def _set_right(self, repository: Repository, lock: int, done: _Done) -> None:
        """Files of devices that are gone are removed, those of devices that have another path now are moved.

        Whatever else is missing comes too, as it is now: a kind that is exported from today on, a version that could
        not be read the time before. In a commit of its own.
        """
        head = await repository.head()
        if head is None:
            return
        present = await repository.files()
        absent: list[tuple[str, str, str]] = []
        paths: set[str] = set()
        async for filed in self._versions.devices(self._target.kinds):
            for kind in filed.kinds:
                path = self._target.layout.path(filed.place, kind)
                paths.add(path)
                if path not in present:
                    absent.append((path, filed.place.device, kind))
        alike = list(look_alikes(sorted(paths)))
        for one, other in alike[:_SOME]:
            done.problems.append(f"{one} and {other} are the same file where upper and lower case are")
        gone = sorted(present - paths)
        found = [
            (path, exportable)
            for path, device, kind in sorted(absent)
            if (exportable := await self._versions.last(device, kind, head.exported)) is not None
        ]
        if not gone and not found:
            return
        writer = _Writer(self._target, self._text, done)
        async with fast_import(
            repository.git, self._target.branch, self._target.author, goes_on=True, keep=[lock]
        ) as stream:
            await writer.set_right(stream, self._now(), gone, [one for _, one in found], head.exported)
            await stream.finish()


class _Writer:
    """Makes commits of portions."""

    def __init__(self, target: Target, text: Callable[[StoredVersion], Awaitable[str]], done: _Done) -> None:
        self._target = target
        self._text = text
        self._done = done
        self._files: list[messages.File] = []
        self._unsaved = 0
        self._saved_at = time.monotonic()
        self.reached: Exported | None = None

    async def add(self, stream: FastImport, portion: Portion) -> None:
        for exportable in portion.versions:
            await self._blob(stream, exportable)
        if not portion.last:
            return
        await self._commit(stream, portion)
        self.reached = portion.exported
        self._unsaved += len(self._files)
        self._files = []
        if self._unsaved >= CHECKPOINT_VERSIONS or time.monotonic() - self._saved_at > CHECKPOINT_SECONDS:
            await stream.checkpoint()
            self._unsaved, self._saved_at = 0, time.monotonic()

    async def _blob(self, stream: FastImport, exportable: Exportable) -> None:
        text = await self._readable(exportable)
        if text is None:
            return
        mark = len(self._files) + 1
        await stream.blob(mark, text.encode("utf-8", "surrogateescape"))
        version = exportable.version
        path = self._target.layout.path(exportable.place, version.kind)
        self._files.append(messages.File(path, mark, version))
        self._done.versions += 1

    async def _readable(self, exportable: Exportable) -> str | None:
        problem = exportable.problem
        if exportable.stored is not None:
            try:
                return await self._text(exportable.stored)
            except InputError as error:  # a platform that is not known: nobody can say what is secret
                problem = str(error)
        version = exportable.version
        said = f"version {version.number} ({version.kind}) of {version.device} was left out: {problem}"
        if len(self._done.problems) < 100:
            self._done.problems.append(said)
        return None

    async def _commit(self, stream: FastImport, portion: Portion) -> None:
        commits: Sequence[messages.Commit]
        if self._target.per == "device" and self._files:
            commits = messages.per_device(portion, self._files)
        else:
            commits = [messages.per_run(portion, self._files)]
        for commit in commits:
            await stream.commit(
                commit.at, commit.message, [Change(file.path, file.mark) for file in commit.files]
            )
        self._done.commits += len(commits)

    async def set_right(
        self,
        stream: FastImport,
        at: datetime,
        gone: Sequence[str],
        found: Sequence[Exportable],
        exported: Exported,
    ) -> None:
        for exportable in found:
            await self._blob(stream, exportable)
        if not gone and not self._files:
            return
        changes = [Change(file.path, file.mark) for file in self._files]
        changes += [Change(path, None) for path in gone]
        await stream.commit(at, messages.set_right(gone, self._files, exported), changes)
        self._done.commits += 1
        self._done.removed += len(gone)
