"""``env:NAME``: a variable of NetRaven's own environment."""

from __future__ import annotations

from collections.abc import Mapping

from netraven.credentials.source import EnvironmentVariable
from netraven.errors import SecretUnreadable
from netraven.model import Secret
from netraven.sources.text import secret_in


class EnvironmentSource:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    async def read(self, place: EnvironmentVariable) -> Secret:
        value = self._environ.get(place.name)
        if value is None:
            raise SecretUnreadable(
                f"there is no environment variable {place.name}: set it where NetRaven is started (a service does not "
                "see what a shell has exported)"
            )
        return secret_in(value.encode("utf-8", "surrogateescape"), f"${place.name}")
