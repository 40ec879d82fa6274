"""Captures that differ only in what changes by itself are the same version; one changed character makes another."""

from __future__ import annotations

import re
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.history.rules import Rules
from netraven.platforms import known_platforms, load_platform
from tests.history.texts import lines_of
from tests.platforms.recorded import recorded
from tests.platforms.secret_cases import secret_case
from tests.platforms.test_dialogues import outputs

COLLECTED = tuple(name for name in known_platforms() if load_platform(name).collects)
WITHOUT = {"vyos_vyos"}
"""Platforms none of whose outputs changes by itself."""
PRINTABLE = "".join(map(chr, range(32, 127)))


@cache
def rules(name: str) -> Rules:
    return Rules.of(load_platform(name))


@cache
def text_of(name: str) -> str:
    """Every output of the recorded device, one below the other."""
    return "".join(outputs(load_platform(name), recorded(name)).values())


@cache
def volatile_places(name: str) -> tuple[tuple[int, int], ...]:
    text = text_of(name)
    return tuple(match.span() for pattern in load_platform(name).volatile for match in pattern.finditer(text))


@pytest.mark.parametrize("name", COLLECTED)
def test_each_platform_says_what_changes_by_itself(name: str) -> None:
    assert bool(volatile_places(name)) != (name in WITHOUT)


@pytest.mark.parametrize("name", COLLECTED)
@pytest.mark.parametrize("shift", [1, 4, 9])
def test_captures_that_differ_in_volatile_text_only(name: str, shift: int) -> None:
    """Every digit of it is another one, as of another time; a line that has none is left out."""
    text = text_of(name)
    later = list(text)
    gone: set[int] = set()
    for start, end in volatile_places(name):
        digits = [at for at in range(start, end) if text[at].isdigit() and not fixed(text, at)]
        for at in digits:
            later[at] = str((int(text[at]) + shift) % 10)
        whole_line = text[start - 1 : start] in {"", "\n"} and text[end : end + 1] == "\n"
        if not digits and whole_line:
            gone.update(range(start, end + 1))
        elif not digits:
            later[start:end] = text[start:end].swapcase()
    other = "".join(char for at, char in enumerate(later) if at not in gone)
    assert (other != text) == (name not in WITHOUT)
    assert rules(name).comparable(other) == rules(name).comparable(text)
    shown = [rules(name).shown(t, lambda secret: f"<{secret}>", quiet=True) for t in (text, other)]
    assert shown[0] == shown[1]


def fixed(text: str, at: int) -> bool:
    """A digit by which the line is known."""
    return text.startswith("ROS", at - 3) or bool(
        re.match(r"\d\.\d+\.\d", text[at:]) and "RouterOS" in text[at - 9 : at]
    )


@pytest.mark.parametrize("name", COLLECTED)
def test_no_empty_line_is_left(name: str) -> None:
    text = text_of(name)
    assert rules(name).comparable(text).split("\n").count("") <= text.split("\n").count("")


@given(st.sampled_from(COLLECTED), st.data())
def test_one_changed_character_is_another_version(name: str, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from((text_of(name), secret_case(name).text)))
    lines = text.split("\n")
    here = rules(name).comparable(text)
    steady = [number for number, line in enumerate(lines) if line and line in here.split("\n")]
    number = data.draw(st.sampled_from(steady))
    line = lines[number]
    at = data.draw(st.integers(0, len(line) - 1))
    char = data.draw(st.sampled_from(PRINTABLE.replace(line[at], "")))
    changed = line[:at] + char + line[at + 1 :]
    volatile_now = any(pattern.search(changed) for pattern in load_platform(name).volatile)
    other = "\n".join((*lines[:number], changed, *lines[number + 1 :]))
    if not volatile_now:
        assert rules(name).comparable(other) != here


@given(st.sampled_from(COLLECTED), st.data())
def test_a_line_more_or_less_is_another_version(name: str, data: st.DataObject) -> None:
    lines = text_of(name).split("\n")
    here = rules(name).comparable(text_of(name))
    steady = [number for number, line in enumerate(lines) if line and line in here.split("\n")]
    number = data.draw(st.sampled_from(steady))
    assert rules(name).comparable("\n".join(lines[:number] + lines[number + 1 :])) != here


UNORDERED = [(name, pattern.pattern) for name in COLLECTED for pattern in load_platform(name).unordered]


@pytest.mark.parametrize(("name", "pattern"), UNORDERED)
def test_lines_without_an_order(name: str, pattern: str) -> None:
    first = next((line for line in lines_of(name) if re.search(pattern, line)), None)
    assert first is not None, "no line of the dialogue or the case is of this kind"
    lines = [f"{first}{n}" for n in (3, 1, 2)]
    text, other = ("x\n" + "\n".join(some) + "\ny\n" for some in (lines, sorted(lines)))
    assert rules(name).comparable(text) == rules(name).comparable(other) == other
    assert rules(name).comparable(text.replace("1\n", "4\n")) != other
    apart = f"x\n{lines[0]}\ny\n{lines[1]}\n"
    assert rules(name).comparable(apart) == apart, "lines that are not neighbours stay where they are"
