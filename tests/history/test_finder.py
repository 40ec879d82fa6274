"""The finder finds what each pattern's ``finditer`` does."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.history.finder import Finder, folded
from netraven.platforms import known_platforms, load_platform
from netraven.platforms.everywhere import secret_everywhere
from tests.history.texts import lines_of, mixed

OWN = {
    name: (
        *platform.volatile,
        *platform.unordered,
        *platform.secrets,
        *(fact.pattern for fact in platform.facts),
    )
    for name in known_platforms()
    for platform in [load_platform(name)]
}
EVERYWHERE = secret_everywhere()
SMALL = (*EVERYWHERE.secrets, *EVERYWHERE.words, *EVERYWHERE.harmless)
FINDERS = {name: (Finder(patterns), Finder(patterns, SMALL)) for name, patterns in OWN.items()}
Place = tuple[int, int, int]


def everywhere(patterns: tuple[re.Pattern[str], ...], text: str) -> Iterator[Place]:
    for number, pattern in enumerate(patterns):
        for match in pattern.finditer(text):
            yield (number, *match.span())


@given(st.sampled_from(sorted(OWN)), st.data())
def test_the_patterns_that_ship(name: str, data: st.DataObject) -> None:
    text = data.draw(mixed(name))
    plain, with_small = FINDERS[name]
    expected = set(everywhere(OWN[name], text))
    assert {(number, *match.span()) for number, match in plain.find(text)} == expected
    small = folded(text)
    shift = len(OWN[name])
    expected |= {(number + shift, start, end) for number, start, end in everywhere(SMALL, small)}
    assert {(number, *match.span()) for number, match in with_small.find(text, small)} == expected


@pytest.mark.parametrize("name", sorted(OWN))
def test_whole_texts(name: str) -> None:
    text = "\n".join(lines_of(name))
    plain, _ = FINDERS[name]
    assert {(n, *m.span()) for n, m in plain.find(text)} == set(everywhere(OWN[name], text))


@pytest.mark.parametrize("name", sorted(OWN))
@pytest.mark.parametrize("between", ["\n", f"\n{'~ ' * 50}\n"])
def test_long_texts_of_which_few_lines_or_many_hold_a_word(name: str, between: str) -> None:
    text = between.join(line for line in lines_of(name) if line.isascii())
    small = folded(text)
    _, with_small = FINDERS[name]
    expected = set(everywhere(OWN[name], text))
    shift = len(OWN[name])
    expected |= {(number + shift, start, end) for number, start, end in everywhere(SMALL, small)}
    assert {(number, *match.span()) for number, match in with_small.find(text, small)} == expected


PIECES = ("ab", "abc", "key", " ", "  ", "\n", "x", "1", "22", '"', "KEY", "\u0130", "\u00e9", "bca", "$")
PATTERNS = (
    r"^abc",
    r"abc$",
    r"(?<=ab)c+",
    r"(?<!ab)key",
    r"key(?! )",
    r"key(?!\n)",
    r"key(?=\s)",
    r"key\s+\d",
    r"key[^x]1",
    r"(?:ab|key)+ 1",
    r"^ *key \d+$",
    r"(?i)key",
    r"(?i:abc)x",
    r"\bkey\b",
    r"abc\Z",
    r"\Aabc",
    r"(?s:abc.x)",
    r"(a)(b)\1",
    r"(?:abc)?key",
    r"x+?key",
    r"abc|key",
    r"(?>ab)c",
    r"\$",
    "\u00e9 1",
)


@given(
    st.lists(st.sampled_from(PIECES), max_size=30).map("".join),
    st.sets(st.sampled_from(PATTERNS), min_size=1),
)
def test_patterns_of_every_kind(text: str, chosen: set[str]) -> None:
    patterns = tuple(re.compile(pattern, re.MULTILINE) for pattern in sorted(chosen))
    small = tuple(p for p in patterns if p.pattern.islower())
    finder = Finder(patterns, small)
    found = {(number, *match.span()) for number, match in finder.find(text, folded(text))}
    expected = set(everywhere(patterns, text))
    expected |= {(n + len(patterns), start, end) for n, start, end in everywhere(small, folded(text))}
    assert found == expected


@given(st.text())
def test_folding_keeps_each_character_in_its_place(text: str) -> None:
    small = folded(text)
    assert len(small) == len(text)
    for old, new in zip(text, small, strict=True):
        if old.isascii():
            assert new == old.lower()


def test_few_words_are_looked_for() -> None:
    """Else finding would take as long as searching for each pattern."""
    patterns = load_platform("cisco_iosxe").secrets
    finder = Finder(patterns, (*EVERYWHERE.secrets, *EVERYWHERE.words))
    assert len(finder.searched_for) <= 22
    assert not finder.goes_over_lines("nothing of that kind")
