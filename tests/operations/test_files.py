"""The files for operators: the unit, the settings, alerts and the dashboard speak of what there is."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from netraven.config import load_settings
from netraven.config.reading import _NAMED, _SECTIONS
from netraven.daemon.metrics import Metrics
from tests.acceptance.system import program

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config"
UNIT = CONFIG / "netraven.service"
RULES = CONFIG / "prometheus" / "netraven.rules.yml"
DASHBOARD = CONFIG / "grafana" / "netraven.json"
RUNBOOK = ROOT / "docs" / "how-to" / "operate.md"
WORST = 2.0
"""Exposure that `systemd-analyze security` may come to at the most, of 10."""


def known_metrics() -> dict[str, set[str]]:
    """Every sample that can be scraped, by name, with its labels."""
    found: dict[str, set[str]] = {"up": {"instance", "job"}}
    for family in Metrics("1").registry.collect():
        kinds = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"], "info": ["_info"]}
        for ending in kinds.get(family.type, [""]):
            found[family.name + ending] = set()
    return found


def spoken_of(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:netraven|process)_[a-z0-9_]+", expression))


def alerts() -> Iterator[Mapping[str, Any]]:
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]:
        yield from group["rules"]


def test_every_metric_that_alerts_speak_of_exists() -> None:
    known = known_metrics()
    rules = list(alerts())
    assert len(rules) > 10
    for rule in rules:
        used = spoken_of(rule["expr"])
        assert used or rule["expr"].startswith("up"), rule["alert"]
        assert used <= known.keys(), rule["alert"]


def test_every_alert_has_a_chapter_that_says_what_to_do() -> None:
    headings = re.findall(r"(?m)^#+ (NetRaven\w+)$", RUNBOOK.read_text(encoding="utf-8"))
    assert sorted(headings) == sorted(rule["alert"] for rule in alerts())
    for rule in alerts():
        assert rule["annotations"]["runbook"] == f"docs/how-to/operate.md#{rule['alert'].lower()}"
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("warning", "critical")


def test_every_metric_that_the_dashboard_shows_exists() -> None:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    known = known_metrics()
    targets = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(targets) > 15
    for expression in targets:
        assert spoken_of(expression)
        assert spoken_of(expression) <= known.keys(), expression
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_nothing_that_is_measured_names_a_device() -> None:
    for family in Metrics("1").registry.collect():
        for sample in family.samples:
            assert "device" not in sample.labels


def test_no_label_is_one_that_a_scrape_gives() -> None:
    """Prometheus would rename ours, and alerts and the dashboard would show its own in the place of it."""
    for collector in Metrics("1").registry._collector_to_names:
        assert not {"job", "instance"} & set(getattr(collector, "_labelnames", ()))


def test_the_settings_for_the_daemon_load_and_speak_of_every_section(tmp_path: Path) -> None:
    text = (CONFIG / "netraven.toml").read_text(encoding="utf-8")
    plain = tmp_path / "plain.toml"
    plain.write_text(text)
    settings = load_settings(plain, environ={})
    assert settings.database_url == "sqlite+aiosqlite:////var/lib/netraven/netraven.db"
    # what is commented out is right too
    shown = re.sub(r"(?m)^# (\w+ = |\[\w+\.[\w-]+\]$)", r"\1", text)
    shown = shown.replace('url = "sqlite+aiosqlite', '# url = "sqlite+aiosqlite', 1)
    full = tmp_path / "full.toml"
    full.write_text(shown)
    assert load_settings(full, environ={}).database.url.startswith("postgresql+asyncpg://")
    spoken = set(re.findall(r"(?m)^\[(\w+)", shown))
    assert spoken == {*_SECTIONS, *_NAMED, "jobs"}


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    there = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(encoding="utf-8"))
    unit = tmp_path / UNIT.name
    unit.write_text(there)
    done = subprocess.run(
        [program("systemd-analyze", "systemd"), "verify", "--man=no", unit],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_leaves_the_daemon_little(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=true",
            "--no-pager",
            f"--threshold={WORST * 10:.0f}",
            UNIT,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = re.search(r"Overall exposure level for netraven\.service: ([0-9.]+)", done.stdout + done.stderr)
    assert found, done.stderr
    assert float(found[1]) <= WORST
    assert done.returncode == 0


def test_the_unit_gives_the_daemon_time_to_drain() -> None:
    text = UNIT.read_text(encoding="utf-8")
    seconds = re.search(r"(?m)^TimeoutStopSec=(\d+)$", text)
    assert seconds
    settings = load_settings(CONFIG / "netraven.toml", environ={})
    assert float(seconds[1]) >= settings.daemon.drain + 30
    assert "netraven.key:" in text
    assert "Type=notify" in text
