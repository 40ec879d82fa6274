"""Installations that a daemon serves, on each database."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.installation import Installation
from tests.databases import backend, database_url, empty_url, postgresql_server, postgresql_template

__all__ = ["backend", "database_url", "empty_url", "postgresql_server", "postgresql_template"]


@pytest.fixture
async def installation(tmp_path: Path) -> Installation:
    """A fresh one on SQLite."""
    return await Installation.create(tmp_path / "nr")


@pytest.fixture
async def any_installation(tmp_path: Path, database_url: str) -> Installation:
    """A fresh one on each database."""
    return await Installation.create(tmp_path / "nr", url=database_url)
