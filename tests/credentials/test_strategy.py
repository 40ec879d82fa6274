"""Strategies by name: the ones that come along, and classes of others."""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from netraven import CollectSettings, NetRaven
from netraven.credentials import strategy as strategies
from netraven.credentials.evidence import Knowledge
from netraven.credentials.strategy import PriorityStrategy, strategy_named
from netraven.errors import InputError
from netraven.model import Choice, Credential, Device, Target
from netraven.testing import FakeDevice, FakeTransport

DEVICE = Device("r1", "192.0.2.1", "cisco_iosxe")
EVIDENCE = Knowledge().of(Target(DEVICE))
CREDENTIALS = [Credential("a", "svc"), Credential("b", "svc")]

SOURCE = """
import functools
from netraven import Choice


class Backwards:
    name = "backwards"

    async def rank(self, device, candidates, evidence):
        return [Choice(c, f"at {evidence.now:%Y}") for c in reversed(candidates)]

    class Within(object):
        name = "within"

        async def rank(self, device, candidates, *, loudly=False):
            return [Choice(c, device.name) for c in candidates]


class Nameless:
    async def rank(self, device, candidates, evidence): ...


class Misnamed(Backwards):
    name = 7


class Rankless:
    name = "x"


class Blocking:
    name = "x"

    def rank(self, device, candidates, evidence):
        return candidates


class Narrow:
    name = "x"

    async def rank(self, device): ...


class Wide:
    name = "x"

    async def rank(self, device, candidates, evidence, more): ...


class Needy(Backwards):
    def __init__(self, url):
        self.url = url


class Broken(Backwards):
    def __init__(self):
        raise RuntimeError("no licence")


a_function = functools.partial(print)
"""


@pytest.fixture(autouse=True)
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_orders.py").write_text(SOURCE)
    (tmp_path / "broken_orders.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "odd_orders.py").write_text("class Odd(\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("own_orders", "broken_orders", "odd_orders"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def ranked(name: str) -> list[Choice]:
    return list(asyncio.run(strategy_named(name).rank(DEVICE, CREDENTIALS, EVIDENCE)))


@pytest.mark.parametrize("name", ["priority", "last-good", "success-rate", "explore"])
def test_a_strategy_by_name(name: str) -> None:
    assert strategy_named(name).name == name
    assert [choice.credential.name for choice in ranked(name)] == ["a", "b"]


def test_a_class_of_ones_own() -> None:
    assert [c.credential.name for c in ranked("own_orders:Backwards")] == ["b", "a"]
    assert strategy_named("own_orders:Backwards").name == "backwards"


def test_a_class_that_needs_no_evidence() -> None:
    assert [(c.credential.name, c.reason) for c in ranked("own_orders:Backwards.Within")] == [
        ("a", "r1"),
        ("b", "r1"),
    ]


def test_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    def offered(*, group: str) -> EntryPoints:
        assert group == "netraven.strategies"
        return EntryPoints(
            [
                EntryPoint("backwards", "own_orders:Backwards", group),
                EntryPoint("gone", "own_orders:Gone", group),
                EntryPoint("priority", "own_orders:Backwards", group),
            ]
        )

    monkeypatch.setattr(strategies, "entry_points", offered)
    assert strategy_named("backwards").name == "backwards"
    assert isinstance(strategy_named("priority"), PriorityStrategy), "what comes along cannot be taken over"
    with pytest.raises(InputError, match=r"'gone'.*'own_orders:Gone' cannot be loaded: AttributeError"):
        strategy_named("gone")
    with pytest.raises(InputError, match="did you mean 'backwards'"):
        strategy_named("backward")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("priorty", "did you mean 'priority'"),
        ("lastgood", "did you mean 'last-good'"),
        (
            "zzz",
            "Known are: explore, last-good, priority, success-rate; a class of your own is named module:",
        ),
        ("", "Known are"),
        ("no_such_module:X", "cannot import 'no_such_module': ModuleNotFoundError"),
        (
            "broken_orders:X",
            "cannot import 'broken_orders': ModuleNotFoundError: No module named 'nothing_of",
        ),
        ("odd_orders:Odd", "cannot import 'odd_orders': SyntaxError"),
        (":X", "cannot import ''"),
        (".own:X", "cannot import '.own'"),
        ("own_orders:Backward", "'own_orders' has no 'Backward', did you mean 'Backwards'"),
        ("own_orders:", "'own_orders' has no ''"),
        ("own_orders:a_function", "is no class but partial"),
        ("own_orders:Nameless", "no text `name`"),
        ("own_orders:Misnamed", "no text `name`"),
        ("own_orders:Rankless", "no `async def rank`"),
        ("own_orders:Blocking", "no `async def rank`"),
        ("own_orders:Narrow", r"rank takes \(device\), and is called with \(device, candidates, evidence\)"),
        ("own_orders:Wide", r"rank takes \(device, candidates, evidence, more\)"),
        ("own_orders:Needy", "cannot be made without arguments: TypeError"),
        ("own_orders:Broken", "cannot be made without arguments: RuntimeError: no licence"),
    ],
)
def test_what_is_no_strategy_says_why(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        strategy_named(name)


def test_a_backoff_of_ages_is_no_error() -> None:
    assert strategy_named("last-good", refused_backoff=1e300).name == "last-good"


@pytest.mark.parametrize("fault", ["raise RuntimeError('their fault')", "return None", "return [candidates]"])
async def test_a_strategy_that_fails_for_a_device_costs_that_device_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    (tmp_path / "faulty_orders.py").write_text(
        "from netraven import Choice\n"
        "class Faulty:\n"
        "    name = 'faulty'\n"
        "    async def rank(self, device, candidates):\n"
        "        if device.name == 'r1':\n"
        f"            {fault}\n"
        "        return [Choice(c, 'theirs') for c in candidates]\n"
    )
    monkeypatch.delitem(sys.modules, "faulty_orders", raising=False)
    devices = [Device(name, "-", "cisco_iosxe", tags={"t"}) for name in ("r1", "r2", "r3")]
    transport = FakeTransport({device.name: FakeDevice({"svc": "right"}) for device in devices})
    held = [Credential("a", "svc", "right", tags={"t"})]
    settings = CollectSettings(strategy="faulty_orders:Faulty")
    async with NetRaven.in_memory(devices, held, transport=transport, settings=settings) as raven:
        report = await raven.collect()
    assert {o.device.name: o.reason for o in report.outcomes} == {"r1": "internal", "r2": None, "r3": None}
    assert [attempt.device for attempt in transport.attempts] == ["r2", "r3"]


async def test_a_strategy_that_is_none_ends_it_before_anything_is_sent() -> None:
    transport = FakeTransport({"r1": FakeDevice({})})
    devices = [Device("r1", "-", "cisco_iosxe", tags={"t"})]
    held = [Credential("a", "svc", "x", tags={"t"})]
    async with NetRaven.in_memory(devices, held, transport=transport) as raven:
        with pytest.raises(InputError, match="no `async def rank`"):
            await raven.collect(strategy="own_orders:Blocking")
        assert not raven.store.runs, "no run was begun"
    assert transport.attempts == []
