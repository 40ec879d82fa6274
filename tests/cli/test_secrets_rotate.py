"""`netraven secrets rotate`, as an operator meets it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from netraven.credentials.sealing import Keyring, load_keyring
from tests.cli.conftest import Command

OLD_ENOUGH = "no stored secret needs any more: key "


@pytest.fixture
def stocked(home: Path, nr: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("P", "c4n4ry-0f-the-r0tation")
    for name in ("one", "two"):
        words = ("credential", "add", name, "--username", "u", "--tags", "t", "--password-env", "P")
        assert nr(*words).code == 0
    assert nr("credential", "update", "two", "--username", "v", "--keep-previous").code == 0
    return home


def readable(nr: Command, home: Path) -> bool:
    (home / "d.csv").write_text("name,host,port,platform,tags\nr1,h,,cisco_iosxe,t\n")
    nr("device", "import", "d.csv")
    order = nr("credential", "match", "r1", "--json").json
    assert len(order) == 3
    return all(choice["unreadable"] is None for choice in order)


def test_a_rotation_from_end_to_end(stocked: Path, nr: Command) -> None:
    file = stocked / "netraven.key"
    old = load_keyring(file, {})
    said = nr("secrets", "rotate")
    assert said.code == 0, said.err
    new = load_keyring(file, {})
    assert new.key_ids == (new.active_id, old.active_id)
    assert f"new key {new.active_id} in " in said.out
    assert "3 secrets sealed anew" in said.out
    assert f"{OLD_ENOUGH}{old.active_id} (line 4 of " in said.out
    assert "secrets rotate --remove-old" in said.out
    assert readable(nr, stocked)
    said = nr("secrets", "rotate", "--remove-old")
    assert said.code == 0, said.err
    assert "removed 1 old key" in said.out
    assert load_keyring(file, {}).key_ids == (new.active_id,)
    assert readable(nr, stocked)
    at_once = nr("secrets", "rotate", "--remove-old")
    assert "new key" in at_once.out
    assert "removed 1 old key" in at_once.out
    assert len(load_keyring(file, {}).key_ids) == 1
    assert readable(nr, stocked)


def test_a_new_key_by_hand_is_taken_and_no_other_is_made(stocked: Path, nr: Command) -> None:
    file = stocked / "netraven.key"
    file.write_text(Keyring.generate().to_text() + file.read_text())
    keys = load_keyring(file, {}).key_ids
    said = nr("secrets", "rotate")
    assert "going on with an earlier rotation: 3 secrets" in said.out
    assert load_keyring(file, {}).key_ids == keys
    assert readable(nr, stocked)


def test_a_key_that_cannot_be_written_is_rotated_by_hand(
    stocked: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (stocked / "netraven.key").read_text()
    (stocked / "netraven.key").unlink()
    monkeypatch.setenv("NETRAVEN_KEY", text)
    said = nr("secrets", "rotate")
    assert said.code == 2
    assert (
        "the first one of $NETRAVEN_KEY, which cannot be written from here. Put a new key above it"
        in said.err
    )
    assert "not changed here" in nr("secrets", "rotate", "--remove-old").err
    new = Keyring.generate()
    monkeypatch.setenv("NETRAVEN_KEY", new.to_text() + text)
    said = nr("secrets", "rotate")
    assert said.code == 0, said.err
    assert "3 secrets sealed anew" in said.out
    assert "Remove it from $NETRAVEN_KEY" in said.out
    monkeypatch.setenv("NETRAVEN_KEY", new.to_text())
    assert readable(nr, stocked)


def test_what_no_key_opens_is_told(stocked: Path, nr: Command) -> None:
    file = stocked / "netraven.key"
    file.write_text(Keyring.generate().to_text())
    said = nr("secrets", "rotate")
    assert said.code == 1
    assert "warning: credential one, version 1, is left as it was: sealed with key" in said.err
    assert "0 secrets sealed anew" in said.out


def test_without_a_key_there_is_nothing_to_rotate(stocked: Path, nr: Command) -> None:
    (stocked / "netraven.key").unlink()
    said = nr("secrets", "rotate")
    assert said.code == 2
    assert "no key to open stored secrets with" in said.err


def test_a_key_file_that_can_not_be_replaced_is_told(
    stocked: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason: a folder without permission, a full disk. The old keys stay as they are."""
    file = stocked / "netraven.key"
    keys = file.read_bytes()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "rename", refuse)
    said = nr("secrets", "rotate")
    monkeypatch.undo()
    assert said.code == 2
    assert "Permission denied" in said.err
    assert file.read_bytes() == keys
    assert [path.name for path in stocked.iterdir() if "netraven.key" in path.name] == ["netraven.key"]
