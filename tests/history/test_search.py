"""Searching: lines with where they stand, and nothing about secrets."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from netraven.errors import InputError
from netraven.history.marks import Marker
from netraven.history.pattern import Pattern
from netraven.history.rules import Rules
from netraven.history.search import Found, Hit, search
from netraven.model import StoredVersion, Version
from netraven.platforms import known_platforms, load_platform
from tests.platforms.secret_cases import secret_case

NOW = datetime(2026, 11, 22, tzinfo=UTC)
SECRET = "hunter2"
TEXT = f"interface A\n description x\n!\nusername ops secret {SECRET} role a\n"


def stored(device: str, text: str, platform: str = "known") -> StoredVersion:
    return StoredVersion(Version(1, device, "running", 1, "00", len(text), platform, NOW, NOW, 1), text)


class Shows:
    """Puts marks in the place of the secret; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, version: StoredVersion) -> str:
        self.asked.append(version.version.device)
        if version.version.platform != "known":
            raise InputError("not known what is secret")
        return version.text.replace(SECRET, Marker(b"k" * 32).mark(SECRET))


async def find(
    pattern: Pattern, versions: Sequence[StoredVersion], shows: Shows | None = None, *, raw: bool = False
) -> list[Found]:
    async def each() -> AsyncIterator[StoredVersion]:
        for version in versions:
            yield version

    return [found async for found in search(pattern, each(), None if raw else shows or Shows())]


async def test_lines_with_their_numbers_and_sections() -> None:
    (found,) = await find(Pattern("description"), [stored("r1", TEXT), stored("r2", "!\n")])
    assert found.version.device == "r1"
    assert found.hits == (Hit(2, " description x", ("interface A",)),)


async def test_secrets_are_not_found_and_what_stands_beside_them_is() -> None:
    assert await find(Pattern(SECRET), [stored("r1", TEXT)]) == []
    assert await find(Pattern("secret h", regex=True), [stored("r1", TEXT)]) == []
    for pattern in (Pattern("> role"), Pattern(r"ops secret \S+>.role", regex=True)):
        (found,) = await find(pattern, [stored("r1", TEXT)])
        assert SECRET not in found.hits[0].text


async def test_raw_texts_are_searched_as_they_are() -> None:
    (found,) = await find(Pattern(SECRET), [stored("r1", TEXT, "unknown")], raw=True)
    assert found.hits[0].text == f"username ops secret {SECRET} role a"


async def test_texts_without_it_are_not_made_fit_to_be_seen() -> None:
    """But for the first of each platform: whether its texts can be shown is known then."""
    shows = Shows()
    versions = [stored(f"r{number}", TEXT) for number in range(5)] + [stored("hit", "x nowhere\n")]
    (found,) = await find(Pattern("nowhere"), versions, shows)
    assert found.version.device == "hit"
    assert shows.asked == ["r0", "hit"]


async def test_where_it_is_not_known_what_is_secret_nothing_is_told() -> None:
    """Not even whether the words are there: the answer is the same for a right guess and a wrong one."""
    versions = [stored("r1", TEXT), stored("a", TEXT, "gone"), stored("b", TEXT, "gone")]
    for guess in (SECRET, "hunter3", "description q"):
        found = await find(Pattern(guess), versions)
        assert [(one.version.device, one.problem) for one in found] == [
            ("a", "not known what is secret"), ("b", "not known what is secret"),
        ]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in known_platforms() if load_platform(name).collects])
async def test_what_is_found_at_once_is_what_is_shown(name: str) -> None:
    """Each word of a text full of secrets, by itself and with what follows: with the quick way and without it."""
    rules, mark = Rules.of(load_platform(name)), Marker(b"k" * 32).mark
    version = stored("r1", secret_case(name).text, "known")
    words = sorted(
        {word for line in version.text.splitlines() for word in (*line.split(), line.strip()) if word}
    )

    async def shown(one: StoredVersion) -> str:
        return rules.shown(one.text, mark)

    quick = 0

    def leaves_alone(one: StoredVersion, lines: Sequence[str]) -> bool:
        nonlocal quick
        alone = rules.leaves_alone(one.text, lines)
        quick += alone
        return alone

    async def found(pattern: Pattern, *given: Any) -> list[Found]:
        async def twice() -> AsyncIterator[StoredVersion]:
            yield version  # of the first text of a platform all is looked at
            yield version

        return [one async for one in search(pattern, twice(), shown, *given)]

    for word in words[:: max(1, len(words) // 60)]:
        for pattern in (Pattern(word), Pattern(f"{re.escape(word)}.*", regex=True)):
            assert await found(pattern, leaves_alone) == await found(pattern), word
    if name == "cisco_iosxe":
        assert quick, "or nothing was compared"
