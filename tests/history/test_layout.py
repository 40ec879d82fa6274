"""Paths of files: readable where that is harmless, never outside, never two devices in one."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.history.layout import LONGEST, Layout, escaped, look_alikes, unescaped
from netraven.model import Place

NAMES = st.text(min_size=1, max_size=300) | st.text("./\\%~-git GIT1é\u200c", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("layout", "path"),
    [
        ("{name}", "r1"),
        ("{tag}/{name}", "core/r1"),
        ("{platform}/{name}.{kind}", "cisco_iosxe/r1.running"),
        ("{name}/{kind}.cfg", "r1/running.cfg"),
        ("net/{tag}/{name}.txt", "net/core/r1.txt"),
    ],
)
def test_what_is_filled_in(layout: str, path: str) -> None:
    assert Layout(layout).problem() is None
    assert Layout(layout).path(Place("r1", "core", "cisco_iosxe"), "running") == path


def test_a_device_without_tag_or_platform() -> None:
    assert Layout("{tag}/{platform}/{name}").path(Place("r1"), "running") == "untagged/unknown/r1"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("core-sw1.example.net", "core-sw1.example.net"),
        ("2001:db8::1", "2001:db8::1"),
        ("Zürich (alt)", "Zürich (alt)"),
        ("a/b", "a%2Fb"),
        ("..", "%2E."),
        (".git", "%2Egit"),
        (".GIT", "%2EGIT"),
        (".g\u200cit", "%2Eg%E2%80%8Cit"),
        ("git~1", "git%7E1"),
        ("-rf", "%2Drf"),
        ("100%", "100%25"),
        ("a\\b", "a%5Cb"),
        ("tab\there", "tab%09here"),
        ("caf\udce9", "caf%E9"),
        ("", ""),
    ],
)
def test_what_could_do_harm_is_written_out(name: str, written: str) -> None:
    assert escaped(name) == written
    assert unescaped(written) == name


@given(NAMES)
def test_a_name_is_one_harmless_part(name: str) -> None:
    part = escaped(name)
    assert part
    assert len(part.encode()) <= LONGEST
    assert "/" not in part
    assert "\\" not in part
    assert not part.startswith((".", "-", " "))
    assert part.isprintable()
    assert not part.casefold().startswith("git~")


@given(NAMES)
def test_it_is_read_back(name: str) -> None:
    assert unescaped(escaped(name)) in (name, None)
    if len(name.encode("utf-8", "surrogateescape")) * 3 <= LONGEST:
        assert unescaped(escaped(name)) == name


@given(NAMES, NAMES)
def test_two_names_are_two_parts(one: str, other: str) -> None:
    assert (escaped(one) == escaped(other)) == (one == other)


def test_long_names_that_begin_alike_are_told_apart() -> None:
    parts = {escaped("x" * 250 + str(number)) for number in range(50)} | {
        escaped("/" * 100),
        escaped("/" * 101),
    }
    assert len(parts) == 52
    assert all(len(part.encode()) <= LONGEST and unescaped(part) is None for part in parts)


@given(
    st.sampled_from(
        ["{name}", "{tag}/{name}", "{platform}/{tag}/{name}.{kind}", "{kind}/x-{name}", "{name}/{kind}"]
    ),
    st.lists(
        st.tuples(NAMES, NAMES, st.sampled_from(["running", "version", "run"])), max_size=8, unique=True
    ),
)
def test_no_file_is_shared_and_none_is_the_folder_of_another(
    layout: str, devices: list[tuple[str, str, str]]
) -> None:
    tags: dict[str, str] = {}  # a device has one first tag
    wanted = {(name, kind if "{kind}" in layout else "running") for name, _, kind in devices}
    for name, tag, _ in devices:
        tags.setdefault(name, tag)
    paths = [Layout(layout).path(Place(name, tags[name], "p"), kind) for name, kind in sorted(wanted)]
    assert len(set(paths)) == len(paths)
    folders = {path.rsplit("/", depth)[0] for path in paths for depth in range(1, path.count("/") + 1)}
    assert not folders & set(paths)


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ("{host}/{name}", "there is no {host}"),
        ("{tag}", "{name} must be in it"),
        ("", "{name} must be in it"),
        ("{name}/{name}", "{name} must be in it, once"),
        ("/{name}", "begin or end with /"),
        ("{tag}//{name}", "begin or end with /"),
        ("{name}/", "begin or end with /"),
        ("../{name}", "may begin with '.'"),
        (".git/{name}", "may begin with '.'"),
        ("{name}.", "may end with '.'"),
        ("{tag}-{name}", "one thing can be filled in"),
        ("{kind}.{name}", "one thing can be filled in"),
        ("a{b/{name}", "stand around"),
        ("a\x1bb/{name}", "must not be in it"),
        ("a%/{name}", "must not be in it"),
        ("x" * 25 + "/{name}", "at most 24 bytes"),
    ],
)
def test_a_layout_that_does_not_serve(layout: str, said: str) -> None:
    assert said in (Layout(layout).problem() or "")


def test_several_kinds_need_files_of_their_own() -> None:
    problem = Layout("{tag}/{name}").problem(("running", "version"))
    assert problem is not None
    assert "{tag}/{name}.{kind}" in problem
    assert Layout("{tag}/{name}.{kind}").problem(("running", "version")) is None


@given(st.text(string.printable, max_size=30))
def test_any_layout_is_judged(text: str) -> None:
    layout = Layout(text)
    if layout.problem() is None:
        path = layout.path(Place("../x", "../y", "../z"), "running")
        assert not path.startswith("/")
        assert all(part and part not in {".", ".."} for part in path.split("/"))


def test_names_that_some_file_systems_mix_up() -> None:
    assert list(look_alikes(["a/R1", "a/r1", "b/r1", "caf\u00e9", "cafe\u0301"])) == [
        ("a/R1", "a/r1"),
        ("caf\u00e9", "cafe\u0301"),
    ]
