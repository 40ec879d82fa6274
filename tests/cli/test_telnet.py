"""Telnet as the user of the commands meets it: settings, the warning, the device's page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import PASSWORDS, Command, RunningLab, device


@pytest.fixture(scope="module")
def old(request: pytest.FixtureRequest) -> Iterator[RunningLab]:
    running = RunningLab([device(f"t{n}", "admin", telnet=True) for n in range(7)])
    yield running
    running.stop()


@pytest.fixture
def stocked(home: Path, old: RunningLab, nr: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    (home / "devices.csv").write_text(old.lab.csv())
    assert nr("device", "import", "devices.csv").code == 0
    for priority, (user, password) in enumerate(PASSWORDS.items(), 1):
        monkeypatch.setenv("THE_PASSWORD", password)
        words = ("credential", "add", user, "--username", user, "--tags", "edge", "--priority", priority)
        assert nr(*words, "--password-env", "THE_PASSWORD").code == 0
    return home


def add(home: Path, text: str) -> None:
    settings = home / "netraven.toml"
    settings.write_text(settings.read_text() + text)


def test_devices_by_telnet_are_collected_and_warned_of_once(
    stocked: Path, old: RunningLab, nr: Command
) -> None:
    add(stocked, '[tags.edge]\ntransport = "telnet"\n')
    said = nr("collect")
    assert said.code == 0, said.out + said.err
    warning = "7 devices were talked to over telnet, passwords went in clear text: t0, t1, t2, t3, t4, t5, t6"
    text = " ".join((said.out + said.err).split())
    assert text.count("telnet") == 1
    assert warning in text
    assert warning in " ".join(nr("run", "show", 1).out.split())
    for secret in PASSWORDS.values():
        assert secret not in said.out + said.err + nr("log", "job", 1).out + nr("config", "show", "t0").out
    ledger = [
        (a["device"], a["credential_username"], a["verdict"]) for a in nr("log", "attempts", "--json").json
    ]
    assert sorted(ledger) == sorted((a.device, a.username, str(a.verdict)) for a in old.lab.log.attempts())


def test_a_device_says_that_it_is_reached_by_telnet(stocked: Path, nr: Command) -> None:
    assert "telnet" not in nr("device", "show", "t0").out
    add(
        stocked,
        '[devices.t0]\ntransport = "telnet"\ntelnet_port = 2323\n[devices.t1]\ntransport = "ssh-or-telnet"\n',
    )
    assert (
        "telnet    port 2323: passwords and configurations go in clear text" in nr("device", "show", "t0").out
    )
    assert "port 23 where no SSH server answers" in nr("device", "show", "t1").out


def test_there_is_no_ssh_to_look_at_where_settings_say_telnet(stocked: Path, nr: Command) -> None:
    add(stocked, '[devices.t0]\ntransport = "telnet"\n')
    said = nr("device", "ssh", "t0")
    assert said.code == 2
    assert "t0 is reached over telnet" in said.err
    assert 'reached   transport = "telnet"' in nr("device", "show", "t0").out
