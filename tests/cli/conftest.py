"""The real commands, in this process or another, against a real lab and a real SQLite database."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from netraven.cli import main
from netraven.lab import Ill, Lab, LabDevice

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
PYTHON: tuple[str, ...] = (sys.executable,)
PASSWORDS = {"netops": "n3t-0ps-secret", "admin": "4dm1n-secret"}
QUICK = """
[database]
url = "sqlite+aiosqlite:///netraven.db"
[collect]
retries = 0
connect_timeout = 2.0
login_timeout = 2.0
command_timeout = 2.0
"""


class RunningLab:
    """A lab in a thread of its own: commands have the main thread and its signals for themselves."""

    def __init__(self, devices: Sequence[LabDevice]) -> None:
        self.lab = Lab(devices)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.do(self.lab.start())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def stop(self) -> None:
        self.do(self.lab.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()


def device(name: str, user: str = "netops", tags: Sequence[str] = ("edge",), **more: Any) -> LabDevice:
    password = PASSWORDS.get(user, "of nobody here")
    return LabDevice(name, {user: password}, tags=tuple(tags), config_size=600, **more)


DEVICES = (
    device("r1"),
    device("r2", "admin"),
    device("evil", ill=Ill("evil_output")),
    device("error", ill=Ill("command_error", text="% Invalid input detected \x1b]0;title\x07 \x9b5n\n")),
    device("closed", ill=Ill("port_closed")),
    device("stranger", "nobody"),
    device("alone", tags=("unused",)),
)


@pytest.fixture(scope="session")
def lab() -> Iterator[RunningLab]:
    running = RunningLab(DEVICES)
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command sets logging up for its whole process, which here is the tests' own."""
    root = logging.getLogger()
    ours = logging.getLogger("netraven")
    levels, handlers = (root.level, ours.level), list(root.handlers)
    yield
    root.handlers[:] = [handler for handler in root.handlers if handler in handlers]
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@dataclass(frozen=True, slots=True)
class Said:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out.endswith("\n")
        return json.loads(self.out)


Command = Callable[..., Said]


@pytest.fixture
def nr(capsys: pytest.CaptureFixture[str]) -> Command:
    """A command in this process."""

    def run(*words: object) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Said(code, out, err)

    return run


def environment(**more: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("NETRAVEN_", "COLUMNS"))}
    return clean | {"PYTHONPATH": str(ROOT)} | more


def spawn(*words: str, cwd: Path, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PYTHON, "-m", "netraven.cli", *words],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty installation, made once by `init`."""
    folder = tmp_path_factory.mktemp("template")
    assert main(["init", str(folder)]) == 0
    (folder / "netraven.toml").write_text(QUICK)
    return folder


@pytest.fixture
def home(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty installation of the test's own, as the working directory."""
    folder = tmp_path / "home"
    shutil.copytree(template, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("NETRAVEN_CONFIG", raising=False)
    return folder


@pytest.fixture
def ready(home: Path, lab: RunningLab, nr: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with the lab's devices and two credentials."""
    (home / "devices.csv").write_text(lab.lab.csv())
    assert nr("device", "import", "devices.csv").code == 0
    for priority, (user, password) in enumerate(PASSWORDS.items(), 1):
        monkeypatch.setenv("THE_PASSWORD", password)
        words = ("credential", "add", user, "--username", user, "--tags", "edge", "--priority", priority)
        said = nr(*words, "--password-env", "THE_PASSWORD")
        assert said.code == 0, said.err
    return home
