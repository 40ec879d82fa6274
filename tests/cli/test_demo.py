"""The demo, as a newcomer runs it."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from netraven.cli.demo_fleet import demo_fleet
from tests.cli.conftest import environment


def test_the_fleet_needs_several_credentials_and_has_several_ills() -> None:
    made = demo_fleet(200)
    assert len(made.devices) == 200
    assert len(made.credentials) >= 4
    opened_by = [next(iter(device.accepts)) for device in made.devices]
    tags = {credential.username: set(credential.tags) for credential in made.credentials}
    ills = {device.ill.kind for device in made.devices}
    assert len(ills) >= 8
    for device, user in zip(made.devices, opened_by, strict=True):
        if device.name != made.lonely:
            assert tags[user] & set(device.tags), device.name
    order = {credential.username: credential.priority for credential in made.credentials}
    needed = {
        sum(order[other] < order[user] and bool(tags[other] & set(device.tags)) for other in tags)
        for device, user in zip(made.devices, opened_by, strict=True)
    }
    assert {0, 1, 2} <= needed
    assert demo_fleet(200) == made


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_a_fleet_of_any_size(count: int) -> None:
    made = demo_fleet(count)
    assert len({device.name for device in made.devices}) == count
    assert made.replaced in {device.name for device in made.devices}


def test_the_demo_ends_by_itself_and_its_commands_work(tmp_path: Path) -> None:
    began = time.monotonic()
    folder = tmp_path / "demo"
    said = subprocess.run(
        [sys.executable, "-m", "netraven.cli", "demo", "--devices", "30", "--keep", str(folder)],
        cwd=tmp_path,
        env=environment(NETRAVEN_DATABASE__URL="sqlite:////nowhere/of-another-installation.db"),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert said.returncode == 0, said.stderr
    assert time.monotonic() - began < 100
    assert "Traceback" not in said.stderr + said.stdout
    for words in ("HOST KEY CHANGED", "unreachable", "netops", "factory", "rate now", str(folder)):
        assert words in said.stdout
    commands = [
        line.split(" #")[0].strip()
        for line in said.stdout.splitlines()
        if re.match(r"\s+\S*python\S* -m netraven", line)
    ]
    assert len(commands) >= 4
    for command in commands:
        answer = subprocess.run(
            shlex.split(command), cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
        )
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout.strip()


def test_a_folder_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "netraven.toml").write_text("precious")
    said = subprocess.run(
        [sys.executable, "-m", "netraven.cli", "demo", "--keep", str(tmp_path)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert said.returncode == 2
    assert "not empty" in said.stderr
    assert (tmp_path / "netraven.toml").read_text() == "precious"


def test_an_interrupted_demo_leaves_no_process(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "netraven.cli", "demo", "--devices", "40", "--keep", str(tmp_path / "demo")],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "run 3:" not in process.stderr.readline():
        assert process.poll() is None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "was interrupted" in out
    assert "Traceback" not in err
    assert not any(Path(f"/proc/{child}").exists() for child in children)
