"""What a person at a terminal sees: the live display, and tables that are too wide."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import termios
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from netraven.cli.logs import _connections
from netraven.cli.progress import Display
from netraven.cli.screen import Table, console
from netraven.model import Device, Outcome, Run, RunStatus, Status, utcnow
from tests.cli.conftest import environment

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def _at_a_terminal(*words: str, cwd: Path, columns: int = 100, **more: str) -> tuple[int, str]:
    """Run a command with a terminal for its output; its exit code and all that was written there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, columns))
    process = subprocess.Popen(
        [sys.executable, "-m", "netraven.cli", *words],
        cwd=cwd,
        env=environment(TERM="xterm", **more),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    written = bytearray()
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:
        pass  # the last one to write has gone
    os.close(ours)
    return process.wait(30), written.decode()


def test_the_live_display_shows_numbers_and_failures_and_goes(ready: Path) -> None:
    code, written = _at_a_terminal("collect", cwd=ready)
    assert code == 1
    seen = ESCAPES.sub("", written)
    assert re.search(r"7 of 7  3 collected  3 failed  1 skipped", seen)
    assert re.search(r"unreachable  closed  ", seen)
    assert seen.count("Run 1: not everything was collected") == 1
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h"), "the cursor is back"


def test_no_color(ready: Path) -> None:
    _, written = _at_a_terminal("collect", "--device", "r1", cwd=ready, NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", written)


@pytest.mark.parametrize("columns", [30, 60, 200])
def test_a_table_shows_its_rows_at_any_width(columns: int) -> None:
    where = Console(file=io.StringIO(), width=columns, force_terminal=True, color_system=None)
    table = Table("device", "result", "username", "took", "message", spare=("username", "took"))
    table.add(
        "a-device-with-a-name", "collected", "somebody", "12 ms", "a message that takes some room of its own"
    )
    table.print(where)
    written = where.file.getvalue()  # type: ignore[attr-defined]  # made from a StringIO
    assert max(len(line) for line in written.splitlines()) <= columns
    cells = "".join(written.split())
    assert ("username" in cells) is (columns == 200 or "leftout" in cells)
    if columns >= 60:
        assert "a-device-with-a-name" in written
    assert ("left out" in " ".join(written.split())) is (columns < 200)


def test_names_are_never_folded_on_60_columns() -> None:
    where = Console(file=io.StringIO(), width=60, force_terminal=True, color_system=None)
    table = _connections(
        [
            {
                "timestamp": utcnow(), "run": 12, "device": "ams1-distribution-0123", "successful": False,
                "error_type": "auth_no_verdict", "duration_ms": 20_017, "credential": "tacacs-emea-2026",
                "credential_username": "svc-netraven", "retry_count": 1,
                "error_message": "the device fell silent after the secret had been offered to it",
            }
        ]
    )  # fmt: skip
    table.print(where)
    written = where.file.getvalue()  # type: ignore[attr-defined]  # made from a StringIO
    assert max(len(line) for line in written.splitlines()) <= 60
    for name in ("ams1-distribution-0123", "auth_no_verdict"):
        assert name in written
    assert "the device fell" in written


def test_what_a_reason_means_hangs_under_itself(ready: Path) -> None:
    _, written = _at_a_terminal(
        "collect", "--device", "closed", "--device", "stranger", cwd=ready, columns=60
    )
    lines = ESCAPES.sub("", written).replace("\r", "").splitlines()
    first = next(n for n, line in enumerate(lines) if re.match(" +auth_refused +1  no credential", line))
    indent = lines[first].index("no credential")
    assert lines[first + 1][:indent].strip() == ""
    assert lines[first + 1][indent:].strip() == "accepted"


def test_where_nobody_looks_rules_are_short_and_nothing_is_padded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Table("device", "message")
    table.add("r1", "x" * 300)
    table.add("r2", "")
    table.print(console())
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if set(line) == {"─"}) == 120
    assert lines[-1] == "r2"
    assert len(lines) == 4


def test_the_display_costs_nothing_per_device_and_obeys_no_device() -> None:
    where = Console(file=io.StringIO(), width=100, force_terminal=True)
    display = Display(where)
    evil = Device("r1", "h", "cisco_iosxe")
    display.run = Run(1, datetime(2026, 11, 22, tzinfo=UTC), RunStatus.RUNNING)
    display.total = 10_000
    for _ in range(1000):
        display.device_finished(
            Outcome(evil, Status.FAILED, utcnow(), 1, "unreachable", "\x1b]0;t\x07 [red]x[/red]")
        )
    assert len(display.last_failures) == 5
    where.print(display)
    written = where.file.getvalue()  # type: ignore[attr-defined]  # made from a StringIO
    assert "\x1b]" not in written
    assert "\x07" not in written
    assert "[red]x[/red]" in written
    assert "1,000 of 10,000" in written
