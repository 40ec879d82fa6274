"""What a table says of what was measured."""

from __future__ import annotations

import pytest

from benchmarks.table import Answer, Budget, Row


@pytest.mark.parametrize(
    ("budget", "value", "verdict"),
    [(Budget(0.6), 0.6, "met"), (Budget(0.6), 0.61, "MISSED"), (Budget(2.5, goal=True), 2.6, "open")],
)
def test_a_budget_is_met_up_to_its_limit(budget: Budget, value: float, verdict: str) -> None:
    assert budget.verdict(value) == verdict


def test_the_median_of_the_ratios_is_judged_where_there_are_ratios() -> None:
    assert Row("peer", [5.0], [0.5, 0.55, 9.0], Budget(0.6)).verdict == "met"
    assert Row("peer", [5.0], [0.5, 0.65, 0.7], Budget(0.6)).verdict == "MISSED"
    assert Row("ours", [65.0], budget=Budget(64)).verdict == "MISSED"


def test_a_peer_without_figures_has_no_verdict() -> None:
    row = Row("peer", budget=Budget(0.6), note="not installed")
    assert row.verdict == ""
    assert "not installed" in str(Answer("title", "ms", [row]))


def test_columns_stand_below_each_other() -> None:
    answer = Answer("title", "ms", [Row("a", [1.0, 3.0, 2.0]), Row("much longer", [1234.0])], ["a note"])
    lines = str(answer).splitlines()
    assert lines[0] == "title [ms]"
    assert "2.00" in lines[3]
    assert "1.00..3.00" in lines[3]
    assert "1,234" in lines[4]
    assert lines[3].index("2.00") + 4 == lines[4].index("1,234") + 5
    assert lines[5] == "  a note"
