from tests.databases import (
    database_url,
    postgresql_server,
    postgresql_template,
)

__all__ = ["database_url", "postgresql_server", "postgresql_template"]
