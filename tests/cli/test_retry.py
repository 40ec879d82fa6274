"""`netraven run retry`: what was not collected, once more."""

from __future__ import annotations

import re
from pathlib import Path

from netraven.model import Counts, Order, RunStatus, Selector
from netraven.storage.store import SqlStore
from tests.cli.conftest import Command
from tests.cli.test_jobs import in_store


def test_only_what_was_not_collected_is_visited_again(ready: Path, nr: Command) -> None:
    assert nr("collect").code == 1
    said = nr("run", "retry", "1", "--json")
    assert said.code == 1
    document = said.json
    assert (document["run"], document["retry_of"]) == (2, 1)
    assert {device["name"] for device in document["devices"]} == {"error", "closed", "stranger", "alone"}
    text = nr("run", "show", "2").out
    assert "the devices that run 1 had left" in text
    assert "retry of 1" in nr("run", "list").out
    assert "netraven run retry 2" in text


def test_it_has_the_outputs_and_the_strategy_of_the_first(ready: Path, nr: Command) -> None:
    nr("collect", "--device", "closed", "--output", "version", "--strategy", "priority", "--concurrency", "3")
    nr("run", "retry", "1")
    again = in_store(lambda store: store.runs.get(2))
    assert (again.outputs, again.strategy, again.concurrency) == (("version",), "priority", 3)
    nr("run", "retry", "2", "--concurrency", "1")
    assert in_store(lambda store: store.runs.get(3)).concurrency == 1


def test_what_cannot_be_retried(ready: Path, nr: Command) -> None:
    nr("collect", "--device", "r1")
    in_store(lambda store: store.runs.queue(Order(selector=Selector())))
    for words, said in (
        (("99",), "no such run: 99"),
        (("1",), "run 1 has nothing to retry"),
        (("2",), "run 2 has not ended"),
        (("x",), "must be a whole number"),
    ):
        answer = nr("run", "retry", *words)
        assert (answer.code, answer.out) == (2, "")
        assert said in answer.err
    assert len(nr("run", "list", "--json").json) == 2


def test_every_status_of_a_run_reads_differently(ready: Path, nr: Command) -> None:
    async def make(store: SqlStore) -> None:
        for status in RunStatus:
            if status is RunStatus.QUEUED:
                await store.runs.queue(Order())
                continue
            run = await store.runs.start(Order())
            if status is not RunStatus.RUNNING:
                await store.runs.finish(run, status, Counts())

    in_store(make)
    header, _, *listed = nr("run", "list").out.splitlines()
    words = {line[header.index("status") :].split("   ")[0] for line in listed}
    assert len(words) == len(RunStatus), words
    headlines = {
        nr("run", "show", number).out.splitlines()[0].split(":")[1] for number in range(1, len(RunStatus) + 1)
    }
    assert len({re.sub(r"\(.*", "", headline) for headline in headlines}) == len(RunStatus)
