"""A credential matches a device when they share a tag."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from netraven.credentials.matching import CredentialIndex
from netraven.model import Credential, Device

tags = st.frozensets(st.sampled_from(["core", "edge", "lab", "Edge", "\u96fb", ""]), max_size=4)
devices = st.builds(Device, st.text(max_size=5), st.just("192.0.2.1"), st.just("cisco_iosxe"), tags=tags)
credentials = st.lists(
    st.builds(Credential, st.sampled_from("abcdefgh"), st.just("svc"), tags=tags), unique_by=lambda c: c.name
)


def credential(name: str, *with_tags: str) -> Credential:
    return Credential(name, "svc", tags=frozenset(with_tags))


def device(*with_tags: str) -> Device:
    return Device("r1", "192.0.2.1", "cisco_iosxe", tags=frozenset(with_tags))


@given(devices, credentials)
def test_exactly_those_that_share_a_tag_each_once_by_name(d: Device, held: list[Credential]) -> None:
    found = CredentialIndex(held).matching(d)
    assert list(found) == sorted((c for c in held if c.tags & d.tags), key=lambda c: c.name)
    assert all(c.matches(d) for c in found)


@given(st.lists(devices, max_size=6), credentials, st.randoms())
def test_neither_the_order_of_credentials_nor_what_was_asked_before_matters(
    asked: list[Device], held: list[Credential], chance: random.Random
) -> None:
    shuffled = list(held)
    chance.shuffle(shuffled)
    index = CredentialIndex(shuffled)
    for d in [*asked, *reversed(asked)]:
        assert index.matching(d) == CredentialIndex(held).matching(d)


def test_nothing_in_common() -> None:
    index = CredentialIndex([credential("a", "core"), credential("b")])
    assert index.matching(device("edge")) == ()
    assert index.matching(device()) == ()
    assert CredentialIndex([]).matching(device("edge")) == ()


def test_a_credential_that_shares_two_tags_is_offered_once() -> None:
    index = CredentialIndex([credential("a", "core", "edge")])
    assert [c.name for c in index.matching(device("core", "edge"))] == ["a"]


def test_tags_are_told_apart_by_case() -> None:
    assert CredentialIndex([credential("a", "Core")]).matching(device("core")) == ()
