"""Jobs as files have them: `[jobs.NAME]` of the settings, and `[NAME]` of each file in the folder beside it.

One mistake anywhere, and none of them counts: the error names the file and the line.
"""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from netraven.credentials.strategy import strategy_named
from netraven.errors import InputError, SettingsError
from netraven.model import Job
from netraven.plain import plain_line
from netraven.platforms import Catalogue
from netraven.platforms.toml_lines import Place, key_lines
from netraven.schedule.definition import job_of

SECTION = "jobs"


@dataclass(slots=True)
class JobFiles:
    """What is read grows in ``jobs`` and ``places``."""

    platforms: Catalogue
    jobs: dict[str, Job] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    def settings(self, file: Path, text: str, tables: Any) -> None:
        """Jobs of the settings file: ``tables`` is what stands in its section ``jobs``."""
        if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
            raise SettingsError(f"{file}: jobs are sections of their own: [jobs.NAME]")
        self._tables(_File(file, text, (SECTION,)), tables)

    def folder(self, folder: Path) -> None:
        """Every `*.toml` in ``folder``, hidden ones aside; a folder that does not exist is an empty one.

        One that cannot be read is an error: its jobs would be taken for gone.
        """
        try:
            names = sorted(os.listdir(folder))  # noqa: PTH208 - Path.glob keeps quiet of a folder that it may not read
        except FileNotFoundError:
            return
        except OSError as error:
            raise SettingsError(f"{folder}: the folder of jobs cannot be read: {error.strerror}") from error
        for file in (folder / name for name in names if name.endswith(".toml") and name[0] != "."):
            text = _text(file)
            try:
                tables = tomllib.loads(text)
            except tomllib.TOMLDecodeError as error:
                raise SettingsError(f"{file}: is not valid TOML: {plain_line(str(error))}") from error
            place = _File(file, text, ())
            for name, table in tables.items():
                if not isinstance(table, dict):
                    place.fail((name,), f"a job is a table: put {plain_line(name, 60)!r} under its [NAME]")
            self._tables(place, tables)

    def _tables(self, place: _File, tables: Mapping[str, Mapping[str, Any]]) -> None:
        for name, table in tables.items():
            try:
                job = job_of(name, table)
            except InputError as error:
                place.fail((name, *_key_of(name, table, str(error))), str(error), error)
            if name in self.places:
                place.fail(
                    (name,), f"there is a job {name!r} already, in {self.places[name]}: rename one of the two"
                )
            try:
                check_job(job, self.platforms)
            except InputError as error:
                place.fail((name, *_key_of(name, table, str(error))), str(error), error)
            self.jobs[name] = job
            self.places[name] = place.shown((name,))


def _text(file: Path) -> str:
    try:
        if stat.S_ISFIFO(file.stat().st_mode):  # it would be waited for
            raise SettingsError(f"{file}: is a pipe, and no file")
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: is not UTF-8: {error.reason}") from error


def check_job(job: Job, platforms: Catalogue) -> None:
    """Raise ``InputError`` where a job names a strategy, a platform or a kind of output that there is not."""
    if job.strategy is not None:
        try:
            strategy_named(job.strategy)
        except InputError as error:
            raise InputError(f"job {job.name!r}: strategy: {error}") from error
    for key, words in (
        ("platforms", job.selector.platforms),
        ("not_platforms", job.selector.without_platforms),
    ):
        for word in sorted(words):
            if word not in platforms and word != "auto":
                raise InputError(f"job {job.name!r}: {key}: {platforms.unknown(word)}")
    if job.outputs:
        known = sorted(platforms.kinds())
        for kind in job.outputs:
            if kind not in known:
                close = difflib.get_close_matches(kind, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(known)}"
                raise InputError(
                    f"job {job.name!r}: outputs: no platform has an output of the kind {plain_line(kind)!r}, {hint}"
                )


def _key_of(name: str, table: Mapping[str, Any], message: str) -> Place:
    """The key that a message about a job speaks of."""
    before = f"job {name!r}: "
    said = message.removeprefix(before).partition(":")[0] if message.startswith(before) else ""
    return next(((key,) for key in table if plain_line(key, 60) == said), ())


@dataclass(frozen=True, slots=True)
class _File:
    """A file, to be spoken of. ``above``: the section in which its jobs stand."""

    file: Path
    text: str = field(repr=False)
    above: Place

    def shown(self, place: Place) -> str:
        """The file, and the line of what stands at ``place``, or of what is around it."""
        try:
            lines = key_lines(self.text)
        except (ValueError, IndexError):  # something that TOML has and the lines are not known of
            return str(self.file)
        whole = (*self.above, *place)
        found = next((lines[whole[:end]] for end in range(len(whole), 0, -1) if whole[:end] in lines), None)
        return str(self.file) if found is None else f"{self.file}, line {found}"

    def fail(self, place: Place, why: str, cause: Exception | None = None) -> NoReturn:
        raise SettingsError(f"{self.shown(place)}: {why}") from cause
