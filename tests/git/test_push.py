"""Pushing to real remotes: repositories with hooks, servers that ask for a password, and servers that say nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from netraven.errors import GitError, InputError
from netraven.git.after_run import export_after_run
from netraven.git.command import harmless, without_userinfo
from netraven.storage.store import SqlStore
from tests.git.repositories import OPERATOR, History, commits, exporter, git


@pytest.fixture
def backend() -> str:
    """What is pushed is the same whichever database it came from."""
    return "sqlite"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "configs.git"


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    remote = tmp_path / "remote.git"
    git(tmp_path, "init", "--quiet", "--bare", str(remote))
    return remote


@pytest.fixture
async def history(store: SqlStore) -> History:
    history = History(store)
    await history.device("r1")
    await history.run({"r1": "hostname r1\n"})
    return history


def hook(remote: Path, text: str) -> Path:
    script = remote / "hooks" / "pre-receive"
    script.parent.mkdir(exist_ok=True)
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    return script


async def test_an_export_is_pushed(store: SqlStore, history: History, path: Path, remote: Path) -> None:
    report = await exporter(store, path, remote=str(remote)).export()
    assert report.pushed is not None
    assert report.pushed.error == ""
    assert commits(remote) == commits(path)
    assert (await exporter(store, path, remote=str(remote)).export()).pushed is None, "the remote has it all"
    await history.run({"r1": "hostname r1\nend\n"})
    await exporter(store, path, remote=str(remote)).export(send=False)
    status = await exporter(store, path, remote=str(remote)).status()
    assert not status.pushed
    await exporter(store, path, remote=str(remote)).push()
    assert commits(remote) == commits(path)
    assert (await exporter(store, path, remote=str(remote)).status()).pushed


async def test_a_relative_remote_is_relative_to_the_settings(
    store: SqlStore, history: History, path: Path, remote: Path
) -> None:
    await exporter(store, path, remote="remote.git").export()
    assert commits(remote) == commits(path)


async def test_a_remote_that_refuses_is_told_and_asked_again(
    store: SqlStore, history: History, path: Path, remote: Path
) -> None:
    script = hook(remote, "echo 'closed for \x1b[31mmaintenance' >&2; exit 1")
    exporting = exporter(store, path, remote=str(remote))
    report = await exporting.export()
    assert report.commits == 1
    assert report.pushed is not None
    assert "pre-receive hook declined" in report.pushed.error
    assert "closed for \\x1b[31mmaintenance" in report.pushed.error
    status = await exporting.status()
    assert (status.pushed, "declined" in status.push_error) == (False, True)
    script.unlink()
    report = await exporting.export()
    assert report.commits == 0
    assert report.pushed is not None
    assert commits(remote) == commits(path)
    assert (await exporting.status()).push_error == ""


async def test_a_remote_with_other_commits_is_left_as_it_is(
    store: SqlStore, history: History, path: Path, remote: Path, tmp_path: Path
) -> None:
    exporting = exporter(store, path, remote=str(remote))
    await exporting.export()
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "-b", "main", str(remote), str(clone))
    (clone / "notes").write_text("by hand\n")
    git(clone, "add", "notes")
    git(clone, "commit", "--quiet", "-m", "by hand")
    git(clone, "push", "--quiet", "origin", "main")
    before = commits(remote)
    await history.run({"r1": "hostname r1\nend\n"})
    report = await exporting.export()
    assert report.commits == 1
    assert report.pushed is not None
    assert "never pushes with force" in report.pushed.error
    assert commits(remote) == before


async def test_what_is_advised_where_the_remote_has_other_commits_keeps_them(
    store: SqlStore, history: History, path: Path, remote: Path, tmp_path: Path
) -> None:
    """The commands of the message, as they stand there."""
    await exporter(store, path, remote=str(remote)).export()
    before = commits(remote)
    report = await exporter(store, path, remote=str(remote), author="Another <a@example.net>").export(
        rebuild=True
    )
    assert report.pushed is not None
    keep, force = re.findall(r"\(git (.+?)\)", report.pushed.error)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "-b", "main", str(remote), str(clone))
    git(clone, *keep.split())
    git(tmp_path, *force.replace("REPOSITORY", str(path)).replace("REMOTE", str(remote)).split())
    assert commits(remote, "main-before") == before
    assert commits(remote) == commits(path) != before


async def test_a_rebuilt_repository_that_differs_is_not_forced_upon_the_remote(
    store: SqlStore, history: History, path: Path, remote: Path
) -> None:
    await exporter(store, path, remote=str(remote)).export()
    before = commits(remote)
    other = exporter(store, path, remote=str(remote), author="Somebody Else <other@example.net>")
    report = await other.export(rebuild=True)
    assert report.pushed is not None
    assert "the repository was rebuilt" in report.pushed.error
    assert commits(remote) == before


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """A port where somebody listens and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_a_remote_that_says_nothing_is_left_after_the_timeout(
    store: SqlStore, history: History, path: Path
) -> None:
    with silent() as port:
        exporting = exporter(store, path, remote=f"git://127.0.0.1:{port}/x", push_timeout=0.5)
        report = await exporting.export()
    assert report.pushed is not None
    assert "still running after 0.5 s" in report.pushed.error
    assert report.commits == 1


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - another process brings it about
        await asyncio.sleep(0.01)


def sleeps(pid: int) -> bool:
    try:
        return b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


async def test_a_push_that_is_cancelled_takes_its_processes_along(
    store: SqlStore, history: History, path: Path, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    command = tmp_path / "ssh"
    command.write_text(f"#!/bin/sh\necho $$ >{pid}.new && mv {pid}.new {pid}\nexec sleep 600\n")
    command.chmod(0o755)
    environ = {**os.environ, **OPERATOR, "GIT_SSH": str(command), "GIT_SSH_VARIANT": "simple"}
    exporting = exporter(store, path, remote="ssh://git.example.net/x", environ=environ)
    await exporting.export(send=False)
    pushing = asyncio.create_task(exporting.push())
    await until(pid.exists)
    pushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pushing
    number = int(pid.read_text())
    await until(lambda: not sleeps(number))


class _Asking(BaseHTTPRequestHandler):
    """A web server that has no repository for anybody, and remembers who asked."""

    authorizations: ClassVar[list[str | None]]

    def do_GET(self) -> None:
        type(self).authorizations.append(self.headers.get("Authorization"))
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def asking() -> Iterator[tuple[int, list[str | None]]]:
    class Handler(_Asking):
        authorizations: ClassVar[list[str | None]] = []

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port, Handler.authorizations
        server.shutdown()
        thread.join()


async def test_a_password_in_the_url_is_used_and_told_to_nobody(
    store: SqlStore, history: History, path: Path, asking: tuple[int, list[str | None]], tmp_path: Path
) -> None:
    port, authorizations = asking
    seen = tmp_path / "arguments"
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    real = shutil.which("git")
    program.write_text(f'#!/bin/sh\necho "$@" >>{seen}\nexec {real} "$@"\n')
    program.chmod(0o755)
    environ = {**os.environ, **OPERATOR, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    url = f"http://svc:hunter2@127.0.0.1:{port}/configs.git"
    exporting = exporter(store, path, remote=url, environ=environ)
    report = await exporting.export()
    assert report.pushed is not None
    assert report.pushed.error
    assert authorizations[0] == "Basic c3ZjOmh1bnRlcjI="
    status = await exporting.status()
    told = f"{report}{status}{exporting._target}{(path / 'netraven.json').read_text()}{seen.read_text()}"
    assert f"127.0.0.1:{port}" in told
    assert "hunter2" not in told
    assert "svc" not in told


async def test_nobody_is_asked_for_a_password(
    store: SqlStore, history: History, path: Path, asking: tuple[int, list[str | None]], tmp_path: Path
) -> None:
    port, _ = asking
    asked = tmp_path / "asked"
    program = tmp_path / "askpass"
    program.write_text(f"#!/bin/sh\ntouch {asked}\necho x\n")
    program.chmod(0o755)
    environ = {
        **os.environ,
        **OPERATOR,
        "GIT_ASKPASS": str(program),
        "SSH_ASKPASS": str(program),
        "DISPLAY": ":0",
    }
    report = await exporter(store, path, remote=f"http://127.0.0.1:{port}/x", environ=environ).export()
    assert report.pushed is not None
    assert "terminal prompts disabled" in report.pushed.error
    assert not asked.exists()


async def test_the_operators_own_settings_and_helpers_serve(
    store: SqlStore, history: History, path: Path, remote: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "gitconfig"
    settings.write_text(f'[url "{remote}"]\n insteadOf = backup:configs\n')
    environ = {**os.environ, **OPERATOR, "GIT_CONFIG_GLOBAL": str(settings), "NETRAVEN_KEY": "secret-key"}
    hook(remote, f"env >{tmp_path / 'environment'}")
    await exporter(store, path, remote="backup:configs", environ=environ).export()
    assert commits(remote) == commits(path)
    assert "secret-key" not in (tmp_path / "environment").read_text()


async def test_nowhere_to_push_to_and_nothing_to_push(store: SqlStore, path: Path, remote: Path) -> None:
    with pytest.raises(InputError, match=r"git\.remote is not set"):
        await exporter(store, path).push()
    with pytest.raises(GitError, match="nothing to push yet"):
        await exporter(store, path, remote=str(remote)).push()
    assert not path.exists()


class TestAfterRun:
    """What a run's log gets to know."""

    async def test_all_went_well(self, store: SqlStore, history: History, path: Path, remote: Path) -> None:
        lines = await export_after_run(exporter(store, path, remote=str(remote)))
        assert [(level, event) for level, event, _ in lines] == [
            ("info", "git_exported"),
            ("info", "git_pushed"),
        ]
        assert await export_after_run(exporter(store, path, remote=str(remote))) == []

    async def test_a_push_that_failed(self, store: SqlStore, history: History, path: Path) -> None:
        exporting = exporter(store, path, remote="/nowhere/at/all.git")
        for _ in range(2):  # tried again, told again
            lines = await export_after_run(exporting)
            level, event, data = lines[-1]
            assert (level, event) == ("warning", "git_push_failed")
            assert "/nowhere/at/all.git" in data["error"]

    async def test_an_export_that_is_refused(self, store: SqlStore, history: History, path: Path) -> None:
        path.write_text("something else")
        ((level, event, data),) = await export_after_run(exporter(store, path))
        assert (level, event) == ("warning", "git_export_failed")
        assert str(path) in data["error"]

    async def test_an_export_that_takes_too_long(self, store: SqlStore, history: History, path: Path) -> None:
        exporting = exporter(store, path)

        async def never(stored: object) -> str:
            await asyncio.Event().wait()
            return ""

        exporting._text = never
        ((_, event, data),) = await export_after_run(exporting, at_most=0.2)
        assert (event, "the next export goes on" in data["error"]) == ("git_export_failed", True)

    async def test_a_fault_of_ours(self, store: SqlStore, history: History, path: Path) -> None:
        exporting = exporter(store, path)

        async def broken(stored: object) -> str:
            raise ZeroDivisionError

        exporting._text = broken
        ((_, event, data),) = await export_after_run(exporting)
        assert (event, "ZeroDivisionError" in data["error"]) == ("git_export_failed", True)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("fatal: https://u:p@h/x: no", "fatal: https://h/x: no"),
        ("ssh://git@h/x", "ssh://h/x"),
        ("could not read Password for 'https://token@h'", "could not read Password for 'https://h'"),
        ("https://h/x?private_token=abc failed", "https://h/x failed"),
        ("git@h:x.git", "git@h:x.git"),
        ("\x1b[31mred\x07\nnext", "\\x1b[31mred\\x07 / next"),
    ],
)
def test_what_git_says_is_made_harmless(said: str, shown: str) -> None:
    assert harmless(said) == shown
    assert "\x1b" not in harmless(without_userinfo(said))
