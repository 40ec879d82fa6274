"""No secret of any dialect is shown, a changed one is seen to have changed, and all else stays readable."""

from __future__ import annotations

import re

import pytest

from netraven.history.marks import MARK, Marker
from netraven.history.rules import Rules
from netraven.platforms import Platform, known_platforms, load_platform
from tests.platforms.recorded import recorded
from tests.platforms.secret_cases import FOLDER, Case, secret_case
from tests.platforms.test_dialogues import outputs

COLLECTED = tuple(name for name in known_platforms() if load_platform(name).collects)
BIG = {
    "arista_eos": 12,
    "cisco_asa": 15,
    "cisco_iosxe": 30,
    "cisco_iosxr": 15,
    "cisco_nxos": 14,
    "fortinet_fortios": 14,
    "hp_comware": 15,
    "huawei_vrp": 15,
    "juniper_junos": 14,
    "mikrotik_routeros": 14,
    "nokia_sros": 10,
    "paloalto_panos": 10,
    "vyos_vyos": 14,
}
mark = Marker(b"k" * 32).mark


def test_each_has_a_case_and_each_case_a_platform() -> None:
    assert {file.stem for file in FOLDER.glob("*.txt")} == set(COLLECTED)


@pytest.mark.parametrize("name", COLLECTED)
def test_the_case_says_something(name: str) -> None:
    case = secret_case(name)
    lines = case.marked.splitlines()
    assert len(case.canaries) >= BIG.get(name, 5)
    assert sum("«" not in line for line in lines) >= 3, "nothing that must stay readable"
    texts = [
        canary
        for canary in case.canaries
        if any(canary in other for other in case.canaries if other != canary)
    ]
    assert not texts, "a secret within another: whether it is shown cannot be told"


@pytest.mark.parametrize("name", COLLECTED)
def test_no_secret_is_shown(name: str) -> None:
    case = secret_case(name)
    shown = rules(name).shown(case.text, mark)
    assert [canary for canary in case.canaries if leaks(canary, shown)] == []


def leaks(canary: str, shown: str) -> bool:
    """Whether anything of it that somebody could use is in the text."""
    return any(re.search(rf"\b{word}\b", shown) for word in re.findall(r"\w{6,}", canary))


@pytest.mark.parametrize("name", COLLECTED)
def test_what_is_no_secret_stays(name: str) -> None:
    case = secret_case(name)
    shown = rules(name).shown(case.text, mark).splitlines()
    lines = case.marked.splitlines()
    assert [new for old, new in zip(lines, shown, strict=True) if "«" not in old and old != new] == []
    begun = [old.partition("«")[0] for old in lines]
    assert [
        new
        for old, new in zip(begun, shown, strict=True)
        if MARKS_MORE.search(new) and not new.startswith(old)
    ] == []


MARKS_MORE = re.compile("redacted")


@pytest.mark.parametrize("name", COLLECTED)
def test_a_changed_secret_is_seen_to_have_changed_on_its_own_lines(name: str) -> None:
    case, rule = secret_case(name), rules(name)
    shown = rule.shown(case.text, mark).splitlines()
    lines = case.marked.splitlines()
    for canary in case.canaries:
        changed = rule.shown(case.with_another(canary), mark).splitlines()
        differs = [n for n, (old, new) in enumerate(zip(shown, changed, strict=True)) if old != new]
        assert differs == [n for n, line in enumerate(lines) if f"«{canary}»" in line], canary


@pytest.mark.parametrize("name", COLLECTED)
def test_a_mark_is_of_the_secret_alone(name: str) -> None:
    """Whatever stands around it, so that the same secret can be found elsewhere."""
    case = secret_case(name)
    shown = rules(name).shown(case.text, mark)
    other = set(MARK.findall(shown)) - {mark(canary) for canary in case.canaries}
    assert len(other) <= AROUND.get(name, 0)


AROUND = {"cisco_aireos": 12}
"""The initialization vectors that stand before a secret there are marked with it or by themselves."""


@pytest.mark.parametrize("name", COLLECTED)
def test_marked_twice_is_marked_once(name: str) -> None:
    for text in (secret_case(name).text, *outputs(load_platform(name), recorded(name)).values()):
        once = rules(name).shown(text, mark)
        assert rules(name).shown(once, mark) == once


@pytest.mark.parametrize("name", COLLECTED)
def test_the_secrets_of_the_dialogue_are_not_shown(name: str) -> None:
    said = recorded(name)
    shown = "".join(rules(name).shown(text, mark) for text in outputs(load_platform(name), said).values())
    assert [secret for secret in said.secrets if secret in shown] == []


@pytest.mark.parametrize("name", COLLECTED)
def test_a_platform_that_says_nothing_of_secrets_shows_none_behind_their_words(name: str) -> None:
    """As a user's platform may: what the rules for all know, they know without it."""
    case = secret_case(name)
    shown = Rules.of(Platform("users")).shown(case.text, mark)
    behind = re.compile(
        r"(?:password|passwd|secret|passphrase|[ -]key|psksecret)[\"' =:]*(?:\d |encrypted |cipher )?[\"']?«([^»]+)»"
    )
    words = {m[1] for m in behind.finditer(case.marked)}
    assert [word for word in words if leaks(word, shown)] == []


def rules(name: str) -> Rules:
    return Rules.of(load_platform(name))


def test_a_changed_case_changes_one_character() -> None:
    case = Case("key «abc» and «abd»")
    assert case.with_another("abc") == "key aba and abd"
