"""A device that means ill cannot make its texts take long: time grows in proportion to them."""

from __future__ import annotations

import re
from collections import deque

import pytest

from netraven.history import secret_places
from netraven.history.marks import Marker
from netraven.history.rules import Rules
from netraven.platforms import Platform, known_platforms, load_platform
from netraven.platforms.everywhere import secret_everywhere
from tests.history.repeats import outgrows, pieces

mark = Marker(b"k" * 32).mark
ANY = Rules.of(Platform("any"))
EVERYWHERE = secret_everywhere()
PATTERNS = {
    "everywhere": (*EVERYWHERE.secrets, *EVERYWHERE.words, *EVERYWHERE.harmless),
    **{
        name: (
            *platform.secrets,
            *platform.volatile,
            *platform.unordered,
            *(fact.pattern for fact in platform.facts),
        )
        for name in known_platforms()
        for platform in [load_platform(name)]
    },
}


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_no_pattern_that_ships_outgrows_its_text(name: str) -> None:
    def search(pattern: re.Pattern[str], text: str) -> None:
        deque(pattern.finditer(text), maxlen=0)

    slow = [
        (pattern.pattern, repeated)
        for pattern in PATTERNS[name]
        for piece in dict.fromkeys(pieces(pattern))
        for repeated in (piece, f"{piece} ", f"{piece}\n")
        if outgrows(lambda text, pattern=pattern: search(pattern, text), repeated, 8_000)  # type: ignore[misc]  # of a lambda with a default nothing is known
    ]
    assert slow == []


def test_one_that_does_is_noticed() -> None:
    pattern = re.compile(r"eyj[a-z0-9]{8,}\.[a-z]")
    assert any(outgrows(pattern.search, p, 8_000) for p in ("eyj", *pieces(pattern)))


@pytest.mark.parametrize(
    "piece",
    [
        "eyj",
        "://aa:",
        "password",
        "password-policy,",
        "password x\n",
        "pw is ",
        "key ",
        "key='",
        "<key>",
        "cvauth=token,a,",
        r"\"$1$abcdefgh\" ",
        r"\"$1$abcdefgh \" ",
        "preferred methods pass ",
        "ntp server key ",
    ],
)
def test_marking_does_not_outgrow_the_text(piece: str) -> None:
    assert not outgrows(lambda text: ANY.shown(text, mark), piece, 50_000)


@pytest.mark.parametrize("times", [20, 200])
def test_secrets_that_hide_each_other_are_not_uncovered_one_by_one(
    times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in one makes all that follows harmless, until it is marked itself."""
    looks: list[int] = []
    find = secret_places.SecretPlaces._find

    def counted(self: secret_places.SecretPlaces, text: str, *other: object) -> object:
        looks.append(len(text))
        return find(self, text, *other)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(secret_places.SecretPlaces, "_find", counted)
    shown = ANY.shown("fig-key password-encryption aa" * times + "\npassword abc\nhello\n", mark)
    assert len(looks) < 25
    assert "encryption" not in shown
    assert shown.endswith(f"\npassword {mark('abc')}\nhello\n")
    looks.clear()
    assert ANY.shown(shown, mark) == shown
