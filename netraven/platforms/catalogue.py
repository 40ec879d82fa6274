"""The platforms that there are: the files that NetRaven ships, and those of the user's folder on top."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from netraven.errors import InputError
from netraven.model import AUTO
from netraven.platforms.meaning import check_together, merged, platform_of
from netraven.platforms.model import Platform
from netraven.platforms.reading import MOST_BYTES, SUFFIXES, Fault, Faulty, PlatformRefused, read
from netraven.platforms.schema import NAME, PLATFORM, Check, check_table, closest

SHIPPED = "shipped"


class Catalogue:
    """Shipped platforms, and the user's: a user's file takes the place of a shipped one of its name.

    Nothing is read before it is asked for, and each file once. A broken file of the user's makes its own platform
    (and those that extend it) raise ``InputError``, no other.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._loaded: dict[str, Platform | InputError] = {}
        self._detectable: tuple[Platform, ...] | None = None
        self._sheets: dict[Path, Check | InputError] = {}

    def names(self) -> tuple[str, ...]:
        """Every platform that has a file, sorted; also those whose file is broken."""
        return tuple(sorted({*_shipped_files(), *self._users}))

    def __contains__(self, name: object) -> bool:
        """Whether a device may carry ``name``."""
        return name == AUTO or name in _shipped_files() or name in self._users

    def unknown(self, name: str) -> str:
        """What is wrong with a name that is not in the catalogue."""
        said = f"unknown platform {name!r}" if name else "platform must not be empty"
        return f"{said}, {closest(name, (AUTO, *self.names()))}"

    def load(self, name: str) -> Platform:
        """Raise ``InputError`` for an unknown name, ``PlatformRefused`` for a file with faults."""
        if name == AUTO and AUTO not in self._users:
            raise InputError(f"platform {AUTO!r} is found out at a device, it is described in no file")
        if name not in self:
            raise InputError(self.unknown(name))
        found = self._loaded.get(name)
        if found is None:
            try:
                users = self._users.get(name)
                found = self._read(name, users[0]) if users else self._read(name, _shipped_files()[name])
            except InputError as error:
                found = error
            self._loaded[name] = found
        if isinstance(found, InputError):
            raise found.with_traceback(None)
        return found

    def broken(self) -> Mapping[str, InputError]:
        """The user's platforms that cannot be used, by name, and why."""
        faults = {}
        for name in self._users:
            try:
                self.load(name)
            except InputError as error:
                faults[name] = error
        return faults

    def detectable(self) -> tuple[Platform, ...]:
        """Every platform that says how it is known, those that can be used: what ``platform = auto`` may find."""
        if self._detectable is None:
            found = []
            for name in self.names():
                with contextlib.suppress(InputError):
                    found.append(self.load(name))
            self._detectable = tuple(platform for platform in found if platform.detection)
        return self._detectable

    def kinds(self) -> frozenset[str]:
        """Every kind of output that some platform has."""
        found: set[str] = set()
        for name in self.names():
            with contextlib.suppress(InputError):
                found.update(self.load(name).outputs)
        return frozenset(found)

    def check(self, file: Path) -> Platform:
        """The platform of a file as if it lay in the user's folder. Raises ``InputError``."""
        if file.suffix not in SUFFIXES:
            raise InputError(f"{file}: a platform file ends in {', '.join(SUFFIXES)}")
        return self._read(file.stem, file)

    def with_platform(self, platform: Platform) -> Catalogue:
        """The same catalogue, with ``platform`` in the place of whatever has its name."""
        changed = Catalogue(self._folder)
        changed._loaded = {**self._loaded, platform.name: platform}
        changed.__dict__["_users"] = {**self._users, platform.name: (Path(platform.origin),)}
        return changed

    @cached_property
    def _users(self) -> dict[str, tuple[Path, ...]]:
        """The user's files by name; more than one of a name is a fault of it."""
        found: dict[str, tuple[Path, ...]] = {}
        if self._folder is None or not self._folder.is_dir():
            return found
        try:
            files = sorted(file for file in self._folder.iterdir() if file.suffix in SUFFIXES)
        except OSError as error:
            raise InputError(f"{self._folder}: cannot be read: {error.strerror}") from error
        for file in files:
            found[file.stem] = (*found.get(file.stem, ()), file)
        return found

    def _read(self, name: str, file: Path) -> Platform:
        ours = _is_shipped(file)
        twins = [] if ours else [twin for twin in self._users.get(name, ()) if twin.name != file.name]
        if twins:
            raise PlatformRefused(
                file, [Fault(1, f"{twins[0].name} describes {name!r} as well", "one file is expected")]
            )
        if name == AUTO or not NAME.fullmatch(name):
            wrong = (
                "is kept for devices whose platform is found out"
                if name == AUTO
                else "is no name of a platform"
            )
            expected = f"a file's name has the form {NAME.pattern}"
            raise PlatformRefused(file, [Fault(1, f"{name!r} {wrong}", expected)])
        return platform_of(name, self._whole(name, file, ()), SHIPPED if ours else str(file))

    def _whole(self, name: str, file: Path, above: tuple[Path, ...]) -> dict[str, Any]:
        """The data of a file together with what it extends. Raises ``PlatformRefused``."""
        check = self._checked(file).copy()
        data: dict[str, Any] = {key: value for key, value in check.sheet.data.items() if key in PLATFORM}
        base = data.pop("extends", None)
        because: PlatformRefused | None = None
        if base is not None and "extends" not in check.tainted:
            try:
                data = merged(self._base(base, name, file, (*above, file)), data)
            except _Unusable as unusable:
                check.fault(("extends",), unusable.wrong, unusable.expected)
                because = unusable.because
        check_together(check, {key: value for key, value in data.items() if key not in check.tainted})
        if check.faults:
            raise PlatformRefused(file, check.faults, because)
        return data

    def _base(self, base: str, name: str, file: Path, above: tuple[Path, ...]) -> dict[str, Any]:
        """A user's file extends the user's own first; one that extends its own name, the shipped one."""
        users = () if _is_shipped(file) or base == name else self._users.get(base, ())
        found = users[0] if users else _shipped_files().get(base)
        if found is None:
            raise _Unusable(f"{base!r} is not known", closest(base, {*self.names()} - {name}))
        if found in above:
            way = " -> ".join(step.stem for step in (*above, found))
            raise _Unusable(f"leads in a circle: {way}", "a platform extends one that does not extend it")
        try:
            return self._whole(base, found, above)
        except PlatformRefused as refused:
            raise _Unusable(f"{base!r} cannot be used", "mend that one first", refused) from refused

    def _checked(self, file: Path) -> Check:
        """The file by itself, with the faults of single values. Raises ``PlatformRefused`` if it cannot be parsed."""
        found = self._sheets.get(file)
        if found is None:
            try:
                found = _check(file)
            except InputError as error:
                found = error
            self._sheets[file] = found
        if isinstance(found, InputError):
            raise found.with_traceback(None)
        return found


class _Unusable(Exception):
    """A platform that cannot be extended."""

    def __init__(self, wrong: str, expected: str, because: PlatformRefused | None = None) -> None:
        super().__init__(wrong)
        self.wrong, self.expected, self.because = wrong, expected, because


def _check(file: Path) -> Check:
    try:
        with file.open("rb") as opened:
            raw = opened.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        wrong = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise PlatformRefused(file, [Fault(1, wrong, "a readable file is expected")]) from error
    try:
        sheet = read(raw, file.suffix)
    except Faulty as faulty:
        raise PlatformRefused(file, faulty.faults) from faulty
    check = Check(sheet, list(sheet.faults), set(sheet.tainted))
    check_table(check, (), sheet.data, PLATFORM)
    if "tested" in sheet.data and not _is_shipped(file):
        check.fault(("tested",), "is for the files that NetRaven ships", "leave it out")
    return check


@cache
def shipped() -> Catalogue:
    """The catalogue without a user's folder."""
    return Catalogue()


def known_platforms() -> tuple[str, ...]:
    """The names of the platforms that ship, sorted."""
    return shipped().names()


def load_platform(name: str) -> Platform:
    """A platform that ships. Raises ``InputError``."""
    return shipped().load(name)


@cache
def _shipped_files() -> Mapping[str, Path]:
    return {file.stem: file for file in _data().iterdir() if re.fullmatch(r"\.(toml|ya?ml)", file.suffix)}


def _data() -> Path:
    """The shipped files; an installed package is a folder, never a zip archive."""
    return Path(__file__).resolve().parent / "data"


def _is_shipped(file: Path) -> bool:
    return file.resolve().parent == _data()
