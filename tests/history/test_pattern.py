"""Patterns: what is found, what is refused with which words, and what cannot be told by them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from netraven.errors import InputError
from netraven.history import pattern as module
from netraven.history.marks import Marker
from netraven.history.pattern import Pattern
from netraven.history.sections import lines_of

ALPHABET = "ab1 <>:.é\udc9b"
TEXTS = st.text(alphabet=ALPHABET + "\n\n", max_size=60)
EXPRESSIONS = st.recursive(
    st.sampled_from(
        ["a", "b", "1", ".", "<", "é", r"\d", r"\w+", r"\b", "^", "$", "[^a]", "[ab]", r"\s", " ", r"\.", "", r"\A"]
    ),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join),
        inner.map(lambda e: f"(?:{e})*"),
        inner.map(lambda e: f"({e})"),
        inner.map(lambda e: f"(?i:{e})"),
        inner.map(lambda e: f"(?:{e}){{2}}"),
    ),
    max_leaves=6,
)  # fmt: skip


def found_naively(expression: str, text: str, *, ignore_case: bool) -> list[int]:
    """Line by line, by RE2 itself."""
    options = re2.Options()
    options.case_sensitive = not ignore_case
    compiled = re2.compile(expression.encode("utf-8", "replace"), options)
    lines = [line.encode("utf-8", "replace") for line in lines_of(text)]
    return [number for number, line in enumerate(lines, 1) if compiled.search(line)]


@given(EXPRESSIONS.filter(bool), TEXTS, st.booleans())
def test_an_expression_is_looked_for_in_each_line(expression: str, text: str, ignore_case: bool) -> None:
    pattern = Pattern(expression, regex=True, ignore_case=ignore_case)
    assert pattern.find(text) == found_naively(expression, text, ignore_case=ignore_case)


@pytest.mark.parametrize(
    ("expression", "text", "lines"),
    [
        (r"\Aa", "b\na\n", [2]),
        (r"a\z", "a\nb", [1]),
        (r"(?-m:^a)", "b\na\nab", [2, 3]),
        (r"(?s-m)^a$", "b\na\nab", [2]),
        (r"\Q^a\E", "a\n^a", [2]),
        (r"a\sb", "a\nb\na b", [3]),
        (r"\\A", "A\n\\A", [2]),
        ("^$", "a\n\nb\n", [2]),
    ],
)
def test_ends_of_lines_are_the_ends_of_the_text(expression: str, text: str, lines: list[int]) -> None:
    assert Pattern(expression, regex=True).find(text) == lines


@given(st.text(alphabet=ALPHABET + "(*\\", min_size=1, max_size=4), TEXTS)
def test_words_are_looked_for_as_they_are(words: str, text: str) -> None:
    expected = [number for number, line in enumerate(lines_of(text), 1) if words in line]
    assert Pattern(words).find(text) == expected
    lowered = [n for n, line in enumerate(lines_of(text), 1) if _seen(words) in _seen(line)]
    assert Pattern(words, ignore_case=True).find(text) == lowered


def _seen(text: str) -> str:
    return text.encode("utf-8", "replace").decode().lower()


@given(
    EXPRESSIONS.filter(bool),
    st.lists(st.sampled_from(["ab", "1", "a b1", "<", "é.", "b:"]), min_size=3, max_size=9),
)
def test_what_is_said_to_be_impossible_is_not_found(expression: str, parts: list[str]) -> None:
    """Every third part is a secret: the text with marks in their place is never hit where the captured text says no."""
    marker = Marker(b"k" * 32)
    captured = "".join(parts)
    shown = "".join(marker.mark(part) if at % 3 == 1 else part for at, part in enumerate(parts))
    for pattern in (
        Pattern(expression, regex=True),
        Pattern(expression, regex=True, ignore_case=True),
        Pattern(expression),
        Pattern(expression, ignore_case=True),
    ):
        if not pattern.possible_in(captured):
            assert pattern.find(shown) == []


@pytest.mark.parametrize(
    ("expression", "needed"),
    [
        (r"ntp (server|peer) 10\.1\.", " 10.1."),
        (r"foo?bar+baz{2}x", "fo"),
        (r"neighbou?r x*shutdown", "shutdown"),
        (r"[[:alpha:]]vlanq[^]q]y\x41yy\pLkk", "vlanq"),
        (r"a|b", None),
        (r"(?i)vlan", None),
        (r"\Qvlan.\E", None),
        (r"ace", None),  # might be a part of a mark
    ],
)
def test_words_that_every_match_has(expression: str, needed: str | None) -> None:
    pattern = Pattern(expression, regex=True)
    if needed is None:
        assert pattern.possible_in("")
    else:
        assert pattern.possible_in(f"x{needed}x")
        assert not pattern.possible_in("nothing of it")


@pytest.mark.parametrize("words", ["dac", "DAC", "vlan <", "> role", "12"])
def test_words_that_a_mark_can_have_a_part_in(words: str) -> None:
    for ignore_case in (False, True):
        assert Pattern(words, ignore_case=ignore_case).possible_in("")


def test_marks_are_made_of_what_is_said_here() -> None:
    mark = Marker(b"k" * 32).mark("secret")
    assert (mark[0], mark[-1]) == ("<", ">")
    assert set(mark[1:-1]) <= module._IN_MARKS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("a" * 1001, "1,001"),
        ("a\nb", "line break"),
    ],
)
@pytest.mark.parametrize("regex", [False, True])
def test_what_is_no_pattern(text: str, words: str, regex: bool) -> None:
    with pytest.raises(InputError, match=words):
        Pattern(text, regex=regex)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("a(?=b)", "grep -v"),
        ("a(?!b)", "grep -v"),
        ("(?<=a)b", "grep -v"),
        ("(?<!a)b", "grep -v"),
        (r"(a)\1", "refer back"),
        ("(?P<x>a)(?P=x)", "refer back"),
        (r"a\Z", r"write \$"),
        ("a++", "possessive"),
        ("(?>a)", "possessive"),
        ("a{2000}", "too large"),
        ("(a{100}){100}", "too large"),
        (".{1000}" * 20, "too large"),
        ("(", r"no regular expression: missing \)"),
        ("a)(b", "no regular expression"),
        ("[", "without --regex"),
        ("*", "without --regex"),
    ],
)
def test_a_refusal_says_what_to_write(expression: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        Pattern(expression, regex=True)
    assert refused.value.__cause__ is None


def test_a_refusal_is_harmless_to_read() -> None:
    with pytest.raises(InputError) as refused:
        Pattern("(\x1b]0;title\x07", regex=True)
    assert "\x1b" not in str(refused.value)


def test_nothing_is_printed_by_the_library(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError):
        Pattern("(", regex=True)
    assert capfd.readouterr() == ("", "")


def test_what_takes_for_ever_elsewhere_does_not_here() -> None:
    """The time limit of a test is the limit: Python's own matcher needs longer than the universe has."""
    text = "x" * 200_000 + "\n"
    for expression in (r"(x+x+)+y", r"(x|xx)*y", r"(.*x){20}y", r"(?:x?){30}x{30}y"):
        assert Pattern(expression, regex=True).find(text) == []


def test_any_of_some_lines() -> None:
    pattern = Pattern(r"^ shutdown$", regex=True)
    assert pattern.found_in([" mtu 9", " shutdown"])
    assert not pattern.found_in([" mtu 9", " no shutdown"])
    assert not pattern.found_in([])


def test_importing_it_costs_nothing() -> None:
    code = "import sys, netraven.history.pattern; sys.exit('re2' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode
        == 0
    )
