"""What is believed of a device's words, and what is typed when. No network, no clock."""

from __future__ import annotations

import os
import random
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.platforms import Platform, load_platform
from netraven.transport.login_dialogue import BRIEF, QUIET, STILL, LoginDialogue, Move

FUZZ_SECONDS = float(os.environ.get("NETRAVEN_TEST_FUZZ_SECONDS", "2"))
PLATFORM = load_platform("cisco_iosxe")


def at_start(text: str, platform: Platform = PLATFORM) -> LoginDialogue:
    login = LoginDialogue(platform, "netops")
    login.heard(text.replace("\n", "\r\n").encode())
    return login


def after_name(text: str) -> LoginDialogue:
    login = at_start("Username: ")
    login.username_typed()
    login.heard(text.replace("\n", "\r\n").encode())
    return login


def after_secret(text: str, secret: str = "s3cret", platform: Platform = PLATFORM) -> LoginDialogue:
    login = at_start("Password: ", platform)
    login.secret_typed(secret)
    login.heard(text.replace("\n", "\r\n").encode())
    return login


@pytest.mark.parametrize(
    "text",
    [
        "\nUser Access Verification\n\nUsername: ",
        "Debian GNU/Linux 12 r1 pts/0\n\nr1 login: ",
        "login:",
        "Login Name: ",
        "User:",
        "User Name:",
        "\nLogin authentication\n\n\nUsername:",
        "\x1b[2J\x1b[1;1HUsername: \x1b[K",
        "no login: for strangers\nlogin as: ",
        "password: ask your admin\nr1 login: ",
    ],
)
def test_the_question_for_a_user_name(text: str) -> None:
    assert at_start(text).move(QUIET) is Move.USERNAME


@pytest.mark.parametrize(
    "text",
    [
        "Username: \n",
        "Strangers who try a login: ",
        "Please use your TACACS password: ",
        "Last login: ",
        "Previous login: ",
        "use your password: and",
        "Restricted. Before you login:\n",
        "New password: ",
        "x" * 5000 + "Username: ",
        "",
    ],
)
def test_what_looks_like_a_question_and_is_none(text: str) -> None:
    assert at_start(text).move(QUIET) is Move.WAIT


@pytest.mark.parametrize(
    "text",
    [
        "Password: ",
        "\nPassword:",
        "netops's password: ",
        "Enter password: ",
        "Password for netops: ",
        "PASSCODE:",
    ],
)
def test_the_question_for_a_password(text: str) -> None:
    assert after_name("netops\n" + text.lstrip("\n")).move(QUIET) is Move.OFFER
    assert at_start(text).move(QUIET) is Move.OFFER  # a line password: no user name is asked for


@pytest.mark.parametrize(
    "text",
    [
        "netops",
        "netops\n",
        "netops\nPassword: \n",
        "netops\nNew password: ",
        "netops\nOld password: ",
        "netops\nEnable secret: ",
        "netops\nChallenge 4711, your answer: ",
        "netops\nYour password: is not needed",
        "netops\nDo you know the password: ",
        "netops\nroot's password: ",
        "netops\nPassword for admin: ",
        "netops\n(current) Password: ",
    ],
)
def test_no_other_question_gets_the_password(text: str) -> None:
    login = after_name(text)
    assert login.move(QUIET) is Move.WAIT
    assert login.move(STILL) is Move.WAIT


def test_who_asks_for_the_user_name_again_wants_no_password() -> None:
    assert after_name("netops\n% Login invalid\n\nUsername: ").move(QUIET) is Move.NOT_ASKED


def test_a_prompt_of_a_device_that_asks_nothing_has_to_stand_for_a_while() -> None:
    for login in (at_start("\nr1#"), after_name("netops\nr1>")):
        assert login.move(QUIET) is Move.WAIT
        assert login.move(STILL) is Move.IN


def test_the_return_key_is_pressed_where_it_is_wanted() -> None:
    login = at_start("ProCurve J9776A\n\nPress any key to continue")
    assert login.move(QUIET) is Move.RETURN
    login.return_pressed()
    assert login.move(QUIET) is Move.WAIT
    login.heard(b"\x1b[2J\x1b[1;1HUsername: ")
    assert login.move(QUIET) is Move.USERNAME


def test_it_is_pressed_once_for_who_says_nothing() -> None:
    login = at_start("r1 con0 is now available\n\nPress RETURN to get started.\n\n")
    assert login.move(QUIET) is Move.WAIT
    assert login.move(STILL) is Move.RETURN
    login.return_pressed()
    assert login.move(STILL) is Move.WAIT


@pytest.mark.parametrize(
    "text",
    [
        "\nr1#",
        "\nr1> ",
        "\n\nWelcome\n[admin@r1] > ",
        "\n<r1>",
        "\nA:r1# ",
        "\nRP/0/RP0/CPU0:r1#",
        "\nLast login: Fri Nov  6 09:10:02 from 192.0.2.10\nnetops@r1:~$ ",
        "\nAccess denied to strangers!\nr1#",
        "\nYour password has expired in the past 0 times\nr1#",
        "s3cret\nr1#",
        "\n-> ",
        "\n# ",
    ],
)
def test_a_prompt_is_a_yes(text: str) -> None:
    assert after_secret(text).move(BRIEF) is Move.IN


@pytest.mark.parametrize(
    "text",
    [
        "\n% Login invalid\n\nUsername: ",
        "\n\nLogin incorrect\nr1 login: ",
        "\nPassword: ",
        "\n% Authentication failed\n\nUsername: ",
        "\nsome prose\nlogin: ",
    ],
)
def test_a_question_that_comes_back_is_a_no(text: str) -> None:
    assert after_secret(text).move(QUIET) is Move.REFUSED


@pytest.mark.parametrize(
    "text",
    [
        "% Bad passwords",
        "% Login invalid",
        "% Authentication failed",
        "Login incorrect",
        "Access denied",
        "Authentication failure",
        "Invalid password",
        "Login failed!",
        "Error: Username or password error.",
        "Error: Local authentication is rejected.",
    ],
)
def test_words_of_refusal_wait_for_what_follows(text: str) -> None:
    login = after_secret(f"\n{text}\n")
    assert login.move(QUIET) is Move.WAIT
    assert login.move(STILL) is Move.REFUSED
    assert login.refusal() == text
    login.heard(b"\r\nr1#")
    assert login.move(STILL) is Move.IN


def test_a_question_without_words_of_refusal_is_believed_later_than_one_below_them() -> None:
    assert after_secret("\n% Login invalid\n\nUsername: ").move(BRIEF) is Move.REFUSED
    login = after_secret("\nPassword: ")
    assert (login.move(BRIEF), login.move(QUIET)) == (Move.WAIT, Move.REFUSED)


def test_no_question_is_answered_in_haste() -> None:
    assert at_start("Username: ").move(BRIEF) is Move.WAIT
    assert after_name("netops\nPassword: ").move(BRIEF) is Move.WAIT


def test_long_prose_refuses_nothing() -> None:
    text = "Access denied to all who are not employed here, and whoever tries all the same will be prosecuted by law."
    assert after_secret(f"\n{text}\n").refusal() is None


@pytest.mark.parametrize(
    "text",
    [
        "\nYou are required to change your password immediately.\nChanging password for netops.\nCurrent password: ",
        "\nPassword expired.\nNew password: ",
        "\n(current) UNIX password: ",
        "\nWarning: the initial password poses risks.\nThe password needs to be changed. Change now? [Y/N]: ",
    ],
)
def test_who_wants_a_new_password(text: str) -> None:
    assert after_secret(text).move(QUIET) is Move.EXPIRED


@pytest.mark.parametrize(
    "secret", ["s3cret", "s3cret#", "login:", "Password: ", "r1>", " lead", "p\u00e4ss>"]
)
def test_an_echoed_secret_is_neither_an_answer_nor_shown(secret: str) -> None:
    for length in range(len(secret) + 1):
        login = after_secret(secret[:length], secret)
        assert login.move(QUIET) is Move.WAIT
        assert login.move(STILL) is Move.WAIT
    login = after_secret(f"{secret}\nr1#", secret)
    assert login.move(QUIET) is Move.IN
    assert login.greeting == b"\r\nr1#"
    login = after_secret(f"{secret}\n% Login invalid: {secret}\n", secret)
    assert login.move(STILL) is Move.REFUSED
    assert (login.refusal(), login.said) == ("", "")


def test_words_of_a_platforms_own() -> None:
    own = Platform("x", telnet_login="Kennung> ", telnet_password="Losung>", telnet_refused="falsch")
    assert at_start("Kennung>", own).move(QUIET) is Move.USERNAME
    assert at_start("Losung>", own).move(QUIET) is Move.OFFER
    assert after_secret("\nDas war falsch\n", platform=own).move(STILL) is Move.REFUSED
    assert after_secret("\nKennung>", platform=own).move(QUIET) is Move.REFUSED


def test_a_prompt_of_a_platforms_own() -> None:
    own = Platform("x", prompt=r"\[\w+\]>>|menu=")
    assert after_secret("\nmenu= ", platform=own).move(QUIET) is Move.IN
    assert after_secret("\nmenu= ").move(QUIET) is Move.WAIT


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5), st.sampled_from([0, 1, 2]))
def test_how_it_is_cut_makes_no_difference(text: bytes, places: list[int], stage: int) -> None:
    start = [at_start, after_name, after_secret][stage]
    whole, parts = start(""), start("")
    whole.heard(text)
    edges = [0, *sorted(places), 300]
    for a, b in pairwise(edges):
        parts.heard(text[a:b])
    for quiet in (BRIEF, QUIET, STILL):
        assert whole.move(quiet) is parts.move(quiet)
    assert whole.greeting == parts.greeting


@given(st.binary(max_size=60))
def test_only_a_question_at_the_very_end_gets_the_password(tail: bytes) -> None:
    login = after_name("netops\nPassword: ")
    login.heard(tail)
    if login.move(QUIET) is Move.OFFER:
        assert login.said.lower().rstrip().endswith((":", "?"))


def test_any_words_for_a_while() -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    words = [b"login: ", b"Password: ", b"\r\n", b"r1#", b"\x1b[2J", b"\x1b]", b"new ", b"press ", b"key", b"% Bad ",
             b"user", b" ", b"\xff", b"\x00", b"change ", b"y/n", b"access denied", b"s3cret", b"a" * 300]  # fmt: skip
    until = time.monotonic() + FUZZ_SECONDS
    while time.monotonic() < until:
        login = chance.choice([at_start, after_name, after_secret])("")
        for _ in range(chance.randrange(400)):
            login.heard(chance.choice(words))
        began = time.process_time()
        login.move(QUIET)
        login.move(STILL)
        _ = (login.refusal(), login.said, login.greeting)
        assert time.process_time() - began < 1.0, f"seed {seed}"


@pytest.mark.parametrize(
    "word", [b"a", b"a ", b" ", b"\x1b[", b"\x1b]", b"press ", b"new password ", b"\r", b"Password"]
)
def test_a_device_that_never_stops_talking_costs_no_more_than_it_says(word: bytes) -> None:
    login = after_secret("")
    began = time.process_time()
    for _ in range(2_000):
        login.heard(word * (4096 // len(word)))
    for _ in range(5):
        login.move(STILL)
        _ = login.said
    assert time.process_time() - began < 3.0
