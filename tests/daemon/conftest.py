"""Installations that a daemon serves, on each database."""

from tests.acceptance.conftest import any_installation, installation
from tests.databases import backend, database_url, empty_url, postgresql_server, postgresql_template

__all__ = [
    "any_installation",
    "backend",
    "database_url",
    "empty_url",
    "installation",
    "postgresql_server",
    "postgresql_template",
]
