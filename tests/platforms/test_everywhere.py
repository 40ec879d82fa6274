"""The rules for secrets of all platforms are good ones."""

from __future__ import annotations

import re

import pytest

from netraven.platforms.everywhere import secret_everywhere
from netraven.platforms.needs import needs_of
from netraven.platforms.regex import wrong_with_pattern

EVERYWHERE = secret_everywhere()
PATTERNS = [p.pattern for p in (*EVERYWHERE.secrets, *EVERYWHERE.words, *EVERYWHERE.harmless)]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_is_quick_and_for_small_letters(pattern: str) -> None:
    assert wrong_with_pattern(pattern, may_be_empty=False) is None
    assert not re.search(r"[A-Z]", re.sub(r"\\[SWDB]|\(\?P<", "", pattern))


def test_each_secret_is_a_group_and_each_word_on_one_line() -> None:
    assert all("secret" in pattern.groupindex for pattern in EVERYWHERE.secrets)
    assert all(needs_of(pattern).one_line for pattern in EVERYWHERE.words)
    assert all(any(needs_of(pattern).options) for pattern in (*EVERYWHERE.secrets, *EVERYWHERE.words))


def test_words_are_in_small_letters() -> None:
    assert all(word == word.lower() for word in EVERYWHERE.fillers | EVERYWHERE.values)


def test_it_is_read_once() -> None:
    assert secret_everywhere() is EVERYWHERE
