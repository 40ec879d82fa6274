"""Repositories in the layouts of Oxidized and RANCID, made here, read as history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.errors import GitError, InputError
from netraven.git import importing
from netraven.git.importing import (
    ImportedVersion,
    Names,
    Source,
    configuration_in,
    device_in,
    find_repositories,
)
from netraven.git.taking_over import take_over
from tests.git.repositories import git

DAY = datetime(2021, 3, 4, 5, 6, 7, tzinfo=UTC)
ENVIRON = {"PATH": "/usr/bin:/bin:/usr/local/bin"}


class Written:
    """A repository that another program has written: a commit a day."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.day = 0
        git(path.parent, "init", "--quiet", "-b", "master", str(path))

    def commit(self, files: dict[str, str | bytes | None], *, authored: datetime | None = None) -> None:
        self.day += 1
        for name, text in files.items():
            file = self.path / name
            if text is None:
                file.unlink()
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text if isinstance(text, bytes) else text.encode())
        git(self.path, "add", "--all")
        authored = authored or DAY + timedelta(days=self.day)
        dates = {"GIT_AUTHOR_DATE": authored.isoformat(), "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z"}
        git(self.path, "commit", "--quiet", "--allow-empty", "-m", "update", **dates)

    def bare(self, path: Path) -> Path:
        git(self.path.parent, "clone", "--quiet", "--bare", str(self.path), str(path))
        return path


async def read(path: Path, **options: str) -> list[ImportedVersion]:
    return [v for one in find_repositories(path) async for v in Source(one, ENVIRON, **options).versions()]


def told(versions: Sequence[ImportedVersion]) -> list[tuple[str, int, str]]:
    return [(v.device, (v.at - DAY).days, v.text) for v in versions]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path / "work")


async def test_oxidized_one_repository(written: Written, tmp_path: Path) -> None:
    written.commit({"r1": "one\n", "core/r2": "two\n"})
    written.commit({"r1": "one more\n", "r1--version": "17\n", "version/r1--show": "x\n"})
    written.commit({"core/r2": None})
    written.commit({"r1": "one\n"})
    versions = await read(written.bare(tmp_path / "oxidized.git"))
    assert told(versions) == [
        ("r2", 1, "two\n"),
        ("r1", 1, "one\n"),
        ("r1", 2, "one more\n"),
        ("r1", 4, "one\n"),
    ]
    assert {version.path for version in versions} == {"r1", "core/r2"}


async def test_oxidized_a_repository_for_each_group(tmp_path: Path) -> None:
    folder = tmp_path / "oxidized"
    folder.mkdir()
    for group, name in (("core", "r1"), ("edge", "r2")):
        written = Written(tmp_path / group)
        written.commit({name: f"{name} of {group}\n"})
        written.bare(folder / f"{group}.git")
    (folder / "notes").mkdir()
    assert told(await read(folder)) == [("r1", 1, "r1 of core\n"), ("r2", 1, "r2 of edge\n")]


HEADER = """\
!RANCID-CONTENT-TYPE: cisco
!
!Chassis type: 2811 - a 2800 router
!CPU: MPC860, MPC8XX CPU at 60MHz, impl 1, rev 2
!
!Flash: nvram: 1 -rw-     1234  <no date>  startup-config
!
config-register 0x2102
"""
CONFIG = "version 12.4\nhostname r1\n!\ninterface Lo0\nend\n"


async def test_rancid(written: Written) -> None:
    written.commit({"configs/r1.example.net": HEADER + CONFIG, "router.db": "r1.example.net:cisco:up\n"})
    written.commit({"configs/r1.example.net": HEADER.replace("1234", "9999") + CONFIG})
    written.commit(
        {"configs/r1.example.net": HEADER + CONFIG.replace("Lo0", "Lo1"), "configs/.gitignore": "*.new\n"}
    )
    assert told(await read(written.path)) == [
        ("r1.example.net", 1, CONFIG),
        ("r1.example.net", 3, CONFIG.replace("Lo0", "Lo1")),
    ], "what only RANCID says has changed is no version"


async def test_rancid_groups_in_one_repository(written: Written) -> None:
    written.commit(
        {
            "core/configs/r1": "#RANCID-CONTENT-TYPE: juniper\n#\n# Chassis\nsystem {\n}\n",
            "core/router.db": "",
        }
    )
    written.commit({"edge/configs/r2": ";RANCID-CONTENT-TYPE: x\n; y\nz\n"})
    assert told(await read(written.path)) == [("r1", 1, "system {\n}\n"), ("r2", 2, "z\n")]


@pytest.mark.parametrize(
    ("text", "configuration"),
    [
        (HEADER + CONFIG, CONFIG),
        (CONFIG, CONFIG),
        ("", ""),
        ("!RANCID-CONTENT-TYPE: cisco\n", ""),
        (
            "# RANCID-CONTENT-TYPE: juniper\n#\n## Last commit\nsystem {\n# inner\n}\n",
            "system {\n# inner\n}\n",
        ),
        ("RANCID-CONTENT-TYPE: x\n\nset a\n! b\n", "set a\n! b\n"),
        ("hostname x\n!RANCID-CONTENT-TYPE: later\n", "hostname x\n!RANCID-CONTENT-TYPE: later\n"),
    ],
)
def test_what_rancid_puts_before_a_configuration_is_kept_out(text: str, configuration: str) -> None:
    assert configuration_in(text, "rancid") == configuration
    assert configuration_in(text, "oxidized") == text


@pytest.mark.parametrize(
    ("path", "oxidized", "rancid"),
    [
        ("r1", "r1", None),
        ("core/r1", "r1", None),
        ("configs/r1", "r1", "r1"),
        ("a/b/configs/r1", "r1", "r1"),
        ("configs/.cvsignore", None, None),
        ("configs/r1.new", "r1.new", None),
        ("r1--version", None, None),
        ("router.db", "router.db", None),
    ],
)
def test_which_file_is_whose(path: str, oxidized: str | None, rancid: str | None) -> None:
    assert (device_in(path, "oxidized"), device_in(path, "rancid")) == (oxidized, rancid)


async def test_the_layout_can_be_told(written: Written) -> None:
    written.commit({"configs/r1": "!RANCID-CONTENT-TYPE: cisco\nx\n"})
    assert [v.text for v in await read(written.path)] == ["x\n"]
    assert [v.text for v in await read(written.path, layout="oxidized")] == [
        "!RANCID-CONTENT-TYPE: cisco\nx\n"
    ]


async def test_times_are_the_authors_and_move_on(written: Written) -> None:
    written.commit({"r1": "a\n"}, authored=DAY + timedelta(days=9))
    written.commit({"r1": "b\n"}, authored=DAY + timedelta(days=3))
    written.commit({"r1": "c\n", "r2": "x\n"}, authored=DAY + timedelta(days=3))
    at = {(v.device, v.text): v.at - DAY for v in await read(written.path)}
    nine, second = timedelta(days=9), timedelta(seconds=1)
    assert at == {
        ("r1", "a\n"): nine,
        ("r1", "b\n"): nine + second,
        ("r1", "c\n"): nine + 2 * second,
        ("r2", "x\n"): timedelta(days=3),
    }


async def test_any_bytes_and_names(written: Written) -> None:
    written.commit({"rö 1\n": b"caf\xe9 \x00\r\nend", 'q"': "q\n", "empty": "", "link": "x\n"})
    (written.path / "link").unlink()
    (written.path / "link").symlink_to("/etc/passwd")
    written.commit({})
    versions = {v.device: v.text for v in await read(written.path)}
    assert versions == {"rö 1\n": "caf\udce9 \x00\r\nend", 'q"': "q\n", "link": "x\n"}


async def test_merges_and_branches(written: Written) -> None:
    written.commit({"r1": "a\n"})
    git(written.path, "checkout", "--quiet", "-b", "side")
    written.commit({"r2": "side\n"})
    git(written.path, "checkout", "--quiet", "master")
    written.commit({"r1": "b\n"})
    git(written.path, "merge", "--quiet", "--no-ff", "-m", "merge", "side")
    assert [(v.device, v.text) for v in await read(written.path)] == [
        ("r1", "a\n"),
        ("r1", "b\n"),
        ("r2", "side\n"),
    ]
    side = await read(written.path, branch="side")
    assert [(v.device, v.text) for v in side] == [("r1", "a\n"), ("r2", "side\n")]


async def test_what_cannot_be_read_is_said(written: Written, tmp_path: Path) -> None:
    assert await read(written.path) == [], "nothing was committed yet"
    with pytest.raises(InputError, match="no branch 'nowhere'"):
        await read(written.path, branch="nowhere")
    with pytest.raises(InputError, match="no such folder"):
        find_repositories(tmp_path / "nowhere")
    (tmp_path / "plain").mkdir()
    with pytest.raises(InputError, match="no git repository"):
        find_repositories(tmp_path / "plain")
    written.commit({"r1": "a\n"})
    written.commit({"r1": "b\n"})
    blob = git(written.path, "rev-parse", "HEAD~1:r1").strip()
    (written.path / ".git/objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(GitError, match="r1 cannot be read"):
        await read(written.path)
    tip = git(written.path, "rev-parse", "HEAD~1").strip()
    (written.path / ".git/objects" / tip[:2] / tip[2:]).unlink()
    with pytest.raises(GitError, match="damaged"):
        await read(written.path)


async def test_worktrees_and_submodules(written: Written, tmp_path: Path) -> None:
    written.commit({"r1": "a\n"})
    tree = tmp_path / "tree"
    git(written.path, "worktree", "add", "--quiet", "--detach", str(tree))
    above = Written(tmp_path / "above")
    git(
        above.path,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "add",
        "--quiet",
        str(written.path),
        "configs",
    )
    assert (above.path / "configs" / ".git").is_file()
    for path in (tree, above.path / "configs"):
        assert [(v.device, v.text) for v in await read(path)] == [("r1", "a\n")]
    (tmp_path / "odd").mkdir()
    for words in ("gitdir: /nowhere\n", "gitdir: \0\n", "x" * 100_000):
        (tmp_path / "odd" / ".git").write_text(words)
        with pytest.raises(InputError, match="no git repository"):
            find_repositories(tmp_path / "odd")


async def test_what_is_larger_than_any_configuration_is_left_out(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "LARGEST", 1000)
    monkeypatch.setattr(importing, "_CHUNK", 100)
    written.commit({"r1": "a\n", "backup.tar": "x" * 1001, "sw1": "b\n"})
    written.commit({"r1": "y" * 1234})
    written.commit({"r1": "c\n", "sw1": "d\n"})
    stored: list[tuple[str, str]] = []

    async def add(device: str, versions: Sequence[tuple[datetime, str]]) -> int:
        stored.extend((device, text) for _, text in versions)
        return len(versions)

    done = await take_over([Source(written.path / ".git", ENVIRON)], Names(["r1", "sw1"]), add)
    assert stored == [("r1", "a\n"), ("r1", "c\n"), ("sw1", "b\n"), ("sw1", "d\n")]
    assert (done.too_large, done.unknown) == ({"r1"}, {"backup.tar"})


async def test_a_repository_runs_nothing_here(written: Written, tmp_path: Path) -> None:
    """Whoever wrote it may have put programs into its settings."""
    told_by = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {told_by}\n")
    program.chmod(0o755)
    written.commit({"r1": "a\n", ".gitattributes": "* diff=x filter=x\n"})
    for key in (
        "core.fsmonitor",
        "core.pager",
        "diff.external",
        "diff.x.textconv",
        "gpg.program",
        "filter.x.smudge",
    ):
        git(written.path, "config", key, str(program))
    git(written.path, "config", "log.showSignature", "true")
    git(written.path, "config", "diff.x.command", str(program))
    assert told(await read(written.path)) == [("r1", 1, "a\n")]
    assert not told_by.exists()


class TestNames:
    @pytest.mark.parametrize(
        ("name", "found"),
        [
            ("r1", ["r1"]),
            ("R1", ["r1"]),
            ("r1.example.net", ["r1"]),
            ("sw1", ["sw1.example.net"]),
            ("SW1.EXAMPLE.NET", ["sw1.example.net"]),
            ("sw1.example.org", []),
            ("twin", ["twin.a.net", "twin.b.net"]),
            ("CASE", ["CASE"]),
            ("case", ["CASE", "Case"]),
            ("192.0.2.1", []),
            ("192.0.2.9", ["192.0.2.9"]),
            ("nobody", []),
        ],
    )
    def test_found(self, name: str, found: list[str]) -> None:
        names = Names(
            ["r1", "sw1.example.net", "twin.a.net", "twin.b.net", "CASE", "Case", "192.0.2.9", "192"]
        )
        assert names.find(name) == found

    @given(st.sets(st.text(min_size=1)), st.text())
    def test_a_name_of_the_inventory_is_itself(self, devices: set[str], other: str) -> None:
        names = Names(devices)
        assert all(names.find(device) == [device] for device in devices)
        assert set(names.find(other)) <= devices


class TestTakenOver:
    async def test_what_is_stored_and_what_is_told(self, written: Written) -> None:
        written.commit({"r1": "a\n", "a/twice": "x\n", "b/twice": "y\n", "gone": "g\n", "odd": "o\n"})
        written.commit({"r1": "b\n"})
        stored: dict[str, list[tuple[int, str]]] = {}

        async def add(device: str, versions: Sequence[tuple[datetime, str]]) -> int:
            stored.setdefault(device, []).extend(((at - DAY).days, text) for at, text in versions)
            return len(versions)

        names = Names(["r1", "twice", "odd.a", "odd.b"])
        done = await take_over([Source(written.path / ".git", ENVIRON)], names, add)
        assert stored == {"r1": [(1, "a\n"), (2, "b\n")]}
        assert (done.read, done.added, done.devices) == (2, 2, {"r1": 2})
        assert done.unknown == {"gone"}
        assert done.unclear == {"twice": ("a/twice", "b/twice"), "odd": ("odd.a", "odd.b")}
        again = await take_over([Source(written.path / ".git", ENVIRON)], names, None)
        assert (again.read, again.added) == (2, 0)
        both = await take_over([Source(written.path / ".git", ENVIRON)] * 2, names, None)
        here = written.path.name
        assert both.unclear["r1"] == (f"{here}: r1", f"{here}: r1")

    async def test_a_device_that_moved_to_another_group_has_one_history(self, written: Written) -> None:
        written.commit({"a/r1": "old\n"})
        written.commit({"a/r1": None, "b/r1": "new\n"})
        stored: list[str] = []

        async def add(device: str, versions: Sequence[tuple[datetime, str]]) -> int:
            stored.extend(text for _, text in versions)
            return 1

        await take_over([Source(written.path / ".git", ENVIRON)], Names(["r1"]), add)
        assert stored == ["old\n", "new\n"]

    async def test_little_is_kept_in_memory(self, written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("netraven.git.taking_over.VERSIONS", 3)
        for number in range(8):
            written.commit({"r1": f"{number}\n"})
        portions: list[int] = []

        async def add(device: str, versions: Sequence[tuple[datetime, str]]) -> int:
            portions.append(len(versions))
            return len(versions)

        await take_over([Source(written.path / ".git", ENVIRON)], Names(["r1"]), add)
        assert portions == [3, 3, 2]
