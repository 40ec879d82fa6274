"""Every fault of a platform file is told with its line and with what is expected; all of a file at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from netraven.errors import InputError
from netraven.platforms import Catalogue
from netraven.platforms.reading import PlatformRefused

GOOD = 'title = "Box"\nprompt = ">>"\n[outputs]\nrunning = "dump"\n'


def faults(folder: Path, content: str | bytes, suffix: str = ".toml", name: str = "box") -> list[str]:
    """Faults as ``LINE: wrong; expected``."""
    file = folder / f"{name}{suffix}"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PlatformRefused) as caught:
        Catalogue(folder).load(name)
    lines = str(caught.value).split("\n")
    assert all(line.startswith(f"{file}:") for line in lines)
    return [line.removeprefix(f"{file}:") for line in lines]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "[timeout]\n", "5: timeout is not known; did you mean 'timeouts'?"),
        ("pagr = 'x'\n" + GOOD, "1: pagr is not known; did you mean 'pager'?"),
        ("pager = 5\n" + GOOD, "1: pager is a number; text is expected"),
        ("errors = 'x'\n" + GOOD, "1: errors is text; a list is expected"),
        ("\n\nerrors = [\n'x',\n\n7,\n]\n" + GOOD, "6: errors[2] is a number; text is expected"),
        ("pager = '('\n" + GOOD, "1: pager is no regular expression: missing )"),
        (
            "pager = '(a+)+'\n" + GOOD,
            "1: pager repeats a repeat, as (a+)+ does: that takes time without bounds; write",
        ),
        ("pager = 'x*'\n" + GOOD, "1: pager matches the empty string, and so matches everywhere; "),
        ("volatile = [\n'^$']\n" + GOOD, "2: volatile[1] matches the empty string"),
        ("title = 'x'\nprompt = '(?:>)?'\n[outputs]\nrunning = 'x'\n", "2: prompt matches the empty string"),
        ("secrets = ['^key (\\S+)']\n" + GOOD, "1: secrets[1] has no group 'secret'; mark what is secret: "),
        (
            "title = 'x'\ndriver = 'cisco_iosx'\n[outputs]\nrunning = 'x'\n",
            "2: driver 'cisco_iosx' is not known; did you mean",
        ),
        (
            "driver = 'cisco_iosxe'\n" + GOOD,
            "3: prompt does not go together with driver; one of driver, prompt, ",
        ),
        (
            "title = 'x'\n[outputs]\nrunning = 'x'\n",
            "1: nothing says what a prompt looks like; a driver, a prompt or",
        ),
        (
            GOOD + "[facts]\nserial = { kind = 'versio', pattern = '(x)' }\n",
            "6: facts.serial.kind looks in 'versio', ",
        ),
        (
            GOOD + "[facts.serial]\nkind = 'running'\npattern = 'x'\n",
            "7: facts.serial.pattern has no group; put the value",
        ),
        (GOOD + "'Bad Kind' = 'x'\n", "5: outputs.Bad Kind is no name; a name of the form [a-z]"),
        (GOOD + 'other = "a\\nb"\n', "5: outputs.other holds the character '\\n'; one command on one line"),
        (GOOD + 'other = "a\\u0007b"\n', "5: outputs.other holds the character '\\x07'"),
        (GOOD + "other = ' a'\n", "5: outputs.other begins or ends with a blank; a command as it is typed"),
        (GOOD + "[timeouts]\ncommand = -1\n", "6: timeouts.command is -1; seconds from above 0"),
        (GOOD + "[timeouts]\ncommand = nan\n", "6: timeouts.command is nan; seconds from above 0"),
        (GOOD + "[timeouts]\ncommand = true\n", "6: timeouts.command is true or false; a number of seconds"),
        ("return_char = 'x'\n" + GOOD, "1: return_char is 'x'; one of "),
        ("tested = 'lab'\n" + GOOD, "1: tested is for the files that NetRaven ships; leave it out"),
        ("variant = 'x'\n" + GOOD, "1: variant 'x' is not known; the driver has no variants"),
        ("level = 'x'\n" + GOOD, "1: level 'x' is no level; without [[levels]] there is only one"),
        ("extends = 'cisco_iosx'\n" + GOOD, "1: extends 'cisco_iosx' is not known; did you mean 'cisco_ios"),
        ("prompt = '>'\n[outputs]\nrunning = 'x'\n", "1: title is missing; text is expected"),
        (
            "title = 'x'\nprompt = '>'\n[outputs]\nversion = 'x'\n",
            "3: outputs has no running; the command that",
        ),
        (GOOD + "[[detect]]\nrank = 5\n", "5: detect[1] says nothing; "),
        (
            GOOD + "[[detect]]\nprompt = 'x'\n[[detect]]\ncommand = 'x'\n",
            "7: detect[2] has one of command and answer; ",
        ),
        ("title = x\n", "1: not valid TOML: "),
        (GOOD + "running = 'again'\n", "5: not valid TOML: Cannot overwrite a value"),
        (b"title = 'x'\n# \xff\n", "2: byte 0xff is not UTF-8; save the file in UTF-8"),
        (b"#" * (1 << 20) + b"#", "1: the file has 1,048,577 bytes; a platform file has 1 MiB at the most"),
        ("x = " + "[" * 100_000, "1: "),
        ("a" + ".a" * 200_000 + " = 1\n", "1: a key of too many parts"),
        ("x = " + "9" * 10_000, "1: "),
    ],
)
def test_a_fault_in_toml(tmp_path: Path, text: str | bytes, said: str) -> None:
    assert any(line.startswith(said) for line in faults(tmp_path, text)), faults(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "title: no\nprompt: '>'\noutputs: {running: x}\n",
            "1: title is true or false; text is expected, put it in quotes",
        ),
        (
            "title: x\nprompt: '>'\noutputs:\n  running: on\n",
            "4: outputs.running is true or false; text is expected",
        ),
        ("title: x\nprompt: '>'\noutputs:\n  on: x\n", "4: the key 'on' is not text; put it in quotes"),
        ("title: 2026-01-02\n", "1: title is a date; text is expected"),
        ("title: 2026-13-45\n", "1: '2026-13-45' is no value of type"),
        ("title: x\n\ntitle: y\n", "3: title is already on line 1; each key comes once"),
        ("title: x\noutputs:\n  running: a\n  running: b\n", "4: running is already on line 3"),
        ("title: &a x\nprompt: *a\n", "2: the alias *a; write the value out"),
        ("a: &a [x,x]\nb: &b [*a,*a]\n", "2: the alias *a; "),
        ("title: x\n  bad: y\n", "2: not valid YAML: mapping values are not allowed here"),
        ("title: !!python/object/apply:os.system [ls]\n", "1: "),
        ("title: !!python/name:os.system x\n", "1: 'x' is no value of type"),
        ("- x\n", "1: the file is not a table"),
        ("title: x\n---\ntitle: y\n", "2: a second document; one file describes one platform"),
        ("title: \x07\n", "1: the character U+0007 is not allowed in YAML"),
        ("x: " + "[" * 5_000, "1: "),
        ("", "1: title is missing"),
        (
            "title: x\nprompt: '>'\noutputs:\n  running: {commnd: x}\n",
            "4: outputs.running.commnd is not known; did you mean 'command'?",
        ),
    ],
)
def test_a_fault_in_yaml(tmp_path: Path, text: str, said: str) -> None:
    assert any(line.startswith(said) for line in faults(tmp_path, text, ".yaml")), faults(
        tmp_path, text, ".yaml"
    )


LEVELS = """\
title = "x"
[outputs]
running = "x"
[[levels]]
name = "one"
prompt = '>'
"""


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "[[levels]]\nname = 'two'\nprompt = '#'\n",
            "7: levels[2] cannot be reached; above and enter are expected",
        ),
        ("enter = 'x'\nabove = 'one'\n", "4: levels[1] is where a login lands; the first level has neither"),
        (
            "[[levels]]\nname = 'two'\nprompt = '#'\nabove = 'on'\nenter = 'e'\n",
            "10: levels[2].above 'on' is no level; did you",
        ),
        (
            "[[levels]]\nname = 'one'\nprompt = '#'\nabove = 'one'\nenter = 'e'\n",
            "8: levels[2].name 'one' comes twice",
        ),
        (
            "[[levels]]\nname = 'two'\nprompt = '#'\nabove = 'three'\nenter = 'e'\n"
            "[[levels]]\nname = 'three'\nprompt = '!'\nabove = 'two'\nenter = 'e'\n",
            "10: levels[2].above leads in a circle; levels lead up to the first one",
        ),
        (
            "[[levels]]\nprompt = '#'\nabove = 'one'\nenter = 'e'\n",
            "7: levels[2] has no name; a name is expected",
        ),
    ],
)
def test_levels_have_to_connect(tmp_path: Path, more: str, said: str) -> None:
    found = faults(tmp_path, LEVELS + more)
    assert any(line.startswith(said) for line in found), found


def test_all_faults_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = faults(tmp_path, "titel = 'x'\npager = '('\n[outputs]\nrunning = 5\n[fact]\n")
    assert [line.split(":")[0] for line in found] == ["1", "1", "2", "4", "5"]


def test_faults_of_yaml_itself_come_with_the_others(tmp_path: Path) -> None:
    found = faults(
        tmp_path, "title: 2026-13-45\npager: '('\npager: x\noutputs:\n  on: x\n  running: 5\n", ".yaml"
    )
    assert [line.split(":")[0] for line in found] == ["1", "2", "3", "5", "6"]


def test_extending_each_other_is_told_as_a_circle(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('extends = "box"\n')
    found = str_of(tmp_path, 'title = "x"\nextends = "other"\n')
    assert "box.toml:2: extends 'other' cannot be used; mend that one first" in found
    assert "other.toml:1: extends leads in a circle: box -> other -> box" in found


def test_what_is_extended_is_named_with_its_own_faults(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("title = 5\n")
    assert "other.toml:1: title is a number" in str_of(tmp_path, 'extends = "other"\n')


def str_of(folder: Path, text: str) -> str:
    (folder / "box.toml").write_text(text)
    with pytest.raises(InputError) as caught:
        Catalogue(folder).load("box")
    return str(caught.value)


def test_two_files_of_one_name_are_a_fault(tmp_path: Path) -> None:
    (tmp_path / "box.yaml").write_text("title: x\n")
    assert "describes 'box' as well" in str_of(tmp_path, GOOD)


@pytest.mark.parametrize("name", ["Box", "1box", "my-box", "auto"])
def test_the_name_of_a_file_is_the_name_of_a_platform(tmp_path: Path, name: str) -> None:
    assert faults(tmp_path, GOOD, name=name)[0].startswith(f"1: {name!r} is ")


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "box.toml").mkdir()
    with pytest.raises(InputError, match=r"box\.toml:1: cannot be read"):
        Catalogue(tmp_path).load("box")


@pytest.mark.parametrize(
    "text", ["a: " * 300_000, "{" * 1_000_000, "? " * 400_000, "a.a\n" * 200_000, "- " * 500_000]
)
@pytest.mark.parametrize("suffix", [".toml", ".yaml"])
def test_no_file_takes_long(tmp_path: Path, text: str, suffix: str) -> None:
    began = time.process_time()
    assert faults(tmp_path, text, suffix)
    assert time.process_time() - began < 5
