"""Devices that rewrite their echo, colour their prompts, pause, never end, or print what is no text."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.errors import DeviceFailure
from netraven.platforms.model import RUNNING, Output, Platform
from netraven.transport.screen import printed, shown
from netraven.transport.session import ShellSession
from tests.transport.shells import Pages, ScriptedShell, at, captured, captured_from, each_byte
from tests.virtual_time import in_virtual_time

PLATFORM = Platform(
    "made_up", {RUNNING: Output(RUNNING, "show running-config")}, prompt=r"[\w-]+(?:\([\w-]+\))?[#>]"
)
CONFIG = b"hostname r1\r\n description x\r\nend\r\n"
TEXT = "hostname r1\n description x\nend\n"


def device(said: bytes, **how: Any) -> ScriptedShell:
    """Prints ``said``, echo included, for the command."""
    return ScriptedShell(
        b"\r\nr1#",
        lambda line: said if line.startswith("show") else b"\r\nr1#",
        echo=False,
        **how,
    )


ECHOES = {
    "as it was typed": b"show running-config\r\n",
    "wrapped by the device": b"show runn\r\ning-config\r\n",
    "wrapped by readline": b"show runn \ring-config\r\n",
    "drawn again": b"show run\rr1#show running-config\r\n",
    "corrected with backspaces": b"sho\b\b\bshow runx\b \bning-config\r\n",
    "spelled out letter by letter": b"s\bsh\bho\bow\bw running-config\r\n",
    "with colours": b"\x1b[1mshow\x1b[0m running-config\x1b[K\r\n",
    "scrolled sideways": b"\rr1#show runnin\b\b\b\b\b\b\b\b\b\b$running-config\r\n",
    "not at all": b"\r\n",
    "with NUL": b"show running-config\r\x00\r\n",
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
def test_an_echo_in_any_form_is_no_part_of_the_text(echo: bytes) -> None:
    @in_virtual_time
    async def run() -> None:
        for cut in (at(), each_byte, at(3, 12)):
            assert await captured_from(device(echo + CONFIG + b"r1#", cut=cut), PLATFORM) == TEXT

    run()


PROMPTS = {
    "colours": b"\x1b[32mr1\x1b[0m#\x1b[K",
    "title": b"\x1b]0;r1\x07r1#",
    "position": b"\x1b[24;1Hr1#\x1b[24;5H",
    "drawn twice": b"r1#\rr1#",
    "bell": b"\x07r1#",
    "NUL": b"\x00r1\x00# \x00",
    "blank": b"r1#   ",
}


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_a_prompt_in_any_dress(prompt: bytes) -> None:
    @in_virtual_time
    async def run() -> None:
        shell = ScriptedShell(b"\r\n" + prompt, lambda line: (CONFIG if line[:4] == "show" else b"") + prompt)
        assert await captured_from(shell, PLATFORM) == TEXT

    run()


def test_what_the_text_keeps_and_what_it_loses() -> None:
    """Bytes that are no UTF-8 are kept, also the one-byte forms of escape sequences; NUL and terminal codes go."""

    @in_virtual_time
    async def run() -> None:
        said = b"show running-config\r\nba\x00nner \xff\xfe\xc3 \x9b1m\r\n\x1b[7mbold\x1b[m x\by z\x7f\x07\r\nr1#"
        text = await captured_from(device(said), PLATFORM)
        assert text.encode("utf-8", "surrogateescape") == b"banner \xff\xfe\xc3 \x9b1m\nbold y z\x7f\x07\n"

    run()


@pytest.mark.parametrize("pause", [20.0, 90.0])
def test_a_device_may_pause_at_every_place(pause: float) -> None:
    """The place right behind its own prompt, quoted at the start of a line, is the one that looks like the end."""
    lines = b"hostname r1\r\nother#\r\nr2(config)#\r\nbanner ^C\r\nr9>\r\nr1#tail\r\n^C\r\nend\r\n"
    whole_text = lines.replace(b"\r\n", b"\n").decode()
    quoted = len(b"show running-config\r\n") + lines.index(b"r1#tail") + len("r1#")

    @in_virtual_time
    async def run() -> None:
        said = b"show running-config\r\n" + lines + b"r1#"
        for place in range(1, len(said)):
            if place != quoted:
                text = await captured_from(device(said, cut=at(place), gap=pause), PLATFORM)
                assert text == whole_text, f"paused at {place}"

    run()


def test_a_greeting_that_looks_like_a_prompt() -> None:
    @in_virtual_time
    async def run() -> None:
        greeting = b"\r\nr9>\r\nadmin#\r\n r9> \r\nr1#"
        for place in range(1, len(greeting)):
            shell = ScriptedShell(
                greeting,
                lambda line: (CONFIG if line[:4] == "show" else b"") + b"r1#",
                cut=at(place),
                gap=0.05,
            )
            assert await captured_from(shell, PLATFORM) == TEXT

    run()


def test_a_session_that_never_gets_to_a_prompt_says_what_it_saw() -> None:
    @in_virtual_time
    async def run() -> None:
        shell = ScriptedShell(b"\r\nUser: ", lambda _: b"User: ")
        with pytest.raises(DeviceFailure) as caught:
            await captured_from(shell, PLATFORM, command_timeout=30)
        assert caught.value.reason == "dialogue_timeout"
        assert caught.value.detail == (
            "the device was silent for 30 s when it was to log in to the shell and switch paging off; it shows 'User:'"
        )

    run()


def test_a_prompt_that_changes_while_the_output_runs() -> None:
    @in_virtual_time
    async def run() -> None:
        name = b"r1#"

        def answer(line: str) -> bytes:
            nonlocal name
            if line.startswith("show"):
                name = b"edge-1#"
                return CONFIG + name
            return name

        shell = ScriptedShell(b"r1#", answer)
        assert await captured_from(shell, PLATFORM) == TEXT
        assert shell.typed == ["show running-config", ""], "one return, to see whether it is a prompt"

    run()


def test_a_device_that_never_stops_talking_is_cut_off() -> None:
    class Endless(ScriptedShell):
        def say(self, data: bytes) -> None:
            super().say(data)
            if b"show" in data:
                for _ in range(100):
                    super().say(b"interface e1\r\n" * 1_000)

    @in_virtual_time
    async def run() -> None:
        shell = Endless(b"r1#", lambda _: b"r1#")
        session = ShellSession(shell.channel, PLATFORM, command_timeout=30, most_output=1 << 20)
        with pytest.raises(DeviceFailure) as caught:
            await session.capture(enable=None)
        assert (caught.value.reason, caught.value.logged_in) == ("output_too_long", True)
        assert caught.value.detail == "more than 1 MiB without an end: cut off"

    run()


def test_a_device_that_trickles_is_given_its_time() -> None:
    @in_virtual_time
    async def run() -> None:
        said = b"show running-config\r\n" + CONFIG * 20 + b"r1#"
        text = await captured_from(device(said, cut=each_byte, gap=1.0), PLATFORM, command_timeout=10)
        assert text == TEXT * 20
        assert asyncio.get_running_loop().time() > 500

    run()


def test_a_platform_with_its_own_patience() -> None:
    @in_virtual_time
    async def run() -> None:
        said = b"show running-config\r\n" + CONFIG + b"r1#"
        slow = Platform("slow", PLATFORM.outputs, prompt=PLATFORM.prompt, command_timeout=60.0)
        assert await captured_from(device(said, cut=at(30), gap=50.0), slow, command_timeout=10) == TEXT

    run()


# ---- how the bytes are cut

RECORDED = {
    **{f"echo {name}": echo + CONFIG + b"r1#" for name, echo in ECHOES.items()},
    **{f"prompt {name}": b"show running-config\r\n" + CONFIG + prompt for name, prompt in PROMPTS.items()},
    "banner": b"show running-config\r\nbanner ^C\r\nr9>\r\nr1# x\r\nPassword:\r\n--More--\r\n^C\r\n"
    b"\xff\x00\x1b[1mend\r\nr1#",
    "progress": b"show running-config\r\nBuilding configuration...\r\n\r\nCurrent: 12 bytes\r\n"
    + CONFIG
    + b"\r\nr1#",
    "long line": b"show running-config\r\n" + b"x" * 9_000 + b"\r\nend\r\nr1#",
}


@given(
    st.sampled_from(sorted(RECORDED)),
    st.lists(st.integers(1, 300), max_size=12),
    st.sampled_from([0.0001, 0.02, 0.15]),
)
def test_how_the_bytes_are_cut_never_matters(name: str, places: list[int], gap: float) -> None:
    said = RECORDED[name]

    @in_virtual_time
    async def run() -> None:
        at_once = await captured_from(device(said), PLATFORM)
        assert await captured_from(device(said, cut=at(*places), gap=gap), PLATFORM) == at_once

    run()


@given(st.lists(st.integers(1, 60), max_size=12), st.sampled_from([0.0001, 0.02]))
def test_nor_does_it_with_a_pager(places: list[int], gap: float) -> None:
    @in_virtual_time
    async def run() -> None:
        pages = Pages([CONFIG, CONFIG, b""], pager=b" --More-- ", wipe=b"\b" * 10 + b" " * 10 + b"\b" * 10)
        shell = ScriptedShell(
            b"r1#",
            lambda line: pages.begin() if line[:4] == "show" else b"r1#",
            keys=pages.key,
            cut=at(*places),
            gap=gap,
        )
        assert await captured_from(shell, PLATFORM) == TEXT * 2

    run()


# ---- the cost of a byte


def _seconds(size: int) -> float:
    """CPU time of one session that prints ``size`` bytes."""
    line = b"interface GigabitEthernet1/0/1 # description of something>\r\n"
    said = b"show running-config\r\n" + line * (size // len(line)) + b"r1#"

    @in_virtual_time
    async def run() -> None:
        shell = device(said, cut=at(*range(32_768, len(said), 32_768)), gap=0.0001)
        begun = time.process_time()
        text = await captured_from(shell, PLATFORM)
        spent.append(time.process_time() - begun)
        assert len(text) > size * 0.9

    spent: list[float] = []
    run()
    return spent[0]


@pytest.mark.slow
def test_a_byte_of_a_long_output_costs_what_one_of_a_short_output_costs() -> None:
    short = min(_seconds(1 << 20) for _ in range(5)) / (1 << 20)
    long = min(_seconds(50 << 20) for _ in range(2)) / (50 << 20)
    assert long / short < 10, (
        "measured: 0.9 to 1.2 (3.2 on a busy machine); work that grows with the length gives 50"
    )


@pytest.mark.parametrize(
    "text",
    [
        b"\x1b" * 200_000,
        b"\b" * 200_000,
        b" " * 200_000,
        b"\r" * 200_000,
        b"\x1b[" * 100_000,
        b"\x1b]x" * 70_000,
        b"r1#\n" * 50_000,
    ],
    ids=["escapes", "backspaces", "blanks", "returns", "openings", "titles", "prompts"],
)
def test_no_text_takes_long_to_read(text: bytes) -> None:
    begun = time.process_time()
    printed(text, [(0, 10)] * 3)
    shown(text[:4_096])
    assert time.process_time() - begun < 2


def test_a_configuration_in_the_lab_that_holds_a_pagers_text() -> None:
    @in_virtual_time
    async def run() -> None:
        config = "banner ^C\n --More-- \n<--- More --->\nPress any key to continue\n^C\nend"
        for gap in (0.001, 0.4):
            assert await captured("cisco_iosxe", config, cut=each_byte, gap=gap) == config + "\n"

    run()
