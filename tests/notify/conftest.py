from tests.databases import (
    backend,
    database,
    database_url,
    empty_url,
    postgresql_server,
    postgresql_template,
)

__all__ = [
    "backend",
    "database",
    "database_url",
    "empty_url",
    "postgresql_server",
    "postgresql_template",
]
