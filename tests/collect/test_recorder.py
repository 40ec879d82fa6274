"""Whoever waits for an entry is answered once it is durable, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.collect.recorder import Recorder
from netraven.errors import DatabaseError, RecorderStopped, RowRefused
from netraven.model import Batch, Entry
from tests.collect.ledgers import NotedLedger, line
from tests.virtual_time import in_virtual_time, now, settled


def undone(answer: Any) -> Entry:
    return line(f"undo {answer}")


async def everyone(recorder: Recorder, messages: list[str]) -> list[Any]:
    """What each of so many callers at once got: an answer or an exception."""
    return await asyncio.gather(*(recorder.record(line(m)) for m in messages), return_exceptions=True)


@in_virtual_time
async def test_an_await_returns_only_once_the_ledger_has_committed() -> None:
    ledger = NotedLedger(duration=1.0)
    async with Recorder(ledger) as recorder:
        caller = asyncio.create_task(recorder.record(line("a")))
        await asyncio.sleep(0.9)
        assert ledger.tried == 1
        assert not caller.done()
        await asyncio.sleep(0.2)
        assert caller.done()
        assert ledger.commits == [["a"]]


@in_virtual_time
async def test_callers_at_once_share_one_transaction() -> None:
    ledger = NotedLedger()
    async with Recorder(ledger) as recorder:
        answers = await everyone(recorder, [str(n) for n in range(200)])
    assert len(ledger.commits) == 1
    assert answers == list(range(1, 201))


@in_virtual_time
async def test_what_comes_during_a_transaction_shares_the_next_one() -> None:
    ledger = NotedLedger(duration=1.0)
    async with Recorder(ledger, linger=0.0) as recorder:
        first = asyncio.create_task(recorder.record(line("first")))
        await asyncio.sleep(0.5)
        later = []
        for n in range(10):
            later.append(asyncio.create_task(recorder.record(line(str(n)))))
            await asyncio.sleep(0.01)
        await asyncio.gather(first, *later)
    assert ledger.commits == [["first"], [str(n) for n in range(10)]]


@in_virtual_time
async def test_a_transaction_is_bounded_and_keeps_the_order() -> None:
    ledger = NotedLedger()
    async with Recorder(ledger, max_batch=64) as recorder:
        await everyone(recorder, [str(n) for n in range(200)])
    assert [len(commit) for commit in ledger.commits] == [64, 64, 64, 8]
    assert ledger.written == [str(n) for n in range(200)]


@in_virtual_time
async def test_a_lone_entry_waits_a_moment_for_company_and_no_longer() -> None:
    async with Recorder(NotedLedger(), linger=0.02) as recorder:
        begun = now()
        await recorder.record(line("a"))
        assert now() - begun <= 0.02 + 1e-9


@pytest.mark.parametrize("bad", [{0}, {99}, {41, 42}, set(range(0, 100, 7)), set(range(100))])
def test_a_bad_row_costs_itself_only(bad: set[int]) -> None:
    ledger = NotedLedger(refuses=lambda text: int(text) in bad)

    @in_virtual_time
    async def run() -> None:
        async with Recorder(ledger) as recorder:
            answers = await everyone(recorder, [str(n) for n in range(100)])
            assert {n for n, answer in enumerate(answers) if isinstance(answer, RowRefused)} == bad
            assert all(isinstance(answer, int | RowRefused) for answer in answers)
            assert isinstance(await recorder.record(line("1000")), int)
        assert sorted(map(int, ledger.written)) == sorted({*range(100)} - bad | {1000})

    run()


@in_virtual_time
async def test_one_bad_row_in_many_is_found_by_halving() -> None:
    ledger = NotedLedger(refuses=lambda text: text == "311")
    async with Recorder(ledger) as recorder:
        await everyone(recorder, [str(n) for n in range(500)])
    assert len(ledger.written) == 499
    assert ledger.tried <= 2 * 9 + 1


@in_virtual_time
async def test_a_refusal_is_the_callers_own() -> None:
    async with Recorder(NotedLedger(refuses=lambda text: text == "bad")) as recorder:
        with pytest.raises(RowRefused, match="will not take bad"):
            await recorder.record(line("bad"))


# ---- a ledger that can no longer write


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DatabaseError("the disk is full"), "the disk is full"),
        (ZeroDivisionError("oops"), "ZeroDivisionError: oops"),
        (asyncio.CancelledError(), "CancelledError"),
    ],
)
def test_a_ledger_that_raises_stops_everybody_now_and_later(error: BaseException, said: str) -> None:
    @in_virtual_time
    async def run() -> None:
        ledger = NotedLedger(duration=1.0, fails=(0, error))
        async with Recorder(ledger, max_batch=10) as recorder:
            answers = await everyone(recorder, [str(n) for n in range(25)])
            assert [type(answer) for answer in answers] == [RecorderStopped] * 25
            assert said in str(answers[0])
            with pytest.raises(RecorderStopped, match=said):
                await recorder.record(line("later"))
            recorder.post(line("later"))
            assert recorder.failed is not None
            assert recorder.failed.done()
        assert ledger.tried == 1
        assert ledger.written == []

    run()


@in_virtual_time
async def test_what_was_answered_before_stays_answered() -> None:
    ledger = NotedLedger(fails=(1, DatabaseError("gone")))
    async with Recorder(ledger, max_batch=10) as recorder:
        answers = await everyone(recorder, [str(n) for n in range(20)])
    assert answers[:10] == list(range(1, 11))
    assert [type(answer) for answer in answers[10:]] == [RecorderStopped] * 10


@in_virtual_time
async def test_the_ledger_fails_while_a_bad_row_is_looked_for() -> None:
    ledger = NotedLedger(refuses=lambda text: text == "7", fails=(2, DatabaseError("gone")))
    async with Recorder(ledger) as recorder:
        answers = await everyone(recorder, [str(n) for n in range(64)])
    kinds = {type(answer) for answer in answers}
    assert kinds <= {int, RowRefused, RecorderStopped}
    assert RecorderStopped in kinds
    assert sum(isinstance(answer, int) for answer in answers) == len(ledger.written)


@in_virtual_time
async def test_a_ledger_that_answers_too_few_stops_the_run() -> None:
    class Short(NotedLedger):
        async def commit(self, entries: Any, *, of: Batch | None = None) -> Any:
            return (await super().commit(entries, of=of))[:-1]

    async with Recorder(Short()) as recorder:
        answers = await everyone(recorder, ["a", "b"])
        assert RecorderStopped in {type(answer) for answer in answers}


@in_virtual_time
async def test_callers_that_wait_for_room_are_stopped_too() -> None:
    ledger = NotedLedger(duration=1.0, fails=(0, DatabaseError("gone")))
    async with Recorder(ledger, max_waiting=3, max_batch=2) as recorder:
        answers = await everyone(recorder, [str(n) for n in range(50)])
    assert [type(answer) for answer in answers] == [RecorderStopped] * 50


@in_virtual_time
async def test_leaving_answers_callers_that_still_wait_for_room() -> None:
    ledger = NotedLedger(duration=1.0)
    async with Recorder(ledger, max_waiting=3) as recorder:
        callers = [asyncio.create_task(recorder.record(line(str(n)))) for n in range(50)]
        await settled()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert answers[:3] == [1, 2, 3]
    assert ledger.written == ["0", "1", "2"]
    assert [type(answer) for answer in answers[3:]] == [RecorderStopped] * 47


@in_virtual_time
async def test_nothing_is_recorded_after_the_end() -> None:
    recorder = Recorder(NotedLedger())
    async with recorder:
        pass
    with pytest.raises(RecorderStopped, match="the run has ended"):
        await recorder.record(line("late"))


# ---- room


@in_virtual_time
async def test_the_queue_is_bounded_and_drains() -> None:
    ledger = NotedLedger(duration=1.0)
    async with Recorder(ledger, max_waiting=5, linger=0.0) as recorder:
        callers = [asyncio.create_task(recorder.record(line(str(n)))) for n in range(23)]
        await asyncio.gather(*callers)
    assert max(len(commit) for commit in ledger.commits) <= 5
    assert ledger.written == [str(n) for n in range(23)]


@in_virtual_time
async def test_entries_that_did_not_wait_for_room_make_none() -> None:
    ledger = NotedLedger(duration=1.0)
    async with Recorder(ledger, max_waiting=2, linger=0.0) as recorder:
        for n in range(30):
            recorder.post(line(f"posted {n}"))
        await asyncio.sleep(3)
        ledger.commits.clear()
        await everyone(recorder, [str(n) for n in range(10)])
    assert max(len(commit) for commit in ledger.commits) <= 2


# ---- cancelled callers


@in_virtual_time
async def test_a_cancelled_caller_leaves_its_entry_and_its_undo_written() -> None:
    ledger = NotedLedger(duration=1.0)
    async with Recorder(ledger) as recorder:
        caller = asyncio.create_task(recorder.record(line("a"), undo=undone))
        await asyncio.sleep(0.5)
        caller.cancel()
        await asyncio.wait([caller])
        assert caller.cancelled()
    assert ledger.commits == [["a"], ["undo 1"]]


@in_virtual_time
async def test_an_answered_caller_is_not_undone() -> None:
    ledger = NotedLedger()
    async with Recorder(ledger) as recorder:
        await recorder.record(line("a"), undo=undone)
    assert ledger.written == ["a"]


@in_virtual_time
async def test_a_refused_entry_is_not_undone() -> None:
    ledger = NotedLedger(duration=1.0, refuses=lambda text: text == "a")
    async with Recorder(ledger) as recorder:
        caller = asyncio.create_task(recorder.record(line("a"), undo=undone))
        await asyncio.sleep(0.5)
        caller.cancel()
    assert ledger.written == []


@in_virtual_time
async def test_a_caller_cancelled_while_it_waits_for_room() -> None:
    ledger = NotedLedger(duration=1.0)
    async with Recorder(ledger, max_waiting=1) as recorder:
        first = asyncio.create_task(recorder.record(line("first")))
        happened = asyncio.create_task(recorder.record(line("happened")))
        about_to = asyncio.create_task(recorder.record(line("about to"), undo=undone))
        await settled()
        happened.cancel()
        about_to.cancel()
        await asyncio.wait([first, happened, about_to])
        assert happened.cancelled()
        assert about_to.cancelled()
        assert await recorder.record(line("room is left")) == 3
    assert ledger.written == ["first", "happened", "room is left"]


@in_virtual_time
async def test_a_last_word_is_written_before_the_end() -> None:
    ledger = NotedLedger(duration=1.0)

    async def busy(recorder: Recorder, name: str) -> None:
        try:
            await recorder.record(line(name))
            await asyncio.sleep(1000)
        finally:
            recorder.post(line(f"{name} was cut short"))

    async with Recorder(ledger) as recorder:
        tasks = [asyncio.create_task(busy(recorder, str(n))) for n in range(3)]
        await asyncio.sleep(2)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert ledger.commits[-1] == [f"{n} was cut short" for n in range(3)]


@in_virtual_time
async def test_being_cancelled_while_leaving_ends_the_writer_as_well() -> None:
    ledger = NotedLedger(duration=1000.0)
    recorder = Recorder(ledger)

    async def run() -> None:
        async with recorder:
            recorder.post(line("a"))

    leaving = asyncio.create_task(run())
    await asyncio.sleep(1)
    leaving.cancel()
    await asyncio.wait([leaving])
    assert leaving.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert ledger.written == []


# ---- any interleaving

Step = tuple[str, float, float | None]
steps = st.lists(
    st.tuples(
        st.sampled_from(["record", "undoable", "post", "bad"]),
        st.sampled_from([0.0, 0.01, 0.02, 0.5, 1.0]),
        st.none() | st.sampled_from([0.0, 0.005, 0.02, 0.021, 0.5, 1.02, 3.0]),
    ),
    max_size=25,
)


@given(
    steps=steps,
    max_batch=st.integers(1, 5),
    max_waiting=st.integers(1, 4),
    duration=st.sampled_from([0.0, 0.02, 1.0]),
    dies_after=st.none() | st.integers(0, 6),
)
def test_any_interleaving_of_callers_cancellations_and_failures(
    steps: list[Step], max_batch: int, max_waiting: int, duration: float, dies_after: int | None
) -> None:
    fails = None if dies_after is None else (dies_after, DatabaseError("gone"))
    ledger = NotedLedger(duration=duration, refuses=lambda text: text.startswith("bad"), fails=fails)
    ends: dict[str, str] = {}

    async def call(recorder: Recorder, kind: str, name: str) -> None:
        try:
            undo = (lambda _, name=name: line(f"undo {name}")) if kind == "undoable" else None
            await recorder.record(line(name), undo=undo)
            ends[name] = "answered"
        except RowRefused:
            ends[name] = "refused"
        except RecorderStopped:
            ends[name] = "stopped"
        except asyncio.CancelledError:
            ends[name] = "cancelled"
            raise

    @in_virtual_time
    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with Recorder(ledger, max_batch=max_batch, max_waiting=max_waiting) as recorder:
            tasks = []
            for n, (kind, pause, patience) in enumerate(steps):
                name = f"{kind} {n}"
                if kind == "post":
                    recorder.post(line(name))
                else:
                    task = asyncio.create_task(call(recorder, kind, name))
                    tasks.append(task)
                    if patience is not None:
                        loop.call_later(patience, task.cancel)
                await asyncio.sleep(pause)
            if tasks:
                await asyncio.wait(tasks)

    run()
    written = ledger.written
    assert len(written) == len(set(written)), "an entry was written twice"
    for name, end in ends.items():
        undo_written = f"undo {name}" in written
        if end == "answered":
            assert name in written
            assert not undo_written
        elif end in ("refused", "stopped"):
            assert name not in written
        if dies_after is None and end == "cancelled":
            assert undo_written == (name in written and name.startswith("undoable"))
            if name.startswith("record"):
                assert name in written
        if undo_written:
            assert written.index(name) < written.index(f"undo {name}")
    if dies_after is None:
        assert all(f"post {n}" in written for n, (kind, _, _) in enumerate(steps) if kind == "post")
        assert "stopped" not in ends.values()
