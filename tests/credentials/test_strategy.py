"""The orders in which credentials are offered."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.credentials.evidence import Knowledge
from netraven.credentials.strategy import PriorityStrategy, strategy_named
from netraven.errors import InputError
from netraven.model import Choice, Credential, Device, Target

DEVICE = Device("r1", "192.0.2.1", "cisco_iosxe")
credentials = st.lists(
    st.builds(Credential, st.text(max_size=4), st.just("svc"), priority=st.integers(-3, 3)),
    unique_by=lambda c: c.name,
)


def ranked(held: list[Credential]) -> list[Choice]:
    return list(asyncio.run(PriorityStrategy().rank(DEVICE, held, Knowledge().of(Target(DEVICE)))))


@given(credentials, st.randoms())
def test_by_priority_then_by_name_whatever_order_they_come_in(
    held: list[Credential], chance: random.Random
) -> None:
    order = [choice.credential for choice in ranked(held)]
    assert sorted(order, key=lambda c: c.name) == sorted(held, key=lambda c: c.name), "all, each once"
    places = [(c.priority, c.name) for c in order]
    assert places == sorted(places)
    shuffled = list(held)
    chance.shuffle(shuffled)
    assert [choice.credential for choice in ranked(shuffled)] == order


def test_each_place_has_a_reason() -> None:
    choices = ranked([Credential("b", "svc", priority=100), Credential("a", "svc", priority=5)])
    assert [(c.credential.name, c.reason) for c in choices] == [("a", "priority 5"), ("b", "priority 100")]


def test_a_strategy_by_name() -> None:
    assert isinstance(strategy_named("priority"), PriorityStrategy)


@pytest.mark.parametrize(
    ("name", "said"),
    [("priorty", "did you mean 'priority'"), ("zzz", "Known are: priority"), ("", "Known are")],
)
def test_an_unknown_one_names_the_closest(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        strategy_named(name)
