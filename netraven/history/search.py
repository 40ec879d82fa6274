"""Looking for a pattern in configurations as they are shown: who may not see a secret cannot guess at it either."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
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
    leaves_alone: Callable[[StoredVersion, Sequence[str]], bool] = lambda _, __: False,
) -> AsyncIterator[Found]:
    """What is found, version by version. ``shown`` gives a text as it may be seen; None: the texts as captured.

    A text in which the pattern cannot be found, secrets or not, is not made fit to be seen first; nor is one in which
    it is found on lines that ``shown`` would leave as they are, as ``leaves_alone`` says.
    """
    searchable: set[str] = (
        set()
    )  # platforms of which texts have been shown: of others nothing is said, not even "no"
    async for stored in versions:
        platform = stored.version.platform
        if (shown is None or platform in searchable) and not pattern.possible_in(stored.text):
            continue
        if (
            shown is not None
            and platform in searchable
            and (hits := _at_once(pattern, stored, leaves_alone)) is not None
        ):
            if hits:
                yield Found(stored.version, hits)
            continue
        try:
            text = stored.text if shown is None else await shown(stored)
        except InputError as error:
            yield Found(stored.version, problem=str(error))
            continue
        searchable.add(platform)
        if numbers := pattern.find(text):
            yield Found(stored.version, hits_in(text, numbers))


def _at_once(
    pattern: Pattern, stored: StoredVersion, leaves_alone: Callable[[StoredVersion, Sequence[str]], bool]
) -> tuple[Hit, ...] | None:
    """What is found in a text as it was captured, where it would be the same in the text as it is shown; else None."""
    near = pattern.near(stored.text)
    if near is None:
        return None
    lines = lines_of(stored.text)
    hits = hits_in(stored.text, pattern.find(stored.text))
    concerned = [line for number in near for line in lines[max(0, number - 2) : number]]
    concerned += {heading for hit in hits for heading in hit.section}
    return hits if leaves_alone(stored, concerned) else None


def hits_in(text: str, numbers: list[int]) -> tuple[Hit, ...]:
    lines = lines_of(text)
    return tuple(
        Hit(number, lines[number - 1], under)
        for number, under in zip(numbers, sections_of(text, numbers), strict=True)
    )
