"""Ledgers that a test can look into, hold up and break."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from netraven.errors import RowRefused
from netraven.model import Batch, Entry, Logged

_THEN = datetime(2026, 11, 22, tzinfo=UTC)


def line(message: str) -> Logged:
    return Logged(1, _THEN, "info", message)


def message(entry: Entry) -> str:
    assert isinstance(entry, Logged)
    return entry.message


class NotedLedger:
    """Answers each entry with a number. ``commits``: the messages of each transaction that went through.

    ``duration``: seconds that a transaction takes. ``refuses``: which messages are refused (and the transaction
    with them). ``fails``: raised once that many transactions went through.
    """

    def __init__(
        self,
        *,
        duration: float = 0.0,
        refuses: Callable[[str], bool] = lambda _: False,
        fails: tuple[int, BaseException] | None = None,
    ) -> None:
        self.commits: list[list[str]] = []
        self.tried = 0
        self.duration = duration
        self.refuses = refuses
        self.fails = fails
        self._answers = 0

    @property
    def written(self) -> list[str]:
        return [text for commit in self.commits for text in commit]

    async def commit(
        self,
        entries: Sequence[Entry],
        *,
        of: Batch | None = None,
    ) -> Sequence[Any]:
        self.tried += 1
        texts = [message(entry) for entry in entries]
        await asyncio.sleep(self.duration)
        if self.fails is not None and len(self.commits) >= self.fails[0]:
            raise self.fails[1]
        if refused := [text for text in texts if self.refuses(text)]:
            raise RowRefused(f"will not take {refused[0]}")
        self.commits.append(texts)
        self._answers += len(texts)
        return list(range(self._answers - len(texts) + 1, self._answers + 1))
