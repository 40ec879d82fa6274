"""Host patterns of known_hosts."""

from __future__ import annotations

import random
import time
from fnmatch import fnmatchcase

import pytest

from netraven.model import HostKey
from netraven.model.hosts import host_matches
from netraven.storage.host_key_rules import Rules


@pytest.mark.parametrize(
    ("patterns", "host", "port", "fits"),
    [
        ("r1", "R1", 22, True),
        ("r1,r2", "r2", 22, True),
        ("r1", "r1", 2022, False),
        ("[r1]:2022", "r1", 2022, True),
        ("*,!r1", "r1", 22, False),
        ("!r1", "r2", 22, False),
        ("10.*.?.1", "10.9.8.1", 22, True),
        ("a|b", "a", 22, False),
        ("", "r1", 22, False),
    ],
)
def test_which_hosts_patterns_speak_of(patterns: str, host: str, port: int, *, fits: bool) -> None:
    assert host_matches(patterns, host, port) is fits


def test_stars_stand_for_anything_wherever_they_are() -> None:
    chance = random.Random(7)
    for _ in range(5_000):
        pattern = "".join(chance.choices("ab*?", k=chance.randint(1, 7)))
        host = "".join(chance.choices("ab", k=chance.randint(1, 8)))
        assert host_matches(pattern, host, 22) is fnmatchcase(host, pattern), (pattern, host)


def test_no_pattern_takes_long() -> None:
    began = time.perf_counter()
    assert not host_matches("*a" * 100 + "b", "a" * 255, 22)
    assert time.perf_counter() - began < 1


def test_many_rules_that_name_hosts_cost_no_more_than_few() -> None:
    keys = [HostKey("ssh-ed25519", str(number).encode()) for number in range(10_000)]
    rules = Rules((("*.example.net", keys[0]),), [(f"h{n},[h{n}]:2022", key) for n, key in enumerate(keys)])
    began = time.perf_counter()
    for number, key in enumerate(keys):
        assert rules.trust_in(f"H{number}", 22).revoked == (key,)
    assert time.perf_counter() - began < 2
    assert rules.trust_in("h7", 2022).revoked == (keys[7],)
    assert rules.trust_in("r1.example.net", 2022).authorities == (keys[0],)
