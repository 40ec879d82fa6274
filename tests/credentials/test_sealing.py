from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.credentials.sealing import Keyring, load_keyring, write_new_key_file
from netraven.errors import KeyringError, SecretUnreadable

IDENTITY = "credential:7f3a:1:password"
RING = Keyring.generate()


@given(st.text())
def test_what_was_sealed_opens(plaintext: str) -> None:
    assert RING.open(RING.seal(plaintext, IDENTITY), IDENTITY) == plaintext


def test_the_same_secret_never_seals_alike() -> None:
    assert RING.seal("x", IDENTITY) != RING.seal("x", IDENTITY)


@pytest.mark.parametrize(
    "moved", ["credential:7f3b:1:password", "credential:7f3a:2:password", "credential:7f3a:1:enable"]
)
def test_a_moved_secret_does_not_open(moved: str) -> None:
    with pytest.raises(SecretUnreadable, match="belongs to another credential"):
        RING.open(RING.seal("x", IDENTITY), moved)


def test_no_changed_byte_goes_unnoticed() -> None:
    sealed = RING.seal("only-a-test", IDENTITY)
    for place in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[place] ^= 1
        with pytest.raises(SecretUnreadable):
            RING.open(bytes(damaged), IDENTITY)
    for length in range(len(sealed)):
        with pytest.raises(SecretUnreadable):
            RING.open(sealed[:length], IDENTITY)


def test_an_older_key_still_opens_and_a_missing_one_is_named() -> None:
    old, new = Keyring.generate(), Keyring.generate()
    sealed = old.seal("x", IDENTITY)
    both = Keyring.parse(new.to_text() + old.to_text())
    assert both.open(sealed, IDENTITY) == "x"
    assert both.active_id == new.active_id
    with pytest.raises(
        SecretUnreadable, match=f"sealed with key {old.active_id}, which is not in the keyring"
    ):
        new.open(sealed, IDENTITY)


def test_a_key_file_has_comments_and_blank_lines() -> None:
    text = f"# first\n\n{RING.to_text().strip()}  # the active one\n"
    assert Keyring.parse(text).active_id == RING.active_id


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no key"),
        ("# none\n", "holds no key"),
        ("b64?\n", "line 1 .* not base64"),
        ("AAAA\n", "32 bytes"),
    ],
)
def test_bad_keyrings(text: str, message: str) -> None:
    with pytest.raises(KeyringError, match=message):
        Keyring.parse(text)


def test_a_repr_shows_no_key() -> None:
    key = RING.to_text().strip()
    assert key not in repr(RING)
    assert base64.b64decode(key).hex() not in repr(RING)


class TestFinding:
    def test_a_new_key_file_is_private_and_never_overwritten(self, tmp_path: Path) -> None:
        path = tmp_path / "netraven.key"
        ring = write_new_key_file(path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert load_keyring(path, {}).active_id == ring.active_id
        before = path.read_bytes()
        with pytest.raises(KeyringError, match="exists already"):
            write_new_key_file(path)
        assert path.read_bytes() == before

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o601])
    def test_a_file_that_others_can_use_is_refused(self, tmp_path: Path, mode: int) -> None:
        path = tmp_path / "netraven.key"
        write_new_key_file(path)
        path.chmod(mode)
        with pytest.raises(KeyringError, match=f"chmod 600 {path}"):
            load_keyring(path, {"NETRAVEN_KEY": RING.to_text()})

    def test_the_order_of_places(self, tmp_path: Path) -> None:
        directory = tmp_path / "credentials"
        directory.mkdir()
        handed, filed, environment = (Keyring.generate() for _ in range(3))
        environ = {"CREDENTIALS_DIRECTORY": str(directory), "NETRAVEN_KEY": environment.to_text()}
        path = tmp_path / "netraven.key"
        assert load_keyring(path, environ).active_id == environment.active_id
        path.write_text(filed.to_text())
        path.chmod(0o600)
        assert load_keyring(path, environ).active_id == filed.active_id
        (directory / "netraven.key").write_text(handed.to_text())
        assert load_keyring(path, environ).active_id == handed.active_id

    def test_no_key_anywhere_says_how_to_get_one(self, tmp_path: Path) -> None:
        with pytest.raises(
            KeyringError, match=r"does not exist\. Put your copy.*netraven init.*NETRAVEN_KEY"
        ):
            load_keyring(tmp_path / "absent.key", {})
        with pytest.raises(KeyringError, match="no key file is set"):
            load_keyring(None, {})

    def test_a_damaged_file_is_named_and_not_quoted(self, tmp_path: Path) -> None:
        path = tmp_path / "netraven.key"
        path.touch(mode=0o600)
        path.write_text("very-secret?\n")
        with pytest.raises(KeyringError, match=str(path)) as caught:
            load_keyring(path, dict(os.environ))
        assert "very-secret" not in str(caught.value)
        path.write_bytes(b"\xff\xfe")
        with pytest.raises(KeyringError, match="not a key file"):
            load_keyring(path, {})
