"""Expressions that could keep the collector busy for minutes are refused; those that cannot are not."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netraven.platforms.regex import wrong_with_pattern

SLOW = [
    r"(\w+)+$",
    r"(a*)*b",
    r"(?:a|a)*b",
    r"((a|a)c)*b",
    r"(ab|a|b)*c",
    r"(?:ab?|b)+c",
    r"(\s+\w*)+x",
    r"(a|\w)*!",
    r"((a+b)*)*c",
    r"(?P<x>.+)+!",
    r"^(?:.*,)*$",
    r"(?=(a+)+b)",
    r"(a+){40}b",
    r"(?:(?P<q>a+)(?P=q))+b",
    r"([一]+)+b",
    r"(?:a?a?)*b",
    r"(?:a{1,9}){1,9}b",
]
FAST = [
    r"^[\w.-]+[>#]\s?$",
    r"(\w+ )+$",
    r"^(?:\S+\s+)*\S+$",
    r"(\d+\.){3}\d+",
    r"(?:foo|bar)+x",
    r"^! Last configuration change .*$",
    r"(?P<secret>\S+)",
    r"\[[\w/-]+(?:@[\w.-]+)?\][>#]",
    r"(?i)password:\s*$",
    r"(?>a+)+b",
    r"\d{1,3}(?:\.\d{1,3}){3}",
    r"(?:ab?)+c",
    r"--\s?[Mm]ore\s?--",
    r"([^\n]+\n)+",
    r"[]a]+[^]]",
    r"(a)(?(1)b|c)",
    r"(?-i:a)(?#why)b",
    r"\x41\u0042\101\Z",
]


@pytest.mark.parametrize("pattern", SLOW)
def test_what_takes_time_without_bounds_is_refused_and_told_how_to_mend(pattern: str) -> None:
    wrong = wrong_with_pattern(pattern)
    assert wrong is not None
    assert "that takes time without bounds; " in wrong


@pytest.mark.parametrize("pattern", FAST)
def test_what_is_harmless_passes(pattern: str) -> None:
    assert wrong_with_pattern(pattern) is None


@pytest.mark.parametrize(
    "pattern", ["", "a*", "^", "^$", "a?", "(?:a|)", r"\b", "(?=a)", "a{0,3}", "(?:)", "x|"]
)
def test_the_empty_match_is_seen(pattern: str) -> None:
    assert wrong_with_pattern(pattern) is None
    assert "matches the empty string" in (wrong_with_pattern(pattern, may_be_empty=False) or "")


@pytest.mark.parametrize(
    "pattern", ["(", "[a", "*", "(?P<1>a)", "a**", "\\", "[[a]", "(?<=a+)b", "(?x) a b", "a" * 1001]
)
def test_what_is_no_expression_for_us_is_told(pattern: str) -> None:
    assert wrong_with_pattern(pattern)


PIECES = st.recursive(
    st.sampled_from(["a", "b", "ab", r"\w", r"\d", "[ab]", ".", "a?", "b*", "a+"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        ),
    ),
    max_leaves=5,
)


@settings(max_examples=400, deadline=None)
@given(pattern=PIECES)
def test_what_passes_is_searched_in_no_time(pattern: str) -> None:
    """22 letters: what doubles with every letter would take four million steps, seconds of them."""
    if wrong_with_pattern(pattern) is not None:
        return
    compiled = re.compile(f"(?:{pattern})!")
    for text in ("a" * 22, "ab" * 11, "b" * 22):
        began = time.process_time()
        compiled.search(text + "?")
        assert time.process_time() - began < 0.5, pattern


@settings(max_examples=500, deadline=None)
@given(pattern=st.text(alphabet="ab(){}[]|*+?\\^$.,:<>=!P#1-ix ", max_size=30))
def test_any_text_is_judged(pattern: str) -> None:
    wrong = wrong_with_pattern(pattern, may_be_empty=False)
    if wrong is None:
        assert re.compile(pattern, re.MULTILINE).search("") is None
