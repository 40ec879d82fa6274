"""A database that is away for a while: whoever needs it waits, and goes on when it is back."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from netraven.errors import DatabaseError, RowRefused
from netraven.events import events

_log = events("netraven.collect")
T = TypeVar("T")

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
"""Seconds between two tries: doubled from the first on, up to this, and drawn between a half and the whole of it."""
LEAVING = 10.0
"""Seconds that the database has when the run has to end."""


class Outage:
    """Whether the database of a run answers, and how long the run waits for it.

    ``patience``: seconds that a call waits at the most; 0: what the database raises is raised at once. ``leaving``:
    seconds from :meth:`hurry` on. ``said``: goes into log lines.
    """

    def __init__(self, patience: float = 0.0, *, leaving: float = LEAVING, **said: Any) -> None:
        self.up = asyncio.Event()
        """Set unless somebody waits for the database."""
        self.up.set()
        self.number = 0
        """How often the database has been lost."""
        self._patience = patience
        self._leaving = leaving
        self._said = said
        self._failing = 0
        """Calls that have failed and wait. The others may be fine: a full disk is still read."""
        self._since: float | None = None
        self._until: float | None = None
        self._turn = asyncio.Lock()
        self._answered = asyncio.Event()
        self._limits: set[asyncio.Timeout] = set()

    async def over(self, call: Callable[[], Awaitable[T]]) -> T:
        """What ``call`` gives, called again where it raises ``DatabaseError``; so it has to bear being called twice.

        Raises the last ``DatabaseError`` once patience is over, and ``RowRefused`` at once: the database is well then.
        """
        if not self._patience:
            return await call()
        try:
            answer = await self._limited(call)
        except RowRefused:
            raise
        except DatabaseError as error:
            lost = error
        else:
            self._is_back()
            return answer
        with self._waiting(lost):
            answer = await self._again(call, lost)
        self._is_back()
        return answer

    async def _again(self, call: Callable[[], Awaitable[T]], lost: DatabaseError) -> T:
        """Call until that goes well; raises what it raised last."""
        began, longest = asyncio.get_running_loop().time(), FIRST_PAUSE
        while await self._pause(longest * random.uniform(0.5, 1.0), began):  # noqa: S311 - nothing secret about it
            longest = min(LONGEST_PAUSE, longest * 2)
            try:
                async with self._turn:  # one try at a time: thousands may wait
                    answer = await self._limited(call)
            except RowRefused:
                raise
            except DatabaseError as error:
                lost = error
            else:
                self._tell_the_others()
                return answer
        raise lost

    def hurry(self) -> None:
        """The run has to end: from now on nobody waits longer than ``leaving`` seconds in all, nor for one call."""
        if not self._patience:
            return
        until = asyncio.get_running_loop().time() + self._leaving
        self._until = until if self._until is None else min(until, self._until)
        for limit in self._limits:
            when = limit.when()
            if when is None or when > self._until:
                limit.reschedule(self._until)

    async def _limited(self, call: Callable[[], Awaitable[T]]) -> T:
        limit = asyncio.timeout_at(self._until)
        try:
            async with limit:
                self._limits.add(limit)
                return await call()
        except TimeoutError:
            if not limit.expired():
                raise
            raise DatabaseError("the database did not answer before the run had to end") from None
        finally:
            self._limits.discard(limit)

    async def _pause(self, seconds: float, began: float) -> bool:
        """Wait until the next try, or until somebody else's has gone well; False where no time is left."""
        now = asyncio.get_running_loop().time()
        end = began + self._patience
        if self._until is not None:
            end = min(end, self._until)
        if now >= end:
            return False
        answered = self._answered
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(min(now + seconds, end)) as limit:
                self._limits.add(limit)
                try:
                    await answered.wait()
                finally:
                    self._limits.discard(limit)
        return True

    @contextmanager
    def _waiting(self, error: DatabaseError) -> Iterator[None]:
        self._failing += 1
        if self.up.is_set():
            self.up.clear()
            self.number += 1
        if self._since is None:
            self._since = asyncio.get_running_loop().time()
            _log.error("database_lost", error=str(error), **self._said)
        try:
            yield
        finally:
            self._failing -= 1
            if not self._failing:
                self.up.set()  # whoever calls next finds out whether it is

    def _tell_the_others(self) -> None:
        answered, self._answered = self._answered, asyncio.Event()
        answered.set()

    def _is_back(self) -> None:
        """A call went well."""
        if self._since is None or self._failing:
            return
        seconds = asyncio.get_running_loop().time() - self._since
        self._since = None
        _log.warning("database_back", seconds=round(seconds, 1), **self._said)


class Patient:
    """What works with a database, with methods that wait while it is away: the coroutine methods of ``inner``."""

    def __init__(self, inner: Any, outage: Outage) -> None:
        self._inner = inner
        self._outage = outage

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def patiently(*args: Any, **options: Any) -> Any:
            return await self._outage.over(lambda: found(*args, **options))

        self.__dict__[name] = patiently
        return patiently
