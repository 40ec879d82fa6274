"""`netraven platform`: what there is, whether a file is good, and what it does at a device."""

from __future__ import annotations

from pathlib import Path

import pytest

from netraven.platforms import known_platforms
from tests.cli.conftest import PASSWORDS, Command

BOX = "title = 'Box OS'\nprompt = '>>'\n[outputs]\nrunning = 'dump all'\nversion = 'ver'\n"
MINE = """\
extends = "cisco_iosxe"
title = "Mine"
secrets = ['^hostname (?P<secret>\\S+)']
"""


@pytest.fixture
def folder(home: Path) -> Path:
    made = home / "platforms"
    made.mkdir()
    return made


def test_list_has_what_ships_and_ones_own_and_says_what_is_broken(folder: Path, nr: Command) -> None:
    (folder / "boxos.toml").write_text(BOX)
    (folder / "broken.yaml").write_text("title: no\n")
    said = nr("platform", "list", "--json")
    assert said.code == 0
    rows = {row["name"]: row for row in said.json}
    assert set(rows) == {*known_platforms(), "boxos", "broken"}
    assert rows["cisco_iosxe"]["origin"] == "shipped"
    assert rows["boxos"] == {
        "name": "boxos",
        "title": "Box OS",
        "driver": None,
        "kinds": ["running", "version"],
        "tested": None,
        "origin": str(folder.relative_to(folder.parent) / "boxos.toml"),
        "error": None,
    }
    assert "broken.yaml:1: title is true or false; text is expected" in rows["broken"]["error"]
    said = nr("platform", "list")
    assert "broken.yaml:1: title is true or false" in said.err
    assert f"\n{len(rows)} platforms" in said.out


def test_platforms_can_be_listed_where_there_are_no_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nr: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    assert nr("platform", "list").code == 0


def test_show_tells_everything_after_extends(folder: Path, nr: Command) -> None:
    (folder / "cisco_iosxe.toml").write_text('extends = "cisco_iosxe"\n[outputs]\nclock = "show clock"\n')
    shown = nr("platform", "show", "cisco_iosxe", "--json").json
    assert shown["driver"] == "cisco_iosxe"
    assert {"kind": "clock", "command": "show clock", "level": None} in shown["outputs"]
    assert "clock: show clock" in nr("platform", "show", "cisco_iosxe").out


def test_an_unknown_platform_names_the_closest(home: Path, nr: Command) -> None:
    said = nr("platform", "show", "cisco_iosx")
    assert said.code == 2
    assert "did you mean 'cisco_ios" in said.err


def test_check_says_what_it_understood(home: Path, nr: Command) -> None:
    (home / "boxos.toml").write_text(BOX)
    said = nr("platform", "check", "boxos.toml")
    assert said.code == 0
    assert "boxos.toml: good" in said.out
    assert "running: dump all" in said.out
    assert nr("platform", "check", "boxos.toml", "--json").json["platform"]["prompt"] == ">>"


def test_check_names_every_fault_with_its_line(home: Path, nr: Command) -> None:
    (home / "boxos.toml").write_text(BOX + "x = 5\n[time]\n")
    said = nr("platform", "check", "boxos.toml", "--json")
    assert said.code == 2
    assert [(f["file"], f["line"]) for f in said.json["faults"]] == [("boxos.toml", 6), ("boxos.toml", 7)]
    assert "2 faults\nboxos.toml:6: outputs.x is a number; " in said.err
    assert nr("platform", "check", "none.toml").code == 2
    assert nr("platform", "check", "x.txt").code == 2


def test_devices_may_have_a_platform_of_ones_own_and_auto(folder: Path, nr: Command) -> None:
    (folder / "boxos.toml").write_text(BOX)
    rows = "name,host,platform,tags\na,h,boxos,t\nb,h,auto,t\nc,h,jump_host,t\n"
    (folder.parent / "d.csv").write_text(rows)
    assert nr("device", "import", "d.csv").code == 0
    (folder.parent / "d.csv").write_text("name,host,platform,tags\na,h,boxo,t\n")
    said = nr("device", "import", "d.csv")
    assert said.code == 2
    assert "unknown platform 'boxo', did you mean 'boxos'?" in said.err


def test_a_broken_file_fails_its_devices_and_no_other(ready: Path, nr: Command) -> None:
    (ready / "platforms").mkdir()
    (ready / "platforms" / "mine.toml").write_text("titel = 'x'\n")
    rows = (ready / "devices.csv").read_text().splitlines()
    at = rows[0].split(",").index("platform")
    mine = next(line.split(",") for line in rows if line.startswith("r1,"))
    mine[at], mine[0] = "mine", "r1b"
    (ready / "more.csv").write_text("\n".join([rows[0], ",".join(mine)]) + "\n")
    assert nr("device", "import", "more.csv").code == 0
    said = nr("collect", "--device", "r1", "--device", "r1b", "--json")
    found = {device["name"]: device for device in said.json["devices"]}
    assert found["r1"]["status"] == "collected"
    assert found["r1b"]["status"] == "failed"
    assert found["r1b"]["attempts"] == 0
    assert "mine.toml:1: titel is not known; did you mean 'title'?" in found["r1b"]["detail"]
    assert "warning: platform mine cannot be used" in said.err


def test_a_trial_shows_the_dialogue_and_stores_nothing_but_the_attempt(ready: Path, nr: Command) -> None:
    (ready / "mine.toml").write_text(MINE)
    said = nr("platform", "check", "mine.toml", "--device", "r1", "--credential", "netops")
    assert said.code == 0, said.err + said.out
    assert "> show running-config" in said.out
    assert "< hostname ********" in said.out
    assert "hostname r1" not in said.out
    assert "r1: running: " in said.out
    assert not any(password in said.out + said.err for password in PASSWORDS.values())
    assert "no configuration of r1" in nr("config", "show", "r1").err
    (attempt,) = nr("log", "attempts", "--device", "r1", "--json").json
    assert (attempt["credential"], attempt["verdict"]) == ("netops", "accepted")


def test_a_trial_that_fails_says_why(ready: Path, nr: Command) -> None:
    (ready / "mine.toml").write_text(MINE)
    said = nr("platform", "check", "mine.toml", "--device", "error", "--json")
    assert said.code == 1
    assert said.json["trial"]["reason"] == "command_rejected"
    assert "> show running-config" in said.err
    assert nr("platform", "check", "mine.toml", "--device", "nobody").code == 2
    assert nr("platform", "check", "mine.toml", "--device", "r1", "--credential", "nobody").code == 2
    assert nr("platform", "check", "mine.toml", "--credential", "netops").code == 2


def test_a_trial_shows_lines_with_the_blanks_at_their_start(ready: Path, nr: Command) -> None:
    (ready / "mine.toml").write_text(MINE)
    said = nr("platform", "check", "mine.toml", "--device", "r1")
    assert said.code == 0, said.out
    assert "\n<  " in said.out
