"""What a webhook posts and a command reads."""

from __future__ import annotations

import json

from netraven.model import EventKind
from netraven.notify.payload import LONGEST_DIFF, body, document
from tests.notify.facts import DIFF, UID, change, changed, end, event, failure, message

KEYS = [
    "id", "type", "timestamp", "hook", "run", "device", "versions", "reason", "detail", "status", "counts",
    "what", "stale",
]  # fmt: skip


def test_a_change() -> None:
    assert document(changed()) == {
        "id": UID,
        "type": "changed",
        "timestamp": "2026-11-22T03:00:07.853Z",
        "hook": "chat",
        "run": 7,
        "device": {"name": "r1", "platform": "cisco_iosxe", "tags": ["edge", "lab"]},
        "versions": [
            {
                "kind": "running",
                "version": 5,
                "previous": 4,
                "added": 1,
                "removed": 1,
                "diff": DIFF,
                "diff_truncated": False,
                "problem": None,
            }
        ],
        "reason": None,
        "detail": None,
        "status": None,
        "counts": None,
        "what": "configuration",
        "stale": None,
    }


def test_a_failure() -> None:
    found = document(failure(EventKind.FAILED_AGAIN))
    assert (found["type"], found["reason"], found["detail"]) == ("failed-again", "unreachable", "no route")
    assert found["versions"] == []


def test_a_check_says_that_it_is_one() -> None:
    data = {"what": "reachability", "reason": "unreachable", "detail": "no route"}
    found = document(message(event(EventKind.FAILED, data=data)))
    assert (found["what"], found["reason"]) == ("reachability", "unreachable")


def test_stale_devices() -> None:
    devices: list[dict[str, object]] = [
        {"name": "r1", "platform": "", "tags": [], "collected_at": None, "tried_at": None, "reason": None}
    ]
    data = {"older_than_s": 86400.0, "count": 1, "devices": devices}
    found = document(message(event(EventKind.STALE, None, data=data)))
    assert (found["type"], found["device"], found["stale"]) == ("stale-devices", None, data)


def test_the_end_of_a_run() -> None:
    found = document(end())
    assert (found["type"], found["device"], found["status"]) == ("run-finished", None, "partial")
    assert found["counts"] == {"devices": 3, "collected": 2, "failed": 1, "skipped": 0, "attempts": 4}


def test_every_message_has_the_same_keys() -> None:
    for one in (
        changed(),
        failure(),
        end(),
        message(None),
        message(event(EventKind.RECOVERED)),
        message(event(EventKind.STALE, None)),
    ):
        assert list(json.loads(body(one))) == KEYS
    assert document(message(None))["type"] == "test"


def test_a_long_difference_is_cut_between_lines_and_says_so() -> None:
    line = "+" + "x" * 98 + "\n"
    (version,) = document(changed(diff=line * 1000))["versions"]
    assert version["diff_truncated"]
    assert version["diff"] == line * (LONGEST_DIFF // 100)


def test_one_line_that_is_too_long_leaves_no_difference() -> None:
    (version,) = document(changed(diff="+" + "x" * LONGEST_DIFF + "\n"))["versions"]
    assert (version["diff"], version["diff_truncated"]) == (None, True)


def test_bytes_that_are_no_utf8_are_written_out_and_the_rest_is_ascii() -> None:
    said = b"+banner \xff\xc3\xa9\x1b[31m\n".decode("utf-8", "surrogateescape")
    sent = body(changed(diff=said))
    assert sent.isascii()
    assert json.loads(sent)["versions"][0]["diff"] == "+banner \\xff\u00e9\x1b[31m\n"


def test_what_could_not_be_read_says_why() -> None:
    (version,) = document(
        message(event(), changes=(change(kind="", number=None, diff="", problem="damaged"),))
    )["versions"]
    assert (version["kind"], version["version"], version["diff"], version["problem"]) == (
        None,
        None,
        None,
        "damaged",
    )
