"""A dialect that nobody has heard of, described in a file of a few lines, against a device that speaks it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from tests.acceptance.at_the_prompt import Operator

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-platform.md"
CONFIG = [f"port {n} name uplink-{n}" for n in range(60)] + ["note -- next -- is a pager's text", "end"]
PAGE = 24


@dataclass
class Box:
    """One device. ``typed``: what came in, keys for further pages left out."""

    config: list[str] = field(default_factory=lambda: list(CONFIG))
    port: int = 0
    typed: list[str] = field(default_factory=list)
    keys: int = 0

    async def speak(self, process: Any) -> None:
        try:
            process.stdout.write("Welcome to the box.\r\n\r\n")
            while True:
                process.stdout.write("[box1]>>")
                line = ""
                while (letter := await process.stdin.read(1)) not in ("\r", "\n"):
                    if not letter:
                        return
                    line += letter
                    process.stdout.write(letter)
                process.stdout.write("\r\n")
                self.typed.append(line)
                if line == "dump all":
                    await self._dump(process)
                elif line:
                    process.stdout.write("?? bad\r\n")
        finally:
            process.exit(0)

    async def _dump(self, process: Any) -> None:
        for number, line in enumerate(self.config, 1):
            process.stdout.write(line + "\r\n")
            if number % PAGE == 0:
                process.stdout.write("-- next --")
                if not await process.stdin.read(1):
                    return
                self.keys += 1
                process.stdout.write("\r          \r")


@asynccontextmanager
async def running(box: Box) -> AsyncIterator[Box]:
    class Server(asyncssh.SSHServer):
        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == ("netops", "word")

    server = await asyncssh.create_server(
        Server,
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=box.speak,
        line_editor=False,
        gss_host=None,
    )
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
        await server.wait_closed()


def documented() -> str:
    """The how-to's first example."""
    found = re.search(r"```toml\n(.*?)```", HOW_TO.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


async def stocked(operator: Operator, box: Box, text: str, suffix: str = "toml") -> Path:
    folder = operator.installation.file.parent / "platforms"
    folder.mkdir()
    file = folder / f"box_os.{suffix}"
    file.write_text(text)
    await operator.device("box1", box.port, "box_os", "boxes")
    await operator.password("netops", "netops", "boxes", "word")
    return file


async def test_the_documented_file_of_under_twenty_lines_collects(operator: Operator) -> None:
    text = documented()
    assert len([line for line in text.splitlines() if line.strip()]) < 20
    async with running(Box()) as box:
        file = await stocked(operator, box, text)
        checked = await operator.netraven("platform", "check", str(file))
        assert checked.code == 0, checked.err
        outcome = (await operator.collect())["box1"]
        assert outcome["status"] == "collected", outcome
        assert await operator.text("box1") == "\n".join(CONFIG) + "\n"
        assert "dump all" in box.typed
        assert box.keys == len(CONFIG) // PAGE
        tried = await operator.netraven("platform", "check", str(file), "--device", "box1")
        assert tried.code == 0, tried.err
        assert "dump all" in tried.out
        assert "word" not in tried.out + tried.err


async def test_its_error_line_is_a_rejection(operator: Operator) -> None:
    async with running(Box()) as box:
        await stocked(operator, box, documented().replace("dump all", "dump everything"))
        outcome = (await operator.collect())["box1"]
        assert (outcome["status"], outcome["reason"]) == ("failed", "command_rejected")
        assert "?? bad" in outcome["detail"]


async def test_a_broken_file_fails_its_own_devices_with_file_line_and_what_is_expected(
    operator: Operator,
) -> None:
    async with running(Box()) as box:
        file = await stocked(operator, box, documented().replace("prompt =", "promt ="))
        checked = await operator.netraven("platform", "check", str(file))
        assert checked.code == 2
        line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if text.startswith("promt"))
        assert f"{file}:{line}: promt is not known; did you mean 'prompt'?" in checked.err
        outcome = (await operator.collect())["box1"]
        assert outcome["status"] == "failed"
        assert f"box_os.toml:{line}: promt is not known" in outcome["detail"]
        assert not box.typed
