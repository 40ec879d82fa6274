"""What is told of a pattern holds for every match of it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.platforms.needs import Needs, needs_of


def needs(pattern: str, flags: int = re.MULTILINE) -> Needs:
    return needs_of(re.compile(pattern, flags))


@pytest.mark.parametrize(
    ("pattern", "option"),
    [
        (r"^ntp clock-period \d+$", ("ntp clock-period ",)),
        (r"^ +key (\d)", (" key ",)),
        (r"(?:tacacs|radius)-server", ("-server",)),
        (r"^(?:tacacs|radius) x", ("tacacs", "radius")),
        (r"(?P<secret>abc)+", ("abc",)),
        (r"(?<=x)abc(?=y)", ("abc",)),
    ],
)
def test_words(pattern: str, option: tuple[str, ...]) -> None:
    assert option in needs(pattern).options


@pytest.mark.parametrize("pattern", [r"(?i)abc", r"(?i:abc)", r"a?b*", r"[ab]c?", r"abc|", r"(?:abc)*"])
def test_no_words(pattern: str) -> None:
    assert not any(needs(pattern).options)


@pytest.mark.parametrize(
    "pattern", [r"^abc .*$", r"a\S+\b", r"a(?!\d+$)b", r"(?<=\n)ab", r"a[^\n]+", r"[^\s\"]+", r"\w\d\B"]
)
def test_on_one_line(pattern: str) -> None:
    assert needs(pattern).one_line


@pytest.mark.parametrize(
    "pattern",
    [
        r"a\nb",
        r"a\s+b",
        r"a[^x]+",
        r"a(?!\n)",
        r"a(?=\s)",
        r"(?s:a.b)",
        r"a\Z",
        r"\Aa",
        r"a\D",
        r"a\W",
        r"[\x00-\x20]",
        r"x[^\S ]",
    ],
)
def test_over_lines(pattern: str) -> None:
    assert not needs(pattern).one_line


def test_of_other_flags_nothing_is_known() -> None:
    assert needs("abc", 0) == Needs()
    assert needs("abc", re.MULTILINE | re.ASCII) == Needs()
    assert needs("a b c", re.MULTILINE | re.VERBOSE) == Needs()


@pytest.mark.parametrize(
    ("pattern", "anchored"), [(r"^a", True), (r" ^a", False), (r"^a|b", False), (r"(?:^a)", True)]
)
def test_where_it_begins(pattern: str, anchored: bool) -> None:
    assert needs(pattern).anchored is anchored


ATOMS = st.sampled_from(
    [
        "a",
        "b",
        " ",
        r"\d",
        ".",
        r"\s",
        "[ab]",
        "[^a]",
        "(?:ab|ba)",
        "(?:a|b)",
        r"\n",
        "^",
        "$",
        "(?=a)",
        "(?!b)",
        "(?<=a)",
        r"\b",
    ]
)
PATTERNS = st.lists(
    st.tuples(ATOMS, st.sampled_from(["", "", "?", "+", "*", "{2}"])), min_size=1, max_size=5
).map(
    lambda parts: "".join(
        atom
        + (
            count
            if (atom not in {"^", "$", r"\b"} and not atom.startswith("(?")) or atom.startswith("(?:")
            else ""
        )
        for atom, count in parts
    )
)


@given(PATTERNS, st.text(alphabet="ab 1\n", max_size=20))
def test_what_is_told_is_true(pattern: str, text: str) -> None:
    compiled = re.compile(pattern, re.MULTILINE)
    told = needs_of(compiled)
    for match in compiled.finditer(text):
        assert all(any(word in match[0] for word in option) for option in told.options if option)
        if told.one_line:
            assert "\n" not in match[0]
        if told.anchored:
            assert match.start() == 0 or text[match.start() - 1] == "\n"
