"""What systemd hears, on a real socket."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netraven.daemon.supervisor import Supervisor, Watchdog
from tests.virtual_time import in_virtual_time, now, settled


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.bind(str(tmp_path / "notify"))
        opened.setblocking(False)
        yield opened


def heard(systemd: socket.socket) -> list[str]:
    """Every message, its lines joined by a blank."""
    found = []
    while True:
        try:
            found.append(systemd.recv(65536).decode().replace("\n", " "))
        except BlockingIOError:
            return found


def environ(systemd: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": systemd.getsockname(), **more}


def test_a_life_from_start_to_end(systemd: socket.socket) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    with Supervisor(environ(systemd)) as supervisor:
        supervisor.status("waiting for the database")
        supervisor.ready("idle")
        supervisor.status("idle")
        supervisor.status("1 run")
        supervisor.reloading()
        supervisor.ready("settings read")
        supervisor.extend(2.5)
        supervisor.stopping("draining")
    lines = heard(systemd)
    reloading = lines.pop(3).split("=")
    assert lines == [
        "STATUS=waiting for the database",
        "READY=1 STATUS=idle",
        "STATUS=1 run",
        "READY=1 STATUS=settings read",
        "EXTEND_TIMEOUT_USEC=2500000",
        "STOPPING=1 STATUS=draining",
    ]
    assert reloading[:2] == ["RELOADING", "1 MONOTONIC_USEC"]
    assert before <= int(reloading[2]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_an_abstract_socket() -> None:
    name = f"netraven-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.bind(f"\0{name}")
        opened.setblocking(False)
        with Supervisor({"NOTIFY_SOCKET": f"@{name}"}) as supervisor:
            supervisor.alive()
        assert heard(opened) == ["WATCHDOG=1"]


def test_a_status_cannot_speak_for_the_service(systemd: socket.socket) -> None:
    with Supervisor(environ(systemd)) as supervisor:
        supervisor.status("database gone\nREADY=1\x1b[2J")
    assert heard(systemd) == ["STATUS=database gone / READY=1\\x1b[2J"]


@pytest.mark.parametrize("address", ["", "vsock:2:1", "/nowhere/at/all"])
def test_without_a_supervisor_nothing_happens(address: str) -> None:
    with Supervisor({"NOTIFY_SOCKET": address}) as supervisor:
        assert not supervisor.listens
        supervisor.ready("idle")


def test_a_supervisor_that_has_gone_or_does_not_read_is_no_trouble(systemd: socket.socket) -> None:
    with Supervisor(environ(systemd)) as supervisor:
        for number in range(1000):  # far more than a queue of datagrams holds
            supervisor.status(str(number)) if number < 20 else None
        systemd.close()
        supervisor.ready("idle")


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_for_the_process_that_it_names(
    systemd: socket.socket, more: dict[str, str], seconds: float | None
) -> None:
    with Supervisor(environ(systemd, **more)) as supervisor:
        assert supervisor.watchdog == seconds


@in_virtual_time
async def test_the_watchdog_is_fed_by_progress_and_by_nothing_else() -> None:
    fed: list[float] = []

    class Ear(Supervisor):
        listens = True

        def alive(self) -> None:
            fed.append(now())

    watchdog = Watchdog(Ear({"WATCHDOG_USEC": "10000000"}))
    feeding = asyncio.create_task(watchdog.run())
    for _ in range(20):  # the scheduler goes on for 20 seconds
        watchdog.progress()
        await asyncio.sleep(1)
    await settled()
    assert fed == [0, 5, 10, 15, 20]
    await asyncio.sleep(60)  # it stands still, and the loop turns on
    assert fed == [0, 5, 10, 15, 20]
    watchdog.progress()
    await settled()
    assert len(fed) == 6
    feeding.cancel()
    await asyncio.wait([feeding])
