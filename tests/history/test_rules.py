"""What is left out, sorted and marked."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.history.marks import MARK, Marker
from netraven.history.rules import Rules
from netraven.platforms import Platform, known_platforms, load_platform
from tests.history.naive import naive
from tests.history.texts import lines_of, mixed

mark = Marker(b"k" * 32).mark
NAMES = sorted(known_platforms())
RULES = {name: (Rules.of(load_platform(name)), naive(load_platform(name))) for name in NAMES}


def lines(*patterns: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.MULTILINE) for pattern in patterns)


def angled(secret: str) -> str:
    return f"<{len(secret)}>"


# ---- what changes by itself ----

VOLATILE = Rules.of(Platform("box", volatile=lines(r"^time .*$", r"(?<= ENC )\S+", r"^up$", r"began[^!]+!")))


@pytest.mark.parametrize(
    ("text", "comparable"),
    [
        ("a\ntime 12\nb\n", "a\nb\n"),
        ("time 12\na\n", "a\n"),
        ("a\ntime 12", "a\n"),
        ("time 1\ntime 2\n", ""),
        ("a\n\ntime 12\n\nb\n", "a\n\n\nb\n"),
        ("set x ENC abc\n", "set x ENC \n"),
        ("a\nup\nupper\n", "a\nupper\n"),
        ("a began\nb\nc! d\n", "a  d\n"),
        ("began\nb\nc!\nd\n", "d\n"),
        ("", ""),
        ("nothing", "nothing"),
    ],
)
def test_what_changes_by_itself_is_left_out(text: str, comparable: str) -> None:
    assert VOLATILE.comparable(text) == comparable
    assert VOLATILE.shown(text, mark, quiet=True) == comparable
    assert VOLATILE.shown(text, mark) == text


def test_places_are_found_in_the_text_as_it_is() -> None:
    """That one part has gone makes no other match."""
    rules = Rules.of(Platform("box", volatile=lines("x", "ab")))
    assert rules.comparable("axb ab") == "ab "


def test_parts_that_touch_leave_no_empty_line() -> None:
    rules = Rules.of(Platform("box", volatile=lines("^up ", "for .*$")))
    assert rules.comparable("a\nup for ever\nb") == "a\nb"


# ---- order ----

UNORDERED = Rules.of(Platform("box", volatile=lines("^time .*$"), unordered=lines("^user ", "^host ")))


@pytest.mark.parametrize(
    ("text", "comparable"),
    [
        ("user b\nuser a\nx\n", "user a\nuser b\nx\n"),
        ("x\nuser b\nuser a", "x\nuser a\nuser b"),
        ("user b\nx\nuser a\n", "user b\nx\nuser a\n"),
        ("user b\nhost b\nuser a\nhost a\n", "user b\nhost b\nuser a\nhost a\n"),
        ("user b\nuser a\nhost b\nhost a\n", "user a\nuser b\nhost a\nhost b\n"),
        ("user b\ntime 12\nuser a\n", "user a\nuser b\n"),
        ("user b\n sub\nuser a\n", "user b\n sub\nuser a\n"),
        ("user a\nuser a\n", "user a\nuser a\n"),
    ],
)
def test_neighbours_of_one_kind_are_sorted(text: str, comparable: str) -> None:
    assert UNORDERED.comparable(text) == comparable
    assert UNORDERED.shown(text, mark, quiet=True) == comparable


@given(st.lists(st.sampled_from(["user a", "user b", "user c", "host x", "z"]), max_size=8), st.randoms())
def test_whatever_the_order(told: list[str], random: object) -> None:
    users = [line for line in told if line.startswith("user")]
    assert UNORDERED.comparable("\n".join(users)) == UNORDERED.comparable("\n".join(reversed(users)))
    assert sorted(UNORDERED.comparable("\n".join(told)).split("\n")) == sorted("\n".join(told).split("\n"))


# ---- secrets ----

SECRET = Rules.of(
    Platform(
        "box",
        secrets=lines(r"^pin (?P<secret>\S+)", r"^vault (?P<secret>.*\n.*) end$"),
        volatile=lines(r"\d+(?= ago)"),
    )
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pin 1234 x", "pin <4> x"),
        ('pin "12 34" x', 'pin "<5>" x'),
        ("vault a\n  b end\nc", "vault <3> end\nc"),
        ("password abc", "password <3>"),
        ("password", "password"),
        ("password abc def", "password <7>"),
        ('password "abc def" strong', 'password "<7>" strong'),
        ('password "abc \\" def" strong', 'password "<10>" strong'),
        ('password "abc', 'password "<3>'),
        ("password=abc strong", "password=<3> strong"),
        ("Password = abc def", "Password = <7>"),
        ("Password........ abc", "Password........ <3>"),
        ("password: abc", "password: <3>"),
        ('"password": "abc", "role": "x"', '"password": "<3>", "role": "x"'),
        ("<password>abc</password>", "<password><3></password>"),
        ("password 7 abc", "password 7 <3>"),
        ("password level 15 encrypted abc", "password level 15 encrypted <3>"),
        ("password 7", "password <1>"),
        ("password mypassword1", "password <11>"),
        ("password secret", "password <6>"),
        ("psk abc password def", "psk <3> password <3>"),
        ("the PassPhrase IS abc", "the PassPhrase IS <3>"),
        ("password abc;", "password <3>;"),
        ("password { abc", "password { <3>"),
        ("password \\\n    abc", "password \\\n    <3>"),
        ("password *****", "password *****"),
        ("password enabled", "password enabled"),
        ("service password-encryption", "service password-encryption"),
        ("my-password-for-x abc", "my-password-for-x <3>"),
        ("username b password 0 abc privilege 15 $9$abcd$efgh", None),
        ("key 1", "key 1"),
        ("key 1234", "key <4>"),
        ("key chain abc", "key chain abc"),
        ("monkey business", "monkey business"),
        ("set community 65000:1 additive", "set community 65000:1 additive"),
        ("community abc", "community <3>"),
        ("copy scp://u:p@ss/w@host/x", "copy scp://u:<6>@host/x"),
        ("hash $9$abcd$efgh.", "hash <13>"),
        ("a {cipher}abcdef b", "a {cipher}<6> b"),
        ("say Bearer abcdefgh.x", "say Bearer <10>"),
        ("x eyJhbGciOiJI.eyJzdWIiOiIx.c2ln y", "x <30> y"),
    ],
)
def test_secrets_of_every_platform(text: str, shown: str | None) -> None:
    if shown is None:
        assert "abc" not in SECRET.shown(text, angled)
    else:
        assert SECRET.shown(text, angled) == shown


def test_a_private_key_is_one_mark() -> None:
    body = "\nProc-Type: 4,ENCRYPTED\n\nMIIEow+/=\nMIIEox==\n"
    for kind in ("PRIVATE KEY", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY"):
        text = f"a\n-----BEGIN {kind}-----{body}-----END {kind}-----\nb\n"
        shown = SECRET.shown(text, mark)
        assert shown.startswith(f"a\n-----BEGIN {kind}-----<redacted:")
        assert shown.endswith(f">-----END {kind}-----\nb\n")
        assert len(MARK.findall(shown)) == 1
    ssh2 = "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nComment: me\nMIIEow\n---- END SSH2 ENCRYPTED PRIVATE KEY ----\n"
    assert "MIIEow" not in SECRET.shown(ssh2, mark)
    public = "-----BEGIN CERTIFICATE-----\nMIIEow\n-----END CERTIFICATE-----\n"
    assert SECRET.shown(public, mark) == public


def test_a_private_key_without_an_end_is_a_secret_too() -> None:
    shown = SECRET.shown("-----BEGIN PRIVATE KEY-----\nMIIEow+/=\nMIIEox==\n! next\n", mark)
    assert "MIIE" not in shown
    assert shown.endswith("! next\n")


def test_the_same_secret_has_the_same_mark_wherever_it_stands() -> None:
    text = 'password 7 abc\n key "abc"\nxyz-secret=abc x\npin abc\n  password:   abc\n'
    assert set(MARK.findall(SECRET.shown(text, mark))) == {mark("abc")}
    once = "-----BEGIN PRIVATE KEY-----\nMIIEow\nMIIEox\n-----END PRIVATE KEY-----"
    indented = once.replace("\n", "\n    ")
    assert MARK.findall(SECRET.shown(once, mark)) == MARK.findall(SECRET.shown(indented, mark))


def test_what_changes_by_itself_within_a_secret_has_no_part_in_its_mark() -> None:
    rules = Rules.of(Platform("box", volatile=lines(r"(?<=salt)\d+"), secrets=lines(r"^pin (?P<secret>\S+)")))
    assert rules.shown("pin salt12x", angled) == "pin <7>"
    assert rules.shown("pin salt12x", angled, quiet=True) == "pin <5>"
    wholly = Rules.of(
        Platform("box", volatile=lines(r"(?<=pin )\S+"), secrets=lines(r"^pin (?P<secret>\S+)"))
    )
    assert wholly.shown("pin salt12x y", angled, quiet=True) == "pin  y"


def test_a_mark_that_does_not_look_like_one_is_not_marked_again() -> None:
    assert SECRET.shown("password abc", lambda _: "password hidden") == "password password hidden"


@pytest.mark.parametrize(
    "text",
    ["password <redacted:0123456789ab>", "key 7 <redacted:0123456789ab>;", "pin <redacted:0123456789ab>"],
)
def test_a_mark_is_no_secret(text: str) -> None:
    assert SECRET.shown(text, mark) == text


def test_what_stands_beside_a_mark_is_a_secret() -> None:
    assert "abc" not in SECRET.shown("password abc<redacted:0123456789ab>", mark)
    assert "abc" not in SECRET.shown("password <redacted:0123456789a> abc", mark)


# ---- all that ships ----


@given(st.sampled_from(NAMES), st.data())
def test_quick_is_the_same_as_naive(name: str, data: st.DataObject) -> None:
    text = data.draw(mixed(name))
    quick, slow = RULES[name]
    assert quick.comparable(text) == slow.comparable(text)
    assert quick.shown(text, mark) == slow.shown(text, mark)
    assert quick.shown(text, mark, quiet=True) == slow.shown(text, mark, quiet=True)


@pytest.mark.parametrize("name", NAMES)
def test_quick_is_the_same_as_naive_for_whole_texts(name: str) -> None:
    text = "\n".join(lines_of(name))
    quick, slow = RULES[name]
    assert quick.comparable(text) == slow.comparable(text)
    assert quick.shown(text, mark) == slow.shown(text, mark)


@given(st.sampled_from(NAMES), st.data())
def test_marked_twice_is_marked_once(name: str, data: st.DataObject) -> None:
    quick, _ = RULES[name]
    once = quick.shown(data.draw(mixed(name)), mark)
    assert quick.shown(once, mark) == once


@given(st.sampled_from(NAMES), st.data())
def test_the_same_comparable_shows_the_same(name: str, data: st.DataObject) -> None:
    """What is no new version shows no difference either."""
    quick, _ = RULES[name]
    text = data.draw(mixed(name))
    comparable = quick.comparable(text)
    assert quick.comparable(comparable + "") == quick.comparable(comparable)
    assert len(quick.shown(text, mark, quiet=True).split("\n")) <= len(text.split("\n"))


@given(st.text(alphabet="pasword keyscrt=:\"'\\\n 07<>{};", max_size=60))
def test_any_text_can_be_shown(text: str) -> None:
    once = SECRET.shown(text, mark)
    assert SECRET.shown(once, mark) == once


@pytest.mark.parametrize(
    "piece",
    [
        "password ",
        "key ",
        "key=",
        'password "',
        "password abc ",
        "$9$abcdef$gh ",
        "-----BEGIN RSA PRIVATE KEY-----\nabc\n",
        "://a:b",
        "foo password bar\n",
        " neighbor 192.0.2.1 password 7 0822455D\n description x\n",
        "set password ENC abcdefghijkl\n",
        "add name=x password=\\\n    abc\n",
        "\\",
    ],
)
@pytest.mark.parametrize("name", ["cisco_iosxe", "fortinet_fortios", "mikrotik_routeros"])
def test_a_text_of_a_device_that_means_ill_takes_no_time_without_bounds(name: str, piece: str) -> None:
    """Where it does, this does not end: time that grows with the square would be an hour."""
    quick, _ = RULES[name]
    text = piece * (300_000 // len(piece))
    assert quick.shown(f"{text}\n!\npassword abc", mark).endswith(mark("abc"))
