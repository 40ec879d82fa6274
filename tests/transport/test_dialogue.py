"""What a device prints arrives in any pieces, and is told apart from its prompt all the same."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from netraven.errors import DeviceFailure
from netraven.lab import DIALECTS
from netraven.platforms import load_platform
from netraven.transport.channel import ShellChannel
from netraven.transport.session import ShellSession
from tests.transport.shells import Cut, DirectShell, at, captured, each_byte, whole
from tests.virtual_time import in_virtual_time

CONFIG = """\
hostname r1
!
interface Ethernet1
 description to other#
 ip address 192.0.2.1 255.255.255.0
other#
banner motd ^C
hello r9>
admin@r9>

^C
end
"""
HALT = 1.5
"""Seconds of silence in the middle of an output that must not be taken for its end."""


def own_prompts(dialect: str) -> set[str]:
    """How the prompts of the device under test begin, as they may stand in a line."""
    d = DIALECTS[dialect]
    return {p.format(name="r1", user="netops").strip() for p in (d.prompt, d.user_prompt, d.config_prompt)}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("cut", [whole, each_byte], ids=["whole", "each byte"])
@pytest.mark.parametrize("gap", [0.0001, 0.01, 0.4])
def test_however_it_is_cut_the_text_is_the_same(dialect: str, cut: Cut, gap: float) -> None:
    @in_virtual_time
    async def run() -> None:
        assert (await captured(dialect, CONFIG, cut=cut, gap=gap)).endswith(CONFIG)

    run()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("gap", [0.01, HALT])
def test_cut_at_every_place_with_and_without_a_pause(dialect: str, gap: float) -> None:
    @in_virtual_time
    async def run() -> None:
        for place in range(1, len(CONFIG) + 70):
            text = await captured(dialect, CONFIG, cut=at(place), gap=gap)
            assert text.endswith(CONFIG), f"cut at {place}"

    run()


# ---- any configuration

_letters = st.characters(exclude_categories=["Cc", "Cs"], include_characters="\t")
_ODD_LINES = """
||!|^|end  |\t\tx\t|{master:0}|\u00db[1m|--More--| --More-- |Password:|other#|other>|r2(config)#|user@host> |#|>|$ |
RP/0/RP0/CPU0:r2#|% a remark|show running-config|show configuration|description r1#not a prompt
""".replace("\n", "").split("|")
_lines = st.one_of(
    st.text(_letters, max_size=40),
    st.sampled_from(_ODD_LINES),
    st.integers(1, 3).map(lambda n: "x" * (n * 2_500)),
)
configs = st.lists(_lines, min_size=1, max_size=12).map("\n".join)


@given(
    dialect=st.sampled_from(sorted(DIALECTS)),
    config=configs,
    places=st.lists(st.integers(1, 400), max_size=6),
    gap=st.sampled_from([0.0001, 0.01, 0.4]),
)
@example(dialect="cisco_iosxe", config="a\nother#\nb", places=[36], gap=0.4)
@example(dialect="arista_eos", config="\u00db[1m \u96db\x85", places=[], gap=0.0001)
def test_any_configuration_comes_out_as_it_went_in(
    dialect: str, config: str, places: list[int], gap: float
) -> None:
    wanted = config.strip("\n")
    assume(wanted)
    prompts = own_prompts(dialect)
    # what a device's own prompt at the start of a line may do is told in the test below
    assume(not any(line.strip().startswith(p) for line in wanted.split("\n") for p in prompts))

    @in_virtual_time
    async def run() -> None:
        text = await captured(dialect, config, cut=at(*places), gap=gap)
        if dialect == "cisco_iosxr":  # prints the time above every output
            text = "\n".join(text.split("\n")[1:]).lstrip("\n")
        assert text == wanted + "\n"

    run()


@given(config=configs, places=st.lists(st.integers(1, 400), max_size=4))
def test_the_own_prompt_in_the_middle_is_told_from_the_end_by_what_follows_at_once(
    config: str, places: list[int]
) -> None:
    """Not where the device pauses right behind it: that looks exactly like the end."""
    whole_text = f"begin\nr1#\n{config}\nr1#\nend"

    @in_virtual_time
    async def run() -> None:
        assert await captured("cisco_iosxe", whole_text) == whole_text + "\n"

    run()


def test_what_no_utf8_is_keeps_its_bytes() -> None:
    @in_virtual_time
    async def run() -> None:
        text = await captured("cisco_iosxe", "banner \udc9b1m caf\udce9 \udcff\nend")
        assert text.encode("utf-8", "surrogateescape") == b"banner \x9b1m caf\xe9 \xff\nend\n"

    run()


@pytest.mark.parametrize(
    "code",
    [
        "\x1b[0m",
        "\x1b[31;1m",
        "\x1b[K",
        "\x1b[?25h",
        "\x1b]0;title\x07",
        "\x1b]0;t\x1b\\",
        "\x1b7",
        "\x1b=",
        "\x1b(B",
    ],
)
def test_terminal_codes_are_no_part_of_the_text_and_none_of_the_prompt(code: str) -> None:
    def answer(line: str) -> bytes:
        body = f"{code}hostname r1{code}\r\nend\r\n" if line.startswith("show") else ""
        return f"{body}{code}r1#{code}".encode()

    @in_virtual_time
    async def run() -> None:
        assert await captured("cisco_iosxe", "", answer=answer) == "hostname r1\nend\n"

    run()


@pytest.mark.parametrize("ends", ["\r\n", "\n", "\r\r\n"])
def test_line_ends_of_every_kind(ends: str) -> None:
    def answer(line: str) -> bytes:
        body = f"hostname r1{ends} a{ends}end{ends}" if line.startswith("show") else ""
        return f"{body}r1#".encode()

    @in_virtual_time
    async def run() -> None:
        assert await captured("cisco_iosxe", "", answer=answer) == "hostname r1\n a\nend\n"

    run()


# ---- devices that are late, silent, or different


class Late(DirectShell):
    """Shows its first prompt only after a while; what was typed meanwhile is answered behind it."""

    def __init__(self, *, delay: float, between: float) -> None:
        self.delay, self.between, self.greeted = delay, between, False
        super().__init__("cisco_iosxe", CONFIG)

    def _say(self, data: bytes) -> None:
        if not self.greeted:
            self._due = asyncio.get_running_loop().time() + self.delay
            self.greeted = True
            super()._say(data)
            self._due += self.between
        else:
            super()._say(data)


@pytest.mark.parametrize("delay", [0.0, 3.0, 4.99, 5.01, 6.0, 20.0])
@pytest.mark.parametrize("between", [0.0, 0.05, 0.3, 0.6, 1.8])
def test_a_prompt_that_comes_late_answers_no_command(delay: float, between: float) -> None:
    @in_virtual_time
    async def run() -> None:
        shell = Late(delay=delay, between=between)
        session = ShellSession(shell.channel, load_platform("cisco_iosxe"), command_timeout=100.0)
        (capture,) = await session.capture(enable=None)
        assert capture.text == CONFIG
        assert shell.typed.count("show running-config") == 1

    run()


def test_a_device_that_does_not_echo() -> None:
    class Mute(DirectShell):
        def write(self, data: bytes) -> None:
            line = data.decode().strip()
            self._say(b"\r\n" + self._answer(line))

    @in_virtual_time
    async def run() -> None:
        shell = Mute("cisco_iosxe", CONFIG)
        session = ShellSession(shell.channel, load_platform("cisco_iosxe"), command_timeout=100.0)
        (capture,) = await session.capture(enable=None)
        assert capture.text == CONFIG

    run()


def test_a_device_whose_prompt_changes_by_itself() -> None:
    count = 0

    def answer(line: str) -> bytes:
        nonlocal count
        count += 1
        body = "hostname r1\r\nend\r\n" if line.startswith("show") else ""
        return f"{body}r1-{count}#".encode()

    @in_virtual_time
    async def run() -> None:
        assert await captured("cisco_iosxe", "", answer=answer) == "hostname r1\nend\n"

    run()


def test_a_prompt_that_no_platform_knows_is_waited_for_in_vain() -> None:
    @in_virtual_time
    async def run() -> None:
        shell = DirectShell("cisco_iosxe", CONFIG, answer=lambda _: b"What now? ")
        shell.channel.discard()
        session = ShellSession(shell.channel, load_platform("juniper_junos"), command_timeout=30.0)
        with pytest.raises(DeviceFailure) as caught:
            await session.capture(enable=None)
        assert caught.value.reason == "dialogue_timeout"

    run()


def test_the_deadline_is_put_off_by_whatever_arrives() -> None:
    """Nine seconds a piece are fine for any number of them; a single one above ten is not."""

    @in_virtual_time
    async def run(gap: float, ok: bool) -> None:
        shell = DirectShell("cisco_iosxe", "hostname r1\n" * 4, cut=at(30, 40, 50), gap=gap)
        session = ShellSession(shell.channel, load_platform("cisco_iosxe"), command_timeout=10.0)
        if ok:
            assert await session.capture(enable=None)
            return
        with pytest.raises(DeviceFailure) as caught:
            await session.capture(enable=None)
        assert caught.value.reason == "dialogue_timeout"
        assert (
            caught.value.detail == "the device was silent for 10 s when it was to run 'show running-config'"
        )

    run(9.0, True)
    run(11.0, False)


# ---- the channel alone


@in_virtual_time
async def test_a_flood_is_slowed_down_and_read_to_its_end() -> None:
    shell = DirectShell("cisco_iosxe", "x")
    channel = shell.channel
    for _ in range(3):
        channel.data_received(b"y" * (1 << 19), None)
    assert shell.paused == 1
    assert len(await channel.read()) == 3 << 19


@in_virtual_time
async def test_what_came_before_the_end_can_still_be_read() -> None:
    channel = ShellChannel()
    channel.data_received(b"last words", None)
    channel.connection_lost(None)
    assert await channel.read() == b"last words"
    with pytest.raises(ConnectionResetError):
        await channel.read()
    with pytest.raises(ConnectionResetError):
        channel.write(b"x")


@in_virtual_time
async def test_a_reader_is_woken_by_the_end() -> None:
    channel = ShellChannel()
    reading = asyncio.create_task(channel.read())
    await asyncio.sleep(1)
    channel.connection_lost(BrokenPipeError("cut"))
    with pytest.raises(BrokenPipeError, match="cut"):
        await reading


@in_virtual_time
async def test_quiet_is_measured() -> None:
    loop = asyncio.get_running_loop()
    channel = ShellChannel()
    loop.call_later(2.0, channel.data_received, b"x", None)
    assert await channel.quiet(1.0)
    assert not await channel.quiet(5.0)
    assert loop.time() == 2.0
    assert not await channel.quiet(5.0), "what waits to be read is not quiet"
