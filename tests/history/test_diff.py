"""Differences: right, the same each time, bounded, and as others print them."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netraven.history import alignment
from netraven.history.alignment import changed_places
from netraven.history.diff import Diff, diff, unified
from netraven.history.sections import lines_of
from netraven.lab.configurations import configuration

LINES = st.sampled_from(
    ["!", "", " ip address", "interface A", "interface B", "  x", "}", "\t", "a\rb", "\u2028"]
)
TEXTS = st.builds(
    lambda lines, end: "\n".join(lines) + end, st.lists(LINES, max_size=25), st.sampled_from(["", "\n"])
)


def applied(found: Diff, old: str) -> str:
    """What becomes of ``old``; fails where the difference does not fit it."""
    lines = lines_of(old)
    kept: list[tuple[str, bool]] = []
    at = 0
    for hunk in found.hunks:
        start = hunk.old_start - 1 if hunk.old_count else hunk.old_start
        assert start >= at
        kept += [(line, True) for line in lines[at:start]]
        assert len(kept) == (hunk.new_start - 1 if hunk.new_count else hunk.new_start)
        at = start
        came = 0
        for line in hunk.lines:
            if line.mark in " -":
                assert (lines[at], at + 1) == (line.text, line.old_number)
                assert line.ended == (at + 1 < len(lines) or old.endswith("\n"))
                at += 1
            if line.mark in " +":
                kept.append((line.text, line.ended))
                assert line.new_number == len(kept)
                came += 1
        assert (at - start, came) == (hunk.old_count, hunk.new_count)
    kept += [
        (line, at + number < len(lines) or old.endswith("\n")) for number, line in enumerate(lines[at:], 1)
    ]
    return "".join(f"{line}\n" if ended else line for line, ended in kept)


@given(TEXTS, TEXTS, st.integers(0, 4))
@example("", "a", 3)
@example("a", "a\n", 3)
@example("a\nb\na", "a\nb\na\nb\na\n", 0)
def test_applied_to_the_old_text_it_gives_the_new_one(old: str, new: str, context: int) -> None:
    found = diff(old, new, context=context)
    assert applied(found, old) == new
    marks = [line.mark for hunk in found.hunks for line in hunk.lines]
    assert (found.added, found.removed) == (marks.count("+"), marks.count("-"))
    assert bool(found.hunks) == (old != new)
    assert diff(old, new, context=context) == found


@given(TEXTS, TEXTS)
def test_hunks_show_so_many_lines_around_and_do_not_touch(old: str, new: str) -> None:
    found = diff(old, new, context=2)
    for hunk in found.hunks:
        marks = "".join(line.mark for line in hunk.lines)
        assert len(marks) - len(marks.lstrip(" ")) <= 2
        assert len(marks) - len(marks.rstrip(" ")) <= 2
        assert " " * 5 not in marks.strip(" ")
    for one, other in zip(found.hunks, found.hunks[1:], strict=False):
        assert one.old_start + one.old_count <= other.old_start + (not other.old_count)


@given(st.lists(st.integers(0, 6), max_size=30), st.lists(st.integers(0, 6), max_size=30))
def test_with_its_bounds_passed_it_is_still_right(old: Sequence[int], new: Sequence[int]) -> None:
    """As on texts that repeat themselves so much that the shortest way is not looked for to its end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alignment, "LONGEST", 2)
        patch.setattr(alignment, "STEPS", 30)
        patch.setattr(alignment, "DEEPEST", 2)
        places = changed_places(old, new)
    rebuilt: list[int] = []
    at = 0
    for place in places:
        rebuilt += [*old[at : place.old_start], *new[place.new_start : place.new_end]]
        assert len(rebuilt) == place.new_end
        at = place.old_end
    assert [*rebuilt, *old[at:]] == list(new)


@given(st.lists(st.integers(0, 4), max_size=20), st.lists(st.integers(0, 4), max_size=20))
def test_what_has_no_unique_lines_is_done_in_the_shortest_way(old: list[int], new: list[int]) -> None:
    pairs, _ = alignment._common(old, new, alignment.STEPS)
    assert pairs is not None
    assert all(old[a] == new[b] for a, b in pairs)
    assert pairs == sorted(set(pairs))
    assert [b for _, b in pairs] == sorted({b for _, b in pairs})
    assert len(pairs) == longest_common(old, new)


def longest_common(old: Sequence[int], new: Sequence[int]) -> int:
    row = [0] * (len(new) + 1)
    for line in old:
        diagonal = 0
        for place, other in enumerate(new, 1):
            diagonal, row[place] = (
                row[place],
                diagonal + 1 if line == other else max(row[place], row[place - 1]),
            )
    return row[-1]


# ---- where a change is said to be


def test_an_added_block_begins_with_its_heading() -> None:
    old = "interface A\n shutdown\ninterface C\n shutdown\n"
    new = "interface A\n shutdown\ninterface B\n shutdown\ninterface C\n shutdown\n"
    came = [line.text for line in diff(old, new).hunks[0].lines if line.mark == "+"]
    assert came == ["interface B", " shutdown"]


def test_a_removed_block_with_separators_begins_with_its_heading() -> None:
    block = "interface {}\n ip address\n!\n"
    old, new = ("".join(block.format(name) for name in names) for names in ("ABC", "AC"))
    gone = [line.text for line in diff(old, new).hunks[0].lines if line.mark == "-"]
    assert gone == ["interface B", " ip address", "!"]


def test_a_block_in_braces() -> None:
    old, new = (
        "".join(f"    {name} {{\n        mtu 9;\n    }}\n" for name in names) for names in ("ac", "abc")
    )
    came = [line.text for line in diff(old, new).hunks[0].lines if line.mark == "+"]
    assert came == ["    b {", "        mtu 9;", "    }"]


def test_lines_that_are_unique_hold_the_texts_together() -> None:
    """The shortest script would keep the braces and mix two functions; what is unique stays whole."""
    old = "alpha {\n}\n\nbeta {\n}\n"
    new = "alpha {\n}\n\ngamma {\n}\n\nbeta {\n}\n"
    came = [line.text for line in diff(old, new).hunks[0].lines if line.mark == "+"]
    assert came == ["gamma {", "}", ""]


def test_the_section_is_that_of_the_first_line_that_says_something() -> None:
    old = "router bgp 1\n address-family ipv4\n  a\n  b\n  c\n  d\n!\n"
    (hunk,) = diff(old, old.replace("  d\n", "  e\n")).hunks
    assert hunk.section == ("router bgp 1", "address-family ipv4")
    (hunk,) = diff(old, old.replace("  d\n", "")).hunks
    assert hunk.section == ("router bgp 1", "address-family ipv4")
    (hunk,) = diff(old, old.replace("!\n", "!\n!\n!\nhostname r1\n")).hunks
    assert hunk.section == ()


# ---- as unified diffs


def test_a_unified_diff() -> None:
    assert unified(diff("a\nb\n", "a\nc"), "a/r1", "b/r1") == (
        "--- a/r1\n+++ b/r1\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n\\ No newline at end of file\n"
    )
    assert unified(diff("a\n", "a\n"), "a/r1", "b/r1") == ""
    assert "@@ -0,0 +1 @@" in unified(diff("", "a\n"), "/dev/null", "b/r1")


def test_a_long_section_is_cut() -> None:
    text = f"policy {'x' * 200}\n line\n"
    (head,) = [
        line for line in unified(diff(text, f"{text} more\n"), "a", "b").splitlines() if line[:2] == "@@"
    ]
    assert head.startswith("@@ -1,2 +1,3 @@ policy xxx")
    assert head.endswith("...")
    assert len(head) < 100


@pytest.mark.parametrize("seed", range(12))
def test_git_applies_it(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    dialect = chance.choice(["cisco_iosxe", "juniper_junos", "cisco_iosxr"])
    lines = configuration(dialect, "r1", size=3000).split("\n")
    edited = list(lines)
    for _ in range(chance.randrange(1, 12)):
        place = chance.randrange(len(edited))
        edited[place : place + chance.randrange(3)] = chance.choice(([], ["!"], [" new", "!"], ["x"] * 4))
    old, new = "\n".join(lines), "\n".join(edited) + chance.choice(["", "\n"])
    (tmp_path / "r1").write_text(old, newline="")
    (tmp_path / "the.patch").write_text(
        unified(diff(old, new), "a/r1\tversion 1", "b/r1\tversion 2"), newline=""
    )
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "apply", "--whitespace=nowarn", "the.patch"], cwd=tmp_path, check=True)
    assert (tmp_path / "r1").read_text() == new


# ---- bounded: counted in steps, not in seconds


SIZE = 20_000


def _scattered(chance: random.Random) -> tuple[list[int], list[int]]:
    old = [0 if chance.random() < 0.4 else number for number in range(1, SIZE)]
    new = list(old)
    for _ in range(SIZE // 25):
        new[chance.randrange(len(new))] = chance.choice((0, SIZE + chance.randrange(SIZE)))
        del new[chance.randrange(len(new))]
    return old, new


def _different_but(chance: random.Random) -> tuple[list[int], list[int]]:
    return (
        [0 if chance.random() < 0.4 else number for number in range(SIZE)],
        [0 if chance.random() < 0.4 else -number for number in range(SIZE)],
    )


def _of_few(chance: random.Random) -> tuple[list[int], list[int]]:
    return [chance.randrange(3) for _ in range(SIZE)], [chance.randrange(3) for _ in range(SIZE)]


def _chained(chance: random.Random) -> tuple[list[int], list[int]]:
    """Taking an anchor away makes the next one unique, and so on."""
    old = [place for number in range(SIZE // 2) for place in (number, number + 1)]
    new = [place for number in range(SIZE // 2) for place in (number + 1, number)]
    return old, new


def _shuffled(chance: random.Random) -> tuple[list[int], list[int]]:
    old = list(range(SIZE))
    return old, chance.sample(old, SIZE)


@pytest.mark.parametrize("texts", [_scattered, _different_but, _of_few, _chained, _shuffled])
def test_the_work_is_bounded(
    texts: Callable[[random.Random], tuple[list[int], list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    walked = counted = 0
    common, anchors = alignment._common, alignment._anchors

    def walk(old: Sequence[int], new: Sequence[int], most: int) -> Any:
        nonlocal walked
        found, steps = common(old, new, most)
        walked += steps
        return found, steps

    def count(old: Sequence[int], new: Sequence[int], together: int) -> Any:
        nonlocal counted
        counted += len(old) + len(new)
        return anchors(old, new, together)

    monkeypatch.setattr(alignment, "_common", walk)
    monkeypatch.setattr(alignment, "_anchors", count)
    old, new = texts(random.Random(7))
    assert changed_places(old, new)
    assert walked < 1.5 * alignment.STEPS
    assert counted <= alignment.DEEPEST * len(alignment.TOGETHER) * (len(old) + len(new))


def test_scattered_edits_of_a_large_text_are_found_as_they_were_made() -> None:
    old, new = _scattered(random.Random(7))
    places = changed_places(old, new)
    gone = sum(place.old_end - place.old_start for place in places)
    assert gone <= 2 * SIZE // 25 + 10
