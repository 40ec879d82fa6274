"""OpenSSH's agent, started for a test."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 60.0
"""Seconds until the agent has to listen."""


@contextmanager
def ssh_agent(*keys: str, program: str = "ssh-agent", add: str = "ssh-add") -> Iterator[str]:
    """An agent that holds these keys (OpenSSH's format, no passphrase); yields its SSH_AUTH_SOCK."""
    with tempfile.TemporaryDirectory(
        prefix="nr-agent-", dir="/tmp"
    ) as folder:  # a socket's path has to be short
        place = str(Path(folder) / "s")
        process = subprocess.Popen(
            [program, "-D", "-a", place], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _await_listener(place, process)
            for key in keys:
                subprocess.run(
                    [add, "-q", "-"],
                    input=key.encode(),
                    env={**os.environ, "SSH_AUTH_SOCK": place},
                    check=True,
                )
            yield place
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _await_listener(place: str, process: subprocess.Popen[bytes]) -> None:
    """Its file is there a moment before it listens: only a connection tells."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with socket.socket(socket.AF_UNIX) as knock:
            if knock.connect_ex(place) == 0:
                return
        assert process.poll() is None, "ssh-agent did not start"
        assert time.monotonic() < deadline, "ssh-agent does not listen"
        time.sleep(0.01)
