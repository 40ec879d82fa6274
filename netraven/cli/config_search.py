"""`netraven config search`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from netraven.cli.configs import check_device, version_json
from netraven.cli.context import Context
from netraven.cli.diff_view import View
from netraven.cli.screen import note, print_json_list, warn, whole_text
from netraven.errors import InputError
from netraven.model import Selector
from netraven.plain import plain, plain_line

if TYPE_CHECKING:
    from netraven.history.search import Found, Hit
    from netraven.storage.store import SqlStore

FOUND, NOTHING, NOT_ALL = 0, 1, 2
"""Exit codes, as those of grep."""
_OFTEN = 50_000
"""Versions after which a word is said."""
_LONG = 1_000
"""Characters of a problem."""


async def search(
    context: Context,
    *,
    pattern: str,
    regex: bool,
    ignore_case: bool,
    tags: list[str],
    names: list[str],
    kind: str,
    at: datetime | None,
    history: bool,
    limit: int | None,
    raw: bool,
    as_json: bool,
) -> int:
    """What is found is written as it is found: an interrupted search has told what it knew."""
    from netraven.history.pattern import LONGEST, Pattern

    if pattern == "-":
        pattern = sys.stdin.readline(LONGEST + 2).removesuffix("\n")
    looked_for = Pattern(pattern, regex=regex, ignore_case=ignore_case)
    selector = Selector(tags=frozenset(tags), names=frozenset(names))
    async with context.store() as store:
        await _check(store, selector)
        found = context.configurations(store).search(
            looked_for, selector, kind=kind, at=at, every=history, raw=raw, progress=_tell
        )
        results = _Results(found, limit)
        if as_json:
            await print_json_list(_rows(results))
        elif history:
            await _print_history(results)
        else:
            await _print(results)
        if not results.lines and not results.unsearched:
            await _say_if_there_is_nothing(store, selector, kind, None if history else at)
    for platform, (problem, versions) in results.unsearched.items():
        alike = "of this platform" if platform is not None else "that cannot be read"
        more = f" (and {versions - 1:,} more {alike})" if versions > 1 else ""
        warn(f"not searched: {plain_line(problem, _LONG)}{more}")
    if results.more:
        note(f"the first {limit:,} lines; there are more (--limit N)")
    if results.unsearched:
        return NOT_ALL
    return FOUND if results.lines else NOTHING


def _tell(versions: int) -> None:
    """A long history takes minutes."""
    if versions % _OFTEN == 0:
        note(f"{versions:,} versions searched")


async def _check(store: SqlStore, selector: Selector) -> None:
    if selector.tags and (unknown := sorted(selector.tags - await store.known_tags())):
        raise InputError(f"no device or credential carries the tag {', '.join(map(repr, unknown))}")
    for name in sorted(selector.names):
        await check_device(store, name)


async def _say_if_there_is_nothing(
    store: SqlStore, selector: Selector, kind: str, at: datetime | None
) -> None:
    """That nothing has a line is an answer; that there was nothing to look at is another one."""
    if await anext(store.versions.all_at(selector, kind, at), None) is not None:
        return
    then = f" at {at:%Y-%m-%d %H:%M:%S} UTC" if at is not None else " yet"
    warn(f"nothing was searched: no output of the kind {plain_line(kind)!r} is known of these devices{then}")


class _Results:
    """What is found, up to a limit of lines; and what could not be searched."""

    def __init__(self, found: AsyncIterator[Found], limit: int | None) -> None:
        self._found = found
        self._limit = limit
        self.lines = 0
        self.unsearched: dict[str | None, tuple[str, int]] = {}
        """By platform (None: texts that cannot be read): what is in the way, of the first version, and of how many."""
        self.more = False

    async def __aiter__(self) -> AsyncIterator[tuple[Found, Sequence[Hit]]]:
        async for found in self._found:
            if found.problem is not None:
                platform = found.version.platform if found.readable else None
                problem, versions = self.unsearched.get(platform, (found.problem, 0))
                self.unsearched[platform] = problem, versions + 1
                continue
            room = len(found.hits) if self._limit is None else self._limit - self.lines
            if not room:
                self.more = True
                return
            hits = found.hits[:room]
            self.lines += len(hits)
            yield found, hits
            if len(hits) < len(found.hits):
                self.more = True
                return


async def _rows(results: _Results) -> AsyncIterator[dict[str, Any]]:
    async for found, hits in results:
        version = version_json(found.version)
        for hit in hits:
            yield version | {
                "line": hit.number,
                "section": [whole_text(heading) for heading in hit.section],
                "text": whole_text(hit.text),
            }
        sys.stdout.flush()


async def _print(results: _Results) -> None:
    view = View.of_terminal()
    async for found, hits in results:
        name = plain_line(found.version.device)
        sys.stdout.write("".join(_line(view, name, hit) for hit in hits))
        sys.stdout.flush()


async def _print_history(results: _Results) -> None:
    """A line that stays is said once, with the versions that have it."""
    view = View.of_terminal()
    device = ""
    seen: dict[tuple[object, str], tuple[Hit, list[int]]] = {}
    async for found, hits in results:
        if found.version.device != device:
            _flush(view, device, seen.values())
            device, seen = found.version.device, {}
        for hit in hits:
            _, numbers = seen.get((hit.section, hit.text), (hit, []))
            if numbers[-1:] != [found.version.number]:
                numbers.append(found.version.number)
            seen[hit.section, hit.text] = hit, numbers
    _flush(view, device, seen.values())


def _flush(view: View, device: str, seen: Iterable[tuple[Hit, list[int]]]) -> None:
    name = plain_line(device)
    sys.stdout.write("".join(_line(view, f"{name}@{_spans(numbers)}", hit) for hit, numbers in seen))
    sys.stdout.flush()


def _spans(numbers: Sequence[int]) -> str:
    """``3-17,20``."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1][1:] = [number]
        else:
            spans.append([number])
    return ",".join("-".join(map(str, span)) for span in spans)


def _line(view: View, name: str, hit: Hit) -> str:
    """``r1:45: interface Gi0/1 > description uplink``."""
    section = plain("".join(f"{heading} > " for heading in hit.section))
    return f"{view.painted(f'{name}:{hit.number}:', '@')} {view.painted(section, 'dim')}{plain(hit.text.strip())}\n"
