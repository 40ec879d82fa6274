"""What follows from settings: made when the daemon starts, and anew when they are read again.

A run keeps the outfit with which it began; the next one gets the new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from netraven.assembly import (
    access_rules,
    courier,
    git_exporter,
    hook_ways,
    policy_of,
    sources_of,
    subscriptions,
    transport_for,
)
from netraven.collect import moments
from netraven.collect.floor import Floor
from netraven.config import Settings
from netraven.credentials.holds import Standing
from netraven.credentials.lockout import Policy
from netraven.daemon.figures import Known
from netraven.platforms import Catalogue
from netraven.running import Running
from netraven.storage.engine import Database
from netraven.storage.jobs import Defaults
from netraven.storage.store import SqlStore

if TYPE_CHECKING:
    from netraven.git.export import Exporter
    from netraven.notify.courier import Courier


@dataclass(frozen=True, slots=True)
class Outfit:
    """Settings, and the parts that are made of them. All outfits of a daemon share one open database."""

    settings: Settings
    platforms: Catalogue
    store: SqlStore
    running: Running
    exporter: Exporter | None

    @classmethod
    def of(cls, settings: Settings, database: Database, floor: Floor) -> Outfit:
        """Raises ``SettingsError`` for what does not fit together. ``floor`` is the daemon's one."""
        platforms = Catalogue(settings.platforms_folder)
        hook_ways(settings)
        store = SqlStore.on(
            database,
            key_file=settings.key_file,
            sources=sources_of(settings),
            catalogue=platforms,
            encrypt=settings.history.encrypt,
            subscriptions=subscriptions(settings, platforms),
        )
        store.jobs.defaults = Defaults(settings.collect.strategy, settings.collect.concurrency)
        running = Running(
            store,
            transport_for(settings.collect, platforms, agent=settings.ssh.agent_socket),
            settings.collect,
            settings.realms,
            access_rules(settings),
            settings.jump,
            settings.retention,
            floor,
        )
        return cls(settings, platforms, store, running, git_exporter(settings, store, platforms))

    def courier(self) -> Courier | None:
        """Tells hooks; None where there are none."""
        return courier(self.settings, self.store, self.platforms) if self.settings.hooks else None

    async def look(self) -> Known:
        """What the database knows at this moment."""
        book = self.store.guard_book
        states, pauses = await book.states(), await book.pauses()
        standing = Standing(states, pauses, rules=self._rules, now=moments.now())
        hooks = await self.store.outbox.standing()
        return Known(await self.store.figures.read(), standing, list(states), hooks, pauses)

    def _rules(self, realm: str) -> Policy:
        return policy_of(self.settings.realms, realm)
