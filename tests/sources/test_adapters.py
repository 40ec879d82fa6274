"""Environment, files and commands, all of them real."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from netraven.credentials.source import Command, EnvironmentVariable, SecretFile
from netraven.errors import SecretUnreadable
from netraven.sources.command import CommandSource
from netraven.sources.environment import EnvironmentSource
from netraven.sources.file import FileSource
from netraven.sources.text import LARGEST
from tests.canaries import Canaries

CANARY = "c4n4ry-of-the-source-t3st"
PATIENCE = 30.0
PYTHON = shlex.quote(sys.executable)


def key(passphrase: bytes | None = None) -> str:
    form = PrivateFormat.PKCS8 if passphrase else PrivateFormat.OpenSSH
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, form, encryption).decode()


# ---- env: ----


async def test_a_variable_gives_a_password_or_a_key() -> None:
    pem = key()
    source = EnvironmentSource({"PASSWORD": f" {CANARY} ", "KEY": pem})
    assert (await source.read(EnvironmentVariable("PASSWORD"))).password == f" {CANARY} "
    found = await source.read(EnvironmentVariable("KEY"))
    assert (found.password, found.private_key) == (None, pem)


async def test_a_sealed_key_is_given_as_it_is_its_passphrase_is_kept_elsewhere() -> None:
    sealed = key(b"phrase")
    source = EnvironmentSource({"KEY": sealed})
    assert (await source.read(EnvironmentVariable("KEY"))).private_key == sealed


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "no environment variable IT: set it where NetRaven is started"),
        ("", r"\$IT gives nothing"),
        ("   ", r"\$IT gives nothing"),
        (f"{CANARY}\nx", r"\$IT gives more than one line"),
        ("\udcff" + CANARY, "not UTF-8"),
        (CANARY * LARGEST, "more than 64 KiB"),
        (f"-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}\n", "private key that cannot be read"),
    ],
)
async def test_a_variable_that_gives_no_secret(value: str | None, said: str) -> None:
    source = EnvironmentSource({} if value is None else {"IT": value})
    with pytest.raises(SecretUnreadable, match=said) as refused:
        await source.read(EnvironmentVariable("IT"))
    hunt = Canaries({"value": CANARY})
    hunt.hunt_exception("a variable", refused.value)
    hunt.verdict()


# ---- file: ----


async def test_files_are_found_where_systemd_puts_them_then_beside_the_settings(tmp_path: Path) -> None:
    handed, settings = tmp_path / "handed", tmp_path / "settings"
    handed.mkdir()
    settings.mkdir()
    (handed / "both").write_text("from systemd\n")
    (settings / "both").write_text("from the folder\n")
    (settings / "one").write_text("only here\r\n")
    (tmp_path / "elsewhere").write_text(key())
    service = FileSource(settings, {"CREDENTIALS_DIRECTORY": str(handed)}, timeout=PATIENCE)
    assert (await service.read(SecretFile("both"))).password == "from systemd"
    assert (await service.read(SecretFile("one"))).password == "only here"
    assert (await service.read(SecretFile(str(tmp_path / "elsewhere")))).private_key
    person = FileSource(settings, {}, timeout=PATIENCE)
    assert (await person.read(SecretFile("both"))).password == "from the folder"


async def test_files_that_give_no_secret(tmp_path: Path) -> None:
    source = FileSource(tmp_path, {"CREDENTIALS_DIRECTORY": str(tmp_path / "absent")}, timeout=PATIENCE)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "long").write_bytes(CANARY.encode() * LARGEST)
    (tmp_path / "bytes").write_bytes(CANARY.encode() + b"\xff")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    hunt = Canaries({"value": CANARY})
    for name, said in (
        ("absent", "cannot read .*absent: No such file"),
        ("empty", "empty gives nothing"),
        ("long", "more than 64 KiB"),
        ("bytes", "not UTF-8"),
        ("folder", "Is a directory"),
        ("pipe", "not a regular file"),
        ("~no-such-user-here/x", "cannot read ~no-such-user-here/x: not a path"),
    ):
        with pytest.raises(SecretUnreadable, match=said) as refused:
            await source.read(SecretFile(name))
        hunt.hunt_exception(name, refused.value)
    hunt.verdict()


# ---- command: ----


def program(code: str, *arguments: str) -> Command:
    return Command((sys.executable, "-c", code, *arguments))


def source(folder: Path, *, timeout: float = PATIENCE, **environ: str) -> CommandSource:
    return CommandSource(folder, {"PATH": os.environ["PATH"], **environ}, timeout=timeout)


async def test_a_command_prints_the_secret(tmp_path: Path) -> None:
    found = await source(tmp_path).read(program("import sys; print(sys.argv[1])", "$HOME; `it`"))
    assert found.password == "$HOME; `it`"  # no shell stood between
    pem = key()
    (tmp_path / "pem").write_text(pem)
    assert (await source(tmp_path).read(Command(("cat", "pem")))).private_key == pem  # it runs in the folder


async def test_a_command_is_told_no_secret_of_ours_and_asked_nothing(tmp_path: Path) -> None:
    code = (
        "import os, sys; print(sys.stdin.read() == '', 'NETRAVEN_KEY' in os.environ, os.environ['KEPT'],"
        " os.getsid(0) == os.getpid())"
    )
    found = await source(tmp_path, NETRAVEN_KEY="k", KEPT="kept").read(program(code))
    assert found.password == "True False kept True"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            f"import sys; print('{CANARY}'); print('{CANARY}', file=sys.stderr); sys.exit(3)",
            "exit code 3: run it by",
        ),
        (f"import os; print('{CANARY}', flush=True); os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
        ("", "gives nothing"),
        ("print()", "gives nothing"),
        (f"print('{CANARY}'); print('{CANARY}')", "more than one line"),
        (f"import sys; sys.stdout.buffer.write(b'\\xff{CANARY}')", "not UTF-8"),
        (f"while True: print('{CANARY}' * 1000)", "more than 64 KiB"),
    ],
)
async def test_a_command_that_gives_no_secret(code: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SecretUnreadable, match=said) as refused:
        await source(tmp_path).read(program(code))
    hunt = Canaries({"output": CANARY})
    hunt.hunt_exception("a command", refused.value)
    hunt.verdict()


async def test_a_command_that_cannot_be_run(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("not a program")
    for argv, said in (
        (("no-such-program-anywhere",), "cannot be run: No such file"),
        (("./plain",), "cannot be run: Permission denied"),
        (("cat", "a\0b"), "cannot be run"),
    ):
        with pytest.raises(SecretUnreadable, match=said):
            await source(tmp_path).read(Command(argv))


async def until(state: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not state():  # noqa: ASYNC110 - another process has no event to wait for
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def pids(folder: Path) -> list[int]:
    file = folder / "pids"
    return [int(pid) for pid in file.read_text().split()] if file.exists() else []


CHILDREN = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open("pids", "w").write(f"{child.pid} {__import__('os').getpid()}")
time.sleep(600)
"""


async def test_at_the_deadline_a_command_and_its_children_are_stopped(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(SecretUnreadable, match=r"still running after 2 s and was stopped: .*command_timeout"):
        await source(tmp_path, timeout=2.0).read(program(CHILDREN))
    assert time.monotonic() - started < 20
    assert len(pids(tmp_path)) == 2
    await until(lambda: not any(map(alive, pids(tmp_path))))


async def test_a_cancelled_command_is_stopped(tmp_path: Path) -> None:
    reading = asyncio.create_task(source(tmp_path).read(program(CHILDREN)))
    await until(lambda: len(pids(tmp_path)) == 2)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await until(lambda: not any(map(alive, pids(tmp_path))))


async def test_what_a_daemon_keeps_open_is_not_waited_for_longer_than_the_deadline(tmp_path: Path) -> None:
    code = "import os, time\nif os.fork() == 0:\n  os.setsid(); time.sleep(5)\nelse: print('secret')"
    with pytest.raises(SecretUnreadable, match="still running"):
        await source(tmp_path, timeout=1.0).read(program(code))
