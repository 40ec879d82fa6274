"""Searching: lines with where they stand, and nothing about secrets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

from netraven.errors import InputError
from netraven.history.marks import Marker
from netraven.history.pattern import Pattern
from netraven.history.search import Found, Hit, search
from netraven.model import StoredVersion, Version

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
