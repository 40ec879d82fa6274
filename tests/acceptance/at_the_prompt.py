"""NetRaven as an operator uses it: settings in the file, devices and credentials by command."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

from tests.acceptance.installation import Installation
from tests.acceptance.processes import Command, Ended


@dataclass(frozen=True, slots=True)
class Operator:
    """Types commands; whatever they refuse fails the test, unless it asks for an :class:`Ended`."""

    installation: Installation
    command: Command

    async def netraven(self, *words: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Ended:
        with mock.patch.dict(os.environ, env or {}):
            return await self.command(*words, config=self.installation.file, stdin=stdin)

    def settings(self, text: str) -> None:
        """Add to the settings file."""
        file = self.installation.file
        file.write_text(f"{file.read_text()}\n{text}\n")

    async def device(self, name: str, port: int, platform: str, tags: str) -> None:
        row = f"name,host,port,platform,tags\n{name},127.0.0.1,{port},{platform},{tags}\n"
        await self.devices(row)

    async def devices(self, inventory: str) -> None:
        ended = await self.netraven("device", "import", "-", stdin=inventory)
        assert ended.code == 0, ended.err

    async def credential(
        self, name: str, username: str, tags: str, *words: str, env: Mapping[str, str] | None = None
    ) -> None:
        """``words`` say where the secret is, as in `netraven credential add`."""
        ended = await self.netraven(
            "credential", "add", name, "--username", username, "--tags", tags, *words, env=env
        )
        assert ended.code == 0, ended.err

    async def password(self, name: str, username: str, tags: str, password: str, *words: str) -> None:
        await self.credential(name, username, tags, "--password-env", "WORD", *words, env={"WORD": password})

    async def collect(self, *words: str, env: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
        """What devices came to, by name."""
        ended = await self.netraven("collect", "--json", *words, env=env)
        assert ended.code in {0, 1}, ended.err
        return {device["name"]: device for device in ended.json["devices"]}

    async def text(self, device: str) -> str:
        """The configuration on record."""
        ended = await self.netraven("config", "show", device)
        assert ended.code == 0, ended.err
        return ended.out

    async def attempts(self) -> list[tuple[str, str]]:
        """(credential, verdict) of every attempt in the ledger, oldest first."""
        rows = await self.installation.attempts()
        return [(row["credential_name"], row["verdict"]) for row in rows]
