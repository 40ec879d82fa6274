"""The plan of a run: what it says, that it touches nothing, and the line with which a run begins."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from tests.cli.conftest import PASSWORDS, Command, RunningLab
from tests.cli.test_collect import DOCUMENT_KEYS
from tests.cli.test_holds import pause, refuse

KEYS = ["strategy", "devices", "offerable", "expected_attempts", "first_offers", "accounts", "held", "not_offered",
        "unmatched_credentials"]  # fmt: skip
ACCOUNT_KEYS = ["realm", "username", "credentials", "scope", "mode", "worst_case_refusals", "most_refusals_in_a_row",
                "max_logins_in_flight", "threshold", "refusals_on_record", "held_until",
                "hold_reason"]  # fmt: skip


def test_the_document_of_a_plan(ready: Path, nr: Command) -> None:
    said = nr("plan", "--json")
    assert said.code == 1, "alone matches no credential"
    plan = said.json
    assert list(plan) == KEYS
    assert (plan["strategy"], plan["devices"], plan["offerable"]) == ("last-good", 7, 6)
    assert plan["first_offers"] == [
        {"credential": "netops", "secret_version": 1, "username": "netops", "realm": "default", "devices": 6}
    ]
    assert [list(account) for account in plan["accounts"]] == [ACCOUNT_KEYS, ACCOUNT_KEYS]
    assert {a["username"]: (a["worst_case_refusals"], a["most_refusals_in_a_row"], a["threshold"])
            for a in plan["accounts"]} == {"admin": (6, 4, 5), "netops": (6, 4, 5)}  # fmt: skip
    assert plan["expected_attempts"] == 9.0, "six devices, each with even odds for the first of two"
    assert plan["held"] == []
    assert plan["not_offered"] == {
        "no_credentials": {"devices": 1, "names": ["alone"]},
        "credentials_held": {"devices": 0, "names": []},
        "realm_paused": {"devices": 0, "names": []},
        "refused_before": {"devices": 0, "names": []},
    }
    assert plan["unmatched_credentials"] == []


def test_every_device_has_an_offer(ready: Path, nr: Command) -> None:
    said = nr("plan", "--tag", "edge", "--json")
    assert (said.code, said.json["devices"], said.json["offerable"]) == (0, 6, 6)
    assert nr("plan", "--device", "r1", "--device", "r2").code == 0


def test_what_has_opened_a_device_is_expected_to_do_so_again(ready: Path, nr: Command) -> None:
    before = nr("plan", "--device", "r1", "--json").json["expected_attempts"]
    assert nr("collect", "--device", "r1").code == 0
    assert before == 1.5
    assert nr("plan", "--device", "r1", "--json").json["expected_attempts"] == 1.0


def test_a_plan_touches_nothing(ready: Path, lab: RunningLab, nr: Command) -> None:
    assert nr("collect", "--device", "r1").code == 0
    (ready / "netraven.key").unlink()  # no secret can be read, and none is wanted
    logins, wire = lab.lab.log.counts(), nr("log", "attempts", "--json").out
    nr("db", "check")  # whatever opening leaves behind is there now
    before = hashlib.sha256((ready / "netraven.db").read_bytes()).hexdigest()
    for more in ((), ("--json",)):
        assert nr("plan", *more).code == 1
    assert hashlib.sha256((ready / "netraven.db").read_bytes()).hexdigest() == before
    assert lab.lab.log.counts() == logins
    assert nr("log", "attempts", "--json").out == wire
    assert len(nr("run", "list", "--json").json) == 1


def test_a_person_reads_the_same(ready: Path, nr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_PASSWORD", "x")
    words = ("--username", "u", "--tags", "nowhere", "--password-env", "THE_PASSWORD")
    assert nr("credential", "add", "idle", *words).code == 0
    said = nr("plan").out
    assert "Plan for 7 devices, strategy last-good; nothing was sent." in said
    assert re.search(r"are offered +6  about 9 attempts", said)
    assert re.search(r"no_credentials +1  no credential can be offered to them at all: alone", said)
    assert re.search(r"netops +default +6 +4 +5 +0", said)
    assert "held" not in said.split("unguarded:")[0]
    assert "Credentials that match no device, and are never offered: idle" in said
    assert "  netraven credential match alone" in said
    assert "match no device" not in nr("plan", "--tag", "edge").out, "of a part, that says nothing"


def test_what_is_held_is_not_counted_on(ready: Path, nr: Command) -> None:
    refuse(ready, "netops", 4)
    plan = nr("plan", "--json").json
    assert [first["credential"] for first in plan["first_offers"]] == ["admin"]
    (held,) = plan["held"]
    assert (held["credential"], held["devices"]) == ("netops", 6)
    assert held["hold_reason"] == "refused 4 times in a row"
    netops = next(a for a in plan["accounts"] if a["username"] == "netops")
    assert (netops["worst_case_refusals"], netops["refusals_on_record"]) == (0, 4)
    assert netops["held_until"] == held["held_until"]
    said = nr("plan").out
    assert "held until (UTC)" in said
    assert "  netraven credential release netops\n" in said


def test_a_previous_secret_is_told_from_the_present_one(
    ready: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nr("collect", "--device", "r1").code == 0
    monkeypatch.setenv("THE_PASSWORD", "another")
    words = ("credential", "update", "netops", "--password-env", "THE_PASSWORD", "--keep-previous")
    assert nr(*words).code == 0
    plan = nr("plan", "--json").json
    versions = {first["secret_version"] for first in plan["first_offers"] if first["credential"] == "netops"}
    (netops,) = [a for a in plan["accounts"] if a["username"] == "netops"]
    assert netops["credentials"] == ["netops"]
    assert netops["worst_case_refusals"] == 12, "six devices, two secrets of one account"
    if len(versions) > 1:
        assert "netops, version 1" in nr("plan").out


def test_a_paused_realm_leaves_nothing_to_offer(ready: Path, nr: Command) -> None:
    pause(ready, "default")
    said = nr("plan", "--tag", "edge", "--json")
    assert said.code == 1
    assert said.json["not_offered"]["realm_paused"]["devices"] == 6
    assert "looks unwell" in nr("plan").out


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("--tag nosuch", "no device or credential carries the tag 'nosuch'"),
        ("--device nosuch", "no such device: 'nosuch'"),
        ("--strategy priorty", "did you mean 'priority'?"),
    ],
)
@pytest.mark.parametrize("more", ["", "--json"])
def test_what_cannot_be_planned(words: str, hint: str, more: str, ready: Path, nr: Command) -> None:
    said = nr("plan", *words.split(), *more.split())
    assert (said.code, said.out) == (2, "")
    assert hint in said.err


def test_without_devices(home: Path, nr: Command) -> None:
    said = nr("plan")
    assert said.code == 0
    assert "Plan for 0 devices" in said.out
    assert "netraven device import FILE" in said.out
    assert nr("plan", "--json").json["devices"] == 0


def test_a_run_begins_with_its_plan_in_one_line(ready: Path, nr: Command) -> None:
    said = nr("collect", "--tag", "edge", "--json")
    assert said.err.splitlines()[0] == (
        "6 devices: 6 first offer netops; about 9 attempts; at most 4 refusals in a row for netops in realm default "
        "(locks at 5), and 1 other account"
    )
    assert list(said.json) == DOCUMENT_KEYS
    assert not any(password in said.err for password in PASSWORDS.values())


def test_of_a_large_fleet_the_line_is_by_a_sample(
    ready: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netraven.cli.collect.SAMPLE", 3)
    said = nr("collect", "--json")
    assert re.match(r"7 devices, by a sample of \d: ", said.err)
    assert said.json["counts"]["devices"] == 7


def test_a_realm_that_no_credential_is_of_is_likely_a_slip(ready: Path, nr: Command) -> None:
    with (ready / "netraven.toml").open("a") as file:
        file.write("\n[realms.defualt]\nthreshold = 3\nmargin = 1\n")
    for command in (("plan",), ("collect",)):
        said = nr(*command, "--device", "r1")
        assert "no credential is of realm 'defualt'" in said.err
        assert "did you mean [realms.default]?" in said.err


def test_credentials_of_jump_hosts_are_not_called_useless(
    ready: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (ready / "netraven.toml").open("a") as settings:
        settings.write('[devices.r1]\njump = ["outer"]\n')
    (ready / "more.csv").write_text("name,host,port,platform,tags\nouter,192.0.2.1,22,jump_host,bastions\n")
    assert nr("device", "import", "more.csv").code == 0
    monkeypatch.setenv("THE_PASSWORD", "of the bastion")
    words = ("credential", "add", "bastions", "--username", "jumper", "--tags", "bastions")
    assert nr(*words, "--password-env", "THE_PASSWORD").code == 0
    plan = nr("plan", "--device", "r1", "--json").json
    assert "bastions" not in plan["unmatched_credentials"]
    assert plan["devices"] == 1
    assert "jumper" in [account["username"] for account in plan["accounts"]]
    assert "bastions" in nr("plan", "--device", "r2", "--json").json["unmatched_credentials"]


def test_a_tag_of_a_hook_that_nothing_carries_is_a_likely_slip(ready: Path, nr: Command) -> None:
    """The hook would be told of no device, and nobody would notice."""
    with (ready / "netraven.toml").open("a") as file:
        file.write('[hooks.chat]\ntype = "command"\ncommand = ["true"]\ntags = ["egde", "edge"]\n')
    for words in (("plan",), ("collect", "--device", "r2"), ("hook", "list")):
        said = nr(*words).err
        assert "hooks.chat.tags: nothing carries the tag 'egde', did you mean 'edge'?" in said
        assert said.count("hooks.chat.tags") == 1


def test_tags_and_devices_that_there_are_none_of_are_likely_slips(ready: Path, nr: Command) -> None:
    with (ready / "netraven.toml").open("a") as file:
        file.write("[tags.egde]\nlegacy = true\n[tags.edge]\nlegacy = true\n")
        file.write('[devices.r11]\nhost_keys = "strict"\n[devices.r1]\nhost_keys = "strict"\n')
    for words in (("plan",), ("collect", "--device", "r2")):
        said = nr(*words).err
        assert "nothing carries the tag 'egde'" in said
        assert "did you mean [tags.edge]?" in said
        assert "no device is named 'r11'" in said
        assert "'r1'" not in said
        assert "'edge'" not in said
