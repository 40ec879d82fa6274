"""`netraven prune`, and `netraven history export` and `import`."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from netraven.assembly import open_store
from netraven.config import load_settings
from netraven.storage.store import SqlStore
from tests.archive.pasts import CANARY, SECRETS, lines
from tests.cli.conftest import QUICK, Command
from tests.storage.facts import add_device
from tests.storage.pasts import edits, remember, texts_of


def in_store(home: Path, work: Callable[[SqlStore], Awaitable[object]]) -> object:
    async def run() -> object:
        async with open_store(load_settings(home / "netraven.toml")) as store:
            return await work(store)

    return asyncio.run(run())


@pytest.fixture
def past(home: Path) -> Path:
    """Two devices with some history, long ago as it is by now."""

    async def make(store: SqlStore) -> None:
        await remember(store, await add_device(store, "r1"), edits(6, size=3000))
        await remember(store, await add_device(store, "r2", tags={"core"}), ["a\n", SECRETS])

    in_store(home, make)
    return home


def limit(home: Path, words: str) -> None:
    (home / "netraven.toml").write_text(f"{QUICK}\n[retention]\n{words}\n")


def test_without_limits_it_says_what_to_set_and_makes_texts_small(past: Path, nr: Command) -> None:
    dry = nr("prune", "--dry-run")
    assert dry.code == 0
    assert "would go: 0 versions of 0 devices, 0 texts (0 bytes as stored)" in dry.out
    assert "would be made small, where that pays: 6 texts" in dry.out
    said = nr("prune")
    assert (said.code, said.err) == (0, "")
    assert "made small: 6 texts" in said.out
    assert f"[retention] in {past / 'netraven.toml'} sets no limit" in said.out.replace(
        "in netraven.toml", f"in {past / 'netraven.toml'}"
    )
    document = nr("prune", "--json").json
    assert document["configured"] is False
    assert document["packed"]["texts"] == 0


def test_a_dry_run_says_what_then_happens(past: Path, nr: Command) -> None:
    limit(past, "versions = 2\nlog_days = 2")
    dry = nr("prune", "--dry-run", "--json").json
    assert (dry["dry_run"], dry["configured"]) == (True, True)
    assert dry["limits"] == {"versions": 2, "version_days": 0.0, "log_days": 2.0}
    assert (dry["versions"], dry["devices"], dry["texts"], dry["packed"]) == (4, 1, 4, {"texts": 2})
    done = nr("prune", "--json").json
    for name in ("versions", "devices", "texts", "bytes", "logs"):
        assert done[name] == dry[name], name
    assert set(done["logs"]) == {
        "connection_logs",
        "credential_attempts",
        "hook_deliveries",
        "job_logs",
        "run_outcomes",
    }
    assert [one["version"] for one in nr("config", "history", "r1", "--json").json] == [5, 6]


def test_logs_have_a_least_age(past: Path, nr: Command) -> None:
    limit(past, "log_days = 1")
    said = nr("prune")
    assert said.code == 2
    assert "retention: log_days (1) must be 0 or at least 2" in said.err


def test_without_the_key_versions_go_all_the_same(past: Path, nr: Command) -> None:
    limit(past, "versions = 1")
    (past / "netraven.key").rename(past / "elsewhere")
    said = nr("prune")
    assert said.code == 1
    assert "gone: 6 versions of 2 devices" in said.out
    assert "warning: texts are left as they are: no key" in said.err


def test_export_and_import(past: Path, nr: Command) -> None:
    said = nr("history", "export", "all.zst")
    assert said.code == 0, said.err
    assert "all.zst: 2 devices, 8 versions, 8 texts" in said.out
    assert "importing the file needs it" in said.out
    assert stat.S_IMODE((past / "all.zst").stat().st_mode) == 0o600
    again = nr("history", "export", "all.zst")
    assert (again.code, again.out) == (2, "")
    assert "--force replaces it" in again.err
    assert nr("history", "export", "all.zst", "--force", "--json").json["versions"] == 8
    assert nr("device", "remove", "r1").code == 0
    dry = nr("history", "import", "all.zst", "--dry-run", "--json").json
    assert (dry["dry_run"], dry["devices"], dry["versions"], dry["known"]) == (True, 1, 6, 2)
    only = nr("history", "import", "all.zst", "--existing-only")
    assert "came in: 0 versions, 0 new devices" in only.out
    assert "left out: r1" in only.err
    loaded = nr("history", "import", "all.zst")
    assert "came in: 6 versions, 1 new device\n" in loaded.out
    assert in_store(past, lambda store: texts_of(store, "r1")) == dict(enumerate(edits(6, size=3000), 1))


def test_an_export_of_some_in_clear_and_with_marks(past: Path, nr: Command) -> None:
    raw = nr("history", "export", "raw.zst", "--raw", "--tag", "core")
    assert "every secret of the devices: keep the file as a key is kept" in raw.out
    assert any(CANARY in str(line.get("text")) for line in lines(past / "raw.zst"))
    marked = nr("history", "export", "marked.zst", "--redacted", "--device", "r2")
    assert marked.code == 0, marked.err
    found = [line["text"] for line in lines(past / "marked.zst") if line["type"] == "text"]
    assert any("<redacted:" in text for text in found)
    assert CANARY not in str(found)
    refused = nr("history", "import", "marked.zst")
    assert (refused.code, refused.out) == (2, "")
    assert "for giving away" in refused.err


def test_what_does_not_fit_is_said(past: Path, nr: Command) -> None:
    assert "no such device: 'nobody'" in nr("history", "export", "x", "--device", "nobody").err
    assert (
        "no device or credential carries the tag 'none'" in nr("history", "export", "x", "--tag", "none").err
    )
    assert "unknown option" in nr("history", "export", "x", "--sealed").err
    assert nr("history", "export", "x", "--raw", "--redacted").code == 2
    assert "cannot be read" in nr("history", "import", "x").err
    (past / "x").write_bytes(b"not an archive")
    said = nr("history", "import", "x")
    assert said.code == 2
    assert "x is damaged, or no archive of a history" in said.err
    (past / "netraven.key").rename(past / "elsewhere")
    assert nr("history", "export", "y").code == 2
    assert not (past / "y").exists()
