from tests.databases import (
    backend,
    database,
    database_url,
    postgresql_server,
    postgresql_template,
    store,
)

__all__ = ["backend", "database", "database_url", "postgresql_server", "postgresql_template", "store"]
