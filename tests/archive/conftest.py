from tests.databases import (
    backend,
    database,
    database_url,
    other_store,
    postgresql_server,
    postgresql_template,
    store,
)

__all__ = [
    "backend",
    "database",
    "database_url",
    "other_store",
    "postgresql_server",
    "postgresql_template",
    "store",
]
