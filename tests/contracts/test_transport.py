"""What every transport does, the real one against the lab and the fake one that embedders test with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import pytest

from netraven.errors import (
    AuthNoVerdict,
    AuthRefused,
    CommandRejected,
    DeviceFailure,
    HostKeyChanged,
    NetRavenError,
    SessionLost,
    Unreachable,
)
from netraven.lab import Ill, Lab
from netraven.model import Device, HostKey, Secret, Target
from netraven.ports import Transport
from netraven.testing import FakeDevice, FakeTransport
from netraven.transport.ssh import SshTransport
from tests.transport.rig import PATIENT, NotedLogin, key_of, quiet, router, target

CONFIG = "hostname r1\n!\nend\n"
OTHER_KEY = HostKey("ssh-ed25519", b"of somebody else")
Trouble = Literal["none", "no_verdict", "unreachable", "session_lost", "command_rejected"]


@dataclass
class Place:
    """A transport and one device that it reaches. ``offered``: the passwords that arrived there."""

    transport: Transport
    target: Target
    key: HostKey
    offered: Callable[[], Sequence[str | None]]


Opens = Callable[..., AbstractAsyncContextManager[Place]]


@asynccontextmanager
async def over_ssh(trouble: Trouble = "none") -> AsyncIterator[Place]:
    ills: dict[str, Ill] = {
        "none": Ill(),
        "no_verdict": Ill("close_at_login"),
        "unreachable": Ill("port_closed"),
        "session_lost": Ill("drop_mid_output"),
        "command_rejected": Ill("command_error"),
    }
    async with Lab([router(config=CONFIG, ill=ills[trouble])]) as lab:
        yield Place(SshTransport(PATIENT), target(lab), key_of(lab), lambda: lab.log.secrets_seen("r1"))
        await quiet(lab)


@asynccontextmanager
async def with_the_fake(trouble: Trouble = "none") -> AsyncIterator[Place]:
    fails: dict[str, DeviceFailure | None] = {
        "none": None,
        "no_verdict": AuthNoVerdict("cut"),
        "unreachable": Unreachable("away"),
        "session_lost": SessionLost("cut"),
        "command_rejected": CommandRejected("no"),
    }
    device = FakeDevice({"netops": "right"}, CONFIG, fails[trouble])
    transport = FakeTransport({"r1": device})
    goal = Target(Device("r1", "192.0.2.1", "cisco_iosxe"))
    yield Place(transport, goal, device.host_key, lambda: [a.secret.password for a in transport.attempts])


@pytest.fixture(params=[over_ssh, with_the_fake], ids=["ssh", "fake"])
def place(request: pytest.FixtureRequest) -> Opens:
    opens: Opens = request.param
    return opens


def known(place: Place, key: HostKey) -> Target:
    return Target(place.target.device, (key,))


async def test_the_right_secret_opens_a_session_that_captures(place: Opens) -> None:
    login = NotedLogin()
    async with place() as p:
        async with p.transport.open(p.target, login) as session:
            assert login.told == [f"new_host_key {p.key.fingerprint}", "secret", "accepted"]
            (capture,) = await session.capture(enable=None)
            assert (capture.kind, capture.text) == ("running", CONFIG)
        assert p.offered() == ["right"]


async def test_a_wrong_secret_is_offered_once_and_told_before_it_is_raised(place: Opens) -> None:
    login = NotedLogin("wrong")
    async with place() as p:
        with pytest.raises(AuthRefused):
            async with p.transport.open(p.target, login):
                pytest.fail("there is no session")
        assert login.told[1:] == ["secret", "rejected auth_refused"]
        assert p.offered() == ["wrong"]


async def test_an_unknown_user_is_refused(place: Opens) -> None:
    login = NotedLogin(username="nobody")
    async with place() as p:
        with pytest.raises(AuthRefused):
            async with p.transport.open(p.target, login):
                pytest.fail("there is no session")


async def test_no_verdict(place: Opens) -> None:
    login = NotedLogin()
    async with place("no_verdict") as p:
        with pytest.raises(AuthNoVerdict):
            async with p.transport.open(p.target, login):
                pytest.fail("there is no session")
        assert login.told[1:] == ["secret", "rejected auth_no_verdict"]
        assert p.offered() == ["right"]


async def test_who_cannot_be_reached_is_asked_for_nothing(place: Opens) -> None:
    login = NotedLogin()
    async with place("unreachable") as p:
        with pytest.raises(Unreachable):
            async with p.transport.open(p.target, login):
                pytest.fail("there is no session")
        assert (login.told, list(p.offered())) == ([], [])


@pytest.mark.parametrize("trouble", ["session_lost", "command_rejected"])
async def test_what_goes_wrong_in_the_session_comes_from_the_session(place: Opens, trouble: Trouble) -> None:
    login = NotedLogin()
    async with place(trouble) as p:
        async with p.transport.open(p.target, login) as session:
            assert login.told[-1] == "accepted"
            with pytest.raises(DeviceFailure) as caught:
                await session.capture(enable=None)
        assert caught.value.reason == trouble
        assert caught.value.logged_in
        assert len(login.told) == 3


async def test_a_key_on_record_is_not_told_again(place: Opens) -> None:
    login = NotedLogin()
    async with place() as p:
        async with p.transport.open(known(p, p.key), login):
            pass
        assert login.told == ["secret", "accepted"]


async def test_another_key_than_the_one_on_record_gets_nothing(place: Opens) -> None:
    login = NotedLogin()
    async with place() as p:
        with pytest.raises(HostKeyChanged) as caught:
            async with p.transport.open(known(p, OTHER_KEY), login):
                pytest.fail("there is no session")
        assert (login.told, list(p.offered())) == ([], [])
        assert p.key.fingerprint in caught.value.detail


async def test_the_record_decides_where_somebody_else_was_first(place: Opens) -> None:
    class Late(NotedLogin):
        async def new_host_key(self, key: HostKey) -> Sequence[HostKey]:
            return (OTHER_KEY,)

    login = Late()
    async with place() as p:
        with pytest.raises(HostKeyChanged):
            async with p.transport.open(p.target, login):
                pytest.fail("there is no session")
        assert (login.told, list(p.offered())) == ([], [])


async def test_what_the_login_raises_comes_through_and_nothing_is_offered(place: Opens) -> None:
    class Refuses(NotedLogin):
        async def secret(self) -> Secret:
            raise NetRavenError("not now")

    login = Refuses()
    async with place() as p:
        with pytest.raises(NetRavenError, match="not now"):
            async with p.transport.open(p.target, login):
                pytest.fail("there is no session")
        assert login.told == [f"new_host_key {p.key.fingerprint}"]
        assert list(p.offered()) == []


async def test_cancelled_while_it_waits_for_the_secret(place: Opens) -> None:
    asked = asyncio.Event()

    async def wait_for_ever() -> None:
        asked.set()
        await asyncio.get_running_loop().create_future()

    async with place() as p:

        async def run() -> None:
            async with p.transport.open(p.target, NotedLogin(before_secret=wait_for_ever)):
                pytest.fail("there is no session")

        task = asyncio.create_task(run())
        async with asyncio.timeout(5):
            await asked.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert list(p.offered()) == []


async def test_what_the_body_raises_comes_through(place: Opens) -> None:
    async with place() as p:
        with pytest.raises(KeyError, match="mine"):
            async with p.transport.open(p.target, NotedLogin()):
                raise KeyError("mine")


async def test_many_at_once_do_not_mix(place: Opens) -> None:
    async with place() as p:
        logins = [NotedLogin("right" if n % 2 else f"wrong {n}") for n in range(10)]

        async def run(login: NotedLogin) -> bool:
            try:
                async with p.transport.open(p.target, login) as session:
                    await session.capture(enable=None)
                    return True
            except AuthRefused:
                return False

        assert await asyncio.gather(*map(run, logins)) == [bool(n % 2) for n in range(10)]
        assert sorted(map(str, p.offered())) == sorted(
            ["right"] * 5 + [f"wrong {n}" for n in range(0, 10, 2)]
        )


async def test_a_knock_hears_the_device_and_offers_nothing(place: Opens) -> None:
    async with place() as p:
        assert (await p.transport.knock(p.target)).startswith("SSH-2.0-")
        assert list(p.offered()) == []


async def test_a_knock_at_who_cannot_be_reached(place: Opens) -> None:
    async with place("unreachable") as p:
        with pytest.raises(Unreachable):
            await p.transport.knock(p.target)


async def test_a_knock_does_not_find_out_what_comes_later(place: Opens) -> None:
    async with place("no_verdict") as p:
        assert (await p.transport.knock(p.target)).startswith("SSH-2.0-")


async def test_what_opens_is_proven_without_a_capture(place: Opens) -> None:
    login = NotedLogin()
    async with place("command_rejected" if place is over_ssh else "none") as p:
        async with p.transport.open(p.target, login) as session:
            await session.prove(enable=None)  # the command that is rejected is never given
        assert p.offered() == ["right"]
