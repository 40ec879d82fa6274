"""One call for everybody, remembered for a short time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from netraven.credentials.source import EnvironmentVariable
from netraven.errors import SecretUnreadable
from netraven.model import Secret
from netraven.sources.reader import FAILURE_SECONDS, SourceReader
from tests.canaries import Canaries

CANARY = "c4n4ry-of-the-reader-t3st"


class Slow:
    """Answers once it is let go, and counts."""

    def __init__(self) -> None:
        self.calls = 0
        self.cancelled = 0
        self.go = asyncio.Event()
        self.answer: Callable[[], Secret] = lambda: Secret(password=CANARY)

    async def read(self, place: EnvironmentVariable) -> Secret:
        self.calls += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.answer()

    def fail(self) -> None:
        def raising() -> Secret:
            raise SecretUnreadable("sealed")

        self.answer = raising


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def reader(slow: Slow, clock: Clock, **more: float) -> SourceReader:
    return SourceReader({EnvironmentVariable: slow}, clock=clock, **more)


async def test_a_thousand_who_ask_at_once_cause_one_call() -> None:
    slow, clock = Slow(), Clock()
    sources = reader(slow, clock)
    asking = [asyncio.create_task(sources.read("env:X")) for _ in range(1000)]
    await asyncio.sleep(0)
    slow.go.set()
    found = await asyncio.gather(*asking)
    assert {secret.password for secret in found} == {CANARY}
    assert slow.calls == 1


async def test_an_answer_is_remembered_for_its_time() -> None:
    slow, clock = Slow(), Clock()
    slow.go.set()
    sources = reader(slow, clock, cache_seconds=300.0)
    for _ in range(3):
        await sources.read("env:X")
    await sources.read("env:Y")
    assert slow.calls == 2
    clock.now += 300.0
    await sources.read("env:X")
    assert slow.calls == 3


async def test_zero_seconds_remember_nothing() -> None:
    slow, clock = Slow(), Clock()
    slow.go.set()
    sources = reader(slow, clock, cache_seconds=0.0)
    await sources.read("env:X")
    await sources.read("env:X")
    assert slow.calls == 2


async def test_a_failure_is_everybodys_and_is_remembered_for_a_shorter_time() -> None:
    slow, clock = Slow(), Clock()
    slow.fail()
    sources = reader(slow, clock)
    asking = [asyncio.create_task(sources.read("env:X")) for _ in range(100)]
    await asyncio.sleep(0)
    slow.go.set()
    said = await asyncio.gather(*asking, return_exceptions=True)
    assert {str(error) for error in said} == {"sealed"}
    assert len({id(error) for error in said}) == 100  # each its own: a shared one would gather tracebacks
    with pytest.raises(SecretUnreadable):
        await sources.read("env:X")
    assert slow.calls == 1
    clock.now += FAILURE_SECONDS
    slow.answer = lambda: Secret(password=CANARY)
    assert (await sources.read("env:X")).password == CANARY
    assert slow.calls == 2


async def test_one_who_gives_up_leaves_the_others_waiting_and_the_last_ends_the_call() -> None:
    slow, clock = Slow(), Clock()
    sources = reader(slow, clock)
    first, second = (asyncio.create_task(sources.read("env:X")) for _ in range(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert not second.done()
    assert slow.cancelled == 0
    second.cancel()
    await asyncio.wait([second])
    assert slow.cancelled == 1
    slow.go.set()
    assert (await sources.read("env:X")).password == CANARY
    assert slow.calls == 2


async def test_a_fault_of_a_source_is_not_remembered() -> None:
    slow, clock = Slow(), Clock()
    slow.go.set()

    def broken() -> Secret:
        raise RuntimeError("a fault")

    slow.answer = broken
    sources = reader(slow, clock)
    with pytest.raises(RuntimeError):
        await sources.read("env:X")
    slow.answer = lambda: Secret(password=CANARY)
    assert (await sources.read("env:X")).password == CANARY


async def test_what_is_no_source_or_not_set_up_is_said() -> None:
    sources = reader(Slow(), Clock())
    with pytest.raises(SecretUnreadable, match="is no source of a secret"):
        await sources.read("nothing")
    with pytest.raises(SecretUnreadable, match="not set up here"):
        await sources.read("file:x")


async def test_nothing_of_it_shows_a_secret() -> None:
    slow, clock = Slow(), Clock()
    slow.go.set()
    sources = reader(slow, clock)
    secret = await sources.read("env:X")
    hunt = Canaries({"value": CANARY})
    hunt.hunt_objects("reader", [sources, secret, vars(sources)])
    hunt.verdict()
