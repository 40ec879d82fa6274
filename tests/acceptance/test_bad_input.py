"""The issue's list of bad input, one after the other: a clear message, a sensible exit code, nothing changed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from netraven.credentials.sealing import Keyring
from netraven.lab import Lab, LabDevice
from tests.acceptance.installation import Installation, credential
from tests.acceptance.processes import Command

HEADER = "name,host,port,platform,tags\n"
GOOD = "good,192.0.2.1,22,cisco_iosxe,a\n"
FILES: dict[str, tuple[bytes, str]] = {
    "unknown column": (f"name,host,port,platform,tags,colour\n{GOOD.strip()},red\n".encode(), "'colour'"),
    "bad port": (f"{HEADER}{GOOD}bad,192.0.2.2,65536,cisco_iosxe,a\n".encode(), "line 3"),
    "duplicate name": (f"{HEADER}{GOOD}{GOOD}".encode(), "line 3"),
    "bad platform": (
        f"{HEADER}{GOOD}bad,192.0.2.2,22,ciscoiosxe,a\n".encode(),
        "did you mean 'cisco_iosxe'?",
    ),
    "not UTF-8": (f"{HEADER}{GOOD}b\xe4d,192.0.2.2,22,cisco_iosxe,a\n".encode("latin-1"), "UTF-8"),
    "empty": (b"", "empty"),
}


def state(installation: Installation) -> tuple[list[str], str]:
    """Everything that could have been changed: the database's content and the settings."""
    with closing(sqlite3.connect(installation.database)) as connection:
        return list(connection.iterdump()), installation.file.read_text()


@contextmanager
def unchanged(installation: Installation) -> Iterator[None]:
    before = state(installation)
    yield
    assert state(installation) == before


@pytest.fixture
async def stocked(installation: Installation) -> Installation:
    """With one device and one credential, so that there is something to be changed."""
    await installation.stock(f"{HEADER}r1,127.0.0.1,1,cisco_iosxe,a\n", [credential("netops", "word")])
    return installation


@pytest.mark.parametrize(("data", "hint"), FILES.values(), ids=FILES)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["", "dry-run"])
async def test_a_bad_csv(
    data: bytes, hint: str, dry: list[str], stocked: Installation, command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "devices.csv"
    file.write_bytes(data)
    with unchanged(stocked):
        ended = await command("device", "import", str(file), *dry, config=stocked.file)
    assert (ended.code, ended.out) == (2, "")
    assert hint in ended.err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("collect --tag nowhere", "no device or credential carries the tag 'nowhere'"),
        ("collect --device nobody", "no such device: 'nobody'"),
        ("collect --strategy by-luck", "unknown strategy 'by-luck'"),
        ("collect --concurrency 0", "--concurrency"),
        ("credential add netops --username x --tags a --password-stdin", "exists already"),
        ("run show 99", "no such run: 99"),
    ],
)
async def test_a_wrong_word(words: str, hint: str, stocked: Installation, command: Command) -> None:
    with unchanged(stocked):
        ended = await command(*words.split(), config=stocked.file, stdin="secret\n")
    assert (ended.code, ended.out) == (2, "")
    assert hint in ended.err


async def test_a_credential_without_tags_is_a_warning(installation: Installation, command: Command) -> None:
    ended = await command(
        "credential", "add", "idle", "--username", "u", "--password-stdin", stdin="secret\n", config=installation.file
    )  # fmt: skip
    assert ended.code == 0
    assert "warning" in ended.err
    assert "no tags" in ended.err
    assert list(await installation.metrics()) == ["idle"]


async def test_a_missing_key(stocked: Installation, command: Command) -> None:
    """Nothing that needs a secret is done without one; everything else is."""
    (stocked.folder / "netraven.key").unlink()
    add = ("credential", "add", "other", "--username", "u", "--tags", "a", "--password-stdin")
    with unchanged(stocked):
        ended = await command(*add, stdin="secret\n", config=stocked.file)
        assert ended.code == 2
        assert "netraven.key" in ended.err
        assert (await command("credential", "list", config=stocked.file)).code == 0


@pytest.mark.parametrize("key", ["missing", "another"])
async def test_without_the_right_key_nothing_is_sent(
    key: str, installation: Installation, command: Command
) -> None:
    """What cannot be opened is not sent as it is, nor is anything else: the run ends and says why."""
    file = installation.folder / "netraven.key"
    async with Lab([LabDevice("r1", accepts={"netops": "word"})]) as lab:
        await installation.stock(lab, [credential("netops", "word")])
        file.unlink()
        if key == "another":
            file.write_text(Keyring.generate().to_text())
            file.chmod(0o600)
        ended = await command("collect", "--json", config=installation.file)
        assert lab.log.attempts() == []
    assert ended.code in (1, 2)
    assert ("not in the keyring" if key == "another" else "netraven.key does not exist") in ended.err
    assert await installation.attempts() == []
    assert await installation.rates() == {"netops": None}


@pytest.mark.parametrize(
    "words", ["collect", "device list", "credential list --json", "db upgrade", "run list"]
)
async def test_a_database_from_a_newer_version(
    words: str, any_installation: Installation, command: Command
) -> None:
    from netraven.storage.engine import Database

    async with await Database.open(any_installation.url) as database, database.writing() as connection:
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    ended = await command(*words.split(), config=any_installation.file)
    assert (ended.code, ended.out) == (2, "")
    assert "newer NetRaven (revision 9999): upgrade the program" in ended.err


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[collect]\nconcurency = 5\n", "unknown setting collect.concurency, did you mean 'concurrency'?"),
        ("[colect]\nconcurrency = 5\n", "unknown section [colect], did you mean 'collect'?"),
    ],
)
async def test_an_unknown_setting(text: str, hint: str, stocked: Installation, command: Command) -> None:
    stocked.file.write_text(text)
    with unchanged(stocked):
        for words in ("collect", "device list"):
            ended = await command(*words.split(), config=stocked.file)
            assert (ended.code, ended.out) == (2, "")
            assert hint in ended.err


@pytest.fixture
def read_only(installation: Installation) -> Iterator[Installation]:
    """The same folder where nobody may write any more, not even root."""
    folder = str(installation.folder)
    if os.geteuid() != 0:
        installation.folder.chmod(0o500)
        installation.database.chmod(0o400)
        yield installation
        installation.folder.chmod(0o700)
        return
    if subprocess.run(("mount", "--bind", folder, folder), capture_output=True, check=False).returncode != 0:
        pytest.skip("root writes everywhere, and may not mount here; as another user this runs")
    try:
        subprocess.run(("mount", "-o", "remount,bind,ro", folder), check=True)
        yield installation
    finally:
        subprocess.run(("umount", folder), check=True)


@pytest.mark.parametrize(
    "words",
    [
        "collect",
        "device import {file}",
        "credential add c --username u --tags a --password-stdin",
        "db upgrade",
    ],
)
async def test_a_read_only_directory(
    words: str, read_only: Installation, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "devices.csv").write_text(HEADER + GOOD)
    line = words.format(file=tmp_path / "devices.csv").split()
    ended = await command(*line, config=read_only.file, stdin="secret\n")
    assert (ended.code, ended.out) == (2, "")
    assert "write permission" in ended.err or "read-only" in ended.err
    assert str(read_only.database) in ended.err


async def test_init_in_a_read_only_directory(read_only: Installation, command: Command) -> None:
    below = read_only.folder / "below"
    ended = await command("init", str(below))
    assert (ended.code, ended.out) == (2, "")
    assert "cannot write" in ended.err
    assert not below.exists()
