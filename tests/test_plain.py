"""What a device controls is shown and never obeyed."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netraven.plain import plain, plain_line

anything = st.text(st.characters())
TRICKS = [
    "\x1b[2J",
    "\x1b]0;t\x07",
    "\x9b5n",
    "\u202e",
    "\u2066",
    "\u061c",
    "\udc9b",
    "\ud800",
    "\r\n",
    "\r",
    "\n",
    "\t",
]
evil = st.lists(anything | st.sampled_from(TRICKS)).map("".join)
BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
MARKS = {"\u200e", "\u200f", "\u061c"}


def is_safe(character: str) -> bool:
    if character in "\n\t":
        return True
    return (
        unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        and unicodedata.bidirectional(character) not in BIDI
        and character not in MARKS
    )


@given(evil)
@example("".join(map(chr, range(0x300))))
def test_nothing_that_a_terminal_obeys_survives(text: str) -> None:
    assert all(map(is_safe, plain(text)))
    plain(text).encode()


def test_every_single_character() -> None:
    assert [hex(ord(c)) for c in plain("".join(map(chr, range(0x110000)))) if not is_safe(c)] == []


@given(evil)
def test_once_is_enough(text: str) -> None:
    assert plain(plain(text)) == plain(text)
    assert plain_line(plain_line(text)) == plain_line(text)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp"], include_characters="\n\t")))
def test_harmless_text_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


@given(anything, anything)
def test_nothing_is_lost(a: str, b: str) -> None:
    """What differs before differs after, but for line ends and text that looks like what is written for a code."""
    if "\\" not in a + b and "\r" not in a + b and a != b:
        assert plain(a) != plain(b)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\r\nb\n\tc", "a\nb\n\tc"),
        ("a\rb", "a\\x0db"),
        ("\x9b\x7f\x00", "\\x9b\\x7f\\x00"),
        ("user\u202egpj.exe", "user\\u202egpj.exe"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "caf\\xe9"),
        ("\ud800", "\\ud800"),
        ("z\u00fcrich \u96fb \U0001f6dc", "z\u00fcrich \u96fb \U0001f6dc"),
    ],
)
def test_examples(text: str, shown: str) -> None:
    assert plain(text) == shown


# ---- one line


@given(evil, st.integers(1, 400))
def test_a_line_is_one_line_and_bounded(text: str, limit: int) -> None:
    line = plain_line(text, limit)
    assert len(line) <= limit
    assert "\n" not in line
    assert "\t" not in line
    assert all(map(is_safe, line))


def test_lines_are_joined_and_empty_ones_left_out() -> None:
    assert plain_line("  first \r\n\n  second\r\rthird\n") == "first / second / third"
    assert plain_line(" \n\t\n ") == ""


def test_a_cut_is_marked() -> None:
    assert plain_line("x" * 300, 300) == "x" * 300
    assert plain_line("x" * 301, 300) == "x" * 299 + "\u2026"


@pytest.mark.parametrize("filler", [" ", "\t", " \n", "\r", "\x1b"])
def test_a_long_text_takes_no_time(filler: str) -> None:
    """A device may say a quarter of a megabyte when it disconnects; nobody else may wait for it."""
    begun = time.perf_counter()
    plain_line("a" + filler * 100_000 + "b")
    assert time.perf_counter() - begun < 1
