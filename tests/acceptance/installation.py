"""An installation of NetRaven in a folder: settings, key, database, and what a test looks up in it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import text

from netraven import Credential, Device, NetRaven
from netraven.config import CollectSettings, Settings, load_settings
from netraven.credentials.sealing import write_new_key_file
from netraven.lab import Lab
from netraven.model import CredentialMetrics, Secret
from netraven.storage.migrate import create_and_upgrade

TAG = "fleet"
EVERYWHERE = frozenset({TAG})
"""The tag that every device and every credential of these tests carries."""
PATIENT = CollectSettings(
    retries=0, connect_timeout=30.0, login_timeout=30.0, command_timeout=60.0, device_timeout=120.0
)
"""Nothing times out because the machine is busy. Tests about deadlines set the one that they are about."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Made by :meth:`create`; used through the embedding API, or by commands through ``file``."""

    folder: Path
    url: str

    @classmethod
    async def create(
        cls, folder: Path, *, url: str | None = None, collect: CollectSettings = PATIENT
    ) -> Installation:
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(folder, url or f"sqlite+aiosqlite:///{folder / 'netraven.db'}")
        write_new_key_file(folder / "netraven.key")
        made.configure(collect)
        await create_and_upgrade(made.url)
        return made

    @property
    def file(self) -> Path:
        return self.folder / "netraven.toml"

    @property
    def database(self) -> Path:
        return self.folder / "netraven.db"

    def configure(self, collect: CollectSettings, *, window: float | None = None, **ssh: str) -> None:
        """``window``: seconds after which the AAA service of the default realm has forgotten refusals."""
        sections: dict[str, dict[str, Any]] = {
            "database": {"url": self.url},
            "secrets": {"key_file": "netraven.key"},
            "collect": {name: getattr(collect, name) for name in CollectSettings.__slots__},
            "ssh": dict(ssh),
        }
        if window is not None:
            sections["realms.default"] = {"window": window}
        lines: list[str] = []
        for section, values in sections.items():
            lines.append(f"[{section}]")
            lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        self.file.write_text("\n".join(lines) + "\n")

    @property
    def settings(self) -> Settings:
        return load_settings(self.file, {})

    def open(self, **collect: Any) -> AbstractAsyncContextManager[NetRaven]:
        settings = self.settings
        return NetRaven.open(replace(settings, collect=replace(settings.collect, **collect)))

    async def stock(self, devices: Lab | str, credentials: Iterable[Credential]) -> None:
        """Import what a lab offers (or its CSV) and add the credentials, secrets sealed."""
        inventory = devices.csv() if isinstance(devices, Lab) else devices
        async with self.open() as raven:
            await raven.store.inventory.upsert_devices(devices_of(inventory))
            for credential in credentials:
                await raven.store.vault.add(
                    credential,
                    Secret(
                        credential.password,
                        credential.private_key,
                        credential.enable_password,
                        credential.passphrase,
                        credential.certificate,
                    ),
                )

    async def metrics(self) -> dict[str, CredentialMetrics]:
        async with self.open() as raven:
            return {record.credential.name: record.metrics for record in await raven.store.vault.list()}

    async def rates(self) -> dict[str, float | None]:
        return {name: metrics.success_rate for name, metrics in (await self.metrics()).items()}

    async def attempts(self, run: int | None = None) -> list[dict[str, Any]]:
        """The ledger as the database has it, in the order in which attempts began."""
        return await self.rows(
            "SELECT id, run_id, device_name, credential_name, credential_username, verdict, error_type,"
            " started_at, concluded_at, reason FROM credential_attempts ORDER BY started_at, id",
            lambda row: run is None or row["run_id"] == run,
        )

    async def rows(self, statement: str, keep: Any = lambda _: True) -> list[dict[str, Any]]:
        """What SQL finds. Looking does not bury dead runs, as opening NetRaven would."""
        from netraven.storage.engine import Database

        async with await Database.open(self.url) as database, database.reading() as connection:
            found = (await connection.execute(text(statement))).mappings().all()
        return [dict(row) for row in found if keep(row)]

    async def count(self, table: str) -> int:
        return int((await self.rows(f"SELECT count(*) AS number FROM {table}"))[0]["number"])


def devices_of(inventory: str) -> Sequence[Device]:
    return [
        Device(
            row["name"],
            row["host"],
            row["platform"],
            int(row["port"]),
            EVERYWHERE | {tag for tag in row["tags"].split(";") if tag},
        )
        for row in csv.DictReader(io.StringIO(inventory))
    ]


def credential(name: str, password: str, *, priority: int = 100, **more: Any) -> Credential:
    """One that may be offered to every device; its user has the same name."""
    return Credential(name, more.pop("username", name), password, EVERYWHERE, priority, **more)
