"""Facts are frozen, comparable, and silent about secrets."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from netraven import model
from netraven.model import Capture, Credential, Device, HostKey, Secret, Selector, Target, utcnow

CANARY = "kanarienvogel"
DEVICE = Device("r1", "192.0.2.1", "cisco_iosxe", tags=frozenset({"edge"}))


def test_no_secret_in_a_repr() -> None:
    facts = [
        Secret(CANARY, CANARY, CANARY),
        Credential("c", "u", CANARY, private_key=CANARY, enable_password=CANARY),
        Capture(CANARY),
        HostKey("ssh-ed25519", CANARY.encode()),
        Target(DEVICE, (HostKey("ssh-ed25519", CANARY.encode()),)),
    ]
    assert CANARY not in repr(facts) + "".join(map(str, facts))


@pytest.mark.parametrize(
    "fact",
    [f for f in vars(model).values() if isinstance(f, type) and dataclasses.is_dataclass(f)],
    ids=lambda f: f.__name__,
)
def test_every_fact_is_frozen_and_carries_nothing_else(fact: Any) -> None:
    assert fact.__dataclass_params__.frozen
    assert "__slots__" in vars(fact)


def test_tags_are_a_set_and_never_a_word() -> None:
    assert Device("r1", "h", "p", tags=["b", "a", "b"]).tags == {"a", "b"}  # type: ignore[arg-type]  # is made one
    for made in (
        lambda: Device("r1", "h", "p", tags="edge"),  # type: ignore[arg-type]  # wrong on purpose
        lambda: Credential("c", "u", tags="edge"),  # type: ignore[arg-type]  # wrong on purpose
        lambda: Selector(names="r1"),  # type: ignore[arg-type]  # wrong on purpose
    ):
        with pytest.raises(TypeError, match=r"write \{"):
            made()


def test_a_stored_fact_equals_the_one_that_was_given() -> None:
    assert dataclasses.replace(DEVICE, id=7) == DEVICE
    assert Credential("c", "u", "x", id=1) == Credential("c", "u", "y", id=2), "secrets are not compared"
    assert Credential("c", "u", secret_version=1) != Credential("c", "u", secret_version=2)
    assert len({DEVICE, dataclasses.replace(DEVICE, id=7)}) == 1


def test_an_account_is_what_an_aaa_server_locks() -> None:
    first = Credential("a", "svc", realm="tacacs")
    assert first.account == Credential("b", "svc", realm="tacacs").account != Credential("a", "svc").account


@pytest.mark.parametrize(
    ("selector", "selects"),
    [
        (Selector(), True),
        (Selector(frozenset({"edge", "core"})), True),
        (Selector(frozenset({"core"})), False),
        (Selector(names=frozenset({"r1"})), True),
        (Selector(frozenset({"edge"}), frozenset({"r2"})), False),
        (Selector(frozenset({"core"}), frozenset({"r1"})), False),
    ],
)
def test_a_selector(selector: Selector, selects: bool) -> None:
    assert selector.selects(DEVICE) is selects


def test_a_capture_gives_back_the_bytes_that_came() -> None:
    data = b"caf\xc3\xa9 caf\xe9\xff\n"
    assert Capture(data.decode("utf-8", "surrogateescape")).data == data


def test_now_has_a_time_zone() -> None:
    assert utcnow().utcoffset() is not None
