"""What outputs tell of a device."""

from __future__ import annotations

import re

from netraven.model import Capture
from netraven.platforms.facts import facts_in
from netraven.platforms.model import Fact, Platform

PLATFORM = Platform(
    "box",
    facts=(
        Fact("version", "version", re.compile(r"^Box OS (\S+)")),
        Fact("version", "running", re.compile(r"^version (\S+)$")),
        Fact("serial", "version", re.compile(r"serial( \S+)?$")),
    ),
)


def test_the_first_pattern_that_finds_something_has_the_say() -> None:
    shown = Capture("welcome\nBox OS 4.2\nserial 007\n", "version")
    config = Capture("!\nversion 4.1\nend\n")
    assert facts_in(PLATFORM, [shown, config]) == {"version": "4.2", "serial": "007"}
    assert facts_in(PLATFORM, [config]) == {"version": "4.1"}


def test_what_is_not_there_is_no_fact() -> None:
    assert facts_in(PLATFORM, []) == {}
    assert facts_in(PLATFORM, [Capture("serial\n", "version")]) == {}


def test_a_fact_carries_no_control_characters() -> None:
    assert facts_in(PLATFORM, [Capture("Box OS 4\x1b[31m2\n", "version")])["version"].isprintable()
