"""What a question comes to, and how it is printed."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

_HEAD = ("", "median", "min..max", "ratio", "budget", "")


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit of the design. ``goal``: something to aim at, which is not missed but open."""

    limit: float
    goal: bool = False

    def verdict(self, value: float) -> str:
        if value <= self.limit:
            return "met"
        return "open" if self.goal else "MISSED"

    def __str__(self) -> str:
        return f"{'aim' if self.goal else '<='} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One client, or one thing that was measured.

    ``ratios``: NetRaven's value divided by this one's, once per round, of two runs side by side. The budget holds for
    their median, or for that of the values where there are none.
    """

    label: str
    values: Sequence[float] = ()
    ratios: Sequence[float] = ()
    budget: Budget | None = None
    note: str = ""

    @property
    def judged(self) -> float | None:
        of = self.ratios or self.values
        return statistics.median(of) if of else None

    @property
    def verdict(self) -> str:
        return "" if self.budget is None or self.judged is None else self.budget.verdict(self.judged)

    def cells(self) -> tuple[str, ...]:
        if not self.values:
            return (self.label, self.note, "", "", "" if self.budget is None else str(self.budget), "")
        return (
            self.label,
            _number(statistics.median(self.values)),
            _range(self.values),
            f"{statistics.median(self.ratios):.2f} ({_range(self.ratios)})" if self.ratios else "",
            "" if self.budget is None else str(self.budget),
            f"{self.verdict} {self.note}".strip(),
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "values": list(self.values),
            "ratios": list(self.ratios),
            "budget": None if self.budget is None else self.budget.limit,
            "verdict": self.verdict,
            "note": self.note,
        }


@dataclass(slots=True)
class Answer:
    """One question's table. ``raw`` goes into the JSON only."""

    title: str
    unit: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    raw: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "unit": self.unit,
            "rows": [row.as_json() for row in self.rows],
            "notes": self.notes,
            "raw": self.raw,
        }

    def __str__(self) -> str:
        cells = [_HEAD, *(row.cells() for row in self.rows)]
        widths = [max(len(line[column]) for line in cells) for column in range(len(_HEAD))]
        lines = [f"{self.title} [{self.unit}]", ""]
        lines += [_line(line, widths) for line in cells]
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines) + "\n"


def _line(cells: Iterable[str], widths: Sequence[int]) -> str:
    first, *rest = (
        cell.ljust(width) if place in (0, 5) else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return ("  " + "   ".join((first, *rest))).rstrip()


def _range(values: Sequence[float]) -> str:
    return f"{_number(min(values))}..{_number(max(values))}"


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 100 else f"{value:.2f}"
