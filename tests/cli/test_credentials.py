"""Credentials: how secrets come in, what is warned about, and that none comes out."""

from __future__ import annotations

import io
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from netraven.errors import SecretUnreadable
from tests.cli.conftest import Command, environment
from tests.ssh_agents import ssh_agent

SECRET = "c4n4ry-0f-the-t3st"
KEYS = {"name", "username", "realm", "priority", "tags", "success_rate", "attempts", "successes", "last_used",
        "last_success", "held_until", "hold_reason", "source", "when"}  # fmt: skip


class _Stdin(io.StringIO):
    """Bytes on stdin, from a pipe or a terminal."""

    def __init__(self, data: bytes = b"", *, terminal: bool = False) -> None:
        super().__init__()
        self.buffer: Any = io.BytesIO(data)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def _revealed(home: Path, name: str) -> Any:
    """What is stored, as a run would get it."""
    import asyncio

    from netraven.assembly import open_store
    from netraven.config import load_settings

    async def read() -> Any:
        async with open_store(load_settings(home / "netraven.toml", environ={})) as store:
            return await store.reveal((await store.vault.get(name)).credential)

    return asyncio.run(read())


@pytest.mark.parametrize(
    ("data", "password"),
    [
        (b"secret\n", "secret"),
        (b"secret", "secret"),
        (b" with spaces \n", " with spaces "),
        (b"secret\r\n", "secret"),
        ("pässword\n".encode(), "pässword"),
    ],
)
def test_a_password_from_stdin_loses_its_line_end_only(
    data: bytes, password: str, home: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", _Stdin(data))
    assert nr("credential", "add", "c", "--username", "u", "--password-stdin").code == 0
    assert _revealed(home, "c").password == password


@pytest.mark.parametrize(
    ("data", "words", "hint"),
    [
        (b"", "--password-stdin", "empty"),
        (b"\n", "--password-stdin", "empty"),
        (b"one\ntwo\n", "--password-stdin", "more than one line"),
        (b"\xff\n", "--password-stdin", "not UTF-8"),
        (b"", "--password-env NOT_SET_ANYWHERE", "no environment variable NOT_SET_ANYWHERE"),
        (b"", "--password-env EMPTY", "$EMPTY is empty"),
        (b"", "", "--password-stdin"),
        (b"", "--private-key missing.pem", "cannot be read"),
        (b"x\n", "--password-stdin --tags a;b", "must not contain"),
        (b"x\n", "--password-stdin --realm \x1b", "control characters"),
    ],
)
def test_what_is_no_secret_is_refused(
    data: bytes, words: str, hint: str, home: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", _Stdin(data))
    monkeypatch.setenv("EMPTY", "")
    said = nr("credential", "add", "c", "--username", "u", *words.split())
    assert said.code == 2
    assert hint in said.err
    assert "\x1b" not in said.err
    assert nr("credential", "list", "--json").json == []


def test_on_a_terminal_it_is_asked_for_twice(
    home: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", _Stdin(terminal=True))
    answers = ["one", "two", "same", "same"]
    monkeypatch.setattr("getpass.getpass", lambda _: answers.pop(0))
    assert "differ" in nr("credential", "add", "c", "--username", "u").err
    assert nr("credential", "add", "c", "--username", "u", "--tags", "t").code == 0
    assert _revealed(home, "c").password == "same"


def _key(passphrase: bytes | None = None, *, pem: bool = False) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    return generate_private_key(SECP256R1()).private_bytes(
        Encoding.PEM,
        PrivateFormat.PKCS8 if pem else PrivateFormat.OpenSSH,
        BestAvailableEncryption(passphrase) if passphrase else NoEncryption(),
    )


@pytest.mark.parametrize("pem", [True, False])
def test_a_private_key(pem: bool, home: Path, nr: Command) -> None:
    text = _key(pem=pem)
    (home / "id").write_bytes(text)
    said = nr("credential", "add", "c", "--username", "u", "--tags", "t", "--private-key", "id")
    assert said.code == 0, said.err
    assert _revealed(home, "c").private_key == text.decode()


def _exchange_key() -> bytes:
    """A private key that nothing can be signed with."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"ssh-ed25519 AAAA x\n", "public key"),
        (b"PuTTY-User-Key-File-3: ssh-ed25519\n", "PuTTY"),
        (b"hello\n", "not a private key"),
        (b"\xff\xfe", "not a private key"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "can be read"),
        (_key(b"phrase", pem=True), "passphrase"),
        (_exchange_key(), "does not log in with"),
    ],
)
def test_a_file_that_is_no_usable_private_key(data: bytes, hint: str, home: Path, nr: Command) -> None:
    (home / "id").write_bytes(data)
    said = nr("credential", "add", "c", "--username", "u", "--private-key", "id")
    assert said.code == 2
    assert hint in said.err


def test_warnings_about_tags(home: Path, nr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P", SECRET)
    (home / "d.csv").write_text("name,host,port,platform,tags\nr1,h,,cisco_iosxe,edge\n")
    nr("device", "import", "d.csv")
    none = nr("credential", "add", "none", "--username", "u", "--password-env", "P")
    assert none.code == 0
    assert "warning: none has no tags" in none.err
    idle = nr("credential", "add", "idle", "--username", "u", "--password-env", "P", "--tags", "edge, dge")
    assert idle.code == 0
    assert "warning: no device carries the tag 'dge' yet" in idle.err
    fits = nr("credential", "add", "fits", "--username", "u", "--password-env", "P", "--tags", "edge")
    assert (fits.code, fits.err) == (0, "")


def test_update_changes_what_is_given(home: Path, nr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P", SECRET)
    monkeypatch.setenv("E", "enable-me")
    nr(
        "credential",
        "add",
        "c",
        "--username",
        "u",
        "--tags",
        "t",
        "--password-env",
        "P",
        "--enable-password-env",
        "E",
    )
    assert nr("credential", "update", "c").code == 2
    assert nr("credential", "update", "nobody", "--priority", "1").code == 2
    assert nr("credential", "update", "c", "--priority", "-5", "--tags", "x,y", "--realm", "local").code == 0
    (row,) = nr("credential", "list", "--json").json
    assert set(row) == KEYS
    assert (row["priority"], row["tags"], row["realm"], row["username"]) == (-5, ["x", "y"], "local", "u")
    secret = _revealed(home, "c")
    assert (secret.password, secret.enable) == (SECRET, "enable-me")
    monkeypatch.setenv("P", "another")
    assert "secret version 2" in nr("credential", "update", "c", "--password-env", "P").out
    secret = _revealed(home, "c")
    assert (secret.password, secret.enable) == ("another", "enable-me")
    (home / "id").write_bytes(_key())
    assert "secret version 3" in nr("credential", "update", "c", "--private-key", "id").out
    secret = _revealed(home, "c")
    assert secret.password in {None, ""}
    assert secret.private_key == (home / "id").read_text()


def test_a_name_is_taken_once_and_freed_by_remove(
    home: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("P", SECRET)
    words = ("credential", "add", "c", "--username", "u", "--tags", "t", "--password-env", "P")
    assert nr(*words).code == 0
    again = nr(*words)
    assert again.code == 2
    assert "exists already" in again.err
    assert nr("credential", "remove", "c").code == 0
    assert nr("credential", "remove", "c").code == 2
    assert nr(*words).code == 0


def test_match_says_in_which_order_and_why(ready: Path, nr: Command) -> None:
    shown = nr("credential", "match", "r1")
    assert shown.out.index("netops") < shown.out.index("admin")
    order = nr("credential", "match", "r1", "--json").json
    assert [(choice.pop("unreadable"), choice.pop("not_before")) for choice in order] == [(None, None)] * 2
    assert [(choice.pop("version"), choice.pop("previous")) for choice in order] == [(1, False), (1, False)]
    assert [choice.pop("source") for choice in order] == [None, None]
    assert order == [
        {"place": 1, "credential": "netops", "username": "netops", "tags": ["edge"], "reason": "priority 1"},
        {"place": 2, "credential": "admin", "username": "admin", "tags": ["edge"], "reason": "priority 2"},
    ]
    assert (
        "No credential shares a tag with alone (its tags: unused)" in nr("credential", "match", "alone").out
    )
    assert nr("credential", "match", "alone", "--json").json == []
    assert nr("credential", "match", "nobody").code == 2


def test_match_knows_what_the_device_has_answered_unless_the_strategy_does_not_ask(
    ready: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nr("collect", "--device", "r2").code == 0
    admin, netops = nr("credential", "match", "r2", "--json").json
    assert (admin["credential"], admin["version"]) == ("admin", 1)
    assert (admin["reason"], admin["not_before"]) == ("opened this device just now", None)
    assert (netops["credential"], netops["version"]) == ("netops", 1)
    assert netops["reason"] == "refused here with this secret version just now"
    wait = datetime.fromisoformat(netops["not_before"]) - datetime.now(UTC)
    assert timedelta(days=2.9) < wait < timedelta(days=3)
    until = f"not offered before {netops['not_before'][:16].replace('T', ' ')}"
    assert until in " ".join(nr("credential", "match", "r2").out.split())
    by_priority = nr("credential", "match", "r2", "--strategy", "priority", "--json").json
    assert [(c["credential"], c["reason"]) for c in by_priority] == [
        ("netops", "priority 1"),
        ("admin", "priority 2"),
    ]
    said = nr("credential", "match", "r2", "--strategy", "last-goood")
    assert said.code == 2
    assert "did you mean 'last-good'" in said.err
    monkeypatch.setenv("NETRAVEN_COLLECT__REFUSED_BACKOFF", "0")
    assert [c["not_before"] for c in nr("credential", "match", "r2", "--json").json] == [None, None]


def test_no_secret_is_shown_or_stored_in_clear(
    home: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("P", SECRET)
    monkeypatch.setenv("NETRAVEN_LOG__LEVEL", "debug")
    said = [
        nr("credential", "add", "c", "--username", "u", "--tags", "t", "--password-env", "P"),
        nr("credential", "list"),
        nr("credential", "list", "--json"),
        nr("credential", "update", "c", "--enable-password-env", "P"),
    ]
    assert not any(SECRET in one.out + one.err for one in said)
    sqlite3.connect(home / "netraven.db").close()
    for file in home.iterdir():
        assert SECRET.encode() not in file.read_bytes(), file.name


def test_a_password_is_no_argument_of_any_process(home: Path) -> None:
    """The way that the README shows: through a pipe."""
    said = subprocess.run(
        [
            sys.executable,
            "-m",
            "netraven.cli",
            "credential",
            "add",
            "c",
            "--username",
            "u",
            "--password-stdin",
        ],
        cwd=home,
        env=environment(),
        input=f"{SECRET}\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert _revealed(home, "c").password == SECRET


# ---- keys: sealed, certified, with a password, in an agent


def _pair(tmp: Path, passphrase: str = "", name: str = "id") -> str:
    """A key that ssh-keygen makes, and its text."""
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "mine@lab", "-f", str(tmp / name)]
    subprocess.run(words, check=True)
    return (tmp / name).read_text()


def _certify(tmp: Path, name: str = "id", *more: str) -> None:
    if not (tmp / "ca").exists():
        _pair(tmp, name="ca")
    words = ["ssh-keygen", "-q", "-s", str(tmp / "ca"), "-I", "id", *more, str(tmp / f"{name}.pub")]
    subprocess.run(words, check=True, capture_output=True)


def _columns(home: Path) -> dict[str, bool]:
    """Which parts of the secret are stored."""
    with closing(sqlite3.connect(home / "netraven.db")) as db:
        db.row_factory = sqlite3.Row
        row = db.execute("SELECT * FROM credentials").fetchone()
    return {
        name.removeprefix("sealed_"): value is not None
        for name, value in dict(row).items()
        if name.startswith("sealed_")
    }


def test_a_sealed_key_is_kept_with_its_passphrase(
    home: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = _pair(home, SECRET)
    words = ("credential", "add", "c", "--username", "u", "--tags", "t", "--private-key", "id")
    without = nr(*words)
    assert without.code == 2
    assert "--passphrase-env" in without.err
    monkeypatch.setenv("P", "not this")
    wrong = nr(*words, "--passphrase-env", "P")
    assert wrong.code == 2
    assert "not opened by its passphrase" in wrong.err
    monkeypatch.setenv("P", SECRET)
    assert nr(*words, "--passphrase-env", "P").code == 0
    kept = _revealed(home, "c")
    assert (kept.private_key, kept.passphrase, kept.password) == (text, SECRET, None)
    assert SECRET.encode() not in (home / "netraven.db").read_bytes()
    trap = nr("credential", "update", "c", "--passphrase", SECRET)
    assert trap.code == 2
    assert "--passphrase-env" in trap.err
    assert SECRET not in trap.err
    # another key takes the passphrase of the old one away
    _pair(home, name="new")
    assert nr("credential", "update", "c", "--private-key", "new").code == 0
    assert _columns(home)["passphrase"] is False


def test_a_key_and_a_password_are_one_secret(
    home: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = _pair(home)
    monkeypatch.setenv("P", SECRET)
    words = ("credential", "add", "c", "--username", "u", "--tags", "t")
    assert nr(*words, "--private-key", "id", "--password-env", "P").code == 0
    kept = _revealed(home, "c")
    assert (kept.private_key, kept.password) == (text, SECRET)
    monkeypatch.setenv("P", "another one")
    assert nr("credential", "update", "c", "--password-env", "P").code == 0
    assert _revealed(home, "c").private_key is None, "a new password alone is a new secret"


def test_a_certificate_has_to_belong_to_the_key_and_is_warned_of(home: Path, nr: Command) -> None:
    _pair(home)
    _pair(home, name="other")
    _certify(home, "id", "-n", "u")
    _certify(home, "other", "-n", "u")
    words = (
        "credential",
        "add",
        "c",
        "--username",
        "u",
        "--tags",
        "t",
        "--private-key",
        "id",
        "--certificate",
    )
    foreign = nr(*words, "other-cert.pub")
    assert foreign.code == 2
    assert "does not belong to its certificate" in foreign.err
    assert nr(*words, "id.pub").code == 2
    assert nr(*words, "id-cert.pub").code == 0
    assert (_revealed(home, "c").certificate or "").startswith("ssh-ed25519-cert-v01@openssh.com ")
    _certify(home, "id", "-n", "u", "-V", "20200101:20210101")
    late = nr("credential", "update", "c", "--private-key", "id", "--certificate", "id-cert.pub")
    assert late.code == 0
    assert "expired" in late.err
    assert nr("credential", "update", "c", "--certificate", "id-cert.pub").code == 2


def test_a_key_of_an_agent_is_a_source(home: Path, nr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    words = ("credential", "add", "c", "--username", "u", "--tags", "t", "--agent", "mine@lab")
    assert nr(*words).code == 0
    assert nr("credential", "list", "--json").json[0]["source"] == "agent:mine@lab"
    with pytest.raises(SecretUnreadable, match="SSH_AUTH_SOCK is not set"):
        _revealed(home, "c")
    _pair(home)
    with ssh_agent() as socket:
        monkeypatch.setenv("SSH_AUTH_SOCK", socket)
        with pytest.raises(SecretUnreadable, match="holds no key"):
            _revealed(home, "c")
        subprocess.run(["ssh-add", "-q", str(home / "id")], check=True)
        assert _revealed(home, "c").agent == "mine@lab"
        nr("credential", "update", "c", "--agent", "someone@else")
        with pytest.raises(SecretUnreadable, match="does not hold the key 'someone@else'"):
            _revealed(home, "c")


def test_an_agents_key_may_have_a_password_behind_it(
    home: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("P", SECRET)
    words = ("credential", "add", "c", "--username", "u", "--tags", "t", "--agent", "--password-env", "P")
    assert nr(*words).code == 0
    assert nr("credential", "list", "--json").json[0]["source"] == "agent:"
    assert _columns(home)["password"] is True
    assert nr("credential", "update", "c", "--password-env", "P").code == 0


def test_a_sourced_key_is_opened_by_the_passphrase_that_is_kept(
    home: Path, nr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = _pair(home, SECRET)
    words = ("credential", "add", "c", "--username", "u", "--tags", "t", "--source", "file:id")
    assert nr(*words).code == 0
    with pytest.raises(SecretUnreadable, match="passphrase that is not kept here"):
        _revealed(home, "c")
    monkeypatch.setenv("P", SECRET)
    assert nr("credential", "update", "c", "--passphrase-env", "P").code == 0
    kept = _revealed(home, "c")
    assert (kept.private_key, kept.passphrase) == (text, SECRET)
    assert nr("credential", "list", "--json").json[0]["source"] == "file:id"
