"""Whatever a device sends, a session ends: with a capture or with a failure of the device, soon and in little time.

``NETRAVEN_TEST_FUZZ_SECONDS`` lets it search for longer than the few seconds of the test suite; each failure names the
seed that shows it again (``NETRAVEN_TEST_FUZZ_SEED``).
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections.abc import Iterable

import pytest

from netraven.errors import DeviceFailure
from netraven.platforms.model import RUNNING, Detection, Level, Output, Platform
from netraven.transport.session import ShellSession
from tests.transport.shells import ScriptedShell
from tests.virtual_time import VirtualLoop

SECONDS = float(os.environ.get("NETRAVEN_TEST_FUZZ_SECONDS", "8"))
SEED = int(os.environ.get("NETRAVEN_TEST_FUZZ_SEED", "0"))
MOST_CPU = 2.0
"""Seconds for one session of some hundred kilobytes; it takes milliseconds."""

OUTPUTS = {RUNNING: Output(RUNNING, "show running-config"), "version": Output("version", "show version")}
DRIVERS = [
    "cisco_iosxe",
    "juniper_junos",
    "nokia_sros",
    "mikrotik_routeros",
    "huawei_vrp",
    "fortinet_fortios",
    "cisco_asa",
]
PLATFORMS = [Platform(name, OUTPUTS, driver=name) for name in DRIVERS] + [
    Platform("one", OUTPUTS, prompt=r"\S+[#>]", pager=re.compile("-- next --"), errors=("?? bad",)),
    Platform(
        "levels",
        OUTPUTS,
        levels=(Level("user", r"\w+>"), Level("root", r"\w+#", enter="enable", asks="word:", above="user")),
        level="root",
    ),
]
AUTO = [
    Platform(
        "a", OUTPUTS, prompt=r"\w+#", detection=(Detection(command="show version", answer=re.compile("IOS")),)
    ),
    Platform(
        "b",
        OUTPUTS,
        prompt=r"\S+>",
        detection=(Detection(prompt=re.compile(">$"), banner=re.compile("JUN")),),
    ),
]
PIECES = [
    *(
        b"r1#",
        b"r1>",
        b"r1(config)#",
        b"<r1>",
        b"[/]\r\nA:admin@r1# ",
        b"me@r1> ",
        b"[admin@r1] > ",
        b"FGT # ",
    ),
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\r\n",
        b"\x00",
        b"\b",
        b"\b \b",
        b" ",
        b"   ",
        b"\t",
        b"\x07",
        b"\xff",
        b"\xc3",
    ),
    *(
        b"\x1b[K",
        b"\x1b[2K",
        b"\x1b[24;1H",
        b"\x1b[42D",
        b"\x1b[31m",
        b"\x1b]0;t\x07",
        b"\x1b",
        b"\x1b[",
        b"\x9b1m",
    ),
    *(
        b"--More--",
        b" --More-- ",
        b"<--- More --->",
        b"-- next --",
        b"Press any key to continue",
        b"Type <CR> to continue",
    ),
    *(
        b"Password: ",
        b"Username: ",
        b"login: ",
        b"Change now? [Y/N]:",
        b"(Press 'a' to accept):",
        b"% Bad secrets",
    ),
    *(
        b"hostname r1",
        b"interface e1",
        b" description #>$",
        b"end",
        b"Cisco IOS",
        b"JUNOS",
        b"show running-config",
        b"enable",
    ),
]


class Mutant(ScriptedShell):
    """A device whose answers are pieces of real dialogues in any order, broken in any way."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.left = 60
        """Answers until it falls silent, so that nobody talks with it for ever."""
        super().__init__(
            self.garbage(), self.answer, keys=self.key, cut=self.pieces, gap=chance.choice([1e-4, 0.05, 0.6])
        )

    def garbage(self) -> bytes:
        chance = self.chance
        said = [chance.choice(PIECES) for _ in range(chance.randrange(30))]
        said += [chance.choice([b"\r\n", b"", b"\r\n\r\n"]), chance.choice([*PIECES[:8], b"", b" --More-- "])]
        body = bytearray(b"".join(said) * chance.choice([1, 1, 1, 1, 20, 200]))
        for _ in range(chance.choice([0, 0, 1, 5])):
            if body:
                body[chance.randrange(len(body))] = chance.randrange(256)
        return bytes(body)

    def answer(self, line: str) -> bytes:
        self.left -= 1
        if self.left < 0:
            return b""
        if self.chance.random() < 0.02:
            self.channel.connection_lost(self.chance.choice([None, ConnectionResetError("cut")]))
        if self.chance.random() < 0.6:  # mostly a device that behaves, or nothing would ever get far
            return b"hostname r1\r\nend\r\n" * self.chance.randrange(3) + self.chance.choice(PIECES[:8])
        return self.garbage()

    def key(self, data: bytes) -> bytes | None:
        if data != b" " or self.left < 0:
            return None
        self.left -= 1
        return self.garbage()

    def pieces(self, data: bytes) -> Iterable[bytes]:
        at = 0
        while at < len(data):
            size = self.chance.choice([1, 2, 7, 100, 5_000]) if len(data) < 2_000 else 5_000
            yield data[at : at + size]
            at += size


async def one(seed: int) -> str:
    """How the session ended."""
    chance = random.Random(seed)
    device = Mutant(chance)
    platform = chance.choice([*PLATFORMS, None])
    session = ShellSession(
        device.channel,
        platform,
        command_timeout=30.0,
        candidates=AUTO,
        most_output=chance.choice([1 << 20, 10_000]),
    )
    failed: DeviceFailure | None = None
    try:
        captures = await session.capture(enable=chance.choice([None, "sesame"]), kinds=(RUNNING, "version"))
    except DeviceFailure as failure:
        failed, captures = failure, failure.captured
    assert all(capture.text.strip("\n") for capture in captures)
    assert device.typed.count("sesame") <= 1
    assert failed is None or (failed.logged_in and "sesame" not in failed.detail)
    return "collected" if failed is None else failed.reason


@pytest.mark.timeout(SECONDS * 3 + 60)
def test_whatever_a_device_sends_the_session_ends() -> None:
    ended: dict[str, int] = {}
    until = time.monotonic() + SECONDS
    seed = SEED
    while time.monotonic() < until:
        begun = time.process_time()
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            try:
                how = runner.run(one(seed))
                assert runner.get_loop().time() < 86_400, "a day"
            except Exception as error:
                raise AssertionError(f"NETRAVEN_TEST_FUZZ_SEED={seed} shows it again") from error
        assert time.process_time() - begun < MOST_CPU, f"NETRAVEN_TEST_FUZZ_SEED={seed} took too long"
        ended[how] = ended.get(how, 0) + 1
        seed += 1
    print(seed - SEED, "sessions:", ended)
    assert len(ended) > 3, ended
