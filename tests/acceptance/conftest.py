"""Every test of this folder is an acceptance test: real SSH against the lab, a real database."""

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
from tests.acceptance.installation import Installation
from tests.acceptance.processes import Command, Ended
from tests.databases import backend, database_url, empty_url, postgresql_server, postgresql_template

__all__ = ["backend", "database_url", "empty_url", "postgresql_server", "postgresql_template"]


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
