"""`python -m benchmarks`: NetRaven beside its peers, on one simulated fleet, in one run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import cpu, guard, history, memory, recorder, scale, schedule, slow, storm, strategies
from benchmarks.bench import QUICK, Bench, Sizes
from benchmarks.process import CORES, ENVIRONMENT
from benchmarks.table import Answer

QUESTIONS: dict[str, Callable[[Bench], Answer]] = {
    "cpu": cpu.measure,
    "slow": slow.measure,
    "memory": memory.measure,
    "storm": storm.measure,
    "scale": scale.measure,
    "recorder": recorder.measure,
    "guard": guard.measure,
    "strategies": strategies.measure,
    "history": history.measure,
    "schedule": schedule.measure,
}


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="everything small: shows that it works, its figures say nothing"
    )
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, metavar="NAME", help=", ".join(QUESTIONS))
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each comparison is repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw figures there")
    return parser.parse_args(argv)


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "pinned": str(CORES),
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    sizes = QUICK if options.quick else Sizes()
    if options.rounds:
        sizes = Sizes(**(asdict(sizes) | {"rounds": options.rounds}))
    answers: dict[str, Any] = {}
    found = {"machine": machine(), "quick": options.quick, "sizes": asdict(sizes), "questions": answers}
    print(f"{found['machine']}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="netraven-bench-") as folder:
        ENVIRONMENT["PYTHONPYCACHEPREFIX"] = str(Path(folder) / "compiled")
        bench = Bench(sizes, Path(folder))
        for name, measure in QUESTIONS.items():
            if options.only and name not in options.only:
                continue
            print(f"  {name} ...", file=sys.stderr, flush=True)
            began = time.monotonic()
            answer = measure(bench)
            answers[name] = answer.as_json() | {"took_s": round(time.monotonic() - began, 1)}
            print(answer, flush=True)
            if options.json:  # after each question: a run that is broken off leaves what it had
                options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
