"""What every command is given: the settings in force, a way to run, and how the user calls this program."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from netraven.config import SYSTEM_FILE, DatabaseSettings, Settings, load_settings
from netraven.errors import SettingsError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from netraven.collect.access import AccessRules
    from netraven.history.configurations import Configurations
    from netraven.storage.store import SqlStore

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds after the first Ctrl-C before another one ends the process at once (the database bears that)."""


@dataclass
class Context:
    """``config`` is the file that was named on the command line."""

    config: str | None = None
    given: Settings | None = field(default=None, repr=False)
    """Settings that are in force without being looked for."""
    needs_jobs: bool = False
    """The jobs of the settings are what it is about: a mistake in them is no mere warning."""
    when_stopping: Callable[[], None] | None = field(default=None, repr=False)
    """Called once, when the user wants an end."""

    @cached_property
    def settings(self) -> Settings:
        """The settings in force; logging follows them. Raises ``SettingsError``.

        A mistake in a job is in the way of what is about the jobs of the settings only: a daemon goes on with the
        old ones meanwhile, and `status` has to say so.
        """
        from netraven.cli.screen import warn
        from netraven.log import configure

        settings = self.given if self.given is not None else load_settings(self.config, without_jobs=True)
        configure(settings.log.level, settings.log.format)
        _refuse_nowhere(settings)
        if settings.jobs_problem is not None and not self.needs_jobs:
            warn(f"no job of the settings can be taken over: {settings.jobs_problem}")
        return settings

    @property
    def settings_with_jobs(self) -> Settings:
        """The same, where their jobs can be used too. Raises ``SettingsError``."""
        self.needs_jobs = True
        if self.settings.jobs_problem is not None:
            raise SettingsError(self.settings.jobs_problem)
        return self.settings

    @cached_property
    def access(self) -> AccessRules:
        """How settings say that devices are reached."""
        from netraven.assembly import access_rules

        return access_rules(self.settings)

    def store(self) -> AbstractAsyncContextManager[SqlStore]:
        """The database, for what logs in to nothing."""
        from netraven.assembly import open_store

        return open_store(self.settings)

    def configurations(self, store: SqlStore) -> Configurations:
        """Stored configurations, as they may be shown."""
        from netraven.assembly import configurations
        from netraven.platforms import Catalogue

        return configurations(store, Catalogue(self.settings.platforms_folder))

    def command(self, *words: object) -> str:
        """A command that the user can paste: this program, these settings, these words."""
        config = self.config
        if self.given is not None:
            config = str(self.given.file)
        elif config is None and os.environ.get("NETRAVEN_CONFIG"):
            config = os.environ["NETRAVEN_CONFIG"]
        before = ["--config", config] if config else []
        return shlex.join([*program(), *before, *map(str, words)])

    def run(self, work: Coroutine[object, object, T]) -> T:
        """Run to the end. The first SIGINT, SIGTERM or SIGHUP cancels; ``KeyboardInterrupt`` where that ended it."""
        try:
            return asyncio.run(self._until_stopped(work))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    async def _until_stopped(self, work: Coroutine[object, object, T]) -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(work)
        asked_at: float | None = None

        def stop() -> None:
            nonlocal asked_at
            if asked_at is None:
                asked_at = loop.time()
                if self.when_stopping is not None:
                    self.when_stopping()
                task.cancel()
            elif loop.time() - asked_at > PATIENCE:
                os._exit(130)

        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
            numbers.append(signal.SIGHUP)
        installed = []
        for number in numbers:
            try:
                loop.add_signal_handler(number, stop)
            except (ValueError, RuntimeError, NotImplementedError):
                break  # not the main thread: whoever runs us has the signals
            installed.append(number)
        try:
            return await task
        finally:
            for number in installed:
                loop.remove_signal_handler(number)


def _refuse_nowhere(settings: Settings) -> None:
    """Without settings the defaults hold; without their database either, this is the wrong folder, not a new one."""
    from netraven.storage.urls import locate

    if settings.file is not None or settings.database != DatabaseSettings():
        return
    path = locate(settings.database_url).path
    if path is not None and not path.exists():
        raise SettingsError(
            f"no settings were found: $NETRAVEN_CONFIG is not set, and there is neither {Path.cwd() / 'netraven.toml'} "
            f"nor {SYSTEM_FILE}. Go (cd) to where `netraven init` was run, or name its file with --config FILE; "
            "`netraven init` sets up a new one here"
        )


def program() -> list[str]:
    """How this program was called, in words that work again from here."""
    called = Path(sys.argv[0] or "netraven")
    for module in ("netraven.cli", "netraven"):
        if called.parts[-len(module.split(".")) - 1 :] == (*module.split("."), "__main__.py"):
            return [_short(Path(sys.executable)), "-m", module]
    if called.name != "netraven":  # embedded, or under test
        return ["netraven"]
    found = shutil.which("netraven")
    if found and called.exists() and Path(found).resolve() == called.resolve():
        return ["netraven"]
    return [_short(called)]


def _short(path: Path) -> str:
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - symbolic links stay as they are
    try:
        relative = absolute.relative_to(Path.cwd())
    except ValueError:
        return str(absolute)
    return str(relative) if len(relative.parts) > 1 else f"./{relative}"
