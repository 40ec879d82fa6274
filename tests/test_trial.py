"""The dialogue of a trial, as it is told."""

from __future__ import annotations

import re
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.errors import InputError
from netraven.history.rules import Rules
from netraven.model import Credential, Device, Target
from netraven.platforms import Platform
from netraven.trial import _Dialogue, _OneCredential

SECRETS = (re.compile(r"^key (?P<secret>\S+)", re.MULTILINE),)
PASSED = b"Password: \r\nkey abcdef\r\nenable hunter2 again hunter2\r\nr1# "


@given(cuts=st.sets(st.integers(1, len(PASSED) - 1)))
def test_secrets_are_hidden_wherever_they_are_cut(cuts: set[int]) -> None:
    told: list[str] = []
    dialogue = _Dialogue(rules(*SECRETS), lambda way, text: told.append(f"{way} {text}"))
    dialogue.hide("hunter2", None)
    marks = [0, *sorted(cuts), len(PASSED)]
    for start, end in pairwise(marks):
        dialogue.bytes_passed("in", PASSED[start:end])
    dialogue.bytes_passed("out", b"hunter2")
    dialogue.bytes_passed("out", b"\n")
    dialogue.flush()
    assert told == [
        "in Password: ",
        "in key ********",
        "in enable ******** again ********",
        "in r1# ",
        "out ********",
    ]


def test_what_is_secret_everywhere_is_hidden_though_the_platform_says_nothing() -> None:
    told: list[str] = []
    dialogue = _Dialogue(rules(), lambda _, text: told.append(text))
    dialogue.bytes_passed("in", b"hostname r1\r\nusername bob password 0 hunter2\r\nsnmp-server commu")
    dialogue.bytes_passed("in", b"nity hunter3 RO\r\n ip ospf cost 10\r\nr1# ")
    dialogue.flush()
    assert told == [
        "hostname r1",
        "username bob password 0 ********",
        "snmp-server community ******** RO",
        " ip ospf cost 10",
        "r1# ",
    ]


def rules(*secrets: re.Pattern[str]) -> Rules:
    return Rules.of(Platform("users", secrets=secrets))


KEY = ["-----BEGIN PRIVATE KEY-----", "MIIEvQ/one+", "MIIEvQ/two=", "-----END PRIVATE KEY-----"]
OVER_LINES = (re.compile(r"^set phrase=\\\n +(?P<secret>\S+)$", re.MULTILINE),)


@pytest.mark.parametrize("page", [1, 2, 3, 9])
def test_secrets_of_several_lines_are_hidden_and_private_keys_across_pages(page: int) -> None:
    told: list[str] = []
    dialogue = _Dialogue(rules(*OVER_LINES), lambda way, text: told.append(f"{way} {text}"))
    dialogue.bytes_passed("in", b"set phrase=\\\r\n    hunter2\r\n")
    for number, line in enumerate(KEY):
        if number == page:
            dialogue.bytes_passed("out", b" ")
        dialogue.bytes_passed("in", f"{line}\r\n".encode())
    dialogue.bytes_passed("in", b"end of it\r\nr1# ")
    dialogue.flush()
    assert [line for line in told if line != "out  "] == [
        "in set phrase=\\",
        "in     ********",
        f"in {KEY[0]}",
        "in ********",
        "in ********",
        f"in {KEY[-1]}",
        "in end of it",
        "in r1# ",
    ]


def test_a_line_without_end_is_told_in_pieces() -> None:
    told: list[int] = []
    dialogue = _Dialogue(rules(), lambda way, text: told.append(len(text)))
    for _ in range(1000):
        dialogue.bytes_passed("in", b"x" * 1000)
    dialogue.flush()
    assert sum(told) == 1_000_000
    assert len(told) < 20


async def test_one_credential_for_the_device_leaves_jump_hosts_theirs() -> None:
    async def credentials() -> list[Credential]:
        edge = frozenset({"edge"})
        return [
            Credential("svc", "svc", tags=edge),
            Credential("other", "root", tags=edge),
            Credential("bastions", "jumper", tags=frozenset({"bastions"})),
        ]

    async def get(name: str) -> Target:
        return Target(Device(name, "192.0.2.1", "cisco_iosxe", tags=frozenset({"edge"})))

    store = SimpleNamespace(credentials=credentials, inventory=SimpleNamespace(get=get))
    shown = _OneCredential(store, "svc", "r1")
    await shown.check()
    offered = {one.name: sorted(one.tags) for one in await shown.credentials()}
    assert offered == {"svc": ["edge"], "other": [], "bastions": ["bastions"]}
    with pytest.raises(InputError, match="no such credential: 'nobody'"):
        await _OneCredential(store, "nobody", "r1").check()
