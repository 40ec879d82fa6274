"""What a device controls reaches neither terminal nor log as it is: every control character is shown, none obeyed."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncssh
import pytest

from netraven import Device, outlets
from netraven.lab import Ill, Lab, LabDevice
from netraven.lab.server import host_key
from tests.acceptance.installation import EVERYWHERE, PATIENT, Installation, credential
from tests.acceptance.processes import NETRAVEN, ROOT, Command, environment

EVIL = "\x1b]0;title of the lab\x07\x1b[2J\x1b]52;c;bGFi\x07 red\x1b[31m \u009b5n \x08\x08 \u202egnp.exe\u2066 \r over"
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""C0 but for tab and newline, DEL, C1, what reorders or breaks lines (Unicode's bidirectional controls)."""
COMMANDS = (
    "run list", "run show 1", "log connections", "log attempts", "log job", "device list", "device show evil",
    "device show error", "credential list", "credential match evil", "config show evil", "db check",
    "config history evil", "config diff evil", "config diff --run 1", "config search exe",
    "config search exe --history",
    "hook list", "job list", "job show odd", "status", "report stale",
)  # fmt: skip


def check(where: str, data: bytes) -> None:
    text = data.decode()  # what is not UTF-8 has no place there either
    found = UNSAFE.search(text)
    assert found is None, f"{where}: {text[max(0, found.start() - 80) : found.end() + 20]!r}"


class Leaving(asyncssh.SSHServer):
    """Says goodbye in its own way once a user is named."""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        self._connection.send_auth_banner(EVIL)
        self._connection.disconnect(asyncssh.DISC_SERVICE_NOT_AVAILABLE, EVIL)
        return True


@asynccontextmanager
async def rude_servers() -> AsyncIterator[dict[str, int]]:
    """Ports of servers whose every word is evil: the version line, what comes before it, the goodbye."""

    def saying(words: bytes) -> Any:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                writer.write(words)
                await reader.read(1_000)
            writer.close()

        return serve

    evil = EVIL.replace("\r", "").encode()
    servers: dict[str, Any] = {
        "named": await asyncio.start_server(saying(b"SSH-2.0-" + evil + b"\r\n"), "127.0.0.1", 0),
        "version": await asyncio.start_server(saying(b"SSH-1.5-" + evil + b"\r\n"), "127.0.0.1", 0),
        "chatter": await asyncio.start_server(saying((evil + b"\r\n") * 3), "127.0.0.1", 0),
        "goodbye": await asyncssh.create_server(
            Leaving, "127.0.0.1", 0, server_host_keys=[host_key(0, "goodbye", 0)], gss_host=None
        ),
    }
    try:
        yield {name: server.sockets[0].getsockname()[1] for name, server in servers.items()}
    finally:
        for server in servers.values():
            server.close()


@asynccontextmanager
async def evil_fleet(installation: Installation) -> AsyncIterator[None]:
    accepts = {"netops": "word"}
    devices = [
        LabDevice("evil", accepts, ill=Ill("evil_output")),
        LabDevice("error", accepts, ill=Ill("command_error", text=f"% Invalid input detected {EVIL}\n")),
        LabDevice("evil-login", accepts={}, ill=Ill("disconnect_at_login")),
        LabDevice("config", accepts, config=f"hostname config\n! {EVIL}\nend\n"),
    ]
    async with Lab(devices) as lab, rude_servers() as ports:
        await installation.stock(
            lab, [credential("netops", "word"), credential(f"odd {EVIL}", "word", username="odd")]
        )
        odd = [
            Device(name, "127.0.0.1", "cisco_iosxe", port=port, tags=EVERYWHERE)
            for name, port in ports.items()
        ]
        host, port = lab.endpoint("config")
        odd.append(Device(f"name {EVIL}", host, "cisco_iosxe", port=port, tags=EVERYWHERE | {f"tag {EVIL}"}))
        odd.append(Device("platform", host, f"cisco {EVIL}", port=port, tags=EVERYWHERE))
        odd.append(Device("host", f"{EVIL}.invalid", "cisco_iosxe", tags=EVERYWHERE))
        async with installation.open() as raven:
            await raven.store.inventory.upsert_devices(odd)
        yield


async def test_every_command_and_every_log(
    installation: Installation, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETRAVEN_LOG__LEVEL", "debug")
    monkeypatch.setattr(outlets, "GOODBYE", 0.5)
    complaint = json.dumps(["/bin/sh", "-c", 'printf %s "$0" >&2; exit 1', EVIL])
    with installation.file.open("a") as file:
        file.write(f'[hooks.complains]\ntype = "command"\ncommand = {complaint}\n')
    async with evil_fleet(installation):
        for form in ("json", "console"):
            monkeypatch.setenv("NETRAVEN_LOG__FORMAT", form)
            for more in ([], ["--json"]):
                ended = await command("collect", *more, config=installation.file)
                assert ended.code == 1, ended.err
                check(f"collect, {form}: stdout", ended.stdout)
                check(f"collect, {form}: stderr", ended.stderr)
                assert "\\x1b]0;" in ended.err  # it is shown, not hidden
                for what in ("reachability", "credentials"):
                    ended = await command("check", what, *more, config=installation.file)
                    assert ended.code == 1, ended.err
                    check(f"check {what}, {form}: stdout", ended.stdout)
                    check(f"check {what}, {form}: stderr", ended.stderr)
                    assert "\\x1b]0;" in ended.out
        for words, code in (
            (["job", "add", "odd", "--device", "name*"], 0),
            (["job", "run", "odd"], 1),
            (["run", "retry", "1"], 1),
        ):
            ended = await command(*words, config=installation.file)
            check(" ".join(words), ended.stdout + ended.stderr)
            assert ended.code == code, ended.err
    for line in COMMANDS:
        for words in (line.split(), [*line.split(), "--json"]):
            ended = await command(*words, config=installation.file)
            check(" ".join(words), ended.stdout + ended.stderr)
            assert ended.code == 0, (words, ended.err)
    archive = str(installation.folder / "history.zst")
    for words in (["prune"], ["history", "export", archive, "--raw"], ["history", "import", archive]):
        ended = await command(*words, config=installation.file)
        check(" ".join(words), ended.stdout + ended.stderr)
        assert ended.code == (2 if "import" in words else 0), (
            ended.err
        )  # names of devices that no list would take
    ended = await command("hook", "deliver", config=installation.file)
    check("hook deliver", ended.stdout + ended.stderr)
    assert "ended with exit code 1: \\x1b]0;title" in ended.out
    for words in (
        ["device", "show", f"name {EVIL}"],
        ["run", "show", EVIL],
        [EVIL],
        ["collect", "--tag", EVIL],
        ["run", "retry", EVIL],
        ["job", "show", EVIL],
        ["job", "run", EVIL],
        ["job", "add", EVIL],
        *(
            ["job", "add", "x", option, EVIL]
            for option in (
                "--tag",
                "--platform",
                "--output",
                "--strategy",
                "--cron",
                "--zone",
                "--every",
                "--at",
            )
        ),
        ["job", "edit", "odd", "--clear", EVIL],
    ):
        ended = await command(*words, config=installation.file)
        check(repr(words), ended.stdout + ended.stderr)


async def test_what_is_stored_is_what_the_device_said(installation: Installation) -> None:
    """Cleaning is for showing: the stored configuration keeps its characters but for the terminal's own codes."""
    async with evil_fleet(installation), installation.open() as raven:
        await raven.collect(names={"config"})
        capture = await raven.store.versions.current("config", "running")
    assert capture is not None
    assert "\u202egnp.exe\u2066" in capture.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "visible"),
    [
        ("collect", "]0;title of the lab"),
        ("run show 1", "]0;title of the lab"),
        ("log job", "]0;title of the lab"),
        ("config show evil", "\\x9b5n"),
        ("config search exe", "\\u202egnp.exe"),
    ],
)
async def test_on_a_terminal(installation: Installation, words: str, visible: str) -> None:
    """There NetRaven itself sends codes for colour and the cursor; none of the device's may be among them."""
    installation.configure(PATIENT)
    async with evil_fleet(installation):
        if words != "collect":
            async with installation.open() as raven:
                await raven.collect()
        ours, theirs = pty.openpty()
        try:
            process = await asyncio.create_subprocess_exec(
                *NETRAVEN, "--config", str(installation.file), *words.split(),
                stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, env=environment(TERM="xterm-256color"),
            )  # fmt: skip
            os.close(theirs)
            data = await asyncio.to_thread(_read_all, ours)
            await process.wait()
        finally:
            os.close(ours)
    shown = data.decode()
    assert process.returncode == (1 if words == "collect" else 0), shown
    assert visible in shown  # what was said may be seen
    for sequence in ("\x07", "\x1b]", "\x1b[2J", "\x08", "\x9b", "\u202e", "\u2066"):
        assert sequence not in shown, (sequence, shown[max(0, shown.find(sequence) - 80) :][:120])


def _read_all(terminal: int) -> bytes:
    data = b""
    with suppress(OSError):  # EIO: nobody has the other side open any more
        while chunk := os.read(terminal, 65_536):
            data += chunk
    return data
