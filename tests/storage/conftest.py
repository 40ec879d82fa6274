from tests.databases import (
    backend,
    database,
    database_url,
    empty_url,
    own_server,
    postgresql_server,
    postgresql_template,
    store,
)

__all__ = [
    "backend",
    "database",
    "database_url",
    "empty_url",
    "own_server",
    "postgresql_server",
    "postgresql_template",
    "store",
]
