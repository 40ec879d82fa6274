"""``platform = auto``: the device is asked little, nothing that changes it, and never for a secret."""

from __future__ import annotations

import re
from typing import Any

import pytest

from netraven.errors import DeviceFailure
from netraven.platforms.model import RUNNING, Detection, Output, Platform
from netraven.transport.session import ShellSession
from tests.transport.shells import Pages, ScriptedShell, each_byte, whole
from tests.virtual_time import in_virtual_time


def known(name: str, driver: str, config: str, *detection: Detection) -> Platform:
    return Platform(name, {RUNNING: Output(RUNNING, config)}, driver=driver, detection=detection)


def asking(command: str, answer: str) -> Detection:
    return Detection(command=command, answer=re.compile(answer))


IOSXE = known("iosxe", "cisco_iosxe", "show running-config", asking("show version", "IOS XE"))
EOS = known("eos", "arista_eos", "show running-config", asking("show version", "Arista"))
JUNOS = known(
    "junos",
    "juniper_junos",
    "show configuration",
    Detection(banner=re.compile("JUNOS"), prompt=re.compile("@.*>$")),
)
SRLINUX = known("srl", "nokia_srlinux", "info", Detection(prompt=re.compile(r"^--\{ running")))
ALL = (IOSXE, EOS, JUNOS, SRLINUX)


def session(shell: ScriptedShell, hints: str = "") -> ShellSession:
    return ShellSession(shell.channel, None, candidates=ALL, hints=hints, command_timeout=60)


def ios(line: str, prompt: bytes = b"r1#") -> bytes:
    said = {
        "show version": b"Cisco IOS XE Software, 17.9\r\n",
        "show running-config": b"hostname r1\r\nend\r\n",
    }
    return said.get(line, b"") + prompt


@pytest.mark.parametrize("cut", [whole, each_byte], ids=["whole", "each byte"])
def test_one_question_tells_and_the_session_goes_on(cut: Any) -> None:
    @in_virtual_time
    async def run() -> None:
        shell = ScriptedShell(b"welcome\r\nr1#", ios, cut=cut)
        there = session(shell)
        (capture,) = await there.capture(enable=None)
        assert there.found is IOSXE
        assert capture.text == "hostname r1\nend\n"
        assert shell.typed[0] == "show version"
        assert shell.typed.count("show version") == 1

    run()


def test_a_banner_is_enough() -> None:
    @in_virtual_time
    async def run() -> None:
        shell = ScriptedShell(
            b"--- JUNOS 20.4R3\r\nme@r1> ",
            lambda line: b"version 20\r\n" * (line[:5] == "show ") + b"me@r1> ",
        )
        there = session(shell)
        await there.capture(enable=None)
        assert there.found is JUNOS
        assert all("version" not in line for line in shell.typed)

    run()


def test_what_the_server_said_before_the_shell_counts() -> None:
    @in_virtual_time
    async def run() -> None:
        shell = ScriptedShell(b"me@r1> ", lambda line: b"version 20\r\n" * (line[:5] == "show ") + b"me@r1> ")
        there = session(shell, hints="SSH-2.0-OpenSSH_7.5 JUNOS")
        await there.capture(enable=None)
        assert there.found is JUNOS

    run()


def test_a_prompt_of_two_lines() -> None:
    prompt = b"--{ running }--[  ]--\r\nA:r1# "

    @in_virtual_time
    async def run() -> None:
        shell = ScriptedShell(prompt, lambda line: b"system {\r\n}\r\n" * (line == "info") + b"\r\n" + prompt)
        there = session(shell)
        (capture,) = await there.capture(enable=None)
        assert there.found is SRLINUX
        assert capture.text.strip() == "system {\n}"

    run()


def test_answers_that_page() -> None:
    @in_virtual_time
    async def run() -> None:
        device = Pages([b"Cisco\r\n", b"IOS XE\r\n"], pager=b" --More-- ", wipe=b"\r" + b" " * 10 + b"\r")
        shell = ScriptedShell(
            b"r1#", lambda line: device.begin() if line == "show version" else ios(line), keys=device.key
        )
        there = session(shell)
        await there.capture(enable=None)
        assert there.found is IOSXE

    run()


def test_a_device_that_waits_for_a_return() -> None:
    @in_virtual_time
    async def run() -> None:
        shell = ScriptedShell(b"", ios)
        there = session(shell)
        await there.capture(enable=None)
        assert shell.typed[:2] == ["", "show version"]

    run()


@pytest.mark.parametrize(
    ("greeting", "answer", "detail", "typed"),
    [
        (
            b"box$ ",
            b"what?\r\nbox$ ",
            "no platform fits. Its prompt is 'box$', asked were 'show version'. Set the device's platform by hand",
            ["show version"],
        ),
        (
            b"r1(config)#",
            b"r1(config)#",
            "the login landed in a configuration mode (r1(config)#): nothing was typed",
            [],
        ),
        (b"\r\nUser:", b"", "the device asks again who logs in (User:)", []),
        (b"\r\nPassword: ", b"", "the device asks again who logs in (Password:)", []),
    ],
)
def test_a_device_that_is_not_recognised(
    greeting: bytes, answer: bytes, detail: str, typed: list[str]
) -> None:
    @in_virtual_time
    async def run() -> None:
        shell = ScriptedShell(greeting, lambda _: answer)
        there = session(shell)
        with pytest.raises(DeviceFailure) as caught:
            await there.capture(enable="sesame")
        assert (caught.value.reason, caught.value.detail) == ("platform_unknown", detail)
        assert shell.typed == typed
        assert there.found is None

    run()


def test_a_device_that_says_nothing() -> None:
    @in_virtual_time
    async def run() -> None:
        with pytest.raises(DeviceFailure) as caught:
            await session(ScriptedShell(b"", lambda _: b"", echo=False)).capture(enable=None)
        assert caught.value.reason == "dialogue_timeout"

    run()
