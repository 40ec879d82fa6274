"""Reads secrets from sources, each once for everybody who asks, and remembers them for a short time.

A thousand devices that ask at once cause one call. That a source did not answer is remembered as well, for a shorter
time: a Vault that is down is not asked for every device.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from netraven.credentials.source import Place, parse_source
from netraven.errors import InputError, SecretUnreadable
from netraven.events import events
from netraven.model import Secret
from netraven.ports import Clock

FAILURE_SECONDS = 30.0
"""Seconds for which a source that failed is not asked again (never longer than a value would be kept)."""

_log = events("netraven.sources")


class Source(Protocol):
    """Reads from one kind of place; raises ``SecretUnreadable`` where it cannot, saying what to do about it."""

    async def read(self, place: Any) -> Secret: ...


@dataclass(frozen=True, slots=True)
class _Answer:
    """A secret, or why there is none."""

    until: float
    secret: Secret | None = field(default=None, repr=False)
    cause: str = ""


class _Asking:
    """A call under way, and how many wait for it."""

    def __init__(self, task: asyncio.Task[_Answer]) -> None:
        self.task = task
        self.waiting = 0


class SourceReader:
    """``ports.Sources``: gives what a source holds now, or held not longer than ``cache_seconds`` ago."""

    def __init__(
        self,
        sources: Mapping[type[Any], Source],
        *,
        cache_seconds: float = 300.0,
        clock: Clock = time.monotonic,
    ) -> None:
        """``sources`` by the class of their places (``credentials.source``)."""
        self._sources = dict(sources)
        self._keep = cache_seconds
        self._clock = clock
        self._known: dict[str, _Answer] = {}
        self._asking: dict[str, _Asking] = {}

    async def read(self, source: str) -> Secret:
        """Raise ``SecretUnreadable`` where it cannot be had. Cancelling one who waits leaves the others waiting."""
        self._forget_old()
        answer = self._known.get(source) or await self._ask(source)
        if answer.secret is None:
            raise SecretUnreadable(answer.cause)
        return answer.secret

    def _forget_old(self) -> None:
        now = self._clock()
        for source in [source for source, answer in self._known.items() if answer.until <= now]:
            del self._known[source]

    async def _ask(self, source: str) -> _Answer:
        asking = self._asking.get(source)
        if asking is None:
            task = asyncio.create_task(self._answer(source), name="netraven-secret-source")
            asking = self._asking[source] = _Asking(task)
        asking.waiting += 1
        try:
            return await asyncio.shield(asking.task)
        finally:
            asking.waiting -= 1
            if not asking.waiting:
                await self._end(source, asking)

    async def _end(self, source: str, asking: _Asking) -> None:
        """The last one to wait has left: nothing goes on behind anybody's back."""
        if self._asking.get(source) is asking:
            del self._asking[source]
        if not asking.task.done():
            asking.task.cancel()
            await asyncio.wait([asking.task])

    async def _answer(self, source: str) -> _Answer:
        secret, cause = None, ""
        try:
            place = parse_source(source)
            secret = await self._reads(place).read(place)
        except (SecretUnreadable, InputError) as error:
            cause = str(error)
            _log.info("source_unreadable", source=source.partition(":")[0], error=cause)
        keep = self._keep if secret is not None else min(self._keep, FAILURE_SECONDS)
        answer = _Answer(self._clock() + keep, secret, cause)
        if keep > 0:
            self._known[source] = answer
        self._asking.pop(source, None)
        return answer

    def _reads(self, place: Place) -> Source:
        reads = self._sources.get(type(place))
        if reads is None:
            raise SecretUnreadable("this kind of source is not set up here")
        return reads

    def __repr__(self) -> str:
        return f"<SourceReader of {len(self._sources)} kinds>"
