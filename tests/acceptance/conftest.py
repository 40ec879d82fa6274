"""Every test of this folder is an acceptance test: real servers or the lab's real SSH, a real database."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from netraven.cli import main
from tests.acceptance import frr, small_device
from tests.acceptance.at_the_prompt import Operator
from tests.acceptance.installation import Installation
from tests.acceptance.processes import Command, Ended
from tests.acceptance.system import User, public_folder, temporary_user
from tests.databases import (
    backend,
    database_url,
    empty_url,
    own_server,
    postgresql_server,
    postgresql_template,
)

__all__ = [
    "backend",
    "database_url",
    "empty_url",
    "own_server",
    "postgresql_server",
    "postgresql_template",
]


@pytest.fixture
async def installation(tmp_path: Path) -> Installation:
    """A fresh one on SQLite."""
    return await Installation.create(tmp_path / "netraven")


@pytest.fixture
async def any_installation(tmp_path: Path, database_url: str) -> Installation:
    """A fresh one on each database."""
    return await Installation.create(tmp_path / "netraven", url=database_url)


@pytest.fixture
def command(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """Commands in this process: a tenth of the time that a process of their own takes."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)

    async def run(*words: str, config: Path | None = None, stdin: str = "") -> Ended:
        capfdbinary.readouterr()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        named = [*(() if config is None else ("--config", str(config))), *words]
        code = await asyncio.to_thread(main, named)  # with an event loop of its own
        sys.stdout.flush()
        ended = Ended(named, code, *capfdbinary.readouterr())
        assert b"Traceback" not in ended.stderr, ended.err
        return ended

    yield run
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def operator(installation: Installation, command: Command) -> Operator:
    return Operator(installation, command)


PASSWORD = "kept-for-the-test-only"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """What is in it, any user may read."""
    with public_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def user(folder: Path) -> Iterator[User]:
    """One of the system's users, with a home of its own."""
    home = folder / "home"
    home.mkdir()
    with temporary_user(PASSWORD, home=home) as user:
        user.give(home, 0o755)
        yield user


@pytest.fixture(scope="module")
def script(folder: Path) -> Path:
    """What speaks a little IOS once a user is logged in."""
    return small_device.write(folder)


@pytest.fixture(scope="module")
def router() -> Iterator[str]:
    """FRR; its name."""
    with frr.running() as name:
        yield name


@pytest.fixture(scope="module")
def router_user(router: str) -> Iterator[User]:
    """One who may use the router's vtysh."""
    with temporary_user(PASSWORD, groups=frr.GROUPS) as user:
        yield user
