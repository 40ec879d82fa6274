"""The key file is changed in one step, and no key is ever lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from netraven.credentials.key_file import add_key, key_lines, key_place, remove_keys
from netraven.credentials.sealing import KEY_VARIABLE, Keyring, load_keyring, write_new_key_file
from netraven.errors import KeyringError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_new_key_file(tmp_path / "netraven.key")
    return tmp_path / "netraven.key"


def test_a_new_key_goes_on_top_and_remarks_stay(file: Path) -> None:
    before = file.read_text().splitlines()
    old = load_keyring(file, {})
    sealed = old.seal("secret", "it")
    new = add_key(file, old.active_id)
    assert new.key_ids == (new.active_id, old.active_id)
    assert new.open(sealed, "it") == "secret"
    lines = file.read_text().splitlines()
    assert [line for line in lines if line in before] == before
    assert lines[-1] == before[-1]
    assert "# since " in lines[-2]
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["netraven.key"]


def test_a_rotation_that_came_first_is_respected(file: Path) -> None:
    old = load_keyring(file, {})
    new = add_key(file, old.active_id)
    again = add_key(file, old.active_id)
    assert again.key_ids == new.key_ids
    assert len(key_lines(file)) == 2


def test_old_keys_go_and_the_first_stays(file: Path) -> None:
    old = load_keyring(file, {})
    new = add_key(file, old.active_id)
    newest = add_key(file, new.active_id)
    (gone,) = remove_keys(file, [old.active_id, newest.active_id, "0" * 16])
    assert gone.key_id == old.active_id
    assert load_keyring(file, {}).key_ids == (newest.active_id, new.active_id)
    assert remove_keys(file, [old.active_id]) == []


def test_what_a_link_leads_to_is_changed(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    new = add_key(link, load_keyring(link, {}).active_id)
    assert link.is_symlink()
    assert load_keyring(file, {}).active_id == new.active_id


@pytest.mark.parametrize(
    ("text", "mode", "said"), [("rubbish!\n", 0o600, "not base64"), (None, 0o644, "chmod 600")]
)
def test_a_file_that_cannot_be_used_is_left_as_it_is(
    file: Path, text: str | None, mode: int, said: str
) -> None:
    if text is not None:
        file.write_text(text)
    file.chmod(mode)
    before = file.read_bytes()
    for change in (lambda: add_key(file, "x"), lambda: remove_keys(file, ["x"])):
        with pytest.raises(KeyringError, match=said):
            change()
    assert file.read_bytes() == before


def test_a_folder_that_takes_no_file_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = file.read_bytes()
    monkeypatch.setattr("netraven.credentials.key_file.os.fsync", full)
    with pytest.raises(KeyringError, match=r"No space left on device\. It is as it was"):
        add_key(file, load_keyring(file, {}).active_id)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["netraven.key"]


def test_many_at_once_make_one_new_key(file: Path) -> None:
    """Real processes that all want to replace the same key."""
    active = load_keyring(file, {}).active_id
    code = (
        "import sys; from pathlib import Path; from netraven.credentials.key_file import add_key;"
        " print(add_key(Path(sys.argv[1]), sys.argv[2]).active_id)"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(file), active], env=environ, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    said = {process.communicate()[0].strip() for process in running}
    assert said == {load_keyring(file, {}).active_id}
    assert len(key_lines(file)) == 2


def test_where_the_key_comes_from(file: Path, tmp_path: Path) -> None:
    assert key_place(file, {}).file == file
    directory = tmp_path / "handed"
    directory.mkdir()
    handed = {"CREDENTIALS_DIRECTORY": str(directory)}
    assert key_place(file, handed).file == file
    (directory / "netraven.key").write_text(Keyring.generate().to_text())
    assert key_place(file, handed).file is None
    assert key_place(tmp_path / "absent", {KEY_VARIABLE: "x"}).shown == "$NETRAVEN_KEY"
