"""Every driver of scrapli and scrapli-community opens over our channel; a platform without one is built of its data."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import scrapli_community

from netraven.errors import DeviceFailure
from netraven.platforms.model import RUNNING, Level, Output, Platform
from netraven.transport.session import ShellSession
from tests.transport.shells import ScriptedShell, captured_from, each_byte, whole
from tests.virtual_time import in_virtual_time

CONFIG = b"hostname r1\r\n description x\r\nend\r\n"
TEXT = "hostname r1\n description x\nend\n"

PROMPTS: dict[str, bytes] = {
    "cisco_iosxe": b"r1#",
    "cisco_iosxr": b"RP/0/RP0/CPU0:r1#",
    "cisco_nxos": b"r1# ",
    "arista_eos": b"r1#",
    "juniper_junos": b"{master:0}\r\nnetops@r1> ",
    "aethra_atosnt": b"netops@r1>>",
    "alcatel_aos": b"r1-> ",
    "aruba_aoscx": b"r1# ",
    "cisco_aireos": b"(Cisco Controller) >",
    "cisco_asa": b"r1# ",
    "cisco_cbs": b"r1#",
    "cisco_ftd": b"> ",
    "cumulus_linux": b"cumulus@r1:mgmt:~$ ",
    "cumulus_vtysh": b"r1# ",
    "datacom_dmos": b"DmOS# ",
    "datacom_dmswitch": b"DmSwitch#",
    "dell_emc": b"r1#",
    "dlink_os": b"DGS-3120:admin#",
    "edgecore_ecs": b"Console#",
    "eltex_esr": b"esr# ",
    "fortinet_fortios": b"FGT60E # ",
    "fortinet_wlc": b"wlc(15)# ",
    "hp_comware": b"<HP>",
    "huawei_smartax": b"MA5800#",
    "huawei_vrp": b"<HUAWEI>",
    "mikrotik_routeros": b"[admin@MikroTik] > ",
    "nokia_srlinux": b"--{ running }--[  ]--\r\nA:r1# ",
    "nokia_sros": b"[/]\r\nA:admin@r1# ",
    "paloalto_panos": b"admin@PA-220> ",
    "raisecom_ros": b"Raisecom#",
    "ruckus_fastiron": b"SSH@r1#",
    "ruckus_unleashed": b"ruckus# ",
    "scrapli_genericdriver": b"(Cisco Controller) >",
    "scrapli_networkdriver": b"r1#",
    "siemens_roxii": b"ruggedcom# ",
    "versa_flexvnf": b"admin@r1-cli> ",
    "vyos_vyos": b"vyos@r1:~$ ",
    "zyxel_dslam": b"192.0.2.1 IES> ",
}
HARMLESS = re.compile(
    r"term|screen|set cli|(//)?environment|no page|no terminal|paginate|set (complete|paginate|screen)|"
    r"config paging|skip-page|undo smart|scroll|stty|cli|y$|exit all|$"
)
"""What an opening may type: nothing that stays."""


def every_driver() -> set[str]:
    community = Path(scrapli_community.__file__).parent
    return {
        f"{folder.parent.name}_{folder.name}"
        for folder in community.glob("*/*")
        if (folder / "__init__.py").exists() and "__pycache__" not in folder.parts
    } | {"cisco_iosxe", "cisco_iosxr", "cisco_nxos", "arista_eos", "juniper_junos"}


def test_no_driver_is_left_out() -> None:
    assert set(PROMPTS) == every_driver()


@pytest.mark.parametrize("driver", PROMPTS)
@pytest.mark.parametrize("cut", [whole, each_byte], ids=["whole", "each byte"])
def test_every_driver_opens_over_our_channel_and_collects(driver: str, cut: Any) -> None:
    prompt = PROMPTS[driver]

    @in_virtual_time
    async def run() -> None:
        shell = ScriptedShell(
            b"\r\nWelcome\r\n\r\n" + prompt,
            lambda line: (CONFIG if line == "dump" else b"") + b"\r\n" + prompt,
            cut=cut,
            gap=0.001,
        )
        platform = Platform(driver, {RUNNING: Output(RUNNING, "dump")}, driver=driver)
        assert (await captured_from(shell, platform)).rstrip("\n") + "\n" == TEXT
        assert all(HARMLESS.match(line) for line in shell.typed if line != "dump"), shell.typed

    run()


def test_a_question_before_the_first_prompt_is_answered_with_the_harmless_no() -> None:
    asked = (
        b"Info: The max number of VTY users is 10.\r\nThe password needs to be changed. Change now? [Y/N]: "
    )

    @in_virtual_time
    async def run() -> None:
        shell = ScriptedShell(
            asked, lambda line: (CONFIG if line.startswith("display") else b"") + b"<HUAWEI>"
        )
        platform = Platform("huawei", {RUNNING: Output(RUNNING, "display cur")}, driver="huawei_vrp")
        assert await captured_from(shell, platform) == TEXT
        assert shell.typed[0] == "n"

    run()


def test_a_banner_that_wants_to_be_accepted() -> None:
    waiting = True

    def accept(data: bytes) -> bytes | None:
        nonlocal waiting
        if waiting and data == b"a":
            waiting = False
            return b"\r\nFGT60E # "
        return None

    @in_virtual_time
    async def run() -> None:
        shell = ScriptedShell(
            b"No entry.\r\n(Press 'a' to accept):",
            lambda line: (CONFIG if line == "show" else b"") + b"FGT60E # ",
            keys=accept,
        )
        platform = Platform("forti", {RUNNING: Output(RUNNING, "show")}, driver="fortinet_fortios")
        assert await captured_from(shell, platform) == TEXT
        assert shell.pressed == [b"a"]
        assert shell.typed == ["show"]

    run()


def test_routeros_draws_its_line_twice() -> None:
    prompt = b"[admin@MikroTik] > "

    @in_virtual_time
    async def run() -> None:
        shell = ScriptedShell(
            prompt,
            lambda line: (
                b"\r" + prompt + line.encode() + b"\r\n" + prompt + line.encode() + b"\r\n" + CONFIG + prompt
            ),
            echo=False,
        )
        platform = Platform("ros", {RUNNING: Output(RUNNING, "/export")}, driver="mikrotik_routeros")
        assert await captured_from(shell, platform) == TEXT

    run()


def test_an_unread_answer_of_the_opening_is_not_taken_for_the_next_one() -> None:
    """Huawei's opening types three lines at once, of which devices refuse one or the other."""

    @in_virtual_time
    async def run() -> None:
        def answer(line: str) -> bytes:
            if line.startswith(("screen-width", "y")):
                return b"  ^\r\nError: Unrecognized command found at '^' position.\r\n<HUAWEI>"
            return (CONFIG if line.startswith("display") else b"") + b"<HUAWEI>"

        shell = ScriptedShell(b"<HUAWEI>", answer, cut=each_byte, gap=0.005)
        platform = Platform("huawei", {RUNNING: Output(RUNNING, "display cur")}, driver="huawei_vrp")
        assert await captured_from(shell, platform) == TEXT

    run()


# ---- platforms without a driver

MADE_UP = Platform(
    "made_up",
    {
        RUNNING: Output(RUNNING, "dump all"),
        "version": Output("version", "dump version"),
        "secret": Output("secret", "dump keys", level="root"),
    },
    prompt=r"\[\w+\]>>",
    pager=re.compile(r"^-- next --$"),
    errors=("?? bad",),
    on_open=("quiet on",),
    logout="bye",
)


@dataclass
class MadeUp:
    """The made-up dialect; what is not known is ``?? bad``."""

    name: str = "box"
    knows: dict[str, list[bytes]] = field(
        default_factory=lambda: {
            "dump all": [b"one\r\n two\r\n", b"three -- next --\r\n", b"end\r\n"],
            "dump version": [b"Box OS 4.2 serial 007\r\n"],
            "quiet on": [b""],
        }
    )
    left: list[bytes] = field(default_factory=list)

    def answer(self, line: str) -> bytes:
        self.left = list(self.knows.get(line, [b"?? bad: " + line.encode() + b"\r\n"]))
        return self.page()

    def key(self, data: bytes) -> bytes | None:
        return b"\r" + b" " * 10 + b"\r" + self.page() if self.left and data == b" " else None

    def page(self) -> bytes:
        page = self.left.pop(0)
        return page + (b"-- next --" if self.left else f"[{self.name}]>>".encode())

    def shell(self, **how: Any) -> ScriptedShell:
        return ScriptedShell(
            b"Box OS\r\n[box]>> ",
            self.answer,
            keys=self.key,
            **how,
        )


@pytest.mark.parametrize("cut", [whole, each_byte], ids=["whole", "each byte"])
def test_a_made_up_dialect_collects(cut: Any) -> None:
    @in_virtual_time
    async def run() -> None:
        shell = MadeUp().shell(cut=cut)
        assert await captured_from(shell, MADE_UP) == "one\n two\nthree -- next --\nend\n"
        assert shell.typed == ["quiet on", "dump all", "bye"]

    run()


def test_its_error_line_rejects_the_command() -> None:
    @in_virtual_time
    async def run() -> None:
        device = MadeUp()
        del device.knows["dump all"]
        with pytest.raises(DeviceFailure) as caught:
            await captured_from(device.shell(), MADE_UP)
        assert caught.value.reason == "command_rejected"
        assert caught.value.detail == "'dump all' was answered with: ?? bad: dump all"

    run()


def test_several_outputs_come_in_the_order_asked_for_and_only_those_that_the_platform_has() -> None:
    @in_virtual_time
    async def run() -> None:
        session = ShellSession(MadeUp().shell().channel, MADE_UP, command_timeout=30)
        captures = await session.capture(enable=None, kinds=("version", RUNNING, "startup"))
        assert [(c.kind, c.text[:7]) for c in captures] == [("version", "Box OS "), (RUNNING, "one\n tw")]

    run()


@pytest.mark.parametrize("kinds", [("runing",), ("startup", "")])
def test_a_device_of_which_nothing_is_asked_that_it_has_does_not_pass_for_collected(
    kinds: tuple[str, ...],
) -> None:
    @in_virtual_time
    async def run() -> None:
        session = ShellSession(MadeUp().shell().channel, MADE_UP, command_timeout=30)
        with pytest.raises(DeviceFailure, match=r"asked for .*has only .*running") as caught:
            await session.capture(enable=None, kinds=kinds)
        assert caught.value.reason == "output_incomplete"

    run()


def test_what_was_captured_before_a_failure_is_not_lost() -> None:
    @in_virtual_time
    async def run() -> None:
        device = MadeUp()
        del device.knows["dump version"]
        session = ShellSession(device.shell().channel, MADE_UP, command_timeout=30)
        with pytest.raises(DeviceFailure) as caught:
            await session.capture(enable=None, kinds=(RUNNING, "version"))
        assert caught.value.reason == "command_rejected"
        assert [c.kind for c in caught.value.captured] == [RUNNING]

    run()


# ---- levels

LEVELS = (
    Level("user", r"r1>"),
    Level("root", r"r1#", enter="su", asks=r"^key:", above="user", leave="drop"),
    Level("lab", r"r1\(lab\)#", enter="lab", above="root", leave="exit"),
)


@dataclass
class Levelled:
    """A device with levels; ``key`` opens the second."""

    key: str | None = "sesame"
    at: str = "r1>"
    asking: bool = False
    asked_for: str = "key:"
    offered: list[str] = field(default_factory=list)

    def answer(self, line: str) -> bytes:
        if self.asking:
            self.asking = False
            self.offered.append(line)
            if line == self.key:
                self.at = "r1#"
                return b"\r\n" + self.at.encode()
            return b"\r\nwrong\r\n" + self.at.encode()
        if line == "su" and self.at == "r1>":
            self.asking = self.key is not None
            self.at = self.at if self.asking else "r1#"
            return self.asked_for.encode() if self.asking else self.at.encode()
        moves = {("lab", "r1#"): "r1(lab)#", ("exit", "r1(lab)#"): "r1#", ("drop", "r1#"): "r1>"}
        self.at = moves.get((line, self.at), self.at)
        said = f"{line} at {self.at}\r\n" if line.startswith("dump") else ""
        return f"{said}{self.at}".encode()


def levelled(level: str | None, *outputs: Output) -> Platform:
    return Platform("levels", {o.kind: o for o in outputs}, levels=LEVELS, level=level)


def test_a_level_is_gone_to_for_one_command_and_left_again() -> None:
    @in_virtual_time
    async def run() -> None:
        device = Levelled()
        shell = ScriptedShell(b"r1>", device.answer)
        platform = levelled("root", Output("deep", "dump deep", level="lab"), Output(RUNNING, "dump all"))
        session = ShellSession(shell.channel, platform, command_timeout=30)
        captures = await session.capture(enable="sesame", kinds=("deep", RUNNING))
        assert [c.text for c in captures] == ["dump deep at r1(lab)#\n", "dump all at r1#\n"]
        assert device.offered == ["sesame"]

    run()


def test_the_level_that_a_login_lands_in_is_enough_unless_told() -> None:
    @in_virtual_time
    async def run() -> None:
        device = Levelled()
        shell = ScriptedShell(b"r1>", device.answer)
        assert await captured_from(shell, levelled(None, Output(RUNNING, "dump all"))) == "dump all at r1>\n"
        assert shell.typed == ["dump all"]

    run()


@pytest.mark.parametrize(
    "driver", ["cisco_iosxe", "cisco_nxos", "arista_eos", "dell_emc", "cisco_asa", "ruckus_fastiron"]
)
def test_a_login_that_is_privileged_already_sends_no_enable(driver: str) -> None:
    @in_virtual_time
    async def run() -> None:
        shell = ScriptedShell(b"r1#", lambda line: (CONFIG if line == "dump" else b"") + b"r1#")
        session = ShellSession(
            shell.channel,
            Platform("x", {RUNNING: Output(RUNNING, "dump")}, driver=driver),
            command_timeout=30,
        )
        await session.capture(enable="sesame")
        assert not any("enable" in line or "sesame" in line for line in shell.typed)

    run()


ENABLED = [
    "cisco_iosxe",
    "cisco_nxos",
    "arista_eos",
    "dell_emc",
    "cisco_asa",
    "ruckus_fastiron",
    "eltex_esr",
    "cisco_cbs",
]


@pytest.mark.parametrize("driver", ENABLED)
@pytest.mark.parametrize(
    ("enable", "after", "detail"),
    [
        ("wrong", b"\r\n% Bad secrets\r\n\r\nr1>", "the device refused the enable secret"),
        ("wrong", b"\r\n% Error in authentication.\r\n\r\nr1>", "the device refused the enable secret"),
        ("wrong", b"\r\nr1>", "the device refused the enable secret"),
        ("wrong", b"\r\nPassword: ", "the device refused the enable secret"),
        ("wrong", b"\r\nAccess denied\r\nPassword: ", "the device refused the enable secret"),
        (None, b"", "the device asks for an enable secret and the credential has none"),
    ],
)
def test_an_enable_secret_that_is_refused_is_offered_once(
    driver: str, enable: str | None, after: bytes, detail: str
) -> None:
    @in_virtual_time
    async def run() -> None:
        asked = False

        def answer(line: str) -> bytes:
            nonlocal asked
            if asked:
                return after
            asked = line.startswith("enable")
            return b"Password: " if asked else b"r1>"

        shell = ScriptedShell(b"r1>", answer)
        platform = Platform("x", {RUNNING: Output(RUNNING, "dump")}, driver=driver)
        with pytest.raises(DeviceFailure) as caught:
            await ShellSession(shell.channel, platform, command_timeout=30).capture(enable=enable)
        assert (caught.value.reason, caught.value.detail) == ("privilege_refused", detail)
        assert shell.typed == (["enable", enable] if enable else ["enable"])
        assert "wrong" not in str(caught.value)

    run()


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        (b"Username: ", "the device asks for a user name before it grants the level"),
        (
            b"% Error in authentication.\r\nr1>",
            "the device did not grant the level 'privilege_exec': % Error in authentication.",
        ),
        (
            b"% No password set\r\nr1>",
            "the device did not grant the level 'privilege_exec': % No password set",
        ),
        (b"r1>", "the device did not grant the level 'privilege_exec'"),
    ],
)
def test_a_device_that_asks_for_something_else_gets_nothing(said: bytes, detail: str) -> None:
    @in_virtual_time
    async def run() -> None:
        shell = ScriptedShell(b"r1>", lambda line: said if line == "enable" else b"r1>")
        platform = Platform("x", {RUNNING: Output(RUNNING, "dump")}, driver="cisco_iosxe")
        with pytest.raises(DeviceFailure) as caught:
            await ShellSession(shell.channel, platform, command_timeout=30).capture(enable="sesame")
        assert (caught.value.reason, caught.value.detail) == ("privilege_refused", detail)
        assert shell.typed == ["enable"]

    run()


@pytest.mark.parametrize(
    "asked", ["Enable password: ", "Password for level 15: ", "Enter enable secret: ", "password:"]
)
def test_the_question_for_the_secret_may_be_put_in_other_words(asked: str) -> None:
    @in_virtual_time
    async def run() -> None:
        device = Levelled(asked_for=asked)
        shell = ScriptedShell(b"r1>", device.answer)
        assert await captured_from_with(shell, levelled("root", Output(RUNNING, "dump all")), "sesame") == (
            "dump all at r1#\n"
        )

    run()


async def captured_from_with(shell: ScriptedShell, platform: Platform, enable: str) -> str:
    (capture,) = await ShellSession(shell.channel, platform, command_timeout=30).capture(enable=enable)
    return capture.text
