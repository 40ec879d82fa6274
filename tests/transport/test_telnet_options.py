"""Telnet's commands are told from text however they are cut, and answered no more often than they ask."""

from __future__ import annotations

import os
import random
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.transport.telnet_options import (
    BINARY,
    DO,
    DONT,
    ECHO,
    IAC,
    NAWS,
    SB,
    SE,
    SGA,
    TTYPE,
    WILL,
    WONT,
    TelnetOptions,
)

FUZZ_SECONDS = float(os.environ.get("NETRAVEN_TEST_FUZZ_SECONDS", "2"))
STATUS, TIMING_MARK, LINEMODE, AUTHENTICATION, NEW_ENVIRON = 5, 6, 34, 37, 39
WINDOW = bytes((IAC, SB, NAWS, 1, IAC, IAC, 0, 24, IAC, SE))
"""511 columns are 1 and 255, which is doubled; 24 rows."""


def said(*commands: int) -> bytes:
    return bytes(commands)


def fed(*pieces: bytes) -> tuple[bytes, bytes]:
    options = TelnetOptions()
    answers = [options.feed(piece) for piece in pieces]
    return b"".join(text for text, _ in answers), b"".join(reply for _, reply in answers)


streams = st.lists(
    st.one_of(
        st.binary(max_size=8),
        st.sampled_from(
            [
                said(IAC, command, option)
                for command in (WILL, WONT, DO, DONT)
                for option in (BINARY, ECHO, SGA, TTYPE, NAWS, LINEMODE)
            ]
            + [
                b"login: ",
                b"\r\n",
                b"\r\x00",
                said(IAC, IAC),
                said(IAC),
                said(IAC, SB, TTYPE, 1, IAC, SE),
                said(IAC, SB, LINEMODE),
                said(IAC, SE),
            ]
        ),
    ),
    max_size=30,
).map(b"".join)


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (b"login: ", b"login: "),
        (b"a\r\nb", b"a\r\nb"),
        (b"a\r\x00b", b"a\rb"),
        (b"a\r\x00\x00b", b"a\r\x00b"),
        (said(IAC, IAC), b"\xff"),
        (b"a" + said(IAC, 241) + b"b" + said(IAC, 249), b"ab"),
        (b"\r" + said(IAC, 241) + b"\x00x", b"\rx"),
        (b"a" + said(IAC, SB, STATUS, 1, IAC, IAC, 2, IAC, SE) + b"b", b"ab"),
        (b"a" + said(IAC, SB, STATUS, 1) + said(IAC, DO, STATUS) + b"b", b"ab"),
    ],
)
def test_text_is_told_from_commands(stream: bytes, text: bytes) -> None:
    assert fed(stream)[0] == text
    assert fed(*(stream[n : n + 1] for n in range(len(stream))))[0] == text


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ((WILL, ECHO), said(IAC, DO, ECHO)),
        ((WILL, SGA), said(IAC, DO, SGA)),
        ((WILL, BINARY), said(IAC, DO, BINARY)),
        ((DO, BINARY), said(IAC, WILL, BINARY)),
        ((DO, SGA), said(IAC, WILL, SGA)),
        ((DO, TTYPE), said(IAC, WILL, TTYPE)),
        ((DO, NAWS), said(IAC, WILL, NAWS) + WINDOW),
        ((DO, ECHO), said(IAC, WONT, ECHO)),
        ((WILL, TTYPE), said(IAC, DONT, TTYPE)),
        ((WILL, NAWS), said(IAC, DONT, NAWS)),
        ((WILL, STATUS), said(IAC, DONT, STATUS)),
        ((DO, TIMING_MARK), said(IAC, WONT, TIMING_MARK)),
        ((DO, LINEMODE), said(IAC, WONT, LINEMODE)),
        ((DO, AUTHENTICATION), said(IAC, WONT, AUTHENTICATION)),
        ((DO, NEW_ENVIRON), said(IAC, WONT, NEW_ENVIRON)),
        ((DONT, SGA), b""),
        ((WONT, ECHO), b""),
    ],
)
def test_what_is_agreed_to_and_what_is_not(asked: tuple[int, int], answer: bytes) -> None:
    assert fed(said(IAC, *asked)) == (b"", answer)


def test_what_is_in_force_already_is_not_answered() -> None:
    assert fed(said(IAC, WILL, ECHO) * 5) == (b"", said(IAC, DO, ECHO))


def test_an_option_can_be_taken_back() -> None:
    assert fed(said(IAC, WILL, ECHO), said(IAC, WONT, ECHO))[1] == said(IAC, DO, ECHO, IAC, DONT, ECHO)


def test_the_terminal_type_is_told_where_it_was_agreed_on() -> None:
    send = said(IAC, SB, TTYPE, 1, IAC, SE)
    assert fed(send) == (b"", b"")
    told = said(IAC, SB, TTYPE, 0) + b"vt100" + said(IAC, SE)
    assert fed(said(IAC, DO, TTYPE), send) == (b"", said(IAC, WILL, TTYPE) + told)


@pytest.mark.parametrize("asked", [(DO, LINEMODE), (WILL, STATUS)])
def test_who_repeats_a_refused_question_is_not_answered_for_ever(asked: tuple[int, int]) -> None:
    assert len(fed(said(IAC, *asked) * 1000)[1]) <= 8 * 3


def test_two_of_us_do_not_answer_each_other_for_ever() -> None:
    one, other = TelnetOptions(), TelnetOptions()
    reply = b"".join(
        said(IAC, command, option) for command in (WILL, DO, WONT, DONT) for option in range(256)
    )
    turns = 0
    while reply:
        reply = one.feed(reply)[1]
        reply = other.feed(reply)[1]
        turns += 1
        assert turns < 20


@pytest.mark.parametrize(
    ("typed", "wire"),
    [
        (b"show version\n", b"show version\r\x00"),
        (b"a\r", b"a\r\x00"),
        (b"a\r\n", b"a\r\n"),
        (b"a\n\nb\n", b"a\r\x00\r\x00b\r\x00"),
        (b"\xff", b"\xff\xff"),
    ],
)
def test_how_lines_are_typed(typed: bytes, wire: bytes) -> None:
    assert TelnetOptions().encode(typed) == wire


def test_in_binary_mode_nothing_is_padded() -> None:
    options = TelnetOptions()
    options.feed(said(IAC, DO, BINARY, IAC, WILL, BINARY))
    assert options.encode(b"a\n\xff") == b"a\r\xff\xff"
    assert options.feed(b"\r\x00") == (b"\r\x00", b"")


@given(streams, st.data())
def test_how_it_is_cut_makes_no_difference(stream: bytes, data: st.DataObject) -> None:
    places = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    edges = [0, *places, len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(edges)]
    assert fed(*pieces) == fed(stream) == fed(*(stream[n : n + 1] for n in range(len(stream))))


@given(streams)
def test_it_never_answers_more_than_it_was_asked(stream: bytes) -> None:
    replies = fed(stream)[1].replace(WINDOW, b"").count(IAC)
    assert replies <= 2 * stream.count(IAC)  # two for a terminal type, which takes four to ask for


@given(st.binary(max_size=200))
def test_what_one_of_us_types_the_other_reads(typed: bytes) -> None:
    line = typed.replace(b"\r", b"").replace(b"\n", b"")
    assert fed(TelnetOptions().encode(line + b"\n")) == (line + b"\r", b"")


def test_any_bytes_for_a_while() -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    likely = bytes((IAC, SB, SE, WILL, WONT, DO, DONT, BINARY, ECHO, SGA, TTYPE, NAWS, 13, 10, 0, 1, 65))
    until = time.monotonic() + FUZZ_SECONDS
    while time.monotonic() < until:
        stream = bytes(
            chance.choice(likely) if chance.random() < 0.8 else chance.randrange(256)
            for _ in range(chance.randrange(2000))
        )
        place = chance.randrange(len(stream) + 1)
        assert fed(stream) == fed(stream[:place], stream[place:]), f"seed {seed}"


@pytest.mark.parametrize(
    "piece",
    [b"A", said(IAC, IAC), said(IAC, SB), said(IAC, SB, TTYPE, 65), said(IAC, DO, LINEMODE), b"\r\x00"],
    ids=repr,
)
def test_time_grows_with_the_bytes_and_no_faster(piece: bytes) -> None:
    def seconds(size: int) -> float:
        stream = said(IAC, SB, LINEMODE) * (piece == b"A") + piece * (size // len(piece))
        best = float("inf")
        for _ in range(3):
            began = time.process_time()
            fed(*(stream[n : n + 4096] for n in range(0, len(stream), 4096)))
            best = min(best, time.process_time() - began)
        return best

    assert seconds(400_000) < 4 * 3 * seconds(100_000) + 0.05
