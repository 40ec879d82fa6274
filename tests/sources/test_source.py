"""What is a source, and what is not."""

from __future__ import annotations

import pytest

from netraven.credentials.source import (
    Command,
    EnvironmentVariable,
    Place,
    SecretFile,
    VaultField,
    parse_source,
)
from netraven.errors import InputError


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("env:NETOPS_PASSWORD", EnvironmentVariable("NETOPS_PASSWORD")),
        ("file:tacacs", SecretFile("tacacs")),
        ("file:/run/secrets/a b", SecretFile("/run/secrets/a b")),
        ("command:pass show 'network/the one'", Command(("pass", "show", "network/the one"))),
        ("command:op read op://vault/item/password", Command(("op", "read", "op://vault/item/password"))),
        ("vault:network/tacacs", VaultField("network/tacacs", "password")),
        ("vault:/network/tacacs/#key", VaultField("network/tacacs", "key")),
    ],
)
def test_a_source_is_understood(source: str, place: Place) -> None:
    assert parse_source(source) == place


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "is no source of a secret. There are: env:NAME"),
        ("NETOPS_PASSWORD", "is no source of a secret"),
        ("valt:network/tacacs", "did you mean vault:?"),
        ("https://vault/secret", "is no source"),
        ("env:", "name of an environment variable"),
        ("env:$HOME", "name of an environment variable"),
        ("env:2X", "name of an environment variable"),
        ("file:", "path of a file"),
        ("file:folder/", "path of a file"),
        ("command:", "takes a program"),
        ("command:''", "takes a program"),
        ("command:pass 'show", "no closing quotation"),
        ("command:pass\nshow", "one line"),
        ("file:\x1b[2J", "cannot be seen"),
        ("file:" + "x" * 5000, "at most 4096 characters"),
        ("vault:", "without the engine's mount"),
        ("vault:a/../b", "without the engine's mount"),
        ("vault:a//b", "without the engine's mount"),
        ("vault:a?version=1", "without the engine's mount"),
        ("vault:a#", "one field"),
        ("vault:a#b#c", "one field"),
    ],
)
def test_what_is_no_source_is_refused(source: str, said: str) -> None:
    with pytest.raises(InputError, match=said.replace("?", r"\?").replace("$", r"\$")) as refused:
        parse_source(source)
    assert "\x1b" not in str(refused.value)
