"""`netraven config`: looking back, comparing, searching. On a database that has a history."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from netraven.assembly import open_store
from netraven.cli.context import Context
from netraven.config import load_settings
from netraven.model import Capture, Counts, Device, DeviceFinished, Outcome, RunStatus, Status, StoredVersion
from netraven.storage.store import SqlStore
from netraven.storage.versions import SqlVersions
from tests.cli.conftest import PYTHON, Command, environment, spawn
from tests.storage.facts import at, start_run

SECRET = "c4n4ry-community"
FIRST = f"""\
hostname r1
!
interface GigabitEthernet0/1
 description uplink
 switchport access vlan 10
!
interface GigabitEthernet0/2
 description printer
!
router bgp 64512
 address-family ipv4
  neighbor 192.0.2.7 activate
 exit-address-family
!
snmp-server community {SECRET} RO
ntp clock-period 36029056
end
"""
SECOND = FIRST.replace("vlan 10", "vlan 20").replace("36029056", "36029099")
THIRD = SECOND.replace("  neighbor 192.0.2.7 activate\n", "").replace(SECRET, f"{SECRET}-2")
OTHER = FIRST.replace("r1", "r2").replace("uplink", "down \x1b]0;title\x07 link")
COLLECTED: Sequence[dict[str, dict[str, str]]] = (
    {"r1": {"running": FIRST}, "r2": {"running": OTHER}},
    {"r1": {"running": SECOND, "version": "IOS 1\n"}},
    {"r1": {"running": THIRD}, "r2": {"running": OTHER + "! x\n"}, "gone": {"running": "hostname gone\n"}},
)
"""By run, device and kind. Runs are a minute apart."""
PLATFORMS = {"gone": "of_nobody"}


async def _collect(store: SqlStore) -> None:
    devices = [
        Device(
            name,
            "192.0.2.1",
            PLATFORMS.get(name, "cisco_iosxe"),
            tags={"edge"} if name == "r2" else {"core"},
        )
        for name in ("r1", "r2", "gone", "never")
    ]
    await store.inventory.upsert_devices(devices)
    for minute, texts in enumerate(COLLECTED):
        run = await start_run(store)
        for name, kinds in texts.items():
            device = (await store.inventory.get(name)).device
            outcome = Outcome(device, Status.COLLECTED, started_at=at(60 * minute), duration_ms=0, attempts=1)
            captures = tuple(Capture(text, kind) for kind, text in kinds.items())
            await store.commit([DeviceFinished(run.id, outcome, captures)])
        await store.finish(run, RunStatus.COMPLETE, Counts(devices=len(texts), collected=len(texts)))


@pytest.fixture(scope="session")
def collected_once(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("history") / "home"
    shutil.copytree(template, folder)

    async def fill() -> None:
        async with open_store(load_settings(str(folder / "netraven.toml"))) as store:
            await _collect(store)

    asyncio.run(fill())
    return folder


@pytest.fixture
def looking(collected_once: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of whoever looks; nothing here is written to."""
    monkeypatch.chdir(collected_once)
    monkeypatch.delenv("NETRAVEN_CONFIG", raising=False)
    return collected_once


# ---- history


def test_the_versions_of_a_device_newest_last(looking: Path, nr: Command) -> None:
    said = nr("config", "history", "r1")
    assert said.code == 0, said.err
    first, second, third = said.out.splitlines()[-3:]
    assert first.split()[:5] == ["1", "2026-11-22", "03:00:00", "2026-11-22", "03:00:00"]
    assert second.split()[5:9] == ["2", str(len(SECOND)), "+1", "-1"]
    assert third.split()[5:9] == ["3", str(len(THIRD)), "+1", "-2"]
    rows = nr("config", "history", "r1", "--json").json
    assert [(row["version"], row["run"], row["added"], row["removed"]) for row in rows] == [
        (1, 1, None, None), (2, 2, 1, 1), (3, 3, 1, 2),
    ]  # fmt: skip
    assert rows[2]["sha256"].startswith(third.split()[-1])


def test_a_part_of_the_history(looking: Path, nr: Command) -> None:
    def numbers(*words: object) -> list[int]:
        return [row["version"] for row in nr("config", "history", "r1", "--json", *words).json]

    assert numbers("--limit", 1) == [3]
    assert numbers("--limit", 2) == [2, 3]
    assert numbers("--since", "2026-11-22T03:01") == [2, 3]
    assert numbers("--until", "2026-11-22T03:01") == [1]
    assert numbers("--since", "2026-11-22T03:00:30", "--until", "2026-11-22T03:01:30") == [2]
    assert numbers("--since", "2026-11-23") == []
    assert numbers("--kind", "version") == [1]
    assert "there are more" in nr("config", "history", "r1", "--limit", 2).out
    assert "no version was seen" in nr("config", "history", "r1", "--since", "2026-11-23").out
    assert nr("config", "history", "r1", "--since", "1d", "--until", "2d").code == 2


def test_what_cannot_be_compared_has_no_counts(looking: Path, nr: Command) -> None:
    (row,) = nr("config", "history", "gone", "--json").json
    assert (row["version"], row["added"], row["removed"]) == (1, None, None)


# ---- show


def test_a_version_by_its_number_and_by_a_time(looking: Path, nr: Command) -> None:
    for words in (("--version", 1), ("--at", "2026-11-22T03:00:59")):
        said = nr("config", "show", "r1", *words)
        assert said.code == 0, said.err
        assert "vlan 10" in said.out
    assert "vlan 20" in nr("config", "show", "r1", "--at", "2026-11-22T03:01:00").out
    assert "neighbor" not in nr("config", "show", "r1").out


def test_secrets_are_marks_unless_told_otherwise(looking: Path, nr: Command) -> None:
    shown = nr("config", "show", "r1", "--version", 1)
    assert SECRET not in shown.out
    assert "snmp-server community <redacted:" in shown.out
    assert nr("config", "show", "r1", "--version", 1, "--raw").out == FIRST
    document = nr("config", "show", "r1", "--version", 1, "--json").json
    assert {key: document[key] for key in ("device", "kind", "version", "platform", "run", "redacted")} == {
        "device": "r1", "kind": "running", "version": 1, "platform": "cisco_iosxe", "run": 1, "redacted": True,
    }  # fmt: skip
    assert document["text"] == shown.out
    raw = nr("config", "show", "r1", "--version", 1, "--json", "--raw").json
    assert (raw["text"], raw["redacted"]) == (FIRST, False)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("show r9", "no such device: 'r9', did you mean 'r"),
        ("history r9", "did you mean 'r"),
        ("diff r9", "did you mean 'r"),
        ("search x --device r9", "did you mean 'r"),
        ("search x --tag nope", "'nope'"),
        ("show never", "has been collected yet"),
        ("history never", "has been collected yet"),
        ("show r1 --version 9", "there are 3: 1 to 3"),
        ("diff r1 9", "there are 3: 1 to 3"),
        ("diff r1 1 9", "there are 3: 1 to 3"),
        ("show r1 --at 2025-01-01", "its oldest version on record, 1, was seen at 2026-11-22 03:00:00 UTC"),
        ("show r1 --kind startup", "only running, version"),
        ("show r1 --at 2026-11-22 --version 1", "not allowed with"),
        ("show gone", "With --raw"),
        ("diff r1 yesterday", "12, 2026-11-22"),
        ("diff", "DEVICE, or --run R"),
        ("diff r1 --run 3", "leave out 'r1'"),
        ("diff r1 --tag core", "goes with --run"),
        ("diff --run 99", "no such run: 99"),
        ("diff --run 3 --tag nope", "'nope'"),
        ("diff r1 --context many", "a number of lines"),
        ("search (a --regex", "no regular expression"),
        ("search x --at 1d --history", "not allowed with"),
    ],
)
def test_what_is_not_there_is_said(words: str, hint: str, looking: Path, nr: Command) -> None:
    said = nr("config", *words.split())
    assert (said.code, said.out) == (2, "")
    assert hint in said.err


# ---- diff


def test_the_last_change(looking: Path, nr: Command) -> None:
    said = nr("config", "diff", "r1")
    assert said.code == 0, said.err
    assert said.out.startswith(
        "--- a/r1\tversion 2, first seen 2026-11-22 03:01:00 UTC\n"
        "+++ b/r1\tversion 3, first seen 2026-11-22 03:02:00 UTC\n"
    )
    assert "-  neighbor 192.0.2.7 activate\n" in said.out
    assert "@@ router bgp 64512 > address-family ipv4\n" in said.out
    assert "clock-period" not in said.out
    assert SECRET not in said.out
    assert "-snmp-server community <redacted:" in said.out


@pytest.mark.parametrize(
    ("words", "gone", "came"),
    [
        (("1",), "vlan 10", "vlan 20"),
        (("1", "2"), "vlan 10", "vlan 20"),
        (("2", "1"), "vlan 20", "vlan 10"),
        (("2026-11-22T03:00:30", "2"), "vlan 10", "vlan 20"),
        (("2026-11-22T03:00:30", "2026-11-22T03:01:30"), "vlan 10", "vlan 20"),
    ],
)
def test_any_two_versions(words: Sequence[str], gone: str, came: str, looking: Path, nr: Command) -> None:
    out = nr("config", "diff", "r1", *words).out
    assert f"- switchport access {gone}\n+ switchport access {came}\n" in out


def test_no_difference_is_said(looking: Path, nr: Command) -> None:
    said = nr("config", "diff", "r1", "2", "2")
    assert (said.code, said.out) == (0, "no difference between version 2 and version 2 of r1\n")
    said = nr("config", "diff", "r1", "--kind", "version")
    assert said.code == 0
    assert said.out.startswith("r1 (version): version 1 is the only one so far")


def test_what_is_printed_is_a_patch(looking: Path, nr: Command, tmp_path: Path) -> None:
    """Of the texts as they are shown: `git apply` makes of the one the other."""
    before, after = asyncio.run(_quiet("r1", 1, 3))
    (tmp_path / "r1").write_text(before)
    (tmp_path / "change.diff").write_text(nr("config", "diff", "r1", "1", "3").out)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "apply", "change.diff"], cwd=tmp_path, check=True)
    assert (tmp_path / "r1").read_text() == after


async def _quiet(device: str, *numbers: int) -> list[str]:
    """Versions as they are compared: with marks, and without what changes by itself."""
    context = Context()
    async with context.store() as store:
        stored = [await store.versions.numbered(device, "running", number) for number in numbers]
        configurations = context.configurations(store)
        return [await configurations.text(one, quiet=True) for one in stored if one is not None]


def test_raw_shows_secrets(looking: Path, nr: Command) -> None:
    out = nr("config", "diff", "r1", "--raw").out
    assert f"-snmp-server community {SECRET} RO\n+snmp-server community {SECRET}-2 RO\n" in out
    assert nr("config", "diff", "gone", "--raw").code == 0


def test_lines_around_a_change(looking: Path, nr: Command) -> None:
    out = nr("config", "diff", "r1", "1", "2", "--context", "0").out
    assert out.splitlines()[2:] == [
        "@@ -5 +5 @@ interface GigabitEthernet0/1", "- switchport access vlan 10", "+ switchport access vlan 20",
    ]  # fmt: skip


def test_side_by_side_fits_the_width(looking: Path, nr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    out = nr("config", "diff", "r1", "1", "3", "--side-by-side").out
    assert all(len(line) <= 60 for line in out.splitlines())
    assert "@@ interface GigabitEthernet0/1\n" in out
    place = next(at for at, line in enumerate(out.splitlines()) if "access vlan" in line)
    first, second = out.splitlines()[place : place + 2]
    assert first == " 5 -  switchport access vlan |  5 +  switchport access vlan"
    assert second == "   -  10                     |    +  20"


def test_a_difference_as_json(looking: Path, nr: Command) -> None:
    document = nr("config", "diff", "r1", "1", "2", "--json").json
    assert (document["device"], document["kind"], document["added"], document["removed"]) == (
        "r1", "running", 1, 1,
    )  # fmt: skip
    assert (document["old"]["version"], document["new"]["version"]) == (1, 2)
    assert document["redacted"] is True
    (hunk,) = document["hunks"]
    assert hunk["section"] == ["interface GigabitEthernet0/1"]
    assert [line for line in hunk["lines"] if line["mark"] != " "] == [
        {"mark": "-", "old": 5, "new": None, "text": " switchport access vlan 10", "ended": True},
        {"mark": "+", "old": None, "new": 5, "text": " switchport access vlan 20", "ended": True},
    ]
    first = nr("config", "diff", "r1", "--kind", "version", "--json").json
    assert (first["old"], first["added"], first["hunks"]) == (None, 1, [])


def test_everything_that_changed_in_a_run(looking: Path, nr: Command) -> None:
    said = nr("config", "diff", "--run", 3)
    assert said.code == 0
    assert said.out.count("--- a/") == 2
    assert said.out.index("a/r1") < said.out.index("a/r2")
    assert "warning: version 1 of gone cannot be shown" in said.err
    rows = nr("config", "diff", "--run", 3, "--json").json
    assert [(row["device"], bool(row["problem"]), len(row["hunks"])) for row in rows] == [
        ("gone", True, 0), ("r1", False, 1), ("r2", False, 1),
    ]  # fmt: skip
    first = nr("config", "diff", "--run", 1)
    assert first.out.splitlines() == [
        f"{name}: seen for the first time, version 1, {len(asyncio.run(_quiet(name, 1))[0].splitlines())} lines"
        for name in ("r1", "r2")
    ]


def test_a_part_of_what_changed_in_a_run(looking: Path, nr: Command) -> None:
    def devices(*words: object) -> list[str]:
        return [row["device"] for row in nr("config", "diff", "--run", 3, "--json", *words).json]

    assert devices("--tag", "edge") == ["r2"]
    assert devices("--tag", "edge", "--tag", "core") == ["gone", "r1", "r2"]
    assert devices("--kind", "version") == []
    assert nr("config", "diff", "--run", 2, "--tag", "edge").out == "nothing changed in run 2\n"


# ---- search


def test_lines_with_a_text_and_where_they_stand(looking: Path, nr: Command) -> None:
    said = nr("config", "search", "access vlan", "--device", "r1")
    assert (said.code, said.out) == (0, "r1:5: interface GigabitEthernet0/1 > switchport access vlan 20\n")
    said = nr("config", "search", "no such words", "--device", "r1")
    assert (said.code, said.out, said.err) == (1, "", "")


def test_which_texts_are_searched(looking: Path, nr: Command) -> None:
    def found(*words: object) -> list[tuple[str, int, int]]:
        rows = nr("config", "search", *words, "--json").json
        return [(row["device"], row["version"], row["line"]) for row in rows]

    assert found("access vlan") == [("r1", 3, 5), ("r2", 2, 5)]
    assert found("access vlan", "--tag", "edge") == [("r2", 2, 5)]
    assert found("access vlan", "--device", "r1", "--at", "2026-11-22T03:00:30") == [("r1", 1, 5)]
    assert found("access vlan 10", "--device", "r1", "--history") == [("r1", 1, 5)]
    assert found("IOS", "--kind", "version") == [("r1", 1, 1)]
    assert found("ACCESS VLAN", "--device", "r1") == []
    assert found("ACCESS VLAN", "--device", "r1", "--ignore-case") == [("r1", 3, 5)]
    assert found(r"^ switchport .* \d+$", "--device", "r1", "--regex") == [("r1", 3, 5)]
    assert found("GigabitEthernet", "--device", "r1", "--limit", 1) == [("r1", 3, 3)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--at 2000-01-01", "of these devices at 2000-01-01 00:00:00 UTC"),
        ("--kind versoin", "no output of the kind 'versoin' is known of these devices yet"),
        ("--kind versoin --history --json", "no output of the kind 'versoin' is known of these devices yet"),
    ],
)
def test_that_there_was_nothing_to_search_is_said(words: str, said: str, looking: Path, nr: Command) -> None:
    answer = nr("config", "search", "hostname", *words.split())
    assert answer.code == 1
    assert said in answer.err
    assert "nothing was searched" not in nr("config", "search", "no such line", "--device", "r1").err


def test_a_limit_is_said(looking: Path, nr: Command) -> None:
    said = nr("config", "search", "GigabitEthernet", "--device", "r1", "--limit", 1)
    assert (said.code, said.out.count("\n")) == (0, 1)
    assert "there are more" in said.err
    said = nr("config", "search", "GigabitEthernet", "--device", "r1", "--limit", 2)
    assert (said.code, said.out.count("\n"), said.err) == (0, 2, "")


def test_a_line_that_stays_is_said_once(looking: Path, nr: Command) -> None:
    said = nr("config", "search", "access vlan", "--device", "r1", "--history")
    assert said.out.splitlines() == [
        "r1@1:5: interface GigabitEthernet0/1 > switchport access vlan 10",
        "r1@2-3:5: interface GigabitEthernet0/1 > switchport access vlan 20",
    ]


def test_a_search_is_no_oracle_for_secrets(looking: Path, nr: Command) -> None:
    """Neither the lines nor the exit code tell whether a guess is right."""
    for guess in (SECRET, SECRET[:3], "c4n4ry-communitx"):
        said = nr("config", "search", guess, "--device", "r1", "--history")
        assert (said.code, said.out, said.err) == (1, "", "")
    for guess in (SECRET, "c4n4ry-communitx", "gone"):  # of a platform that is not known nothing is told
        said = nr("config", "search", guess, "--device", "gone")
        assert (said.code, said.out) == (2, "")
        assert "not searched" in said.err
    said = nr("config", "search", SECRET, "--device", "r1", "--raw")
    assert (said.code, said.out) == (0, f"r1:14: snmp-server community {SECRET}-2 RO\n")
    assert nr("config", "search", "<redacted:", "--device", "r1").code == 0


def test_a_pattern_that_nobody_is_to_see(looking: Path, nr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{SECRET}-2\n"))
    said = nr("config", "search", "-", "--raw", "--device", "r1", "--json")
    assert [(row["version"], row["line"]) for row in said.json] == [(3, 14)]
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    said = nr("config", "search", "-")
    assert (said.code, said.out) == (2, "")


def test_an_interrupted_search_has_told_what_it_found(
    looking: Path, nr: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C comes while the second device is being read; what the first one has is on stdout by then."""
    every = SqlVersions.all_at

    async def until(*given: Any, **more: Any) -> AsyncIterator[StoredVersion]:
        async for stored in every(*given, **more):
            if stored.version.device == "r2":
                assert "r1:3: interface" in capsys.readouterr().out
                signal.raise_signal(signal.SIGINT)
                await asyncio.Event().wait()  # until the signal has come through
            yield stored

    monkeypatch.setattr(SqlVersions, "all_at", until)
    assert nr("config", "search", "GigabitEthernet", "--device", "r1", "--device", "r2").code == 130


def test_what_devices_say_does_nothing_to_the_terminal(looking: Path, nr: Command) -> None:
    for words in (
        "show r2 --raw", "diff r2", "diff r2 --side-by-side --context 50", "search link", "search link --json",
        "search link --history --raw", "diff r2 --json --context 50", "diff --run 3 --context 50",
    ):  # fmt: skip
        out = nr("config", *words.split()).out
        assert "\x1b" not in out
        assert "\x07" not in out
    assert "\\x1b]0;title" in nr("config", "search", "link", "--device", "r2").out


def test_colour_on_a_terminal_only(looking: Path) -> None:
    def on_terminal(**more: str) -> str:
        mine, theirs = pty.openpty()
        env = {key: value for key, value in environment().items() if key not in {"NO_COLOR", "FORCE_COLOR"}}
        process = subprocess.Popen(
            [*PYTHON, "-m", "netraven.cli", "config", "diff", "r1"],
            cwd=looking,
            env=env | {"TERM": "xterm-256color"} | more,
            stdout=theirs,
        )
        os.close(theirs)
        said = b""
        try:
            while piece := os.read(mine, 65536):
                said += piece
        except OSError:
            pass  # how Linux says that the other side is closed
        finally:
            os.close(mine)
        assert process.wait(20) == 0
        return said.decode()

    coloured = on_terminal()
    assert "\x1b[31m-  neighbor 192.0.2.7 activate\x1b[0m" in coloured
    assert "\x1b" not in on_terminal(NO_COLOR="1")


def test_what_was_found_is_kept_when_the_reader_goes(looking: Path) -> None:
    with spawn("config", "search", "GigabitEthernet", cwd=looking) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("r1:3: interface")
        process.stdout.close()
        assert process.wait(20) in {2, 141}  # 2: it had told everything; `gone` cannot be searched
