"""Installations on each database, and commands in this process."""

from tests.acceptance.conftest import any_installation, command, installation
from tests.databases import backend, database_url, empty_url, postgresql_server, postgresql_template

__all__ = [
    "any_installation",
    "backend",
    "command",
    "database_url",
    "empty_url",
    "installation",
    "postgresql_server",
    "postgresql_template",
]
