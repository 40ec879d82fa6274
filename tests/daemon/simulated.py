"""NetRaven with a clock that can be set: `python -m tests.daemon.simulated FILE WORDS...`.

``FILE`` holds the seconds by which its time of day is ahead of this machine's, as a float of 8 bytes; whoever writes
another number there sets the clock while it runs. What counts seconds (deadlines, leases) is left alone, as it is when
an operator sets a clock.
"""

from __future__ import annotations

import mmap
import struct
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path


class Ahead:
    """By how much the simulated time of day is ahead, in seconds; shared with other processes through a file."""

    def __init__(self, file: Path) -> None:
        if not file.exists():
            file.write_bytes(struct.pack("d", 0.0))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), 8)

    @property
    def seconds(self) -> float:
        value: float = struct.unpack("d", self._memory[:8])[0]
        return value

    @seconds.setter
    def seconds(self, value: float) -> None:
        self._memory[:8] = struct.pack("d", value)

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.seconds)

    def set(self, moment: datetime) -> None:
        self.seconds = (moment - datetime.now(UTC)).total_seconds()


def _simulate(ahead: Ahead) -> None:
    """Before anything else of NetRaven is imported: modules take the clock by name."""
    from netraven import model
    from netraven.model import facts

    for module in [model, facts, *(m for name, m in sys.modules.items() if name.startswith("netraven."))]:
        if getattr(module, "utcnow", None) is not None:
            module.utcnow = ahead.now  # type: ignore[attr-defined]  # it is there, as was just seen


if __name__ == "__main__":
    _simulate(Ahead(Path(sys.argv[1])))
    from netraven.cli import main

    sys.exit(main(sys.argv[2:]))
