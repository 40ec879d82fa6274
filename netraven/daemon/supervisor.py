"""What is told to systemd: ready, how it goes, stopping, reloading, alive (sd_notify(3)).

Without ``$NOTIFY_SOCKET`` nobody listens and nothing is sent. What cannot be sent is left: a message to the supervisor
is never a reason to stop collecting.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Mapping

from netraven.plain import plain_line
from netraven.ports import Sleep

LONGEST_STATUS = 500
"""Characters; systemd shows the line with `systemctl status`."""


class Supervisor:
    """The service manager at the other end of a datagram socket. Close it at the end, or use it as a context."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._socket: socket.socket | None = None
        address = environ.get("NOTIFY_SOCKET", "")
        if address.startswith(("/", "@")):
            opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            opened.settimeout(0.1)
            try:
                opened.connect("\0" + address[1:] if address.startswith("@") else address)
            except OSError:
                opened.close()
            else:
                self._socket = opened
        self.watchdog = _watchdog(environ)
        """Seconds within which systemd wants a sign of life; None: it does not ask for any."""
        self._said = ""

    @property
    def listens(self) -> bool:
        return self._socket is not None

    def ready(self, status: str) -> None:
        """All is set up; also the end of :meth:`reloading`."""
        self._said = _line(status)
        self._send("READY=1", f"STATUS={self._said}")

    def status(self, text: str) -> None:
        """One line of what it does; the same line again is not sent."""
        if (line := _line(text)) != self._said:
            self._said = line
            self._send(f"STATUS={line}")

    def reloading(self) -> None:
        """Settings are being read again; :meth:`ready` follows whatever comes of it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        self._said = _line(status)
        self._send("STOPPING=1", f"STATUS={self._said}")

    def extend(self, seconds: float) -> None:
        """Starting or stopping goes on; not to be given up within so many seconds from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send("\n".join(lines).encode())

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Watchdog:
    """Feeds the supervisor's watchdog, as long as :meth:`progress` is called: a loop that merely turns is not alive."""

    def __init__(self, supervisor: Supervisor, *, sleep: Sleep = asyncio.sleep) -> None:
        self._supervisor = supervisor
        self._sleep = sleep
        self._progress = asyncio.Event()

    def progress(self) -> None:
        """What has to go on goes on."""
        self._progress.set()

    async def run(self) -> None:
        """Half of the time that systemd gives lies between two signs of life, or longer where nothing goes on."""
        seconds = self._supervisor.watchdog
        if seconds is None or not self._supervisor.listens:
            return
        while True:
            await self._progress.wait()
            self._progress.clear()
            self._supervisor.alive()
            await self._sleep(seconds / 2)


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """``$WATCHDOG_USEC`` in seconds, where it is meant for this process (sd_watchdog_enabled(3))."""
    try:
        microseconds = int(environ.get("WATCHDOG_USEC", "0"))
        wanted = int(environ.get("WATCHDOG_PID", "0")) or os.getpid()
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 and wanted == os.getpid() else None


def _line(text: str) -> str:
    return plain_line(text, LONGEST_STATUS)
