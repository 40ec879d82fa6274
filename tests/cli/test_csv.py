"""The inventory's CSV: what is taken, and what is said of a file that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from netraven.errors import InputError
from netraven.inventory.csv import decode, parse_devices
from netraven.model import Device
from tests.cli.conftest import Command

HEADER = "name,host,port,platform,tags\n"


def test_a_device_with_everything() -> None:
    (found,) = parse_devices(HEADER + "r1,192.0.2.1,2222,cisco_iosxe,edge; ams \n")
    assert found == Device("r1", "192.0.2.1", "cisco_iosxe", 2222, frozenset({"edge", "ams"}))


def test_columns_in_any_order_with_a_mark_crlf_blank_lines_and_quotes() -> None:
    data = '\ufeffTags,Platform, name,host\r\n\r\n"a;b",arista_eos,"r,1",2001:db8::1\r\n,,,\r\n'.encode()
    (found,) = parse_devices(decode(data))
    assert found == Device("r,1", "2001:db8::1", "arista_eos", 22, frozenset({"a", "b"}))


BAD: list[tuple[str, bytes, list[str]]] = [
    ("empty", b"", ["empty", "name,host,port,platform,tags"]),
    ("blank", b"\n \n", ["empty"]),
    ("header only", HEADER.encode(), ["no devices"]),
    (
        "unknown column",
        b"name,host,port,platfrom,tags\nr1,h,22,cisco_iosxe,a\n",
        ["'platfrom'", "did you mean 'platform'?"],
    ),
    ("missing column", b"name,host\nr1,h\n", ["'platform' is missing", "'tags' is missing"]),
    ("column twice", b"name,host,name,platform,tags\n", ["'name' comes 2 times"]),
    ("semicolons", b"name;host;port;platform;tags\n", ["separated by commas"]),
    ("bad port", HEADER.encode() + b"r1,h,ssh,cisco_iosxe,a\n", ["line 2", "'ssh'", "1 to 65535"]),
    ("large port", HEADER.encode() + b"r1,h,65536,cisco_iosxe,a\n", ["line 2", "1 to 65535"]),
    ("no name", HEADER.encode() + b",h,22,cisco_iosxe,a\n", ["line 2: name must not be empty"]),
    ("no host", HEADER.encode() + b"r1,,22,cisco_iosxe,a\n", ["line 2: host must not be empty"]),
    ("host and port", HEADER.encode() + b"r1,h:22,,cisco_iosxe,a\n", ["line 2: host", "port"]),
    (
        "duplicate",
        HEADER.encode() + b"r1,h,,cisco_iosxe,a\nr1,i,,cisco_iosxe,a\n",
        ["line 3", "'r1'", "line 2"],
    ),
    (
        "bad platform",
        HEADER.encode() + b"r1,h,,ciscoiosxe,a\n",
        ["line 2", "'ciscoiosxe'", "did you mean 'cisco_iosxe'?"],
    ),
    ("no platform", HEADER.encode() + b"r1,h,,,a\n", ["line 2", "known are"]),
    ("control character", HEADER.encode() + b"r\x1b1,h,,cisco_iosxe,a\n", ["line 2", "control characters"]),
    ("bad tag", HEADER.encode() + b'r1,h,,cisco_iosxe,"a,b"\n', ["line 2", "tag 'a,b'"]),
    ("long name", HEADER.encode() + b"r" * 300 + b",h,,cisco_iosxe,a\n", ["line 2", "255"]),
    ("too few fields", HEADER.encode() + b"r1,h\n", ["line 2: has 2 fields, the header has 5"]),
    ("open quote", HEADER.encode() + b'"r1,h,,cisco_iosxe,a\n', ["line 2", "not valid CSV"]),
    ("not UTF-8", HEADER.encode() + b"r\xe9,h,,cisco_iosxe,a\n", ["line 2", "not UTF-8", "0xe9"]),
    ("UTF-16", HEADER.encode("utf-16"), ["UTF-16"]),
    ("binary", b"\x7fELF\0\0\0", ["not a text file"]),
]


@pytest.mark.parametrize(("data", "said"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_file_is_explained(data: bytes, said: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        parse_devices(decode(data))
    for words in said:
        assert words in str(caught.value)


def test_all_bad_lines_are_named_up_to_twenty() -> None:
    with pytest.raises(InputError) as caught:
        parse_devices(HEADER + "".join(f"r{n},h,x,cisco_iosxe,a\n" for n in range(35)))
    said = str(caught.value)
    assert said.count("port 'x'") == 20
    assert "line 21:" in said
    assert "and 15 more" in said


def test_lines_are_counted_as_an_editor_counts_them() -> None:
    with pytest.raises(InputError, match="line 5: port"):
        parse_devices(HEADER + '"r\n1",h,,cisco_iosxe,a\n\nr2,h,x,cisco_iosxe,a\n')


@pytest.mark.parametrize(("data", "said"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_file_changes_nothing(data: bytes, said: list[str], home: Path, nr: Command) -> None:
    (home / "bad.csv").write_bytes(data)
    answer = nr("device", "import", "bad.csv")
    assert answer.code == 2
    assert answer.err.startswith("error: bad.csv: ")
    assert "Nothing was changed" in answer.err
    assert "\x1b" not in answer.err
    for words in said:
        assert words in answer.err
    assert nr("device", "list", "--json").json == []


def test_import_upserts_and_a_dry_run_does_not(home: Path, nr: Command) -> None:
    (home / "d.csv").write_text(HEADER + "r1,h1,,cisco_iosxe,a\nr2,h2,,cisco_iosxe,a\n")
    assert "would add 2, would change 0, unchanged 0" in nr("device", "import", "d.csv", "--dry-run").out
    assert nr("device", "list", "--json").json == []
    assert "added 2, changed 0, unchanged 0" in nr("device", "import", "d.csv").out
    (home / "d.csv").write_text(
        HEADER + "r1,h1,,cisco_iosxe,a\nr2,h9,23,cisco_nxos,b;c\nr3,h,,cisco_iosxe,\n"
    )
    assert "would add 1, would change 1, unchanged 1" in nr("device", "import", "d.csv", "--dry-run").out
    assert "added 1, changed 1, unchanged 1" in nr("device", "import", "d.csv").out
    assert nr("device", "list", "--json").json == [
        {
            "name": "r1",
            "host": "h1",
            "port": 22,
            "platform": "cisco_iosxe",
            "tags": ["a"],
            "host_keys_off": False,
        },
        {
            "name": "r2",
            "host": "h9",
            "port": 23,
            "platform": "cisco_nxos",
            "tags": ["b", "c"],
            "host_keys_off": False,
        },
        {
            "name": "r3",
            "host": "h",
            "port": 22,
            "platform": "cisco_iosxe",
            "tags": [],
            "host_keys_off": False,
        },
    ]


def test_devices_are_shown_and_removed(home: Path, nr: Command) -> None:
    rows = "".join(f"r{n:03},h,,cisco_iosxe,{'odd' if n % 2 else 'even'}\n" for n in range(120))
    (home / "d.csv").write_text(HEADER + rows)
    nr("device", "import", "d.csv")
    shown = nr("device", "list")
    assert "The first 50 of 120 devices" in shown.out
    assert len(nr("device", "list", "--json").json) == 120
    assert len(nr("device", "list", "--json", "--limit", 7).json) == 7
    assert len(nr("device", "list", "--json", "--tag", "odd").json) == 60
    assert nr("device", "list", "--tag", "ood").code == 2
    assert nr("device", "remove", "r000", "nobody").code == 2
    assert nr("device", "show", "r000", "--json").json["tags"] == ["even"]
    assert nr("device", "remove", "r000", "r001").code == 0
    gone = nr("device", "show", "r000")
    assert (gone.code, gone.out) == (2, "")
    assert "no such device: 'r000'" in gone.err


@pytest.mark.parametrize("file", ["missing.csv", "."])
def test_a_file_that_cannot_be_read(file: str, home: Path, nr: Command) -> None:
    said = nr("device", "import", file)
    assert said.code == 2
    assert "cannot be read" in said.err


def test_without_devices_there_is_no_table(home: Path, nr: Command) -> None:
    assert nr("device", "list").out == "no devices\n"


def test_no_line_of_a_refused_file_ends_in_a_space(home: Path, nr: Command) -> None:
    (home / "bad.csv").write_text("name,host,port,platform,tags\n,h,,cisco_iosxe,a\nr2,h,x,cisco_iosxe,a\n")
    said = nr("device", "import", "bad.csv")
    assert said.err.startswith("error: bad.csv:\n  line 2: ")
    assert not any(line.endswith(" ") for line in said.err.splitlines())
