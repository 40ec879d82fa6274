"""Which part of a configuration a line belongs to, in each layout there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.history import sections as module
from netraven.history.sections import DEEPEST, lines_of, sections, sections_of
from netraven.lab.configurations import configuration

WORDS = st.sampled_from(
    ["interface A", " ip", "  x", "\tquit", "!", " !", "#", "", "a {", "}", "    }", "banner motd ^C", "^C", "EOF",
     "config x", "edit 1", "next", "end", '  set a "b', 'c"', "-----BEGIN X-----", "-----END X-----", "/ip", "add a",
     "banner login", 'header shell "x', "banner motd #", "#", "\x03", "set a b"]
)  # fmt: skip


def under(text: str) -> dict[str, str]:
    """Each line, stripped, with its path."""
    return {
        line.strip(): " > ".join(path)
        for line, path in zip(lines_of(text), sections(text), strict=True)
        if line.strip()
    }


@given(st.lists(WORDS, max_size=40).map("\n".join))
def test_every_line_has_a_path_of_lines_above_it(text: str) -> None:
    lines = lines_of(text)
    found = sections(text)
    assert len(found) == len(lines)
    for number, path in enumerate(found):
        above = [line.strip() for line in lines[:number]]
        for heading in path:
            assert any(heading in line for line in above)


@given(st.lists(WORDS | st.sampled_from(["   y", "     z", "   !"]), max_size=40).map("\n".join), st.data())
def test_a_few_lines_stand_where_all_of_them_say(text: str, data: st.DataObject) -> None:
    found = sections(text)
    if found:
        numbers = data.draw(st.lists(st.integers(1, len(found)), max_size=module._FEW + 1))
        assert sections_of(text, numbers) == [found[number - 1] for number in numbers]


IOS = """\
hostname r1
!
vrf definition MGMT
 !
 address-family ipv4
 exit-address-family
!
banner login ^C
 Authorized
   access only.
router bgp 1
 neighbor of nobody
^C
crypto pki certificate chain CA
 certificate ca 01
  30820321 30820209
  \tquit
router bgp 64512
 bgp router-id 192.0.2.1
 address-family ipv4 vrf X
  network 192.0.2.0

  maximum-paths 4
 exit-address-family x
end
"""


def test_ios() -> None:
    found = under(IOS)
    assert found["hostname r1"] == ""
    assert found["address-family ipv4"] == "vrf definition MGMT"
    assert found["exit-address-family"] == "vrf definition MGMT"
    assert found["access only."] == "banner login ^C"
    assert found["neighbor of nobody"] == "banner login ^C"
    assert found["30820321 30820209"] == "crypto pki certificate chain CA > certificate ca 01"
    assert found["network 192.0.2.0"] == "router bgp 64512 > address-family ipv4 vrf X"
    assert found["maximum-paths 4"] == "router bgp 64512 > address-family ipv4 vrf X"
    assert found["exit-address-family x"] == "router bgp 64512"
    assert found["end"] == ""


@pytest.mark.parametrize(
    ("banner", "name"),
    [
        ("banner login ^CHello\n inside\n^C", "banner login ^CHello"),
        ("banner exec \x03\n inside\nbye\x03", "banner exec \x03"),
        ("banner motd # hi\n inside\n#", "banner motd # hi"),
        ("banner login\n inside\nEOF", "banner login"),
        ('header shell information "\n inside\n"', 'header shell information "'),
        ('banner motd "hi\n inside\n"', 'banner motd "hi'),
    ],
)
def test_banners_of_many_kinds(banner: str, name: str) -> None:
    found = under(f"hostname r1\n{banner}\ninterface A\n mtu 9\n")
    assert found["inside"] == name
    assert found["interface A"] == ""
    assert found["mtu 9"] == "interface A"


@pytest.mark.parametrize(
    "line",
    [
        "banner login Welcome to A",
        "banner motd # all in one #",
        "banner motd ^C one ^C",
        "no banner motd",
        'set x "',
        "header x",
        "description -----BEGIN X-----",
        "alias exec c ^C",
    ],
)
def test_what_is_no_banner_swallows_nothing(line: str) -> None:
    found = under(f"{line}\ninterface A\n mtu 9\n")
    assert found["interface A"] == ""
    assert found["mtu 9"] == "interface A"


def test_a_banner_that_does_not_end_soon_is_none() -> None:
    text = "banner motd *\n" + "interface A\n mtu 9\n" * module.LONGEST_BANNER + "*\n"
    assert under(text)["mtu 9"] == "interface A"


def test_junos() -> None:
    found = under(
        "version 21.4;\nsystem {\n    host-name r1;\n    login {\n        user ops {\n            class a;\n"
        "        }\n    }\n}\nprotocols {\n    bgp {\n"
        "        inactive: group x {\n            type external;\n        }\n    }\n}\n"
    )
    assert found["host-name r1;"] == "system"
    assert found["class a;"] == "system > login > user ops"
    assert found["type external;"] == "protocols > bgp > inactive: group x"


def test_braces_without_indentation() -> None:
    found = under("a {\nb {\nx;\n}\n} else {\ny;\n}\nz;\n")
    assert (found["x;"], found["y;"], found["z;"]) == ("a > b", "else", "")


FORTIOS = """\
#config-version=FGT60F-7.2.5
config system global
    set hostname "fw"
end
config vpn certificate local
    edit "x"
        set private-key "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIIF
end
-----END ENCRYPTED PRIVATE KEY-----"
        set range global
    next
end
config system replacemsg
    edit "http"
        set buffer "<html>
config not this
 said \\"so\\"
</html>"
        set header http
    next
end
config router bgp
set as 65001
config neighbor
edit "192.0.2.1"
set remote-as 65002
next
end
set router-id 192.0.2.9
end
"""


def test_fortios() -> None:
    found = under(FORTIOS)
    assert found['set hostname "fw"'] == "config system global"
    assert found["MIIF"].startswith('config vpn certificate local > edit "x" > set private-key')
    assert found["set range global"] == 'config vpn certificate local > edit "x"'
    assert found["config not this"].startswith('config system replacemsg > edit "http" > set buffer')
    assert found["set header http"] == 'config system replacemsg > edit "http"'
    assert found["set remote-as 65002"] == 'config router bgp > config neighbor > edit "192.0.2.1"'
    assert found["set router-id 192.0.2.9"] == "config router bgp"


def test_routeros() -> None:
    found = under(
        "# by RouterOS 7\n/interface bridge\nadd name=b\n/ip address\nadd address=192.0.2.1/24 \\\n    interface=b\n"
    )
    assert found["add name=b"] == "/interface bridge"
    assert found["interface=b"] == "/ip address"


@pytest.mark.parametrize(
    "line", ["set system host-name r1", "config wlan create 1 x", "/configure router interface x"]
)
def test_flat_dialects_have_no_sections(line: str) -> None:
    assert set(sections(f"{line}\n{line} 2\n{line} 3\n")) == {()}


def test_tabs_are_eight_columns() -> None:
    found = under("a\n\tb\n        c\n\t    d\n")
    assert (found["b"], found["c"], found["d"]) == ("a", "a", "a > c")


def test_nests_without_end_are_cut() -> None:
    for text in (
        "".join(f"{' ' * n}x{n}\n" for n in range(200)),
        "x {\n" * 200 + "}\n" * 200,
        "config x\n" * 200 + "end\n" * 200,
    ):
        assert max(map(len, sections(text))) == DEEPEST


@pytest.mark.parametrize(
    "dialect", ["cisco_iosxe", "cisco_nxos", "cisco_iosxr", "arista_eos", "juniper_junos"]
)
def test_what_looks_like_the_real_thing(dialect: str) -> None:
    text = configuration(dialect, "r1")
    found = sections(text)
    paths = {" > ".join(path) for path in found}
    assert sum(path == () for path in found) < len(found) / 2
    assert any("10" in path or "ge" in path.lower() or "ethernet" in path.lower() for path in paths)


class Counted(str):
    """A text that counts the characters that searches run over."""

    __slots__ = ()
    over = 0

    def find(self, sub: str, start: int = 0, end: int | None = None) -> int:  # type: ignore[override]  # as it is called
        place = super().find(sub, start)
        Counted.over += (place if place >= 0 else len(self)) - start
        return place


@pytest.mark.parametrize("line", ["banner motd #\n", "banner login\n", "x ^C\n", "-----BEGIN X-----\n"])
def test_beginnings_without_an_end_are_read_once(line: str) -> None:
    text = Counted(line * 2_000)
    Counted.over = 0
    module._spans(text, strings=False)
    assert Counted.over < 40 * len(text)
