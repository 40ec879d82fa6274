"""What a user gets from the built wheel, away from the checkout: command, data files, migrations."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# One group: the wheel is built once, in one worker.
pytestmark = [pytest.mark.packaging, pytest.mark.slow, pytest.mark.xdist_group("wheel")]


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{command} -> {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (built,) = out.glob("netraven-*.whl")
    return built


@pytest.fixture(scope="module")
def contents(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel in it; what that depends on is borrowed from the tests' own."""
    venv = tmp_path_factory.mktemp("user") / "venv"
    run(sys.executable, "-m", "venv", venv, cwd=venv.parent)
    python = venv / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=venv.parent)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=venv).strip())
    # A path in a .pth file comes after the environment's own packages, and the .pth files in it are not
    # followed: the editable checkout stays out of sight.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return venv


@pytest.fixture
def elsewhere(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A directory that is not the checkout, and an environment that does not point into it."""
    hidden = ("NETRAVEN_", "PYTHON")
    env = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    return tmp_path, {**env, "HOME": str(tmp_path)}


def test_it_carries_types_migrations_and_platforms(contents: list[str]) -> None:
    assert "netraven/py.typed" in contents
    assert "netraven/_alembic/env.py" in contents
    assert any(n.startswith("netraven/_alembic/versions/") and n.endswith(".py") for n in contents)
    assert any(n.startswith("netraven/platforms/") and n.endswith(".toml") for n in contents)
    assert any(n.endswith(".dist-info/licenses/LICENSE") for n in contents)


def test_it_carries_every_file_of_the_package(contents: list[str]) -> None:
    package = ROOT / "netraven"
    expected = {
        p.relative_to(ROOT).as_posix()
        for p in package.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts and not p.name.startswith(".")
    }
    assert expected <= set(contents)


def test_it_carries_nothing_else(contents: list[str]) -> None:
    tops = {name.split("/", 1)[0] for name in contents}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"netraven"}
    assert not [
        name for name in contents if "__pycache__" in name or "/tests/" in name or name.endswith(".db")
    ]


def test_its_metadata_say_what_it_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    (scrapli,) = [r for r in metadata.get_all("Requires-Dist", []) if r.startswith("scrapli<")]
    assert scrapli == "scrapli<2026.10,>=2026.2"


def test_the_installed_command_runs_and_migrates(
    installed: Path, elsewhere: tuple[Path, dict[str, str]]
) -> None:
    cwd, env = elsewhere
    netraven = installed / "bin" / "netraven"

    where = run(
        installed / "bin" / "python", "-c", "import netraven; print(netraven.__file__)", cwd=cwd, env=env
    )
    assert Path(where.strip()).is_relative_to(installed), "the checkout was imported, not the wheel"

    assert "collect" in run(netraven, "--help", cwd=cwd, env=env)

    run(netraven, "init", cwd=cwd, env=env)
    run(netraven, "db", "upgrade", cwd=cwd, env=env)
    run(netraven, "db", "check", cwd=cwd, env=env)


def test_the_installed_command_makes_an_empty_database_usable(
    installed: Path, elsewhere: tuple[Path, dict[str, str]]
) -> None:
    cwd, env = elsewhere
    database = cwd / "fresh.db"
    env["NETRAVEN_DATABASE__URL"] = f"sqlite+aiosqlite:///{database}"

    run(installed / "bin" / "netraven", "db", "upgrade", cwd=cwd, env=env)

    assert database.stat().st_size > 0
    run(installed / "bin" / "netraven", "db", "check", cwd=cwd, env=env)
