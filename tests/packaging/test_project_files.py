"""Promises that the project's own files make: one command for CI, and no silent exceptions to the rules."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("netraven", "alembic", "tests", "benchmarks", "scripts")

NOQA = re.compile(r"#\s*(?:ruff:\s*)?noqa\b(?P<rest>.*)", re.IGNORECASE)
NOQA_WITH_REASON = re.compile(r":\s*[A-Z]+[0-9]+(?:,\s*[A-Z]+[0-9]+)*\s*(?:[-:#(]|--)\s*\w.{7,}")
IGNORE = re.compile(r"#\s*type:\s*ignore(?P<rest>.*)")
IGNORE_WITH_REASON = re.compile(r"\[[a-z-]+(?:,\s*[a-z-]+)*\]\s*(?:[-:#(]|--)\s*\w.{7,}")

A_HOME = "/".join(["", "home", "someone"])  # noqa: FLY002 - spelled out it would be found in this very file

pytestmark = pytest.mark.packaging


def comments(source: str) -> list[tuple[int, str]]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [(t.start[0], t.string) for t in tokens if t.type == tokenize.COMMENT]


def exceptions_without_reason(source: str) -> list[int]:
    """Give the lines that switch a check off without naming it and saying why on the same line."""
    lines = []
    for number, comment in comments(source):
        for pattern, complete in ((NOQA, NOQA_WITH_REASON), (IGNORE, IGNORE_WITH_REASON)):
            found = pattern.search(comment)
            if found and not complete.match(found["rest"]):
                lines.append(number)
    return lines


def test_ci_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = [ln for ln in script.read_text(encoding="utf-8").splitlines() if ln and not ln.startswith("#")]
    assert commands[0] == "set -euo pipefail"
    assert commands[-1] == "exec make test"
    assert len(commands) == 3


def test_every_exception_to_a_check_names_it_and_gives_a_reason() -> None:
    bare = [
        f"{path.relative_to(ROOT)}:{line}"
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in exceptions_without_reason(path.read_text(encoding="utf-8"))
    ]
    assert not bare, "no code or no reason: " + ", ".join(bare)


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa: BLE001 - a plugin may raise anything",
        "# noqa: S311, PLR0913 - not for secrets, one per knob",
        "# noqa: S311  # jitter, nothing secret",
        "# type: ignore[arg-type]  # the stub lacks None",
        "# type: ignore[arg-type]  # the stub lacks None  # noqa: E501 - the reason is long",
        "# an ordinary comment",
    ],
)
def test_a_reasoned_exception_passes(comment: str) -> None:
    assert exceptions_without_reason(f"x = 1  {comment}\n") == []


@pytest.mark.parametrize(
    "comment",
    ["# noqa", "# noqa: S311", "# noqa: S311 -", "# noqa: because", "# type: ignore", "# type: ignore[misc]"],
)
def test_a_bare_exception_is_found(comment: str) -> None:
    assert exceptions_without_reason(f"x = 1  {comment}\n") == [1]


def test_every_rule_that_a_folder_is_spared_has_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = re.search(r"^\[tool\.ruff\.lint\.per-file-ignores\]\n(.*?)^\[", text, re.MULTILINE | re.DOTALL)
    assert section
    spared = [ln for ln in section[1].splitlines() if re.match(r'\s+"', ln)]
    assert spared
    assert [ln for ln in spared if not re.search(r'",\s+# \S.{5,}', ln)] == []


def test_warnings_are_errors() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]
    assert options["ini_options"]["filterwarnings"][0] == "error"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[a](missing.md)", "page.md:1: link to missing.md, which does not exist"),
        ("[a](#nowhere)", "page.md:1: link to #nowhere: that page has no such heading"),
        ("# Some heading\n\n[a](#some-heading)", ""),
        ("```\n[a](missing.md)\n```", ""),
        (
            f"see {A_HOME}/netraven",
            f"page.md:1: names one machine or package index: '{A_HOME}/n'",
        ),
    ],
)
def test_the_documentation_check_finds_it(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "scripts").mkdir()
    check = tmp_path / "scripts" / "check_docs.py"
    check.write_bytes((ROOT / "scripts" / "check_docs.py").read_bytes())
    (tmp_path / "page.md").write_text(text, encoding="utf-8")

    done = subprocess.run([sys.executable, check], capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout.strip() == fault
    assert done.returncode == (1 if fault else 0)
