"""Every dialect that ships can be used, and the user's folder lies on top."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from scrapli.driver import AsyncGenericDriver

from netraven import platforms
from netraven.errors import InputError
from netraven.lab import DIALECTS
from netraven.model import AUTO
from netraven.platforms import Catalogue, Platform, known_platforms, load_platform
from netraven.platforms.drivers import known_drivers
from netraven.platforms.schema import TESTED
from netraven.transport.channel import ShellChannel
from netraven.transport.drivers import open_driver

DATA = Path(platforms.__file__).parent / "data"
WITH_DRIVER = [name for name in known_platforms() if load_platform(name).driver]


def test_there_are_some_and_they_are_sorted() -> None:
    names = known_platforms()
    assert {"cisco_iosxe", "cisco_nxos", "cisco_iosxr", "arista_eos", "juniper_junos", "jump_host"} <= set(
        names
    )
    assert list(names) == sorted(names)
    assert set(DIALECTS) <= set(names), "whatever the lab speaks can be collected"


@pytest.mark.parametrize("name", known_platforms())
def test_a_shipped_file_is_without_faults(name: str) -> None:
    platform = load_platform(name)
    assert platform.name == name
    assert platform.title
    assert platform.origin == "shipped"
    assert platform.tested in TESTED
    assert platform.collects == (name != "jump_host")


@pytest.mark.parametrize("name", WITH_DRIVER)
def test_its_driver_exists_and_its_prompts_compile(name: str) -> None:
    made = open_driver(ShellChannel(), load_platform(name), enable="enable secret")
    assert isinstance(made, AsyncGenericDriver)
    for level in getattr(made, "privilege_levels", {}).values():
        re.compile(level.pattern)
    assert made.comms_prompt_pattern


def test_drivers_are_known_without_importing_them() -> None:
    assert {"cisco_iosxe", "cisco_asa", "huawei_vrp", "cumulus_vtysh"} <= set(known_drivers())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cisco_isoxe", "did you mean 'cisco_iosxe'"),
        ("arista", "did you mean 'arista_eos'"),
        ("zzzz", "known are: .*arista_eos, "),
        ("", "known are: "),
        ("../data/cisco_iosxe", "unknown platform"),
        ("CISCO_IOSXE", "unknown platform"),
        (AUTO, "is found out at a device"),
    ],
)
def test_an_unknown_name_suggests_the_closest(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_platform(name)


# ---- the user's folder ----

BOX = """\
title = "Box OS"
prompt = '\\[\\w+\\]>>'
pager = '-- next --'
errors = ["?? bad"]
[outputs]
running = "dump all"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def loaded(folder: Path, name: str, text: str, suffix: str = ".toml") -> Platform:
    (folder / f"{name}{suffix}").write_text(text, encoding="utf-8")
    return Catalogue(folder).load(name)


def test_a_dialect_of_ones_own_is_six_lines(folder: Path) -> None:
    platform = loaded(folder, "box", BOX)
    assert platform.config == "dump all"
    assert platform.prompt == r"\[\w+\]>>"
    assert platform.pager is not None
    assert platform.pager.search("\n-- next --")
    assert platform.origin == str(folder / "box.toml")
    assert "box" in Catalogue(folder)
    assert "box" not in Catalogue()


def test_auto_is_a_name_and_a_folder_that_is_not_there_is_empty(folder: Path) -> None:
    catalogue = Catalogue(folder / "none")
    assert AUTO in catalogue
    assert AUTO not in catalogue.names()
    assert catalogue.names() == known_platforms()


def test_a_file_of_a_shipped_name_replaces_it(folder: Path) -> None:
    assert loaded(folder, "cisco_iosxe", BOX).driver is None


def test_a_file_that_extends_its_own_name_overrides_the_shipped_one(folder: Path) -> None:
    ours = load_platform("cisco_iosxe")
    changed = loaded(folder, "cisco_iosxe", 'extends = "cisco_iosxe"\n[outputs]\nclock = "show clock"\n')
    assert changed.title == ours.title
    assert changed.driver == "cisco_iosxe"
    assert {**ours.outputs, "clock": changed.outputs["clock"]} == changed.outputs
    assert changed.errors == ours.errors


def test_tables_are_merged_and_lists_replaced(folder: Path) -> None:
    base = BOX + 'version = "ver"\n[timeouts]\ncommand = 5\n[telnet]\nlogin = "user"\npassword = "word"\n'
    loaded(folder, "box", base)
    over = loaded(
        folder,
        "box2",
        'extends = "box"\nerrors = ["no"]\n[outputs]\nversion = "v"\n[telnet]\npassword = "key"\n',
    )
    assert over.errors == ("no",)
    assert [output.command for output in over.outputs.values()] == ["dump all", "v"]
    assert (over.command_timeout, over.telnet_login, over.telnet_password) == (5.0, "user", "key")


def test_one_extends_the_users_own_before_the_shipped_one(folder: Path) -> None:
    loaded(folder, "cisco_iosxe", BOX)
    assert loaded(folder, "mine", 'extends = "cisco_iosxe"\n').config == "dump all"


def test_yaml_says_the_same_as_toml(folder: Path) -> None:
    toml = loaded(
        folder,
        "a",
        """\
title = "Box"
level = "top"
volatile = ['^! at .*$']
secrets = ['^key (?P<secret>\\S+)']
return_char = "\\r\\n"
[outputs]
running = "dump"
version = { command = "ver", level = "low" }
[facts]
serial = { kind = "version", pattern = 'SN (\\S+)' }
[[levels]]
name = "low"
prompt = '^\\w+>$'
[[levels]]
name = "top"
prompt = '^\\w+#$'
above = "low"
enter = "enable"
asks = 'Password:'
[[detect]]
prompt = '>>$'
rank = 5
[telnet]
login = 'who\\?'
""",
    )
    yaml = loaded(
        folder,
        "b",
        """\
title: Box
level: top
volatile: ['^! at .*$']
secrets:
  - '^key (?P<secret>\\S+)'
return_char: "\\r\\n"
outputs:
  running: dump
  version: {command: ver, level: low}
facts:
  serial: {kind: version, pattern: 'SN (\\S+)'}
levels:
  - {name: low, prompt: '^\\w+>$'}
  - name: top
    prompt: '^\\w+#$'
    above: low
    enter: enable
    asks: 'Password:'
detect:
  - prompt: '>>$'
    rank: 5
telnet:
  login: 'who\\?'
""",
        ".yaml",
    )
    from dataclasses import replace

    assert replace(yaml, name="a", origin="") == replace(toml, origin="")


def test_a_broken_file_takes_no_other_platform_away(folder: Path) -> None:
    (folder / "broken.toml").write_text("titel = 5\n")
    (folder / "on_top.toml").write_text('extends = "broken"\n')
    loaded(folder, "box", BOX)
    catalogue = Catalogue(folder)
    assert set(catalogue.broken()) == {"broken", "on_top"}
    assert "broken" in catalogue
    assert catalogue.load("box").title == "Box OS"
    assert catalogue.load("cisco_iosxe")
    for name in ("broken", "on_top"):
        with pytest.raises(InputError, match=r"broken\.toml:1: titel is not known; did you mean 'title'"):
            catalogue.load(name)


def test_with_platform_puts_one_in_its_place(folder: Path) -> None:
    changed = loaded(folder, "box", BOX)
    catalogue = Catalogue().with_platform(changed)
    assert catalogue.load("box") is changed
    assert catalogue.load("cisco_iosxe") == load_platform("cisco_iosxe")
    assert "box" not in Catalogue()
