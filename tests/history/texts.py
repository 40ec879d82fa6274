"""Texts of each dialect, as they are and mixed."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

from netraven.platforms import load_platform
from tests.platforms.recorded import recorded
from tests.platforms.secret_cases import secret_case

_ODD = (
    "",
    "!",
    "}",
    "-----BEGIN RSA PRIVATE KEY-----",
    "MIIEowIBAAKCAQEAinvented",
    "-----END RSA PRIVATE KEY-----",
    "password <redacted:0123456789ab>",
    ' secret "open',
    "key = ",
    "set password \\",
    "    community",
    "pre-shared-key address 192.0.2.1 key abc",
    "caf\u00e9 \u0130 password g\u00e9heim",
    "token bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
)
_WORDS = (
    "password",
    "secret",
    "key",
    "community",
    "psk",
    "7",
    "0",
    "=",
    '"',
    "'",
    ":",
    "x",
    "abc",
    "encrypted",
    "\\",
)


@cache
def lines_of(name: str) -> tuple[str, ...]:
    """Every line that we know of this dialect."""
    platform = load_platform(name)
    if not platform.collects:
        return _ODD
    said = recorded(name)
    answers = (said.answer_to(output.command) for output in platform.outputs.values())
    texts = [answer.output for answer in answers if answer is not None]
    return tuple(line for text in (*texts, secret_case(name).text) for line in text.split("\n"))


def mixed(name: str) -> st.SearchStrategy[str]:
    """Lines of the dialect and others, whole, cut and made up, in any order."""
    known = st.sampled_from((*lines_of(name), *_ODD))
    cut = st.builds(lambda line, at: line[: at % (len(line) + 1)], known, st.integers(0, 80))
    made = st.lists(st.sampled_from(_WORDS), max_size=6).map(" ".join)
    both = st.builds(lambda a, b: f"{a} {b}", cut, made)
    return st.lists(st.one_of(known, known, cut, made, both), max_size=15).map("\n".join)
