"""Whatever a file holds: a platform, or `InputError` with lines of the file, soon."""

from __future__ import annotations

import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netraven.errors import InputError
from netraven.platforms import Catalogue
from netraven.platforms.reading import PlatformRefused
from netraven.platforms.schema import DETECTION, FACT, LEVEL, OUTPUT, PLATFORM, TELNET, TIMEOUTS

WORDS = sorted(
    {*PLATFORM, *OUTPUT, *FACT, *LEVEL, *DETECTION, *TELNET, *TIMEOUTS, "running", "version", "box"}
)
TEXTS = st.one_of(
    st.sampled_from([*WORDS, "cisco_iosxe", ">>", "(a+)+", "(", "(?P<secret>x)", ""]), st.text(max_size=8)
)
VALUES: Any = st.recursive(
    st.one_of(TEXTS, st.integers(), st.floats(), st.booleans(), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(WORDS), TEXTS), inner, max_size=3),
    ),
    max_leaves=8,
)
TABLES = st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=6)
SEED = b"""title = "Box"
prompt = '\\[\\w+\\]>>'
errors = ["?? bad",
  "x"] # more
[outputs]
running = "dump all"
version = { command = "ver" }
[[detect]]
prompt = '''>>'''
"""
SEED_YAML = (
    b"title: Box\nprompt: '>>'\nerrors: [a, \"b\"]\noutputs:\n  running: dump\n  version: {command: v}\n"
)
QUICK = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def load(data: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"box{suffix}"
        file.write_bytes(data)
        began = time.process_time()
        try:
            assert Catalogue(Path(folder)).load("box").name == "box"
        except PlatformRefused as refused:
            most = (
                data.count(b"\n") + data.count(b"\r") + 2 + data.count(b"\xc2\x85") + data.count(b"\xe2\x80")
            )
            for line in str(refused).split("\n"):
                where = re.match(r"(.+):(\d+): .+; .", line)
                assert where, line
                assert 1 <= int(where[2]) <= most
        except InputError as error:
            raise AssertionError("a fault without its place") from error
        assert time.process_time() - began < 2


def toml(value: Any) -> str:
    """A value as TOML writes it; what it has no word for is left as nonsense."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",\n".join(map(toml, value)) + "]"
    return json.dumps(value)


@QUICK
@given(table=TABLES)
def test_any_table_in_toml(table: dict[str, Any]) -> None:
    text = "".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in table.items())
    load(text.encode("utf-8", "surrogatepass"), ".toml")


@QUICK
@given(table=TABLES, flow=st.sampled_from([True, False, None]))
def test_any_table_in_yaml(table: dict[str, Any], flow: bool | None) -> None:
    load(
        yaml.safe_dump(table, default_flow_style=flow, allow_unicode=True).encode("utf-8", "replace"), ".yaml"
    )


@QUICK
@given(data=st.binary(max_size=200), suffix=st.sampled_from([".toml", ".yaml"]))
def test_any_bytes(data: bytes, suffix: str) -> None:
    load(data, suffix)


@QUICK
@given(
    at=st.integers(0, len(SEED)),
    cut=st.integers(0, 20),
    put=st.one_of(
        st.binary(max_size=6),
        st.sampled_from([b'"""', b"'''", b"[[", b"]]", b"{", b"&a ", b"*a", b"? ", b"\r"]),
    ),
    suffix=st.sampled_from([".toml", ".yaml"]),
)
def test_a_good_file_with_a_hole(at: int, cut: int, put: bytes, suffix: str) -> None:
    seed = SEED if suffix == ".toml" else SEED_YAML
    load(seed[:at] + put + seed[at + cut :], suffix)
