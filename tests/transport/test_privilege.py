"""The enable secret: offered once, to its own question only."""

from __future__ import annotations

import pytest

from netraven.lab import Lab, LabDevice
from tests.transport.rig import collect, router

ENABLED = "hostname r1\ninterface Ethernet1\nend\n"


def guarded(dialect: str) -> LabDevice:
    return router(dialect=dialect, enable_password="open sesame", config=ENABLED)


def answers(lab: Lab) -> list[str]:
    """What the device said to each enable secret that it was given."""
    return [event.detail for event in lab.log.events if event.kind == "enable"]


@pytest.mark.parametrize("dialect", ["cisco_iosxe", "arista_eos"])
async def test_the_right_enable_secret(dialect: str) -> None:
    result, lab = await collect(guarded(dialect), enable="open sesame")
    assert result.text == ENABLED
    assert answers(lab) == ["accepted"]


@pytest.mark.parametrize("dialect", ["cisco_iosxe", "arista_eos"])
async def test_a_wrong_enable_secret_is_offered_once(dialect: str) -> None:
    result, lab = await collect(guarded(dialect), enable="wrong")
    assert (result.reason, result.detail) == ("privilege_refused", "the device refused the enable secret")
    assert answers(lab) == ["refused"]
    assert result.told == ["secret", "accepted"], "the login itself had succeeded"
    assert not any("show" in command for command in lab.log.commands("r1"))


@pytest.mark.parametrize("dialect", ["cisco_iosxe", "arista_eos"])
async def test_no_enable_secret_where_one_is_asked_for(dialect: str) -> None:
    result, lab = await collect(guarded(dialect))
    assert result.reason == "privilege_refused"
    assert result.detail == "the device asks for an enable secret and the credential has none"
    assert answers(lab) == [], "nothing was guessed"


@pytest.mark.parametrize(
    "dialect", ["cisco_iosxe", "arista_eos", "juniper_junos", "cisco_iosxr", "cisco_nxos"]
)
async def test_an_enable_secret_that_nobody_asks_for_is_not_sent(dialect: str) -> None:
    result, lab = await collect(router(dialect=dialect, config=ENABLED), enable="open sesame")
    assert result.text.endswith(ENABLED)  # IOS-XR prints the time above it
    assert answers(lab) == []
    assert not any("sesame" in command for command in lab.log.commands("r1"))
