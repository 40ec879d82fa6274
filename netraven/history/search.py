"""Looking for a pattern in configurations as they are shown: who may not see a secret cannot guess at it either."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from netraven.errors import InputError
from netraven.history.pattern import Pattern
from netraven.history.sections import Path, lines_of, sections_of
from netraven.model import StoredVersion, Version


@dataclass(frozen=True, slots=True)
class Hit:
    """A line in which the pattern was found."""

    number: int
    """Counted from 1."""
    text: str
    section: Path


@dataclass(frozen=True, slots=True)
class Found:
    """The lines of one version in which the pattern was found: one at the least, or a ``problem``."""

    version: Version
    hits: tuple[Hit, ...] = ()
    problem: str | None = None
    """Why the version could not be searched."""
    readable: bool = True
    """False: its text is damaged in the database."""


async def search(
    pattern: Pattern,
    versions: AsyncIterable[StoredVersion],
    shown: Callable[[StoredVersion], Awaitable[str]] | None,
) -> AsyncIterator[Found]:
    """What is found, version by version. ``shown`` gives a text as it may be seen; None: the texts as captured.

    A text in which the pattern cannot be found, secrets or not, is not made fit to be seen first.
    """
    searchable: set[str] = (
        set()
    )  # platforms of which texts have been shown: of others nothing is said, not even "no"
    async for stored in versions:
        platform = stored.version.platform
        if (shown is None or platform in searchable) and not pattern.possible_in(stored.text):
            continue
        try:
            text = stored.text if shown is None else await shown(stored)
        except InputError as error:
            yield Found(stored.version, problem=str(error))
            continue
        searchable.add(platform)
        if numbers := pattern.find(text):
            yield Found(stored.version, hits_in(text, numbers))


def hits_in(text: str, numbers: list[int]) -> tuple[Hit, ...]:
    lines = lines_of(text)
    return tuple(
        Hit(number, lines[number - 1], under)
        for number, under in zip(numbers, sections_of(text, numbers), strict=True)
    )
