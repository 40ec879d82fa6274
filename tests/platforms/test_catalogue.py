"""Every dialect that ships can be used."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from scrapli.driver import AsyncGenericDriver

from netraven import platforms
from netraven.errors import InputError
from netraven.lab import DIALECTS
from netraven.platforms import known_platforms, load_platform
from netraven.transport.channel import ShellChannel
from netraven.transport.drivers import open_driver

DATA = Path(platforms.__file__).parent / "data"


def test_there_are_some_and_they_are_sorted() -> None:
    names = known_platforms()
    assert {"cisco_iosxe", "cisco_nxos", "cisco_iosxr", "arista_eos", "juniper_junos"} <= set(names)
    assert list(names) == sorted(names)
    assert set(DIALECTS) <= set(names), "whatever the lab speaks can be collected"


@pytest.mark.parametrize("name", known_platforms())
def test_a_data_file_says_what_is_known_and_nothing_else(name: str) -> None:
    data = tomllib.loads((DATA / f"{name}.toml").read_text(encoding="utf-8"))
    assert set(data) <= {"driver", "config", "errors"}
    platform = load_platform(name)
    assert platform.name == name
    assert platform.config
    assert platform.config == platform.config.strip()
    assert "\n" not in platform.config
    assert all(error.strip() for error in platform.errors)


@pytest.mark.parametrize("name", known_platforms())
def test_its_driver_exists_and_its_prompts_compile(name: str) -> None:
    made = open_driver(ShellChannel(), load_platform(name), enable="enable secret")
    assert isinstance(made, AsyncGenericDriver)
    for level in getattr(made, "privilege_levels", {}).values():
        re.compile(level.pattern)
    assert made.comms_prompt_pattern


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cisco_isoxe", "did you mean 'cisco_iosxe'"),
        ("arista", "did you mean 'arista_eos'"),
        ("zzzz", "Known are: arista_eos, "),
        ("", "Known are: "),
        ("../data/cisco_iosxe", "unknown platform"),
        ("CISCO_IOSXE", "unknown platform"),
    ],
)
def test_an_unknown_name_suggests_the_closest(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_platform(name)
