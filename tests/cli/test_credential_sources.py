"""Sources of secrets on the command line, up to a run that uses them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import PASSWORDS, Command

SOURCED = ("credential", "add", "c", "--username", "u", "--tags", "edge")


def test_a_source_is_shown_and_nothing_is_asked(ready: Path, nr: Command) -> None:
    trace = ready / "was run"
    command = f"command:touch {shlex.quote(str(trace))}"
    said = nr(*SOURCED, "--priority", "9", "--source", command)
    assert said.code == 0, said.err
    assert nr(*(*SOURCED[:2], "v", *SOURCED[3:]), "--source", "vault:network/tacacs").code == 0
    rows = {row["name"]: row["source"] for row in nr("credential", "list", "--json").json}
    assert rows == {"admin": None, "c": command, "netops": None, "v": "vault:network/tacacs"}
    shown = nr("credential", "list").out
    assert "vault:network/tacacs" in shown
    order = nr("credential", "match", "r1", "--json").json
    assert {choice["credential"]: choice["unreadable"] for choice in order} == dict.fromkeys(rows)
    assert "secret from vault:network/tacacs" in nr("credential", "match", "r1").out
    assert nr("credential", "report", "c").code == 0
    assert not trace.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--source", "PASSWORD"), "is no source of a secret"),
        (("--source", "evn:PASSWORD"), "did you mean env:?"),
        (("--source", "command:pass 'x"), "cannot be split"),
        (("--source", "env:P", "--password-stdin"), "not allowed with"),
        (("--source", ""), "is no source of a secret"),
    ],
)
def test_what_is_no_source_is_refused(words: tuple[str, ...], said: str, home: Path, nr: Command) -> None:
    refused = nr(*SOURCED, *words)
    assert refused.code == 2
    assert said in refused.err
    assert nr("credential", "list", "--json").json == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--source", "nothing"), "is no source of a secret"),
        (("--source", "env:P", "--ask"), "exclude each other"),
        (("--keep-previous",), "nothing about the secret changes"),
        (("--keep-previous", "soon"), "must be a whole number of days"),
        (("--keep-previous", "99999"), "3650 at the most"),
        (("--password-env", "P", "--keep-previous"), "cannot be kept: it is in its source (env:)"),
    ],
)
def test_an_update_that_does_not_fit(
    words: tuple[str, ...], said: str, home: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("P", "something")
    nr(*SOURCED, "--source", "env:ABSENT")
    refused = nr("credential", "update", "c", *words)
    assert refused.code == 2
    assert said in refused.err
    (row,) = nr("credential", "list", "--json").json
    assert row["source"] == "env:ABSENT"


def test_without_a_key_what_has_a_source_is_collected(
    ready: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("netops", "admin"):
        nr("credential", "remove", name)
    (ready / "netraven.key").unlink()
    assert "no key" in nr("collect", "--device", "r1").err, "configurations are encrypted"
    monkeypatch.setenv("NETRAVEN_HISTORY__ENCRYPT", "false")
    (ready / "netops.secret").write_text(PASSWORDS["netops"] + "\n")
    words = ("credential", "add", "netops", "--username", "netops", "--tags", "edge")
    assert nr(*words, "--source", "file:netops.secret").code == 0
    said = nr("collect", "--device", "r1", "--json")
    assert said.code == 0, said.err
    assert said.json["devices"][0]["credential"] == "netops"


def test_a_source_that_does_not_answer_leaves_the_others_working(ready: Path, nr: Command) -> None:
    words = ("credential", "add", "absent", "--username", "netops", "--tags", "edge", "--priority", "0")
    assert nr(*words, "--source", "env:ABSENT").code == 0
    said = nr("collect", "--device", "r1", "--json")
    assert said.code == 0, said.err
    assert said.json["devices"][0]["credential"] == "netops"
    lines = nr("log", "job", "--json").json
    (trouble,) = [line["data"] for line in lines if line["message"] == "secret_unreadable"]
    assert trouble["credential"] == "absent"
    assert "no environment variable ABSENT" in trouble["detail"]


def test_match_marks_a_previous_secret(ready: Path, nr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P", "another")
    assert nr("credential", "update", "netops", "--password-env", "P", "--keep-previous", "3").code == 0
    order = nr("credential", "match", "r1", "--json").json
    assert [(c["credential"], c["version"], c["previous"]) for c in order] == [
        ("netops", 2, False),
        ("netops", 1, True),
        ("admin", 1, False),
    ]
    assert "the previous secret, version 1" in nr("credential", "match", "r1").out
    assert nr("credential", "update", "netops", "--keep-previous", "0").code == 0
    assert [c["version"] for c in nr("credential", "match", "r1", "--json").json] == [2, 1]
