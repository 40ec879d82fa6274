"""What the daemon says of itself, and to whom: no secret in it, and nothing that a device controls as it came."""

from __future__ import annotations

import re
import signal
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from netraven.lab import Ill, LabDevice
from netraven.model import EventKind
from tests.acceptance.installation import PATIENT, Installation, credential
from tests.acceptance.processes import LabProcess
from tests.canaries import Canaries
from tests.daemon.processes import configure, queued, serving

EVIL = "% no\x1b]0;title\x07 \x9b5n\u202e\nREADY=1"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
ILLS = (
    Ill("none"), Ill("refuses"), Ill("close_at_login"), Ill("evil_output"), Ill("close_after_login"),
    Ill("drop_mid_output"),
)  # fmt: skip


@pytest.mark.slow
async def test_log_status_port_and_database(installation: Installation, tmp_path: Path) -> None:
    password, enable, hook = (f"canary-{what}-{uuid.uuid4().hex}" for what in ("password", "enable", "hook"))
    key = next(
        line for line in (installation.folder / "netraven.key").read_text().splitlines() if line[0] != "#"
    )
    hunt = Canaries({"password": password, "enable secret": enable, "key": key, "hook's address": hook})
    more = f"""
[log]
level = "debug"
[hooks.lost]
type = "webhook"
url = "http://127.0.0.1:9/{hook}"
events = {[kind.value for kind in EventKind]!r}
"""
    configure(
        installation, more, collect=replace(PATIENT, login_timeout=3.0, command_timeout=3.0, patience=1.0)
    )
    devices = [
        *(
            LabDevice(ill.kind.replace("_", "-"), {"netops": password}, config_size=500, ill=ill)
            for ill in ILLS
        ),
        LabDevice("asks", {"netops": password}, enable_password=enable),
        LabDevice("speaks", {"netops": password}, ill=Ill("command_error", text=EVIL)),
    ]
    async with LabProcess.running(tmp_path / "lab", devices) as lab:
        await installation.stock(lab.csv, [credential("netops", password, enable_password=enable)])
        async with serving(installation) as daemon:
            await daemon.ended(await queued(installation))
            with installation.file.open("a") as file:
                file.write(f'[nonsense]\nurl = "{hook}"\n')
            daemon.send(signal.SIGHUP)
            await daemon.said("settings_wrong")
            for path in ("/metrics", "/healthz", "/readyz", f"/{hook}"):
                hunt.hunt(path, (await daemon.get(path))[1])
            states = str(await installation.rows("SELECT * FROM daemons"))
            hunt.hunt("state", states)
            daemon.send(signal.SIGTERM)
            assert await daemon.end() == 0
            hunt.hunt("log", daemon.log)
            hunt.hunt("systemd", "\n".join(daemon.heard))
            # every line of the log is one JSON object, and neither it nor the status obeys a device
            assert len(daemon.lines) == len(daemon.log.splitlines())
            assert not CONTROL.search(daemon.log)
            assert not any(CONTROL.search(line) for line in daemon.heard)
            # what is about a device says so, and of which run
            about = [line for line in daemon.lines if line.get("device") == "refuses"]
            assert about
            assert {line["run"] for line in about} == {1}
    assert min(hunt.hunted.values()) > 0
    hunt.verdict()
