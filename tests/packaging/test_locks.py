"""The lock files install the same thing everywhere, from whatever index a machine is set up with."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))

pytestmark = pytest.mark.packaging


def entries(lock: Path) -> dict[str, tuple[Requirement, list[str]]]:
    """Give each locked requirement with its hashes, keyed by the normalised name."""
    text = re.sub(r"^\s*#.*$", "", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found: dict[str, tuple[Requirement, list[str]]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        requirement, *hashes = re.split(r"\s+--hash=", line.split(" #")[0].strip())
        parsed = Requirement(requirement)
        found[canonicalize_name(parsed.name)] = (parsed, hashes)
    return found


def test_there_are_locks_for_building_running_developing_and_measuring() -> None:
    assert [lock.stem for lock in LOCKS] == ["bench", "build", "dev", "fakenos", "runtime"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_entry_is_pinned_and_hashed(lock: Path) -> None:
    locked = entries(lock)
    assert locked
    for name, (requirement, hashes) in locked.items():
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), name
        assert hashes, name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in hashes), name


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_no_lock_names_an_address_or_an_option(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*--?(?!hash=)[a-z]", text, flags=re.MULTILINE)


def test_the_runtime_lock_has_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    locked = entries(ROOT / "requirements" / "runtime.txt")
    for line in project["dependencies"]:
        wanted = Requirement(line)
        pinned, _ = locked[canonicalize_name(wanted.name)]
        (version,) = [s.version for s in pinned.specifier]
        assert wanted.specifier.contains(version), f"{line}, locked at {version}: run `make lock`"


@pytest.mark.parametrize("name", ["build", "runtime"])
def test_developers_run_what_users_run(name: str) -> None:
    dev = entries(ROOT / "requirements" / "dev.txt")
    for package, (requirement, hashes) in entries(ROOT / "requirements" / f"{name}.txt").items():
        assert dev[package][0].specifier == requirement.specifier, f"{package}: run `make lock`"
        assert dev[package][1] == hashes, package
