"""`netraven hostkey` and `netraven device ssh`, against devices that answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from netraven.lab import LabAlgorithms
from tests.cli.conftest import Command, RunningLab

OLD = LabAlgorithms(
    kex=("diffie-hellman-group14-sha1",), host_keys=("ssh-rsa",), ciphers=("aes128-cbc",), macs=("hmac-sha1",)
)
FINGERPRINT = re.compile(r"SHA256:[\w+/]{43}")


def known_hosts(lab: RunningLab, name: str) -> str:
    host, port = lab.lab.endpoint(name)
    return f"[{host}]:{port} {lab.lab.host_key(name)}"


def settings(home: Path, text: str) -> None:
    file = home / "netraven.toml"
    file.write_text(file.read_text() + text)


def test_keys_are_listed_and_shown_as_known_hosts_has_them(ready: Path, lab: RunningLab, nr: Command) -> None:
    assert nr("hostkey", "list").out == "no host keys\n"
    assert nr("collect", "--device", "r1").code == 0
    (row,) = nr("hostkey", "list", "--json").json
    assert (row["device"], row["state"], row["origin"]) == ("r1", "trusted", "seen")
    assert row["fingerprint"] in nr("hostkey", "list", "--tag", "edge", "--device", "r1").out
    assert nr("hostkey", "list", "--state", "refused", "--json").json == []
    assert nr("hostkey", "show", "r1", "--known-hosts").out.strip() == known_hosts(lab, "r1")
    assert nr("hostkey", "show", "r1", "--json").json["keys"][0]["fingerprint"] == row["fingerprint"]
    assert nr("hostkey", "list", "--tag", "nope").code == 2
    assert nr("hostkey", "show", "nobody").code == 2


def test_a_changed_key_waits_until_it_is_accepted_by_its_fingerprint(
    ready: Path, lab: RunningLab, nr: Command
) -> None:
    nr("collect", "--device", "r1")
    lab.lab.change_host_key("r1")
    assert nr("collect", "--device", "r1").code == 1
    (waiting,) = nr("hostkey", "list", "--state", "refused", "--json").json
    asked = nr("hostkey", "accept", "r1")
    assert asked.code == 2
    assert f"--fingerprint {waiting['fingerprint']}" in asked.err
    wrong = nr("hostkey", "accept", "r1", "--fingerprint", "SHA256:of-another")
    assert wrong.code == 2
    assert "Nothing was changed" in wrong.err
    said = nr("hostkey", "accept", "r1", "--fingerprint", waiting["fingerprint"])
    assert said.code == 0
    assert "in place of" in said.out
    assert nr("collect", "--device", "r1").code == 0
    assert nr("hostkey", "accept", "r1").code == 2


def test_a_key_is_fetched_without_logging_in(ready: Path, lab: RunningLab, nr: Command) -> None:
    settings(ready, '[devices.r1]\nhost_keys = "strict"\n')
    assert nr("collect", "--device", "r1").code == 1
    assert nr("hostkey", "forget", "r1").code == 0
    asked = nr("hostkey", "accept", "r1", "--scan")
    (fingerprint,) = set(FINGERPRINT.findall(asked.err))
    before = len(lab.lab.log.attempts())
    assert nr("hostkey", "accept", "r1", "--scan", "--fingerprint", fingerprint).code == 0
    assert len(lab.lab.log.attempts()) == before
    assert nr("collect", "--device", "r1").code == 0


def test_an_import_is_all_or_nothing_and_says_what_it_is_for(
    ready: Path, lab: RunningLab, nr: Command
) -> None:
    file = ready / "known_hosts"
    file.write_text(f"{known_hosts(lab, 'r1')}\nelsewhere {lab.lab.host_key('r1')}\nr1 ssh-rsa broken\n")
    refused = nr("hostkey", "import", "known_hosts")
    assert refused.code == 2
    assert "line 3" in refused.err
    assert nr("hostkey", "list", "--json").json == []
    file.write_text(
        f"{known_hosts(lab, 'r1')}\nelsewhere {lab.lab.host_key('r1')}\n@revoked * {lab.lab.host_key('r2')}\n"
    )
    assert nr("hostkey", "import", "known_hosts", "--dry-run", "--json").json["keys"] == 1
    assert nr("hostkey", "list", "--json").json == []
    done = nr("hostkey", "import", "known_hosts", "--json").json
    assert (done["keys"], done["rules"], done["lines_for_no_device"]) == (1, 1, [2])
    settings(ready, '[ssh]\nhost_keys = "strict"\n')
    assert nr("collect", "--device", "r1").code == 0
    last = nr("collect", "--device", "r2").out
    assert "revoked" in last
    assert "hostkey show r2" in last  # there is nothing to accept
    assert nr("hostkey", "list", "--state", "refused", "--json").json == []
    assert "is revoked for r2" in nr("hostkey", "accept", "r2", "--scan").err


def test_forgetting_one_algorithm(ready: Path, nr: Command) -> None:
    nr("collect", "--device", "r1")
    assert "no ssh-rsa host key" in nr("hostkey", "forget", "r1", "--algorithm", "ssh-rsa").out
    assert "the next one" in nr("hostkey", "forget", "r1").out


def test_keys_that_are_not_looked_at_are_warned_of_wherever_the_device_stands(
    ready: Path, nr: Command
) -> None:
    settings(ready, '[devices.r1]\nhost_keys = "off"\n')
    said = nr("collect", "--device", "r1")
    assert said.code == 0
    assert "host keys are off for 1 device" in said.out
    assert "host keys are off" in nr("run", "show", 1).out
    assert "host keys are off" in nr("device", "list").err
    assert "host keys are off" in nr("device", "show", "r1").out
    rows = {row["name"]: row["host_keys_off"] for row in nr("device", "list", "--json").json}
    assert rows["r1"] is True
    assert rows["r2"] is False
    assert nr("hostkey", "list", "--json").json == []


@pytest.fixture
def old(ready: Path, lab: RunningLab) -> Iterator[RunningLab]:
    lab.do(lab.lab.update("r1", algorithms=OLD))
    yield lab
    lab.do(lab.lab.update("r1", algorithms=None))


def test_what_a_device_offers_is_shown_and_remembered(old: RunningLab, ready: Path, nr: Command) -> None:
    before = len(old.lab.log.attempts())
    said = nr("device", "ssh", "r1")
    assert said.code == 1
    assert "aes128-cbc (weak)" in said.out
    assert "nothing better than weak ones for: key exchange, host key, cipher, MAC" in said.out
    assert "legacy = true" in said.err
    settings(ready, "[devices.r1]\nlegacy = true\n")
    seen = nr("device", "ssh", "r1", "--json").json
    assert seen["only_weak"] == ["key exchange", "host key", "cipher", "MAC"]
    assert seen["profile"]["kex"] == ["diffie-hellman-group14-sha1"]
    assert seen["shown_key"]["algorithm"] == "ssh-rsa"
    assert len(old.lab.log.attempts()) == before
    stored = nr("device", "ssh", "r1", "--stored", "--json").json
    assert stored["offer"] == seen["offer"]
    report = nr("device", "ssh-report", "--json").json
    assert [row["device"] for row in report["weak"]] == ["r1"]
    assert report["weak"][0]["legacy_allowed"] is True
    assert "r2" in report["not_seen"]
    assert "1 can do nothing but weak SSH" in nr("device", "ssh-report", "--tag", "edge").out
    assert nr("collect", "--device", "r1").code == 0


def test_a_device_that_does_not_answer_is_said_to_be_so(ready: Path, nr: Command) -> None:
    said = nr("device", "ssh", "r1", "--stored")
    assert (said.code, nr("device", "ssh", "r1", "--stored", "--json").code) == (1, 1)
    assert "nothing was seen of it yet" in said.err


def test_a_run_says_where_keys_wait_that_are_not_on_record(ready: Path, nr: Command) -> None:
    settings(ready, '[devices.r1]\nhost_keys = "strict"\n')
    assert "hostkey list --state refused" in nr("collect", "--device", "r1").out


def test_rules_are_listed_and_taken_away_by_their_numbers(ready: Path, nr: Command, tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key("openssh").decode().strip()
    file = tmp_path / "known_hosts"
    file.write_text(f"@cert-authority *.example {key}\n@revoked * {key}\n")
    assert nr("hostkey", "import", str(file)).code == 0
    rules = nr("hostkey", "rules", "--json").json
    assert [(rule["kind"], rule["patterns"]) for rule in rules] == [
        ("authority", "*.example"),
        ("revoked", "*"),
    ]
    assert "*.example" in nr("hostkey", "rules").out
    numbers = [rule["rule"] for rule in rules]
    said = nr("hostkey", "forget-rule", numbers[1], 999)
    assert (said.code, len(nr("hostkey", "rules", "--json").json)) == (2, 2)
    assert "no such rule: 999" in said.err
    assert nr("hostkey", "forget-rule", numbers[1]).code == 0
    assert [rule["kind"] for rule in nr("hostkey", "rules", "--json").json] == ["authority"]
