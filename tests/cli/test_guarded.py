"""What the lockout guard did, as a person is told: while it happens, in the report, and by the run's status."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from netraven.app import NetRaven
from netraven.cli.notices import in_review, said
from netraven.cli.progress import Display, Quiet
from netraven.cli.report import MEANINGS
from netraven.collect.fleet import Fleet
from netraven.config import CollectSettings
from netraven.model import Counts, Credential, Device, Logged, Outcome, Run, RunStatus, Selector, SkipReason
from netraven.storage.store import SqlStore
from netraven.testing import FakeDevice, FakeTransport
from tests.cli.conftest import Command
from tests.cli.test_holds import in_store, refuse

AT = datetime(2026, 11, 24, 2, 30, 54, tzinfo=UTC)
Row = dict[str, Any]


def paused(after: float, until: float, *, tries: int = 0, realm: str = "tacacs") -> Row:
    data = {
        "realm": realm,
        "why": "3 proven logins refused in 6 s",
        "until": AT.timestamp() + until,
        "tries": tries,
    }
    return {"message": "realm_paused", "timestamp": AT + timedelta(seconds=after), "data": data}


def resumed(after: float) -> Row:
    return {
        "message": "realm_resumed",
        "timestamp": AT + timedelta(seconds=after),
        "data": {"realm": "tacacs"},
    }


HELD: Row = {
    "message": "credential_held",
    "timestamp": AT,
    "data": {"credential": "svc-old", "why": "refused by a device that it had opened", "seconds": 3600},
}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            paused(0, 6),
            "realm tacacs looks unwell: 3 proven logins refused in 6 s, paused until 02:31:00 UTC",
        ),
        (paused(6, 16, tries=1), "realm tacacs is still unwell, paused until 02:31:10 UTC"),
        (resumed(20), "realm tacacs is well again"),
        (HELD, "credential svc-old is held until 03:30:54 UTC: refused by a device that it had opened"),
        ({"message": "run_started", "timestamp": AT, "data": {"devices": 3}}, None),
    ],
)
def test_what_is_said_as_it_happens(row: Row, sentence: str | None) -> None:
    assert said(row["message"], row["data"], row["timestamp"]) == sentence


def test_another_day_is_named() -> None:
    data = HELD["data"] | {"seconds": 86_400, "credential": "svc\x1b[2J"}
    sentence = said("credential_held", data, AT)
    assert sentence is not None
    assert "held until 2026-11-25 02:30:54 UTC" in sentence
    assert "\x1b" not in sentence


def test_a_pause_and_its_end_are_one_sentence() -> None:
    rows = [
        paused(0, 5),
        paused(5, 15, tries=1),
        HELD,
        paused(15, 35, tries=2),
        resumed(36),
        paused(60, 65),
        paused(60, 65, realm="radius"),
    ]
    guarded = in_review(rows)
    assert guarded.sentences == (
        "realm tacacs looked unwell: 3 proven logins refused in 6 s, paused from 02:30:54 until 02:31:30 UTC after 2 "
        "probes in vain",
        "credential svc-old is held until 03:30:54 UTC: refused by a device that it had opened",
        "realm tacacs looks unwell: 3 proven logins refused in 6 s, paused until 02:31:59 UTC",
        "realm radius looks unwell: 3 proven logins refused in 6 s, paused until 02:31:59 UTC",
    )
    assert guarded.held == ("svc-old",)
    assert not in_review([])


def test_every_reason_has_a_meaning() -> None:
    assert {reason.value for reason in SkipReason} <= set(MEANINGS)


def test_the_report_of_a_run_tells_it(ready: Path, nr: Command) -> None:
    assert nr("collect", "--device", "r1").code == 0
    assert "lockout guard did" not in nr("run", "show", 1).out
    rows = [paused(0, 6), resumed(9), HELD]

    async def write(store: SqlStore) -> None:
        await store.commit(
            [Logged(1, row["timestamp"], "warning", row["message"], data=row["data"]) for row in rows]
        )

    in_store(ready, write)
    shown = nr("run", "show", 1).out
    assert (
        "What the lockout guard did:\n  realm tacacs looked unwell: 3 proven logins refused in 6 s" in shown
    )
    assert "  credential svc-old is held until 03:30:54 UTC" in shown
    assert "netraven credential release svc-old" in shown
    assert list(nr("run", "show", 1, "--json").json) == list(nr("collect", "--device", "r1", "--json").json)


def test_a_run_that_was_held_back_altogether_has_failed(ready: Path, nr: Command) -> None:
    for name in ("netops", "admin"):
        refuse(ready, name, 4)
    said = nr("collect", "--tag", "edge")
    assert said.code == 1
    assert "Run 1: nothing was collected" in said.out
    assert "no device has a credential that matches" not in said.out
    assert f"credentials_held        6  {MEANINGS['credentials_held']}" in said.out
    for command in ("credential list", "plan"):
        assert f"  netraven {command} " in said.out
    assert "6 to which nothing can be offered now; held: admin, netops" in said.err
    document = nr("run", "show", 1, "--json").json
    assert (document["status"], document["counts"]["skipped"]) == ("failed", 6)
    assert nr("log", "attempts", "--json").json == []


class _Waiting:
    """A fleet of which 12 devices wait."""

    waiting, in_session = 12, 3


def test_the_display_says_who_waits_and_what_happened_above_it() -> None:
    where = Console(file=io.StringIO(), width=110, force_terminal=True, color_system=None)
    display = Display(where)
    run = Run(1, AT, RunStatus.RUNNING, Selector(), counts=Counts(devices=40))
    with display:
        display.run_started(run, _Waiting())  # type: ignore[arg-type]  # what is read of a fleet is there
        display.noticed("realm_paused", paused(0, 6)["data"])
        display.noticed("run_started", {})
        where.print(display)
    written = where.file.getvalue()  # type: ignore[attr-defined]  # made from a StringIO
    assert "3 in session  12 wait for the guard  " in written
    assert written.count("realm tacacs looks unwell: 3 proven logins refused in 6 s") == 1


def test_where_nobody_watches_it_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    Quiet().noticed("credential_held", HELD["data"])
    assert capsys.readouterr().err.startswith("credential svc-old is held until ")


class _Observer:
    """Remembers what a run told."""

    def __init__(self) -> None:
        self.notices: list[tuple[str, Mapping[str, object]]] = []

    def run_started(self, run: Run, fleet: Fleet) -> None: ...

    def device_finished(self, outcome: Outcome) -> None: ...

    def noticed(self, event: str, data: Mapping[str, object]) -> None:
        self.notices.append((event, data))


async def test_an_observer_hears_of_a_service_that_refuses_everybody() -> None:
    names = [f"r{n:02d}" for n in range(20)]
    devices = [Device(name, "192.0.2.1", "cisco_iosxe", tags=frozenset({"edge"})) for name in names]
    svc = Credential("svc", "svc", password="right", tags=frozenset({"edge"}), realm="tacacs")
    transport = FakeTransport({name: FakeDevice({"svc": "right"}) for name in names})
    observer = _Observer()
    settings = CollectSettings(patience=0.1)
    async with NetRaven.in_memory(devices, [svc], settings=settings, transport=transport) as raven:
        first = await raven.collect(observer=observer)
        assert (first.run.status, observer.notices) == (RunStatus.COMPLETE, [])
        transport.devices = {name: FakeDevice({}) for name in names}
        second = await raven.collect(observer=observer)
        planned = await raven.plan()
    assert second.run.status is RunStatus.FAILED
    assert set(second.failed_by_class) <= {SkipReason.REALM_PAUSED, SkipReason.HELD}
    event, data = observer.notices[0]
    assert (event, data["realm"]) == ("realm_paused", "tacacs")
    assert [(held.hold.paused, held.devices) for held in planned.held] == [(True, 20)]
    assert planned.unoffered[SkipReason.REALM_PAUSED].devices == 20


@pytest.mark.parametrize(("why", "waits"), [("host_key_changed", True), ("unreachable", False)])
def test_a_jump_host_whose_key_waits_is_noticed(why: str, waits: bool) -> None:
    data = {"jump_host": "outer", "error_type": why, "detail": "the device shows ..."}
    found = in_review([{"message": "jump_host_unreachable", "timestamp": AT, "data": data}])
    assert found.keys_wait is waits
    assert found.warnings == (f"jump host outer is no way through: {why}: the device shows ...",)
