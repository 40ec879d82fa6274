"""Paging that could not be switched off: every page is called for, and nothing of it is in the text."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.errors import DeviceFailure
from netraven.platforms.model import RUNNING, Output, Platform
from tests.transport.shells import Cut, Pages, ScriptedShell, at, captured_from, each_byte, whole
from tests.virtual_time import in_virtual_time

WIPES = {
    "backspaces": b"\b" * 9 + b" " * 9 + b"\b" * 9,
    "returns": b"\r" + b" " * 20 + b"\r",
    "return and erase": b"\r\x1b[K",
    "erase line": b"\x1b[2K\r",
    "move left": b"\x1b[42D" + b" " * 42 + b"\x1b[42D",
    "next line": b"\r\n",
    "NUL": b"\r\x00" + b" " * 20 + b"\r\x00",
}
PAGERS = [
    b"--More--",
    b" --More-- ",
    b"--More--(10%)",
    b"-- MORE --, next page: Space, next line: Enter, quit: Control-C",
    b"  ---- More ----",
    b"<--- More --->",
    b"---(more 45%)---",
    b"Press any key to continue (Q to quit)",
    b"--More-- or (q)uit",
]
PAGES = [
    b"hostname r1\r\ninterface e1\r\n",
    b" description what says --More-- in a line\r\n --More-- \r\n\r\n",
    b" ip address 192.0.2.1 255.255.255.0\r\n",
    b"   \r\nend\r\n",
]
WANTED = b"".join(PAGES).replace(b"\r\n", b"\n").decode()


def platform(**more: Any) -> Platform:
    return Platform(
        "made_up",
        {RUNNING: Output(RUNNING, "show config")},
        prompt=r"[\w-]+#",
        **more,
    )


def paging(pages: list[bytes], pager: bytes, wipe: bytes, **how: Any) -> ScriptedShell:
    device = Pages(pages, pager=pager, wipe=wipe)
    return ScriptedShell(
        b"\r\nr1#",
        lambda line: device.begin() if line == "show config" else b"r1#",
        keys=device.key,
        **how,
    )


@pytest.mark.parametrize("wipe", WIPES.values(), ids=WIPES)
@pytest.mark.parametrize("pager", PAGERS)
@pytest.mark.parametrize("cut", [whole, each_byte, at(7, 60, 61)], ids=["whole", "each byte", "some"])
def test_nothing_of_the_pager_is_left_and_nothing_else_is_gone(pager: bytes, wipe: bytes, cut: Cut) -> None:
    @in_virtual_time
    async def run() -> None:
        shell = paging(PAGES, pager, wipe, cut=cut)
        assert await captured_from(shell, platform()) == WANTED
        assert shell.pressed == [b" "] * 3

    run()


def test_a_pager_that_wants_a_line_end() -> None:
    @in_virtual_time
    async def run() -> None:
        shell = paging(PAGES, b"Type <CR> to continue, Q<CR> to stop", b"\r\n")
        assert await captured_from(shell, platform()) == WANTED
        assert shell.pressed == [b"\n"] * 3

    run()


def test_a_platform_names_its_own_pager_and_key() -> None:
    @in_virtual_time
    async def run() -> None:
        shell = paging(PAGES, b"-- next --", b"\r" + b" " * 10 + b"\r")
        text = await captured_from(shell, platform(pager=re.compile(r"^-- next --$"), pager_key="n"))
        assert text == WANTED
        assert shell.pressed == [b"n"] * 3

    run()


def test_a_pager_at_the_last_page_and_the_prompt_behind_it() -> None:
    @in_virtual_time
    async def run() -> None:
        for wipe in WIPES.values():
            shell = paging([b"a\r\n b\r\n", b"", b""], b"--More--", wipe)
            assert await captured_from(shell, platform()) == "a\n b\n"

    run()


_lines = st.sampled_from([" a", "", "   ", "--More--", "x --More--", "r2#", "é\t"])


@given(st.lists(st.lists(_lines, min_size=1), min_size=1))
def test_any_text_in_any_pages(pages: list[list[str]]) -> None:
    wanted = "".join(f"{line}\n" for page in pages for line in page).strip("\n")
    if not wanted:
        return

    @in_virtual_time
    async def run() -> None:
        for name, wipe in WIPES.items():
            if name == "next line":
                continue  # cannot be told from an empty line of the text
            sent = ["".join(f"{line}\r\n" for line in page).encode() for page in pages]
            shell = paging(sent, b" --More-- ", wipe)
            assert await captured_from(shell, platform()) == wanted + "\n", name

    run()


def test_many_pages_take_little_time() -> None:
    @in_virtual_time
    async def run() -> None:
        shell = paging([b"a line\r\n"] * 1_000, b"--More--", WIPES["backspaces"])
        assert await captured_from(shell, platform()) == "a line\n" * 1_000
        assert asyncio.get_running_loop().time() < 60

    run()


def test_a_pager_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netraven.transport.dialogue._MOST_PAGES", 50)

    @in_virtual_time
    async def run() -> None:
        with pytest.raises(DeviceFailure) as caught:
            await captured_from(paging([b""] * 60, b"--More--", WIPES["returns"]), platform())
        assert caught.value.reason == "output_too_long"
        assert caught.value.detail == "more than 50 pages without an end: cut off"

    run()


def test_another_pagers_text_is_text_unless_the_device_waits_behind_it() -> None:
    @in_virtual_time
    async def run() -> None:
        pages = [b"a\r\n", b"<--- More --->\r\n---- More ----\r\nb\r\n"]
        for place in range(1, 60):
            shell = paging(pages, b"--More--", WIPES["backspaces"], cut=at(place), gap=0.5)
            assert await captured_from(shell, platform()) == "a\n<--- More --->\n---- More ----\nb\n", place

    run()
