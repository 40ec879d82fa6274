"""The benchmarks run, count what they should and write what they found. What the figures are is not tested."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bench import QUICK
from benchmarks.clients import NEEDS, TITLES

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = {
    "cpu",
    "slow",
    "memory",
    "storm",
    "scale",
    "recorder",
    "strategies",
    "guard",
    "history",
    "schedule",
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # thirty processes after each other, on a machine that does other things
    pytest.mark.xdist_group("benchmarks"),  # one run serves all of these
]
OURS = {"netraven", "netraven-again", "netraven-memory"}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one quick run of the whole writes, with settings around that have nothing to do with it."""
    file = tmp_path_factory.mktemp("bench") / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--json", str(file)],
        cwd=ROOT,
        env=os.environ | {"NETRAVEN_COLLECT__CONCURRENCY": "not a number"},
        capture_output=True,
        text=True,
        timeout=570,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for question in json.loads(file.read_text())["questions"].values():
        assert question["title"] in done.stdout
    return dict(json.loads(file.read_text()))


def runs(found: dict[str, Any], question: str) -> list[dict[str, Any]]:
    return list(found["questions"][question]["raw"])


def row(found: dict[str, Any], question: str, start: str) -> dict[str, Any]:
    return next(r for r in found["questions"][question]["rows"] if r["label"].startswith(start))


def test_every_question_is_answered(found: dict[str, Any]) -> None:
    assert set(found["questions"]) == QUESTIONS
    assert found["quick"] is True
    assert {"python", "cores", "pinned", "load"} <= set(found["machine"])
    for question in found["questions"].values():
        assert {"title", "unit", "rows", "notes", "raw", "took_s"} == set(question)
        assert all(r["values"] or r["note"] for r in question["rows"])


def test_netraven_collects_everything_with_one_attempt_each(found: dict[str, Any]) -> None:
    for question in ("cpu", "slow", "memory", "storm", "scale"):
        ours = [reading for reading in runs(found, question) if reading["client"] in OURS]
        assert ours
        for reading in ours:
            assert reading["error"] == ""
            assert reading["collected"] == reading["attempts"] == reading["devices"] > 0
            assert reading["failed"] == {}
            assert 0 < reading["cpu"] < reading["process_cpu"]


def test_a_peer_either_does_the_same_job_or_is_said_to_be_absent(found: dict[str, Any]) -> None:
    for question in ("cpu", "slow", "memory"):
        assert all(reading["collected"] == reading["devices"] for reading in runs(found, question))
    for client, module in NEEDS.items():
        absent = find_spec(module) is None
        assert (row(found, "cpu", TITLES[client])["note"] == "not installed") is absent
    assert row(found, "cpu", "scrapli")["ratios"]  # a requirement of NetRaven itself, so it is always there


def test_peers_are_divided_into_the_run_beside_them(found: dict[str, Any]) -> None:
    clients = [reading["client"] for reading in runs(found, "cpu")]
    assert clients[0::2] == ["netraven"] * (len(clients) // 2)
    pairs = list(zip(runs(found, "cpu")[0::2], runs(found, "cpu")[1::2], strict=True))
    expected = [ours["cpu"] / peer["cpu"] for ours, peer in pairs if peer["client"] == "scrapli"]
    assert row(found, "cpu", "scrapli")["ratios"] == pytest.approx(expected)


def test_all_sessions_are_open_at_once_where_that_is_the_question(found: dict[str, Any]) -> None:
    assert [reading["peak_sessions"] for reading in runs(found, "storm")] == [QUICK.storm]
    assert "only" not in row(found, "memory", "NetRaven")["note"]


def test_no_account_is_locked_by_what_the_guard_is_measured_with(found: dict[str, Any]) -> None:
    for start in ("wholly wrong", "mixed fleet"):
        assert set(row(found, "guard", f"{start}: lockouts")["values"]) == {0}
    assert all(0 < refusals <= 4 for refusals in row(found, "guard", "wholly wrong: refusals")["values"])
    for reading in runs(found, "guard"):
        assert reading["error"] == ""
        assert reading["collected"] in {0, reading["devices"]}
        assert (reading["collected"] == 0) is (reading["devices"] in QUICK.wrong)


def test_the_guard_is_compared_with_a_run_without_it(found: dict[str, Any]) -> None:
    for night in ("first run", "second run"):
        title = f"CPU per device, ms, {night}"
        assert len(row(found, "guard", f"{title}: no guard")["values"]) == 2 * QUICK.rounds
        for way in ("strict", "adaptive"):
            assert len(row(found, "guard", f"{title}: {way}")["ratios"]) == QUICK.rounds


def test_the_budgets_of_the_design_are_judged(found: dict[str, Any]) -> None:
    judged = {
        ("cpu", "Netmiko"): 0.6,
        ("cpu", "scrapli"): 0.75,
        ("cpu", "libssh2"): 2.5,
        ("memory", "NetRaven"): 64,
        ("storm", "wall"): 1.0,
        ("scale", "30 devices"): 1.1,
        ("guard", "CPU per device, ms, first run: strict"): 1.05,
        ("guard", "CPU per device, ms, second run: adaptive"): 1.05,
        ("guard", "ms per login, second run: strict"): 10,
        ("guard", "wall, s, second run: adaptive"): 1.1,
        ("guard", "wholly wrong: refusals"): 4,
        ("guard", "mixed fleet of 30, second run: attempts"): 1.01,
        ("guard", "mixed fleet: lockouts"): 0,
    }
    for (question, start), budget in judged.items():
        assert row(found, question, start)["budget"] == budget
        if row(found, question, start)["values"]:
            assert row(found, question, start)["verdict"] in {"met", "MISSED", "open"}
