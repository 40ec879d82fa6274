"""From versions in a database to commits in a repository, and the same again."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from netraven.errors import DatabaseError, GitError
from netraven.git.lock import locked
from netraven.model import Exported, Waiting
from netraven.storage import schema
from netraven.storage.store import SqlStore
from tests.git.repositories import History, blob, commits, every_object, exporter, git, sound, subjects, tree
from tests.storage.facts import START

SECRET = "username admin secret 5 $1$mERr$hx5rVt7rPNoS4wqbXKX7m0\n"


on_one_database = pytest.mark.parametrize("backend", ["sqlite"])
"""For what is about the repository, whichever database it follows."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "configs.git"


@pytest.fixture
def history(store: SqlStore) -> History:
    return History(store)


async def some_history(history: History) -> None:
    """Three runs over three devices."""
    for name, tags in (("r1", ["core"]), ("r2", ["edge", "dc1"]), ("r3", [])):
        await history.device(name, tags=tags)
    await history.run({"r1": "hostname r1\n", "r2": "hostname r2\n", "r3": "hostname r3\n"})
    await history.run({"r1": "hostname r1\nip routing\n", "r2": "hostname r2\n"})
    await history.run({"r3": "hostname r3\nno ip routing\n", "r2": "hostname r2\nend\n"})


class TestCommits:
    async def test_a_commit_for_each_run(self, store: SqlStore, history: History, path: Path) -> None:
        await some_history(history)
        report = await exporter(store, path).export()
        assert (report.commits, report.versions, report.problems, report.pushed) == (3, 6, (), None)
        assert subjects(path) == ["Run 1: 3 new", "Run 2: 1 device changed", "Run 3: 2 devices changed"]
        assert tree(path) == {
            "r1": "hostname r1\nip routing\n",
            "r2": "hostname r2\nend\n",
            "r3": "hostname r3\nno ip routing\n",
        }
        assert tree(path, "main~2")["r1"] == "hostname r1\n"
        assert git(path, "log", "-1", "--format=%an <%ae> %cn").strip() == (
            "NetRaven <netraven@localhost> NetRaven"
        )
        assert git(path, "log", "-1", "--format=%b").startswith("r2\nr3\n\nNetRaven-Export: runs=0-3 ")
        sound(path)

    async def test_they_have_the_times_of_the_runs(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        await some_history(history)
        await exporter(store, path).export()
        ended = [run.finished_at for run in await store.runs.list()]
        dates = [int(word) for word in git(path, "log", "--reverse", "--format=%ct %at").split()]
        assert dates[::2] == dates[1::2] == [int(at.timestamp()) for at in ended if at is not None]

    async def test_a_commit_for_each_device(self, store: SqlStore, history: History, path: Path) -> None:
        await some_history(history)
        await exporter(store, path, per="device").export()
        assert subjects(path) == [
            "r1: running new, run 1",
            "r2: running new, run 1",
            "r3: running new, run 1",
            "r1: running changed, run 2",
            "r2: running changed, run 3",
            "r3: running changed, run 3",
        ]
        assert (await exporter(store, path, per="device").export()).commits == 0

    async def test_author_and_branch_are_as_told(self, store: SqlStore, history: History, path: Path) -> None:
        await some_history(history)
        await exporter(store, path, author="Nät Ops <ops@example.net>", branch="net/configs").export()
        assert git(path, "log", "-1", "--format=%an <%ae>").strip() == "Nät Ops <ops@example.net>"
        assert git(path, "symbolic-ref", "HEAD").strip() == "refs/heads/net/configs"
        clone = path.parent / "clone"
        git(path.parent, "clone", "--quiet", str(path), str(clone))
        assert (clone / "r1").read_text() == "hostname r1\nip routing\n"

    async def test_kinds_have_files_of_their_own(self, store: SqlStore, history: History, path: Path) -> None:
        await history.device("r1", tags=["core", "b"])
        await history.run({"r1": "hostname r1\n"})
        await history.run({"r1": "Version 17\n"}, kind="version")
        layout = "{tag}/{platform}/{name}.{kind}"
        await exporter(store, path, layout=layout, kinds=("running", "version")).export()
        assert sorted(tree(path)) == ["b/cisco_iosxe/r1.running", "b/cisco_iosxe/r1.version"]

    async def test_only_what_is_asked_for(self, store: SqlStore, history: History, path: Path) -> None:
        await history.device("r1")
        await history.run({"r1": "hostname r1\n"})
        await history.run({"r1": "Version 17\n"}, kind="version")
        await exporter(store, path).export()
        assert (tree(path), len(commits(path))) == ({"r1": "hostname r1\n"}, 1)

    async def test_any_bytes_come_out_as_they_were(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        await history.device("r1")
        await history.run({"r1": "caf\udce9 \x00\x1b[2J ü \r\n no end"})
        await exporter(store, path).export()
        assert blob(path, "main:r1") == b"caf\xe9 \x00\x1b[2J \xc3\xbc \r\n no end"


@on_one_database
class TestSecrets:
    async def test_they_are_marks(self, store: SqlStore, history: History, path: Path) -> None:
        await history.device("r1")
        await history.run({"r1": f"hostname r1\n{SECRET}"})
        await exporter(store, path).export()
        text = tree(path)["r1"]
        assert "mERr" not in text
        assert "<redacted:" in text

    async def test_a_changed_one_shows_as_a_change(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        await history.device("r1")
        await history.run({"r1": SECRET})
        await history.run({"r1": SECRET.replace("mERr", "nERr")})
        await exporter(store, path).export()
        assert tree(path)["r1"] != tree(path, "main~1")["r1"]

    async def test_raw_has_them(self, store: SqlStore, history: History, path: Path) -> None:
        await history.device("r1")
        await history.run({"r1": SECRET})
        await exporter(store, path, raw=True).export()
        assert "mERr" in tree(path)["r1"]

    async def test_a_repository_with_secrets_is_not_gone_on_with_without(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        """Its commits would still have them, and the next push would send them."""
        await history.device("r1")
        await history.run({"r1": SECRET})
        await exporter(store, path, raw=True).export()
        with pytest.raises(GitError, match="--rebuild"):
            await exporter(store, path).export()
        await exporter(store, path).export(rebuild=True)
        assert "mERr" not in git(path, "log", "-p", "--all")
        assert b"redacted:" in every_object(path)
        assert b"mERr" not in every_object(path)

    async def test_a_text_whose_secrets_nobody_knows_is_left_out(
        self, store: SqlStore, history: History, path: Path, tmp_path: Path
    ) -> None:
        await history.device("r1")
        await history.device("r2")
        await history.run({"r1": SECRET, "r2": "hostname r2\n"})
        async with store.database.writing() as connection:
            snapshots = schema.snapshots
            its = snapshots.c.device_id == (await store.inventory.get("r1")).device.id
            await connection.execute(update(snapshots).where(its).values(platform="house_made"))
        report = await exporter(store, path).export()
        assert list(tree(path)) == ["r2"]
        assert any("r1" in problem and "house_made" in problem for problem in report.problems)
        async with store.database.writing() as connection:
            await connection.execute(update(snapshots).where(its).values(platform="cisco_iosxe"))
        await exporter(store, path).export()
        assert sorted(tree(path)) == ["r1", "r2"]


class TestGoingOn:
    async def test_bit_by_bit_is_the_same_as_at_once(
        self, store: SqlStore, history: History, path: Path, tmp_path: Path
    ) -> None:
        for name in ("r1", "r2"):
            await history.device(name)
        for round_ in range(5):
            await history.run({"r1": f"hostname r1\nround {round_}\n", "r2": f"hostname r2\n{round_ // 2}\n"})
            await exporter(store, path).export()
        other = tmp_path / "other.git"
        await exporter(store, other).export()
        assert commits(path) == commits(other)

    @pytest.mark.parametrize("per", ["run", "device"])
    async def test_a_deleted_repository_comes_again_commit_by_commit(
        self, store: SqlStore, history: History, path: Path, per: str
    ) -> None:
        await some_history(history)
        await exporter(store, path, per=per).export()
        before = commits(path)
        shutil.rmtree(path)
        await exporter(store, path, per=per).export()
        assert commits(path) == before
        await exporter(store, path, per=per).export(rebuild=True)
        assert commits(path) == before
        assert sorted(entry.name for entry in path.parent.iterdir() if "configs" in entry.name) == [
            "configs.git"
        ]
        sound(path)

    async def test_nothing_new_is_no_commit(self, store: SqlStore, history: History, path: Path) -> None:
        await some_history(history)
        await exporter(store, path).export()
        before = commits(path)
        await history.run({"r1": "hostname r1\nip routing\n"})
        report = await exporter(store, path).export()
        assert (report.commits, commits(path)) == (0, before)

    async def test_nothing_at_all_is_an_empty_repository(self, store: SqlStore, path: Path) -> None:
        report = await exporter(store, path).export()
        assert (report.commits, report.head) == (0, "")
        assert git(path, "symbolic-ref", "HEAD").strip() == "refs/heads/main"
        assert (await exporter(store, path).status()).exists

    async def test_a_run_that_goes_on_waits_until_it_ends(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        for name in ("r1", "r2", "r3"):
            await history.device(name)
        long = await history.begin()
        await history.bring(long, {"r1": "one\n"})
        await history.run({"r2": "two\n"})
        await exporter(store, path).export()
        assert list(tree(path)) == ["r2"]
        await history.bring(long, {"r3": "three\n"})
        await history.run({"r2": "two again\n"})
        assert (await exporter(store, path).export()).commits == 1
        await history.end(long)
        await exporter(store, path).export()
        assert subjects(path) == ["Run 2: 1 new", "Run 3: 1 device changed", "Run 1: 2 new"]
        assert (await exporter(store, path).export()).commits == 0
        again = path.with_name("again.git")
        await exporter(store, again).export()
        assert commits(again) == commits(path)

    async def test_what_is_older_does_not_come_after_what_is_newer(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        """Two runs at once have the same device; the one that saw it first ends last."""
        await history.device("r1")
        await history.device("r2")
        slow = await history.begin()
        await history.bring(slow, {"r1": "old\n", "r2": "two\n"})
        await history.run({"r1": "new\n"})
        await exporter(store, path).export()
        await history.end(slow)
        await exporter(store, path).export()
        assert tree(path) == {"r1": "new\n", "r2": "two\n"}
        again = path.with_name("again.git")
        await exporter(store, again).export()
        assert commits(again) == commits(path)

    async def test_portions_of_a_large_run_are_one_commit(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        names = [f"r{number:03}" for number in range(120)]
        for name in names:
            await history.device(name)
        await history.run({name: f"hostname {name}\n" for name in names})
        seen: list[tuple[int, int]] = []
        report = await exporter(store, path).export(progress=lambda done, all_: seen.append((done, all_)))
        assert (report.commits, len(tree(path))) == (1, 120)
        assert seen[-1] == (120, 120)
        assert seen == sorted(seen)
        assert len(seen) > 2
        body = git(path, "log", "-1", "--format=%b")
        assert "and 100 more" in body

    async def test_imported_history_is_in_its_place(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        await some_history(history)
        async with store.database.writing() as connection:
            await connection.execute(
                update(schema.snapshots).where(schema.snapshots.c.run_id == 1).values(run_id=None)
            )
        await exporter(store, path).export()
        assert subjects(path)[0] == "Imported: 3 new"
        assert len(commits(path)) == 3
        again = path.with_name("again.git")
        await exporter(store, again).export()
        assert commits(again) == commits(path)
        assert (await exporter(store, path).export()).commits == 0

    @pytest.mark.parametrize("per", ["run", "device"])
    async def test_what_is_imported_later_and_is_older_is_passed_over_and_told_once(
        self, store: SqlStore, history: History, path: Path, per: str
    ) -> None:
        await history.device("r1")
        await history.device("r2")
        for text in ("b\n", "c\n"):
            await history.run({"r1": text})
        await exporter(store, path, per=per).export()
        before = tree(path)
        await history.run({"r1": "a\n", "r2": "of a device that was never collected\n"})
        await as_imported(store, run=3, order=(3, 1, 2))
        report = await exporter(store, path, per=per).export()
        assert report.skipped == 1
        assert ["1 imported version is older" in problem for problem in report.problems] == [True]
        assert tree(path) == before | {"r2": "of a device that was never collected\n"}
        again = await exporter(store, path, per=per).export()
        assert (again.commits, again.skipped, again.problems) == (0, 1, ())
        rebuilt = await exporter(store, path, per=per).export(rebuild=True)
        assert (rebuilt.skipped, rebuilt.problems) == (0, ())
        assert [tree(path, f"main~{back}").get("r1") for back in (2, 1, 0)] == ["a\n", "b\n", "c\n"]

    async def test_nothing_but_older_imports_is_told_once_too(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        await history.device("r1")
        for text in ("b\n", "c\n"):
            await history.run({"r1": text})
        await exporter(store, path).export()
        await history.run({"r1": "a\n"})
        await as_imported(store, run=3, order=(3, 1, 2))
        assert (await exporter(store, path).export()).skipped == 1
        assert subjects(path)[-1] == "Imported: nothing newer than what is here"
        again = await exporter(store, path).export()
        assert (again.commits, again.skipped, again.problems) == (0, 1, ())
        assert (await exporter(store, path).status()).waiting == Waiting()


async def as_imported(store: SqlStore, *, run: int, order: Sequence[int]) -> None:
    """Let what a run brought be imported history: of r1 the first version, ``order`` by the numbers they had."""
    snapshots = schema.snapshots.c
    key = (await store.inventory.get("r1")).device.id
    async with store.database.writing() as connection:
        values = {"run_id": None, "first_seen_at": START - timedelta(days=9)}
        await connection.execute(update(schema.snapshots).where(snapshots.run_id == run).values(values))
        for sign in (-1, 1):
            for number, had in enumerate(order, 1):
                its = (snapshots.device_id == key) & (snapshots.version == (had if sign < 0 else -number))
                await connection.execute(update(schema.snapshots).where(its).values(version=sign * number))


class TestInventory:
    async def test_a_removed_device_has_no_file_from_the_next_export_on(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        await some_history(history)
        await exporter(store, path).export()
        await store.inventory.remove("r2")
        report = await exporter(store, path).export()
        assert (report.commits, report.removed) == (1, 1)
        assert sorted(tree(path)) == ["r1", "r3"]
        assert tree(path, "main~1")["r2"] == "hostname r2\nend\n"
        before = tree(path)
        await exporter(store, path).export(rebuild=True)
        assert tree(path) == before
        assert (await exporter(store, path).export()).commits == 0

    async def test_a_device_with_another_tag_moves(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        await some_history(history)
        await exporter(store, path, layout="{tag}/{name}").export()
        assert sorted(tree(path)) == ["core/r1", "dc1/r2", "untagged/r3"]
        await history.device("r3", tags=["lab"])
        await exporter(store, path, layout="{tag}/{name}").export()
        assert sorted(tree(path)) == ["core/r1", "dc1/r2", "lab/r3"]
        assert tree(path)["lab/r3"] == "hostname r3\nno ip routing\n"
        assert (await exporter(store, path, layout="{tag}/{name}").export()).commits == 0

    async def test_another_layout_moves_everything(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        await some_history(history)
        await exporter(store, path).export()
        await exporter(store, path, layout="{name}/{kind}").export()
        assert sorted(tree(path)) == ["r1/running", "r2/running", "r3/running"]

    async def test_a_kind_that_is_exported_from_now_on_comes_as_it_is(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        await history.device("r1")
        await history.run({"r1": "hostname r1\n"})
        await history.run({"r1": "Version 17\n"}, kind="version")
        await exporter(store, path, layout="{name}.{kind}").export()
        await exporter(store, path, layout="{name}.{kind}", kinds=("running", "version")).export()
        assert sorted(tree(path)) == ["r1.running", "r1.version"]

    async def test_hostile_names_stay_inside(self, store: SqlStore, history: History, path: Path) -> None:
        names = [
            "..",
            ".git",
            "../../etc/passwd",
            "a/b",
            "a",
            "GIT~1",
            "%2E",
            "c:\\x",
            'q"uote',
            "ü" * 200,
            "x" * 255,
            "a b",
        ]
        for name in names:
            await history.device(name, tags=["../up"])
        await history.run({name: f"I am {name}\n" for name in names})
        await exporter(store, path, layout="{tag}/{name}").export()
        files = tree(path)
        assert sorted(files.values()) == sorted(f"I am {name}\n" for name in names)
        assert all(name.split("/")[0] == "%2E.%2Fup" and name.count("/") == 1 for name in files)
        sound(path)
        clone = path.parent / "clone"
        git(path.parent, "clone", "--quiet", str(path), str(clone))
        assert len(list((clone / "%2E.%2Fup").iterdir())) == len(names)

    async def test_names_that_some_file_systems_mix_up_are_told(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        await history.device("R1")
        await history.device("r1")
        await history.run({"R1": "large\n", "r1": "small\n"})
        report = await exporter(store, path).export()
        assert tree(path) == {"R1": "large\n", "r1": "small\n"}
        assert any("R1" in problem and "r1" in problem for problem in report.problems)


@on_one_database
class TestRefused:
    async def test_a_folder_with_other_files(self, store: SqlStore, path: Path) -> None:
        path.mkdir()
        (path / "thesis.txt").write_text("years of work")
        for rebuild in (False, True):
            with pytest.raises(GitError, match="holds other files"):
                await exporter(store, path).export(rebuild=rebuild)
        assert [entry.name for entry in path.iterdir()] == ["thesis.txt"]

    async def test_a_file(self, store: SqlStore, path: Path) -> None:
        path.write_text("x")
        with pytest.raises(GitError, match="Not a directory"):
            await exporter(store, path).export()
        assert path.read_text() == "x"

    async def test_somebody_elses_repository(self, store: SqlStore, path: Path) -> None:
        git(path.parent, "init", "--quiet", "--bare", str(path))
        before = sorted(entry.name for entry in path.iterdir())
        for rebuild in (False, True):
            with pytest.raises(GitError, match="did not make"):
                await exporter(store, path).export(rebuild=rebuild)
        with pytest.raises(GitError, match="did not make"):
            await exporter(store, path).status()
        assert sorted(entry.name for entry in path.iterdir()) == before

    async def test_somebody_elses_commits(self, store: SqlStore, history: History, path: Path) -> None:
        await some_history(history)
        await exporter(store, path).export()
        clone = path.parent / "clone"
        git(path.parent, "clone", "--quiet", str(path), str(clone))
        (clone / "r1").write_text("by hand\n")
        git(clone, "commit", "--quiet", "-am", "by hand")
        git(clone, "push", "--quiet", "origin", "HEAD:main")
        before = commits(path)
        await history.run({"r1": "hostname r1\nend\n"})
        for rebuild in (False, True):
            with pytest.raises(GitError, match="NetRaven did not make"):
                await exporter(store, path).export(rebuild=rebuild)
        assert commits(path) == before

    async def test_a_repository_of_another_database(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        """Or of this one before it was restored from a backup: new runs would be taken for exported."""
        await some_history(history)
        await exporter(store, path).export()
        before = commits(path)
        async with store.database.writing() as connection:
            await connection.execute(delete(schema.runs).where(schema.runs.c.id > 1))
        with pytest.raises(DatabaseError, match=r"holds run 3, .* on record is 1.*--rebuild"):
            await exporter(store, path).export()
        assert commits(path) == before
        await exporter(store, path).export(rebuild=True)
        assert tree(path)["r2"] == "hostname r2\nend\n"
        assert (await exporter(store, path).export()).commits == 0

    @pytest.mark.parametrize("ref", ["refs/heads/kept", "refs/tags/kept"])
    async def test_a_rebuild_loses_no_branch_of_somebody_elses(
        self, store: SqlStore, history: History, path: Path, ref: str
    ) -> None:
        await some_history(history)
        await exporter(store, path).export()
        await exporter(store, path, branch="of-before").export()
        await exporter(store, path).export(rebuild=True)  # what is ours follows from the database
        by_hand = git(path, "commit-tree", "-m", "by hand", "main^{tree}").strip()
        git(path, "update-ref", ref, by_hand)
        with pytest.raises(GitError, match=f"{ref}, which NetRaven did not make"):
            await exporter(store, path).export(rebuild=True)
        assert git(path, "rev-parse", ref).strip() == by_hand

    async def test_a_branch_in_the_folder_of_another(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        await some_history(history)
        await exporter(store, path).export()
        with pytest.raises(GitError, match="'refs/heads/main' exists"):
            await exporter(store, path, branch="main/new").export()

    async def test_a_link_stays_and_what_it_leads_to_is_made_anew(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        other = path.parent / "large-disk" / "repository"
        other.mkdir(parents=True)
        path.symlink_to(other)
        await some_history(history)
        for rebuild in (False, True, True):
            await exporter(store, path).export(rebuild=rebuild)
            assert path.readlink() == other
            assert len(commits(other)) == 3
        assert [entry.name for entry in other.parent.iterdir()] == ["repository"]

    async def test_an_empty_folder_is_taken(self, store: SqlStore, history: History, path: Path) -> None:
        path.mkdir()
        await some_history(history)
        assert (await exporter(store, path).export()).commits == 3

    async def test_no_git(self, store: SqlStore, path: Path, tmp_path: Path) -> None:
        with pytest.raises(GitError, match="git is not installed"):
            await exporter(store, path, environ={"PATH": str(tmp_path)}).export()
        assert not path.exists()

    async def test_an_old_git(self, store: SqlStore, path: Path, tmp_path: Path) -> None:
        program = tmp_path / "git"
        program.write_text("#!/bin/sh\necho git version 1.8.3.1\n")
        program.chmod(0o755)
        with pytest.raises(GitError, match=r"1\.8\.3 is too old .* 2\.32"):
            await exporter(store, path, environ={"PATH": str(tmp_path)}).export()
        assert not path.exists()

    async def test_a_damaged_repository_is_made_anew_on_demand(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        await some_history(history)
        await exporter(store, path).export()
        before = commits(path)
        for pack in (path / "objects" / "pack").iterdir():
            pack.chmod(0o644)
            pack.write_bytes(b"")
        await history.run({"r1": "hostname r1\nend\n"})
        with pytest.raises(GitError, match="--rebuild"):
            await exporter(store, path).export()
        await exporter(store, path).export(rebuild=True)
        assert commits(path)[:3] == before
        sound(path)

    async def test_no_space_left(self, store: SqlStore, history: History, path: Path, tmp_path: Path) -> None:
        """A git that may write only small files stands in for a disk that is full."""
        await some_history(history)
        await exporter(store, path).export()
        before = commits(path)
        await history.run({"r1": os.urandom(200_000).hex()})
        (tmp_path / "bin").mkdir()
        program = tmp_path / "bin" / "git"
        program.write_text(f'#!/bin/sh\nulimit -f 8\ntrap "" XFSZ\nexec {shutil.which("git")} "$@"\n')
        program.chmod(0o755)
        small = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
        with pytest.raises(GitError, match=r"fast-import failed|no space"):
            await exporter(store, path, environ=small).export()
        assert commits(path) == before
        assert (await exporter(store, path).export()).commits == 1
        sound(path)


@on_one_database
class TestOneAtATime:
    async def test_the_second_one_waits(self, store: SqlStore, history: History, path: Path) -> None:
        await some_history(history)
        reports = await asyncio.gather(*(exporter(store, path).export() for _ in range(3)))
        assert sorted(report.commits for report in reports) == [0, 0, 3]
        assert len(commits(path)) == 3

    async def test_and_gives_up_after_a_while(self, store: SqlStore, history: History, path: Path) -> None:
        await some_history(history)
        await exporter(store, path).export()
        async with locked(path, patience=0):
            with pytest.raises(GitError, match=f"another export .process {os.getpid()}"):
                await exporter(store, path).export(patience=0)
        await exporter(store, path).export(patience=0)

    @pytest.mark.parametrize("name", ["refs/heads/main", "HEAD", "config", "packed-refs"])
    async def test_a_lock_that_a_killed_git_left_is_no_obstacle(
        self, store: SqlStore, history: History, path: Path, name: str
    ) -> None:
        await some_history(history)
        await exporter(store, path).export()
        (path / f"{name}.lock").write_text("")
        await history.run({"r1": "hostname r1\nend\n"})
        assert (await exporter(store, path).export()).commits == 1

    async def test_the_lock_goes_with_the_repository_that_a_rebuild_replaces(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        await some_history(history)
        await exporter(store, path).export()
        reports = await asyncio.gather(
            exporter(store, path).export(rebuild=True),
            exporter(store, path).export(),
            exporter(store, path).export(rebuild=True),
        )
        assert sum(report.commits for report in reports) == 6
        assert len(commits(path)) == 3


@on_one_database
class TestSurroundings:
    async def test_no_settings_and_no_hooks_of_the_user_meddle(
        self, store: SqlStore, history: History, path: Path, tmp_path: Path
    ) -> None:
        hooks = tmp_path / "hooks"
        hooks.mkdir()
        told = tmp_path / "told"
        for name in ("reference-transaction", "post-commit", "pre-auto-gc"):
            (hooks / name).write_text(f"#!/bin/sh\necho {name} >>{told}\nexit 1\n")
            (hooks / name).chmod(0o755)
        settings = tmp_path / "gitconfig"
        settings.write_text(
            f"[core]\n hooksPath = {hooks}\n[init]\n defaultBranch = trunk\n templateDir = {hooks}\n"
        )
        await some_history(history)
        environ = {
            **os.environ,
            "GIT_CONFIG_GLOBAL": str(settings),
            "GIT_DIR": str(tmp_path / "elsewhere"),
            "GIT_OBJECT_DIRECTORY": str(tmp_path / "objects"),
            "GIT_INDEX_FILE": str(tmp_path / "index"),
        }
        await exporter(store, path, environ=environ).export()
        assert len(commits(path)) == 3
        assert not told.exists()
        assert not (tmp_path / "elsewhere").exists()

    async def test_a_rebuild_keeps_what_the_operator_set_up(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        await some_history(history)
        await exporter(store, path).export()
        git(path, "config", "remote.origin.url", "ssh://git.example.net/configs.git")
        (path / "hooks").mkdir(exist_ok=True)
        (path / "hooks" / "post-update").write_text("#!/bin/sh\n")
        (path / "hooks" / "post-update").chmod(0o755)
        await exporter(store, path).export(rebuild=True)
        assert git(path, "config", "remote.origin.url").strip() == "ssh://git.example.net/configs.git"
        assert (path / "hooks" / "post-update").stat().st_mode & stat.S_IXUSR

    async def test_an_export_that_is_cancelled_leaves_the_repository_sound(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        await some_history(history)
        reading = exporter(store, path)
        inside = asyncio.Event()

        async def never(stored: object) -> str:
            inside.set()
            await asyncio.Event().wait()
            return ""

        reading._text = never
        task = asyncio.create_task(reading.export())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert git(path, "for-each-ref") == ""
        assert (await exporter(store, path).export(patience=0)).commits == 3
        sound(path)

    async def test_what_exports_that_were_killed_left_behind_does_not_fill_the_disk(
        self, store: SqlStore, history: History, path: Path
    ) -> None:
        await some_history(history)
        await exporter(store, path).export()
        packs = path / "objects" / "pack"
        there = sorted(packs.iterdir())
        for name, age in (("tmp_pack_old", 7200), ("tmp_idx_old", 7200), ("tmp_pack_new", 60)):
            (packs / name).write_bytes(b"x")
            (packs / name).chmod(0o444)
            then = time.time() - age
            os.utime(packs / name, (then, then))
        await exporter(store, path).export()
        assert sorted(packs.iterdir()) == sorted([*there, packs / "tmp_pack_new"])


class TestStatus:
    async def test_before_and_after(self, store: SqlStore, history: History, path: Path) -> None:
        await some_history(history)
        before = await exporter(store, path).status()
        assert (before.exists, before.waiting.runs, before.waiting.versions) == (False, 3, 6)
        assert not path.exists()
        await exporter(store, path).export()
        await history.run({"r1": "hostname r1\nend\n"})
        after = await exporter(store, path).status()
        assert (after.exists, after.waiting.runs, after.waiting.versions) == (True, 1, 1)
        assert after.exported == Exported(through=3)
        assert after.head == commits(path)[-1]


def test_what_a_repository_holds_is_read_back() -> None:
    for exported in (Exported(), Exported(7, frozenset({9, 12}), 300, 4)):
        assert Exported.read(str(exported)) == exported
    assert Exported.read("runs=1 imported=x") is None


def test_runs_are_held_up_to_the_first_that_is_missing() -> None:
    held = Exported().with_runs([1, 2, 4], missing=[3])
    assert (held.through, held.runs) == (2, {4})
    assert [held.holds(run) for run in (1, 2, 3, 4, 5)] == [True, True, False, True, False]
    assert held.with_runs([3]) == Exported(4)
    assert replace(held, through=0).with_runs([], missing=[1]).through == 0
